from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sbdata_baselines.eps import eps_loss, estimated_salience, overlaps
from sbdata_baselines.methods.edam import BASELINE as EDAM
from sbdata_baselines.methods.eps import BASELINE

from sbdata.benchmark.stage import in_order
from tests.baselines.shapes_examples import assert_above_labels_alone
from tests.baselines.weak_examples import last_stage, run_paper, tiny, write_weak
from tests.benchmark.stage_runs import key_of

PAPER = (
    *tiny("salient", "{crop: 64, long_side: [64, 80], jitter: [0.3, 0.3, 0.3, 0.1]}"),
    "activation.scales=[1.0]",
)
SMALL = (
    "salient.views={crop: 80, long_side: [80, 128]}",
    "salient.schedule={epochs: 6, batch_size: 8}",
    "salient.optimiser.lr=0.003",  # the preset's own is too much for so small batches
    "activation.scales=[0.4]",
)


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=3)
    run_paper(BASELINE, PAPER, weak, tmp_path / "run")


def test_forty_shapes_from_labels_to_masks(tmp_path: Path) -> None:
    assert_above_labels_alone(BASELINE, SMALL, tmp_path)


@pytest.mark.parametrize("preset", ["paper", "smoke"])
def test_eps_and_edam_share_the_saliency_maps(tmp_path: Path, preset: str) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=1)
    keys = {
        key_of(stage, weak, 0)
        for method in (BASELINE, EDAM)
        for stage in in_order(last_stage(method, preset))
        if stage.name == "saliency"
    }
    assert len(keys) == 1


def test_both_say_what_they_see_and_what_differs() -> None:
    for method in (BASELINE, EDAM):
        assert method.supervision == ("image_labels", "saliency")
        assert method.differences


# --- the saliency loss ----------------------------------------------------------------------------

# Background, a, b, c on 2 x 2 cells. a is sure of the upper cells, b of the lower left one, c of
# the lower right one.
PROBABILITIES = torch.tensor(
    [
        [
            [[0.1, 0.2], [0.1, 0.2]],
            [[0.7, 0.6], [0.1, 0.1]],
            [[0.1, 0.1], [0.8, 0.1]],
            [[0.1, 0.1], [0.0, 0.6]],
        ]
    ]
)
SALIENCE = torch.tensor([[[0.9, 0.2], [0.3, 1.0]]])


def test_overlaps_by_hand() -> None:
    found = overlaps(PROBABILITIES[:, 1:], SALIENCE)
    wanted = torch.tensor([[1 / 2.0004, 0.0, 1 / 1.0004]])
    torch.testing.assert_close(found, wanted)


def test_classes_are_routed_by_overlap_and_label() -> None:
    """a, half on salient ground, is foreground at 0.4; b is not; c is, but absent."""
    labels = torch.tensor([[1.0, 1.0, 0.0]])
    found = estimated_salience(PROBABILITIES, labels, SALIENCE, 0.4, 0.5)
    foreground = PROBABILITIES[:, 1]
    background = PROBABILITIES[:, 0] + PROBABILITIES[:, 2]
    torch.testing.assert_close(found, 0.5 * foreground + 0.5 * (1 - background))
    # At 0.6 a turns to background, too.
    found = estimated_salience(PROBABILITIES, labels, SALIENCE, 0.6, 0.5)
    torch.testing.assert_close(found, 0.5 * (1 - background - foreground))


@pytest.mark.parametrize(("blend", "row"), [(1.0, 1), (0.0, 0)])
def test_the_ends_of_the_blend(blend: float, row: int) -> None:
    labels = torch.tensor([[1.0, 0.0, 0.0]])
    found = estimated_salience(PROBABILITIES, labels, SALIENCE, 0.4, blend)
    torch.testing.assert_close(found, PROBABILITIES[:, 1] if row else 1 - PROBABILITIES[:, 0])


def test_no_gradient_flows_through_the_overlap() -> None:
    probabilities = PROBABILITIES.clone().requires_grad_()
    assert not overlaps(probabilities[:, 1:], SALIENCE).requires_grad
    labels = torch.tensor([[1.0, 1.0, 0.0]])
    estimated_salience(probabilities, labels, SALIENCE, 0.4, 0.5).sum().backward()
    wanted = torch.tensor([-0.5, 0.5, -0.5, 0.0])[None, :, None, None].expand_as(PROBABILITIES)
    torch.testing.assert_close(probabilities.grad, wanted)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_the_loss_against_loops(seed: int, overlap: float, blend: float) -> None:
    rng = np.random.default_rng(seed)
    activations, labels = rng.normal(0, 3, (2, 4, 2, 3)), rng.integers(0, 2, (2, 3)).astype(float)
    salience = rng.random((2, 2, 3))
    squares, margins = [], []
    for n in range(2):
        powers = np.exp(activations[n])
        p = powers / powers.sum(axis=0)
        foreground, background = np.zeros((2, 3)), p[0].copy()
        for c in range(3):
            sure = p[c + 1] > 0.5
            share = (sure & (salience[n] > 0.5)).sum() / (sure.sum() + 6e-4)
            if labels[n, c] and share > overlap:
                foreground += p[c + 1]
            elif labels[n, c]:
                background += p[c + 1]
            logit = activations[n, c + 1].mean()
            right = logit if labels[n, c] else -logit
            margins.append(np.log1p(np.exp(-right)))
        squares.append((blend * foreground + (1 - blend) * (1 - background) - salience[n]) ** 2)
    found = eps_loss(
        torch.tensor(activations), torch.tensor(labels), torch.tensor(salience), overlap, blend
    )
    assert float(found) == pytest.approx(np.mean(margins) + np.mean(squares))


def test_a_perfect_map_costs_nothing() -> None:
    """Maps that are sure and equal to the saliency map leave the classification loss alone."""
    salience = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    activations = torch.stack([40 * (1 - salience), 40 * salience], dim=1)
    labels = torch.tensor([[1.0]])
    logit = activations[:, 1:].mean(dim=(2, 3))
    alone = torch.nn.functional.multilabel_soft_margin_loss(logit, labels)
    assert float(eps_loss(activations, labels, salience) - alone) == pytest.approx(0, abs=1e-6)
    assert float(eps_loss(activations, labels, 1 - salience) - alone) > 0.4


def test_paper_constants() -> None:
    paper = BASELINE.presets["paper"]
    assert (paper["salient"]["overlap"], paper["salient"]["blend"]) == (0.4, 0.5)
    assert paper["masks"]["background"] == 0.2
    assert paper["salient"]["views"]["long_side"] == [256, 512]
