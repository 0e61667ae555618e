"""Estimated durations of tasks, from earlier runs of the same kind if there are any."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sbdata.benchmark.costs import BASIS
from sbdata.benchmark.tasks import Task
from sbdata.plurals import count

FILE = "durations.jsonl"
_LATEST = 5  # number of latest runs that are used


@dataclass(frozen=True)
class Estimate:
    """Estimated duration of a task.

    Attributes:
        seconds: Estimated wall time in seconds.
        source: Basis of the estimate: the number of earlier runs, or that of
            :mod:`sbdata.benchmark.costs`.
    """

    seconds: float
    source: str


def note_duration(cache: Path, task: Task, seconds: float) -> None:
    """Record in the cache the duration of a task that ran without interruption."""
    row = {"what": _what(task), "work": _work(task), "seconds": round(seconds, 3)}
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / FILE).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def estimate_durations(cache: Path, tasks: Sequence[Task]) -> dict[str, Estimate]:
    """Return the estimated duration of each task, by task id.

    Estimates scale earlier runs by their duration per unit of work: per estimated second, or per
    image if a task has no estimate.
    """
    rates = _rates(cache / FILE)
    found = {}
    for task in tasks:
        former = rates.get(_what(task), [])
        if former:
            runs = count(len(former), "earlier run")
            found[task.id] = Estimate(median(former) * _work(task), runs)
        else:
            found[task.id] = Estimate(task.resources.seconds, BASIS)
    return found


def _what(task: Task) -> str:
    return str(task.params["function"]) if task.kind == "stage" else task.kind


def _work(task: Task) -> float:
    return task.resources.seconds or float(task.resources.images) or 1.0


def _rates(path: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return found
    for line in lines:
        with suppress(ValueError, KeyError, TypeError, ZeroDivisionError):  # an incomplete line
            row = json.loads(line)
            found[str(row["what"])].append(float(row["seconds"]) / float(row["work"]))
    return {what: rates[-_LATEST:] for what, rates in found.items()}
