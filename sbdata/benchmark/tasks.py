"""Jobs: the steps of the bench that can run by themselves once those they build on are done.

A job is a stage of a method, the score of its pseudo-masks, the training of one strategy, the
prediction of one set, a result, or a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stage", "pseudo", "train", "predict", "score", "compare"]


@dataclass(frozen=True)
class Task:
    """One step that runs by itself.

    Attributes:
        name: tells it from the plan's other jobs.
        kind: of step.
        method: it is for; the first of those that share it.
        seed: likewise.
        part: name of the stage, strategy or set, if any.
        strategy: of a prediction or a result.
        after: names of the jobs that it builds on.
        images: that it goes through.
        seconds: estimated, on one CPU core.
        cpus: that it asks for.
        gpus: likewise, where there are any.
    """

    name: str
    kind: Kind
    method: str
    seed: int
    part: str = ""
    strategy: str = ""
    after: tuple[str, ...] = ()
    images: int = 0
    seconds: float = 0.0
    cpus: float = 1.0
    gpus: float = 0.0
