"""How far a bench is, and about how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sbdata.benchmark.tasks import Task

_TRUSTED = 60.0  # seconds for which the estimates are taken to have held before anything was seen


@dataclass(frozen=True)
class BenchProgress:
    """Where a bench stands.

    Attributes:
        what: runs, or has ended; empty where its end was told already.
        done: of ``total``, in the unit of what runs: images, steps.
        total: see ``done``.
        jobs_done: of ``jobs``.
        jobs: of the plan.
        seconds_left: of the whole bench, roughly; None before anything was measured.
    """

    what: str
    done: int
    total: int
    jobs_done: int
    jobs: int
    seconds_left: float | None


Watcher = Callable[[BenchProgress], None]


class Eta:
    """Tells a watcher how far a bench is, from the jobs' estimates and how they held so far.

    An estimated second has taken some wall time so far, on this machine and with so many processes;
    those that are left are taken to go on like that. Until some minutes were seen they mostly count
    as estimated, since the first job may be short and its start long.
    """

    def __init__(
        self,
        jobs: Sequence[Task],
        is_done: Callable[[Task], bool],
        watcher: Watcher | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._left = {job.name: 0.0 if is_done(job) else job.seconds for job in jobs}
        self._watcher = watcher
        self._now = now
        self._began = self._seen = now()  # the latter when an estimate was last held against time
        self._passed = 0.0  # estimated seconds of the jobs that have ended
        self._ended = ""  # what was last told to be complete

    def told(self, what: str, done: int, total: int) -> None:
        """Pass on how far the running job is; jobs then run one after the other."""
        name = next(iter(self._left), None)
        # the phases of a training each count from 0, so they tell nothing of the whole
        self._ended = what if done == total else ""
        if name is None or self._jobs[name].kind == "train" or total == 0:
            self._say(what, done, total, 0.0)
        else:
            self._seen = self._now()
            self._say(what, done, total, self._left[name] * done / total)

    def finished(self, job: Task, seconds: float) -> None:
        """Count a job that has ended, whatever it took."""
        self._seen = self._now()
        self._passed += self._left.pop(job.name)
        self._say("" if self._ended.startswith(job.name) else job.name, 1, 1, 0.0)

    def _say(self, what: str, done: int, total: int, running: float) -> None:
        if self._watcher is None:
            return
        passed, jobs = self._passed + running, len(self._jobs)
        left = max(sum(self._left.values()) - running, 0.0)
        took = self._seen - self._began
        seconds = left * (took + _TRUSTED) / (passed + _TRUSTED) if passed else None
        self._watcher(BenchProgress(what, done, total, jobs - len(self._left), jobs, seconds))
