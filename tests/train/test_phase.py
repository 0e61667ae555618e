from __future__ import annotations

import copy
import csv
from pathlib import Path

import pytest
import torch

from sbdata.train.checkpoint import CHECKPOINT_FORMAT, load_tensors
from sbdata.train.phase import Phase, run_phase
from sbdata.train.samples import views_of
from sbdata.train.views import batches
from tests.train.training_runs import CPU, fresh, largest_gap, phase_of, trained
from tests.train.training_sets import tiny_preset, write_pictures


def test_two_phases_of_one_loss_are_one(tmp_path: Path) -> None:
    """The state that a phase leaves is all that the next one needs: nothing restarts."""
    images, preset = write_pictures(tmp_path), tiny_preset()
    unbroken = trained(images, tmp_path / "one", preset, "sb")
    model = fresh(preset)
    for loss, start, stop, folder in (("sb", 0, 3, "first"), ("sb", 3, 6, "second")):
        begin = load_tensors(tmp_path / "first/checkpoint.pt", CHECKPOINT_FORMAT) if start else None
        run_phase(
            model, images, Phase(loss, start, stop, 0, preset), tmp_path / folder, CPU,
            identity={}, begin=begin,
        )  # fmt: skip
        model = fresh(preset)
    ended = load_tensors(tmp_path / "second/checkpoint.pt", CHECKPOINT_FORMAT)
    assert ended["step"] == 6
    assert largest_gap(ended["model"], unbroken) == 0
    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("one", "second")]
    assert logs[0][-1] == logs[1][-1]
    assert [row.split(",")[0] for row in logs[1]] == ["step", "2", "3", "4", "6"]


def test_four_images_are_learnt_by_heart(tmp_path: Path) -> None:
    """More than 95 % mIoU on the images trained on."""
    images = write_pictures(tmp_path, side=64, grid=32)
    preset = tiny_preset(
        optimisation__steps=120, optimisation__lr=3e-4, optimisation__checkpoint_every=120,
        augmentation__crop=64, augmentation__scales=[1.0], augmentation__flip=False,
        model__backbone="resnet10t", model__rates=[1, 2, 3, 4],
    )  # fmt: skip
    model = fresh(preset)
    run_phase(model, images, phase_of(preset), tmp_path / "run", CPU, identity={})
    views = views_of(images, preset.augmentation, 0)
    ((pictures, target),) = batches([views], [range(4)])
    with torch.no_grad():
        logits = model.eval()(pictures)
    found = torch.nn.functional.interpolate(logits, target.shape[-2:], mode="bilinear").argmax(1)
    seen = target != 255
    ious = [
        float(((found == c) & (target == c)).sum() / (((found == c) | (target == c)) & seen).sum())
        for c in range(3)
    ]
    assert sum(ious) / 3 > 0.95


def test_multi_scale_inputs_train(tmp_path: Path) -> None:
    images = write_pictures(tmp_path)
    weights = trained(images, tmp_path / "run", tiny_preset(model__scales=[0.5, 0.75]), "sb")
    assert largest_gap(weights, fresh(tiny_preset()).state_dict()) > 0


def test_the_schedule_and_the_log(tmp_path: Path) -> None:
    preset = tiny_preset(optimisation__steps=12, optimisation__update_every=5)
    trained(write_pictures(tmp_path), tmp_path / "run", preset)
    with (tmp_path / "run" / "log.csv").open() as log:
        rows = list(csv.DictReader(log))
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 8, 10, 12]
    rates = [0.001 * (1 - s / 12) ** 0.9 for s in (0, 0, 5, 5, 5, 10)]
    assert [float(row["lr"]) for row in rows] == pytest.approx(rates)


def test_tensorboard_is_written_on_request(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    trained(write_pictures(tmp_path), tmp_path / "run", tiny_preset(), tensorboard=True)
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_training_leaves_batch_norm_as_it_was(tmp_path: Path) -> None:
    """Statistics are those of the pretrained network, as DeepLab keeps them."""
    images, preset = write_pictures(tmp_path), tiny_preset()
    model = fresh(preset)
    before = copy.deepcopy(dict(model.named_buffers()))
    run_phase(model, images, phase_of(preset), tmp_path / "run", CPU, identity={})
    after = dict(model.named_buffers())
    assert all(torch.equal(before[name], after[name]) for name in before)
