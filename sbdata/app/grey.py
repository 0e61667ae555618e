"""Convert class maps to the form that FiftyOne reads: class numbers as grey values.

FiftyOne decodes a palette PNG to colours and takes the red channel for the class, so the class maps
of a VOC devkit are shown wrongly. An 8-bit PNG with VOC's palette is converted to grey without
touching its pixels: the same compressed data get a header for a grey image. Any other file is read
as a score reads it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

from PIL import Image

from sbdata.mask_files import GREY, PALETTE, PngError, voc_palette
from sbdata.masks import VOID
from sbdata.score.inputs import PredictionFormat, read_prediction
from sbdata.storage import write_bytes, writing
from sbdata.taxonomy import Taxonomy

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"IHDR", b"IDAT", b"IEND")
_PALETTE = voc_palette()


def write_grey(
    path: Path, out: Path, size: tuple[int, int], taxonomy: Taxonomy
) -> tuple[Path, str]:
    """Write a class map as a grey PNG, unless it is one already.

    Args:
        path: Path of a class map: grey, palette, or in VOC's colours.
        out: Path of the grey file to write.
        size: Width and height of the image in pixels.
        taxonomy: Classes that the map may hold, besides 0 and 255.

    Returns:
        The path of the grey file (``path`` itself if it is grey already), and the SHA-256 of the
        file at ``path``.

    Raises:
        PngError: If the file is missing or is not a class map of that size.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PngError(path, "unreadable", f"cannot be read ({error.strerror})") from error
    digest = hashlib.sha256(data).hexdigest()
    if data[16:24] == struct.pack(">II", *size) and data[24:25] == b"\x08":
        if data[25] == GREY:
            return path, digest
        grey = grey_of_palette(data)
        if grey is not None:
            write_bytes(out, grey)
            return out, digest
    contract = PredictionFormat(taxonomy, predicted_void=True, decode_palette=True)
    values, digest = read_prediction(path, size, contract)
    with writing(out) as temporary:
        Image.fromarray(values).save(temporary, format="PNG")
    return out, digest


def grey_of_palette(data: bytes) -> bytes | None:
    """Return an 8-bit PNG with VOC's palette as a grey PNG of the same numbers; None for others.

    The colours of another palette may tell the classes, as in a score. Grey and palette images have
    the same pixel layout. Only the header's colour type differs, and the palette is omitted (PNG
    specification, third edition, 11.2.1).
    """
    if data[:8] != _SIGNATURE:
        return None
    parts, place = [_SIGNATURE], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, end = data[place + 4 : place + 8], place + 12 + length
        if kind == b"IHDR":
            body = bytearray(data[place + 8 : end - 4])
            if length != 13 or body[8] != 8 or body[9] != PALETTE:
                return None
            body[9] = GREY
            parts.append(_chunk(kind, bytes(body)))
        elif kind == b"PLTE" and not _PALETTE.startswith(data[place + 8 : end - 4]):
            return None
        elif kind in _KEPT:
            parts.append(data[place:end])
        place = end
        if kind == b"IEND":
            return b"".join(parts) if place <= len(data) else None
    return None


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def targets_of(taxonomy: Taxonomy) -> dict[int, str]:
    """Return the class name of each number in a class map.

    >>> targets_of(Taxonomy("two", ("circle", "square")))
    {0: 'background', 1: 'circle', 2: 'square', 255: 'void'}
    """
    return {0: "background", **dict(enumerate(taxonomy.classes, start=1)), VOID: "void"}
