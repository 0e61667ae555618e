"""What a build is given beside its recipe: nothing here changes what is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

DOWNLOADS = 8  # at once: waiting for a server costs no processor

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is."""


def _silent(stage: str, done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Inputs:
    """Where a build finds things and how it works; nothing here changes what is chosen.

    Attributes:
        roots: source name to the dataset's folder.
        mirrors: url prefix to the prefix that is asked instead.
        workers: parallel processes and downloads.
        skip_missing: whether images that cannot be had are left out and their cells refilled,
            instead of stopping the build.
        progress: called while work goes on.
    """

    roots: Mapping[str, Path] = field(default_factory=dict)
    mirrors: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    skip_missing: bool = False
    progress: Progress = _silent
