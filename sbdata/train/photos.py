"""Photos on disk: a folder of them by id, and one of them in memory."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from sbdata.errors import InputError
from sbdata.images import DAMAGE, open_image
from sbdata.litter import is_litter

_SUFFIXES = (".jpg", ".jpeg", ".png")


def photos_in(folder: Path) -> dict[str, Path]:
    """Return the photos of a folder by id, sorted.

    Raises:
        InputError: if it is no folder, holds no photo, or two of one name.
    """
    if not folder.is_dir():
        msg = f"{folder}: no such folder; --images takes a folder of photos"
        raise InputError(msg)
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _SUFFIXES and not is_litter(path.name)
    ]
    if not files:
        msg = f"{folder}: no photos here; --images takes a folder of .jpg or .png files"
        raise InputError(msg)
    found: dict[str, Path] = {}
    for path in files:
        if path.stem in found:
            msg = f"{folder}: {found[path.stem].name} and {path.name} have one id; keep one of them"
            raise InputError(msg)
        found[path.stem] = path
    return found


def open_photo(path: Path) -> Image.Image:
    """Open a JPEG or PNG file and read its header.

    Raises:
        InputError: naming the file, if it is none.
    """
    try:
        photo = open_image(path)
    except DAMAGE as error:
        raise _unreadable(path, error) from error
    if photo.mode[0] in "IF":  # would be clipped to white
        photo.close()
        msg = f"{path}: a photo must have 8 bits a channel, not mode {photo.mode}; convert it"
        raise InputError(msg)
    return photo


def read_photo(path: Path) -> Image.Image:
    """Read a JPEG or PNG file as RGB; its orientation tag is ignored, as annotations do.

    Raises:
        InputError: naming the file, if it cannot be read.
    """
    with open_photo(path) as photo:
        try:
            converted: Image.Image = photo.convert("RGB")
        except DAMAGE as error:
            raise _unreadable(path, error) from error
    return converted


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: not a readable JPEG or PNG photo ({error}); fetch or convert it again"
    )
