from __future__ import annotations

import heapq
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sbdata_baselines.stages import saliency as module
from sbdata_baselines.stages.saliency import (
    barrier_distance,
    border_contrast,
    read_saliency,
    saliency,
)

from sbdata.errors import InputError


def blob(
    height: int = 90, width: int = 120, box: tuple[int, int, int, int] = (30, 40, 20, 30)
) -> npt.NDArray[np.uint8]:
    """A yellow rectangle (top, left, height, width) on blue with a little noise."""
    noise = np.random.default_rng(0).integers(0, 6, (height, width, 3))
    image = np.array([40, 60, 140]) + noise
    top, left, rows, columns = box
    image[top : top + rows, left : left + columns] += [180, 140, -120]
    return image.clip(0, 255).astype(np.uint8)


def exact_barrier(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The minimum over paths of max - min: for each lower end, the least maximum (Dijkstra)."""
    height, width = plane.shape
    best = np.full(plane.shape, np.inf)
    border = {
        (y, x) for y in range(height) for x in range(width)
        if y in (0, height - 1) or x in (0, width - 1)
    }  # fmt: skip
    for low in np.unique(plane):
        highest = np.full(plane.shape, np.inf)
        queue = [(float(plane[place]), place) for place in sorted(border) if plane[place] >= low]
        heapq.heapify(queue)
        while queue:
            value, (y, x) = heapq.heappop(queue)
            if value >= highest[y, x]:
                continue
            highest[y, x] = value
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < height and 0 <= u < width and plane[v, u] >= low:
                    heapq.heappush(queue, (max(value, float(plane[v, u])), (v, u)))
        best = np.minimum(best, highest - low)
    for place in border:
        best[place] = 0
    return best


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 8), st.integers(3, 8), st.integers(0, 10_000))
def test_barrier_is_that_of_a_path_and_falls_to_the_exact_one(
    height: int, width: int, seed: int
) -> None:
    plane = np.random.default_rng(seed).integers(0, 5, (height, width)).astype(np.float32)
    exact = exact_barrier(plane)
    few, many = barrier_distance(plane, 3), barrier_distance(plane, 30)
    assert (few >= exact - 1e-6).all()
    assert (many <= few).all()
    assert np.mean(many == exact) >= 0.8  # the scans keep one path a pixel, so not always all
    assert not few[0].any()
    assert not few[:, -1].any()


def test_barrier_of_nested_squares() -> None:
    plane = np.zeros((11, 11), np.float32)
    plane[3:8, 3:8] = 4
    plane[5, 5] = -1
    distance = barrier_distance(plane, 3)
    expected = np.where(plane == 4, 4, 0).astype(np.float32)
    expected[5, 5] = 5
    np.testing.assert_array_equal(distance, expected)


def test_a_path_around_costs_nothing() -> None:
    """A wall with a gap: what lies behind it is reached through the gap."""
    plane = np.zeros((12, 12), np.float32)
    plane[2:10, 2], plane[2:10, 9], plane[2, 2:10], plane[9, 2:10] = 7, 7, 7, 7
    closed = barrier_distance(plane, 3)
    assert (closed[3:9, 3:9] == 7).all()
    plane[9, 5] = 0
    assert not barrier_distance(plane, 3)[3:9, 3:9].any()


@pytest.mark.parametrize("backgroundness", [False, True])
def test_a_blob_stands_out(backgroundness: bool) -> None:
    found = saliency(blob(), backgroundness=backgroundness)
    inside = np.zeros(found.shape, bool)
    inside[30:50, 40:70] = True
    assert found.dtype == np.uint8
    assert found[inside].min() > 200
    assert found[~inside].max() < 40
    assert found.max() == 255


def test_large_images_are_reduced_and_brought_back() -> None:
    small = blob()
    large = np.asarray(Image.fromarray(small).resize((1200, 900), Image.Resampling.NEAREST))
    found = saliency(large)
    assert found.shape == (900, 1200)
    assert found[320:480, 420:680].min() > 200
    assert found[:280].max() < 40


def test_a_small_blob_stands_out_alone() -> None:
    found = saliency(blob(box=(60, 80, 5, 5)))
    assert found[61:64, 81:84].min() > 200
    assert found[:50].max() < 40


def test_an_object_on_one_side_needs_the_contrast_to_the_border() -> None:
    image = np.full((90, 120, 3), (40, 60, 140), np.uint8)
    image[30:55, :40] = 220, 200, 20
    assert not saliency(image, backgroundness=False).any()
    found = saliency(image)
    assert found[30:55, :40].min() > 200
    assert found[:, 45:].max() < 40


@pytest.mark.parametrize("size", [(40, 50), (1, 1), (2, 9), (3, 3), (400, 20)])
def test_a_constant_image_gives_zeros(size: tuple[int, int]) -> None:
    found = saliency(np.full((*size, 3), 93, np.uint8))
    assert found.shape == size
    assert not found.any()


def test_the_same_image_gives_the_same_map() -> None:
    image = np.random.default_rng(1).integers(0, 256, (50, 60, 3), np.uint8)
    before = image.copy()
    np.testing.assert_array_equal(saliency(image), saliency(image.copy()))
    np.testing.assert_array_equal(image, before)


def test_mirrored_images_give_almost_mirrored_maps() -> None:
    found, mirrored = saliency(blob()), saliency(np.ascontiguousarray(blob()[:, ::-1]))
    assert np.abs(found.astype(int) - mirrored[:, ::-1]).mean() < 2


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)],
)
def test_other_images(image: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="uint8 of shape"):
        saliency(image)


def test_border_contrast_leaves_out_the_side_that_the_object_covers() -> None:
    """A side wholly of the object's colours finds the rest unlike; the other three outvote it."""
    colours = np.zeros((40, 40, 3), np.float32)
    colours[:, :6, 0] = 50
    contrast = border_contrast(colours)
    assert contrast[10:30, :6].min() > contrast[10:30, 10:30].max()


def test_smoothing_flattens_spots_and_keeps_edges() -> None:
    values = np.zeros((30, 30), np.float32)
    values[5:20, 5:20] = 1
    values[10, 10] = 0  # a dark and a bright spot
    values[25, 25] = 1
    flat = module._smoothed(values, 5)
    expected = np.zeros_like(values)
    expected[5:20, 5:20] = 1
    np.testing.assert_array_equal(flat, expected)


# --- maps from a folder ---------------------------------------------------------------------------


def test_a_map_is_read(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_saliency(tmp_path, "a", (3, 4)), values)


def test_maps_that_cannot_be_used(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "colour.png")
    Image.new("I;16", (4, 3)).save(tmp_path / "deep.png")
    Image.new("L", (4, 3)).save(tmp_path / "jpeg.jpg")
    (tmp_path / "jpeg.jpg").rename(tmp_path / "jpeg.png")
    Image.new("L", (40, 30), 7).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (4, 3)).save(tmp_path / "turned.png")
    for image_id, match in {
        "missing": r"missing\.png does not exist",
        "colour": "mode RGB",
        "deep": "mode I;16",
        "jpeg": "not a readable PNG",
        "cut": "not a readable PNG",
        "turned": "4 x 3 pixels, but its image has 3 x 4",
        "../a": "cannot name a file",
    }.items():
        with pytest.raises(InputError, match=match):
            read_saliency(tmp_path, image_id, (4, 3) if image_id == "turned" else (3, 4))
