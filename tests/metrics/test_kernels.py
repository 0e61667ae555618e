"""The C kernels and numba's give the same numbers; without a compiler numba's are used."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata import compiled_code, masks
from sbdata.compiled_code import kernels
from sbdata.masks import MaskError, by_rows, draw_masks, encode_mask
from sbdata.metrics import kernel, sums
from sbdata.metrics.image import score_image
from sbdata.metrics.sums import ImageSums
from sbdata.metrics.truth import flat, truth_from_maps
from tests.metrics.random_maps import N_CLASSES, images

SOURCE = Path(compiled_code.__file__).with_name("kernels.c")


@pytest.fixture
def library():
    found = kernels()
    if found is None:
        pytest.skip("no C compiler")
    return found


class WithNumba:
    """Both kinds of results of a function."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch = monkeypatch

    def both(self, function):
        compiled = function()
        with self.patch.context() as patch:
            for module in (kernel, masks, sums):
                patch.setattr(module, "kernels", lambda: None)
            return compiled, function()


@pytest.fixture
def either(library, monkeypatch: pytest.MonkeyPatch) -> WithNumba:
    return WithNumba(monkeypatch)


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def large(seed: int, dtype: type = np.uint8) -> tuple[np.ndarray, ...]:
    """Blobs with holes, noise and void of an odd width, so that words and blocks end anywhere."""
    rng = np.random.default_rng(seed)
    shape = (rng.integers(9, 40), rng.integers(9, 90))

    def blobs(n: int, coarse: int) -> np.ndarray:
        cells = rng.integers(0, n + 1, (-(-shape[0] // coarse), -(-shape[1] // coarse)))
        return np.kron(cells, np.ones((coarse, coarse), int))[: shape[0], : shape[1]]

    instances = blobs(30, 6)
    classes = np.where(instances > 0, instances % N_CLASSES + 1, 0)
    classes[rng.random(shape) < 0.05] = 255
    prediction = blobs(N_CLASSES, 4)
    prediction[rng.random(shape) < 0.1] = 0
    return prediction.astype(np.uint8), classes.astype(np.uint8), instances.astype(dtype)


@settings(max_examples=150, deadline=None)
@given(one=images())
def test_random_maps_count_alike(one) -> None:
    if kernels() is None:
        pytest.skip("no C compiler")
    with pytest.MonkeyPatch.context() as patch:
        compare(WithNumba(patch), one.prediction, one.class_map, one.instance_map)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("seed", range(8))
def test_large_maps_count_alike(either: WithNumba, seed: int, dtype: type) -> None:
    compare(either, *large(seed, dtype))


def compare(either: WithNumba, prediction, class_map, instance_map) -> None:
    flat_classes = flat(np.asarray(class_map, np.uint8))
    width = class_map.shape[1]
    assert same(*either.both(lambda: kernel.label_parts(flat_classes, width)))
    one, other = either.both(lambda: truth_from_maps(class_map, instance_map))
    assert same((one.instance_ids, one.class_ids), (other.instance_ids, other.class_ids))
    compiled, numba = either.both(
        lambda: kernel.count_image(
            flat(np.asarray(prediction, np.uint8)), flat(one.class_map), flat(one.instance_map),
            width, one.index_of, one.class_ids, N_CLASSES, True,
        )
    )  # fmt: skip
    assert same(compiled, numba)


def test_faults_are_found_at_the_same_place(either: WithNumba) -> None:
    prediction, classes, instances = large(1)
    truth = truth_from_maps(classes, instances)
    for value in (9, 255):
        wrong = prediction.copy()
        wrong[5, 7:] = value

        def said(wrong=wrong) -> str:
            with pytest.raises(Exception, match=r"at x = 7, y = 5") as error:
                score_image(wrong, truth, N_CLASSES)
            return str(error.value)

        one, other = either.both(said)
        assert one == other


@settings(deadline=None)
@given(code=st.binary(max_size=12), size=st.integers(1, 9))
def test_codes_draw_alike_or_are_refused_alike(code: bytes, size: int) -> None:
    if kernels() is None:
        pytest.skip("no C compiler")

    def drawn():
        try:
            return draw_masks([encode_mask(np.eye(size)), code], size, size).tolist()
        except MaskError as error:
            return str(error)

    with pytest.MonkeyPatch.context() as patch:
        one, other = WithNumba(patch).both(drawn)
    assert one == other


def test_sums_are_added_in_the_same_order(either: WithNumba) -> None:
    rng = np.random.default_rng(0)
    dense = rng.random((65, 50)) * (rng.random((65, 50)) < 0.3)
    row, column = np.nonzero(dense)
    indptr = np.searchsorted(row, np.arange(66))
    found = ImageSums(indptr, column.copy(), dense[row, column], 5, 3)
    weights = rng.exponential(size=(50, 21))
    one, other = either.both(lambda: found._product(weights))
    assert np.array_equal(one, other)
    assert np.allclose(one, dense @ weights)


def test_the_hash_of_the_source_is_up_to_date() -> None:
    assert hashlib.sha256(SOURCE.read_bytes()).hexdigest() == compiled_code.SOURCE_SHA256


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler"])
def test_without_a_compiler_there_are_no_kernels(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernels.c").write_bytes(SOURCE.read_bytes())
    monkeypatch.setattr(compiled_code, "__file__", str(tmp_path / "compiled_code.py"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    kernels.cache_clear()
    try:
        assert kernels() is None
        assert [path.name for path in tmp_path.iterdir()] == ["kernels.c"]
    finally:
        kernels.cache_clear()


@pytest.mark.parametrize("height", [1, 7, 8, 9, 24, 41])
@pytest.mark.parametrize("width", [1, 8, 13, 32])
def test_a_map_is_turned_as_numpy_turns_it(either, height: int, width: int):
    rng = np.random.default_rng(height * width)
    columns = np.asfortranarray(rng.integers(0, 256, (height, width), np.uint8))
    turned, by_numpy = either.both(lambda: by_rows(columns))
    assert turned.flags.c_contiguous
    assert np.array_equal(turned, columns)
    assert np.array_equal(by_numpy, columns)
