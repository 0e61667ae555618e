"""Training: the training loop of all stages that learn, based on ``sbdata.train.fit``.

A killed stage continues from its last checkpoint. On one CPU, it ends with exactly the weights of
an uninterrupted run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sbdata.benchmark.stage import StageContext
from sbdata.errors import InputError
from sbdata.settings import as_plain, from_plain
from sbdata.storage import remove_leftovers
from sbdata.train.checkpoint import Checkpoint, load_tensors, save_tensors
from sbdata.train.fit import FitSettings, fit
from sbdata.train.views import Arrays
from sbdata_baselines.settings import Adam, AdamW, Schedule, Sgd

MODEL, CHECKPOINT = "model.pt", "checkpoint.pt"
MODEL_FORMAT = "sbdata.baselines.model.v1"
M = TypeVar("M", bound=nn.Module)


Optimiser = Sgd | Adam | AdamW


class TrainSettings(Protocol):
    """Settings of a stage that learns."""

    @property
    def optimiser(self) -> Optimiser:
        """Optimiser settings."""

    @property
    def schedule(self) -> Schedule:
        """Training length."""


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
    """Train a model in place and write it to ``model.pt`` in the task's folder.

    Args:
        task: Context of the stage; its folder holds the checkpoint.
        settings: Frozen dataclass of settings, stored with the weights.
        model: Model on its device; its parameters that require gradients are trained.
        streams: Streams of views; the views of all streams together form a batch.
        step_loss: Loss function, called with the tensors of a batch on the device.
        backbone: Part of ``model`` that is trained at the plain learning rate; all of it by
            default.
        undecayed: Parameters without weight decay, besides one-dimensional ones, for AdamW.
        batch_size: Views of each stream per step; by default that of the schedule.

    Raises:
        InputError: if the loss or the weights are no longer finite.
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
            precision=schedule.precision,
            advice="Lower optimiser.lr, or delete the stage's folder to start over",
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
        settings: Optimiser settings.
        model: Model whose parameters are trained.
        backbone: Part of ``model`` that is trained at the plain learning rate, all other parameters
            at ``head`` times that rate; all of it by default.
        undecayed: Parameters without weight decay, besides one-dimensional ones, for AdamW.
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


# --- networks that stages train and later load ----------------------------------------------------


def new_network(task: StageContext, settings: Any, build: Callable[[Any, int], M]) -> M:
    """Build a network on the task's device, after seeding torch's global generator.

    Args:
        task: Context of the stage.
        settings: Settings of the network.
        build: Function that builds it from the settings and the number of classes, without
            background.
    """
    torch.manual_seed(task.seed)
    model = build(settings, len(task.weak.taxonomy))
    if task.place.device.type == "cuda":  # on a CPU, weights would have other last bits
        model.to(memory_format=torch.channels_last)
    model.to(task.place.device)
    return model


def load_network(task: StageContext, folder: Path, kind: Any, build: Callable[[Any, int], M]) -> M:
    """Load a network that :func:`train_network` wrote, in evaluation mode.

    Args:
        task: Context of the stage.
        folder: Folder of ``model.pt``.
        kind: Dataclass of its settings.
        build: Function that builds it from the settings and the number of classes, without
            background.

    Raises:
        InputError: if there is no model, or one of another kind.
    """
    model = new_network(task, settings_of(folder, kind), build)
    load_trained(model, folder)
    model.eval()
    return model


def settings_of(folder: Path, kind: Any) -> Any:
    """Return the settings, an instance of the dataclass ``kind``, with which a model was trained.

    Raises:
        InputError: if there is no model, or one of another kind.
    """
    plain = load_tensors(folder / MODEL, MODEL_FORMAT)["settings"]
    return from_plain(kind, plain, str(folder / MODEL))


def load_trained(model: nn.Module, folder: Path) -> None:
    """Load the weights that :func:`train_network` wrote into a model built as for training.

    Raises:
        InputError: if there are no weights, or those of another model.
    """
    state = load_tensors(folder / MODEL, MODEL_FORMAT)["model"]
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        msg = f"{folder / MODEL}: weights of another model; delete the folder, then run its stage"
        raise InputError(msg) from error
