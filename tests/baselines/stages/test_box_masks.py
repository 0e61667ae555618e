from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sbdata_baselines.methods.bbam import BoxMaskSettings
from sbdata_baselines.settings import Refinement
from sbdata_baselines.stages.box_masks import (
    blurred_values,
    clipped_values,
    fit_in,
    merged_mask,
    object_mask,
)
from sbdata_baselines.stages.maps import FloatMap
from sbdata_baselines.stages.refinement import refiner_of
from scipy import ndimage

from sbdata.masks import VOID
from sbdata.weak_labels.weak_set import Box

SETTINGS = BoxMaskSettings(blur=(0, 0), refine=Refinement("none"))
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("theta", "certain"), [(0.85, 16), (0.2, 81), (0.0, 100)])
def test_as_many_pixels_are_certain_as_theta_says(theta: float, certain: int) -> None:
    values = RNG.permutation(np.arange(1, 101)).reshape(10, 10).astype(np.float32) / 100
    found = clipped_values(values, theta)
    assert int((found == 1).sum()) == certain
    assert not clipped_values(np.zeros((3, 4), np.float32), theta).any()


@pytest.mark.parametrize("box", [Box(1, 0, 0, 9, 7), Box(1, 20, 12, 10, 11), Box(1, 33, 2, 7, 28)])
@pytest.mark.parametrize("sigma", [1.0, 5.2])
def test_the_blur_is_that_of_the_whole_photo(box: Box, sigma: float) -> None:
    values = RNG.random((box.height, box.width), np.float32)
    whole = np.zeros((30, 40), np.float32)
    whole[box.y : box.y + box.height, box.x : box.x + box.width] = values
    blurred = ndimage.gaussian_filter(whole, round(sigma), mode="mirror", radius=round(sigma))
    wanted = blurred[box.y : box.y + box.height, box.x : box.x + box.width]
    found = blurred_values(values, box, (30, 40), sigma)
    np.testing.assert_allclose(found, wanted / wanted.max(), rtol=1e-5)


def test_without_a_blur_values_stay() -> None:
    values = RNG.random((3, 4), np.float32)
    np.testing.assert_array_equal(blurred_values(values, Box(1, 0, 0, 4, 3), (9, 9), 0), values)


def test_a_margin_beyond_the_reach_of_par_changes_nothing() -> None:
    photo = RNG.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    photo[12:20, 15:29] = (200, 20, 20)
    box = Box(1, 14, 10, 16, 12)
    values = RNG.random((12, 16), np.float32)
    refine = refiner_of(Refinement("par", 3, (1, 2)), torch.device("cpu"))
    whole, near = (
        fit_in(photo, box, refine, BoxMaskSettings(certain=0.5, margin=margin))(values)
        for margin in (-1, 8)
    )
    np.testing.assert_array_equal(whole, near)
    assert whole.shape == (12, 16)


def plain_fit(values: FloatMap) -> np.ndarray:
    return values > 0.9


def test_a_large_object_stays_as_it_is() -> None:
    values = np.zeros((10, 10), np.float32)
    values[4, 4] = 1
    found = object_mask(values, Box(1, 0, 0, 10, 10), (20, 20), 0.999, plain_fit, SETTINGS)
    assert found.sum() == 1


def test_a_small_object_is_found_again_in_its_box() -> None:
    values = np.zeros((10, 10), np.float32)
    values[4, 4] = 1
    asked: list[FloatMap] = []

    def fit(given: FloatMap) -> np.ndarray:
        asked.append(given)
        return plain_fit(given)

    found = object_mask(values, Box(1, 5, 5, 10, 10), (100, 100), 0.999, fit, SETTINGS)
    assert [round(float(given[0, 0]), 2) for given in asked] == [0.0, 0.7, 0.8, 0.9, 0.95]
    assert all(given[4, 4] == 1 for given in asked)
    assert found.all()


def test_the_last_fill_of_a_small_object_stands() -> None:
    values = np.zeros((10, 10), np.float32)
    values[4, 4] = 1
    found = object_mask(
        values, Box(1, 5, 5, 10, 10), (100, 100), 0.999, lambda v: v > 0.97, SETTINGS
    )
    assert found.sum() == 1


def test_an_object_that_was_not_found_has_its_box() -> None:
    nothing = np.zeros((6, 8), np.float32)
    box, size = Box(1, 0, 0, 8, 6), (10, 10)
    assert object_mask(nothing, box, size, 0.85, lambda v: v > 2, SETTINGS).all()
    half = np.arange(48).reshape(6, 8) < 24
    found = object_mask(nothing, box, size, 0.85, lambda v: half & (v > 0.75), SETTINGS)
    np.testing.assert_array_equal(found, half)


def test_classes_inner_boxes_and_bands() -> None:
    outer, inner, beside = Box(1, 0, 0, 6, 4), Box(2, 2, 1, 2, 2), Box(3, 5, 0, 3, 4)
    full = [np.ones((box.height, box.width), bool) for box in (outer, inner, beside)]
    mask = merged_mask((outer, inner, beside), full, full, (5, 8))
    assert mask.tolist() == [
        [1, 1, 1, 1, 1, 255, 3, 3],
        [1, 1, 2, 2, 1, 255, 3, 3],
        [1, 1, 2, 2, 1, 255, 3, 3],
        [1, 1, 1, 1, 1, 255, 3, 3],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    core = np.zeros((4, 6), bool)
    core[1:3, 0:2] = True
    mask = merged_mask((outer,), [core], [full[0]], (5, 8))
    assert (mask == 1).sum() == 4
    assert (mask == VOID).sum() == 20
    assert not merged_mask((), [], [], (2, 3)).any()


@given(st.data())
def test_the_band_of_an_object_alone_holds_none_of_its_foreground(data: st.DataObject) -> None:
    bits = st.lists(st.booleans(), min_size=12, max_size=12)
    found, wide = (np.array(data.draw(bits)).reshape(3, 4) for _ in range(2))
    box = Box(5, 1, 2, 4, 3)
    mask = merged_mask((box,), [found], [wide], (6, 6))
    inner = mask[2:5, 1:5]
    np.testing.assert_array_equal(inner == 5, found)
    np.testing.assert_array_equal(inner == VOID, wide & ~found)
    mask[2:5, 1:5] = 0
    assert not mask.any()
