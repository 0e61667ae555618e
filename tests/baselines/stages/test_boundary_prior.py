from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sbdata_baselines.stages.boundary_prior import (
    background_weights,
    boundary_saliency,
    contrast,
    distances,
    geodesics,
    optimised,
    spread,
)
from scipy.optimize import minimize

from sbdata.errors import InputError

LINE = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])


def blob(
    height: int = 90, width: int = 120, box: tuple[int, int, int, int] = (30, 40, 20, 30)
) -> npt.NDArray[np.uint8]:
    """A yellow rectangle (top, left, height, width) on blue with a little noise."""
    image = np.array([40, 60, 140]) + np.random.default_rng(0).integers(0, 6, (height, width, 3))
    top, left, rows, columns = box
    image[top : top + rows, left : left + columns] += [180, 140, -120]
    return image.clip(0, 255).astype(np.uint8)


def test_a_blob_stands_out() -> None:
    found = boundary_saliency(blob())
    inside = np.zeros(found.shape, bool)
    inside[30:50, 40:70] = True
    assert found.dtype == np.uint8
    assert found[inside].min() > 200
    assert found[~inside].max() < 20
    assert found.max() == 255


def test_large_images_are_reduced_and_brought_back() -> None:
    large = np.asarray(Image.fromarray(blob()).resize((1200, 900), Image.Resampling.NEAREST))
    found = boundary_saliency(large)
    assert found.shape == (900, 1200)
    assert found[320:480, 420:680].min() > 200
    assert found[:280].max() < 20


def test_a_small_blob_stands_out_alone() -> None:
    found = boundary_saliency(blob(box=(60, 80, 6, 6)))
    assert found[61:65, 81:85].min() > 200
    assert found[:50].max() < 20


def test_an_object_on_one_side_stands_out() -> None:
    """A geodesic distance alone cannot find it: it lies on the border itself."""
    image = np.full((90, 120, 3), (40, 60, 140), np.uint8)
    image[30:55, :40] = 220, 200, 20
    found = boundary_saliency(image)
    assert found[32:53, 2:38].min() > 200
    assert found[:, 45:].max() < 20


def test_what_parts_the_image_leaves_both_sides_background() -> None:
    image = np.full((90, 120, 3), (40, 60, 140), np.uint8)
    image[:, 50:60] = 220, 200, 20
    found = boundary_saliency(image)
    assert found[:, :45].max() < 60
    assert found[:, 65:].max() < 60


@pytest.mark.parametrize("size", [(40, 50), (1, 1), (2, 9), (3, 3), (400, 20)])
def test_a_constant_image_gives_zeros(size: tuple[int, int]) -> None:
    found = boundary_saliency(np.full((*size, 3), 93, np.uint8))
    assert found.shape == size
    assert not found.any()


@pytest.mark.parametrize("size", [(1, 2), (2, 2), (1, 30), (5, 7)])
def test_tiny_images(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert boundary_saliency(image).shape == size


def test_the_same_image_gives_the_same_map() -> None:
    image = np.random.default_rng(1).integers(0, 256, (50, 60, 3), np.uint8)
    before = image.copy()
    np.testing.assert_array_equal(boundary_saliency(image), boundary_saliency(image.copy()))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)],
)
def test_other_images(image: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="uint8 of shape"):
        boundary_saliency(image)


# --- parts ----------------------------------------------------------------------------------------


def test_geodesics_against_floyd_and_warshall() -> None:
    rng = np.random.default_rng(0)
    unlike = distances(rng.normal(0, 20, (9, 3)))
    pairs = np.array([(i, j) for i in range(9) for j in range(i + 1, 9) if (i + j) % 3 == 0])
    border = np.array([0, 4, 7])
    linked = np.zeros((9, 9), bool)
    for i, j in pairs:
        linked[i, j] = linked[j, i] = True
    noise = np.mean([unlike[i][linked[i]].min() for i in range(9) if linked[i].any()])
    for i in border:
        linked[i, border] = True
    paths = np.where(linked, np.where(unlike < noise, 0, unlike), np.inf)
    np.fill_diagonal(paths, 0)
    for k in range(9):
        paths = np.minimum(paths, paths[:, k, None] + paths[None, k])
    np.testing.assert_allclose(geodesics(unlike, pairs, border), paths, atol=1e-9)


def test_steps_like_the_usual_ones_cost_nothing() -> None:
    """A gradient of equal steps is one region; the jump that ends it is not part of it."""
    unlike = distances(np.array([[0.0], [2.0], [4.0], [6.0], [90.0]]))
    paths = geodesics(unlike, LINE, np.array([0]))
    # The noise is the mean of 2, 2, 2, 2 and 84, so that steps of 2 are below.
    np.testing.assert_allclose(paths[0], [0, 0, 0, 0, 84], atol=1e-9)


def test_background_of_one_region_and_of_an_island() -> None:
    flat = np.zeros((16, 16))
    weights = background_weights(flat, np.arange(12))
    np.testing.assert_allclose(weights, 1 - np.exp(-((12 / 4) ** 2) / 2))
    island = np.zeros((16, 16))
    island[12:, :12] = island[:12, 12:] = 1e3
    np.testing.assert_allclose(background_weights(island, np.arange(12))[12:], 0, atol=1e-12)


def test_contrast_against_loops() -> None:
    rng = np.random.default_rng(0)
    unlike, apart = distances(rng.normal(0, 20, (6, 3))), distances(rng.random((6, 2)))
    background = rng.random(6)
    raw = [
        sum(unlike[i, j] * np.exp(-(apart[i, j] ** 2) / 0.125) * background[j] for j in range(6))
        for i in range(6)
    ]
    wanted = [value / max(raw) if value >= sum(raw) / 6 else 0 for value in raw]
    np.testing.assert_allclose(contrast(unlike, apart, background), wanted)


def test_the_optimum_has_the_least_cost() -> None:
    """Against a general minimiser of the three sums."""
    rng = np.random.default_rng(0)
    unlike = distances(rng.normal(0, 5, (5, 3)))
    background, foreground = rng.random(5), rng.random(5)

    def cost(s: npt.NDArray[np.float64]) -> float:
        total = (background * s**2 + foreground * (s - 1) ** 2).sum()
        for i, j in LINE:
            total += (np.exp(-(unlike[i, j] ** 2) / 200) + 0.1) * (s[i] - s[j]) ** 2
        return float(total)

    best = minimize(cost, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).x
    found = optimised(unlike, LINE, background, foreground)
    np.testing.assert_allclose(found, best / best.max(), atol=1e-5)


def test_the_last_curve_keeps_ends_and_order() -> None:
    values = np.linspace(0, 1, 21)
    found = spread(values)
    assert found[0] == pytest.approx(0)
    assert found[-1] == pytest.approx(1)
    assert (np.diff(found) > 0).all()
    assert found[values > 0.35].min() > 0.5 > found[values < 0.25].max()
