from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sbdata_baselines.settings import ViewSettings
from sbdata_baselines.stages.masks import write_pseudo_mask
from sbdata_baselines.stages.photos import pending, weak_views

from sbdata.benchmark.stage import StageContext
from sbdata.errors import InputError
from sbdata.taxonomy import Taxonomy
from sbdata.train.devices import DistributedContext
from sbdata.train.views import batches, in_steps
from sbdata.weak_labels.weak_set import WeakImage, WeakSet


@pytest.fixture
def weak(tmp_path: Path) -> WeakSet:
    """Five photos; each pixel's red is the class of the seeds there."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(5):
        seeds = rng.choice(np.array([0, 1, 2], np.uint8), (6, 8)).repeat(8, 0).repeat(8, 1)
        photo = np.dstack([seeds * 100, np.zeros_like(seeds), np.full_like(seeds, 40 * number)])
        Image.fromarray(photo).save(tmp_path / f"p{number}.png")
        write_pseudo_mask(tmp_path / "seeds", f"p{number}", seeds)
        classes = (1, 2) if number else ()
        rows.append(WeakImage(f"p{number}", tmp_path / f"p{number}.png", (48, 64), classes))
    return WeakSet(tuple(rows), Taxonomy("two", ("a", "b")))


def test_an_epoch_sees_every_photo_once_with_its_labels(weak: WeakSet) -> None:
    views = weak_views(weak, ViewSettings(64, flip=False), seed=3)
    for epoch in range(2):
        found = [views[p] for p in range(5 * epoch, 5 * epoch + 5)]
        blue = [int(np.unique(pixels[..., 2])[-1]) for pixels, _ in found]
        assert sorted(max(b, 104) for b in blue) == [104, 104, 104, 120, 160]
        for pixels, labels in found:
            empty = not pixels[..., 0][pixels[..., 1] == 0].size
            assert labels.tolist() in ([1.0, 1.0], [0.0, 0.0]) or empty


def test_seeds_are_cut_as_the_photo_is(weak: WeakSet, tmp_path: Path) -> None:
    settings = ViewSettings(40, flip=True)
    views = weak_views(weak, settings, seed=0, seeds=tmp_path / "seeds")
    for position in range(10):
        pixels, _, seeds = views[position]
        inside = seeds != 255
        assert np.array_equal(pixels[..., 0][inside], seeds[inside] * 100)


def test_views_depend_on_seed_stream_and_position_alone(weak: WeakSet) -> None:
    settings = ViewSettings(32, long_side=(40, 80), jitter=(0.3, 0.3, 0.3, 0.1))
    one, two = weak_views(weak, settings, 1), weak_views(weak, settings, 1)
    two[3]
    assert np.array_equal(one[7][0], two[7][0])
    for other in (weak_views(weak, settings, 2), weak_views(weak, settings, 1, stream=1)):
        assert not np.array_equal(one[7][0], other[7][0])


def test_the_long_side_is_drawn_in_its_range() -> None:
    settings = ViewSettings(32, long_side=(100, 120))
    photo = Image.new("RGB", (50, 80))
    sides = set()
    for seed in range(60):
        _, view = settings(photo, np.random.default_rng(seed))
        scale = 32 / (view.box[2] - view.box[0])
        sides.add(round(80 * scale))
    assert min(sides) >= 100
    assert max(sides) <= 120
    assert len(sides) > 10


def test_batches_go_on_from_a_step(weak: WeakSet) -> None:
    views = weak_views(weak, ViewSettings(32), 0)
    everything = list(batches([views], in_steps(range(4), 2)))
    rest = list(batches([views], in_steps(range(2, 4), 2)))
    assert all(
        torch.equal(a, b)
        for x, y in zip(everything[2:], rest, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    images, labels = everything[0]
    assert images.shape == (2, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert labels.shape == (2, 2)


def test_pending_skips_what_is_there(weak: WeakSet, tmp_path: Path) -> None:
    told: list[int] = []
    task = StageContext(
        weak,
        tmp_path / "out",
        0,
        DistributedContext(torch.device("cpu")),
        lambda done, n: told.append(done),
    )
    task.folder.mkdir()
    (task.folder / "p1.png").touch()
    (task.folder / ".p2.png.0123abcd.part").touch()
    assert [row.image_id for row in pending(task, ".png")] == ["p0", "p2", "p3", "p4"]
    assert told == [1, 2, 3, 4, 5]
    assert [p.name for p in task.folder.iterdir()] == ["p1.png"]


@pytest.mark.parametrize(
    "values",
    [{"crop": 8}, {"crop": 32, "long_side": (9,)}, {"crop": 32, "rescale": (2.0, 1.0)},
     {"crop": 32, "long_side": (8, 9), "rescale": (1.0, 1.0)}, {"crop": 32, "jitter": (0.1,)}],
)  # fmt: skip
def test_views_that_cannot_be_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match="views"):
        ViewSettings(**values)  # type: ignore[arg-type]
