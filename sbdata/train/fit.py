"""Training loop shared by segmenters, classifiers and every stage of a method.

The views of a step depend only on the seed and the step (see ``views.Views``). The loss of a step
is that of its whole batch, however the batch is divided: the contributions of its parts add up over
accumulated parts and over processes. So a step gives the same result with one process or several,
at once or accumulated, up to the order of additions. A run that was killed ends, on one CPU, with
exactly the weights of an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sbdata.errors import InputError
from sbdata.train.checkpoint import Checkpoint
from sbdata.train.devices import DistributedContext
from sbdata.train.precision import networks_in, precision_on
from sbdata.train.preset import Precision
from sbdata.train.schedules import Schedule
from sbdata.train.views import Arrays, batches

LOG_EVERY = 10
Rows = Sequence[Sequence[float]]
ProgressCallback = Callable[[int, int], None]
"""Called with the number of completed steps and the number of the last step."""

LogCallback = Callable[[Rows, bool], None]
"""Called with all rows of the log, and whether a checkpoint with them was just written."""


class DivergedError(InputError):
    """The loss or the weights are no longer finite; the last good checkpoint is kept."""


class GradientAverage(Protocol):
    """Accumulator of the gradient of every step, such as ``losses.MovingFisher``."""

    values: dict[str, Tensor]

    def update(self, model: nn.Module, *, may_overflow: bool) -> None:
        """Update with the current gradients of the parameters."""


@dataclass(frozen=True)
class FitSettings:
    """Number of training steps, batch size and related settings.

    Attributes:
        stop: Number of the step before which the training ends.
        batch_size: Views of each stream per step, over all processes and accumulated parts.
        start: Number of the first step, from 0.
        accumulate: Number of parts of a batch that pass through the network one after the other.
        precision: Precision of the networks; see ``precision.precision_on``.
        checkpoint_every: Steps between checkpoints.
        advice: Advice in the error message if the loss is not finite.
    """

    stop: int
    batch_size: int
    start: int = 0
    accumulate: int = 1
    precision: Precision = "32"
    checkpoint_every: int = 50
    advice: str = "lower optimiser.lr"


@dataclass(frozen=True)
class TrainSummary:
    """Summary of a finished training.

    Attributes:
        steps: Number of steps done, including earlier phases.
        seconds: Training time in seconds, including the time before an interruption.
        last_loss: Mean loss over the last logged steps.
        log: Rows of step, loss, penalty and learning rate, including earlier phases.
    """

    steps: int
    seconds: float
    last_loss: float
    log: tuple[tuple[float, ...], ...] = ()


def fit(
    step_loss: Callable[..., Tensor],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    streams: Sequence[Dataset[Arrays]],
    settings: FitSettings,
    context: DistributedContext,
    checkpoint: Checkpoint,
    *,
    normaliser: Callable[..., Tensor] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    fisher: GradientAverage | None = None,
    on_log: LogCallback | None = None,
    on_progress: ProgressCallback | None = None,
) -> TrainSummary:
    """Train a model in place; continue from the checkpoint if there is one.

    Args:
        step_loss: Loss of a part of a batch; called with the part's tensors on the device, and with
            the sum of ``normaliser`` if there is one.
        model: Model on its device, in training mode; its weights are the start if there is no
            checkpoint. The caller calls ``torch.manual_seed`` before building it.
        optimiser: Optimiser of the model's parameters. Each group has ``peak``, the rate given to
            the schedule; the result is multiplied by ``lr_mult`` if the group has one.
        schedule: Learning-rate schedule.
        streams: Streams of views; the views of all streams together form a batch.
        settings: Steps, batches, precision.
        context: Device and processes.
        checkpoint: File of the state between two steps.
        normaliser: Function that gives a part's contribution to the divisor of the whole batch's
            loss; the losses of the parts are then summed. Without it they are averaged.
        penalty: Function that gives a term added to the loss once per step.
        fisher: Accumulator of the gradient of every step; stored in the checkpoint.
        on_log: Callback of the first process, called when the log grew.
        on_progress: Callback of the first process, called after each step.

    Raises:
        DivergedError: if the loss or the weights are no longer finite.
        InputError: for a checkpoint of another run, or a batch that the processes cannot share.
    """
    share = _share_of(settings, context)
    precision = precision_on(context.device, settings.precision)
    fabric = context.fabric(scaled=precision == "fp16")
    whole_step = _Step(model, step_loss, precision, context.device)
    step_module, stepper = fabric.setup(whole_step, optimiser, move_to_device=False)
    run = _Run(settings, context, checkpoint, model, optimiser, fabric, fisher, on_log)
    start = run.resume()
    feed = batches(
        streams,
        _positions(settings, context, share, start),
        context.workers,
        for_gpu=context.device.type == "cuda",
    )
    device, world = context.device, context.world_size
    began = time.perf_counter() - run.seconds
    for step in range(start, settings.stop):
        for group in optimiser.param_groups:
            group["lr"] = schedule(step, group["peak"]) * group.get("lr_mult", 1)
        parts = [
            tuple(tensor.to(device, non_blocking=True) for tensor in part)
            for part in islice(feed, settings.accumulate)
        ]
        whole: tuple[Tensor, ...] = ()
        if normaliser is not None:
            sums = torch.stack([normaliser(*part) for part in parts], dim=-1).sum(dim=-1)
            whole = (fabric.all_reduce(sums, reduce_op="sum"),)
        optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        for number, part in enumerate(parts, start=1):
            with fabric.no_backward_sync(step_module, enabled=number < len(parts)):
                value = step_module(*part, *whole)
                if normaliser is None:
                    value = value / (settings.accumulate * world)
                fabric.backward(value * world)  # processes take the mean of their gradients
            total += value.detach()
        held = torch.zeros((), device=device)
        if penalty is not None:
            held = penalty()
            fabric.backward(held)  # the same in all processes; not exchanged
        if fisher is not None:
            fabric.strategy.precision.unscale_gradients(optimiser)
            fisher.update(model, may_overflow=precision == "fp16")
        stepper.step()
        run.note(total, held.detach())
        done = step + 1
        saves = done % settings.checkpoint_every == 0 or done == settings.stop
        if saves or done % LOG_EVERY == 0:
            run.log(done)
        if saves:
            run.seconds = time.perf_counter() - began
            run.save(done)
        if on_progress and context.is_first:
            on_progress(done, settings.stop)
    last_loss = run.rows[-1][1] if run.rows else math.nan
    return TrainSummary(settings.stop, run.seconds, last_loss, tuple(map(tuple, run.rows)))


class _Step(nn.Module):
    """Module of a model and its loss: processes share gradients by its forward pass."""

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Tensor],
        precision: Precision,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.precision, self.device = model, loss, precision, device

    def forward(self, *batch: Tensor) -> Tensor:
        with networks_in(self.precision, self.device):
            return self.loss(*batch)


def _share_of(settings: FitSettings, context: DistributedContext) -> int:
    """Return the number of views of each stream in one part of a batch in one process."""
    whole = settings.batch_size // settings.accumulate
    if whole % context.world_size:
        msg = (
            f"a part of {whole} images cannot be divided among {context.world_size} processes; "
            "change optimisation.batch_size or accumulate"
        )
        raise InputError(msg)
    return whole // context.world_size


def _positions(
    settings: FitSettings, context: DistributedContext, share: int, start: int
) -> Iterator[range]:
    """Yield the view positions of each part for this process, beginning with a step."""
    for part in range(start * settings.accumulate, settings.stop * settings.accumulate):
        first = (part * context.world_size + context.rank) * share
        yield range(first, first + share)


@dataclass
class _Run:
    """State of a training between steps, in memory and in its checkpoint."""

    settings: FitSettings
    context: DistributedContext
    checkpoint: Checkpoint
    model: nn.Module
    optimiser: torch.optim.Optimizer
    fabric: Any
    fisher: GradientAverage | None
    on_log: LogCallback | None
    rows: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    noted: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def resume(self) -> int:
        """Load the checkpoint, or else the state of the previous phase; return the next step."""
        kept = self.checkpoint.load()
        if kept is None:
            return self.settings.start
        try:
            self._take_up(kept)
        except (LookupError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            reason = str(error).strip().partition("\n")[0][:120]
            path = self.checkpoint.path
            before = f"{path.parent}: the state after the first phase"
            where = path if path.is_file() else before
            msg = f"{where} does not fit this run ({reason}); delete it to start over"
            raise InputError(msg) from error
        self._tell(saved=True)  # the run may have been killed between checkpoint and log
        return int(kept["step"])

    def _take_up(self, kept: Mapping[str, Any]) -> None:
        self.model.load_state_dict(kept["model"])
        self.optimiser.load_state_dict(kept["optimizer"])
        self.fabric.strategy.precision.load_state_dict(kept["scaler"])
        if self.fisher is not None:
            for name, value in self.fisher.values.items():
                value.copy_(kept["fisher"][name])
        torch.set_rng_state(kept["rng"][self.context.rank])
        if self.context.device.type == "cuda":
            torch.cuda.set_rng_state(kept["cuda_rng"][self.context.rank], self.context.device)
        self.rows, self.seconds = [list(row) for row in kept["rows"]], kept["seconds"]

    def note(self, loss: Tensor, penalty: Tensor) -> None:
        """Keep the values of a step on the device; reading them would wait for it."""
        self.noted.append((loss, penalty))

    def log(self, done: int) -> None:
        """Add the mean loss since the last log row, after checking that it is finite."""
        losses, penalties = (torch.stack(column) for column in zip(*self.noted, strict=True))
        loss = float(self.fabric.all_reduce(losses.mean(), reduce_op="sum"))
        penalty = float(penalties.mean())
        steps = f"steps {done - len(self.noted) + 1} to {done}"
        self.noted.clear()
        if not math.isfinite(loss + penalty):
            raise DivergedError(self._diverged(f"the loss is {loss + penalty} in {steps}"))
        self.rows.append([done, loss, penalty, self.optimiser.param_groups[0]["lr"]])
        self._tell(saved=False)

    def save(self, done: int) -> None:
        """Write the checkpoint, if the weights are finite."""
        finite = torch.stack([p.detach().isfinite().all() for p in self.model.parameters()])
        if not bool(finite.all()):
            raise DivergedError(self._diverged(f"weights are not finite after step {done}"))
        device = self.context.device
        on_gpu = device.type == "cuda"
        rng = self._gathered(torch.get_rng_state())
        cuda_rng = self._gathered(torch.cuda.get_rng_state(device)) if on_gpu else []
        if self.context.is_first:
            self.checkpoint.save({
                "step": done,
                "model": self.model.state_dict(),
                "optimizer": self.optimiser.state_dict(),
                "scaler": self.fabric.strategy.precision.state_dict(),
                "fisher": self.fisher.values if self.fisher else {},
                "rng": rng,
                "cuda_rng": cuda_rng,
                "rows": self.rows,
                "seconds": self.seconds,
            })  # fmt: skip
            self._tell(saved=True)
        self.fabric.barrier()

    def _gathered(self, state: Tensor) -> list[Tensor]:
        """Return the random states of all processes."""
        states = torch.zeros(self.context.world_size, len(state), dtype=torch.int32)
        states[self.context.rank] = state
        states = states.to(self.context.device)
        states = self.fabric.all_reduce(states, reduce_op="sum").to("cpu", torch.uint8)
        return [row.clone() for row in states]  # a generator cannot use a slice of a tensor

    def _tell(self, *, saved: bool) -> None:
        if self.on_log and self.context.is_first:
            self.on_log(self.rows, saved)

    def _diverged(self, what: str) -> str:
        path = self.checkpoint.path
        kept = f"the last good checkpoint is {path}" if path.is_file() else "none is kept"
        return f"{what}; {kept}. {self.settings.advice}"
