"""Asking again: which failures pass by, how long to wait, and when to stop trying."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

MAX_PAUSE = 60.0
"""Seconds; pauses of our own choosing grow to this."""
MAX_RETRY_AFTER = 600.0
"""Seconds; a server that asks for more is given up, because asking it sooner would be rude."""

_JITTER = random.SystemRandom()  # a seeded generator would be the same in forked processes

Result = TypeVar("Result")


class PassingError(Exception):
    """An answer that may be better next time.

    Attributes:
        retry_after: the pause that the server asks for, in seconds, or None.
    """

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class RefusedError(Exception):
    """An answer that asking again will not change."""


def persist(
    ask: Callable[[], Result],
    *,
    attempts: int,
    pause: float,
    wait: Callable[[float], None],
    told: Callable[[str, float], None] = lambda detail, seconds: None,
    gained: Callable[[], bool] = lambda: False,
    jitter: Callable[[], float] = _JITTER.random,
) -> Result:
    """Return what ``ask`` returns, calling it again after a pause for as long as that may help.

    Args:
        ask: raises PassingError for what a later attempt may mend; other errors go through.
        attempts: failures in a row that end it.
        pause: seconds before the second attempt; see :func:`delay`.
        wait: sleeps for a number of seconds.
        told: hears what went wrong and how long the pause will be, before it.
        gained: tells whether the failed attempt brought something to keep. Such a failure begins
            the row anew: a connection that is cut a hundred times still gets there.
        jitter: draws the random share of each pause, see :func:`delay`.

    Raises:
        RefusedError: when the attempts are used up, or the server asks for a pause that is longer
            than ``MAX_RETRY_AFTER``.
    """
    tries = row = 0
    while True:
        tries += 1
        try:
            return ask()
        except PassingError as error:
            row = 1 if gained() else row + 1
            if row >= attempts:
                times = "once" if tries == 1 else f"{tries} times"
                raise RefusedError(f"{error} (tried {times})") from error
            if error.retry_after is not None and error.retry_after > MAX_RETRY_AFTER:
                detail = f"{error} and asks to come back in {error.retry_after:,.0f} seconds"
                raise RefusedError(detail) from error
            seconds = delay(pause, row, error.retry_after, jitter)
            told(str(error), seconds)
        wait(seconds)


def delay(
    pause: float,
    attempt: int,
    retry_after: float | None,
    jitter: Callable[[], float] = _JITTER.random,
) -> float:
    """Return the seconds to wait after the given failure in a row (1, 2, ...).

    The pause doubles each time and is shortened by up to a half, at random, so that clients that
    failed together do not come back together. What the server asks for overrides it.

    Args:
        pause: seconds after the first failure.
        attempt: which failure in a row it was.
        retry_after: the pause that the server asks for, or None.
        jitter: gives a number in [0, 1); by default from the operating system, so that neither
            clients nor processes of one client share their draws.

    >>> delay(1.0, 3, None, lambda: 0.5), delay(1.0, 3, 7.5)
    (3.0, 7.5)
    """
    if retry_after is not None:
        return retry_after
    share = 0.5 + jitter() / 2
    return min(pause * 2.0 ** min(attempt - 1, 60) * share, MAX_PAUSE)


def retry_after_seconds(header: str | None, clock: Callable[[], float] = time.time) -> float | None:
    """Read a Retry-After header: seconds, or a date (RFC 9110, section 10.2.3).

    Args:
        header: its value, or None where there is none.
        clock: gives the seconds since the epoch that a date is compared with.

    >>> retry_after_seconds("Thu, 01 Jan 1970 00:01:00 GMT", lambda: 53.0)
    7.0
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - clock()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
