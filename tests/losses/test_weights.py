from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from sbdata.errors import InputError  # noqa: E402
from sbdata.losses import NORMALIZERS, components, propagated_weights, size_weights  # noqa: E402
from sbdata.losses.components import component_roots  # noqa: E402
from tests.losses.shapes_to_weigh import SHAPES, batches, serpentine, spiral  # noqa: E402
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
F = np.float32


def by_reference(batch: np.ndarray, tau: float, normalizer: str) -> np.ndarray:
    return np.array([reference.size_weights(m.tolist(), tau, normalizer) for m in batch], F)


def test_each_class_by_hand() -> None:
    wanted = [
        [4 / 3, 4 / 3, 1, 0],
        [4 / 3, 1, 1, 3],
        [1, 1, 4, 1],
        [1.5, 1.5, 1, 1],
    ]
    np.testing.assert_array_equal(size_weights(MASK), np.array(wanted, F))


def test_the_whole_image_by_hand() -> None:
    wanted = [
        [7 / 3, 7 / 3, 1, 0],
        [7 / 3, 1, 1, 5],
        [1, 1, 5, 1],
        [3.5, 3.5, 1, 1],
    ]
    np.testing.assert_array_equal(size_weights(MASK, normalizer="image"), np.array(wanted, F))


def test_the_cap() -> None:
    assert size_weights(MASK, tau=2)[2, 2] == 2
    assert size_weights(MASK, tau=2)[0, 0] == F(4 / 3)
    assert (size_weights(MASK, tau=1) == (MASK != 255)).all()
    mask = np.zeros((40, 40), np.uint8)
    mask[:30], mask[35, 35] = 1, 1
    assert size_weights(mask)[35, 35] == 5
    assert size_weights(mask, tau=math.inf)[35, 35] == 1201


def test_one_component_a_class_weighs_one() -> None:
    mask = np.array([[1, 1, 2], [0, 2, 2], [3, 0, 0]])
    assert (size_weights(mask) == 1).all()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_hard_shapes(name: str, normalizer: str) -> None:
    batch = np.stack([SHAPES[name], SHAPES[name][::-1, ::-1]])
    wanted = by_reference(batch, 3.0, normalizer)
    np.testing.assert_array_equal(size_weights(batch, tau=3.0, normalizer=normalizer), wanted)
    spread = propagated_weights(torch.from_numpy(batch), tau=3.0, normalizer=normalizer)
    assert spread.dtype == torch.float32
    np.testing.assert_array_equal(spread.numpy(), wanted)


@settings(max_examples=100, deadline=None)
@given(batches())
@example(np.stack([MASK, MASK.T]))
def test_all_ways_agree(batch: np.ndarray) -> None:
    for normalizer in NORMALIZERS:
        wanted = by_reference(batch, 5.0, normalizer)
        tensor = torch.from_numpy(batch.copy())
        for found in (
            size_weights(batch, normalizer=normalizer),
            size_weights(batch.astype(np.int64), normalizer=normalizer),
            size_weights(tensor, normalizer=normalizer).numpy(),
            propagated_weights(tensor, normalizer=normalizer).numpy(),
            propagated_weights(tensor.long(), normalizer=normalizer).numpy(),
        ):
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("mask", [spiral(64), serpentine(63, 70), serpentine(80, 61)[::-1]])
def test_long_paths_become_one_component(mask: np.ndarray) -> None:
    batch = torch.from_numpy(np.stack([mask, mask.T] if mask.shape[0] == mask.shape[1] else [mask]))
    roots = component_roots(batch).view(batch.shape)
    for one, root in zip(batch, roots, strict=True):
        assert len(root[one > 0].unique()) == 1


@settings(max_examples=60, deadline=None)
@given(batches())
@example(np.array([[[1, 0, 1], [0, 1, 0]]], np.uint8))  # the lower pixel can hook onto one only
def test_every_round_halves_the_trees_of_a_component(batch: np.ndarray) -> None:
    """This is what the fixed number of rounds rests on; small masks seldom need them all."""
    classes = torch.from_numpy(np.where(batch == 255, 0, batch))
    pairs = [components._neighbours(classes, *step) for step in components._FORWARD]
    index = torch.arange(classes.numel())
    whole, root = component_roots(classes), index
    for _ in range(3):
        before = root
        root = components._hooked(before, index, pairs, classes.shape)
        for _ in range(8):
            root = root.gather(0, root)
        assert torch.equal(root, root.gather(0, root))  # no cycle
        for component in whole.unique():
            inside = whole == component
            left, had = (len(forest[inside].unique()) for forest in (root, before))
            assert left <= max(1, had // 2)


def test_large_noise_like_the_arrays() -> None:
    rng = np.random.default_rng(0)
    for kinds in ((0, 1), (0, 0, 1, 2), (1, 2, 255)):  # near the threshold of percolation and off
        batch = np.array(kinds, np.uint8)[rng.integers(0, len(kinds), (2, 97, 131))]
        found = propagated_weights(torch.from_numpy(batch), tau=math.inf)
        np.testing.assert_array_equal(found.numpy(), size_weights(batch, tau=math.inf))


def test_one_mask_and_a_batch_agree() -> None:
    batch = np.stack([MASK, np.zeros_like(MASK), MASK[::-1]])
    together = size_weights(batch)
    for one, weights in zip(batch, together, strict=True):
        np.testing.assert_array_equal(size_weights(one), weights)
        np.testing.assert_array_equal(propagated_weights(torch.from_numpy(one.copy())), weights)


def test_strided_masks_and_the_input_is_left_alone() -> None:
    wide = np.repeat(MASK, 2, axis=1)
    before = wide.copy()
    np.testing.assert_array_equal(size_weights(wide[:, ::2]), size_weights(MASK))
    np.testing.assert_array_equal(size_weights(np.asfortranarray(MASK)), size_weights(MASK))
    turned = propagated_weights(torch.from_numpy(MASK).T)
    np.testing.assert_array_equal(turned, size_weights(MASK).T)
    np.testing.assert_array_equal(wide, before)


def test_another_void() -> None:
    mask = np.where(MASK == 255, 21, MASK)
    np.testing.assert_array_equal(size_weights(mask, ignore_index=21), size_weights(MASK))
    found = propagated_weights(torch.from_numpy(mask), ignore_index=21)
    np.testing.assert_array_equal(found, size_weights(MASK))


def test_no_mask_at_all() -> None:
    empty = np.zeros((0, 3, 4), np.uint8)
    assert size_weights(empty).shape == (0, 3, 4)
    assert propagated_weights(torch.from_numpy(empty)).shape == (0, 3, 4)


class _Recorded(TorchDispatchMode):
    """Keeps the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **kwargs or {})


def test_the_device_is_never_waited_for() -> None:
    spirals = torch.from_numpy(np.stack([spiral(16), spiral(16).T]))
    nothing = torch.zeros_like(spirals)
    with _Recorded() as empty:
        propagated_weights(nothing)
    with _Recorded() as full:
        propagated_weights(spirals)
    assert empty.names == full.names  # the work does not depend on what the masks hold
    reading = {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "masked_select", "index"}
    assert not reading & set(full.names)
    assert not [name for name in full.names if "unique" in name]
    shape = propagated_weights(torch.zeros(2, 16, 16, dtype=torch.uint8, device="meta")).shape
    assert shape == (2, 16, 16)  # there is nothing to read on this device


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_the_device() -> None:
    batch = np.random.default_rng(1).integers(0, 3, (4, 120, 150)).astype(np.uint8)
    masks = torch.from_numpy(batch).cuda()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = size_weights(masks)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert found.is_cuda
    np.testing.assert_array_equal(found.cpu().numpy(), size_weights(batch))


@pytest.mark.parametrize("weigh", [size_weights, propagated_weights])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tau": 0.5}, "tau must be at least 1"),
        ({"tau": math.nan}, "tau must be at least 1"),
        ({"normalizer": "batch"}, "class, image, not 'batch'"),
        ({"ignore_index": 0}, "0 is background"),
        ({"ignore_index": -100}, "ignore_index"),
    ],
)
def test_options_out_of_range(weigh, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        weigh(torch.from_numpy(MASK), **options)


def test_masks_that_are_none() -> None:
    with pytest.raises(InputError, match=r"\(H, W\) or \(N, H, W\)"):
        size_weights(np.zeros(3, np.uint8))
    with pytest.raises(InputError, match="not empty"):
        propagated_weights(torch.zeros(2, 0, 3, dtype=torch.uint8))
    for floats in (np.zeros((2, 2)), torch.zeros(2, 2)):
        with pytest.raises(InputError, match="integers, not"):
            size_weights(floats)
    with pytest.raises(InputError, match="integers, not"):
        propagated_weights(torch.zeros(2, 2))
    for value in (-1, 256):
        with pytest.raises(InputError, match=f"{value}.*0..255"):
            size_weights(np.full((2, 2), value))
