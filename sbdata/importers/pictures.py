"""Read PNG files of class numbers, of colours that encode them, and of single maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sbdata.importers.dictionaries import LayoutError, Maps
from sbdata.mask_files import (
    GREY,
    PALETTE,
    RGB,
    Header,
    PngError,
    PngPixels,
    numbers_by_palette,
    numbers_of_colours,
    read_header,
    read_png,
)

Indices = npt.NDArray[np.uint8]

_FEW = 4


@dataclass(frozen=True, eq=False)
class Picture:
    """A PNG file with 8 bits per channel.

    Attributes:
        header: Header of the file.
        png: Pixels, ``(H, W)`` or ``(H, W, 3)`` uint8, digest and palette.
    """

    header: Header
    png: PngPixels


def read_picture(path: Path) -> Picture:
    """Read a PNG file with 8 bits per channel, and verify every checksum.

    Raises:
        LayoutError: If the file cannot be read, or has another kind of pixels.
    """
    try:
        header = read_header(path)
        if not (header.indices or (header.colour == RGB and header.depth == 8)):
            msg = f"a {header.mode} image; supported are 8-bit grey, palette and 8-bit RGB"
            raise LayoutError(msg)
        return Picture(header, read_png(path, header))
    except PngError as error:
        raise LayoutError(error.detail) from error


def read_map(path: Path) -> tuple[Maps, str]:
    """Read the map of one class from a grey image, in which 255 stands for 1.

    Returns:
        The map, float32 ``(H, W)`` in [0, 1], and the SHA-256 of the file.

    Raises:
        LayoutError: If the file is not an 8-bit grey image.
    """
    picture = read_picture(path)
    if picture.header.colour != GREY:
        msg = f"a {picture.header.mode} image; a class's map is 8-bit grey"
        raise LayoutError(msg)
    return np.asarray(picture.png.pixels, np.float32) / np.float32(255), picture.png.digest


Evidence = Literal["index", "colour", "either"]


def palette_evidence(picture: Picture, classes: int) -> tuple[Evidence, Indices]:
    """Return whether the numbers or the colours of a palette image are VOC's.

    Args:
        picture: Palette image.
        classes: Number of classes, background not counted.

    Returns:
        The evidence (``either`` if both agree), and VOC's numbers for the colours; see
        :func:`sbdata.mask_files.numbers_by_palette`.
    """
    png = picture.png
    by_colour = numbers_by_palette(png, classes)
    if by_colour is not None:
        return "colour", by_colour
    used = np.flatnonzero(np.bincount(png.pixels.ravel(), minlength=256))
    colours = np.frombuffer(png.palette, np.uint8).reshape(-1, 3)
    numbers, unknown = numbers_of_colours(colours)
    known = used[-1] < len(colours) and not unknown[used].any()
    return ("either" if known and (numbers[used] == used).all() else "index"), png.pixels


def read_indices(path: Path, classes: int, *, by_colour: bool) -> tuple[Indices, str]:
    """Read a picture of class numbers.

    Args:
        path: Path of the file.
        classes: Number of classes, background not counted.
        by_colour: Whether VOC's colours define the numbers, rather than the file's own numbers.

    Returns:
        The class numbers, ``(H, W)`` uint8, and the SHA-256 of the file.

    Raises:
        LayoutError: If the file contradicts ``by_colour``, or has a colour that is not VOC's.
    """
    picture = read_picture(path)
    header, pixels, digest = picture.header, picture.png.pixels, picture.png.digest
    if header.colour == RGB:
        if not by_colour:
            msg = "colours, while the other files hold class numbers"
            raise LayoutError(msg)
        numbers, unknown = numbers_of_colours(pixels)
        if unknown.any():
            raise _strange_colours(pixels[unknown])
        return numbers, digest
    if header.colour == PALETTE:
        evidence, numbers = palette_evidence(picture, classes)
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
