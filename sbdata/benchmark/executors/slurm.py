"""Tasks as jobs of a Slurm cluster, by submitit.

A job gets the task as JSON text and the function that runs it, which knows the cache's folder; all
machines must see the same files under the same paths. A job that is preempted or reaches its time
limit is queued again by submitit, and the task continues from what it stored itself, such as the
last checkpoint of a training.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import Any

from sbdata.benchmark.executors.as_ready import Finished, RunTask, run_as_ready
from sbdata.benchmark.executors.local import run_on
from sbdata.benchmark.tasks import Task
from sbdata.errors import InputError
from sbdata.printable import printable
from sbdata.quoting import quoted

_POLL = 1.0  # seconds between looks at the jobs' results

_PARAMETERS: Mapping[str, tuple[str, type[int | str]]] = {
    "time": ("timeout_min", int),
    "partition": ("slurm_partition", str),
    "gpus_per_node": ("gpus_per_node", int),
    "gres": ("slurm_gres", str),
    "cpus_per_task": ("cpus_per_task", int),
    "mem_gb": ("mem_gb", int),
    "qos": ("slurm_qos", str),
    "account": ("slurm_account", str),
    "constraint": ("slurm_constraint", str),
    "nodelist": ("slurm_nodelist", str),
    "exclude": ("slurm_exclude", str),
    "comment": ("slurm_comment", str),
    "signal_delay_s": ("slurm_signal_delay_s", int),
}
"""Name in submitit, and type, of each parameter of a job. Parameters that would run a task more
than once, such as the number of nodes, are not allowed."""

_GPUS = ("gpus_per_node", "gres")
_CLUSTERS = ("slurm", "local")


@dataclass(frozen=True)
class SlurmOptions:
    """Parameters of jobs.

    Attributes:
        cluster: ``slurm``; or ``local`` to run the jobs on this machine, without Slurm.
        requeues: How often a job that reached its time limit is queued again.
        parameters: Parameters of every job by their names in Slurm: ``time`` in minutes,
            ``partition`` ... Those of GPUs are left out for tasks that use none.
    """

    cluster: str = "slurm"
    requeues: int = 3
    parameters: Mapping[str, int | str] = field(default_factory=dict)


def slurm_options(given: Sequence[str]) -> SlurmOptions:
    """Return the options that ``--slurm KEY=VALUE`` gives.

    Raises:
        InputError: for an unknown parameter, a value of another type, or no ``time``.
    """
    found: dict[str, int | str] = {}
    known = {**{name: kind for name, (_, kind) in _PARAMETERS.items()}, "cluster": str,
             "requeues": int}  # fmt: skip
    for text in given:
        name, equals, value = text.partition("=")
        if name not in known or not equals or not value:
            msg = (
                f"--slurm {quoted(text)}: must be NAME=VALUE with one of the names "
                f"{', '.join(sorted(known))}"
            )
            raise InputError(msg)
        if name in found:
            msg = f"--slurm {name} is given twice; give it once"
            raise InputError(msg)
        if known[name] is int and not (value.isascii() and value.isdigit() and len(value) < 10):
            unit = " of minutes" if name == "time" else ""
            msg = f"--slurm {quoted(text)}: must be a whole number{unit}"
            raise InputError(msg)
        found[name] = known[name](value)
    cluster, requeues = str(found.pop("cluster", "slurm")), int(found.pop("requeues", 3))
    if cluster not in _CLUSTERS:
        msg = f"--slurm cluster={quoted(cluster)}: must be one of {', '.join(_CLUSTERS)}"
        raise InputError(msg)
    if not found.get("time"):
        msg = "--executor slurm needs the time limit of a job in minutes: --slurm time=120"
        raise InputError(msg)
    return SlurmOptions(cluster, requeues, found)


@dataclass(frozen=True)
class Job:
    """A task in the form that submitit runs: its text and the function, in any process."""

    run: RunTask
    task: str
    device: str
    threads: int

    def __call__(self) -> Any:
        """Run the task; return its return value, or its InputError."""
        os.register_at_fork(after_in_child=_leave_signals_to_parent)
        try:
            return run_on(self.run, Task.from_json(self.task), self.device, self.threads)
        except InputError as error:  # submitit would return a traceback instead
            return error

    def checkpoint(self) -> Any:
        """Return the job to submit after a preemption: the same task, which continues."""
        return _submitit().helpers.DelayedSubmission(self)

    __submitit_checkpoint__ = checkpoint  # its name in submitit's next version


def _leave_signals_to_parent() -> None:
    """Restore signals in a forked process, such as a data worker, which must not requeue the job.

    Slurm sends its signal to all processes of a job, and a fork inherits submitit's handlers.
    """
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)
    if callable(signal.getsignal(signal.SIGTERM)):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def run_by_slurm(
    tasks: Sequence[Task],
    run: RunTask,
    device: str,
    threads: int | None,
    finished: Finished,
    options: SlurmOptions,
    logs: Path,
) -> None:
    """Submit each task as a job when the tasks that it needs are done, and wait for all.

    If this process raises an error or is interrupted, its jobs are cancelled; the same call
    continues them.

    Args:
        tasks: Tasks to run.
        run: Function that runs one task; it is pickled with the job.
        device: Device name. With ``cuda``, a job of a task that uses a GPU asks for one unless the
            options say otherwise; with ``auto``, it does if the options name GPUs; with ``cpu``,
            none does.
        threads: PyTorch threads of a job; by default the CPUs that it asks for.
        finished: Callback after each task.
        options: Parameters of the jobs.
        logs: Folder of the jobs' logs and pickled calls and results. Only its owner may enter it.

    Raises:
        InputError: if submitit or Slurm is missing, a job is refused, cancelled or dies, or a task
            refuses its input.
    """
    submitit = _submitit()
    asks_gpu = any(name in options.parameters for name in _GPUS)
    if device == "cpu" and asks_gpu:
        msg = "--device cpu does not go with GPUs in --slurm; leave out one of them"
        raise InputError(msg)
    if device not in ("auto", "cpu", "cuda"):
        msg = f"--device {device}: Slurm chooses a job's GPU; use auto, cpu or cuda"
        raise InputError(msg)
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)  # results are pickles, which are executed
    jobs: list[Any] = []

    def submit(task: Task) -> _Call:
        asked = dict(options.parameters)
        uses_gpu = task.resources.gpus > 0 and (asks_gpu or device == "cuda")
        if not uses_gpu:
            asked = {name: value for name, value in asked.items() if name not in _GPUS}
        elif not asks_gpu:
            asked["gpus_per_node"] = 1
        cpus = int(asked.setdefault("cpus_per_task", max(1, ceil(task.resources.cpus))))
        executor = _executor(submitit, options, logs)  # a new one: it keeps former parameters
        named = {_PARAMETERS[name][0]: value for name, value in asked.items()}
        executor.update_parameters(name=f"sbdata-{task.id[:8]}", **named)
        call = Job(run, task.to_json(), "cuda" if uses_gpu else "cpu", threads or cpus)
        try:
            jobs.append(executor.submit(call))
        except (RuntimeError, OSError) as error:
            msg = f"{task.name}: Slurm refused its job ({_last_line(error)}); correct --slurm"
            raise InputError(msg) from error
        return _Call(jobs[-1], task)

    try:
        run_as_ready(tasks, submit, finished, _ended)
    finally:
        for job in jobs:
            if not job.done():
                job.cancel(check=False)


def _executor(submitit: Any, options: SlurmOptions, logs: Path) -> Any:
    times = {f"{cluster}_max_num_timeout": options.requeues for cluster in _CLUSTERS}
    try:
        return submitit.AutoExecutor(folder=logs, cluster=options.cluster, **times)
    except RuntimeError as error:
        msg = (
            "--executor slurm needs Slurm's commands, but srun was not found; run it on a login "
            "node, or try the jobs on this machine by --slurm cluster=local"
        )
        raise InputError(msg) from error


@dataclass(frozen=True, eq=False)
class _Call:
    """A submitted job and its task."""

    job: Any
    task: Task

    def result(self) -> Any:
        """Return the return value of the task, or raise its error as one sentence."""
        try:
            found = self.job.result()
        except RuntimeError as error:  # submitit's, for every way in which a job can fail
            msg = (
                f"{self.task.name}: its job {self.job.job_id} failed; see {self.job.paths.stderr}, "
                "then run the same command again to continue"
            )
            raise InputError(msg) from error
        if isinstance(found, InputError):
            raise found
        return found


def _ended(running: Collection[_Call]) -> Collection[_Call]:
    """Wait until a job has ended, and return those that have."""
    while True:
        found = [call for call in running if call.job.done()]
        if found:
            return found
        time.sleep(_POLL)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in printable(str(error)).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _submitit() -> Any:
    try:
        return import_module("submitit")
    except ImportError as error:
        msg = "--executor slurm needs submitit; install it by pip install 'sbdata[slurm]'"
        raise InputError(msg) from error
