"""Executors: they run one function on each task, in an order that respects dependencies.

``local`` runs tasks one after the other, or in several processes; ``ray`` submits them to a Ray
cluster with the CPUs and GPUs that each task declares. A task's result does not depend on the
executor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from graphlib import TopologicalSorter
from importlib import import_module
from typing import Any, Protocol

from sbdata.benchmark.tasks import ProgressCallback, Task
from sbdata.errors import InputError
from sbdata.parallel import process_pool

EXECUTORS = ("local", "ray")

Finished = Callable[[Task, Any], None]
"""Called with a task that has ended and what it returned."""


class RunTask(Protocol):
    """A function that runs a task; what it returns is passed on."""

    def __call__(
        self, task: Task, *, device: str, on_progress: ProgressCallback | None = None
    ) -> Any:
        """Run a task on a device."""


def run_tasks(
    tasks: Sequence[Task],
    run: RunTask,
    *,
    executor: str = "local",
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
        executor: Executor: ``local`` or ``ray``.
        processes: Number of processes of the local executor.
        threads: PyTorch threads per process; by default the cores divided among the processes, and
            with Ray the CPUs that a task declares.
        device: Device name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        on_progress: Callback for the progress of a task in this process.
        finished: Callback in this process after each task.

    Raises:
        InputError: for an unknown executor, a missing device, Ray not being installed, or a process
            that died; and any error of a task. Tasks that are running then finish, and no other
            task is started.
    """
    if executor not in EXECUTORS:
        msg = f"no executor called {executor!r}; choose from {', '.join(EXECUTORS)}"
        raise InputError(msg)
    finished = finished or (lambda task, returned: None)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if executor == "local":
        from sbdata.train.devices import find_device

        find_device(device)  # now, so that processes do not silently use the CPU instead
    if several and (executor == "ray" or processes > 1):
        msg = "torchrun's processes share each training; leave out --jobs and --executor there"
        raise InputError(msg)
    if executor == "ray":
        _run_by_ray(tasks, run, device, threads, finished)
    elif processes > 1:
        _run_in_processes(tasks, run, device, processes, threads, finished)
    else:
        if threads:
            set_threads(threads)
        for task in tasks:
            finished(task, run(task, device=device, on_progress=on_progress))


def _run_as_ready(
    tasks: Sequence[Task], submit: Callable[[Task], Future[Any] | None], finished: Finished
) -> None:
    """Submit each task when the tasks that it needs are done.

    ``submit`` returns None if there is no capacity for the task now; then other tasks are running.
    """
    by_id = {task.id: task for task in tasks}
    needed = {task.id: [i for i in task.needs if i in by_id] for task in tasks}
    order: TopologicalSorter[str] = TopologicalSorter(needed)
    order.prepare()
    ready: list[str] = []
    running: dict[Future[Any], str] = {}
    while order.is_active():
        ready += order.get_ready()
        for name in tuple(ready):
            future = submit(by_id[name])
            if future is not None:
                ready.remove(name)
                running[future] = name
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            name = running.pop(future)
            finished(by_id[name], future.result())
            order.done(name)


def set_threads(threads: int) -> None:
    """Set the number of PyTorch threads of this process."""
    import torch

    torch.set_num_threads(threads)


# --- local processes ------------------------------------------------------------------------------


def _run_in_processes(
    tasks: Sequence[Task],
    run: RunTask,
    device: str,
    processes: int,
    threads: int | None,
    finished: Finished,
) -> None:
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
            future: Future[Any] = hand(_run_on, run, task, taken)
            busy.add(future)
            if needs_gpu:
                future.add_done_callback(lambda _: free.append(taken))
            return future

        _run_as_ready(tasks, submit, finished)


def _run_on(run: RunTask, task: Task, device: str, threads: int | None = None) -> Any:
    if threads is not None:
        set_threads(threads)
    return run(task, device=device)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus(device: str) -> list[str]:
    """Return the GPUs available to tasks, one per task."""
    import torch

    from sbdata.train.devices import find_device

    if find_device(device).type == "cpu":
        return []
    if device in ("auto", "cuda"):
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [device]


# --- Ray ------------------------------------------------------------------------------------------


def _run_by_ray(
    tasks: Sequence[Task], run: RunTask, device: str, threads: int | None, finished: Finished
) -> None:
    """Run the tasks on the existing Ray cluster, or on a local one.

    All machines of the cluster must see the same files under the same paths.
    """
    ray = _ray()
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics
        ray.init(include_dashboard=False)
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    on_gpus = device.startswith("cuda") or (device == "auto" and has_gpus)
    if on_gpus and not has_gpus:
        msg = f"--device {device}: the Ray cluster has no GPU; use --device cpu"
        raise InputError(msg)
    references: list[Any] = []

    def submit(task: Task) -> Future[Any]:
        needed = task.resources
        gpus = needed.gpus if on_gpus else 0
        remote = ray.remote(_run_on).options(
            num_cpus=needed.cpus, num_gpus=gpus, name=task.name, max_retries=0
        )
        place = "cuda" if gpus else "cpu"
        reference = remote.remote(run, task, place, threads or max(1, int(needed.cpus)))
        references.append(reference)
        future: Future[Any] = reference.future()
        return future

    try:
        _run_as_ready(tasks, submit, finished)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause or error) from None
    finally:
        for reference in references:
            ray.cancel(reference)


def _ray() -> Any:
    try:
        return import_module("ray")
    except ImportError as error:
        msg = "--executor ray needs Ray; install it by pip install 'sbdata[ray]'"
        raise InputError(msg) from error
