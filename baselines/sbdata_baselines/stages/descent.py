"""Descent: the training loop of all stages that learn.

Batches are a function of the step, so a stage that was killed goes on from its last checkpoint and
ends, on one CPU, with the very weights of an unbroken run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sbdata.benchmark.stage import StageContext
from sbdata.errors import InputError
from sbdata.settings import as_plain, from_plain
from sbdata.storage import remove_leftovers
from sbdata.train.checkpoint import load_tensors, save_tensors
from sbdata_baselines.settings import Adam, Schedule, Sgd
from sbdata_baselines.stages.photos import Batch

MODEL, CHECKPOINT = "model.pt", "checkpoint.pt"
MODEL_FORMAT = "sbdata.baselines.model.v1"
_CHECKPOINT_FORMAT = "sbdata.baselines.checkpoint.v1"


class Scheduled(Protocol):
    """The settings of a stage that learns, by whatever optimiser."""

    @property
    def schedule(self) -> Schedule:
        """Return the schedule."""


class Learning(Scheduled, Protocol):
    """The settings of a stage that learns by one of the optimisers here."""

    @property
    def optimiser(self) -> Sgd | Adam:
        """Return the optimiser."""


def descend(
    task: StageContext,
    settings: Learning,
    model: nn.Module,
    backbone: nn.Module,
    feed: Callable[[range], Iterable[Batch]],
    loss_of: Callable[..., Tensor],
) -> None:
    """Train a model in place and write it to ``model.pt`` of the task's folder.

    Args:
        task: whose folder holds the checkpoint. ``torch.manual_seed`` of its seed is called by
            whoever builds the model.
        settings: a frozen dataclass, kept beside the weights.
        model: on its device, in training mode; its parameters that require gradients are trained.
        backbone: part of ``model``, whose parameters take the plain learning rate; all others take
            ``optimiser.head`` times as much.
        feed: gives the batches of the steps that are left.
        loss_of: called with the tensors of a batch, on the device.

    Raises:
        InputError: if the loss or the weights are no numbers any more.
    """
    optimiser = settings.optimiser
    sgd = _optimiser(optimiser, model, backbone)

    def set_rates(step: int, steps: int) -> None:
        if isinstance(optimiser, Sgd):
            for group in sgd.param_groups:
                group["lr"] = group["first_lr"] * (1 - step / steps) ** optimiser.poly_power

    learn(task, settings, model, sgd, set_rates, feed, loss_of)


def learn(
    task: StageContext,
    settings: Scheduled,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    set_rates: Callable[[int, int], None],
    feed: Callable[[range], Iterable[Batch]],
    loss_of: Callable[..., Tensor],
) -> None:
    """Train a model by an optimiser; see :func:`descend`, which chooses one.

    A run that was killed goes on from its last checkpoint.

    Args:
        task: see there.
        settings: a frozen dataclass, kept beside the weights.
        model: see there.
        optimiser: of its parameters.
        set_rates: called with a step and the number of all steps before the step is taken.
        feed: see there.
        loss_of: see there.

    Raises:
        InputError: if the loss or the weights are no numbers any more.
    """
    if (task.folder / MODEL).is_file():
        return
    remove_leftovers(task.folder)
    schedule = settings.schedule
    steps = schedule.steps(len(task.weak))
    start = _resume(task.folder / CHECKPOINT, model, optimiser)
    seen: list[Tensor] = []
    for step, batch in zip(range(start, steps), feed(range(start, steps)), strict=True):
        set_rates(step, steps)
        loss = loss_of(*(tensor.to(task.place.device, non_blocking=True) for tensor in batch))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        seen.append(loss.detach())
        done = step + 1
        if done % schedule.checkpoint_every == 0 or done == steps:
            _check(seen, model, done)
            _save(task.folder / CHECKPOINT, model, optimiser, done)
        task.progress(done, steps)
    kept = {"format": MODEL_FORMAT, "settings": as_plain(settings), "model": model.state_dict()}
    save_tensors(task.folder / MODEL, kept)
    (task.folder / CHECKPOINT).unlink(missing_ok=True)


def settings_of(folder: Path, kind: Any) -> Any:
    """Return the settings, of the dataclass ``kind``, with which a model was trained.

    Raises:
        InputError: if there is no model, or one of another kind.
    """
    plain = load_tensors(folder / MODEL, MODEL_FORMAT)["settings"]
    return from_plain(kind, plain, str(folder / MODEL))


def load_trained(model: nn.Module, folder: Path) -> None:
    """Give a model, built as it was for training, the weights that :func:`descend` wrote.

    Raises:
        InputError: if there are none, or those of another model.
    """
    state = load_tensors(folder / MODEL, MODEL_FORMAT)["model"]
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        msg = f"{folder / MODEL}: of another model; delete the folder and run its stage again"
        raise InputError(msg) from error


def _optimiser(
    settings: Sgd | Adam, model: nn.Module, backbone: nn.Module
) -> torch.optim.Optimizer:
    pretrained = {id(p) for p in backbone.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": parameters, "lr": rate, "first_lr": rate}
        for parameters, rate in (
            ([p for p in trained if id(p) in pretrained], settings.lr),
            ([p for p in trained if id(p) not in pretrained], settings.lr * settings.head),
        )
        if parameters
    ]
    if isinstance(settings, Adam):
        return torch.optim.Adam(groups, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        groups,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )


def _resume(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Take up the checkpoint, if there is one; return the step to go on with."""
    if not path.is_file():
        return 0
    kept = load_tensors(path, _CHECKPOINT_FORMAT)
    model.load_state_dict(kept["model"])
    optimiser.load_state_dict(kept["optimiser"])
    torch.set_rng_state(kept["rng"])
    if torch.cuda.is_available() and kept["cuda_rng"]:
        torch.cuda.set_rng_state_all(kept["cuda_rng"])
    return int(kept["step"])


def _save(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, done: int) -> None:
    save_tensors(
        path,
        {
            "format": _CHECKPOINT_FORMAT,
            "step": done,
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "rng": torch.get_rng_state(),  # of dropout
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
    )


def _check(seen: list[Tensor], model: nn.Module, done: int) -> None:
    """Look at losses and weights at times: asking at each step would wait for the device."""
    finite = torch.stack([p.detach().isfinite().all() for p in model.parameters()]).all()
    loss = float(torch.stack(seen).mean())
    if not math.isfinite(loss) or not bool(finite):
        steps = f"steps {done - len(seen) + 1} to {done}"
        msg = f"{steps}: loss or weights are no numbers any more (loss {loss}); lower optimiser.lr"
        raise InputError(msg)
    seen.clear()


def joined(feeds: Iterable[Iterator[Batch]]) -> Iterator[Batch]:
    """Put the batches of several feeds together, step by step."""
    for parts in zip(*feeds, strict=True):
        yield tuple(torch.cat(column) for column in zip(*parts, strict=True))
