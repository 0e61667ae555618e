"""The same function over many items, in threads or processes, with few of them in flight."""

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
"""Called in the caller's thread with (items done, items in all) after each item."""


def run_each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    processes: bool = False,
    progress: Progress | None = None,
) -> list[Result]:
    """Return ``[function(item) for item in items]``, computed by several workers.

    Threads serve work that waits or releases the interpreter lock (network, hashing, decoding);
    processes serve work in plain Python. At most four items a worker are under way at once, and one
    slow item holds up no other. The first exception cancels what has not begun and is raised.

    Args:
        function: picklable where ``processes`` is set.
        items: likewise.
        workers: how many; 1 runs inline.
        processes: use processes (started by "spawn") instead of threads.
        progress: see ``Progress``.

    Raises:
        InputError: if a worker process dies.

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
        msg = "a worker process died, perhaps for want of memory; try again with fewer workers"
        raise InputError(msg) from error
    except BaseException:
        # Not waited for: a worker may be in a long read, and its files are whole or absent anyway.
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
