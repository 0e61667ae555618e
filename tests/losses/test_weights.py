from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from sbdata.errors import InputError  # noqa: E402
from sbdata.losses import size_weights  # noqa: E402
from sbdata.losses.weights import NORMALIZERS, REGIONS  # noqa: E402
from tests.losses.shapes_to_weigh import SHAPES, batches  # noqa: E402
from tests.reference import size_weights as reference  # noqa: E402

MASK = np.array(
    [
        [1, 1, 0, 255],
        [1, 0, 0, 2],
        [0, 0, 1, 0],
        [2, 2, 0, 0],
    ],
    np.uint8,
)
RING = np.pad(np.zeros((3, 3), np.uint8), 1, constant_values=2)
F = np.float32


def by_reference(batch: np.ndarray, *options: object) -> np.ndarray:
    return np.array([reference.size_weights(m.tolist(), *options) for m in batch], F)


def test_the_whole_image_by_hand() -> None:
    wanted = [
        [7 / 3, 7 / 3, 1, 0],
        [7 / 3, 1, 1, 5],
        [1, 1, 5, 1],
        [3.5, 3.5, 1, 1],
    ]
    np.testing.assert_array_equal(size_weights(MASK), np.array(wanted, F))


def test_each_class_by_hand() -> None:
    wanted = [
        [4 / 3, 4 / 3, 1, 0],
        [4 / 3, 1, 1, 3],
        [1, 1, 4, 1],
        [1.5, 1.5, 1, 1],
    ]
    np.testing.assert_array_equal(size_weights(MASK, normalizer="class"), np.array(wanted, F))


def test_a_ring_by_hand() -> None:
    """16 pixels enclose 25, and the outline of the hole encloses all but the corners."""
    outer, inner = 16 / 25, 16 / 21
    wanted = np.full((5, 5), inner, F)
    wanted[[0, 0, -1, -1], [0, -1, 0, -1]] = outer
    np.testing.assert_array_equal(size_weights(RING), wanted)
    components = size_weights(RING, regions="components")
    np.testing.assert_array_equal(components, np.ones((5, 5), F))


def test_what_lies_in_a_hole_is_weighed_by_the_later_outline() -> None:
    lower, higher = RING.copy(), RING.copy()
    lower[2, 2], higher[2, 2] = 1, 3
    assert size_weights(lower)[2, 2] == F(17 / 21)  # class 1 is weighed before the hole of class 2
    assert size_weights(higher)[2, 2] == 5
    void = RING.copy()
    void[2, 2] = 255
    assert size_weights(void)[2, 2] == 0
    assert size_weights(void)[2, 1] == F(16 / 21)


def test_the_cap() -> None:
    assert size_weights(MASK, tau=2)[2, 2] == 2
    assert size_weights(MASK, tau=2.5)[0, 0] == F(7 / 3)
    assert (size_weights(MASK, tau=1) == (MASK != 255)).all()
    mask = np.zeros((40, 40), np.uint8)
    mask[:30], mask[35, 35] = 1, 1
    assert size_weights(mask)[35, 35] == 5
    assert size_weights(mask, tau=math.inf)[35, 35] == 1201


def test_one_region_weighs_one() -> None:
    assert (size_weights(np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]])) == 1).all()
    assert (size_weights(np.array([[1, 1, 2], [0, 2, 2]]), normalizer="class") == 1).all()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("regions", REGIONS)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_hard_shapes(name: str, normalizer: str, regions: str) -> None:
    batch = np.stack([SHAPES[name], SHAPES[name][::-1, ::-1]])
    found = size_weights(batch, tau=3.0, normalizer=normalizer, regions=regions)
    np.testing.assert_array_equal(found, by_reference(batch, 3.0, normalizer, regions))


@settings(max_examples=150, deadline=None)
@given(batches())
@example(np.stack([MASK, MASK.T]))
def test_flood_fill_gives_the_same(batch: np.ndarray) -> None:
    for regions in REGIONS:
        for normalizer in NORMALIZERS:
            wanted = by_reference(batch, 5.0, normalizer, regions)
            options = {"normalizer": normalizer, "regions": regions}
            for found in (
                size_weights(batch, **options),
                size_weights(batch.astype(np.int64), **options),
                size_weights(torch.from_numpy(batch.copy()), **options).numpy(),
            ):
                assert found.dtype == np.float32
                np.testing.assert_array_equal(found, wanted)


def test_large_noise_like_flood_fill() -> None:
    rng = np.random.default_rng(0)
    for kinds in ((0, 1), (0, 0, 1, 2), (1, 2, 255)):  # near the threshold of percolation and off
        batch = np.array(kinds, np.uint8)[rng.integers(0, len(kinds), (1, 41, 53))]
        found = size_weights(batch, tau=math.inf)
        np.testing.assert_array_equal(found, by_reference(batch, math.inf))


def test_one_mask_and_a_batch_agree() -> None:
    batch = np.stack([MASK, np.zeros_like(MASK), MASK[::-1]])
    together = size_weights(batch)
    for one, weights in zip(batch, together, strict=True):
        np.testing.assert_array_equal(size_weights(one), weights)


def test_strided_masks_and_the_input_is_left_alone() -> None:
    wide = np.repeat(MASK, 2, axis=1)
    before = wide.copy()
    np.testing.assert_array_equal(size_weights(wide[:, ::2]), size_weights(MASK))
    np.testing.assert_array_equal(size_weights(np.asfortranarray(MASK)), size_weights(MASK))
    np.testing.assert_array_equal(size_weights(torch.from_numpy(MASK).T), size_weights(MASK).T)
    np.testing.assert_array_equal(wide, before)


def test_another_void() -> None:
    mask = np.where(MASK == 255, 21, MASK)
    np.testing.assert_array_equal(size_weights(mask, ignore_index=21), size_weights(MASK))


def test_no_mask_at_all() -> None:
    assert size_weights(np.zeros((0, 3, 4), np.uint8)).shape == (0, 3, 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_tensor_stays_on_its_device() -> None:
    batch = np.random.default_rng(1).integers(0, 3, (4, 120, 150)).astype(np.uint8)
    found = size_weights(torch.from_numpy(batch).cuda())
    assert found.is_cuda
    np.testing.assert_array_equal(found.cpu().numpy(), size_weights(batch))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tau": 0.5}, "tau must be at least 1"),
        ({"tau": math.nan}, "tau must be at least 1"),
        ({"normalizer": "batch"}, "normalizer must be one of image, class, not 'batch'"),
        ({"regions": "boxes"}, "regions must be one of outlines, components, not 'boxes'"),
        ({"ignore_index": 0}, "0 is background"),
        ({"ignore_index": -100}, "ignore_index"),
    ],
)
def test_options_out_of_range(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        size_weights(MASK, **options)


def test_masks_that_are_none() -> None:
    with pytest.raises(InputError, match=r"\(H, W\) or \(N, H, W\)"):
        size_weights(np.zeros(3, np.uint8))
    with pytest.raises(InputError, match="not empty"):
        size_weights(torch.zeros(2, 0, 3, dtype=torch.uint8))
    for floats in (np.zeros((2, 2)), torch.zeros(2, 2)):
        with pytest.raises(InputError, match="integers, not"):
            size_weights(floats)
    for value in (-1, 256):
        with pytest.raises(InputError, match=f"{value}.*0..255"):
            size_weights(np.full((2, 2), value))
