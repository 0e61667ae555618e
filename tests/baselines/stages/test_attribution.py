from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from sbdata_baselines.settings import (
    ActivationSettings,
    ClassifierSettings,
    Climb,
    ClimbSettings,
    NetworkSettings,
    Schedule,
    Sgd,
    ViewSettings,
)
from sbdata_baselines.stages.activation import activation_maps
from sbdata_baselines.stages.attribution import (
    adversarial_maps,
    attribution,
    both_ways,
    climbed_maps,
    climbing,
    objective,
)
from sbdata_baselines.stages.classifier import load_classifier, train_classifier
from sbdata_baselines.stages.maps import read_maps
from sbdata_baselines.stages.splitting import Head, split
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.weak_labels.weak_set import WeakSet
from tests.baselines.weak_examples import task_of, write_weak

SETTINGS = ClimbSettings((Climb(1.0, 3),))


def network(classes: int = 3) -> Head:
    """Two convolutions with a rectifier between, and a head whose weights have both signs."""
    torch.manual_seed(1)
    body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1))
    head = Head([body, nn.ReLU()], nn.Conv2d(5, classes, 1, bias=False))
    head.requires_grad_(False)
    return head


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def grad_cam(features: Tensor, weights: Tensor, row: int) -> Tensor:
    """AdvCAM's Grad-CAM by automatic differentiation."""
    features = features.detach().requires_grad_()
    logits = torch.einsum("ndhw,cd->nchw", features, weights)
    (gradients,) = torch.autograd.grad(logits[:, row].relu().sum(), features)
    factors = gradients.sum(dim=(2, 3)) / (gradients > 0).sum()
    return (features.detach() * factors[:, :, None, None]).sum(dim=1).relu()


# --- the maths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", range(3))
def test_the_closed_form_is_grad_cam(row: int) -> None:
    features, weights = noise(2, 8, 5, 6).relu(), noise(3, 8, seed=1)
    weights = weights - weights.mean(dim=1, keepdim=True)  # of both signs
    activations = torch.einsum("ndhw,cd->nchw", features, weights)
    found = attribution(activations[:, row], int((weights[row] > 0).sum()))
    assert found.any()
    torch.testing.assert_close(found, grad_cam(features, weights, row))


def test_a_class_that_shows_nowhere_has_no_attribution() -> None:
    assert not attribution(-torch.ones(2, 3, 3), 4).any()


def test_the_mirror_image_is_turned_back() -> None:
    maps = noise(1, 4, 6)
    twice = torch.cat([maps, maps.flip(-1)])
    torch.testing.assert_close(both_ways(twice, flip=True), 2 * maps[0])
    torch.testing.assert_close(both_ways(twice, flip=False), maps[0])


def test_the_objective_by_hand() -> None:
    activations = torch.tensor([[[[4.0, -2.0]], [[1.0, 3.0]]]])  # means of the positive: 2, 2
    found, start = torch.tensor([[1.0, 0.4]]), torch.tensor([[0.7, 9.0]])
    settings = replace(SETTINGS, restraint=10.0, salient=0.5)
    # Only the first pixel stands out: 2 - 2 - 10 * 0.3.
    assert float(objective(activations, 0, found, start, settings)) == pytest.approx(-3.0)
    free = replace(settings, restraint=0.0)
    only = activations * torch.tensor([1.0, 0.0])[None, :, None, None]
    assert float(objective(only, 0, found, start, free)) == pytest.approx(2.0)
    assert float(objective(only, 1, found, start, free)) == pytest.approx(-2.0)


@pytest.mark.parametrize("flip", [True, False])
def test_three_steps_against_two_backward_passes(flip: bool) -> None:
    """As the official code goes about it: Grad-CAM by a first pass, the climb by a second."""
    head, settings = network(), replace(SETTINGS, flip=flip, step=0.3, restraint=50.0)
    image = noise(1, 3, 6, 8)
    values = torch.cat([image, image.flip(-1)]) if flip else image
    moments = list(islice(climbing(head, values, 1, settings), 4))
    weights = head.conv.weight[:, :, 0, 0]
    first = None
    for moment in moments:
        torch.testing.assert_close(moment.values, values)
        values = values.detach().requires_grad_()
        features = values
        for part in head.parts:
            features = part(features)
        torch.testing.assert_close(moment.attribution, grad_cam(features, weights, 1))
        logits = torch.einsum("ndhw,cd->nchw", features, weights)
        (slope,) = torch.autograd.grad(logits[:, 1].relu().sum(), features, retain_graph=True)
        factors = (slope.sum(dim=(2, 3)) / (slope > 0).sum())[:, :, None, None]
        shown = (features * factors).sum(dim=1).relu()
        region = shown[0] + shown[1].flip(-1) if flip else shown[0]
        first = region.detach() if first is None else first
        means = logits.relu().mean(dim=(2, 3))
        mask = (region / region.max() > 0.5).float()
        goal = 2 * means[:, 1].sum() - means.sum() - 50 * ((region - first).abs() * mask).sum()
        torch.testing.assert_close(moment.objective, goal.detach())
        (gradient,) = torch.autograd.grad(goal, values)
        values = values.detach()
        moved = values + 0.3 * gradient / gradient.abs().max()
        values = moved.clamp(float(values.min()), float(values.max()))


def test_the_objective_rises_in_small_steps_on_a_linear_network() -> None:
    torch.manual_seed(0)
    head = Head([], nn.Conv2d(3, 2, 1, bias=False)).requires_grad_(False)
    head.conv.weight.copy_(torch.tensor([[1.0, 0.5, 0.2], [0.2, 1.0, 0.4]])[:, :, None, None])
    values = noise(2, 3, 5, 5).abs()  # all activations are positive: the score is linear
    settings = replace(SETTINGS, step=1e-3, restraint=0.0)
    heights = [float(m.objective) for m in islice(climbing(head, values, 0, settings), 20)]
    assert np.all(np.diff(heights) > 0)
    lower = [float(m.objective) for m in islice(climbing(head, values, 1, settings), 20)]
    assert np.all(np.diff(lower) > 0)


def test_values_stay_in_their_range_and_a_step_changes_none_by_more() -> None:
    values = noise(2, 3, 6, 6)
    for step in (0.1, 5.0):
        settings = replace(SETTINGS, step=step)
        before = values
        for moment in islice(climbing(network(), values, 0, settings), 5):
            assert moment.values.min() >= values.min()
            assert moment.values.max() <= values.max()
            assert (moment.values - before).abs().max() <= step + 1e-6
            before = moment.values
        assert not torch.equal(before, values)


def test_what_stands_out_is_held() -> None:
    def change(restraint: float) -> float:
        settings = replace(SETTINGS, step=0.2, restraint=restraint, flip=False)
        moments = list(islice(climbing(network(), noise(1, 3, 8, 8), 0, settings), 8))
        start = moments[0].attribution[0]
        strong = start > 0.5 * start.max()
        return float((moments[-1].attribution[0] - start)[strong].abs().mean())

    assert change(1000.0) < 0.5 * change(0.0)


# --- the stage ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[WeakSet, Path]:
    root = tmp_path_factory.mktemp("attribution")
    weak, _ = write_weak(root / "photos", n=4, side=48, empty=3)
    settings = ClassifierSettings(
        NetworkSettings("mobilenetv3_small_050", "none", frozen=1),
        ViewSettings(48),
        Sgd(0.005, 0.9),
        Schedule(6, 4),
    )
    train_classifier(task_of(weak, root / "classifier"), settings)
    return weak, root


def maps_of(trained: tuple[WeakSet, Path], folder: str, settings: ClimbSettings) -> Path:
    weak, root = trained
    adversarial_maps(task_of(weak, root / folder), settings, root / "classifier")
    return root / folder


def test_maps_are_sums_over_the_steps_of_each_class(trained: tuple[WeakSet, Path]) -> None:
    weak, root = trained
    parts = split(load_classifier(task_of(weak, root / "x"), root / "classifier"))
    images = torch.rand(2, 3, 32, 32)
    found = climbed_maps(images, parts, [1, 0], 3, SETTINGS)
    values = parts.backbone(images)
    for place, row in enumerate([1, 0]):
        moments = islice(climbing(parts.head, values, row, SETTINGS), 3)
        torch.testing.assert_close(found[:, place], sum(m.attribution for m in moments))


def test_without_a_step_they_are_the_classifiers_own(trained: tuple[WeakSet, Path]) -> None:
    weak, root = trained
    plain = ActivationSettings((0.5,), flip=False)
    activation_maps(task_of(weak, root / "plain"), plain, root / "classifier")
    folder = maps_of(trained, "one", ClimbSettings((Climb(0.5, 1),), flip=False))
    for row in weak.rows:
        found, wanted = (read_maps(f, row.image_id) for f in (folder, root / "plain"))
        assert found.classes == wanted.classes == row.classes
        for one, other in zip(found.maps, wanted.maps, strict=True):
            peak, tiny = one.max(), np.finfo(np.float32).tiny  # under 1 by the divisor's eps
            assert (peak > 0.5) == (other.max() > 0.5)
            np.testing.assert_allclose(one / max(peak, tiny), other, atol=2e-3)


def test_weights_of_scales_and_what_a_climb_changes(trained: tuple[WeakSet, Path]) -> None:
    weak, _ = trained
    two = ClimbSettings((Climb(1.0, 3), Climb(0.5, 2, weight=0.0)), step=0.3)
    both = maps_of(trained, "both", two)
    one = maps_of(trained, "first", replace(two, climbs=two.climbs[:1]))
    cut = maps_of(trained, "cut", replace(two, climbs=two.climbs[:1], first="blocks.4"))
    start = maps_of(trained, "start", replace(two, climbs=(Climb(1.0, 1),)))
    image_id = weak.rows[0].image_id
    first = read_maps(one, image_id).maps
    np.testing.assert_array_equal(read_maps(both, image_id).maps, first)
    assert first.max() == pytest.approx(1, abs=2e-3)
    for other in (cut, start):
        assert np.abs(read_maps(other, image_id).maps - first).max() > 0.01


def test_a_killed_stage_goes_on_and_ends_with_the_same_maps(trained: tuple[WeakSet, Path]) -> None:
    weak, _ = trained
    settings = ClimbSettings((Climb(1.0, 2),))
    folder = maps_of(trained, "whole", settings)
    whole = {path.name: path.read_bytes() for path in folder.glob("*.npz")}
    assert len(whole) == len(weak)
    (folder / f"{weak.rows[1].image_id}.npz").unlink()
    maps_of(trained, "whole", settings)
    assert {path.name: path.read_bytes() for path in folder.glob("*.npz")} == whole


@pytest.mark.parametrize("climbs", [(), (Climb(1.0, 0),), (Climb(0.0, 3),)])
def test_climbs_that_cannot_be(climbs: tuple[Climb, ...]) -> None:
    with pytest.raises(InputError, match="at least 1 step"):
        ClimbSettings(climbs)
