"""Draw label maps from polygons and run-length codes; for PNGs see :mod:`sbdata.mask_files`.

A mask is passed as COCO compressed RLE (``bytes``; column-major, see pycocotools) together with the
height and width of its image. An image is drawn once into a *label map*, an ``(H, W)`` uint8 array
with one number per instance (0 is nothing, 255 is void). All values of the visible instances are
measured from that map: in a single pass, or only where each instance was drawn.

The map is stored in column-major order because that is the order of the run-length code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from sbdata.compiled_code import address, kernels
from sbdata.errors import MaskError as MaskError
from sbdata.mask_files import VOID as VOID
from sbdata.mask_files import read_index_png as read_index_png
from sbdata.mask_files import voc_palette as voc_palette
from sbdata.mask_files import write_index_png as write_index_png

MAX_INSTANCES = 254  # uint8 label maps: 0 is background and 255 is void

_FARTHEST = 1e9  # pixels; beyond it, fifths of pixels would not be exact
LabelMap = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Visible:
    """Measurements of the visible part of each drawn instance; arrays are indexed by label - 1.

    Attributes:
        area: Pixel counts, int64; 0 for an instance that is completely hidden.
        bbox: Rows of x, y, width and height in pixels, int32 ``(n, 4)``.
        components: Counts of 8-connected parts, int32.
        touches_border: Whether a pixel lies on the image's outermost rows or columns, bool.
        rle: COCO compressed run-length code of each visible mask.
    """

    area: npt.NDArray[np.int64]
    bbox: npt.NDArray[np.int32]
    components: npt.NDArray[np.int32]
    touches_border: npt.NDArray[np.bool_]
    rle: list[bytes]


# --- run-length codes ---------------------------------------------------------------------------


def outlines_to_rles(
    points: npt.NDArray[np.float64],
    parts: Sequence[int],
    objects: Sequence[int],
    height: int,
    width: int,
) -> list[bytes]:
    """Rasterise the polygons of one image's objects, with the pixels that pycocotools gives them.

    A point is rounded to a fifth of a pixel. An edge crosses the centre line of a column between
    the second and third fifth of its pixel; pixels between two crossings are inside. Only crossings
    are computed, where pycocotools walks along the outline.

    Args:
        points: Coordinates ``x0, y0, x1, y1, ...`` of all parts in pixels, below 10^9.
        parts: Number of coordinates of each part.
        objects: Number of parts of each object; their union is the object.
        height: Height of the image.
        width: Width of the image.

    Returns:
        The COCO compressed run-length code of each object.

    Raises:
        MaskError: If an object has no parts, a part has fewer than three points, or a coordinate
            is not such a number.
    """
    if not all(objects):
        msg = "an object has no polygon"
        raise MaskError(msg)
    if any(count < 6 or count % 2 for count in parts):
        msg = "a polygon has fewer than three points, or an odd number of coordinates"
        raise MaskError(msg)
    if not (np.abs(points) < _FARTHEST).all():
        msg = "a coordinate is not a number, or is beyond any image"
        raise MaskError(msg)
    from sbdata.mask_kernels import outline_codes

    counts = np.array(parts, np.int64), np.array(objects, np.int64)
    return _cut(*outline_codes(points, *counts, height, width))


def _cut(code: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> list[bytes]:
    """Return the codes that are concatenated in a buffer."""
    text, start, codes = code.tobytes(), 0, []
    for end in ends.tolist():
        codes.append(text[start:end])
        start = end
    return codes


def counts_to_rle(counts: Sequence[int], height: int, width: int) -> bytes:
    """Compress COCO's uncompressed run lengths (column-major, background first).

    Raises:
        MaskError: If the runs do not add up to the image.
    """
    if any(run < 0 for run in counts) or sum(counts) != height * width:
        msg = f"the run lengths add up to {sum(counts)} pixels, not {height} x {width}"
        raise MaskError(msg)
    packed = coco_mask.frPyObjects({"counts": list(counts), "size": [height, width]}, height, width)
    compressed: bytes = packed["counts"]
    return compressed


def as_rle(counts: Any, height: int, width: int) -> bytes:
    """Return the run-length code of a JSON file's ``counts``, compressed or not.

    Args:
        counts: A compressed code as text, or a list of COCO's uncompressed run lengths.
        height: Height of the image.
        width: Width of the image.

    Raises:
        MaskError: If it is neither, or does not cover the image exactly.
    """
    if isinstance(counts, list) and set(map(type, counts)) <= {int}:
        return counts_to_rle(counts, height, width)
    if not isinstance(counts, str) or not counts.isascii():
        msg = "counts are neither whole numbers nor a compressed string"
        raise MaskError(msg)
    code = counts.encode()
    rle_area(code, height, width)
    return code


def encode_mask(mask: npt.NDArray[Any]) -> bytes:
    """Return the COCO compressed RLE of a boolean ``(H, W)`` array."""
    packed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    counts: bytes = packed["counts"]
    return counts


def decode_mask(rle: bytes, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return the boolean ``(H, W)`` array of a COCO compressed RLE.

    Raises:
        MaskError: If the code does not cover the image exactly.
    """
    return draw_masks([rle], height, width).astype(bool)


def rle_area(rle: bytes, height: int, width: int) -> int:
    """Return the number of pixels in a COCO compressed RLE.

    Raises:
        MaskError: If the code does not cover the image exactly.
    """
    from sbdata.mask_kernels import unpack_all

    areas = unpack_all(np.frombuffer(rle, np.uint8), np.array([len(rle)]), height * width)[2]
    if areas[0] < 0:
        raise _wrong_size(height, width)
    return int(areas[0])


def _wrong_size(height: int, width: int) -> MaskError:
    return MaskError(f"a run-length code does not fit an image of {height} x {width} pixels")


# --- drawing and measuring ----------------------------------------------------------------------


def drawing_order(areas: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the order in which masks are drawn: larger first, so that smaller ones are on top.

    Equal areas are drawn in the given order (by annotation id), so the later one is on top.

    >>> drawing_order([5, 9, 5]).tolist()
    [1, 0, 2]
    """
    return np.argsort(-np.asarray(areas, dtype=np.int64), kind="stable")


def draw_masks(
    rles: Sequence[bytes],
    height: int,
    width: int,
    *,
    labels: Sequence[int] | None = None,
    onto: LabelMap | None = None,
) -> LabelMap:
    """Draw masks one over the other, in the order given, and return the label map.

    Args:
        rles: COCO compressed run-length codes, the topmost last.
        height: Height of the image.
        width: Width of the image.
        labels: Number to draw each mask with; 1, 2, ... by default.
        onto: Column-major ``(H, W)`` uint8 map to draw over; it is changed in place.

    Returns:
        The label map, ``(H, W)`` uint8, column-major.

    Raises:
        MaskError: If a code does not cover the image exactly.
    """
    canvas = np.zeros((height, width), np.uint8, order="F") if onto is None else onto
    if not rles:
        return canvas
    flat = canvas.reshape(-1, order="F")  # a view: the map is column-major
    numbers = np.fromiter(labels or range(1, len(rles) + 1), np.uint8, len(rles))
    codes = np.frombuffer(b"".join(rles), np.uint8)
    ends = np.cumsum(np.fromiter(map(len, rles), np.int64, len(rles)))
    library = kernels()
    if library is not None:
        painted = library.paint(
            address(flat), flat.size, address(codes), address(ends), address(numbers), len(rles)
        )
    else:
        from sbdata.mask_kernels import paint

        painted = paint(flat, codes, ends, numbers)
    if painted < len(rles):
        raise _wrong_size(height, width)
    return canvas


def by_rows(label_map: LabelMap) -> LabelMap:
    """Return a column-major ``(H, W)`` uint8 map as a row-major one, as predictions are."""
    library = kernels()
    if library is None:
        return np.ascontiguousarray(label_map)
    height, width = label_map.shape
    turned = np.empty((height, width), np.uint8)
    library.by_rows(address(label_map.T), height, width, address(turned))
    return turned


def draw_by_size(rles: Sequence[bytes], onto: LabelMap) -> Visible:
    """Draw masks over a label map, larger ones first, and measure what remains visible of each.

    Only the pixels of the masks are looked at.

    Args:
        rles: COCO compressed run-length codes of n masks, at most 254; the k-th gets the number
            k + 1. They are drawn in the order of :func:`drawing_order`.
        onto: Column-major ``(H, W)`` uint8 map to draw over, without numbers from 1 to n; it is
            changed in place.

    Raises:
        MaskError: If a code does not cover the image exactly.
    """
    from sbdata.mask_kernels import draw_and_measure, unpack_all

    height, width = onto.shape
    ends = np.cumsum(np.fromiter(map(len, rles), np.int64, len(rles)))
    runs, first, areas = unpack_all(np.frombuffer(b"".join(rles), np.uint8), ends, onto.size)
    if areas.min(initial=0) < 0:
        raise _wrong_size(height, width)
    flat = onto.reshape(-1, order="F")
    return _visible(*draw_and_measure(flat, runs, first, drawing_order(areas), height, width))


def measure_visible(label_map: LabelMap, count: int) -> Visible:
    """Measure the instances 1..count of a label map in one pass.

    Args:
        label_map: Label map, ``(H, W)`` uint8; labels above ``count`` (void) are ignored.
        count: Number of drawn instances, at most 254.
    """
    from sbdata.mask_kernels import find_and_measure

    height, width = label_map.shape
    flat = np.ascontiguousarray(label_map.T).reshape(-1)
    return _visible(*find_and_measure(flat, height, width, count))


def _visible(*measured: npt.NDArray[Any]) -> Visible:
    area, box, parts, border, code, ends = measured
    return Visible(area, box, parts, border, _cut(code, ends))
