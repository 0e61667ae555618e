"""The training loop: pseudo-masks in, a segmenter out, the same whoever computes it.

The views of a step are a function of the seed and the step (see ``samples.Views``), the losses of
its parts are weighted by their pixels, and gradients are summed over processes. So a step is the
same step for one process or several, at once or accumulated, up to the order of additions; and a
run that was killed ends, on one CPU, with the very weights of an unbroken one.
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
from sbdata.losses import ElasticWeightConsolidation, make_loss
from sbdata.masks import VOID
from sbdata.storage import write_text
from sbdata.train.checkpoint import CHECKPOINT_FORMAT, load_tensors, save_tensors
from sbdata.train.devices import Place
from sbdata.train.preset import Augmentation, Optimisation, SizeBalance
from sbdata.train.samples import Batch, TrainingImages, Views, view_batches
from sbdata.train.segmenter import Segmenter, parameter_groups, segmenter_loss

LOG_EVERY = 10
Progress = Callable[[int, int], None]


class DivergedError(InputError):
    """The loss or the weights are no longer numbers; the last good checkpoint is kept."""


@dataclass(frozen=True)
class Phase:
    """One descent: a loss, from the weights the model has, for a number of steps.

    Attributes:
        loss: a name of ``sbdata.losses.make_loss``.
        steps: of the optimiser.
        lr: learning rate at the first step.
        seed: of order and views.
        stream: of views; phases of one run take different ones.
        augmentation: of images and masks.
        optimisation: everything else; its ``steps`` and ``lr`` are not looked at.
        balance: of the size-balanced loss.
    """

    loss: str
    steps: int
    lr: float
    seed: int
    stream: int
    augmentation: Augmentation
    optimisation: Optimisation
    balance: SizeBalance


@dataclass(frozen=True)
class Descent:
    """What a finished phase tells of itself.

    Attributes:
        steps: done, those before a restart included.
        seconds: that they took, those before a restart included.
        last_loss: mean over the last logged steps.
    """

    steps: int
    seconds: float
    last_loss: float


def run_phase(
    model: Segmenter,
    images: TrainingImages,
    phase: Phase,
    folder: Path,
    place: Place,
    *,
    identity: Mapping[str, Any],
    penalty: ElasticWeightConsolidation | None = None,
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> Descent:
    """Train a segmenter in place, going on from the folder's checkpoint if there is one.

    Args:
        model: on its device; its weights are the start.
        images: to train on, checked by ``samples.check_images``.
        phase: loss, steps, schedule, views.
        folder: for ``checkpoint.pt`` and ``log.csv``.
        place: device and processes.
        identity: plain values that tell this run from others; a checkpoint of another is refused.
        penalty: added to the loss.
        tensorboard: write the log for TensorBoard, too.
        progress: called with (steps done, steps in all).

    Raises:
        DivergedError: if the loss or the weights are no longer finite.
        InputError: for a checkpoint of another run, or a batch that the processes cannot share.
    """
    settings = phase.optimisation
    share = _share_of(settings, place)
    loss = make_loss(phase.loss, **_loss_options(phase)).to(place.device)
    groups = parameter_groups(
        model, phase.lr, settings.weight_decay, head=settings.head, head_bias=settings.head_bias
    )
    optimizer = torch.optim.SGD(groups, lr=phase.lr, momentum=settings.momentum)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    scaler = torch.amp.GradScaler(place.device.type, enabled=settings.precision == "fp16")
    board = _board(folder) if tensorboard and place.is_first else None
    run = _Run(folder, place, dict(identity), model, optimizer, scaler, board)
    start = run.resume()
    views = Views(images, phase.augmentation, phase.seed, phase.stream, _balance(phase, loss))
    batches = view_batches(
        views,
        _positions(phase, place, share, start),
        place.workers,
        pin_memory=place.device.type == "cuda",
    )
    model.train()
    began = time.perf_counter() - run.seconds
    for step in range(start, phase.steps):
        _set_rate(optimizer, phase, step)
        parts = [_on(place, part) for part in islice(batches, settings.accumulate)]
        pixels = place.add_up(torch.stack([(t != VOID).sum() for _, t, _ in parts]).sum())
        optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=place.device)
        for pictures, target, weights in parts:
            with _precision(settings.precision, place):
                value = segmenter_loss(model, pictures, target, weights, loss)
            if loss.averages_pixels:
                value = value * ((target != VOID).sum() / pixels.clamp(min=1))
            else:
                value = value / (settings.accumulate * place.processes)
            scaler.scale(value).backward()
            total += value.detach()
        held = torch.zeros((), device=place.device)
        if penalty is not None:
            held = penalty.penalty(model) / place.processes
            scaler.scale(held).backward()
        place.add_up_gradients(trained)
        scaler.step(optimizer)
        scaler.update()
        run.note(total, held.detach())
        done = step + 1
        if done % LOG_EVERY == 0 or done % settings.checkpoint_every == 0 or done == phase.steps:
            run.log(done, optimizer.param_groups[0]["lr"])
        if done % settings.checkpoint_every == 0 or done == phase.steps:
            run.seconds = time.perf_counter() - began
            run.save(done)
        if progress and place.is_first:
            progress(done, phase.steps)
    return Descent(phase.steps, run.seconds, run.last_loss)


# --- parts of a step ------------------------------------------------------------------------------


def _share_of(settings: Optimisation, place: Place) -> int:
    """Return the images of one part of a batch in one process."""
    whole = settings.batch_size // settings.accumulate
    if whole % place.processes:
        msg = (
            f"a part of {whole} images cannot be shared by {place.processes} processes; choose "
            "optimisation.batch_size and accumulate so that it can"
        )
        raise InputError(msg)
    return whole // place.processes


def _positions(phase: Phase, place: Place, share: int, start: int) -> Sequence[Sequence[int]]:
    """Return the views of each part that this process takes, from a step on."""
    settings = phase.optimisation
    parts = settings.accumulate
    chosen = []
    for step in range(start, phase.steps):
        for part in range(parts):
            first = ((step * parts + part) * place.processes + place.rank) * share
            chosen.append(range(first, first + share))
    return chosen


def _set_rate(optimizer: torch.optim.Optimizer, phase: Phase, step: int) -> None:
    settings = phase.optimisation
    step -= step % settings.update_every
    rate = phase.lr * (1 - step / phase.steps) ** settings.poly_power
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_mult"]


def _on(place: Place, part: Batch) -> Batch:
    images, target, weights = (
        None if t is None else t.to(place.device, non_blocking=True) for t in part
    )
    assert images is not None  # noqa: S101 - for the type checker
    assert target is not None  # noqa: S101
    return images, target.long(), weights


def _precision(name: str, place: Place) -> AbstractContextManager[Any]:
    if name == "32":
        return nullcontext()
    kind = torch.bfloat16 if name == "bf16" else torch.float16
    mixed: AbstractContextManager[Any] = torch.autocast(place.device.type, kind)
    return mixed


def _loss_options(phase: Phase) -> dict[str, Any]:
    if phase.loss != "sb":
        return {}
    return {"tau": phase.balance.tau, "normalizer": phase.balance.normalizer}


def _balance(phase: Phase, loss: nn.Module) -> SizeBalance | None:
    return phase.balance if loss.needs_weights else None


# --- what a run keeps -----------------------------------------------------------------------------

_COLUMNS = ("step", "loss", "penalty", "lr")


class _Run:
    """The state of a run between steps, in memory and in its checkpoint."""

    def __init__(
        self,
        folder: Path,
        place: Place,
        identity: dict[str, Any],
        model: Segmenter,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        board: Any,
    ) -> None:
        self.folder, self.place, self.identity, self.board = folder, place, identity, board
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.rows: list[list[float]] = []
        self.seconds = 0.0
        self.noted: list[tuple[Tensor, Tensor]] = []

    @property
    def last_loss(self) -> float:
        return self.rows[-1][1] if self.rows else math.nan

    @property
    def path(self) -> Path:
        return self.folder / "checkpoint.pt"

    def resume(self) -> int:
        """Take up the checkpoint, if there is one; return the step to go on with."""
        if not self.path.is_file():
            return 0
        kept = load_tensors(self.path, CHECKPOINT_FORMAT)
        if kept["identity"] != self.identity:
            other = [k for k in self.identity if kept["identity"].get(k) != self.identity[k]]
            msg = (
                f"{self.path}: of a run with another {', '.join(other) or 'setting'}; choose "
                "another --out, or delete it"
            )
            raise InputError(msg)
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.scaler.load_state_dict(kept["scaler"])
        torch.set_rng_state(kept["rng"][self.place.rank])
        if self.place.device.type == "cuda":
            torch.cuda.set_rng_state(kept["cuda_rng"][self.place.rank], self.place.device)
        self.rows, self.seconds = kept["rows"], kept["seconds"]
        return int(kept["step"])

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
                "rng": rng,
                "cuda_rng": cuda_rng,
                "rows": self.rows,
                "seconds": self.seconds,
            }
            save_tensors(self.path, values)
            write_text(self.folder / "log.csv", _as_csv(self.rows))
            if self.board:
                self.board.flush()
        self.place.wait()

    def _diverged(self, what: str) -> str:
        kept = f"the last good checkpoint is {self.path}" if self.path.is_file() else "none is kept"
        return (
            f"{what}; {kept}. Lower optimisation.lr (or ewc.strength), or use precision 32 or "
            "bf16, and begin again in another folder"
        )


def _gathered(state: Tensor, place: Place) -> list[Tensor]:
    """Return the random states of all processes."""
    if place.processes == 1:
        return [state]
    states: list[Any] = [None] * place.processes
    torch.distributed.all_gather_object(states, state)
    return states


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
    images: TrainingImages, phase: Phase, count: int, place: Place
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give views of a phase one by one, for estimating the Fisher information."""
    views = Views(images, phase.augmentation, phase.seed, phase.stream)
    for part in view_batches(views, [[position] for position in range(count)], place.workers):
        pictures, target, _ = _on(place, part)
        yield pictures, target
