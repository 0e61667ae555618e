"""Photos of an export, in the orientation of their masks for every reader."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from sbdata.errors import InputError
from sbdata.images import DAMAGE, open_image
from sbdata.plurals import count

_ORIENTATION = 0x0112  # number of the EXIF tag
_APP1, _SCAN = 0xE1, 0xDA  # JPEG markers: EXIF and XMP data; the beginning of the pixels


def place_photo(photo: Path, target: Path, *, link: bool) -> bool:
    """Put a photo into an export.

    Args:
        photo: JPEG file of the set.
        target: Path in the export.
        link: True for a hard link, if the file system allows it; False for a copy, for readers that
            may rewrite it.

    Returns:
        Whether it has an orientation tag; then the copy lacks it, see :func:`photo_bytes`.
    """
    if _is_turned(photo):
        target.write_bytes(_without_tags(photo))
        return True
    if link:
        try:
            os.link(photo.resolve(), target)
        except OSError:  # another file system, or one without hard links
            pass
        else:
            return False
    shutil.copyfile(photo, target)
    return False


def photo_bytes(photo: Path) -> tuple[bytes, bool]:
    """Return a photo's bytes, and whether it has an orientation tag.

    Masks match the stored pixels. A reader that rotates a photo by its tag does not rotate the
    masks. Such a photo is returned without its EXIF and XMP data; its pixels are the same.
    """
    if _is_turned(photo):
        return _without_tags(photo), True
    return photo.read_bytes(), False


def turn_note(turned: Iterable[bool]) -> list[str]:
    """Return a note on how many photos have an orientation tag; no note if none has."""
    photos = sum(turned)
    if not photos:
        return []
    return [
        f"{count(photos, 'photo has', 'photos have')} an orientation tag by which readers turn the "
        "photo and not its masks; exported without EXIF and XMP data"
    ]


def _is_turned(file: Path | IO[bytes]) -> bool:
    try:
        with open_image(file, ("JPEG",)) as image:
            return bool(image.getexif().get(_ORIENTATION, 1) != 1)  # XMP is looked at, too
    except DAMAGE:
        return False  # damaged tags are ignored


def _without_tags(photo: Path) -> bytes:
    """Return a JPEG file without its EXIF and XMP data."""
    data = photo.read_bytes()
    kept, place = [data[:2]], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != _SCAN:
        if data[place + 1] == 0xFF:  # a fill byte
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] != _APP1:
            kept.append(data[place:end])
        place = end
    upright = b"".join([*kept, data[place:]])
    if _is_turned(io.BytesIO(upright)):
        msg = f"{photo}: its orientation tag cannot be taken out; save the photo without it"
        raise InputError(msg)
    return upright
