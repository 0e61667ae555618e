"""Pictures: PNG files of class numbers, of colours that stand for them, and of single maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from sbdata.bench.imports.dictionaries import LayoutError, Maps
from sbdata.masks import voc_palette
from sbdata.score.png import GREY, PALETTE, RGB, Header, PngError, read_header, read_png

Indices = npt.NDArray[np.uint8]

_COLOURS = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
_WEIGHTS = np.array([1 << 16, 1 << 8, 1], np.int64)
_CODES = _COLOURS @ _WEIGHTS
_BY_CODE = np.argsort(_CODES)
_FEW = 4


def read_picture(path: Path) -> tuple[npt.NDArray[Any], Header, str]:
    """Read a PNG file of 8 bits a channel, every checksum compared.

    Returns:
        ``(H, W)`` or ``(H, W, 3)`` uint8, the header, and the SHA-256 of the file.

    Raises:
        LayoutError: if the file cannot be read, or has another kind of pixels.
    """
    try:
        header = read_header(path)
        if not (header.indices or (header.colour == RGB and header.depth == 8)):
            msg = f"a {header.mode} image; known are 8-bit grey, palette and 8-bit RGB"
            raise LayoutError(msg)
        pixels, digest = read_png(path, header)
    except PngError as error:
        raise LayoutError(error.detail) from error
    return pixels, header, digest


def read_map(path: Path) -> tuple[Maps, str]:
    """Read one class's map: grey, 255 for 1.

    Returns:
        float32 ``(H, W)`` in [0, 1], and the SHA-256 of the file.

    Raises:
        LayoutError: if it is no 8-bit grey image.
    """
    pixels, header, digest = read_picture(path)
    if header.colour != GREY:
        msg = f"a {header.mode} image; a class's map is 8-bit grey"
        raise LayoutError(msg)
    return np.asarray(pixels, np.float32) / np.float32(255), digest


def numbers_of_colours(colours: npt.NDArray[np.uint8]) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Return the numbers that VOC's palette gives to colours, and where it has none.

    Args:
        colours: uint8 ``(..., 3)``.

    >>> numbers, unknown = numbers_of_colours(np.array([[0, 128, 0], [1, 2, 3]], np.uint8))
    >>> numbers.tolist()[0], unknown.tolist()
    (2, [False, True])
    """
    codes = colours.astype(np.int64) @ _WEIGHTS
    places = np.searchsorted(_CODES, codes, sorter=_BY_CODE).clip(max=255)
    numbers = _BY_CODE[places]
    return numbers.astype(np.uint8), _CODES[numbers] != codes


Evidence = Literal["index", "colour", "either"]


def palette_evidence(path: Path, pixels: Indices) -> tuple[Evidence, Indices]:
    """Tell whether the numbers or the colours of a palette image are VOC's.

    An image converted to a palette of its own has its colours in any order: its numbers then mean
    nothing. That is taken for granted where every used colour is one of VOC's and some of them
    stand under other numbers than VOC's.

    Returns:
        What is right (``either`` where both agree), and the numbers that VOC gives to the colours.
    """
    with Image.open(path, formats=["PNG"]) as image:
        flat = image.getpalette("RGB") or []
    colours = np.zeros((256, 3), np.uint8)
    colours.reshape(-1)[: len(flat)] = flat[: 3 * 256]
    used = np.unique(pixels)
    numbers, unknown = numbers_of_colours(colours)
    if unknown[used].any():
        return "index", numbers[pixels]
    if (numbers[used] == used).all():
        return "either", pixels
    return "colour", numbers[pixels]


def read_indices(path: Path, *, by_colour: bool) -> tuple[Indices, str]:
    """Read a picture of class numbers.

    Args:
        path: of the file.
        by_colour: whether VOC's colours tell the numbers, rather than the file's own.

    Returns:
        ``(H, W)`` uint8, and the SHA-256 of the file.

    Raises:
        LayoutError: if the file says otherwise than that, or has a colour that is not VOC's.
    """
    pixels, header, digest = read_picture(path)
    if header.colour == RGB:
        if not by_colour:
            msg = "colours, while the other files hold class numbers"
            raise LayoutError(msg)
        numbers, unknown = numbers_of_colours(pixels)
        if unknown.any():
            raise _strange_colours(pixels[unknown])
        return numbers, digest
    if header.colour == PALETTE:
        evidence, numbers = palette_evidence(path, pixels)
        if evidence != "either" and (evidence == "colour") != by_colour:
            raise _other_palette(evidence)
        return (numbers if by_colour else pixels), digest
    if by_colour and pixels.any():
        msg = "class numbers in grey, while the other files hold colours"
        raise LayoutError(msg)
    return pixels, digest


def _strange_colours(strange: npt.NDArray[np.uint8]) -> LayoutError:
    colours, counts = np.unique(strange, axis=0, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_FEW]
    shown = ", ".join(f"{tuple(colours[k].tolist())} in {counts[k]} pixels" for k in most)
    more = ", ..." if len(colours) > _FEW else ""
    return LayoutError(f"colours that VOC's palette lacks: {shown}{more}")


def _other_palette(evidence: str) -> LayoutError:
    if evidence == "colour":
        return LayoutError("VOC's colours under other numbers, while the other files have VOC's")
    return LayoutError("a palette of other colours, while the other files have VOC's colours")
