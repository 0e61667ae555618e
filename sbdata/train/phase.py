"""Phases: consecutive steps of a segmenter's training that share one loss."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sbdata.errors import InputError
from sbdata.losses import ElasticWeightConsolidation
from sbdata.losses.fisher import MovingFisher
from sbdata.losses.ratio import PixelRatio, or_one
from sbdata.losses.registry import make_loss
from sbdata.storage import write_text
from sbdata.train.checkpoint import Checkpoint
from sbdata.train.devices import DistributedContext
from sbdata.train.fit import FitSettings, ProgressCallback, Rows, TrainSummary, fit
from sbdata.train.preset import Optimisation, Preset
from sbdata.train.samples import TrainingImages, views_of
from sbdata.train.schedules import PolySchedule
from sbdata.train.segmenter import (
    Segmenter,
    labels_by_size,
    output_sizes,
    parameter_groups,
    segmenter_loss,
)
from sbdata.train.views import batches

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
_COLUMNS = ("step", "loss", "penalty", "lr")
_ADVICE = (
    "Lower optimisation.lr (or ewc.strength), or use precision 32 or bf16, and start over in "
    "another folder"
)


@dataclass(frozen=True)
class Phase:
    """Consecutive steps of a training with one loss; optimiser and schedule are the training's.

    Attributes:
        loss: Name of the loss, see ``sbdata.losses.make_loss``.
        start: Number of the first step, from 0.
        stop: Number of the step before which the phase ends.
        seed: Seed of order and views.
        preset: All other settings; its steps are those of the whole training.
    """

    loss: str
    start: int
    stop: int
    seed: int
    preset: Preset


def run_phase(
    model: Segmenter,
    images: TrainingImages,
    phase: Phase,
    folder: Path,
    context: DistributedContext,
    *,
    identity: Mapping[str, Any],
    begin: Mapping[str, Any] | None = None,
    penalty: ElasticWeightConsolidation | None = None,
    fisher: MovingFisher | None = None,
    tensorboard: bool = False,
    on_progress: ProgressCallback | None = None,
) -> TrainSummary:
    """Train a segmenter in place; continue from the folder's checkpoint if there is one.

    Args:
        model: Segmenter on its device; its weights are the start of a phase that begins at step 0.
        images: Images to train on, checked by ``samples.check_images``.
        phase: Loss, steps, settings.
        folder: Folder of ``checkpoint.pt``, which the finished phase leaves there, and ``log.csv``.
        context: Device and processes.
        identity: Plain values that identify this run; a checkpoint of another run is refused.
        begin: Content of the previous phase's checkpoint.
        penalty: Penalty added to the loss once per step.
        fisher: Fisher estimate updated by the gradient of every step; stored in the checkpoint.
        tensorboard: True to write the log for TensorBoard too.
        on_progress: Callback, called with (steps done, number of the last step).

    Raises:
        DivergedError: if the loss or the weights are no longer finite.
        InputError: for a checkpoint of another run, or a batch that the processes cannot share.
    """
    preset, settings = phase.preset, phase.preset.optimisation
    options = vars(preset.size_balance) if phase.loss == "sb" else {}
    loss = make_loss(phase.loss, **options).to(context.device)
    groups = parameter_groups(
        model, settings.lr, settings.weight_decay, head=settings.head, head_bias=settings.head_bias
    )
    views = views_of(
        images,
        preset.augmentation,
        phase.seed,
        balance=preset.size_balance if loss.needs_weights else None,
        sizes=output_sizes(model, preset.augmentation.crop),
    )

    def step_loss(images: Tensor, *rest: Tensor) -> Tensor:
        if not isinstance(loss, PixelRatio):
            return segmenter_loss(model, images, labels_by_size(rest), loss)
        *tensors, whole = rest
        labels = labels_by_size(tensors)
        divisors = dict(zip(labels, or_one(whole), strict=True))
        return segmenter_loss(model, images, labels, loss, divisors)

    def normaliser(images: Tensor, *tensors: Tensor) -> Tensor:
        return torch.stack([loss.normaliser(*each) for each in labels_by_size(tensors).values()])

    return fit(
        step_loss,
        model.train(),
        torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum),
        poly_schedule(settings),
        [views],
        FitSettings(
            stop=phase.stop,
            batch_size=settings.batch_size,
            accumulate=settings.accumulate,
            precision=settings.precision,
            checkpoint_every=settings.checkpoint_every,
            advice=_ADVICE,
        ),
        context,
        Checkpoint(folder / CHECKPOINT, dict(identity), begin),
        normaliser=normaliser if isinstance(loss, PixelRatio) else None,
        penalty=None if penalty is None else lambda: penalty.penalty(model),
        fisher=fisher,
        on_log=_LogFile(folder, _board(folder) if tensorboard and context.is_first else None),
        on_progress=on_progress,
    )


def poly_schedule(settings: Optimisation) -> PolySchedule:
    """Return the learning-rate schedule of all phases of a training."""
    return PolySchedule(settings.steps, settings.poly_power, settings.update_every)


def fisher_batches(
    images: TrainingImages, preset: Preset, seed: int, context: DistributedContext
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield single views for the Fisher estimate; they differ from those of the training."""
    views = views_of(images, preset.augmentation, seed, stream=1)
    each = ([position] for position in range(preset.ewc.images))
    device = context.device
    feed = batches([views], each, context.workers, for_gpu=device.type == "cuda")
    for pictures, target in feed:
        yield (
            pictures.to(device, non_blocking=True),
            target.to(device, non_blocking=True).long(),
        )


# --- the log --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _LogFile:
    """Writer of a readable training log; the checkpoint holds the same rows.

    Attributes:
        folder: Folder of ``log.csv``.
        board: Writer of TensorBoard files, or None.
    """

    folder: Path
    board: Any

    def __call__(self, rows: Rows, saved: bool) -> None:
        if saved:
            write_log(self.folder, rows)
        elif self.board:
            for name, value in zip(_COLUMNS[1:], rows[-1][1:], strict=True):
                self.board.add_scalar(name, value, int(rows[-1][0]))
        if saved and self.board:
            self.board.flush()


def write_log(folder: Path, rows: Sequence[Sequence[float]]) -> None:
    """Write the rows of a training log to ``log.csv`` in a folder."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(rows)
    write_text(folder / LOG, text.getvalue())


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        msg = "TensorBoard is not installed; run: pip install 'sbdata[tensorboard]'"
        raise InputError(msg) from error
    return SummaryWriter(str(folder / "tensorboard"))
