from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sbdata_baselines.stages.maps import ClassMaps
from sbdata_baselines.stages.seeds import (
    alpha_background,
    alpha_seeds,
    argmax_mask,
    confident_seeds,
)


def row(*values: tuple[float, ...], classes: tuple[int, ...]) -> ClassMaps:
    """Maps of one row; each value gives the scores of all classes at one pixel."""
    maps = np.array(values, np.float32).reshape(len(values), len(classes))
    return ClassMaps(classes, np.ascontiguousarray(maps.T[:, None, :]))


def blank(maps: ClassMaps) -> npt.NDArray[np.uint8]:
    return np.zeros((*maps.size, 3), np.uint8)


def one_hot(label: int) -> npt.NDArray[np.float32]:
    stack = np.zeros((3, 1, 1), np.float32)
    stack[label] = 1
    return stack


def test_truth_table_of_confident_seeds() -> None:
    maps = row(
        (0.9, 0.1),  # sure of 3
        (0.31, 0.32),  # sure of 7
        (0.30, 0.0),  # equals the threshold: not above it
        (0.29, 0.06),  # between
        (0.06, 0.05),  # between
        (0.05, 0.05),  # equals: sure background
        (0.0, 0.0),  # sure background
        classes=(3, 7),
    )
    assert confident_seeds(maps, blank(maps)).tolist() == [[3, 7, 255, 255, 255, 0, 0]]


@pytest.mark.parametrize(
    ("strong", "weak", "seed"),
    [(1, 1, 1), (0, 0, 0), (0, 1, 255), (1, 0, 1), (2, 1, 2)],
)
def test_truth_table_after_refinement(strong: int, weak: int, seed: int) -> None:
    """Refinement may label each of the two labellings in any way; foreground stands in the end."""
    maps = row((0.5, 0.2), classes=(1, 2))
    answers = iter([strong, weak])

    def refine(
        image: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        assert image.shape == (1, 1, 3)
        return one_hot(next(answers))

    assert confident_seeds(maps, blank(maps), refine=refine).tolist() == [[seed]]


def test_refinement_sees_softened_labels() -> None:
    maps = row((0.5, 0.2), (0.1, 0.2), (0.0, 0.0), classes=(1, 2))
    seen = []

    def refine(
        image: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        seen.append(probabilities)
        return probabilities

    refined = confident_seeds(maps, blank(maps), refine=refine)
    assert refined.tolist() == confident_seeds(maps, blank(maps)).tolist() == [[1, 255, 0]]
    labels = [[1, 0, 0], [1, 2, 0]]
    for probabilities, expected in zip(seen, labels, strict=True):
        assert probabilities.dtype == np.float32
        for pixel, label in enumerate(expected):
            want = [0.15, 0.15, 0.15]
            want[label] = 0.7
            np.testing.assert_allclose(probabilities[:, 0, pixel], want, rtol=1e-6)


def test_truth_table_of_alpha_seeds() -> None:
    # (1 - m) ** 4 < m above m = 0.2755, (1 - m) ** 24 < m above m = 0.0938
    maps = row((0.28,), (0.27,), (0.095,), (0.093,), (0.0,), (1.0,), classes=(5,))
    assert alpha_seeds(maps, blank(maps)).tolist() == [[5, 255, 255, 0, 0, 5]]
    assert alpha_seeds(maps, blank(maps), low=1, high=2).tolist() == [[0, 0, 0, 0, 0, 5]]


@pytest.mark.parametrize(
    ("strong", "weak", "seed"), [(1, 1, 1), (0, 0, 0), (0, 1, 255), (1, 0, 0), (2, 1, 2)]
)
def test_truth_table_of_alpha_seeds_after_refinement(strong: int, weak: int, seed: int) -> None:
    maps = row((0.5, 0.2), classes=(1, 2))
    answers = iter([strong, weak])

    def refine(
        image: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-6)
        return one_hot(next(answers))

    assert alpha_seeds(maps, blank(maps), refine=refine).tolist() == [[seed]]


def test_an_image_without_objects_is_background() -> None:
    maps = ClassMaps((), np.zeros((0, 2, 3), np.float32))
    image = blank(maps)
    nothing = np.zeros((2, 3), np.uint8)
    for refine in (None, lambda image, probabilities: probabilities):
        np.testing.assert_array_equal(confident_seeds(maps, image, refine=refine), nothing)
        np.testing.assert_array_equal(alpha_seeds(maps, image, refine=refine), nothing)
    np.testing.assert_array_equal(argmax_mask(maps, 0.25), nothing)


def test_alpha_background() -> None:
    maps = row((0.5, 0.2), (0.0, 1.0), classes=(1, 2))
    np.testing.assert_allclose(alpha_background(maps, 6), [[0.5**6, 0]], rtol=1e-6)


def test_argmax_mask() -> None:
    maps = row((0.25, 0.1), (0.26, 0.1), (0.5, 0.5), (0.1, 0.4), classes=(4, 9))
    assert argmax_mask(maps, 0.25).tolist() == [[0, 4, 4, 9]]
    assert argmax_mask(maps, 0.25, power=2).tolist() == [[0, 0, 0, 0]]
    background = np.array([[0.2, 0.3, 0.5, 0.3]], np.float32)
    assert argmax_mask(maps, background).tolist() == [[4, 0, 0, 9]]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_seeds_agree_with_masks_at_either_threshold(
    values: list[tuple[float, float]], one: float, other: float
) -> None:
    high, low = max(one, other), min(one, other)
    maps = row(*values, classes=(1, 2))
    seeds = confident_seeds(maps, blank(maps), foreground=high, background=low)
    strict, loose = argmax_mask(maps, high), argmax_mask(maps, low)
    np.testing.assert_array_equal(seeds, np.where(strict > 0, strict, np.where(loose == 0, 0, 255)))
