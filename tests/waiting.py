"""Waiting for another process or thread in a test."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

HANGS = 600.0
"""Seconds after which something is taken to hang; no test is about how long it takes."""


def wait_until(condition: Callable[[], object], *, pause: float = 0.01) -> None:
    """Return when a condition holds, however slow the machine is."""
    given_up = time.monotonic() + HANGS
    while not condition():
        if time.monotonic() > given_up:
            pytest.fail("what was waited for did not happen: it hangs")
        time.sleep(pause)
