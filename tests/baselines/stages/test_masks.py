from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sbdata_baselines.stages.maps import ClassMaps
from sbdata_baselines.stages.masks import refined_mask, write_pseudo_mask
from sbdata_baselines.stages.seeds import argmax_mask

from sbdata.errors import InputError
from sbdata.masks import read_index_png

IMAGE = np.zeros((4, 5, 3), np.uint8)


def some_maps() -> ClassMaps:
    return ClassMaps((3, 8), np.random.default_rng(0).random((2, 4, 5), np.float32))


def test_a_mask_is_written_as_it_is(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 20], [255, 3, 254]], np.uint8)
    path = write_pseudo_mask(tmp_path / "masks", "000000000009", mask)
    assert path == tmp_path / "masks" / "000000000009.png"
    np.testing.assert_array_equal(read_index_png(path), mask)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("image_id", ["../a", "a/b", ".a"])
def test_an_id_that_is_no_file_name(tmp_path: Path, image_id: str) -> None:
    with pytest.raises(InputError, match="cannot name a file"):
        write_pseudo_mask(tmp_path / "masks", image_id, np.zeros((2, 2), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 2)), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2), np.uint8)]
)
def test_something_else_than_a_mask(tmp_path: Path, mask: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="a mask must be uint8"):
        write_pseudo_mask(tmp_path, "a", mask)


@pytest.mark.parametrize("power", [1.0, 1.5])
def test_without_refinement_it_is_the_argmax(power: float) -> None:
    maps = some_maps()
    expected = argmax_mask(maps, 0.4, power)
    assert set(np.unique(expected)) == {0, 3, 8}
    np.testing.assert_array_equal(refined_mask(maps, IMAGE, None, 0.4, power), expected)
    same = refined_mask(maps, IMAGE, lambda image, scores: scores, 0.4, power)
    np.testing.assert_array_equal(same, expected)


def test_refinement_has_the_last_word() -> None:
    def all_second(
        image: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-6)
        probabilities = probabilities.copy()
        probabilities[2] = 2
        return probabilities

    assert (refined_mask(some_maps(), IMAGE, all_second, 0.4) == 8).all()


def test_an_image_of_another_size() -> None:
    with pytest.raises(InputError, match="resize the maps"):
        refined_mask(some_maps(), np.zeros((5, 4, 3), np.uint8), None, 0.4)
