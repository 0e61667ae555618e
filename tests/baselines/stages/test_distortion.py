from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sbdata_baselines.settings import Distortion
from sbdata_baselines.stages.distortion import Distorted, seeded

from sbdata.weak_labels.weak_set import WeakImage

DISTORTED = Distorted(32, Distortion())
ROW = WeakImage("p0", Path("p0.png"), (48, 64), (1, 4))


def photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def changed(seed: int, alter: Distorted = DISTORTED) -> np.ndarray:  # type: ignore[type-arg]
    found, row = alter(photo(), ROW, np.random.default_rng(seed))
    assert row is ROW
    assert found.size == (32, 32)
    assert found.mode == "RGB"
    return np.asarray(found)


def test_a_photo_is_changed_by_its_own_chance_alone() -> None:
    first = changed(3)
    random.seed(9)
    torch.manual_seed(9)
    assert np.array_equal(changed(3), first)
    assert not np.array_equal(changed(4), first)


def test_it_goes_to_workers() -> None:
    assert np.array_equal(changed(3, pickle.loads(pickle.dumps(DISTORTED))), changed(3))  # noqa: S301


def test_the_global_sources_of_chance_are_left_as_they_were() -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    seen = []
    state = (random.getstate(), np.random.get_state(), torch.get_rng_state())  # noqa: NPY002
    wanted = draws()
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    torch.set_rng_state(state[2])
    changed(5)
    assert draws() == wanted
    for _ in range(2):
        with seeded(1):
            seen.append(draws())
    assert seen[0] == seen[1] != wanted


def test_an_error_leaves_them_as_they_were_too() -> None:
    state = random.getstate()
    with pytest.raises(RuntimeError), seeded(1):
        raise RuntimeError(random.random())
    assert random.getstate() == state


def test_without_changes_a_view_is_a_part_of_the_photo() -> None:
    """A ramp stays one: no colour that the photo has not, rising to the right."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 64, 3))
    alter = Distorted(32, Distortion(policy="", erase=0.0, area=(0.5, 0.5)))
    spans = set()
    for seed in range(5):
        found, _ = alter(Image.fromarray(ramp.copy()), ROW, np.random.default_rng(seed))
        values = np.asarray(found).astype(int)[:, :, 0]
        assert (values == values[0]).all()
        assert (np.diff(values[0]) >= 0).all()
        assert 0.5**0.5 * 0.8 < np.ptp(values[0]) / 252 < 0.5**0.5 * 1.25  # of aspect 3/4 to 4/3
        spans.add(np.ptp(values[0]))
    assert len(spans) > 1


def test_erasing_puts_noise_in_a_rectangle() -> None:
    grey = Image.new("RGB", (64, 64), (124, 116, 104))
    alter = Distorted(64, Distortion(policy="", erase=1.0, area=(1.0, 1.0)))
    pixels = np.asarray(alter(grey, ROW, np.random.default_rng(0))[0])
    noisy = (pixels != (124, 116, 104)).any(axis=2)
    rows, columns = np.flatnonzero(noisy.any(1)), np.flatnonzero(noisy.any(0))
    box = noisy[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert 0.015 < box.size / 64**2 < 0.35
    assert box.mean() > 0.99
