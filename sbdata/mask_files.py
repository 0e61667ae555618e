"""Read mask files strictly: PNG images of class or instance numbers.

Imaging libraries correct files silently: they scale 4-bit grey to 8 bits, so that 1 becomes 17,
ignore checksums and decode whatever a header announces. In a mask each of these gives wrong
numbers. The header is therefore read first, and an unsuitable file is refused before a pixel is
decoded; every checksum is verified.

The numbers of a palette image are its indices, unless its colours indicate otherwise: tools that
rewrite palette images reorder the colours. If every colour in use is one of VOC's and some have
other indices than VOC's, the colours define the classes.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sbdata.errors import MaskError
from sbdata.images import DAMAGE, kind_of_file, open_image
from sbdata.limits import image_size_problem
from sbdata.storage import writing
from sbdata.taxonomy import VOC20, Taxonomy

VOID = 255

Pixels = npt.NDArray[Any]
Indices = npt.NDArray[np.uint8]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FIRST_BYTES = 1 << 15  # enough for nearly all masks
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
_SPARE_BYTES = 1 << 20  # allowance for palette, text and so on, beyond twice the raw pixels
_FEW = 4
_PLACES = np.array([1 << 16, 1 << 8, 1], np.int32)  # factors of red, green and blue in one number
_FLAT = 512  # maximum colours; a photo, or a mask that was saved as JPEG, has more

CONVERT = "convert its colours to class numbers first (`sbdata pseudo import` does it for VOC's)"
"""Remedy in messages about colours if a command has no option to decode them."""


class PngError(MaskError):
    """Error for a mask file that is refused.

    Attributes:
        path: Path of the file.
        kind: Kind of problem: ``unreadable``, ``size``, ``mode``, ``colours`` or ``palette``; for
            predictions also ``values`` and ``void``.
        detail: Description of the problem, and the remedy.
    """

    def __init__(self, path: Path | str, kind: str, detail: str) -> None:
        super().__init__(path, kind, detail)  # all arguments, so that it can be pickled
        self.path = path
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        if self.kind == "unreadable":
            return f"{self.path}: not a readable PNG ({self.detail}); fetch or write it again"
        return f"{self.path}: {self.detail}"


@dataclass(frozen=True)
class Header:
    """Header of a PNG file.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        depth: Bits per channel.
        colour: Colour type: ``GREY``, ``RGB``, ``PALETTE``, ``GREY_ALPHA`` or ``RGBA``.
        plain: Whether rows are stored in order, compressed and filtered by PNG's only methods.
    """

    width: int
    height: int
    depth: int
    colour: int
    plain: bool = True

    @property
    def mode(self) -> str:
        """Description of the kind of pixels."""
        return f"{self.depth}-bit {_NAMES[self.colour]}"

    @property
    def words(self) -> str:
        """Description of the image, as part of a sentence."""
        return f"{'an' if self.depth == 8 else 'a'} {self.mode} image"

    @property
    def indices(self) -> bool:
        """Whether the pixels are 8-bit numbers that need no conversion.

        Grey with fewer bits is not: readers scale it to the full range, so that 1 becomes 17.
        """
        return self.colour == PALETTE or (self.colour == GREY and self.depth == 8)


@dataclass(frozen=True, eq=False)
class MaskFile:
    """A mask that was read.

    Attributes:
        values: Numbers, ``(H, W)`` uint8, or uint16 for a 16-bit image.
        digest: SHA-256 of the file's bytes.
        by_colour: Whether the colours of a palette defined the numbers, not its indices.
    """

    values: Pixels
    digest: str
    by_colour: bool = False


@dataclass(frozen=True, eq=False)
class PngPixels:
    """A decoded PNG file.

    Attributes:
        pixels: Pixels as decoded by Pillow: ``(H, W)`` uint8 or uint16, or ``(H, W, 3)`` uint8.
        digest: SHA-256 of the file's bytes.
        palette: Red, green and blue of each index; empty for an image without a palette.
    """

    pixels: Pixels
    digest: str
    palette: bytes = field(default=b"", repr=False)


# --- masks ----------------------------------------------------------------------------------------


def read_mask(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    classes: Taxonomy | None = None,
    instances: bool = False,
    sixteen_bits: bool = False,
    decode_colours: bool = False,
    remedy: str = CONVERT,
) -> MaskFile:
    """Read a mask of class or instance numbers.

    Args:
        path: Path of the PNG.
        size: Required width and height.
        classes: Classes of the numbers. If given, a palette with VOC's colours under other numbers
            is decoded by colour if the classes are VOC's, and refused if they are others.
        instances: Whether they are instance numbers; such a palette is then decoded by colour.
        sixteen_bits: Whether 16-bit numbers are allowed.
        decode_colours: Whether RGB, and a palette with any classes, is decoded through VOC's
            colours.
        remedy: Remedy in messages about colours that are not decoded.

    Raises:
        PngError: If the file is refused; it holds the kind of problem, a description and the
            remedy.
    """
    data = read_at_most(path, _FIRST_BYTES)
    header = _parse_header(path, data)
    if size is not None:
        check_size(path, header, size)
    if header.colour == RGB and header.depth == 8:
        return _read_colours(path, header, data, decode_colours, instances, remedy)
    if not header.indices and not (sixteen_bits and header.depth == 16 and header.colour == GREY):
        raise _wrong_mode(path, header, instances, sixteen_bits)
    png = read_png(path, header, data)
    if header.colour == PALETTE and (instances or classes is not None):
        highest = VOID if instances or classes is None else len(classes)
        numbers = numbers_by_palette(png, highest)
        if numbers is not None:
            if not instances and classes is not None and not decode_colours:
                _check_voc(path, png, classes, remedy)
            return MaskFile(numbers, png.digest, by_colour=True)
    return MaskFile(png.pixels, png.digest)


def read_index_png(path: Path) -> Indices:
    """Read the stored numbers of a palette or 8-bit grey PNG, ignoring its colours.

    Returns:
        The numbers, ``(H, W)`` uint8, writable.

    Raises:
        PngError: If the file cannot be read, or stores colours instead of numbers.
    """
    return np.array(read_mask(path).values, np.uint8)


def write_index_png(path: Path, indices: Indices) -> None:
    """Write a ``(H, W)`` uint8 array as a palette PNG in VOC's colours, atomically."""
    image = Image.fromarray(np.ascontiguousarray(indices))
    image.putpalette(voc_palette())
    with writing(path) as temporary:
        image.save(temporary, format="PNG")


def _wrong_mode(path: Path, header: Header, instances: bool, sixteen_bits: bool) -> PngError:
    what = "instance numbers" if instances else "class numbers"
    wanted = "8-bit grey, palette or 16-bit grey" if sixteen_bits else "8-bit grey or palette"
    detail = f"{header.words}; write {what} as {wanted}"
    if header.colour == GREY and header.depth < 8:
        detail += f" (readers scale {header.depth}-bit grey, so that 1 comes out as another number)"
    return PngError(path, "mode", detail)


def _read_colours(
    path: Path, header: Header, data: bytes, decode: bool, instances: bool, remedy: str
) -> MaskFile:
    numbers_meant = "instance numbers" if instances else "class numbers"
    png = read_png(path, header, data)
    numbers, unknown = numbers_of_colours(png.pixels)
    strange = unknown.any()
    if decode and not strange:
        return MaskFile(numbers, png.digest, by_colour=True)
    if not strange:
        if instances:  # no option decodes these
            remedy = f"write {numbers_meant} as 8-bit grey or palette"
        raise PngError(path, "mode", f"{header.words} in VOC's colours; {remedy}")
    codes, counts = np.unique(png.pixels[unknown].astype(np.int32) @ _PLACES, return_counts=True)
    if len(codes) > _FLAT:
        what = f"{len(codes):,} colours that are not VOC's, as of a photo or a mask saved as JPEG"
    elif (png.pixels == png.pixels[..., :1]).all():
        what = f"equal channels, as of numbers that were saved in colour: {_listed(codes, counts)}"
    elif 2 * counts.sum() > unknown.size:
        what = (
            "other colours than VOC's, as of a panoptic PNG (segment number = R + 256 G + 65536 B) "
            f"or another dataset's palette: {_listed(codes, counts)}"
        )
    else:
        what = f"colours that VOC's palette lacks: {_listed(codes, counts)}"
    detail = f"{header.words} with {what}; write {numbers_meant}"
    raise PngError(path, "colours" if decode else "mode", detail)


def _listed(codes: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> str:
    most = np.argsort(-counts, kind="stable")[:_FEW].tolist()
    colours = [(int(codes[k]) >> 16, int(codes[k]) >> 8 & 255, int(codes[k]) & 255) for k in most]
    seen = ", ".join(
        f"{colour} in {int(counts[k])} pixels" for colour, k in zip(colours, most, strict=True)
    )
    return seen + (", ..." if len(codes) > _FEW else "")


# --- colours --------------------------------------------------------------------------------------


def voc_palette() -> bytes:
    """Return PASCAL VOC's 256 colours as 768 bytes (VOC devkit, ``VOClabelcolormap``).

    Bit j of a colour's channel c is bit ``3 (7 - j) + c`` of the index.

    >>> list(voc_palette()[:9])
    [0, 0, 0, 128, 0, 0, 0, 128, 0]
    """
    index = np.arange(256)[:, None]
    channel = np.arange(3)[None, :]
    colour = np.zeros((256, 3), np.int64)
    for bit in range(8):
        colour |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colour.astype(np.uint8).tobytes()


def _inverse_palette() -> tuple[Indices, ...]:
    """Return, for red, green and blue, the bits of the index that each channel value encodes.

    VOC's colours distribute the index's bits over the channels in turn, starting with the lowest
    bit of the index in the highest bit of red.
    """
    value = np.arange(256)
    tables = []
    for channel in range(3):
        bits = np.zeros(256, np.int64)
        for k in range(3):
            if 3 * k + channel < 8:
                bits |= ((value >> (7 - k)) & 1) << (3 * k + channel)
        tables.append(bits.astype(np.uint8))
    return tuple(tables)


_VOC = voc_palette()
_COLOURS = np.frombuffer(_VOC, np.uint8).reshape(256, 3)
_BITS = _inverse_palette()


def numbers_of_colours(colours: Pixels) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Return the numbers of colours in VOC's palette, and a mask of the colours it lacks.

    Args:
        colours: Colours, uint8 ``(..., 3)``.

    >>> numbers, unknown = numbers_of_colours(np.array([[0, 128, 0], [1, 2, 3]], np.uint8))
    >>> numbers.tolist()[0], unknown.tolist()
    (2, [False, True])
    """
    red, green, blue = (_BITS[k][colours[..., k]] for k in range(3))
    numbers: Indices = red | green | blue
    return numbers, (_COLOURS[numbers] != colours).any(axis=-1)


def greys_of_voc() -> frozenset[int]:
    """Return the grey values of VOC's colours of 0..20 and void after conversion to grey.

    >>> sorted(greys_of_voc())[:3]
    [0, 15, 19]
    """
    colours = Image.fromarray(_COLOURS[[*range(21), VOID]][None]).convert("L")
    return frozenset(np.asarray(colours).ravel().tolist())


def numbers_by_palette(png: PngPixels, highest: int) -> Indices | None:
    """Return a palette image's numbers by its colours; None if its indices must be used.

    Colours define the numbers if those in use are all VOC's and differ from each other, stand for
    background, a number up to ``highest`` or void, and some have other indices than VOC's. A
    palette that a tool left black, or that ends before the numbers in use, is ignored.
    """
    flat = png.palette
    if _VOC.startswith(flat):  # true of nearly all files, so the pixels need not be read
        return None
    colours = np.frombuffer(flat, np.uint8).reshape(-1, 3)
    numbers, unknown = numbers_of_colours(colours)
    if (unknown | (numbers == np.arange(len(colours)))).all():
        return None
    used = np.flatnonzero(np.bincount(png.pixels.ravel(), minlength=256))
    if used[-1] >= len(colours) or unknown[used].any():
        return None
    meant = numbers[used]
    in_range = (meant <= highest) | (meant == VOID)
    if (meant == used).all() or not in_range.all() or len(set(meant.tolist())) < len(meant):
        return None
    table = np.zeros(256, np.uint8)
    table[: len(numbers)] = numbers
    return table[png.pixels]


def _check_voc(path: Path, png: PngPixels, classes: Taxonomy, remedy: str) -> None:
    """Refuse a palette with VOC's colours under other numbers if the classes are not VOC's.

    Colours such as pure dark red and green are VOC's first ones, but people also choose them for
    their own classes, so the meaning is ambiguous.
    """
    if classes.classes == VOC20.classes:
        return
    numbers, _ = numbers_of_colours(np.frombuffer(png.palette, np.uint8).reshape(-1, 3))
    used = np.flatnonzero(np.bincount(png.pixels.ravel(), minlength=256))
    place = next(k for k in used.tolist() if numbers[k] != k)
    raise PngError(
        path,
        "palette",
        f"a palette with VOC's colours under other numbers ({place} has the colour of "
        f"{numbers[place]}), so that either may be the classes; if the numbers are, write them as "
        f"8-bit grey; if the colours are, {remedy}",
    )


# --- PNG files ------------------------------------------------------------------------------------


def read_header(path: Path) -> Header:
    """Read the header of a PNG file.

    Raises:
        PngError: If the file is missing, not a plain file, or not a PNG.
    """
    return _parse_header(path, read_at_most(path, _HEADER_BYTES))


def read_png(path: Path, header: Header, data: bytes = b"") -> PngPixels:
    """Decode a PNG file whose header was accepted.

    Args:
        path: Path of the file.
        header: Header from :func:`read_header`; the file must still have it.
        data: First bytes of the file, if they were read; all of it if it ends within them.

    Raises:
        PngError: If a checksum is wrong, the file is truncated or far too large, or the pixels
            cannot be decoded.
    """
    if problem := image_size_problem(header.width, header.height, path.name):
        raise PngError(path, "size", f"{header.width} x {header.height} pixels: {problem}")
    row_bytes = -(-header.width * _CHANNELS[header.colour] * header.depth // 8) + 1
    limit = 2 * row_bytes * header.height + _SPARE_BYTES
    if not 0 < len(data) < _FIRST_BYTES:
        data = read_at_most(path, limit + 1)
    if len(data) > limit:
        detail = f"a file of more than {limit} bytes for {header.width} x {header.height} pixels"
        raise PngError(path, "unreadable", detail)
    if _parse_header(path, data) != header:
        raise PngError(path, "unreadable", "the file changed while it was read")
    palette, compressed = _check_chunks(path, data)
    digest = hashlib.sha256(data).hexdigest()
    if header.indices and header.depth == 8 and header.plain:
        plain = _unfiltered(header, compressed)
        if plain is not None:
            return PngPixels(plain, digest, palette)
    try:
        with open_image(io.BytesIO(data), formats=["PNG"]) as image:
            pixels = np.asarray(image)
    except DAMAGE as error:
        raise PngError(path, "unreadable", f"the pixels cannot be decoded ({error})") from error
    if header.depth == 16 and pixels.dtype != np.uint16:  # Pillow before 11 gave int32
        pixels = pixels.astype(np.uint16)
    return PngPixels(pixels, digest, palette)


def _unfiltered(header: Header, compressed: bytes) -> Indices | None:
    """Return the pixels of 8-bit numbers if no row is filtered; None leaves them to Pillow.

    Nearly all masks are stored like this, and zlib gives their pixels in half of Pillow's time. A
    damaged image has not exactly these bytes.
    """
    rows, row = header.height, header.width + 1  # the first byte of a row names its filter
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(compressed, rows * row + 1)
    except zlib.error:
        return None
    if len(raw) != rows * row or not stream.eof:
        return None
    stored = np.frombuffer(raw, np.uint8).reshape(rows, row)
    return None if stored[:, 0].any() else np.ascontiguousarray(stored[:, 1:])


def check_size(path: Path, header: Header, size: tuple[int, int]) -> None:
    """Compare a header with the size of its image, before decoding: it may announce gigabytes.

    Args:
        path: Path of the file.
        header: Its header.
        size: Required width and height.

    Raises:
        PngError: If they differ.
    """
    if (header.width, header.height) != size:
        raise PngError(
            path,
            "size",
            f"{header.width} x {header.height} pixels, its image has {size[0]} x {size[1]}; "
            "masks must have their image's own size",
        )


def read_at_most(path: Path, limit: int) -> bytes:
    """Return at most ``limit`` bytes of a plain file; pipes and devices are not opened.

    Raises:
        PngError: If it cannot be read, or is no plain file.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - follows links
            raise PngError(path, "unreadable", "a folder, pipe or device, not a file")
        with path.open("rb") as stream:
            return stream.read(limit)
    except (OSError, ValueError) as error:
        if path.is_symlink() and not path.exists():
            detail = "a broken link"
        else:
            detail = getattr(error, "strerror", None) or str(error)
        raise PngError(path, "unreadable", detail) from error


def _parse_header(path: Path, data: bytes) -> Header:
    if not data:
        raise PngError(path, "unreadable", "an empty file")
    if not data.startswith(_SIGNATURE):
        raise PngError(path, "unreadable", f"not a PNG file but {kind_of_file(data)}")
    if len(data) < _HEADER_BYTES or data[12:16] != b"IHDR":
        raise PngError(path, "unreadable", "a PNG file without a header, or cut off in it")
    if zlib.crc32(data[12:29]) != int.from_bytes(data[29:33], "big"):
        raise PngError(path, "unreadable", "the checksum (CRC) of its header is wrong")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if not width or not height or colour not in _CHANNELS:
        detail = f"a header that no PNG has ({width} x {height}, colour type {colour})"
        raise PngError(path, "unreadable", detail)
    return Header(width, height, depth, colour, plain=not any(data[26:29]))


def _check_chunks(path: Path, data: bytes) -> tuple[bytes, bytes]:
    """Verify every chunk's checksum, which Pillow skips for pixels.

    Returns:
        The palette, and the compressed pixels.
    """
    view = memoryview(data)
    place, kind, palette, compressed = len(_SIGNATURE), b"", b"", []
    while kind != b"IEND":
        if place + 12 > len(data):
            raise PngError(path, "unreadable", f"cut off after {len(data)} bytes")
        length = int.from_bytes(view[place : place + 4], "big")
        kind = bytes(view[place + 4 : place + 8])
        end = place + 8 + length
        if end + 4 > len(data):
            raise PngError(path, "unreadable", f"cut off after {len(data)} bytes")
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            name = kind.decode("latin-1")
            detail = f"the checksum (CRC) of its {name!r} chunk is wrong"
            raise PngError(path, "unreadable", detail)
        if kind == b"PLTE":
            palette = bytes(view[place + 8 : end - length % 3])
        elif kind == b"IDAT":
            compressed.append(view[place + 8 : end])
        place = end + 4
    return palette, b"".join(compressed)
