from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sbdata_baselines.stages.affinity import (
    AffinityHead,
    BoundaryHead,
    PairLabels,
    boundary_loss,
    pair_labels,
    psa_loss,
)
from sbdata_baselines.stages.walk import edge_affinities, feature_affinities, neighbours

RADIUS = 3
Pairs = list[tuple[int, int, tuple[int, int], tuple[int, int]]]


def random_seeds(count: int = 2) -> npt.NDArray[np.uint8]:
    generator = np.random.default_rng(4)
    return generator.choice(np.array([0, 1, 2, 255], np.uint8), (count, 5, 5))


def pairs_by_kind(seeds: npt.NDArray[np.uint8]) -> dict[str, Pairs]:
    """All pairs of 5 x 5 cells nearer than the radius, once each, by what the seeds say."""
    kinds: dict[str, Pairs] = {"background": [], "foreground": [], "negative": []}
    offsets = neighbours(RADIUS)
    for n in range(len(seeds)):
        for y in range(5):
            for x in range(5):
                for k, (dy, dx) in enumerate(offsets):
                    v, u = y + dy, x + dx
                    if v >= 5 or not 0 <= u < 5:
                        continue
                    one, other = int(seeds[n, y, x]), int(seeds[n, v, u])
                    if 255 in (one, other):
                        continue
                    kind = "negative" if one != other else "foreground" if one else "background"
                    kinds[kind].append((n, k, (y, x), (v, u)))
    return kinds


def test_pair_labels_follow_the_definition() -> None:
    seeds = random_seeds()
    labels = pair_labels(torch.from_numpy(seeds), RADIUS)
    for kind, pairs in pairs_by_kind(seeds).items():
        expected = np.zeros((2, len(neighbours(RADIUS)), 5, 5), bool)
        for n, k, (y, x), _ in pairs:
            expected[n, k, y, x] = True
        assert expected.any()
        np.testing.assert_array_equal(getattr(labels, kind), expected)


def test_pair_labels_take_any_integers() -> None:
    seeds = torch.from_numpy(random_seeds())
    for one, other in zip(
        pair_labels(seeds, RADIUS), pair_labels(seeds.long(), RADIUS), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("loss", [boundary_loss, psa_loss])
def test_affinity_losses_against_the_formula(loss: object) -> None:
    seeds = random_seeds()
    edges = np.random.default_rng(5).uniform(0.05, 0.95, (2, 5, 5))
    affinities = edge_affinities(torch.from_numpy(edges), RADIUS)
    kinds = pairs_by_kind(seeds)

    def mean(kind: str, negative: bool) -> float:
        values = [float(affinities[n, k, y, x]) for n, k, (y, x), _ in kinds[kind]]
        return float(np.mean([-np.log((1 - a if negative else a) + 1e-5) for a in values]))

    quarter = 0.25 * mean("background", False) + 0.25 * mean("foreground", False)
    expected = quarter + 0.5 * mean("negative", True)
    labels = pair_labels(torch.from_numpy(seeds), RADIUS)
    assert float(loss(affinities, labels)) == pytest.approx(expected)  # type: ignore[operator]


def test_right_affinities_cost_less_than_wrong_ones() -> None:
    seeds = torch.zeros(1, 6, 6, dtype=torch.uint8)
    seeds[:, :, 3:] = 4
    labels = pair_labels(seeds, RADIUS)
    right = (labels.background | labels.foreground).float()
    assert float(boundary_loss(right, labels)) == pytest.approx(0, abs=2e-5)
    assert float(boundary_loss(1 - right, labels)) > 10


@pytest.mark.parametrize("value", [0, 3, 255])
def test_empty_masks_contribute_nothing(value: int) -> None:
    seeds = torch.full((1, 5, 5), value, dtype=torch.uint8)
    labels = pair_labels(seeds, RADIUS)
    affinities = torch.full((1, len(neighbours(RADIUS)), 5, 5), 0.5)
    expected = 0 if value == 255 else -0.25 * np.log(0.5 + 1e-5)
    assert float(boundary_loss(affinities, labels)) == pytest.approx(expected)


@pytest.mark.parametrize("fill", [0.0, 0.5, 1.0])
def test_gradients_are_finite_at_the_ends(fill: float) -> None:
    seeds = random_seeds()
    edges = torch.full((2, 5, 5), fill, requires_grad=True)
    labels = pair_labels(torch.from_numpy(seeds), RADIUS)
    boundary_loss(edge_affinities(edges, RADIUS), labels).backward()
    assert edges.grad is not None
    assert torch.isfinite(edges.grad).all()
    assert edges.grad.abs().sum() > 0


def test_gradients_of_features_are_finite() -> None:
    features = torch.zeros(1, 4, 5, 5, requires_grad=True)  # all alike: log(1 - a) at its end
    labels = pair_labels(torch.from_numpy(random_seeds(1)), RADIUS)
    psa_loss(feature_affinities(features, RADIUS), labels).backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


# --- heads ----------------------------------------------------------------------------------------


def descend(head: torch.nn.Module, loss: torch.Tensor, rate: float = 0.03) -> float:
    """Move every weight a little against the sign of its gradient; return the loss before."""
    weights = list(head.parameters())
    with torch.no_grad():
        for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight -= rate * slope.sign()
    return float(loss.item())


def test_boundary_head_learns_an_edge() -> None:
    """Two regions told apart by a feature: after some steps an edge lies between them."""
    torch.manual_seed(0)
    seeds = torch.zeros(1, 12, 12, dtype=torch.uint8)
    seeds[:, :, 6:] = 1
    step = torch.zeros(1, 2, 12, 12)
    step[:, 0, :, 5:7] = 1  # what a gradient filter would see
    features = [step, torch.nn.functional.avg_pool2d(step, 2)]
    head = BoundaryHead([2, 2])
    labels = pair_labels(seeds, RADIUS)
    losses = [
        descend(head, boundary_loss(edge_affinities(head(features), RADIUS), labels))
        for _ in range(40)
    ]
    edges = head(features)[0].detach()
    assert losses[-1] < losses[0] / 2
    assert edges[:, 5:7].max(dim=1).values.min() > 0.8
    assert edges[:, :4].max() < 0.2


def test_boundary_head_takes_maps_of_several_sizes() -> None:
    head = BoundaryHead([3, 5, 7])
    features = [torch.rand(2, 3, 8, 10), torch.rand(2, 5, 4, 5), torch.rand(2, 7, 2, 3)]
    edges = head(features)
    assert edges.shape == (2, 8, 10)
    assert ((edges >= 0) & (edges <= 1)).all()
    assert head(features, size=(16, 20)).shape == (2, 16, 20)
    with pytest.raises(ValueError, match="zip"):
        head(features[:2])


def test_affinity_head_takes_maps_of_several_sizes() -> None:
    head = AffinityHead([3, 5, 7])
    features = [torch.rand(2, 3, 8, 10), torch.rand(2, 5, 4, 5), torch.rand(2, 7, 2, 3)]
    joined = head(features)
    assert joined.shape == (2, 448, 8, 10)
    assert joined.min() >= -1  # ELU
    assert head(features, size=(4, 5)).shape == (2, 448, 4, 5)


def test_affinity_head_learns_two_regions() -> None:
    torch.manual_seed(0)
    seeds = torch.zeros(1, 8, 8, dtype=torch.uint8)
    seeds[:, :, 4:] = 1
    colour = seeds[:, None].float()
    head = AffinityHead([1, 1, 1], widths=(4, 4, 4))
    labels: PairLabels = pair_labels(seeds, RADIUS)
    for _ in range(60):
        affinities = feature_affinities(head([colour] * 3), RADIUS)
        descend(head, psa_loss(affinities, labels))
    assert affinities[labels.negative].max() < 0.5
    assert affinities[labels.foreground].min() > 0.9
