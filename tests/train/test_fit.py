from __future__ import annotations

import csv
import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sbdata.errors import InputError
from sbdata.losses import ElasticWeightConsolidation
from sbdata.losses.fisher import MovingFisher
from sbdata.losses.registry import make_loss
from sbdata.train.devices import DistributedContext, init_distributed
from sbdata.train.fit import DivergedError
from sbdata.train.phase import run_phase
from sbdata.train.preset import Preset, SizeBalance
from sbdata.train.samples import TrainingImages, images_of_folders, views_of
from sbdata.train.segmenter import (
    Segmenter,
    labels_by_size,
    output_sizes,
    parameter_groups,
    segmenter_loss,
)
from sbdata.train.views import batches, in_steps
from tests.train.training_runs import CPU, fresh, largest_gap, phase_of, trained
from tests.train.training_sets import TWO, tiny_preset, write_pictures


def bare_loop(
    images: TrainingImages, preset: Preset, after_backward: Callable[[Segmenter, int], None]
) -> Segmenter:
    """Six steps of gradient descent with the size-balanced loss, written out."""
    model, settings = fresh(preset).train(), preset.optimisation
    groups = parameter_groups(model, settings.lr, settings.weight_decay)
    optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=0.9)
    sizes = output_sizes(model, preset.augmentation.crop)
    views = views_of(images, preset.augmentation, 0, balance=SizeBalance(), sizes=sizes)
    for step, (pictures, *labels) in enumerate(batches([views], in_steps(range(6), 4))):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * (1 - step / 6) ** 0.9 * group["lr_mult"]
        optimizer.zero_grad()
        segmenter_loss(model, pictures, labels_by_size(labels), make_loss("sb")).backward()
        after_backward(model, step)
        optimizer.step()
    return model


@pytest.mark.parametrize("scales", [(), (0.5, 0.75)])
def test_the_loop_is_the_bare_one(tmp_path: Path, scales: tuple[float, ...]) -> None:
    """The weights are those of gradient descent written out, to the last bit."""
    images, preset = write_pictures(tmp_path), tiny_preset(model__scales=list(scales))
    ours = trained(images, tmp_path / "run", preset, "sb")
    model = bare_loop(images, preset, lambda model, step: None)
    assert largest_gap(ours, model.state_dict()) == 0


def test_the_moving_fisher_takes_in_every_step(tmp_path: Path) -> None:
    images, preset = write_pictures(tmp_path), tiny_preset()
    wanted: dict[str, Tensor] = {}

    def take_in(model: Segmenter, step: int) -> None:
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None
                before = wanted.get(name, torch.ones_like(parameter))
                wanted[name] = 0.9 * parameter.grad**2 + 0.1 * before

    bare = bare_loop(images, preset, take_in)
    fisher = MovingFisher(fresh(preset))
    ours = trained(images, tmp_path / "run", preset, "sb", fisher=fisher)
    assert largest_gap(ours, bare.state_dict()) == 0
    kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["fisher"]
    assert largest_gap(kept, fisher.values) == 0
    assert fisher.values.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(kept[name], value)


class _KilledError(Exception):
    pass


def kill_at(step: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise _KilledError

    return progress


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_run_that_is_stopped_ends_with_the_same_bits(tmp_path: Path, step: int) -> None:
    images, preset = write_pictures(tmp_path), tiny_preset()
    unbroken = trained(images, tmp_path / "unbroken", preset, "sb")
    with pytest.raises(_KilledError):
        trained(images, tmp_path / "broken", preset, "sb", on_progress=kill_at(step))
    torch.rand(17)  # whatever else happened in the process
    assert largest_gap(trained(images, tmp_path / "broken", preset, "sb"), unbroken) == 0
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("unbroken", "broken")]
    assert logs[0] == logs[1]


def _train_in_process(root: str, folder: str) -> None:
    preset = tiny_preset(optimisation__steps=40)
    images = images_of_folders(Path(root) / "photos", Path(root) / "masks", TWO)
    trained(images, Path(folder), preset, "sb")


def test_kill_9_and_resume(tmp_path: Path) -> None:
    """A process killed by the system at any moment; its follower ends with the same weights."""
    images, preset = write_pictures(tmp_path), tiny_preset(optimisation__steps=40)
    unbroken = trained(images, tmp_path / "unbroken", preset, "sb")
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=_train_in_process, args=(str(tmp_path), str(tmp_path / "broken"))
    )
    process.start()
    checkpoint = tmp_path / "broken" / "checkpoint.pt"
    while process.is_alive() and not checkpoint.exists():
        process.join(0.01)
    process.kill()
    process.join()
    assert checkpoint.exists()
    assert torch.load(checkpoint, weights_only=True)["step"] < 40
    assert largest_gap(trained(images, tmp_path / "broken", preset, "sb"), unbroken) == 0


@pytest.mark.parametrize("loss", ["ce", "sb", "focal"])
@pytest.mark.parametrize("scales", [(), (0.5, 0.75)])
def test_accumulated_parts_are_the_whole_batch(
    tmp_path: Path, loss: str, scales: tuple[float, ...]
) -> None:
    """The loss of the parts is that of the batch; what differs is the order of float additions."""
    images, preset = write_pictures(tmp_path), tiny_preset(model__scales=list(scales))
    whole = trained(images, tmp_path / "whole", preset, loss)
    changed = tiny_preset(model__scales=list(scales), optimisation__accumulate=4)
    parts = trained(images, tmp_path / "parts", changed, loss)
    assert 0 <= largest_gap(whole, parts) < 2e-5


def test_parts_count_by_their_weights(tmp_path: Path) -> None:
    """Views of one image each whose weights differ: the mean of the parts' losses is another."""
    images = write_pictures(tmp_path)
    losses = []
    for settings in ({}, {"optimisation__accumulate": 4}):
        preset = tiny_preset(optimisation__steps=1, **settings)
        trained(images, tmp_path / str(len(losses)), preset, "sb")
        with (tmp_path / str(len(losses)) / "log.csv").open() as log:
            losses.append(float(next(csv.DictReader(log))["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    views = views_of(images, tiny_preset().augmentation, 0, balance=SizeBalance())
    parts = []
    for pictures, *labels in batches([views], [[0], [1], [2], [3]]):
        model, sizes = fresh(preset).train(), labels_by_size(labels)
        parts.append(float(segmenter_loss(model, pictures, sizes, make_loss("sb")).detach()))
    assert abs(sum(parts) / 4 - losses[0]) > 1e-3


def _train_as_rank(rank: int, port: int, root: str, folder: str, settings: dict[str, Any]) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    images = images_of_folders(Path(root) / "photos", Path(root) / "masks", TWO)
    place = init_distributed("cpu")
    weights = trained(images, Path(folder), tiny_preset(**settings), "sb", place)
    torch.save(weights, Path(folder) / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_are_one_with_the_doubled_batch(tmp_path: Path) -> None:
    """Gloo, two processes of 2 images, against one of 4: within 2e-5 of every weight."""
    images = write_pictures(tmp_path)
    alone = trained(images, tmp_path / "alone", tiny_preset(), "sb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "both").mkdir()
    context = multiprocessing.get_context("spawn")
    ranks = [
        context.Process(
            target=_train_as_rank, args=(rank, port, str(tmp_path), str(tmp_path / "both"), {})
        )
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0, 0]
    found = [torch.load(tmp_path / "both" / f"rank{r}.pt", weights_only=True) for r in range(2)]
    assert largest_gap(*found) == 0
    assert largest_gap(found[0], alone) < 2e-5
    with (tmp_path / "both" / "log.csv").open() as log, (tmp_path / "alone/log.csv").open() as own:
        both, one = list(csv.DictReader(log)), list(csv.DictReader(own))
    assert [float(r["loss"]) for r in both] == pytest.approx([float(r["loss"]) for r in one], 1e-5)


def test_the_penalty_holds_the_weights(tmp_path: Path) -> None:
    images, preset = write_pictures(tmp_path), tiny_preset()
    start = fresh(preset)
    fisher = {n: torch.ones_like(p) for n, p in start.named_parameters() if p.requires_grad}
    moved = {}
    for strength in (0.0, 10.0):
        held = ElasticWeightConsolidation.at(start, fisher, strength)
        ended = trained(images, tmp_path / str(strength), preset, penalty=held)
        moved[strength] = sum(float((ended[n] - held.anchor[n]).square().sum()) for n in fisher)
    assert moved[10.0] < 0.6 * moved[0.0]
    assert largest_gap(trained(images, tmp_path / "free", preset), ended) > 0


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    images = write_pictures(tmp_path)
    preset = tiny_preset(optimisation__steps=200, optimisation__lr=3e6)
    with pytest.raises(DivergedError, match=r"steps? .*; .*[Ll]ower optimisation\.lr"):
        trained(images, tmp_path / "run", preset)
    kept = tmp_path / "run" / "checkpoint.pt"
    if kept.exists():
        state = torch.load(kept, weights_only=True)["model"]
        assert all(bool(value.isfinite().all()) for value in state.values())


def test_divergence_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    images, preset = write_pictures(tmp_path), tiny_preset()
    model = fresh(preset)

    def poison(done: int, total: int) -> None:
        if done == 3:
            with torch.no_grad():
                model.head.branches[0].weight.fill_(float("nan"))

    with pytest.raises(DivergedError, match="last good checkpoint"):
        run_phase(
            model, images, phase_of(preset), tmp_path / "run", CPU, identity={}, on_progress=poison
        )
    kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 2
    assert all(bool(value.isfinite().all()) for value in kept["model"].values())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains(tmp_path: Path, precision: str) -> None:
    images = write_pictures(tmp_path)
    full = trained(images, tmp_path / "32", tiny_preset())
    mixed = trained(images, tmp_path / "m", tiny_preset(optimisation__precision=f"'{precision}'"))
    assert 0 < largest_gap(full, mixed) < 0.5
    assert all(value.dtype == full[name].dtype for name, value in mixed.items())


def test_another_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    images, preset = write_pictures(tmp_path), tiny_preset()
    with pytest.raises(_KilledError):
        trained(images, tmp_path / "run", preset, on_progress=kill_at(3))
    with pytest.raises(InputError, match="belongs to a run with another seed; delete it"):
        run_phase(
            fresh(preset), images, phase_of(preset), tmp_path / "run", CPU, identity={"seed": 1}
        )


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    images = write_pictures(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(InputError, match=r"checkpoint\.pt: not a readable weights file"):
        trained(images, tmp_path / "run", tiny_preset())


def test_a_batch_that_cannot_be_shared(tmp_path: Path) -> None:
    place = DistributedContext(torch.device("cpu"), rank=0, world_size=3)
    with pytest.raises(InputError, match="4 images cannot be divided among 3 processes"):
        trained(write_pictures(tmp_path), tmp_path / "run", tiny_preset(), place=place)
