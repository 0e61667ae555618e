"""Four tasks, and ways to run them; few imports, since processes that start repeat them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from sbdata.benchmark.tasks import Resources, Task
from sbdata.errors import InputError


def example(name: str, kind: Any = "stage", after: tuple[str, ...] = (), **asked: float) -> Task:
    """Return a task that nobody planned."""
    return Task(name, kind, name, {}, after=after, resources=Resources(**asked))  # type: ignore[arg-type]


DIAMOND = (
    example("a"),
    example("b", after=("a",), gpus=1.0),
    example("c", after=("a",), gpus=1.0),
    example("d", after=("b", "c")),
)


def note_times(
    folder: Path, pause: float, task: Task, device: str, on_progress: Any = None
) -> float:
    """Note when a task began and ended, and where it ran."""
    began = time.monotonic()
    time.sleep(pause)
    (folder / task.name).write_text(f"{began} {time.monotonic()} {device} {os.getpid()}")
    return pause


def fail_at(name: str, folder: Path, task: Task, device: str, on_progress: Any = None) -> float:
    """Do nothing but fail at one task."""
    (folder / task.name).write_text("")
    if task.name == name:
        msg = f"{name} cannot be done"
        raise InputError(msg)
    return 0.0


def die_at(name: str, task: Task, device: str, on_progress: Any = None) -> float:
    """Do nothing but die at one task, as if out of memory."""
    if task.name == name:
        os._exit(9)
    return 0.0


def be_preempted(folder: Path, task: Task, device: str, on_progress: Any = None) -> int:
    """Continue a count that the folder keeps; at first be preempted, as Slurm would signal it."""
    count = folder / task.name
    done = int(count.read_text()) if count.is_file() else 0
    count.write_text(str(done + 1))
    if not done:
        if (forked := os.fork()) == 0:  # as a data worker is; the signal must not requeue from it
            os.kill(os.getpid(), signal.SIGUSR2)
            os._exit(0)
        assert os.waitpid(forked, 0)[1] == 0
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(60)
    return done
