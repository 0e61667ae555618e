"""Executors: they run one function on each task, in an order that respects dependencies.

``local`` runs tasks one after the other, or in several processes; ``slurm`` submits them as jobs of
a Slurm cluster, and ``ray`` to a Ray cluster with the CPUs and GPUs that each task declares. A
task's result does not depend on the executor.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sbdata.benchmark.executors.as_ready import Finished, RunTask
from sbdata.benchmark.executors.local import run_in_processes, set_threads
from sbdata.benchmark.executors.ray import run_by_ray
from sbdata.benchmark.executors.slurm import SlurmOptions, run_by_slurm
from sbdata.benchmark.tasks import ProgressCallback, Task
from sbdata.errors import InputError

EXECUTORS = ("local", "slurm", "ray")


def run_tasks(
    tasks: Sequence[Task],
    run: RunTask,
    *,
    executor: str = "local",
    slurm: SlurmOptions | None = None,
    logs: Path = Path("jobs"),
    processes: int = 1,
    threads: int | None = None,
    device: str = "auto",
    on_progress: ProgressCallback | None = None,
    finished: Finished | None = None,
) -> None:
    """Run tasks, each after the tasks that it needs.

    Args:
        tasks: Tasks to run; a needed task that is not among them counts as done.
        run: Function that runs one task; picklable if there are several processes.
        executor: Executor: ``local``, ``slurm`` or ``ray``.
        slurm: Parameters of Slurm's jobs.
        logs: Folder of the logs of Slurm's jobs, which all machines see.
        processes: Number of processes of the local executor.
        threads: PyTorch threads per process; by default the cores divided among the processes, and
            with Slurm and Ray the CPUs of a task.
        device: Device name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        on_progress: Callback for the progress of a task in this process.
        finished: Callback in this process after each task.

    Raises:
        InputError: if the executor is unknown, the device or a package is missing, or a process or
            job died; and any error of a task. Then no other task is started; running tasks finish,
            except on a cluster, where they are cancelled.
    """
    if executor not in EXECUTORS:
        msg = f"no executor called {executor!r}; choose from {', '.join(EXECUTORS)}"
        raise InputError(msg)
    finished = finished or (lambda task, returned: None)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if executor == "local":
        from sbdata.train.devices import find_device

        find_device(device)  # now, so that processes do not silently use the CPU instead
    if several and (executor != "local" or processes > 1):
        msg = "with torchrun, all processes share each training; leave out --jobs and --executor"
        raise InputError(msg)
    if executor == "slurm":
        options = slurm or SlurmOptions()
        run_by_slurm(tasks, run, device, threads, finished, options, logs)
    elif executor == "ray":
        run_by_ray(tasks, run, device, threads, finished)
    elif processes > 1:
        run_in_processes(tasks, run, device, processes, threads, finished)
    else:
        if threads:
            set_threads(threads)
        for task in tasks:
            finished(task, run(task, device=device, on_progress=on_progress))
