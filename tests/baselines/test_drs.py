from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sbdata_baselines.drs import (
    binary_saliency_mask,
    pretrained_part,
    refining_loss,
    suppressed_classifier,
)
from sbdata_baselines.methods.drs import BASELINE, BinarySaliencySettings, SuppressedSettings
from sbdata_baselines.settings import (
    NetworkSettings,
    Schedule,
    SquareViewSettings,
    SteppedSgd,
)
from sbdata_baselines.stages.maps import ClassMaps, read_maps, write_maps
from sbdata_baselines.stages.salient_scores import without_sparse
from sbdata_baselines.stages.square import MapTarget, strongest_maps
from sbdata_baselines.stages.suppression import Suppression, suppress_last
from torch import nn

from sbdata.errors import InputError
from sbdata.masks import read_index_png
from sbdata.train.augment import View
from sbdata.train.pretrained import load_backbone
from tests.baselines.weak_examples import (
    assert_kills_change_nothing,
    last_stage,
    run_all,
    run_paper,
    task_of,
    with_true_saliency,
    write_weak,
)

PAPER = (
    "suppressed.network.weights=none",
    "suppressed.views={side: 40, crop: 32, jitter: [0.3, 0.3, 0.3, 0.1]}",
    "suppressed.schedule={epochs: 1, batch_size: 4}",
    "suppressed.optimiser.lr=1e-4",
    "suppressed.width=16",
    "activation.sides=[32, 40]",
    "refining.network.weights=none",
    "refining.views={side: 32, crop: 32, jitter: [0.3, 0.3, 0.3, 0.1]}",
    "refining.schedule={epochs: 1, batch_size: 4}",
    "refining.width=16",
    "refined.sides=[32, 40]",
    "masks.doubt=false",
)
SMALL = (
    "suppressed.network.frozen=5",
    "suppressed.views={side: 112, crop: 96}",
    "suppressed.schedule={epochs: 40, batch_size: 6}",
    "suppressed.optimiser.milestones=[36]",
    "suppressed.width=64",
    "activation.sides=[96, 112]",
    "refining.network.frozen=5",
    "refining.views={side: 96, crop: 96}",
    "refining.schedule={epochs: 60, batch_size: 6}",
    "refining.optimiser={lr: 1e-3, head: 3, milestones: [50]}",
    "refining.width=64",
    "refined.sides=[96, 112]",
    "masks.salient=0.5",
)
NETWORK = NetworkSettings("mobilenetv3_small_050", "none", frozen=0)
TINY = (
    *(
        f"{part}.{key}"
        for part in ("suppressed", "refining")
        for key in (
            "network={backbone: resnet10t, weights: none, output_stride: 16, frozen: 0}",
            "views={side: 32, crop: 32}",
            "schedule={epochs: 4, batch_size: 4, checkpoint_every: 1}",
            "width=8",
        )
    ),
    "suppressed.suppressed=1",
    "activation.sides=[32]",
    "refined.sides=[32, 48]",
)


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=3)
    run_paper(BASELINE, PAPER, weak, tmp_path / "run")


def test_two_squares_from_labels_to_masks(tmp_path: Path) -> None:
    """Overfit: six photos of a red square, a blue one, or both, each on grey noise."""
    weak, truth = write_weak(tmp_path / "photos", n=6)
    weak = with_true_saliency(weak, truth, tmp_path / "saliency")
    masks = run_all(last_stage(BASELINE, "smoke", SMALL), weak, tmp_path / "run")
    right, known = [], []
    for row in weak.rows:
        mask, true = read_index_png(masks / f"{row.image_id}.png"), truth[row.image_id]
        right.append((mask[mask != 255] == true[mask != 255]).mean())
        known.append((mask != 255).mean())
    assert np.mean(known) > 0.7
    assert np.mean(right) > 0.85


def test_every_stage_goes_on_after_a_kill(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=4, empty=3)
    assert_kills_change_nothing(last_stage(BASELINE, "smoke", TINY), weak, tmp_path / "run")


# --- suppression ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 1.0]))
def test_suppression_against_loops(seed: int, delta: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 2, (2, 3, 2, 4))
    torch.manual_seed(seed)
    part = Suppression(3, delta).double()
    found = part(torch.tensor(values)).detach().numpy()
    for n in range(2):
        active = np.maximum(values[n], 0)
        means = [active[c].mean() for c in range(3)]
        for c in range(3):
            share = delta
            if part.controller is not None:
                row = part.controller.weight[c].tolist()
                share = 1 / (1 + np.exp(-sum(w * m for w, m in zip(row, means, strict=True))))
            peak = max(active[c].ravel().tolist())
            for y in range(2):
                for x in range(4):
                    wanted = min(active[c, y, x], share * peak)
                    assert found[n, c, y, x] == pytest.approx(wanted, abs=1e-12)


def test_a_share_of_one_suppresses_nothing() -> None:
    values = torch.randn(2, 4, 5, 5)
    assert torch.equal(Suppression(4, 1.0)(values), values.relu())


def test_learned_shares_start_near_one_half() -> None:
    torch.manual_seed(0)
    part = Suppression(64)
    values = torch.rand(2, 64, 8, 8)
    ratio = part(values).amax((2, 3)) / values.amax((2, 3))
    assert float((ratio - 0.5).abs().max()) < 0.1
    assert part.controller is not None
    assert float(part.controller.weight.std()) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("delta", [-0.1, 1.5])
def test_shares_that_cannot_be_are_refused(delta: float) -> None:
    with pytest.raises(InputError, match=r"delta must lie in 0\.\.1"):
        Suppression(3, delta)


@pytest.mark.parametrize(("depths", "count"), [(0, 0), (1, 3), (5, 13)])
def test_the_last_activations_of_a_vgg_are_suppressed(depths: int, count: int) -> None:
    backbone = load_backbone("vgg16", "none", output_stride=8)
    suppress_last(backbone.module, depths, 0.55)
    parts = list(backbone.module.modules())
    assert sum(isinstance(part, Suppression) for part in parts) == count
    plain = [p for p in parts if isinstance(p, nn.ReLU) and not p.inplace]
    assert len(plain) == count  # inside the suppressed ones
    (features,) = backbone.module(torch.rand(1, 3, 64, 64))
    assert features.shape == (1, 512, 8, 8)


def test_a_vgg_of_stride_8_keeps_the_cells_of_its_fourth_depth() -> None:
    """Convolutions of the last depth see every other cell; the pooling before keeps the size."""
    torch.manual_seed(0)
    backbone = load_backbone("vgg16", "none", output_stride=8)
    assert (backbone.stride, backbone.channels) == (8, 512)
    image = torch.rand(1, 3, 48, 40)
    (found,) = backbone.module(image)
    parts = list(backbone.module.children())
    wanted, pools = image, 0
    for part in parts:
        if isinstance(part, nn.MaxPool2d):
            pools += 1
            size = (2, 2, 0) if pools < 4 else (3, 1, 1)
            wanted = nn.functional.max_pool2d(wanted, *size)
        elif isinstance(part, nn.Conv2d):
            rate = 1 if pools < 4 else 2
            wanted = nn.functional.conv2d(
                wanted, part.weight, part.bias, padding=rate, dilation=rate
            )
        else:
            wanted = wanted.relu()
    assert pools == 4
    torch.testing.assert_close(found, wanted)
    assert load_backbone("vgg16", "none", output_stride=16).stride == 16


@pytest.mark.parametrize("depths", [-1, 6])
def test_depths_that_are_not_there_are_refused(depths: int) -> None:
    backbone = load_backbone("vgg11", "none", output_stride=16)
    with pytest.raises(InputError, match="exceeds the 5 depths"):
        suppress_last(backbone.module, depths)


def test_a_backbone_without_rectified_activations_is_refused() -> None:
    backbone = load_backbone("efficientnet_b0", "none", output_stride=16)
    with pytest.raises(InputError, match="no ReLU to suppress"):
        suppress_last(backbone.module, 1)


def test_the_controllers_learn_at_the_rate_of_new_weights() -> None:
    made = SuppressedSettings(
        NetworkSettings("vgg11", "none", 8, frozen=0),
        SquareViewSettings(32, 32),
        SteppedSgd(1e-3),
        Schedule(1, 1),
        width=4,
    )
    model = suppressed_classifier(made, 2)
    slow = {id(parameter) for parameter in pretrained_part(model).parameters()}
    fast = [name for name, p in model.named_parameters() if id(p) not in slow]
    assert sum("controller" in name for name in fast) == 8 + 3
    others = {n.split(".")[0] for n in fast if "controller" not in n}
    assert others == {"convolutions", "head"}
    assert len(slow) == 16  # weights and biases of the eight convolutions
    constant = suppressed_classifier(replace(made, delta=0.5), 2)
    assert not [name for name, _ in constant.named_parameters() if "controller" in name]


# --- maps -----------------------------------------------------------------------------------------


def test_the_largest_value_of_all_sizes_counts() -> None:
    """A network that tells of the left half at one size and of the right half at another."""

    def maps_of(images: torch.Tensor) -> torch.Tensor:
        side = images.shape[-1]
        maps = torch.zeros(1, 2, 2, 2)
        maps[:, 1, :, 0 if side == 16 else 1] = float(side)
        return maps

    image = np.zeros((4, 4, 3), np.uint8)
    found = strongest_maps(maps_of, image, (2,), (16, 32), normalise=True)
    assert found.maps.shape == (1, 4, 4)
    np.testing.assert_allclose(found.maps[0, :, [0, -1]], 1, atol=1e-5)
    cut = strongest_maps(maps_of, image, (2,), (16,), normalise=False)
    assert cut.maps.max() == 1


def test_targets_keep_each_pixels_strongest_class(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=3)
    row = weak.rows[2]
    maps = np.zeros((2, *row.size), np.float32)
    maps[0, :, :36], maps[1, :, 36:] = 0.8, 0.4
    maps[1, :, :36] = 0.2
    write_maps(tmp_path / "maps", row.image_id, ClassMaps((1, 2), maps))
    target = MapTarget(3, tmp_path / "maps", 16, strongest=True)
    (levels,) = target(row, View((0, 0, 16, 16), 16, flip=False))
    (mirrored,) = target(row, View((0, 0, 16, 16), 16, flip=True))
    assert levels.shape == (3, 16, 16)
    assert levels[0, 3, [0, -1]].tolist() == [204, 0]
    assert levels[1, 3, [0, -1]].tolist() == [0, 102]
    assert not levels[2].any()
    np.testing.assert_array_equal(levels, mirrored[:, :, ::-1])


def test_the_refining_loss_by_hand() -> None:
    levels = torch.tensor([[[[255, 0]], [[0, 51]]]], dtype=torch.uint8)
    maps = torch.tensor([[[[0.5, 0.1]], [[0.0, 0.2]]]])
    assert float(refining_loss(maps, levels)) == pytest.approx((0.25 + 0.01) / 4)


def test_the_refining_network_learns_the_maps_of_one_photo(tmp_path: Path) -> None:
    """Overfit: maps of the true squares are given back."""
    weak, truth = write_weak(tmp_path / "photos", n=3)
    for row in weak.rows:
        true = truth[row.image_id]
        maps = np.array([true == c for c in row.classes], np.float32)
        write_maps(tmp_path / "maps", row.image_id, ClassMaps(row.classes, maps))
    overrides = (
        "refining.network={backbone: resnet10t, weights: none, output_stride: 8, frozen: 0}",
        "refining.views={side: 64, crop: 64}",
        "refining.schedule={epochs: 60, batch_size: 3}",
        "refining.optimiser={lr: 1e-3, head: 1, weight_decay: 0, milestones: [50]}",
        "refining.width=16",
        "refined.sides=[64]",
    )
    refined = last_stage(BASELINE, "smoke", overrides).after[0]
    refining = refined.after[0]
    refining.loaded()(task_of(weak, tmp_path / "net"), refining.settings, tmp_path / "maps")
    refined.loaded()(task_of(weak, tmp_path / "out"), refined.settings, tmp_path / "net")
    for row in weak.rows:
        found = read_maps(tmp_path / "out", row.image_id)
        wanted = np.array([truth[row.image_id] == c for c in row.classes])
        assert ((found.maps > 0.5) == wanted).mean() > 0.9


# --- pseudo-masks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_rule_against_loops(seed: int) -> None:
    """More than two scores above 0.9, and salient pixels without a class, are 255."""
    rng = np.random.default_rng(seed)
    values = rng.choice([0.05, 0.19, 0.3, 0.91, 0.95], (3, 6, 7)).astype(np.float32)
    salience = rng.random((6, 7)).astype(np.float32)
    wanted = np.zeros((6, 7), np.uint8)
    for y in range(6):
        for x in range(7):
            scores = [0.0 if salience[y, x] > 0.4 else 1.0]
            scores += [0.0 if v < 0.2 else float(v) for v in values[:, y, x]]
            wanted[y, x] = (0, 2, 5, 9)[int(np.argmax(scores))]
            if sum(score > 0.9 for score in scores) > 2:
                wanted[y, x] = 255
            if salience[y, x] > 0.4 and wanted[y, x] == 0:
                wanted[y, x] = 255
    found = binary_saliency_mask(
        ClassMaps((2, 5, 9), values), salience, BinarySaliencySettings(0.4)
    )
    np.testing.assert_array_equal(found, wanted)


def test_without_classes_all_is_background() -> None:
    maps = ClassMaps((), np.zeros((0, 2, 2), np.float32))
    salience = np.ones((2, 2), np.float32)
    assert not binary_saliency_mask(maps, salience, BinarySaliencySettings(0.2)).any()


def test_photos_with_too_few_labelled_pixels_teach_nothing() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[0, 0], labels[5:] = 3, 255
    assert (without_sparse(labels, 0.02) == 255).all()
    np.testing.assert_array_equal(without_sparse(labels, 0.01), labels)
    np.testing.assert_array_equal(without_sparse(labels, 0.0), labels)


# --- settings -------------------------------------------------------------------------------------


def test_paper_constants() -> None:
    paper = BASELINE.presets["paper"]
    assert paper["suppressed"]["views"]["side"] == 384
    assert paper["suppressed"]["views"]["crop"] == 320
    assert paper["activation"]["sides"] == [256, 320, 384]
    assert paper["refining"]["schedule"] == {"epochs": 30, "batch_size": 5}
    # 8-bit maps are cut at 50, and have 254 levels here.
    cut = paper["masks"]["salient"]
    assert next(level for level in range(256) if round(level * 254 / 255) / 254 > cut) == 51


def test_rates_fall_to_a_tenth_at_the_milestones() -> None:
    """The official epochs are counted from 1; the rate falls before epochs 5 and 10, 10 and 20."""
    paper = BASELINE.resolved("paper")
    for network, points in ((paper.suppressed, (5, 10)), (paper.refining, (10, 20))):
        epochs = network.schedule.epochs
        schedule = network.optimiser.schedule(steps=10 * epochs, epochs=epochs)
        rate = 1.0
        for epoch in range(1, epochs + 1):
            rate *= 0.1 if epoch in points else 1
            first, last = 10 * (epoch - 1), 10 * epoch - 1
            assert [schedule(first, 1.0), schedule(last, 1.0)] == pytest.approx([rate, rate])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("suppressed.views={side: 32, crop: 64}", "crop must lie in 16..side"),
        ("suppressed.views={side: 32, crop: 32, jitter: [1]}", "jitter must be four"),
        ("refining.views={side: 64, crop: 32}", "needs whole photos"),
        ("activation.sides=[]", "must be one or more numbers"),
        ("suppressed.delta=2", "delta must lie"),
    ],
)
def test_settings_that_cannot_be_are_refused(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        suppressed_classifier(
            replace(BASELINE.resolved("smoke", (override,)).suppressed, network=NETWORK), 2
        )
