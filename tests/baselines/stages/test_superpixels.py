from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sbdata_baselines.stages import superpixels as module
from sbdata_baselines.stages.superpixels import means, on_border, superpixels, touching


@settings(max_examples=20, deadline=None)
@example(1, 21, 1, 0)  # thinner than a cell
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(0, 1000))
def test_numbers_have_no_gaps_and_do_not_exceed_the_grid(
    height: int, width: int, count: int, seed: int
) -> None:
    colours = np.random.default_rng(seed).uniform(0, 100, (height, width, 3)).astype(np.float32)
    labels = superpixels(colours, count)
    assert labels.shape == (height, width)
    assert sorted(set(labels.ravel().tolist())) == list(range(int(labels.max()) + 1))
    assert labels.max() < max(4 * count, 4)
    np.testing.assert_array_equal(labels, superpixels(colours.copy(), count))


def test_about_as_many_as_asked_for() -> None:
    assert superpixels(np.zeros((90, 120, 3), np.float32), 48).max() + 1 == 6 * 8


def test_no_superpixel_crosses_a_strong_edge() -> None:
    colours = np.zeros((60, 60, 3), np.float32)
    colours[13:41, 22:47, 0] = 80
    labels = superpixels(colours, 36)
    inside = set(labels[13:41, 22:47].ravel().tolist())
    mask = np.zeros((60, 60), bool)
    mask[13:41, 22:47] = True
    assert not inside & set(labels[~mask].ravel().tolist())
    assert len(inside) > 2


def test_a_pixel_takes_the_nearest_centre_in_reach() -> None:
    """Against all distances at once."""
    rng = np.random.default_rng(2)
    height, width, reach, weight = 14, 17, 6.0, 0.7
    colours = rng.normal(0, 3, (height, width, 3))
    ys, xs = np.indices((height, width))
    features = np.dstack([colours, ys, xs])
    centres = np.column_stack(
        [rng.normal(0, 3, (9, 3)), rng.integers(0, height, 9), rng.integers(0, width, 9)]
    ).astype(float)
    centres[4] = np.nan
    labels = np.full((height, width), -1, np.int32)
    module._move_to_nearest(features, centres, reach, weight, labels)

    apart = ((features[:, :, None, :3] - centres[:, :3]) ** 2).sum(-1)
    off = np.abs(features[:, :, None, 3:] - centres[:, 3:])
    apart += weight * (off**2).sum(-1)
    near = (off <= reach).all(-1)
    apart = np.where(near & ~np.isnan(apart), apart, np.inf)
    wanted = np.where(near.any(-1), apart.argmin(-1), -1)
    sure = near.any(-1) & ~(((off > reach) & (off < reach + 2)).any(-1).any(-1))
    assert sure.any()
    np.testing.assert_array_equal(labels[sure], wanted[sure])
    assert (labels[(off > reach + 2).any(-1).all(-1)] == -1).all()
    assert (labels != 4).all()


def test_means() -> None:
    labels = np.array([[0, 0, 2]], np.int32)
    found = means(labels, np.array([[[1.0], [3.0], [5.0]]]), 3)
    np.testing.assert_array_equal(found, [[2.0], [np.nan], [5.0]])


@pytest.mark.parametrize("seed", range(3))
def test_touching_and_border_against_loops(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 6, (5, 7)).astype(np.int32)
    wanted = set()
    for y in range(5):
        for x in range(7):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v < 5 and u < 7 and labels[y, x] != labels[v, u]:
                    wanted.add(tuple(sorted((int(labels[y, x]), int(labels[v, u])))))
    assert touching(labels).tolist() == [list(pair) for pair in sorted(wanted)]
    edge = {int(labels[y, x]) for y in range(5) for x in range(7) if y in (0, 4) or x in (0, 6)}
    assert on_border(labels).tolist() == sorted(edge)


def test_one_superpixel_touches_none() -> None:
    assert touching(np.zeros((3, 3), np.int32)).shape == (0, 2)
