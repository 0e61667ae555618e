from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sbdata_baselines.methods.seam import BASELINE, EquivariantSettings
from sbdata_baselines.seam import (
    EquivariantNetwork,
    correlated,
    correlation,
    cross_loss,
    equivariance_loss,
    lowest_mean,
    scaled_to_peak,
    seam_loss,
    strongest_classes,
)
from sbdata_baselines.settings import NetworkSettings, Schedule, Sgd, ViewSettings
from sbdata_baselines.stages.pyramid import build_pyramid
from torch import Tensor, nn

from tests.baselines.weak_examples import run_paper, tiny, write_weak

# The parts that other methods test, too, have a small backbone here.
PAPER = (
    *tiny("equivariant", "{crop: 64, long_side: [64, 80], jitter: [0.3, 0.3, 0.3, 0.1]}"),
    *tiny("pairwise", "{crop: 48, long_side: [48, 64]}"),
    "pairwise.network.backbone=resnet18",
    "pairwise.network.output_stride=16",
    "activation.scales=[1.0]",
    "seeds.refine.name=none",
)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=3, empty=2)
    run_paper(BASELINE, PAPER, weak, tmp_path / "run")


def test_columns_of_the_correlation_sum_to_one() -> None:
    links = correlation(torch.randn(2, 6, 4, 5, generator=generator()))
    assert links.shape == (2, 20, 20)
    assert (links >= 0).all()
    torch.testing.assert_close(links.sum(1), torch.ones(2, 20))


def test_uniform_features_give_the_spatial_mean() -> None:
    maps = torch.rand(1, 3, 4, 5, generator=generator())
    mean = maps.mean(dim=(2, 3), keepdim=True).expand_as(maps)
    torch.testing.assert_close(correlated(maps, torch.ones(1, 7, 4, 5)), mean)


def test_the_correlation_against_loops() -> None:
    rng = np.random.default_rng(0)
    maps, features = rng.random((2, 6)), rng.normal(size=(3, 6))
    wanted = np.zeros_like(maps)
    for j in range(6):
        weights = [
            max(
                features[:, i]
                @ features[:, j]
                / np.linalg.norm(features[:, i])
                / np.linalg.norm(features[:, j]),
                0,
            )
            for i in range(6)
        ]
        wanted[:, j] = maps @ weights / sum(weights)
    found = correlated(
        torch.tensor(maps).reshape(1, 2, 2, 3), torch.tensor(features).reshape(1, 3, 2, 3)
    )
    np.testing.assert_allclose(found.numpy().reshape(2, 6), wanted, rtol=1e-6)


def test_an_equivariant_network_on_constant_images_has_no_equivariance_loss() -> None:
    weights = nn.Conv2d(3, 4, 1)
    image = torch.rand(2, 3, 1, 1, generator=generator())
    first, second = (scaled_to_peak(weights(image.expand(-1, -1, s, s))) for s in (20, 6))
    first = nn.functional.interpolate(first, (6, 6), mode="bilinear")
    assert float(equivariance_loss(first, second).detach()) == pytest.approx(0, abs=1e-6)
    assert float(equivariance_loss(first, 1 - second).detach()) > 0.1


def test_strongest_classes_by_hand() -> None:
    activations = torch.tensor([[[[5.0, 5.0]], [[2.0, 1.0]], [[-1.0, 4.0]]]])
    found = strongest_classes(activations)
    wanted = torch.tensor([[[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]]])
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_cross_loss_by_hand() -> None:
    """Targets are [bg .2, a .8, -] and [bg .9, -, -]; half of the six differences count."""
    plain = torch.tensor([[[[0.0, 0.0]], [[0.8, 0.1]], [[0.3, 0.0]]]], requires_grad=True)
    refined = torch.tensor([[[[0.5, 0.5]], [[0.2, 0.0]], [[0.0, 0.3]]]], requires_grad=True)
    loss = cross_loss(plain, refined, 0.5)
    assert float(loss.detach()) == pytest.approx((0.6 + 0.5 + 0.4) / 3)
    loss.backward()
    assert plain.grad is None
    assert refined.grad is not None


def test_lowest_mean_takes_the_weakest_pixels() -> None:
    maps = torch.tensor([[[[0.9, 0.1], [0.4, -2.0]], [[0.0, 0.2], [0.3, -1.0]]]])
    assert float(lowest_mean(maps, 0.5)) == pytest.approx((0.2 + 0.0) / 2)


def test_refined_maps_teach_the_plain_ones_through_the_features_alone() -> None:
    """No gradient flows through the maps that the PCM averages; its own layers get one."""
    torch.manual_seed(0)
    pyramid = build_pyramid(NetworkSettings("mobilenetv3_small_050", "none", frozen=0))
    model = EquivariantNetwork(pyramid, 2, 8, 0.0).train()
    _, refined = model(torch.rand(1, 3, 64, 64))
    refined.sum().mul(0.1).add((refined**2).sum()).backward()
    assert model.head.weight.grad is None
    assert model.join.weight.grad is not None
    assert all(p.grad is None for p in pyramid.parameters())


def test_the_loss_is_that_of_its_parts_and_sees_labels() -> None:
    torch.manual_seed(0)
    network = NetworkSettings("mobilenetv3_small_050", "none", frozen=0)
    model = EquivariantNetwork(build_pyramid(network), 2, 8, 0.0).train()
    settings = EquivariantSettings(
        network, ViewSettings(64), Sgd(0.1), Schedule(1, 2), down=0.5, width=8
    )
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=generator())

    def loss(labels: list[list[float]]) -> Tensor:
        found: Tensor = seam_loss(model, images, torch.tensor(labels), settings)
        return found

    one, other = loss([[1.0, 0.0], [0.0, 1.0]]), loss([[1.0, 1.0], [1.0, 1.0]])
    assert float(one.detach()) > 0
    assert float(one.detach()) != pytest.approx(float(other.detach()))
    one.backward()
    assert model.head.weight.grad is not None
