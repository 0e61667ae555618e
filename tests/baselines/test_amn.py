from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sbdata_baselines.amn import (
    ConditionedSegmenter,
    balanced_cross_entropy,
    conditioned,
    smoothed,
    stretched_maps,
)
from sbdata_baselines.methods.amn import BASELINE
from sbdata_baselines.settings import NetworkSettings
from sbdata_baselines.stages.maps import read_maps
from sbdata_baselines.stages.pyramid import build_pyramid
from torch import nn

from tests.baselines.weak_examples import run_paper, tiny, write_weak

# The parts that other methods test, too, have a small backbone here.
PAPER = (
    *tiny("irn.classifier", "{crop: 48, long_side: [48, 64]}"),
    *tiny("irn.boundary", "{crop: 48, rescale: [0.5, 1.5]}"),
    *tiny("pixels", "{crop: 48, rescale: [0.5, 1.5]}"),
    "irn.classifier.network.backbone=resnet18",
    "irn.boundary.network.backbone=resnet18",
    "irn.activation.scales=[1.0, 0.5]",
    "irn.seeds.refine.name=none",
    "seeds.refine.name=none",
)


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=3, empty=2)
    run_paper(BASELINE, PAPER, weak, tmp_path / "run")
    (folder,) = (tmp_path / "run").glob("pixel-maps-*")
    assert read_maps(folder, "p0").normalisation == "minmax"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), epsilon=st.floats(0, 0.9))
def test_balanced_cross_entropy_is_the_mean_of_the_groups_means(seed: int, epsilon: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2, 4, 3, 3))
    target = rng.choice([0, 1, 2, 3, 255], (2, 3, 3))
    target[0, 0, 0], target[0, 0, 1] = 0, 2
    groups: dict[bool, list[float]] = {True: [], False: []}
    for n, y, x in np.ndindex(*target.shape):
        if target[n, y, x] == 255:
            continue
        row = logits[n, :, y, x]
        logs = row - np.log(np.exp(row).sum())
        wanted = np.full(4, epsilon / 3)
        wanted[target[n, y, x]] = 1 - epsilon
        groups[target[n, y, x] == 0].append(-float((wanted * logs).sum()))
    found = balanced_cross_entropy(torch.tensor(logits), torch.tensor(target), epsilon)
    assert float(found) == pytest.approx(np.mean([np.mean(g) for g in groups.values()]), rel=1e-6)


def test_without_foreground_half_the_backgrounds_mean_is_left() -> None:
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    plain = nn.functional.cross_entropy(logits, target)
    assert float(balanced_cross_entropy(logits, target, 0.0)) == pytest.approx(float(plain) / 2)


def test_smoothed_labels_sum_to_one() -> None:
    rows = smoothed(torch.tensor([[[0, 2, 255]]]), 3, 0.4)
    torch.testing.assert_close(rows.sum(1), torch.ones(1, 1, 3))
    torch.testing.assert_close(rows[0, :, 0, 1], torch.tensor([0.2, 0.2, 0.6]))


def test_factors_of_one_leave_the_features() -> None:
    features = torch.randn(2, 5, 3, 3)
    assert torch.equal(conditioned(features, torch.ones(2, 5)), features)
    assert torch.equal(conditioned(features, 2 * torch.ones(2, 5)), 2 * features)


def test_the_network_is_told_the_labels() -> None:
    torch.manual_seed(0)
    pyramid = build_pyramid(NetworkSettings("mobilenetv3_small_050", "none"))
    model = ConditionedSegmenter(pyramid, 2, (1, 2), 0.1).eval()
    image = torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        one, other = (model(image, torch.tensor([row])) for row in ([1.0, 0.0], [0.0, 1.0]))
        assert not torch.allclose(one, other)
        model.condition.weight.zero_()
        model.condition.bias.fill_(1.0)
        told = model(image, torch.tensor([[1.0, 0.0]]))
        torch.testing.assert_close(told, model.head(pyramid(image)[-1]))


def test_maps_are_stretched_but_where_the_seed_is_background() -> None:
    logits = np.log(
        np.array([[[0.5, 0.3, 0.9]], [[0.4, 0.1, 0.05]], [[0.1, 0.6, 0.05]]], np.float32)
    )
    seed = np.array([[1, 255, 0]], np.uint8)
    maps = stretched_maps(logits, (1,), seed)
    np.testing.assert_allclose(maps.maps[0, 0], [1.0, (0.1 - 0.05) / 0.35, 0.05], atol=1e-4)
    assert maps.background is None
