"""Commands that write ``PLACE/result.txt``, one well and the others not, for the test of kills."""

from __future__ import annotations

import os
import sys
from pathlib import Path

TEXT = "".join(f"line {number}\n" for number in range(100))


def _result() -> Path:
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    return place / "result.txt"


def _write(path: Path) -> None:
    """Write a file in two halves, with a folder that is made in between."""
    with path.open("w") as stream:
        stream.write(TEXT[: len(TEXT) // 2])
        stream.flush()
        path.with_name("seen").mkdir(exist_ok=True)
        stream.write(TEXT[len(TEXT) // 2 :])


def good() -> None:
    path = _result()
    temporary = path.with_name(".result.txt.01234567.part")
    _write(temporary)
    temporary.replace(path)


def in_halves() -> None:
    """Write below the final name."""
    _write(_result())


def with_litter() -> None:
    """Take another temporary name each time, and remove none but its own."""
    path = _result()
    temporary = path.with_name(f".result.txt.{os.getpid():08x}.part")
    _write(temporary)
    temporary.replace(path)


def losing() -> None:
    """Remove the former result first."""
    path = _result()
    path.unlink(missing_ok=True)
    good()


def growing() -> None:
    """Go on from what a killed run left, and so end with another result."""
    path = _result()
    kept = path.with_name(".begun.part")
    began = kept.read_text() if kept.exists() else ""
    kept.write_text(began + TEXT)
    path.with_name(".result.txt.part").write_text(kept.read_text())
    path.with_name(".result.txt.part").replace(path)
    kept.unlink()
