"""Predictions other than PNGs of class numbers: ``.npy`` arrays, and files with a palette."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.mask_files import (
    GREY,
    PALETTE,
    RGB,
    MaskFile,
    PngError,
    check_size,
    read_at_most,
    read_header,
    read_png,
)
from sbdata.quoting import quoted
from sbdata.score.palettes import Palette

# NumPy warns of arrays written by Python 2, but reads them correctly.
warnings.filterwarnings("ignore", "Reading `.npy` or `.npz` file required", UserWarning)

_HEADER_BYTES = 1 << 12  # largest header; that of a label map has 128
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_by_palette(path: Path, size: tuple[int, int], palette: Palette) -> MaskFile:
    """Read the classes of a prediction through a palette.

    Colours are read from RGB and palette PNGs; numbers from 8-bit and 16-bit grey PNGs, from the
    indices of palette PNGs, and from ``.npy`` arrays.

    Args:
        path: Path of the file.
        size: Width and height of its image.
        palette: Palette.

    Raises:
        PngError: If the file has another size or kind of pixels, is damaged, or has a colour or
            number that the palette lacks.
    """
    if path.suffix == ".npy":
        words, fits = "an array of numbers", not palette.colours
    else:
        header = read_header(path)
        check_size(path, header, size)
        eight, sixteen = header.depth == 8, header.depth == 16
        words, fits = header.words, header.colour == PALETTE
        fits |= header.colour == RGB and eight and palette.colours
        fits |= header.colour == GREY and (eight or sixteen) and not palette.colours
    if not fits:
        holds = "colours, of RGB or palette PNGs" if palette.colours else "numbers, in grey or .npy"
        detail = f"{words}, but palette {palette.name} is of {holds}; give another palette"
        raise PngError(path, "mode", detail)
    if path.suffix == ".npy":
        found = read_array(path, size)
        pixels, digest = found.values, found.digest
    else:
        png = read_png(path, header)
        pixels, digest = png.pixels, png.digest
        if palette.colours and header.colour == PALETTE:
            colours = np.frombuffer(png.palette, np.uint8).reshape(-1, 3)
            if pixels.max() >= len(colours):
                detail = f"index {pixels.max()} of {len(colours)} colours; write it again"
                raise PngError(path, "palette", detail)
            pixels = colours[pixels]
    classes, problem = palette.decode(pixels)
    if problem:
        raise PngError(path, "colours" if palette.colours else "values", problem)
    return MaskFile(classes, digest)


def read_array(path: Path, size: tuple[int, int]) -> MaskFile:
    """Read a ``.npy`` file with an array ``(H, W)`` of integers; nothing is unpickled.

    Type, shape and length are checked before the array is made.

    Args:
        path: Path of the file.
        size: Width and height of its image.

    Returns:
        The numbers, in the file's own integer type, and the SHA-256 of the file.

    Raises:
        PngError: If the file is damaged, or its array has another type or shape.
    """
    width, height = size
    data = read_at_most(path, _HEADER_BYTES + 8 * width * height + 1)
    stream = io.BytesIO(data)
    try:
        version, _ = magic = np.lib.format.read_magic(stream)
        if int.from_bytes(data[8 : 8 + 2 * version], "little") > _HEADER_BYTES:
            raise ValueError
        shape, by_column, dtype = _READERS[magic](stream)
    except Exception as error:  # NumPy parses the header by Python's own parser
        detail = "not a NumPy file of one array; write it by numpy.save"
        raise PngError(path, "unreadable", detail) from error
    if dtype.kind not in "ui":
        what = "objects, which are never unpickled" if dtype.hasobject else quoted(str(dtype), 40)
        detail = f"an array of {what}; write class numbers as integers, such as uint8"
        raise PngError(path, "mode", detail)
    if shape != (height, width):
        detail = f"an array of shape {quoted(shape)}, its image needs {(height, width)}"
        raise PngError(path, "size", f"{detail} (height, width)")
    held, needed = len(data) - stream.tell(), dtype.itemsize * width * height
    if held != needed:
        detail = (
            f"{'more' if held > needed else held} bytes of values, its header announces {needed}"
        )
        raise PngError(path, "unreadable", detail)
    flat: npt.NDArray[Any] = np.frombuffer(data, dtype, offset=stream.tell())
    values = flat.reshape(shape, order="F" if by_column else "C")
    return MaskFile(values, hashlib.sha256(data).hexdigest())
