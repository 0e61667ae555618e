"""Masks against pycocotools, scipy and plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from scipy import ndimage

from sbdata.masks import (
    VOID,
    MaskError,
    counts_to_rle,
    decode_mask,
    draw_by_size,
    draw_masks,
    drawing_order,
    encode_mask,
    measure_visible,
    outlines_to_rles,
    rle_area,
)

# The first call of a kernel may wait for its compilation.
patient = settings(deadline=None)

Masks = tuple[int, int, list[np.ndarray]]


@st.composite
def stacks(draw: st.DrawFn, most: int = 6) -> Masks:
    """A few masks of one size, from empty to full, blocky or noisy."""
    height, width = draw(st.integers(1, 37)), draw(st.integers(1, 37))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = []
    for _ in range(draw(st.integers(0, most))):
        block = draw(st.integers(1, 8))
        coarse = random.random((-(-height // block), -(-width // block)))
        grown = np.kron(coarse, np.ones((block, block)))[:height, :width]
        masks.append(grown < draw(st.sampled_from([0.0, 0.05, 0.3, 0.7, 1.0])))
    return height, width, masks


def pack(mask: np.ndarray) -> bytes:
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]


def painted(height: int, width: int, masks: list[np.ndarray]) -> np.ndarray:
    canvas = np.zeros((height, width), np.uint8)
    for label, mask in enumerate(masks, start=1):
        canvas[mask] = label
    return canvas


# --- run-length codes -----------------------------------------------------------------------------


@patient
@given(stacks())
def test_codes_are_those_of_pycocotools_and_come_back(stack: Masks) -> None:
    height, width, masks = stack
    for mask in masks:
        code = encode_mask(mask)
        assert code == pack(mask)
        assert rle_area(code, height, width) == mask.sum()
        assert np.array_equal(decode_mask(code, height, width), mask)


@patient
@given(stacks(most=1))
def test_uncompressed_counts_become_the_same_code(stack: Masks) -> None:
    height, width, masks = stack
    for mask in masks:
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *edges.tolist(), flat.size]).tolist()
        counts = [0, *runs] if flat[0] else runs
        assert counts_to_rle(counts, height, width) == encode_mask(mask)


@pytest.mark.parametrize(
    ("height", "width"), [(4, 6), (6, 5), (1, 1), (0, 0)], ids=["fewer", "more", "one", "none"]
)
def test_a_code_of_another_size_is_refused(height: int, width: int) -> None:
    code = encode_mask(np.ones((5, 5), bool))
    for use in (rle_area, decode_mask):
        with pytest.raises(MaskError, match=f"does not fit an image of {height} x {width}"):
            use(code, height, width)
    with pytest.raises(MaskError, match="does not fit"):
        draw_masks([code], height, width)


@pytest.mark.parametrize("code", [b"", b"\xff" * 40, b"5", b"oooooooooooooooooooo", b"0" * 9])
def test_damaged_codes_are_refused(code: bytes) -> None:
    with pytest.raises(MaskError):
        rle_area(code, 7, 7)


def compressed(runs: list[int]) -> bytes:
    """Any run lengths in COCO's code, as its definition says it: five bits a character."""
    out = bytearray()
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        while True:
            chunk, value = value & 0x1F, value >> 5
            more = value != (-1 if chunk & 0x10 else 0)
            out.append((chunk | 0x20 if more else chunk) + 48)
            if not more:
                break
    return bytes(out)


def test_runs_whose_sum_wraps_around_are_refused() -> None:
    """64-bit sums of these runs are the 12 pixels of the image again."""
    huge = 2**63 - 1
    runs = [2, 0, huge, 7, huge, 5]
    assert sum(runs) % 2**64 == 12
    plain = np.repeat([0, 1, 0, 1], [3, 4, 4, 1]).reshape(3, 4, order="F")
    assert compressed([3, 4, 4, 1]) == pack(plain)
    for code in (compressed(runs), compressed([1, 0, huge, 1, huge, 12])):
        with pytest.raises(MaskError, match="a run-length code does not fit an image"):
            decode_mask(code, 3, 4)
        with pytest.raises(MaskError, match="does not fit"):
            rle_area(code, 3, 4)


@patient
@given(st.binary(max_size=40))
def test_no_code_writes_outside_the_image(code: bytes) -> None:
    try:
        area = rle_area(code, 5, 4)
    except MaskError:
        return
    assert decode_mask(code, 5, 4).sum() == area


@pytest.mark.parametrize("counts", [[], [24], [26], [30, -5], [5, 5, 5]])
def test_counts_that_do_not_fill_the_image_are_refused(counts: list[int]) -> None:
    with pytest.raises(MaskError, match="not 5 x 5"):
        counts_to_rle(counts, 5, 5)


# --- polygons -------------------------------------------------------------------------------------


def objects_to_rles(objects: list[list[list[float]]], height: int, width: int) -> list[bytes]:
    """Pass on polygons as nested lists."""
    parts = [part for polygons in objects for part in polygons]
    points = np.array([value for part in parts for value in part], np.float64)
    return outlines_to_rles(
        points, [len(part) for part in parts], [len(o) for o in objects], height, width
    )


coordinates = st.floats(-1, 31, allow_nan=False).map(lambda value: round(value, 2))
parts = st.lists(coordinates, min_size=6, max_size=20).filter(lambda part: len(part) % 2 == 0)
objects = st.lists(parts, min_size=1, max_size=3)


@patient
@given(st.lists(objects, max_size=4))
def test_polygons_are_drawn_as_pycocotools_draws_them(outlines: list[list[list[float]]]) -> None:
    expected = [
        coco_mask.merge(coco_mask.frPyObjects(polygons, 30, 25))["counts"] for polygons in outlines
    ]
    assert objects_to_rles(outlines, 30, 25) == expected


def test_the_parts_of_an_object_are_joined() -> None:
    squares = [[0, 0, 3, 0, 3, 3, 0, 3], [2, 2, 6, 2, 6, 6, 2, 6]]
    codes = objects_to_rles([squares, squares[:1], squares[1:]], 8, 8)
    both, *each = (decode_mask(code, 8, 8) for code in codes)
    assert np.array_equal(both, each[0] | each[1])
    assert both.sum() == 9 + 16 - 1


def test_a_box_of_four_numbers_is_not_taken_for_a_polygon() -> None:
    with pytest.raises(MaskError, match="fewer than three points"):
        objects_to_rles([[[1, 1, 4, 4]]], 9, 9)


@pytest.mark.parametrize("polygons", [[[0, 0, 5, 5]], [[0, 0, 5, 0, 5]], [[0, 0, 5, 0, 5, 5], []]])
def test_polygons_that_outline_nothing_are_refused(polygons: list[list[float]]) -> None:
    with pytest.raises(MaskError, match="fewer than three points"):
        objects_to_rles([polygons], 9, 9)


def test_an_object_without_a_polygon_is_refused() -> None:
    with pytest.raises(MaskError, match="has no polygon"):
        objects_to_rles([[]], 9, 9)


# --- drawing and measuring ------------------------------------------------------------------------


@patient
@given(stacks())
def test_later_masks_lie_on_top(stack: Masks) -> None:
    height, width, masks = stack
    drawn = draw_masks([pack(mask) for mask in masks], height, width)
    assert np.array_equal(drawn, painted(height, width, masks))


def test_masks_are_drawn_onto_a_map_with_the_labels_given() -> None:
    below = draw_masks([pack(np.ones((4, 5), bool))], 4, 5, labels=[VOID])
    corner = np.zeros((4, 5), bool)
    corner[:2, :2] = True
    same = draw_masks([pack(corner)], 4, 5, labels=[7], onto=below)
    assert same is below
    assert np.array_equal(below, np.where(corner, 7, VOID))


def test_larger_masks_come_first_and_equal_ones_keep_their_order() -> None:
    assert drawing_order([3, 9, 3, 12, 9]).tolist() == [3, 1, 4, 0, 2]
    assert drawing_order([]).tolist() == []


@settings(max_examples=300, deadline=None)
@given(stacks(), st.booleans())
def test_what_is_visible_is_measured_as_one_by_one(stack: Masks, with_void: bool) -> None:
    height, width, masks = stack
    label_map = painted(height, width, masks)
    if with_void:
        label_map[: height // 2, width // 3 :] = VOID
    visible = measure_visible(np.asfortranarray(label_map), len(masks))
    assert len(visible.area) == len(visible.rle) == len(masks)
    for i in range(len(masks)):
        mask = label_map == i + 1
        assert visible.area[i] == mask.sum()
        assert visible.rle[i] == pack(mask)
        if not mask.any():
            assert visible.components[i] == 0
            assert visible.bbox[i].tolist() == [0, 0, 0, 0]
            assert not visible.touches_border[i]
            continue
        y, x = np.nonzero(mask)
        box = [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
        assert visible.bbox[i].tolist() == box
        _, components = ndimage.label(mask, np.ones((3, 3)))
        assert visible.components[i] == components
        edge = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
        assert visible.touches_border[i] == edge


@settings(max_examples=300, deadline=None)
@given(stacks(), st.booleans(), st.booleans())
def test_drawing_by_size_measures_what_the_whole_map_shows(
    stack: Masks, with_void: bool, parted: bool
) -> None:
    height, width, masks = stack
    codes = []
    for mask in masks:
        flat = mask.ravel(order="F")
        runs = np.diff(np.flatnonzero(np.diff(flat, prepend=False, append=~flat[-1]))).tolist()
        runs = [int(np.argmax(flat)) if flat.any() else flat.size, *runs]
        if parted:  # with runs of no pixels, which other writers' codes may have
            runs = [part for run in runs for part in ([1, 0, run - 1] if run > 1 else [run])]
        codes.append(compressed(runs))
    drawn = np.zeros((height, width), np.uint8, order="F")
    if with_void:
        drawn[: height // 2, width // 3 :] = VOID
    expected = drawn.copy(order="F")
    for k in drawing_order([mask.sum() for mask in masks]):
        expected[masks[k]] = k + 1
    visible, whole = draw_by_size(codes, drawn), measure_visible(expected, len(masks))
    assert np.array_equal(drawn, expected)
    assert visible.rle == whole.rle
    for name in ("area", "bbox", "components", "touches_border"):
        assert np.array_equal(getattr(visible, name), getattr(whole, name)), name


def test_drawing_by_size_refuses_a_code_of_another_size() -> None:
    with pytest.raises(MaskError, match="does not fit an image of 4 x 6"):
        draw_by_size([encode_mask(np.ones((5, 5), bool))], np.zeros((4, 6), np.uint8, order="F"))


def test_a_row_major_map_is_measured_alike() -> None:
    label_map = np.zeros((9, 13), np.uint8)
    label_map[2:5, 3:11] = 1
    visible = measure_visible(label_map, 1)
    assert visible.bbox.tolist() == [[3, 2, 8, 3]]
    assert visible.rle == [pack(label_map == 1)]


def test_runs_across_many_columns_are_cut_at_each() -> None:
    whole = measure_visible(np.ones((16, 40), np.uint8, order="F"), 1)
    assert whole.area.tolist() == [640]
    assert whole.components.tolist() == [1]
    assert whole.bbox.tolist() == [[0, 0, 40, 16]]
    assert whole.rle == [pack(np.ones((16, 40), bool))]


def test_254_instances_fit() -> None:
    label_map = np.zeros((2, 300), np.uint8, order="F")
    label_map[0, :254] = np.arange(1, 255)
    visible = measure_visible(label_map, 254)
    assert visible.area.tolist() == [1] * 254
    assert visible.bbox[253].tolist() == [253, 0, 1, 1]
