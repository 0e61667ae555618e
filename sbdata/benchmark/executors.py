"""Executors: who runs the jobs of a plan, in an order that lets none wait for what comes later.

``local`` runs them one after the other, or in several processes; ``ray`` hands them to a Ray
cluster with the CPUs and GPUs that each declares. All call one function of a job and a device, and
its result does not depend on who calls it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import get_context, parent_process
from typing import Any

import torch

from sbdata.benchmark.tasks import Task
from sbdata.errors import InputError
from sbdata.machine import end_workers, starting_workers
from sbdata.train.devices import find_device

EXECUTORS = ("local", "ray")

ProgressCallback = Callable[[str, int, int], None]
"""Called with (what, done, in all) while a job runs."""

RunTask = Callable[[Task, str, ProgressCallback | None], float]
"""``perform(job, device, told)`` runs a job and returns the seconds it took."""

Finished = Callable[[Task, float], None]


def run_tasks(
    jobs: Sequence[Task],
    perform: RunTask,
    *,
    executor: str = "local",
    processes: int = 1,
    threads: int | None = None,
    device: str = "auto",
    told: ProgressCallback | None = None,
    finished: Finished | None = None,
) -> None:
    """Run jobs, each after those that it builds on.

    Args:
        jobs: each after those that it builds on.
        perform: a picklable function where there are several processes.
        executor: ``local`` or ``ray``.
        processes: of the local executor.
        threads: of PyTorch in each process; by default the cores divided among the processes,
            and with Ray the CPUs that a job declares.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        told: is called while a job runs, where it runs in this process.
        finished: is called in this process after each job, with the seconds it took.

    Raises:
        InputError: for an unknown executor, a device that is not there, Ray not being installed, or
            a process that died; and whatever a job raises. What runs by then comes to its end, and
            nothing else begins.
    """
    if executor not in EXECUTORS:
        msg = f"no executor called {executor!r}; choose from {', '.join(EXECUTORS)}"
        raise InputError(msg)
    finished = finished or (lambda job, seconds: None)
    if executor == "local":
        find_device(device)  # before any process would take the CPU in its place
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and (executor == "ray" or processes > 1):
        msg = "torchrun's processes share each training; leave out --jobs and --executor there"
        raise InputError(msg)
    if executor == "ray":
        _run_by_ray(jobs, perform, device, threads, finished)
    elif processes > 1:
        _run_in_processes(jobs, perform, device, processes, threads, finished)
    else:
        if threads:
            torch.set_num_threads(threads)
        for job in jobs:
            finished(job, perform(job, device, told))


def _run_as_ready(
    jobs: Sequence[Task],
    submit: Callable[[Task], Future[float] | None],
    finished: Finished,
) -> None:
    """Submit each job when those it builds on are done.

    ``submit`` returns None where there is no room for the job now; something then runs.
    """
    waiting, done = list(jobs), set[str]()
    running: dict[Future[float], Task] = {}
    while waiting or running:
        for job in [job for job in waiting if done.issuperset(job.after)]:
            future = submit(job)
            if future is not None:
                waiting.remove(job)
                running[future] = job
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job = running.pop(future)
            seconds = future.result()
            done.add(job.name)
            finished(job, seconds)


# --- processes of this machine --------------------------------------------------------------------


def _run_in_processes(
    jobs: Sequence[Task],
    perform: RunTask,
    device: str,
    processes: int,
    threads: int | None,
    finished: Finished,
) -> None:
    threads = threads or max(1, usable_cores() // processes)
    free, busy = _gpus(device), set[Future[float]]()
    on_gpus = bool(free)
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin_worker, (threads,)) as pool:

        def submit(job: Task) -> Future[float] | None:
            busy.difference_update([future for future in busy if future.done()])
            needs_gpu = on_gpus and job.gpus > 0
            if len(busy) >= processes or (needs_gpu and not free):
                return None
            taken = free.pop(0) if needs_gpu else "cpu"
            with starting_workers():
                future = pool.submit(perform, job, taken, None)
            busy.add(future)
            if needs_gpu:
                future.add_done_callback(lambda _: free.append(taken))
            return future

        try:
            _run_as_ready(jobs, submit, finished)
        except BrokenProcessPool as error:
            msg = (
                "a process of the bench died, perhaps for want of memory; run the same command "
                "again to go on, with fewer --jobs"
            )
            raise InputError(msg) from error
        except KeyboardInterrupt:
            end_workers(pool)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the bench is killed: it would hold its step's lock to the end."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus(device: str) -> list[str]:
    """Return the GPUs that jobs may be given, one each."""
    found = find_device(device)
    if found.type == "cpu":
        return []
    if device in ("auto", "cuda"):
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [device]


# --- Ray ------------------------------------------------------------------------------------------


def _run_by_ray(
    jobs: Sequence[Task],
    perform: RunTask,
    device: str,
    threads: int | None,
    finished: Finished,
) -> None:
    """Hand the jobs to the Ray cluster that is there, or to one on this machine.

    The cluster's machines must see the same files under the same paths.
    """
    ray = _ray()
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        ray.init(include_dashboard=False)
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    on_gpus = device.startswith("cuda") or (device == "auto" and has_gpus)
    if on_gpus and not has_gpus:
        msg = f"--device {device}: the Ray cluster has no GPU; use --device cpu"
        raise InputError(msg)
    references: list[Any] = []

    def submit(job: Task) -> Future[float]:
        gpus = job.gpus if on_gpus else 0
        remote = ray.remote(_perform_with_threads).options(
            num_cpus=job.cpus, num_gpus=gpus, name=job.name, max_retries=0
        )
        place = "cuda" if gpus else "cpu"
        reference = remote.remote(perform, job, place, threads or max(1, int(job.cpus)))
        references.append(reference)
        future: Future[float] = reference.future()
        return future

    try:
        _run_as_ready(jobs, submit, finished)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause or error) from None
    finally:
        for reference in references:
            ray.cancel(reference)


def _perform_with_threads(perform: RunTask, job: Task, device: str, threads: int) -> float:
    torch.set_num_threads(threads)
    return perform(job, device, None)


def _ray() -> Any:
    try:
        return import_module("ray")
    except ImportError as error:
        msg = "--executor ray needs Ray; install it by pip install 'sbdata[ray]'"
        raise InputError(msg) from error
