"""Progress of a bench, and its estimated remaining time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sbdata.benchmark.durations import Estimate
from sbdata.benchmark.tasks import Task

_TRUSTED = 60.0  # weight of the initial estimates, in seconds of measured time


@dataclass(frozen=True)
class BenchProgress:
    """Progress of a bench.

    Attributes:
        what: Running or just finished task; empty if its end was reported already.
        done: Completed units of ``total``: images, steps.
        total: Total number of units.
        tasks_done: Number of finished tasks.
        tasks: Total number of tasks.
        seconds_left: Approximate remaining time of the whole bench in seconds; None before anything
            was measured.
    """

    what: str
    done: int
    total: int
    tasks_done: int
    tasks: int
    seconds_left: float | None


Watcher = Callable[[BenchProgress], None]


class Eta:
    """Reports a bench's progress and remaining time to a watcher.

    The remaining time is the sum of the tasks' estimates, scaled by the wall time per estimated
    second so far, on this machine and with this number of processes. In the first minutes the
    estimates are hardly scaled, because the first task may be short and its start slow.
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
        self._began = self._seen = now()  # _seen: time of the last comparison with an estimate
        self._passed = 0.0  # estimated seconds of the finished tasks
        self._ended = ""  # the task last reported as complete

    def told(self, what: str, done: int, total: int) -> None:
        """Report the progress of the running task; tasks then run one after the other."""
        key = next(iter(self._left), None)
        # Each phase of a training counts from 0, so its count does not give the task's progress.
        self._ended = what if done == total else ""
        if key is None or self._tasks[key].kind == "train" or total == 0:
            self._say(what, done, total, 0.0)
        else:
            self._seen = self._now()
            self._say(what, done, total, self._left[key] * done / total)

    def finished(self, task: Task) -> None:
        """Count a task that has ended, however long it took."""
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
