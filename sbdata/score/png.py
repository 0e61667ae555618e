"""PNG files of class or instance numbers, read strictly: every checksum, no silent conversion.

Imaging libraries repair what they can: they scale 4-bit grey to 8 bits, pass over checksums and
unfold whatever a header announces. For a mask each of that is a wrong number, so the header is read
first and what does not fit is refused before a pixel is decoded.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 33  # signature, then the whole IHDR chunk
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
_NAMES = {
    GREY: "grey",
    RGB: "RGB",
    PALETTE: "palette",
    GREY_ALPHA: "grey and alpha",
    RGBA: "RGBA",
}
_SPARE_BYTES = 1 << 20  # for palette, text and the like, beyond twice the raw pixels
_OTHERS = (
    (b"\xff\xd8", "a JPEG file"),
    (b"PK", "a zip archive"),
    (b"GIF8", "a GIF file"),
    (b"BM", "a BMP file"),
    (b"II*\0", "a TIFF file"),
    (b"MM\0*", "a TIFF file"),
    (b"\x93NUMPY", "a NumPy file"),
)


class PngError(Exception):
    """A file that is not read; ``kind`` is a slug, ``detail`` says what was seen."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Header:
    """What the first bytes of a PNG file announce.

    Attributes:
        width: in pixels.
        height: in pixels.
        depth: bits a channel.
        colour: ``GREY``, ``RGB``, ``PALETTE``, ``GREY_ALPHA`` or ``RGBA``.
    """

    width: int
    height: int
    depth: int
    colour: int

    @property
    def mode(self) -> str:
        """Return the pixels' kind in words."""
        return f"{self.depth}-bit {_NAMES[self.colour]}"

    @property
    def indices(self) -> bool:
        """Tell whether the pixels are numbers of 8 bits as they stand.

        Grey of fewer bits is not: readers scale it to the full range, so that 1 comes out as 17.
        """
        return self.colour == PALETTE or (self.colour == GREY and self.depth == 8)


def read_header(path: Path) -> Header:
    """Read the header of a PNG file.

    Raises:
        PngError: if the file is missing, not a plain file, or no PNG.
    """
    return _parse_header(_read(path, _HEADER_BYTES))


def read_png(path: Path, header: Header) -> tuple[npt.NDArray[np.generic], str]:
    """Decode a PNG file whose header was found to be as wanted.

    Args:
        path: of the file.
        header: that :func:`read_header` gave; the file must still have it.

    Returns:
        The pixels as Pillow gives them (``(H, W)`` uint8 or uint16, or ``(H, W, 3)`` uint8), and
        the SHA-256 of the file's bytes.

    Raises:
        PngError: if a checksum is wrong, the file is cut off or far too large, or the pixels cannot
            be decoded.
    """
    row_bytes = -(-header.width * _CHANNELS[header.colour] * header.depth // 8) + 1
    limit = 2 * row_bytes * header.height + _SPARE_BYTES
    data = _read(path, limit + 1)
    if len(data) > limit:
        detail = f"a file of more than {limit} bytes for {header.width} x {header.height} pixels"
        raise PngError("unreadable", detail)
    if _parse_header(data) != header:
        raise PngError("unreadable", "the file changed while it was read")
    _check_chunks(data)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, MemoryError) as error:
        raise PngError("unreadable", f"the pixels cannot be decoded ({error})") from error
    except Image.DecompressionBombError as error:
        raise PngError("unreadable", str(error)) from error
    if header.depth == 16 and pixels.dtype != np.uint16:  # Pillow before 11 gave int32
        pixels = pixels.astype(np.uint16)
    return pixels, hashlib.sha256(data).hexdigest()


def _read(path: Path, limit: int) -> bytes:
    """Return at most ``limit`` bytes of a plain file; pipes and devices are not opened."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - follows links
            raise PngError("unreadable", "a folder, pipe or device, not a file")
        with path.open("rb") as stream:
            return stream.read(limit)
    except OSError as error:
        if path.is_symlink() and not path.exists():
            detail = "a link that leads nowhere"
        else:
            detail = error.strerror or str(error)
        raise PngError("unreadable", detail) from error


def _parse_header(data: bytes) -> Header:
    if not data:
        raise PngError("unreadable", "an empty file")
    if not data.startswith(_SIGNATURE):
        what = next((name for start, name in _OTHERS if data.startswith(start)), "something else")
        raise PngError("unreadable", f"not a PNG file but {what}")
    if len(data) < _HEADER_BYTES or data[12:16] != b"IHDR":
        raise PngError("unreadable", "a PNG file without a header, or cut off in it")
    if zlib.crc32(data[12:29]) != int.from_bytes(data[29:33], "big"):
        raise PngError("unreadable", "the checksum (CRC) of its header is wrong")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if not width or not height or colour not in _CHANNELS:
        detail = f"a header that no PNG has ({width} x {height}, colour type {colour})"
        raise PngError("unreadable", detail)
    return Header(width, height, depth, colour)


def _check_chunks(data: bytes) -> None:
    """Compare every chunk's checksum; Pillow passes over those of the pixels."""
    view = memoryview(data)
    place, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        if place + 12 > len(data):
            raise PngError("unreadable", f"cut off after {len(data)} bytes")
        length = int.from_bytes(view[place : place + 4], "big")
        kind = bytes(view[place + 4 : place + 8])
        end = place + 8 + length
        if end + 4 > len(data):
            raise PngError("unreadable", f"cut off after {len(data)} bytes")
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            name = kind.decode("latin-1")
            raise PngError("unreadable", f"the checksum (CRC) of its {name!r} chunk is wrong")
        place = end + 4
