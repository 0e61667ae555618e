"""The order of tasks: each is submitted when the tasks that it needs are done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from graphlib import TopologicalSorter
from typing import Any, Protocol, TypeVar

from sbdata.benchmark.tasks import ProgressCallback, Task

Finished = Callable[[Task, Any], None]
"""Callback with a task that has ended and its return value."""


class RunTask(Protocol):
    """Function that runs a task; its return value is passed on."""

    def __call__(
        self, task: Task, *, device: str, on_progress: ProgressCallback | None = None
    ) -> Any:
        """Run a task on a device."""


class Submitted(Protocol):
    """A call that runs elsewhere: a future, or a job of a cluster."""

    def result(self) -> Any:
        """Return the return value of the call, or raise its error."""


S = TypeVar("S", bound=Submitted)


def first_completed(running: Collection[Future[Any]]) -> Collection[Future[Any]]:
    """Wait until a future has ended, and return those that have."""
    return wait(running, return_when=FIRST_COMPLETED).done


def run_as_ready(
    tasks: Sequence[Task],
    submit: Callable[[Task], S | None],
    finished: Finished,
    ended: Callable[[Collection[S]], Collection[S]],
) -> None:
    """Submit each task when the tasks that it needs are done.

    Args:
        tasks: Tasks to run; a needed task that is not among them counts as done.
        submit: Function that submits a task. It returns None if there is no capacity for the task
            now; then other tasks are running.
        finished: Callback after each task.
        ended: Function that waits until a submitted call has ended, and returns those that have.
    """
    by_id = {task.id: task for task in tasks}
    needed = {task.id: [i for i in task.needs if i in by_id] for task in tasks}
    order: TopologicalSorter[str] = TopologicalSorter(needed)
    order.prepare()
    ready: list[str] = []
    running: dict[S, str] = {}
    while order.is_active():
        ready += order.get_ready()
        for name in tuple(ready):
            call = submit(by_id[name])
            if call is not None:
                ready.remove(name)
                running[call] = name
        for call in ended(running):
            name = running.pop(call)
            finished(by_id[name], call.result())
            order.done(name)


def levels_of(tasks: Sequence[Task]) -> dict[str, int]:
    """Return the level of each task by its id: 0 without needs, else one above the highest need.

    Tasks of one level do not need each other. The tasks must be in order, and a needed task that is
    not among them counts as done.
    """
    levels: dict[str, int] = {}
    for task in tasks:
        levels[task.id] = 1 + max((levels[i] for i in task.needs if i in levels), default=-1)
    return levels
