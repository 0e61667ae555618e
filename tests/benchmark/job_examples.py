"""Four jobs, and ways to perform them; few imports, since processes that start repeat them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from sbdata.benchmark.tasks import Task
from sbdata.errors import InputError

DIAMOND = (
    Task("a", "stage", "m", 0),
    Task("b", "stage", "m", 0, after=("a",), gpus=1.0),
    Task("c", "stage", "m", 0, after=("a",), gpus=1.0),
    Task("d", "stage", "m", 0, after=("b", "c")),
)


def note_times(folder: Path, pause: float, job: Task, device: str, told: Any = None) -> float:
    """Note when a job began and ended, and where it ran."""
    began = time.monotonic()
    time.sleep(pause)
    (folder / job.name).write_text(f"{began} {time.monotonic()} {device} {os.getpid()}")
    return pause


def fail_at(name: str, folder: Path, job: Task, device: str, told: Any = None) -> float:
    """Do nothing but fail at one job."""
    (folder / job.name).write_text("")
    if job.name == name:
        msg = f"{name} cannot be done"
        raise InputError(msg)
    return 0.0


def die_at(name: str, job: Task, device: str, told: Any = None) -> float:
    """Do nothing but die at one job, as if out of memory."""
    if job.name == name:
        os._exit(9)
    return 0.0
