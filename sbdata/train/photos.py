"""Photos on disk: a folder of photos by id, and the reading of one photo."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from sbdata.errors import InputError
from sbdata.file_names import FileNames, composed
from sbdata.images import DAMAGE, PHOTO_SUFFIXES, open_image
from sbdata.litter import is_litter


def photos_in(folder: Path) -> dict[str, Path]:
    """Return the photos of a folder by id, sorted.

    Raises:
        InputError: if there is no such folder, it holds no photo, or two photos have the same id.
    """
    if not folder.is_dir():
        msg = f"{folder}: no such folder; give a folder of .jpg or .png photos"
        raise InputError(msg)
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in PHOTO_SUFFIXES and not is_litter(path.name)
    ]
    if not files:
        msg = f"{folder}: holds no photo; give a folder of .jpg or .png files"
        raise InputError(msg)
    found: dict[str, Path] = {}
    forms: dict[str, Path] = {}
    for path in files:
        other = forms.setdefault(composed(path.stem), path)
        if other is not path:
            msg = f"{folder}: {other.name} and {path.name} have the same id; keep one of them"
            raise InputError(msg)
        found[path.stem] = path
    return found


def photos_of(folder: Path, image_ids: Iterable[str]) -> dict[str, Path | None]:
    """Return the photo of each image in a folder, None for an image without one.

    Names are found in whatever Unicode form the folder stores them, see :mod:`sbdata.file_names`.

    Raises:
        InputError: if there is no such folder, it holds no photo, or two photos have the same id.
    """
    there = photos_in(folder)
    names = FileNames(there, folder)
    stems = ((image_id, names.find(image_id)) for image_id in image_ids)
    return {image_id: None if stem is None else there[stem] for image_id, stem in stems}


def open_photo(path: Path) -> Image.Image:
    """Open a JPEG or PNG file and read its header.

    Raises:
        InputError: if the file is not a JPEG or PNG photo; the message names it.
    """
    try:
        photo = open_image(path)
    except DAMAGE as error:
        raise _unreadable(path, error) from error
    if photo.mode[0] in "IF":  # conversion would clip it to white
        photo.close()
        msg = f"{path}: a photo must have 8 bits per channel, not mode {photo.mode}; convert it"
        raise InputError(msg)
    return photo


def read_photo(path: Path) -> Image.Image:
    """Read a JPEG or PNG file as RGB; its orientation tag is ignored, as annotations do.

    Raises:
        InputError: if the file cannot be read; the message names it.
    """
    with open_photo(path) as photo:
        try:
            photo.load()
            # Conversion would copy a photo that is RGB.
            converted: Image.Image = photo if photo.mode == "RGB" else photo.convert("RGB")
        except DAMAGE as error:
            raise _unreadable(path, error) from error
    return converted


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: not a readable JPEG or PNG photo ({error}); fetch or convert it again"
    )
