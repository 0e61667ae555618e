"""How far a bench is, and about how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sbdata.benchmark.durations import Estimate
from sbdata.benchmark.tasks import Task

_TRUSTED = 60.0  # seconds for which the estimates are taken to have held before anything was seen


@dataclass(frozen=True)
class BenchProgress:
    """Where a bench stands.

    Attributes:
        what: runs, or has ended; empty where its end was told already.
        done: of ``total``, in the unit of what runs: images, steps.
        total: number of units in all.
        tasks_done: number of tasks that have ended.
        tasks: number of tasks in all.
        seconds_left: of the whole bench, roughly; None before anything was measured.
    """

    what: str
    done: int
    total: int
    tasks_done: int
    tasks: int
    seconds_left: float | None


Watcher = Callable[[BenchProgress], None]


class Eta:
    """Tells a watcher how far a bench is, from the tasks' estimates and how they held so far.

    An estimated second has taken some wall time so far, on this machine and with so many processes;
    those that are left are taken to go on like that. Until some minutes were seen they mostly count
    as estimated, since the first task may be short and its start long.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        is_done: Callable[[Task], bool],
        watcher: Watcher | None = None,
        estimates: Mapping[str, Estimate] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        given = {task.id: task.resources.seconds for task in tasks}
        given |= {key: estimate.seconds for key, estimate in (estimates or {}).items()}
        self._tasks = {task.id: task for task in tasks}
        self._left = {task.id: 0.0 if is_done(task) else given[task.id] for task in tasks}
        self._watcher = watcher
        self._now = now
        self._began = self._seen = now()  # the latter when an estimate was last held against time
        self._passed = 0.0  # estimated seconds of the tasks that have ended
        self._ended = ""  # what was last told to be complete

    def told(self, what: str, done: int, total: int) -> None:
        """Pass on how far the running task is; tasks then run one after the other."""
        key = next(iter(self._left), None)
        # the phases of a training each count from 0, so they tell nothing of the whole
        self._ended = what if done == total else ""
        if key is None or self._tasks[key].kind == "train" or total == 0:
            self._say(what, done, total, 0.0)
        else:
            self._seen = self._now()
            self._say(what, done, total, self._left[key] * done / total)

    def finished(self, task: Task) -> None:
        """Count a task that has ended, whatever it took."""
        self._seen = self._now()
        self._passed += self._left.pop(task.id)
        self._say("" if self._ended.startswith(task.name) else task.name, 1, 1, 0.0)

    def _say(self, what: str, done: int, total: int, running: float) -> None:
        if self._watcher is None:
            return
        passed, tasks = self._passed + running, len(self._tasks)
        left = max(sum(self._left.values()) - running, 0.0)
        took = self._seen - self._began
        seconds = left * (took + _TRUSTED) / (passed + _TRUSTED) if passed else None
        self._watcher(BenchProgress(what, done, total, tasks - len(self._left), tasks, seconds))
