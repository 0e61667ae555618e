"""Retry requests: which failures are temporary, how long to wait, and when to give up."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

MAX_PAUSE = 60.0
"""Maximum pause in seconds, unless the server asks for a longer one."""
MAX_RETRY_AFTER = 600.0
"""Maximum pause in seconds that a server may ask for; if it asks for more, it is given up."""

_JITTER = random.SystemRandom()  # a seeded generator would be the same in forked processes

Result = TypeVar("Result")


class PassingError(Exception):
    """Error for a temporary failure; a later attempt may succeed.

    Attributes:
        retry_after: Pause that the server asks for, in seconds, or None.
    """

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class RefusedError(Exception):
    """Error for a permanent failure; a further attempt would not help."""


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
    """Call ``ask`` until it succeeds, with pauses between attempts, and return its result.

    Args:
        ask: Function to call. It raises PassingError for a temporary failure; other errors are
            passed on.
        attempts: Number of consecutive failures after which to give up.
        pause: Pause in seconds before the second attempt, see :func:`delay`.
        wait: Function that sleeps for a number of seconds.
        told: Callback before each pause, with the failure and the length of the pause in seconds.
        gained: Function that returns whether the failed attempt made progress. Such a failure
            restarts the count, so a connection that is cut a hundred times can still succeed.
        jitter: Function that draws the random share of each pause, see :func:`delay`.

    Raises:
        RefusedError: If the attempts are used up, or the server asks for a pause longer than
            ``MAX_RETRY_AFTER``.
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
                detail = f"{error} and asks to wait {error.retry_after:,.0f} seconds"
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
    """Return the seconds to wait after the given consecutive failure (1, 2, ...).

    The pause doubles each time, up to ``MAX_PAUSE``, and is shortened at random by up to half, so
    that clients that failed together do not retry together. A pause that the server asks for
    replaces it.

    Args:
        pause: Pause in seconds after the first failure.
        attempt: Number of consecutive failures so far.
        retry_after: Pause that the server asks for, in seconds, or None.
        jitter: Function that returns a number in [0, 1). The default uses the operating system's
            generator, so that neither clients nor processes of one client share their draws.

    >>> delay(1.0, 3, None, lambda: 0.5), delay(1.0, 3, 7.5)
    (3.0, 7.5)
    """
    if retry_after is not None:
        return retry_after
    share = 0.5 + jitter() / 2
    return min(pause * 2.0 ** min(attempt - 1, 60) * share, MAX_PAUSE)


def retry_after_seconds(header: str | None, clock: Callable[[], float] = time.time) -> float | None:
    """Return the seconds in a Retry-After header: a number or a date (RFC 9110, section 10.2.3).

    Args:
        header: Value of the header, or None if there is none.
        clock: Function that returns the seconds since the epoch that a date is compared with.

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
