"""Progress of long tasks: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sbdata.cli.output import fit, say
from sbdata.curate.inputs import Progress

_EVERY = 5.0  # seconds between plain lines


@contextmanager
def showing_progress(
    *, quiet: bool = False, clock: Callable[[], float] = time.monotonic
) -> Iterator[Progress]:
    """Yield a callback ``(stage, done, total)`` that shows the progress of each stage.

    Args:
        quiet: True to show nothing.
        clock: Function that returns the time in seconds, to space plain lines.
    """
    if quiet:
        yield lambda stage, done, total: None
    elif sys.stderr.isatty():
        yield from _bars()
    else:
        yield _plain_lines(clock)


def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<12}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
    )
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(fit(stage, err=True), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def _plain_lines(clock: Callable[[], float]) -> Progress:
    said: dict[str, tuple[float, str]] = {}

    def show(stage: str, done: int, total: int) -> None:
        now, line = clock(), f"{stage}: {done:,} of {total:,}"
        when, last = said.get(stage, (-math.inf, ""))
        # Rounded to millions, each of the last small files would show the same final line.
        if line != last and (done == total or now - when >= _EVERY):
            said[stage] = now, line
            say(line, err=True)

    return show
