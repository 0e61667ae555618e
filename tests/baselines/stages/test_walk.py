from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sbdata_baselines.stages.maps import ClassMaps
from sbdata_baselines.stages.walk import (
    edge_affinities,
    feature_affinities,
    line_cells,
    neighbours,
    random_walk,
    transition,
    transition_from_affinities,
    walked_maps,
)

from sbdata.errors import InputError

Values = npt.NDArray[np.float64]


def distance_to_segment(y: float, x: float, end: tuple[int, int]) -> float:
    along = (y * end[0] + x * end[1]) / (end[0] ** 2 + end[1] ** 2)
    along = min(max(along, 0.0), 1.0)
    return math.hypot(y - along * end[0], x - along * end[1])


def edge_map(height: int, width: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).random((height, width), np.float32) ** 3


def dense_transition(edge: npt.NDArray[np.float32], radius: int, beta: float) -> Values:
    """The definition, pair by pair."""
    height, width = edge.shape
    affinity = np.eye(height * width)
    for y in range(height):
        for x in range(width):
            for v in range(height):
                for u in range(width):
                    dy, dx = v - y, u - x
                    if (dy, dx) == (0, 0) or dy * dy + dx * dx >= radius * radius:
                        continue
                    on_line = [
                        edge[b, a]
                        for b in range(height)
                        for a in range(width)
                        if distance_to_segment(b - y, a - x, (dy, dx)) < 1 - 1e-9
                    ]
                    affinity[y * width + x, v * width + u] = (1 - float(max(on_line))) ** beta
    normalised: Values = affinity / affinity.sum(axis=0)
    return normalised


# --- geometry -------------------------------------------------------------------------------------


def test_counts_of_neighbours() -> None:
    assert len(neighbours(5)) == 34
    assert len(neighbours(10)) == 152
    with pytest.raises(InputError, match="radius must be at least 2"):
        neighbours(1)


@pytest.mark.parametrize("radius", [2, 5, 10])
def test_neighbours_and_their_opposites_fill_the_disc(radius: int) -> None:
    half = neighbours(radius)
    disc = {
        (dy, dx)
        for dy in range(-radius, radius + 1)
        for dx in range(-radius, radius + 1)
        if 0 < math.hypot(dy, dx) < radius
    }
    opposite = {(-dy, -dx) for dy, dx in half}
    assert set(half) | opposite == disc
    assert not set(half) & opposite


def test_line_cells_are_those_nearer_than_one() -> None:
    for offset in neighbours(10):
        window = range(-11, 12)
        near = {
            (y, x) for y in window for x in window if distance_to_segment(y, x, offset) < 1 - 1e-9
        }
        assert set(line_cells(offset)) == near
        assert len(line_cells(offset)) == len(near)


# --- edge affinities ------------------------------------------------------------------------------


def test_a_line_parts_all_pairs_that_cross_it() -> None:
    """Column 3 of 7 is an edge: a pair has affinity 0 if it touches that column, else 1."""
    edges = torch.zeros(1, 7, 7)
    edges[0, :, 3] = 1
    affinities = edge_affinities(edges, 5)[0]
    crossing = 0
    for k, (dy, dx) in enumerate(neighbours(5)):
        for y in range(7):
            for x in range(7):
                inside = y + dy < 7 and 0 <= x + dx < 7
                meets = min(x, x + dx) <= 3 <= max(x, x + dx)
                assert affinities[k, y, x] == float(inside and not meets)
                crossing += inside and min(x, x + dx) < 3 < max(x, x + dx)
    assert crossing > 50


def test_a_diagonal_line_has_no_gap() -> None:
    edges = torch.eye(7)[None]
    affinities = edge_affinities(edges, 5)[0]
    for k, (dy, dx) in enumerate(neighbours(5)):
        for y in range(7 - dy):
            for x in range(max(0, -dx), 7 - max(0, dx)):
                if (y > x) != (y + dy > x + dx):  # on two sides of the diagonal
                    assert affinities[k, y, x] == 0


def test_affinities_follow_the_definition() -> None:
    edges = edge_map(6, 7)
    affinities = edge_affinities(torch.from_numpy(edges)[None], 4)[0]
    for k, (dy, dx) in enumerate(neighbours(4)):
        for y in range(6):
            for x in range(7):
                if y + dy < 6 and 0 <= x + dx < 7:
                    largest = max(
                        edges[y + b, x + a]
                        for b in range(-4, 5)
                        for a in range(-4, 5)
                        if distance_to_segment(b, a, (dy, dx)) < 1 - 1e-9
                        and 0 <= y + b < 6
                        and 0 <= x + a < 7
                    )
                    assert affinities[k, y, x] == pytest.approx(1 - largest, abs=1e-6)
                else:
                    assert affinities[k, y, x] == 0


def test_images_of_a_batch_do_not_meet() -> None:
    edges = torch.from_numpy(np.stack([edge_map(5, 6, seed) for seed in range(3)]))
    together = edge_affinities(edges, 3)
    for place in range(3):
        torch.testing.assert_close(together[place], edge_affinities(edges[place][None], 3)[0])


def test_gradients_of_edge_affinities() -> None:
    edges = torch.from_numpy(edge_map(5, 5).astype(np.float64))[None].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: edge_affinities(values, 3), edges, fast_mode=True
    )


def test_gradients_of_feature_affinities() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    features.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: feature_affinities(values, 3), features, fast_mode=True
    )


def test_feature_affinities_follow_the_definition() -> None:
    features = np.random.default_rng(1).normal(size=(2, 3, 5, 6))
    affinities = feature_affinities(torch.from_numpy(features), 3)
    assert affinities.shape == (2, len(neighbours(3)), 5, 6)
    for n in range(2):
        for k, (dy, dx) in enumerate(neighbours(3)):
            for y in range(5):
                for x in range(6):
                    expected = 0.0
                    if y + dy < 5 and 0 <= x + dx < 6:
                        apart = features[n, :, y, x] - features[n, :, y + dy, x + dx]
                        expected = math.exp(-np.abs(apart).mean())
                    assert affinities[n, k, y, x] == pytest.approx(expected)


# --- transitions and walks ------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(6, 7), (3, 8), (1, 5), (2, 2), (1, 1)])
def test_transition_follows_the_definition(height: int, width: int) -> None:
    edge = edge_map(height, width)
    np.testing.assert_allclose(
        transition(edge, radius=4, beta=3).toarray(),
        dense_transition(edge, radius=4, beta=3),
        rtol=1e-5,
        atol=1e-12,
    )


def test_sparse_walk_equals_dense_squaring() -> None:
    edge = edge_map(20, 20)
    maps = np.random.default_rng(2).random((3, 20, 20), np.float32)
    moves = transition(edge)
    power = moves.toarray()
    for _ in range(8):
        power = power @ power
    expected = ((maps * (1 - edge)).reshape(3, -1) @ power).reshape(3, 20, 20)
    walked = random_walk(maps, moves, steps=256, damping=1 - edge)
    np.testing.assert_allclose(walked, expected, atol=1e-4)
    assert np.abs(walked - maps).max() > 0.1
    assert walked.dtype == np.float32


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(2, 5),
    st.floats(0.5, 12),
    st.integers(0, 1000),
)
def test_columns_sum_to_one_and_constants_stay(
    height: int, width: int, radius: int, beta: float, seed: int
) -> None:
    moves = transition(edge_map(height, width, seed), radius, beta)
    np.testing.assert_allclose(moves.sum(axis=0), 1, rtol=1e-9)
    constant = np.full((1, height, width), 0.7, np.float32)
    np.testing.assert_allclose(random_walk(constant, moves, steps=64), constant, rtol=1e-6)


def test_edges_everywhere_stop_the_walk() -> None:
    moves = transition(np.ones((6, 5)))
    np.testing.assert_array_equal(moves.toarray(), np.eye(30))
    maps = np.random.default_rng(0).random((2, 6, 5), np.float32)
    np.testing.assert_array_equal(random_walk(maps, moves), maps)


def test_an_edge_parts_the_walk() -> None:
    edge = np.zeros((8, 9))
    edge[:, 4] = 1
    start = np.zeros((1, 8, 9), np.float32)
    start[0, 2, 1] = 1
    walked = random_walk(start, transition(edge), damping=1 - edge)[0]
    assert (walked[:, :4] > 1e-3).all()
    assert not walked[:, 4:].any()


def test_no_link_leads_over_the_border() -> None:
    """Rows do not wrap: the end of one and the start of the next are not neighbours."""
    moves = transition(np.zeros((4, 6)), radius=2).toarray()
    assert moves[5, 6] == 0  # (0, 5) and (1, 0)
    assert moves[5, 11] > 0  # (0, 5) and (1, 5)


def test_maps_multiply_from_the_left() -> None:
    """What a cell gets is a mean over its own neighbours: column j belongs to cell j."""
    edge = edge_map(4, 4)
    moves = transition(edge, radius=2, beta=1)
    maps = np.random.default_rng(5).random((1, 4, 4), np.float32)
    expected = [maps.ravel() @ moves.toarray()[:, j] for j in range(16)]
    np.testing.assert_allclose(random_walk(maps, moves, steps=1).ravel(), expected, rtol=1e-6)


def test_transition_of_features() -> None:
    features = torch.zeros(1, 1, 4, 6)
    features[..., 3:] = 50  # two regions that nothing joins
    values = feature_affinities(features, 5)[0].numpy()
    moves = transition_from_affinities(values, neighbours(5), (4, 6), beta=8)
    np.testing.assert_allclose(moves.sum(axis=0), 1, rtol=1e-9)
    start = np.zeros((1, 4, 6), np.float32)
    start[0, 0, 0] = 1
    walked = random_walk(start, moves, steps=64)[0]
    assert (walked[:, :3] > 1e-3).all()
    assert not walked[:, 3:].any()


def test_no_maps_walk_nowhere() -> None:
    moves = transition(np.zeros((3, 4)))
    assert random_walk(np.zeros((0, 3, 4), np.float32), moves).shape == (0, 3, 4)
    none = ClassMaps((), np.zeros((0, 12, 16), np.float32))
    assert walked_maps(none, moves, (3, 4)).maps.shape == (0, 12, 16)


def test_the_walk_does_not_change_its_input() -> None:
    maps = np.random.default_rng(0).random((1, 3, 4))
    before = maps.copy()
    random_walk(maps, transition(np.zeros((3, 4))), damping=np.full((3, 4), 0.5))
    np.testing.assert_array_equal(maps, before)


def test_walked_maps_keep_size_and_proportion() -> None:
    maps = np.zeros((2, 16, 24), np.float32)
    maps[0], maps[1] = 0.8, 0.4
    moves = transition(np.zeros((4, 6)))
    walked = walked_maps(ClassMaps((1, 5), maps), moves, (4, 6))
    assert walked.classes == (1, 5)
    assert walked.background is None
    np.testing.assert_allclose(walked.maps[0], 1, rtol=1e-5)
    np.testing.assert_allclose(walked.maps[1], 0.5, rtol=1e-5)
    squared = walked_maps(ClassMaps((1, 5), maps), moves, (4, 6), power=2)
    np.testing.assert_allclose(squared.maps[1], 0.25, rtol=1e-5)


def test_a_background_map_walks_along() -> None:
    maps = ClassMaps(
        (2,), np.full((1, 8, 8), 0.4, np.float32), background=np.full((8, 8), 0.8, np.float32)
    )
    walked = walked_maps(maps, transition(np.zeros((4, 4))), (4, 4), steps=4)
    assert walked.background is not None
    np.testing.assert_allclose(walked.background, 1, rtol=1e-5)
    np.testing.assert_allclose(walked.maps, 0.5, rtol=1e-5)


def test_walked_maps_stop_at_edges() -> None:
    maps = np.zeros((1, 32, 36), np.float32)
    maps[0, 8:12, 4:8] = 1
    edge = np.zeros((8, 9))
    edge[:, 4] = 1
    walked = walked_maps(ClassMaps((1,), maps), transition(edge), (8, 9), damping=1 - edge).maps[0]
    assert walked[:, :14].min() > 0.5
    assert not walked[:, 18:].any()
