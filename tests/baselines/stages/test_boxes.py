from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sbdata_baselines.settings import ViewSettings
from sbdata_baselines.stages.boxes import (
    box_views,
    boxes_of,
    regions_of,
    seen_background,
    seen_boxes,
)

from sbdata.errors import InputError
from sbdata.train.augment import View
from sbdata.train.views import batches
from sbdata.weak_labels.weak_set import Box
from tests.baselines.boxed_examples import write_boxed
from tests.baselines.weak_examples import COLOURS

VIEWS = ViewSettings(48, long_side=(48, 96))


def test_regions_are_the_union_of_a_class() -> None:
    boxes = (Box(7, 0, 0, 2, 1), Box(2, 3, 1, 1, 2), Box(7, 1, 0, 2, 2))
    classes, regions = regions_of(boxes, (3, 4))
    assert classes == (2, 7)
    assert regions[0].astype(int).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
    assert regions[1].astype(int).tolist() == [[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert regions_of((), (3, 4))[1].shape == (0, 3, 4)


def test_boxes_that_are_not_given_are_missed(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=2)
    blind = replace(weak, rows=(weak.rows[0], replace(weak.rows[1], boxes=None)))
    with pytest.raises(InputError, match="image p1 has no boxes"):
        box_views(blind, VIEWS, 0)
    assert boxes_of(replace(weak.rows[0], boxes=())) == ()


# --- one view, by hand ----------------------------------------------------------------------------

# Pixels 2 to 6 of a photo of 10 x 8, drawn at twice their size.
VIEW = View((2.0, 2.0, 6.0, 6.0), 8, flip=False)
BOX = Box(3, 1, 3, 2, 2)  # columns 1 and 2, rows 3 and 4: half of it is seen


def test_edges_in_a_view_by_hand() -> None:
    assert seen_boxes((BOX,), VIEW).tolist() == [[3, 0, 2, 2, 6]]
    assert seen_boxes((BOX,), replace(VIEW, flip=True)).tolist() == [[3, 6, 2, 8, 6]]


def test_a_box_that_shows_too_little_is_left_out() -> None:
    assert len(seen_boxes((BOX,), VIEW, 0.5)) == 1
    assert seen_boxes((BOX,), VIEW, 0.51).shape == (0, 5)
    assert seen_boxes((Box(1, 6, 2, 2, 2),), VIEW).shape == (0, 5)  # touches the view's edge


def test_background_is_photo_without_any_box() -> None:
    wanted = np.ones((8, 8), np.uint8)
    wanted[2:6, 0:2] = 0
    np.testing.assert_array_equal(seen_background((BOX,), VIEW, (8, 10)), wanted)
    beyond = View((8.0, 6.0, 12.0, 10.0), 8, flip=False)  # two columns and two rows of the photo
    wanted = np.zeros((8, 8), np.uint8)
    wanted[:4, :4] = 1
    np.testing.assert_array_equal(seen_background((), beyond, (8, 10)), wanted)
    mirrored = seen_background((), replace(beyond, flip=True), (8, 10))
    np.testing.assert_array_equal(mirrored, wanted[:, ::-1])


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 12), st.integers(0, 12), st.integers(1, 8), st.integers(1, 8),
    st.floats(-6, 14), st.floats(-6, 14), st.floats(2, 20), st.booleans(),
)  # fmt: skip
def test_no_pixel_is_background_and_in_a_box(
    x: int, y: int, width: int, height: int, left: float, upper: float, reach: float, flip: bool
) -> None:
    """Each pixel of background is compared with the photo's own coordinates."""
    box, view = (
        Box(1, x, y, width, height),
        View((left, upper, left + reach, upper + reach), 16, flip),
    )
    background = seen_background((box,), view, (20, 20))
    step = reach / 16
    for row, column in np.argwhere(background):
        place = 15 - column if flip else column
        x0, y0 = left + place * step, upper + row * step
        assert x0 >= -1e-6
        assert x0 + step <= 20 + 1e-6
        assert y0 >= -1e-6
        assert y0 + step <= 20 + 1e-6
        apart = (
            x0 >= x + width - 1e-6 or x0 + step <= x + 1e-6
            or y0 >= y + height - 1e-6 or y0 + step <= y + 1e-6
        )  # fmt: skip
        assert apart


# --- views of photos ------------------------------------------------------------------------------


def test_boxes_lie_on_the_objects_of_the_pixels(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=3)
    views = box_views(weak, VIEWS, 0)
    seen = 0
    for position in range(24):
        pixels, boxes, background = views[position]
        red, green, blue = np.moveaxis(pixels.astype(int), -1, 0)
        for class_id, left, upper, right, lower in boxes[boxes[:, 0] > 0]:
            inner = np.s_[round(upper) + 1 : round(lower) - 1, round(left) + 1 : round(right) - 1]
            channel = (red, blue)[int(class_id) - 1][inner]
            other = (blue, red)[int(class_id) - 1][inner]
            assert (channel - other > 100).all()
            assert not background[inner].any()
            seen += channel.size > 0
        there = background == 1
        assert (abs(red - blue)[there] < 75).all()  # grey noise
        assert (abs(red - green)[there] < 75).all()
    assert seen > 15


def test_rows_without_a_box_are_zeros_and_batches_stack(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=4, empty=3)
    views = box_views(weak, VIEWS, 0)
    images, boxes, background = next(batches([views], [range(4)]))
    assert images.shape == (4, 3, 48, 48)
    assert boxes.shape == (4, 2, 5)  # two boxes in the photo that has most
    assert background.shape == (4, 48, 48)
    assert (boxes[boxes[..., 0] == 0] == 0).all()
    assert {0, 1, 2} <= set(boxes[..., 0].int().flatten().tolist())


def test_a_view_is_a_function_of_seed_and_position(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=4)
    one, again, other = (
        box_views(weak, VIEWS, 1),
        box_views(weak, VIEWS, 1),
        box_views(weak, VIEWS, 2),
    )
    for position in (0, 3, 4, 9):
        for first, second in zip(one[position], again[position], strict=True):
            np.testing.assert_array_equal(first, second)
    assert any((one[p][0] != other[p][0]).any() for p in range(4))


def test_every_photo_is_seen_once_an_epoch(tmp_path: Path) -> None:
    """The photos are told apart by the colour of a corner that every view shows."""
    weak, _ = write_boxed(tmp_path / "photos", n=4)
    whole = box_views(weak, ViewSettings(72, long_side=(72, 72), flip=False), 0)
    for epoch in range(3):
        seen = {tuple(whole[4 * epoch + k][1].flatten().tolist()) for k in range(4)}
        assert len(seen) == 4


def test_colours_name_two_classes() -> None:
    assert set(COLOURS) == {1, 2}  # what the test of the pixels takes for granted
