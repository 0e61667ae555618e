"""Map a function over many items in threads or processes, with a limited number in progress."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from typing import TypeVar

from sbdata.errors import InputError
from sbdata.machine import end_workers, starting_workers

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[int, int], None]
"""Callback with (items done, total items), run in the caller's thread after each item."""


def run_each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    processes: bool = False,
    progress: Progress | None = None,
) -> list[Result]:
    """Return ``[function(item) for item in items]``, computed by several workers.

    Threads suit work that waits or releases the interpreter lock (network, hashing, decoding);
    processes suit work in pure Python. At most four items per worker are in progress at a time, and
    a slow item does not delay the others. The first exception cancels the items that have not
    started and is raised.

    Args:
        function: Function of one item; picklable if ``processes`` is set.
        items: Items to process; picklable if ``processes`` is set.
        workers: Number of workers; 1 runs in the caller's thread.
        processes: Whether to use processes (started by "spawn") instead of threads.
        progress: Callback, see ``Progress``.

    Raises:
        InputError: If a worker process dies.

    >>> run_each(abs, [-2, 3], workers=2)
    [2, 3]
    """
    total = len(items)
    results: dict[int, Result] = {}

    def keep(place: int, result: Result) -> None:
        results[place] = result
        if progress is not None:
            progress(len(results), total)

    if workers <= 1 or total <= 1:
        for place, item in enumerate(items):
            keep(place, function(item))
        return [results[place] for place in range(total)]

    executor = _executor(min(workers, total), processes)
    pending: dict[Future[Result], int] = {}
    try:
        for place, item in enumerate(items):
            with starting_workers() if processes else nullcontext():
                pending[executor.submit(function, item)] = place
            if len(pending) >= 4 * workers:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    keep(pending.pop(future), future.result())
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                keep(pending.pop(future), future.result())
    except BrokenProcessPool as error:
        msg = "a worker process died, possibly out of memory; try again with fewer workers"
        raise InputError(msg) from error
    except BaseException:
        # Do not wait: a worker may be in a long read, and its files are complete or absent anyway.
        if isinstance(executor, ProcessPoolExecutor):
            end_workers(executor)
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()
    return [results[place] for place in range(total)]


def _executor(workers: int, processes: bool) -> Executor:
    if processes:
        return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    return ThreadPoolExecutor(workers, thread_name_prefix="sbdata")
