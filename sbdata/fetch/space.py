"""Room on a disk, asked for before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from sbdata.errors import InputError


def check_space(folder: Path, needed: int, what: str) -> None:
    """Make sure that bytes fit on a folder's disk.

    Args:
        folder: need not be there yet.
        needed: in bytes.
        what: needs them.

    Raises:
        InputError: if they do not.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        msg = (
            f"{folder}: {what} needs {needed:,} more bytes and the disk has {free:,}; free some "
            "space or choose another folder"
        )
        raise InputError(msg)
