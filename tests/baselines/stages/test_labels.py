from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sbdata_baselines.settings import AlphaSeedSettings, MaskSettings, Refinement, SeedSettings
from sbdata_baselines.stages.labels import alpha_seed_labels, pseudo_masks, seed_labels
from sbdata_baselines.stages.maps import ClassMaps, write_maps

from sbdata.errors import InputError
from sbdata.masks import read_index_png
from sbdata.weak_labels.weak_set import WeakSet
from tests.baselines.weak_examples import task_of, write_weak

NONE = Refinement("none")


@pytest.fixture
def weak(tmp_path: Path) -> WeakSet:
    """One photo whose map of class 1 rises from 0 to 1 from left to right; one without labels."""
    weak, _ = write_weak(tmp_path / "photos", n=2, empty=1)
    ramp = np.tile(np.linspace(0, 1, 72, dtype=np.float32), (64, 1))
    write_maps(tmp_path / "maps", "p0", ClassMaps((1,), ramp[None], background=1 - ramp))
    write_maps(tmp_path / "maps", "p1", ClassMaps((), np.zeros((0, 64, 72), np.float32)))
    return weak


def test_seeds_of_constants(weak: WeakSet, tmp_path: Path) -> None:
    seed_labels(task_of(weak, tmp_path / "s"), SeedSettings(0.7, 0.2, NONE), tmp_path / "maps")
    ramp = np.linspace(0, 1, 72)
    wanted = np.where(ramp > 0.7, 1, np.where(ramp > 0.2, 255, 0))
    assert np.array_equal(read_index_png(tmp_path / "s" / "p0.png")[5], wanted)
    assert not read_index_png(tmp_path / "s" / "p1.png").any()


def test_seeds_of_alphas(weak: WeakSet, tmp_path: Path) -> None:
    settings = AlphaSeedSettings(1, 2, NONE)
    alpha_seed_labels(task_of(weak, tmp_path / "s"), settings, tmp_path / "maps")
    ramp = np.linspace(0, 1, 72)
    wanted = np.where(ramp > 1 - ramp, 1, np.where(ramp > (1 - ramp) ** 2, 255, 0))
    assert np.array_equal(read_index_png(tmp_path / "s" / "p0.png")[5], wanted)


@pytest.mark.parametrize(("background", "cut"), [(0.3, 0.3), (None, 0.5)])
def test_masks_cut_at_the_background(
    weak: WeakSet, tmp_path: Path, background: float | None, cut: float
) -> None:
    settings = MaskSettings(background, NONE)
    if background is None:
        bare = tmp_path / "maps" / "p1.npz"
        bare.unlink()
        write_maps(
            tmp_path / "maps",
            "p1",
            ClassMaps((), np.zeros((0, 64, 72), np.float32), np.ones((64, 72), np.float32)),
        )
    pseudo_masks(task_of(weak, tmp_path / "m"), settings, tmp_path / "maps")
    assert np.array_equal(read_index_png(tmp_path / "m" / "p0.png")[5], np.linspace(0, 1, 72) > cut)
    assert not read_index_png(tmp_path / "m" / "p1.png").any()


def test_a_missing_background_is_said(weak: WeakSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set masks\.background"):
        pseudo_masks(task_of(weak, tmp_path / "m"), MaskSettings(None, NONE), tmp_path / "maps")
