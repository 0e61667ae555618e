"""Check the free space of a disk before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from sbdata.errors import InputError


def check_space(folder: Path, needed: int, what: str) -> None:
    """Check that a folder's disk has enough free space.

    Args:
        folder: Folder to write to; it need not exist yet.
        needed: Number of bytes to write.
        what: Name for the files in the error message.

    Raises:
        InputError: If the space is not enough.
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
