from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sbdata_baselines.settings import (
    ActivationSettings,
    BottleneckSettings,
    ClassifierSettings,
    NetworkSettings,
    Schedule,
    Sgd,
    ViewSettings,
)
from sbdata_baselines.stages.activation import activation_maps
from sbdata_baselines.stages.bottleneck import (
    Others,
    bottleneck_maps,
    disjoint,
    filled_share,
    fresh_others,
    pooled_others,
    quiet_means,
    reduced_maps,
    restored,
    scaled,
)
from sbdata_baselines.stages.classifier import load_classifier, train_classifier
from sbdata_baselines.stages.maps import read_maps
from sbdata_baselines.stages.photos import pixels_of
from sbdata_baselines.stages.splitting import Backbone, Head, SplitClassifier, split
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.weak_labels.weak_set import WeakImage, WeakSet
from tests.baselines.weak_examples import task_of, write_weak

Floats = npt.NDArray[np.float64]

STEPS = BottleneckSettings(
    Sgd(0.01, momentum=1e-4, head=10.0, weight_decay=1e-4),
    ViewSettings(32),
    scales=(1.0,),
    learned=(1.0,),
    steps=4,
    others=2,
    filled=1.0,
)


# --- pooling --------------------------------------------------------------------------------------


def test_the_strongest_pixels_do_not_count() -> None:
    activations = torch.tensor([[[[10.0, 4.0], [3.9, -2.0]], [[-1.0, -2.0], [-3.0, -4.0]]]])
    activations.requires_grad_()
    means = quiet_means(activations, 0.4)
    torch.testing.assert_close(means, torch.tensor([[(3.9 - 2.0) / 4, 0.0]]))
    means.sum().backward()
    assert activations.grad is not None
    wanted = torch.tensor([[[[0.0, 0.0], [0.25, 0.25]], [[0.0, 0.0], [0.0, 0.0]]]])
    torch.testing.assert_close(activations.grad, wanted)


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.float32, (2, 2, 3, 4), elements=st.integers(-8, 8).map(lambda k: k / 4)),
    st.sampled_from([0.25, 0.4, 1.0]),
)
def test_pooling_against_loops(values: npt.NDArray[np.float32], share: float) -> None:
    found = quiet_means(torch.from_numpy(values), share)
    for n, c in np.ndindex(2, 2):
        plane, peak = values[n, c], values[n, c].max()
        kept = [v for v in plane.ravel() if (v < share * peak if peak > 0 else v > share * peak)]
        if peak == 0:
            kept = [v for v in plane.ravel() if v < 0]
        assert float(found[n, c]) == pytest.approx(sum(kept) / plane.size, abs=1e-6)


def test_the_share_of_a_photo_that_is_filled() -> None:
    maps = torch.tensor([[[4.0, 1.0], [0.0, 0.0]], [[0.0, 0.2], [0.0, 0.5]]])
    assert filled_share(maps, 0.3) == pytest.approx(3 / 4)  # 4; 0.2 of 0.5; 0.5
    assert filled_share(torch.zeros(1, 2, 2), 0.3) == 0


# --- the steps ------------------------------------------------------------------------------------


def linear(weights: Tensor) -> SplitClassifier:
    """A classifier that is its head alone: its maps are ``weights @ values``."""
    head = Head([], nn.Conv2d(weights.shape[1], weights.shape[0], 1, bias=False))
    with torch.no_grad():
        head.conv.weight.copy_(weights[:, :, None, None])
    return SplitClassifier(Backbone.__new__(Backbone), head)


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def nobody() -> Iterator[Others]:
    return repeat((torch.zeros(0, 3), torch.zeros(0, 3)))


def test_the_steps_against_a_gradient_in_closed_form() -> None:
    """For a linear network, dT_c / dW_c is the mean of the values at the quiet pixels."""
    start = noise(3, 5, seed=0)
    own = [noise(2, 5, 4, 6, seed=1), noise(2, 5, 2, 3, seed=2), noise(2, 5, 6, 9, seed=3)]
    others = noise(2, 5, 4, 4, seed=4)
    labels = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    rules = replace(STEPS, scales=(1.0, 0.5, 1.5), learned=(1.0, 1.5))
    parts = linear(start)
    found = reduced_maps(parts, own, [0, 2], repeat((others, labels)), rules)

    weights = start.numpy().astype(np.float64)
    velocity = np.zeros_like(weights)

    def slope(
        values: Tensor, weights: npt.NDArray[np.float64], row: int
    ) -> npt.NDArray[np.float64]:
        total = np.zeros(5)
        for image in values.numpy().astype(np.float64):
            plane = np.einsum("d,dhw->hw", weights[row], image)
            total += (image * (plane / plane.max() < 0.4)).mean(axis=(1, 2))
        return total

    sums = [np.zeros((2, *values.shape[2:])) for values in own]
    for step in range(4):
        for total, values in zip(sums, own, strict=True):
            maps = np.einsum("cd,ndhw->nchw", weights[[0, 2]], values.numpy()).clip(0)
            total += maps[0] + maps[1][..., ::-1]
        gradient = 1e-4 * weights
        for row in (0, 2):
            gradient[row] -= slope(own[0], weights, row) + slope(own[2], weights, row)
        for place, row in ((0, 1), (1, 1), (1, 2)):
            gradient[row] -= slope(others[place : place + 1], weights, row)
        velocity = gradient if step == 0 else 1e-4 * velocity + gradient
        weights = weights - 10 * 0.01 * (1 - step / 4) ** 0.9 * velocity
    for maps, total in zip(found, sums, strict=True):
        np.testing.assert_allclose(maps[0].numpy(), total, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts.head.conv.weight[:, :, 0, 0], start)


@pytest.mark.parametrize("ending", [{"stop": 0.0}, {"filled": 0.0}, {"steps": 1}])
def test_what_ends_the_steps(ending: dict[str, float]) -> None:
    """The first maps are always there; nothing is added when the steps end at once."""
    values = noise(2, 5, 4, 4, seed=1)
    parts = linear(noise(3, 5, seed=0))
    whole = replace(STEPS, filled=1.0)
    cut = replace(whole, **ending)  # type: ignore[arg-type]
    (maps,) = reduced_maps(parts, [values], [1], nobody(), cut)
    with torch.no_grad():
        once = parts.head(values)[:, [1]].relu()
    torch.testing.assert_close(maps, once[:1] + once[1:].flip(-1))
    (more,) = reduced_maps(parts, [values], [1], nobody(), whole)
    assert not torch.allclose(more, maps)


def test_the_weights_come_back_even_from_an_error() -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone()

    def change() -> None:
        with restored(layer.parameters()), torch.no_grad():
            layer.weight.add_(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    torch.testing.assert_close(layer.weight.detach(), before)


# --- other photos ---------------------------------------------------------------------------------


def test_disjoint_photos_have_labels_of_their_own() -> None:
    labels = {"a": (1,), "b": (2, 3), "c": (), "d": (1, 2), "e": (3,)}
    rows = [WeakImage(name, Path(name), (8, 8), classes) for name, classes in labels.items()]
    assert [row.image_id for row in disjoint(rows, (1,))] == ["b", "e"]
    assert [row.image_id for row in disjoint(rows, (1, 2))] == ["e"]
    assert disjoint(rows, (1, 2, 3)) == ()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[WeakSet, Path]:
    root = tmp_path_factory.mktemp("bottleneck")
    weak, _ = write_weak(root / "photos", n=6, side=48, empty=3)
    training = ClassifierSettings(
        NetworkSettings("mobilenetv3_small_050", "none", frozen=1),
        ViewSettings(48),
        Sgd(0.005, 0.9),
        Schedule(6, 6),
    )
    train_classifier(task_of(weak, root / "classifier"), training)
    return weak, root


@pytest.mark.parametrize("pool", [0, 5])
def test_others_share_no_class_and_are_the_same_again(
    trained: tuple[WeakSet, Path], pool: int
) -> None:
    weak, root = trained
    task = task_of(weak, root / "x")
    parts = split(load_classifier(task, root / "classifier"), "blocks.4" if pool else "")
    rules = replace(STEPS, pool=pool)
    feed = (pooled_others if pool else fresh_others)(task, rules, parts.backbone)
    # p0 is red; blue alone are p1 and p4. p2 and p5 have both colours: nobody is left for them.
    first, second = (list(zip(range(3), feed(0), strict=False)) for _ in range(2))
    for (_, (values, labels)), (_, (again, _)) in zip(first, second, strict=True):
        assert len(values) == len(labels) == 2
        assert labels.tolist() == [[0, 1], [0, 1]]
        torch.testing.assert_close(values, again)
    if not pool:
        assert not torch.equal(first[0][1][0], first[1][1][0])  # drawn anew in each step
    for _, (values, labels) in zip(range(3), feed(2), strict=False):
        assert len(values) == len(labels) == 0


# --- the stage ------------------------------------------------------------------------------------


def maps_of(trained: tuple[WeakSet, Path], folder: str, rules: BottleneckSettings) -> Path:
    weak, root = trained
    bottleneck_maps(task_of(weak, root / folder), rules, root / "classifier")
    return root / folder


def test_the_first_maps_are_the_classifiers_own(trained: tuple[WeakSet, Path]) -> None:
    weak, root = trained
    scales = (1.0, 0.5)
    folder = maps_of(trained, "one", replace(STEPS, scales=scales, steps=1))
    plain = ActivationSettings(scales)
    activation_maps(task_of(weak, root / "plain"), plain, root / "classifier")
    for row in weak.rows:
        found, wanted = (read_maps(f, row.image_id) for f in (folder, root / "plain"))
        assert found.classes == wanted.classes == row.classes
        assert found.size == row.size
        np.testing.assert_allclose(found.maps, wanted.maps, atol=1e-3)


@pytest.mark.parametrize("pool", [0, 4])
def test_a_photos_maps_do_not_depend_on_those_before(
    trained: tuple[WeakSet, Path], pool: int
) -> None:
    """A killed stage goes on and ends with the same maps: each photo starts from one classifier."""
    weak, _ = trained
    rules = replace(STEPS, pool=pool, first="blocks.4" if pool else "", steps=3)
    folder = maps_of(trained, f"whole{pool}", rules)
    whole = {path.name: path.read_bytes() for path in folder.glob("*.npz")}
    assert len(whole) == len(weak)
    for number in (1, 4):
        (folder / f"{weak.rows[number].image_id}.npz").unlink()
    maps_of(trained, f"whole{pool}", rules)
    assert {path.name: path.read_bytes() for path in folder.glob("*.npz")} == whole
    once = maps_of(trained, f"once{pool}", replace(rules, steps=1))
    image_id = weak.rows[0].image_id
    changed = read_maps(folder, image_id).maps - read_maps(once, image_id).maps
    assert np.abs(changed).max() > 0.01


def test_photos_are_resized_as_activation_maps_do(trained: tuple[WeakSet, Path]) -> None:
    weak, _ = trained
    photo = pixels_of(weak.rows[0])
    assert scaled(photo, 0.5, flip=True).shape == (2, 3, 24, 28)
    whole = scaled(photo, 1.0, flip=True)
    np.testing.assert_array_equal(whole[1].permute(1, 2, 0).numpy(), photo[:, ::-1])
    assert scaled(photo, 1.0, flip=False).shape == (1, 3, 48, 56)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learned": (2.0,)}, "at least one of scales"),
        ({"learned": ()}, "at least one of scales"),
        ({"steps": 0}, "at least 1"),
        ({"pool": -1}, "at least 0"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(STEPS, **change)  # type: ignore[arg-type]
