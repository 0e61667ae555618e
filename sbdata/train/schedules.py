"""Learning-rate schedules: pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int, float], float]
"""Function from a step, counted from 0, and a group's own learning rate to that of the step."""


def constant(step: int, lr: float) -> float:
    """Return the given learning rate, at every step."""
    del step
    return lr


@dataclass(frozen=True)
class PolySchedule:
    """Learning rate that decreases as lr · (1 − step / steps)^power.

    Attributes:
        steps: Number of all steps.
        power: Exponent of the fraction of remaining steps.
        update_every: Steps between changes of the rate.

    >>> [PolySchedule(4, power=1, update_every=2)(step, 0.8) for step in range(4)]
    [0.8, 0.8, 0.4, 0.4]
    """

    steps: int
    power: float = 0.9
    update_every: int = 1

    def __call__(self, step: int, lr: float) -> float:
        """Return the learning rate of a step."""
        step -= step % self.update_every
        return lr * float((1 - step / self.steps) ** self.power)


@dataclass(frozen=True)
class CosineSchedule:
    """Learning rate with a linear warm-up from ``first`` and then half a cosine.

    The cosine also counts from the start, so the warm-up ends slightly below the group's own rate.

    Attributes:
        steps: Number of all steps.
        epochs: Number of all epochs.
        warm_up: Number of epochs in which the rate rises.
        first: Learning rate at the start of the warm-up.
        last: Learning rate at the end of the cosine.

    >>> [round(CosineSchedule(4, 2, last=0.2)(step, 1.0), 2) for step in (0, 2, 4)]
    [1.0, 0.6, 0.2]
    """

    steps: int
    epochs: int
    warm_up: int = 0
    first: float = 1e-6
    last: float = 1e-5

    def __call__(self, step: int, lr: float) -> float:
        """Return the learning rate of a step."""
        epoch = step / self.steps * self.epochs
        if epoch < self.warm_up:
            return self.first + (lr - self.first) * epoch / self.warm_up
        return self.last + (lr - self.last) * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


@dataclass(frozen=True)
class StepSchedule:
    """Learning rate that falls to a tenth at each of some epochs.

    Attributes:
        steps: Number of all steps.
        epochs: Number of all epochs.
        milestones: Epochs after which the rate is divided by ten.

    >>> [round(StepSchedule(6, 3, (1, 2))(step, 1.0), 2) for step in range(6)]
    [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """

    steps: int
    epochs: int
    milestones: tuple[int, ...]

    def __call__(self, step: int, lr: float) -> float:
        """Return the rate of a step."""
        passed = sum(step * self.epochs >= m * self.steps for m in self.milestones)
        return lr * 0.1**passed
