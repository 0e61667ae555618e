from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sbdata_baselines.stages.pooling import (
    background_attention,
    background_prototypes,
    part_areas,
    pooled_parts,
    region_samples,
    shares_of,
)

GROUND = torch.tensor([3.0, 0.0, 0.0])
OBJECT = torch.tensor([0.0, 2.0, 1.0])  # at a right angle to the ground


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(object_at: Any, size: tuple[int, int] = (8, 8)) -> torch.Tensor:
    """Return features of ground with an object, ``(1, 3, h, w)``."""
    features = GROUND[:, None, None].repeat(1, *size)
    features[(slice(None), *object_at)] = OBJECT[:, None, None]
    return features[None]


# --- background -----------------------------------------------------------------------------------


def test_prototypes_against_loops() -> None:
    """A map of 5 x 7 under a grid of 3: cells of 2 x 3, the last ones smaller."""
    features = torch.randn(2, 4, 5, 7, generator=generator(), dtype=torch.float64)
    shares = torch.rand(2, 5, 7, generator=generator(1), dtype=torch.float64)
    shares[0, 2:4, 3:6] = 0  # the middle cell
    found, valid = background_prototypes(features, shares, 3)
    assert found.shape == (2, 9, 4)
    for n in range(2):
        for row in range(3):
            for column in range(3):
                total, area = np.zeros(4), 0.0
                for i in range(2 * row, min(2 * row + 2, 5)):
                    for j in range(3 * column, min(3 * column + 3, 7)):
                        total += float(shares[n, i, j]) * features[n, :, i, j].numpy()
                        area += float(shares[n, i, j])
                assert bool(valid[n, 3 * row + column]) == (area > 0)
                if area > 0:
                    np.testing.assert_allclose(found[n, 3 * row + column], total / area)
    assert not valid[0, 4]


def test_attention_is_the_mean_of_positive_cosines() -> None:
    features = torch.randn(1, 5, 2, 3, generator=generator())
    prototypes = torch.randn(1, 4, 5, generator=generator(1))
    valid = torch.tensor([[True, False, True, True]])
    found = background_attention(features, prototypes, valid)[0]
    for i in range(2):
        for j in range(3):
            f = features[0, :, i, j].numpy()
            values = [
                max(float(f @ q / np.linalg.norm(f) / np.linalg.norm(q)), 0)
                for q in prototypes[0, valid[0]].numpy()
            ]
            assert float(found[i, j]) == pytest.approx(np.mean(values), abs=1e-6)
    nothing = background_attention(features, prototypes, torch.zeros(1, 4, dtype=torch.bool))
    assert not nothing.any()


def test_shares_are_means_over_the_pixels_of_a_cell() -> None:
    background = torch.ones(1, 8, 8, dtype=torch.uint8)
    background[0, 0:2, 0:3] = 0
    shares = shares_of(background, (2, 2))
    assert shares.tolist() == [[[1 - 6 / 16, 1.0], [1.0, 1.0]]]


# --- boxes ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 6), st.floats(0, 5), st.floats(0.01, 6), st.floats(0.01, 5), st.integers(1, 3))
def test_the_parts_of_a_box_share_its_area(
    left: float, upper: float, width: float, height: float, parts: int
) -> None:
    right, lower = min(left + width, 7), min(upper + height, 6)
    box = torch.tensor([[[left, upper, right, lower]]], dtype=torch.float64)
    areas = part_areas(box, (6, 7), parts)
    assert areas.shape == (1, parts**2, 42)
    whole = (right - left) * (lower - upper)
    torch.testing.assert_close(
        areas.sum(2), torch.full((1, parts**2), whole / parts**2, dtype=torch.float64)
    )
    assert float(areas.sum(1).max()) <= 1 + 1e-6
    # And each cell's, against the definition.
    total = areas.sum(1).view(6, 7)
    for row in range(6):
        for column in range(7):
            across = max(min(right, column + 1) - max(left, column), 0)
            down = max(min(lower, row + 1) - max(upper, row), 0)
            assert float(total[row, column]) == pytest.approx(across * down, abs=1e-6)


def test_the_parts_of_a_box_follow_each_other_row_by_row() -> None:
    areas = part_areas(torch.tensor([[[0.0, 0.0, 2.0, 2.0]]]), (2, 2), 2)
    torch.testing.assert_close(areas[0], torch.eye(4))


def test_with_a_perfect_prototype_a_box_has_the_features_of_its_object() -> None:
    """The object covers a quarter of its box; plain pooling would mix in the ground."""
    features = scene(np.s_[3:5, 3:5])
    boxes = torch.tensor([[[7.0, 20.0, 20.0, 60.0, 60.0]]])  # of 80 pixels: cells 2 to 6
    background = torch.ones(1, 80, 80)
    background[0, 20:60, 20:60] = 0
    samples, classes = region_samples(features, boxes, background, grid=1, parts=1)
    assert classes.tolist() == [7, 0]
    torch.testing.assert_close(samples[0], OBJECT, atol=1e-4, rtol=0)
    torch.testing.assert_close(samples[1], GROUND)
    plain, _ = region_samples(features, boxes, background, 1, 1, least_background=0.9)
    torch.testing.assert_close(plain[0], 0.25 * OBJECT + 0.75 * GROUND)


def test_each_part_of_a_box_and_each_cell_of_background_is_a_sample() -> None:
    features = scene(np.s_[2:6, 2:6])
    boxes = torch.tensor([[[7.0, 20.0, 20.0, 60.0, 60.0], [0.0, 0.0, 0.0, 0.0, 0.0]]])
    background = torch.ones(1, 80, 80)
    background[0, 20:60, 20:60] = 0
    background[0, :40, :40] = 0
    samples, classes = region_samples(features, boxes, background, grid=2, parts=2)
    assert classes.tolist() == [7, 7, 7, 7, 0, 0, 0]  # one cell of the grid has no background
    torch.testing.assert_close(samples[:4], OBJECT.repeat(4, 1), atol=1e-4, rtol=0)
    torch.testing.assert_close(samples[4:], GROUND.repeat(3, 1))


@pytest.mark.parametrize(("rows", "trusted"), [(10, True), (9, False)])
def test_with_less_than_an_eighth_of_background_boxes_are_pooled_plainly(
    rows: int, trusted: bool
) -> None:
    features = scene(np.s_[4:6, 2:6])
    boxes = torch.tensor([[[1.0, 0.0, 10.0, 80.0, 80.0]]])
    background = torch.zeros(1, 80, 80)
    background[0, :rows] = 1  # 10 of 80 rows are an eighth
    samples, classes = region_samples(features, boxes, background, 1, 1, 0.125)
    assert classes.tolist() == [1, 0]  # what is background stays a sample
    share = 8 / 56
    wanted = OBJECT if trusted else share * OBJECT + (1 - share) * GROUND
    torch.testing.assert_close(samples[0], wanted, atol=1e-4, rtol=0)


def test_a_box_under_a_cell_has_features_and_one_that_is_all_background_too() -> None:
    features = scene(np.s_[2:3, 2:3])
    boxes = torch.tensor([[[1.0, 24.0, 24.0, 26.0, 26.0], [2.0, 50.0, 50.0, 70.0, 70.0]]])
    background = torch.ones(1, 80, 80)
    background[0, 20:30, 20:30], background[0, 50:70, 50:70] = 0, 0
    samples, classes = region_samples(features, boxes, background, 1, 2)
    assert classes.tolist() == [1] * 4 + [2] * 4 + [0]
    torch.testing.assert_close(samples[:4], OBJECT.repeat(4, 1), atol=1e-4, rtol=0)
    torch.testing.assert_close(samples[4:8], GROUND.repeat(4, 1), atol=1e-4, rtol=0)


def test_gradients_reach_the_features() -> None:
    features = scene(np.s_[3:5, 3:5]).requires_grad_()
    areas = part_areas(torch.tensor([[[2.0, 2.0, 6.0, 6.0]]]), (8, 8), 1)
    pooled_parts(features, areas, torch.zeros(1, 8, 8)).sum().backward()
    assert features.grad is not None
    inside = features.grad[0, :, 2:6, 2:6]
    torch.testing.assert_close(inside, torch.full_like(inside, 1 / 16))
    assert float(features.grad.sum()) == pytest.approx(3)
