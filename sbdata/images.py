"""Open untrusted image files, restricted to the expected formats.

Pillow detects a file's format by its content, not its name, and supports dozens of formats; its
PostScript reader starts Ghostscript. :func:`open_image` is therefore the only function that calls
``Image.open``, and it opens only JPEG and PNG.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from PIL import Image

FORMATS = ("JPEG", "PNG")

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
"""Suffixes of photos in a folder, in lower case."""

DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""Exceptions raised when a damaged image is opened or decoded."""

# Pillow reads the tags of each JPEG it opens, and would print this in the middle of a table.
warnings.filterwarnings("ignore", "Corrupt EXIF data", module=r"PIL\.")

_ORIENTATION = 0x0112  # number of the EXIF tag

_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "a PNG file"),
    (b"\xff\xd8", "a JPEG file"),
    (b"GIF8", "a GIF file"),
    (b"BM", "a BMP file"),
    (b"II*\0", "a TIFF file"),
    (b"MM\0*", "a TIFF file"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"%PDF", "a PDF file"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"PK", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"MATLAB 5.0", "a MATLAB file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for"),
)
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")


def open_image(file: Path | IO[bytes], formats: Sequence[str] = FORMATS) -> Image.Image:
    """Open an image and read its header, like ``PIL.Image.open``.

    Args:
        file: Path or binary stream.
        formats: Accepted formats, by Pillow's names.

    Raises:
        PIL.UnidentifiedImageError: If the file has none of these formats. Other errors of Pillow
            for a damaged file are listed in ``DAMAGE``.
    """
    return Image.open(file, formats=tuple(formats))


def orientation_of(image: Image.Image) -> int:
    """Return an image's EXIF orientation, 1 to 8; 1 (upright) if there is none.

    Only the header is read. From 5 on, the image is shown rotated by 90 or 270 degrees.
    """
    raw = image.info.get("exif")
    if not raw:
        return 1
    tags = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged tags
            tags.load(raw)
            found = tags.get(_ORIENTATION)
    except DAMAGE:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def turned_how(orientation: int) -> str:
    """Return a description of how an EXIF orientation shows an image.

    >>> turned_how(6)
    'turned by 90 degrees'
    """
    turns = {2: 0, 3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}
    mirrored = orientation in (2, 4, 5, 7)
    turn = f"turned by {turns[orientation]} degrees" if turns[orientation] else ""
    return " and ".join(part for part in ("mirrored" if mirrored else "", turn) if part)


def kind_of_file(data: bytes) -> str:
    r"""Return a description of a file's type by its first bytes.

    >>> kind_of_file(b"\xff\xd8\xff\xe0..."), kind_of_file(b"<html>"), kind_of_file(b"??")
    ('a JPEG file', 'a web page', 'something else')
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "a WebP file"
    if data[:512].lstrip().lower().startswith(_PAGES):
        return "a web page"
    if data[:64].lstrip()[:1] in (b"{", b"["):
        return "a JSON file"
    return next((kind for start, kind in _STARTS if data.startswith(start)), "something else")
