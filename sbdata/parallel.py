"""Map a function over many items in threads or processes, with a limited number in progress."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sbdata.errors import InputError
from sbdata.machine import end_workers, starting_workers

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[int, int], None]
"""Callback with (items done, total items), called in the caller's thread after each item."""

Submit = Callable[..., "Future[Any]"]
"""Function ``submit(function, *arguments)`` that passes a call to a worker; returns its future."""


@contextmanager
def process_pool(
    workers: int,
    died: str,
    *,
    start: Callable[..., object] | None = None,
    arguments: Sequence[Any] = (),
    finish: bool = False,
    fork: bool = False,
) -> Iterator[Submit]:
    """Yield a function that submits calls to worker processes.

    The workers are started by "spawn", so they import their libraries again. They leave Ctrl-C to
    this process, and end when it ends for any reason.

    Args:
        workers: Number of worker processes.
        died: Message of the error if a worker dies.
        start: Function called with ``arguments`` in each worker before its first item; picklable.
        arguments: Arguments of ``start``.
        finish: True to wait for running calls if an exception leaves the block; by default their
            processes are terminated. Calls that have not begun are always cancelled.
        fork: True to start them as copies of this process, which takes no time, if that is safe:
            on Linux, when this process has no other Python thread. Their work must not use Arrow's
            threads, and this process must not have begun it.

    Raises:
        InputError: if a worker process dies.
    """
    # Imported here, because a call with one worker does not need them.
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    copied = fork and sys.platform == "linux" and threading.active_count() == 1
    pool = ProcessPoolExecutor(
        workers,
        get_context("fork" if copied else "spawn"),
        initializer=_begin_worker,
        initargs=(start, *arguments),
    )

    def submit(function: Callable[..., Any], /, *values: Any) -> Future[Any]:
        with starting_workers(), warnings.catch_warnings():
            if copied:  # Python 3.12 and later warn even of Arrow's threads, which are idle
                warnings.simplefilter("ignore", DeprecationWarning)
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
    """End this process when its parent ends; otherwise it would keep its locks."""
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _thread_pool(workers: int) -> Iterator[Submit]:
    from concurrent.futures import ThreadPoolExecutor

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
    fork: bool = False,
    progress: Progress | None = None,
) -> list[Result]:
    """Return ``[function(item) for item in items]``, computed by several workers.

    Use threads for work that waits or releases the interpreter lock (network, hashing, decoding),
    and processes for work in plain Python. At most four items per worker are in progress at once,
    and one slow item does not block the others. The first exception cancels items that have not
    begun and is raised.

    Args:
        function: Function to apply; picklable if ``processes`` is set.
        items: Arguments of the function, one per call; picklable if ``processes`` is set.
        workers: Number of workers; 1 runs inline.
        processes: True to use processes instead of threads.
        fork: True to start the processes as copies of this one; see :func:`process_pool`.
        progress: Callback with (items done, total items), called in this thread after each item.

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

    from concurrent.futures import FIRST_COMPLETED, wait

    died = "a worker process died, possibly out of memory; try again with fewer workers"
    workers = min(workers, total)
    pool: AbstractContextManager[Submit]
    call: Callable[[Item], Result] = function
    if processes:  # the function, which may hold much, goes to each worker once
        pool, call = (
            process_pool(workers, died, start=_keep, arguments=[function], fork=fork),
            _kept,
        )
    else:
        pool = _thread_pool(workers)
    pending: dict[Future[Result], int] = {}
    with pool as submit:
        for place, item in enumerate(items):
            pending[submit(call, item)] = place
            if len(pending) >= 4 * workers:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    keep(pending.pop(future), future.result())
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                keep(pending.pop(future), future.result())
    return [results[place] for place in range(total)]


_function: Callable[[Any], Any] | None = None  # of this worker


def _keep(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function


def _kept(item: Any) -> Any:
    assert _function is not None  # noqa: S101 - the worker began with it
    return _function(item)


def in_order(
    submit: Submit, function: Callable[[Item], Result], items: Sequence[Item], ahead: int
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item in order, with at most ``ahead`` calls in progress."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
