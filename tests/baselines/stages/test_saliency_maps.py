from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sbdata_baselines.methods.eps import saliency_stage
from sbdata_baselines.settings import SaliencySettings, ViewSettings
from sbdata_baselines.stages.boundary_prior import boundary_saliency
from sbdata_baselines.stages.photos import pixels_of, weak_views
from sbdata_baselines.stages.saliency import saliency
from sbdata_baselines.stages.saliency_maps import read_salience, salience_of, saliency_maps

from sbdata.errors import InputError
from tests.baselines.weak_examples import task_of, write_weak
from tests.benchmark.stage_runs import key_of


@pytest.mark.parametrize(
    ("settings", "provider"),
    [
        (SaliencySettings(), boundary_saliency),
        (SaliencySettings("mbd"), saliency),
        (SaliencySettings("boundary", side=32), lambda photo: boundary_saliency(photo, 32)),
    ],
)
def test_a_provider_makes_the_maps_where_none_are_given(
    tmp_path: Path, settings: SaliencySettings, provider: object
) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=2)
    saliency_maps(task_of(weak, tmp_path / "maps"), settings)
    for row in weak.rows:
        with Image.open(tmp_path / "maps" / f"{row.image_id}.png") as stored:
            assert stored.mode == "L"
        found = read_salience(tmp_path / "maps", row.image_id)
        assert found.shape == row.size
        assert found.max() == 1
        wanted = provider(pixels_of(row)) / 255  # type: ignore[operator]
        np.testing.assert_allclose(found, wanted, atol=0.5 / 254 + 1e-6)


def test_given_maps_are_taken(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=2)
    given = tmp_path / "given"
    given.mkdir()
    rng = np.random.default_rng(0)
    for row in weak.rows:
        levels = rng.integers(0, 256, row.size, np.uint8)
        Image.fromarray(levels).save(given / f"{row.image_id}.png")
    weak = replace(weak, saliency=given)
    saliency_maps(task_of(weak, tmp_path / "maps"), SaliencySettings())
    for row in weak.rows:
        levels = np.array(Image.open(given / f"{row.image_id}.png"))
        found = read_salience(tmp_path / "maps", row.image_id)
        np.testing.assert_allclose(found, levels / 255, atol=0.5 / 254 + 1e-6)

    (given / "p1.png").unlink()
    (tmp_path / "maps" / "p1.png").unlink()
    with pytest.raises(InputError, match=r"p1\.png does not exist"):
        saliency_maps(task_of(weak, tmp_path / "maps"), SaliencySettings())


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=2)
    saliency_maps(task_of(weak, tmp_path / "maps"), SaliencySettings())
    kept = (tmp_path / "maps" / "p0.png").stat().st_mtime_ns
    (tmp_path / "maps" / "p1.png").unlink()
    saliency_maps(task_of(weak, tmp_path / "maps"), SaliencySettings())
    assert (tmp_path / "maps" / "p0.png").stat().st_mtime_ns == kept
    assert (tmp_path / "maps" / "p1.png").is_file()


def test_outside_a_view_nothing_is_salient(tmp_path: Path) -> None:
    """White photos whose every pixel is salient, smaller than the view."""
    weak, _ = write_weak(tmp_path / "photos", n=1)
    row = weak.rows[0]
    Image.new("RGB", row.size[::-1], "white").save(row.photo)
    folder = tmp_path / "maps"
    folder.mkdir()
    Image.new("L", row.size[::-1], 254).save(folder / "p0.png")
    views = weak_views(weak, ViewSettings(100), 0, seeds=folder)
    pixels, _, levels = views[0]
    salience = salience_of(torch.from_numpy(levels.copy())[None])[0].numpy()
    np.testing.assert_array_equal(salience, (pixels == 255).all(axis=2))
    assert 0 < salience.mean() < 1


def test_the_key_depends_on_provider_and_given_maps(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=1)
    given = tmp_path / "given"
    given.mkdir()
    Image.new("L", weak.rows[0].size[::-1]).save(given / "p0.png")
    stages = [saliency_stage(SaliencySettings(p)) for p in ("boundary", "mbd")]
    keys = [key_of(s, w, 0) for s in stages for w in (weak, replace(weak, saliency=given))]
    assert len(set(keys)) == 4
    assert key_of(saliency_stage(SaliencySettings()), weak, 0) == keys[0]
