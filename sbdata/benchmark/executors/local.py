"""Tasks in processes of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from sbdata.benchmark.executors.as_ready import Finished, RunTask, first_completed, run_as_ready
from sbdata.benchmark.tasks import Task
from sbdata.machine import usable_cores
from sbdata.parallel import process_pool


def run_in_processes(
    tasks: Sequence[Task],
    run: RunTask,
    device: str,
    processes: int,
    threads: int | None,
    finished: Finished,
) -> None:
    """Run tasks in several processes; each GPU has one task at a time."""
    threads = threads or max(1, usable_cores() // processes)
    free, busy = _gpus(device), set[Future[Any]]()
    on_gpus = bool(free)
    died = (
        "a process of the bench died, possibly out of memory; run the same command again to "
        "continue, with fewer --jobs"
    )
    with process_pool(
        processes, died, start=set_threads, arguments=(threads,), finish=True
    ) as hand:

        def submit(task: Task) -> Future[Any] | None:
            busy.difference_update([future for future in busy if future.done()])
            needs_gpu = on_gpus and task.resources.gpus > 0
            if len(busy) >= processes or (needs_gpu and not free):
                return None
            taken = free.pop(0) if needs_gpu else "cpu"
            future: Future[Any] = hand(run_on, run, task, taken)
            busy.add(future)
            if needs_gpu:
                future.add_done_callback(lambda _: free.append(taken))
            return future

        run_as_ready(tasks, submit, finished, first_completed)


def run_on(run: RunTask, task: Task, device: str, threads: int | None = None) -> Any:
    """Run a task on a device, with a number of PyTorch threads."""
    if threads is not None:
        set_threads(threads)
    return run(task, device=device)


def set_threads(threads: int) -> None:
    """Set the number of PyTorch threads of this process."""
    import torch

    torch.set_num_threads(threads)


def _gpus(device: str) -> list[str]:
    """Return the GPUs available to tasks, one per task."""
    import torch

    from sbdata.train.devices import find_device

    if find_device(device).type == "cpu":
        return []
    if device in ("auto", "cuda"):
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [device]
