"""Training: how every stage that learns does so, by the loop of ``sbdata.train.fit``.

A stage that was killed goes on from its last checkpoint and ends, on one CPU, with the very weights
of an unbroken run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sbdata.benchmark.stage import StageContext
from sbdata.errors import InputError
from sbdata.settings import as_plain, from_plain
from sbdata.storage import remove_leftovers
from sbdata.train import schedules
from sbdata.train.checkpoint import Checkpoint, load_tensors, save_tensors
from sbdata.train.fit import FitSettings, fit
from sbdata.train.views import Arrays
from sbdata_baselines.stages.photos import ViewSettings
from sbdata_baselines.stages.pyramid import NetworkSettings

MODEL, CHECKPOINT = "model.pt", "checkpoint.pt"
MODEL_FORMAT = "sbdata.baselines.model.v1"
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent, lr · (1 − step / steps)^poly_power.

    The official codes of IRN, PSA, SEAM and those built on them pass the weight decay where SGD
    takes its momentum: they train with a momentum of 1e-4 or 5e-4, and 0.9 is only the power of the
    schedule. Presets called ``paper`` give that effective momentum; with one of 0.9, divide the
    learning rate by about 10.

    Attributes:
        lr: learning rate of the backbone.
        momentum: momentum of SGD.
        nesterov: whether the momentum is Nesterov's.
        poly_power: power of the schedule.
        head: multiplies ``lr`` for new layers.
        weight_decay: weight decay of all that is trained.
    """

    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    poly_power: float = 0.9
    head: float = 10.0
    weight_decay: float = 1e-4

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the schedule of the learning rate."""
        return schedules.PolySchedule(steps, self.poly_power)


@dataclass(frozen=True)
class Adam:
    """Adam with constant learning rates.

    Attributes:
        lr: learning rate of the backbone.
        head: multiplies ``lr`` for new layers.
        weight_decay: weight decay of all that is trained.
    """

    lr: float
    head: float = 20.0
    weight_decay: float = 1e-4

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the schedule of the learning rate."""
        return schedules.constant


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay and a rate that rises, then falls along half a cosine.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), with the warm-up of
    DeiT (Touvron et al., ICML 2021): vision transformers are trained so.

    Attributes:
        lr: learning rate at the top of the cosine.
        weight_decay: weight decay of weights; biases, norms and whatever a model names have none.
        warm_up: epochs in which the rate rises linearly.
        first: rate at the start of the warm-up.
        last: rate at the end of the cosine.

    Raises:
        InputError: for values that cannot be.
    """

    lr: float
    weight_decay: float = 0.05
    warm_up: int = 0
    first: float = 1e-6
    last: float = 1e-5

    def __post_init__(self) -> None:
        if min(self.lr, self.first, self.last) <= 0 or min(self.weight_decay, self.warm_up) < 0:
            msg = "optimiser: rates must be above 0, weight_decay and warm_up not below it"
            raise InputError(msg)

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the schedule of the learning rate."""
        return schedules.CosineSchedule(steps, epochs, self.warm_up, self.first, self.last)


Optimiser = Sgd | Adam | AdamW


@dataclass(frozen=True)
class Schedule:
    """How long a stage learns.

    Attributes:
        epochs: times that each photo is seen.
        batch_size: photos a step.
        checkpoint_every: steps between checkpoints.

    Raises:
        InputError: for values that cannot be.
    """

    epochs: int
    batch_size: int
    checkpoint_every: int = 50

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.checkpoint_every) < 1:
            msg = "schedule: epochs, batch_size and checkpoint_every must be at least 1"
            raise InputError(msg)

    def steps(self, images: int) -> int:
        """Return the steps in which that many images are seen in every epoch."""
        return math.ceil(self.epochs * images / self.batch_size)


@dataclass(frozen=True)
class BackboneSettings:
    """Settings that stages have in common which train a network on a backbone.

    Attributes:
        network: settings of the backbone.
        views: settings of the views of photos, and of what goes with them.
        optimiser: settings of the optimiser.
        schedule: how long the network is trained.
    """

    network: NetworkSettings
    views: ViewSettings
    optimiser: Sgd
    schedule: Schedule


class TrainSettings(Protocol):
    """The settings of a stage that learns."""

    @property
    def optimiser(self) -> Optimiser:
        """Return the optimiser's settings."""

    @property
    def schedule(self) -> Schedule:
        """Return how long it learns."""


def train_network(
    task: StageContext,
    settings: TrainSettings,
    model: nn.Module,
    streams: Sequence[Dataset[Arrays]],
    step_loss: Callable[..., Tensor],
    *,
    backbone: nn.Module | None = None,
    undecayed: Iterable[Tensor] = (),
    batch_size: int | None = None,
) -> None:
    """Train a model in place and write it to ``model.pt`` of the task's folder.

    Args:
        task: context of the stage, whose folder holds the checkpoint.
        settings: a frozen dataclass, kept beside the weights.
        model: model on its device; its parameters that require gradients are trained.
        streams: views; those of all streams together are a batch.
        step_loss: called with the tensors of a batch, on the device.
        backbone: see :func:`new_optimiser`.
        undecayed: see :func:`new_optimiser`.
        batch_size: views of each stream in a step; those of the schedule by default.

    Raises:
        InputError: if the loss or the weights are no numbers any more.
    """
    if (task.folder / MODEL).is_file():
        return
    remove_leftovers(task.folder)
    schedule = settings.schedule
    steps = schedule.steps(len(task.weak))
    fit(
        step_loss,
        model.train(),
        new_optimiser(settings.optimiser, model, backbone, undecayed),
        settings.optimiser.schedule(steps, schedule.epochs),
        streams,
        FitSettings(
            steps,
            batch_size or schedule.batch_size,
            checkpoint_every=schedule.checkpoint_every,
            advice="Lower optimiser.lr, or delete the stage's folder to begin again",
        ),
        task.place,
        Checkpoint(task.folder / CHECKPOINT),
        on_progress=task.progress,
    )
    kept = {"format": MODEL_FORMAT, "settings": as_plain(settings), "model": model.state_dict()}
    save_tensors(task.folder / MODEL, kept)
    (task.folder / CHECKPOINT).unlink(missing_ok=True)


def new_optimiser(
    settings: Optimiser,
    model: nn.Module,
    backbone: nn.Module | None = None,
    undecayed: Iterable[Tensor] = (),
) -> torch.optim.Optimizer:
    """Return an optimiser of all parameters that require gradients.

    Args:
        settings: settings of the optimiser.
        model: model whose parameters are trained.
        backbone: part of ``model`` whose parameters take the plain learning rate, while all others
            take ``head`` times as much; all of it by default.
        undecayed: parameters without weight decay, beside those of one dimension, for AdamW.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if isinstance(settings, AdamW):
        free = {id(parameter) for parameter in undecayed}
        rest = [p for p in trained if p.ndim <= 1 or id(p) in free]
        decayed = [p for p in trained if p.ndim > 1 and id(p) not in free]
        groups = [
            {"params": decayed, "lr": settings.lr, "weight_decay": settings.weight_decay},
            {"params": rest, "lr": settings.lr, "weight_decay": 0.0},
        ]
    else:
        pretrained = {id(p) for p in (model if backbone is None else backbone).parameters()}
        known = [p for p in trained if id(p) in pretrained]
        new = [p for p in trained if id(p) not in pretrained]
        groups = [
            {"params": known, "lr": settings.lr, "weight_decay": settings.weight_decay},
            {
                "params": new,
                "lr": settings.lr * settings.head,
                "weight_decay": settings.weight_decay,
            },
        ]
    groups = [{**group, "peak": group["lr"]} for group in groups if group["params"]]
    if isinstance(settings, Sgd):
        return torch.optim.SGD(
            groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov
        )
    kind = torch.optim.AdamW if isinstance(settings, AdamW) else torch.optim.Adam
    return kind(groups, lr=settings.lr)


# --- networks that stages train and others read ---------------------------------------------------


def new_network(task: StageContext, settings: Any, build: Callable[[Any, int], M]) -> M:
    """Build a network on the task's device; torch's global generator is seeded before.

    Args:
        task: context of the stage.
        settings: settings of the network.
        build: builds it of the settings and the number of classes, without background.
    """
    torch.manual_seed(task.seed)
    model = build(settings, len(task.weak.taxonomy))
    model.to(task.place.device)
    return model


def load_network(task: StageContext, folder: Path, kind: Any, build: Callable[[Any, int], M]) -> M:
    """Read a network that :func:`train_network` wrote, in evaluation mode.

    Args:
        task: context of the stage.
        folder: folder of ``model.pt``.
        kind: dataclass of its settings.
        build: see :func:`new_network`.

    Raises:
        InputError: if there is none, or one of another kind.
    """
    model = new_network(task, settings_of(folder, kind), build)
    load_trained(model, folder)
    model.eval()
    return model


def settings_of(folder: Path, kind: Any) -> Any:
    """Return the settings, of the dataclass ``kind``, with which a model was trained.

    Raises:
        InputError: if there is no model, or one of another kind.
    """
    plain = load_tensors(folder / MODEL, MODEL_FORMAT)["settings"]
    return from_plain(kind, plain, str(folder / MODEL))


def load_trained(model: nn.Module, folder: Path) -> None:
    """Give a model, built as it was for training, the weights that :func:`train_network` wrote.

    Raises:
        InputError: if there are none, or those of another model.
    """
    state = load_tensors(folder / MODEL, MODEL_FORMAT)["model"]
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        msg = f"{folder / MODEL}: of another model; delete the folder and run its stage again"
        raise InputError(msg) from error
