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

    Whenever a task ends, all tasks are estimated anew, the finished ones too: its duration says
    more about the others of its kind than any estimate before. Otherwise one kind whose first
    estimate was far too high would make all others seem fast.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        is_done: Callable[[Task], bool],
        watcher: Watcher | None = None,
        estimate: Callable[[Sequence[Task]], Mapping[str, Estimate]] = lambda tasks: {},
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tasks = {task.id: task for task in tasks}
        self._left = dict(self._tasks)  # tasks that have not ended
        self._to_run = [task for task in tasks if not is_done(task)]
        self._estimate = estimate
        self._seconds = self._estimated()
        self._watcher = watcher
        self._now = now
        self._began = self._seen = now()  # _seen: time of the last comparison with an estimate
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
            self._say(what, done, total, self._seconds.get(key, 0.0) * done / total)

    def finished(self, task: Task) -> None:
        """Count a task that has ended, however long it took."""
        self._seen = self._now()
        del self._left[task.id]
        if task.id in self._seconds:
            self._seconds = self._estimated()
        self._say("" if self._ended.startswith(task.name) else task.name, 1, 1, 0.0)

    def _estimated(self) -> dict[str, float]:
        """Return the estimated seconds of each task that was not done before."""
        found = self._estimate(self._to_run)
        return {
            task.id: found[task.id].seconds if task.id in found else task.resources.seconds
            for task in self._to_run
        }

    def _say(self, what: str, done: int, total: int, running: float) -> None:
        if self._watcher is None:
            return
        tasks = len(self._tasks)
        left, passed = -running, running
        for key, estimated in self._seconds.items():
            if key in self._left:
                left += estimated
            else:
                passed += estimated
        took = self._seen - self._began
        seconds = max(left, 0.0) * (took + _TRUSTED) / (passed + _TRUSTED) if passed else None
        self._watcher(BenchProgress(what, done, total, tasks - len(self._left), tasks, seconds))
