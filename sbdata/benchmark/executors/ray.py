"""Tasks on a Ray cluster, with the CPUs and GPUs that each declares."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future
from importlib import import_module
from typing import Any

from sbdata.benchmark.executors.as_ready import Finished, RunTask, first_completed, run_as_ready
from sbdata.benchmark.executors.local import run_on
from sbdata.benchmark.tasks import Task
from sbdata.errors import InputError


def run_by_ray(
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
        remote = ray.remote(run_on).options(
            num_cpus=needed.cpus, num_gpus=gpus, name=task.name, max_retries=0
        )
        place = "cuda" if gpus else "cpu"
        reference = remote.remote(run, task, place, threads or max(1, int(needed.cpus)))
        references.append(reference)
        future: Future[Any] = reference.future()
        return future

    try:
        run_as_ready(tasks, submit, finished, first_completed)
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
