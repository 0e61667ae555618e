"""Inputs of a build other than its recipe; they do not affect what is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

DOWNLOADS = 8  # parallel: waiting for a server needs no processor

Progress = Callable[[str, int, int], None]
"""Callback, called with the name of a stage, the amount done and the total."""


def _silent(stage: str, done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Inputs:
    """Locations and execution settings of a build; they do not affect what is chosen.

    Attributes:
        roots: Dataset folder by source name.
        mirrors: Replacement URL prefix by original URL prefix.
        workers: Number of parallel processes and downloads.
        skip_missing: True to leave out unavailable images and refill their cells; False to stop the
            build at them.
        progress: Callback for progress reports.
    """

    roots: Mapping[str, Path] = field(default_factory=dict)
    mirrors: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    skip_missing: bool = False
    progress: Progress = _silent
