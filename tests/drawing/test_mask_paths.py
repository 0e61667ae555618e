"""Paths of masks cover the masks' pixels."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sbdata.drawing.mask_paths import contour_path, outline_path
from tests.reference.svg_paths import windings


@pytest.mark.parametrize("seed", range(40))
def test_a_contour_winds_once_around_the_pixels_of_its_mask(seed):
    draw = np.random.default_rng(seed)
    shape = draw.integers(1, 14, 2)
    mask = draw.random(shape) < draw.random()  # with holes, and pixels that meet at corners
    assert np.array_equal(windings(contour_path(mask), *shape), mask.astype(int))


def test_a_contour_follows_the_sides_and_has_a_step_for_each_corner():
    assert contour_path(np.ones((3, 5), bool)) == "M0 0h5v3h-5z"
    assert contour_path(np.zeros((3, 5), bool)) == ""


def test_an_outline_has_all_edges_within_the_array_and_none_of_its_sides():
    mask = np.random.default_rng(0).random((9, 11)) < 0.5
    steps = re.findall(r"M(\d+) (\d+)([HV])(\d+)", outline_path(mask))
    length = sum(int(end) - int(x if kind == "H" else y) for x, y, kind, end in steps)
    assert length == (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
