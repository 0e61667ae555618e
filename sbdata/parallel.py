"""Map a function over many items in threads or processes, with a limited number in progress."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

from sbdata.errors import InputError
from sbdata.machine import end_workers, starting_workers

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[int, int], None]
"""Callback with (items done, total items), run in the caller's thread after each item."""

Submit = Callable[..., Future[Any]]
"""``submit(function, *arguments)`` hands a call to a worker and returns its future."""


@contextmanager
def process_pool(
    workers: int,
    died: str,
    *,
    start: Callable[..., object] | None = None,
    arguments: Sequence[Any] = (),
    finish: bool = False,
) -> Iterator[Submit]:
    """Give a function that hands calls to worker processes, started by "spawn".

    The workers leave Ctrl-C to this process, and end when it ends, however that happens.

    Args:
        workers: how many.
        died: the sentence of the error if a worker dies.
        start: called with ``arguments`` in each worker before its first item; picklable.
        arguments: of ``start``.
        finish: whether calls that run are waited for when an exception leaves the block; by
            default their processes are ended. What has not begun is cancelled in any case.

    Raises:
        InputError: if a worker process dies.
    """
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_begin_worker, initargs=(start, *arguments)
    )

    def submit(function: Callable[..., Any], /, *values: Any) -> Future[Any]:
        with starting_workers():
            return pool.submit(function, *values)

    try:
        yield submit
    except BrokenProcessPool as error:
        pool.shutdown(cancel_futures=True)
        raise InputError(died) from error
    except BaseException as error:
        waits = finish and isinstance(error, Exception)
        if not waits:  # their files are whole or absent anyway
            end_workers(pool)
        pool.shutdown(wait=waits, cancel_futures=True)
        raise
    pool.shutdown()


def _begin_worker(start: Callable[..., object] | None, *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if start is not None:
        start(*arguments)


def _end_with_parent() -> None:
    """End this process when its parent is gone; it would hold its locks to the end."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _thread_pool(workers: int) -> Iterator[Submit]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="sbdata")
    try:
        yield pool.submit
    except BaseException:
        # Not waited for: a worker may be in a long read, and its files are whole or absent anyway.
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


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
        function: picklable if ``processes`` is set.
        items: what the function is called with; picklable if ``processes`` is set.
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

    died = "a worker process died, possibly out of memory; try again with fewer workers"
    workers = min(workers, total)
    pool: AbstractContextManager[Submit]
    pool = process_pool(workers, died) if processes else _thread_pool(workers)
    pending: dict[Future[Result], int] = {}
    with pool as submit:
        for place, item in enumerate(items):
            pending[submit(function, item)] = place
            if len(pending) >= 4 * workers:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    keep(pending.pop(future), future.result())
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                keep(pending.pop(future), future.result())
    return [results[place] for place in range(total)]


def in_order(
    submit: Submit, function: Callable[[Item], Result], items: Sequence[Item], ahead: int
) -> Iterator[Result]:
    """Yield ``function(item)`` of each item in order, with at most ``ahead`` of them in flight."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
