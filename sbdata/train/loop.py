"""The training loop: pseudo-masks in, a segmenter out, the same whoever computes it.

The views of a step are a function of the seed and the step (see ``samples.Views``). The loss of a
step is that of its whole batch, however the batch is divided: a loss that is a quotient of sums has
its parts divided by the normaliser of the whole, and gradients are summed over parts and processes.
So a step is the same step for one process or several, at once or accumulated, up to the order of
additions; and a run that was killed ends, on one CPU, with the very weights of an unbroken one.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.losses import ElasticWeightConsolidation, MovingFisher, PixelRatio, make_loss
from sbdata.losses.ratio import or_one
from sbdata.storage import write_text
from sbdata.train.checkpoint import CHECKPOINT_FORMAT, load_state, save_tensors
from sbdata.train.devices import DistributedContext
from sbdata.train.labels import Labels, Size
from sbdata.train.preset import Optimisation, Preset
from sbdata.train.samples import Batch, TrainingImages, Views, view_batches
from sbdata.train.segmenter import Segmenter, output_sizes, parameter_groups, segmenter_loss

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
LOG_EVERY = 10
Progress = Callable[[int, int], None]


class DivergedError(InputError):
    """The loss or the weights are no longer numbers; the last good checkpoint is kept."""


@dataclass(frozen=True)
class Phase:
    """Steps of a training that have one loss. Optimiser and schedule are those of the training.

    Attributes:
        loss: a name of ``sbdata.losses.make_loss``.
        start: number of the first step, from 0.
        stop: number of the step before which the phase ends.
        seed: of order and views.
        preset: all other settings; its steps are those of the whole training.
    """

    loss: str
    start: int
    stop: int
    seed: int
    preset: Preset


@dataclass(frozen=True)
class TrainSummary:
    """What a finished phase says of the training so far.

    Attributes:
        steps: done, those of earlier phases included.
        seconds: that they took, those before an interruption included.
        last_loss: mean over the last logged steps.
        log: rows of ``log.csv``, those of earlier phases included.
    """

    steps: int
    seconds: float
    last_loss: float
    log: tuple[tuple[float, ...], ...] = ()


def run_phase(
    model: Segmenter,
    images: TrainingImages,
    phase: Phase,
    folder: Path,
    place: DistributedContext,
    *,
    identity: Mapping[str, Any],
    begin: Mapping[str, Any] | None = None,
    penalty: ElasticWeightConsolidation | None = None,
    fisher: MovingFisher | None = None,
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> TrainSummary:
    """Train a segmenter in place, going on from the folder's checkpoint if there is one.

    Args:
        model: on its device; its weights are the start of a phase that begins with step 0.
        images: to train on, checked by ``samples.check_images``.
        phase: loss, steps, settings.
        folder: for ``checkpoint.pt``, which the finished phase leaves there, and ``log.csv``.
        place: device and processes.
        identity: plain values that tell this run from others; a checkpoint of another is refused.
        begin: content of the checkpoint that the phase before this one left.
        penalty: added to the loss, once a step.
        fisher: updated by the gradient of every step, and kept in the checkpoint.
        tensorboard: write the log for TensorBoard, too.
        progress: called with (steps done, number of the last step).

    Raises:
        DivergedError: if the loss or the weights are no longer finite.
        InputError: for a checkpoint of another run, or a batch that the processes cannot share.
    """
    settings = phase.preset.optimisation
    share = _share_of(settings, place)
    loss = make_loss(phase.loss, **_loss_options(phase)).to(place.device)
    groups = parameter_groups(
        model, settings.lr, settings.weight_decay, head=settings.head, head_bias=settings.head_bias
    )
    optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    scaler = torch.amp.GradScaler(place.device.type, enabled=settings.precision == "fp16")
    board = _board(folder) if tensorboard and place.is_first else None
    run = _Run(folder, place, dict(identity), model, optimizer, scaler, fisher, board)
    start = run.resume(begin)
    batches = view_batches(
        _views(model, images, phase, loss),
        _positions(phase, place, share, start),
        place.workers,
        pin_memory=place.device.type == "cuda",
    )
    model.train()
    began = time.perf_counter() - run.seconds
    for step in range(start, phase.stop):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(settings, step) * group["lr_mult"]
        parts = [_on(place, part) for part in islice(batches, settings.accumulate)]
        normalisers = _normalisers(parts, loss, place)
        optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=place.device)
        for part in parts:
            with _precision(settings.precision, place):
                value = segmenter_loss(model, *part, loss, normalisers)
            if normalisers is None:
                value = value / (settings.accumulate * place.processes)
            scaler.scale(value).backward()
            total += value.detach()
        held = torch.zeros((), device=place.device)
        if penalty is not None:
            held = penalty.penalty(model) / place.processes
            scaler.scale(held).backward()
        place.add_up_gradients(trained)
        if fisher is not None:
            scaler.unscale_(optimizer)
            fisher.update(model, may_overflow=scaler.is_enabled())
        scaler.step(optimizer)
        scaler.update()
        run.note(total, held.detach())
        done = step + 1
        if done % LOG_EVERY == 0 or done % settings.checkpoint_every == 0 or done == phase.stop:
            run.log(done, optimizer.param_groups[0]["lr"])
        if done % settings.checkpoint_every == 0 or done == phase.stop:
            run.seconds = time.perf_counter() - began
            run.save(done)
        if progress and place.is_first:
            progress(done, phase.stop)
    return TrainSummary(phase.stop, run.seconds, run.last_loss, tuple(map(tuple, run.rows)))


def rate_at(settings: Optimisation, step: int) -> float:
    """Return the learning rate of the backbone at a step of the poly schedule."""
    step -= step % settings.update_every
    return settings.lr * float((1 - step / settings.steps) ** settings.poly_power)


# --- parts of a step ------------------------------------------------------------------------------


def _share_of(settings: Optimisation, place: DistributedContext) -> int:
    """Return the images of one part of a batch in one process."""
    whole = settings.batch_size // settings.accumulate
    if whole % place.processes:
        msg = (
            f"a part of {whole} images cannot be shared by {place.processes} processes; choose "
            "optimisation.batch_size and accumulate so that it can"
        )
        raise InputError(msg)
    return whole // place.processes


def _views(model: Segmenter, images: TrainingImages, phase: Phase, loss: nn.Module) -> Views:
    preset = phase.preset
    return Views(
        images,
        preset.augmentation,
        phase.seed,
        balance=preset.size_balance if loss.needs_weights else None,
        sizes=output_sizes(model, preset.augmentation.crop),
    )


def _positions(
    phase: Phase, place: DistributedContext, share: int, start: int
) -> Sequence[Sequence[int]]:
    """Return the views of each part that this process takes, from a step on."""
    parts = phase.preset.optimisation.accumulate
    chosen = []
    for step in range(start, phase.stop):
        for part in range(parts):
            first = ((step * parts + part) * place.processes + place.rank) * share
            chosen.append(range(first, first + share))
    return chosen


def _on(place: DistributedContext, part: Batch) -> Batch:
    def moved(value: Tensor) -> Tensor:
        return value.to(place.device, non_blocking=True)

    labels = {
        size: Labels(moved(target).long(), None if weights is None else moved(weights))
        for size, (target, weights) in part.labels.items()
    }
    return Batch(moved(part.images), labels)


def _normalisers(
    parts: Sequence[Batch], loss: nn.Module, place: DistributedContext
) -> dict[Size, Tensor] | None:
    """Return what the loss of the whole batch is divided by, for each size of an output."""
    if not isinstance(loss, PixelRatio):
        return None
    sizes = list(parts[0].labels)
    sums = [torch.stack([loss.normaliser(*p.labels[size]) for p in parts]).sum() for size in sizes]
    return dict(zip(sizes, or_one(place.add_up(torch.stack(sums))), strict=True))


def _precision(name: str, place: DistributedContext) -> AbstractContextManager[Any]:
    if name == "32":
        return nullcontext()
    kind = torch.bfloat16 if name == "bf16" else torch.float16
    mixed: AbstractContextManager[Any] = torch.autocast(place.device.type, kind)
    return mixed


def _loss_options(phase: Phase) -> dict[str, Any]:
    return vars(phase.preset.size_balance) if phase.loss == "sb" else {}


# --- what a run keeps -----------------------------------------------------------------------------

_COLUMNS = ("step", "loss", "penalty", "lr")


class _Run:
    """The state of a run between steps, in memory and in its checkpoint."""

    def __init__(
        self,
        folder: Path,
        place: DistributedContext,
        identity: dict[str, Any],
        model: Segmenter,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        fisher: MovingFisher | None,
        board: Any,
    ) -> None:
        self.folder, self.place, self.identity, self.board = folder, place, identity, board
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.fisher = fisher
        self.rows: list[list[float]] = []
        self.seconds = 0.0
        self.noted: list[tuple[Tensor, Tensor]] = []

    @property
    def last_loss(self) -> float:
        return self.rows[-1][1] if self.rows else math.nan

    @property
    def path(self) -> Path:
        return self.folder / CHECKPOINT

    def resume(self, begin: Mapping[str, Any] | None) -> int:
        """Take up the checkpoint or else the phase before; return the step to go on with."""
        if self.path.is_file():
            kept: Mapping[str, Any] = load_state(self.path)
            self._check_identity(kept["identity"])
            where = str(self.path)
        elif begin is not None:
            kept, where = begin, f"{self.folder}: the state after the first phase"
        else:
            return 0
        try:
            self._take_up(kept)
        except (LookupError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            reason = str(error).strip().partition("\n")[0][:120]
            msg = f"{where} does not fit this run ({reason}); delete it to begin again"
            raise InputError(msg) from error
        self.write_log()  # a kill may have come between the checkpoint and the log
        return int(kept["step"])

    def _take_up(self, kept: Mapping[str, Any]) -> None:
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.scaler.load_state_dict(kept["scaler"])
        if self.fisher is not None:
            for name, value in self.fisher.values.items():
                value.copy_(kept["fisher"][name])
        torch.set_rng_state(kept["rng"][self.place.rank])
        if self.place.device.type == "cuda":
            torch.cuda.set_rng_state(kept["cuda_rng"][self.place.rank], self.place.device)
        self.rows, self.seconds = [list(row) for row in kept["rows"]], kept["seconds"]

    def write_log(self) -> None:
        """Write the rows, which the checkpoint holds too, for people to read."""
        if self.place.is_first:
            write_log(self.folder, self.rows)

    def _check_identity(self, kept: Mapping[str, Any]) -> None:
        if kept != self.identity:
            other = [k for k in self.identity if kept.get(k) != self.identity[k]]
            msg = (
                f"{self.path}: of a run with another {', '.join(other) or 'setting'}; delete it "
                "to begin again, or choose another folder (--out)"
            )
            raise InputError(msg)

    def note(self, loss: Tensor, penalty: Tensor) -> None:
        """Keep the figures of a step on the device: asking for them would wait for it."""
        self.noted.append((loss, penalty))

    def log(self, done: int, rate: float) -> None:
        """Write the mean loss since the last time, after making sure that it is a number."""
        losses, penalties = (torch.stack(column) for column in zip(*self.noted, strict=True))
        sums = self.place.add_up(torch.stack([losses.mean(), penalties.mean()]))
        loss, penalty = sums.tolist()
        steps = f"steps {done - len(self.noted) + 1} to {done}"
        self.noted.clear()
        if not math.isfinite(loss + penalty):
            raise DivergedError(self._diverged(f"the loss is {loss + penalty} in {steps}"))
        self.rows.append([done, loss, penalty, rate])
        if self.board:
            self.board.add_scalar("loss", loss, done)
            self.board.add_scalar("penalty", penalty, done)
            self.board.add_scalar("lr", rate, done)

    def save(self, done: int) -> None:
        """Write the checkpoint and the log, if the weights are numbers."""
        finite = torch.stack([p.detach().isfinite().all() for p in self.model.parameters()])
        if not bool(finite.all()):
            raise DivergedError(self._diverged(f"weights are not finite after step {done}"))
        rng = _gathered(torch.get_rng_state(), self.place)
        on_gpu = self.place.device.type == "cuda"
        cuda_rng = (
            _gathered(torch.cuda.get_rng_state(self.place.device), self.place) if on_gpu else []
        )
        if self.place.is_first:
            values = {
                "format": CHECKPOINT_FORMAT,
                "identity": self.identity,
                "step": done,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "fisher": self.fisher.values if self.fisher else {},
                "rng": rng,
                "cuda_rng": cuda_rng,
                "rows": self.rows,
                "seconds": self.seconds,
            }
            save_tensors(self.path, values)
            self.write_log()
            if self.board:
                self.board.flush()
        self.place.wait()

    def _diverged(self, what: str) -> str:
        kept = f"the last good checkpoint is {self.path}" if self.path.is_file() else "none is kept"
        return (
            f"{what}; {kept}. Lower optimisation.lr (or ewc.strength), or use precision 32 or "
            "bf16, and begin again in another folder"
        )


def _gathered(state: Tensor, place: DistributedContext) -> list[Tensor]:
    """Return the random states of all processes."""
    if place.processes == 1:
        return [state]
    states: list[Any] = [None] * place.processes
    torch.distributed.all_gather_object(states, state)
    return states


def write_log(folder: Path, rows: Sequence[Sequence[float]]) -> None:
    """Write the rows of a training's log into its folder."""
    write_text(folder / LOG, _as_csv(rows))


def _as_csv(rows: Sequence[Sequence[float]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        msg = "TensorBoard is not installed; run: pip install 'sbdata[tensorboard]'"
        raise InputError(msg) from error
    return SummaryWriter(str(folder / "tensorboard"))


def fisher_batches(
    images: TrainingImages, preset: Preset, seed: int, place: DistributedContext
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give views one by one for estimating the Fisher information, other ones than in training."""
    views = Views(images, preset.augmentation, seed, stream=1)
    for part in view_batches(views, [[p] for p in range(preset.ewc.images)], place.workers):
        pictures, labels = _on(place, part)
        (label,) = labels.values()
        yield pictures, label.target
