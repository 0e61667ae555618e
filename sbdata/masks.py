"""Draw label maps from polygons and run-length codes; for PNGs see :mod:`sbdata.mask_files`.

A mask is passed as COCO compressed RLE (``bytes``; column-major, see pycocotools) together with the
height and width of its image. An image is drawn once into a *label map*, an ``(H, W)`` uint8 array
with one number per instance (0 is nothing, 255 is void). All values of the visible instances are
measured from that map in a single pass.

The map is stored in column-major order because that is the order of the run-length code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from sbdata.errors import MaskError as MaskError
from sbdata.mask_files import VOID as VOID
from sbdata.mask_files import read_index_png as read_index_png
from sbdata.mask_files import voc_palette as voc_palette
from sbdata.mask_files import write_index_png as write_index_png

MAX_INSTANCES = 254  # uint8 label maps: 0 is background and 255 is void

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


Polygons = Sequence[Sequence[float] | npt.NDArray[np.float64]]
"""Parts of one object, each a flat sequence ``x0, y0, x1, y1, ...`` in pixels."""


def objects_to_rles(objects: Sequence[Polygons], height: int, width: int) -> list[bytes]:
    """Rasterise the objects of one image as pycocotools does; one call for all is faster.

    Args:
        objects: Parts of each object; their union is the object.
        height: Height of the image.
        width: Width of the image.

    Returns:
        The COCO compressed run-length code of each object.

    Raises:
        MaskError: If an object has no parts, or a part has fewer than three points.
    """
    if not all(objects):
        msg = "an object without a polygon"
        raise MaskError(msg)
    parts = [part for polygons in objects for part in polygons]
    if any(len(part) < 6 or len(part) % 2 for part in parts):
        msg = "a polygon with fewer than three points, or an odd count of coordinates"
        raise MaskError(msg)
    drawn = iter(coco_mask.frPyObjects(parts, height, width) if parts else ())
    codes: list[bytes] = []
    for polygons in objects:
        own = [next(drawn) for _ in polygons]
        codes.append((own[0] if len(own) == 1 else coco_mask.merge(own))["counts"])
    return codes


def counts_to_rle(counts: Sequence[int], height: int, width: int) -> bytes:
    """Compress COCO's uncompressed run lengths (column-major, background first).

    Raises:
        MaskError: If the runs do not add up to the image.
    """
    if any(run < 0 for run in counts) or sum(counts) != height * width:
        msg = f"run lengths that add up to {sum(counts)} pixels, not {height} x {width}"
        raise MaskError(msg)
    packed = coco_mask.frPyObjects({"counts": list(counts), "size": [height, width]}, height, width)
    compressed: bytes = packed["counts"]
    return compressed


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
    area = int(_rle_area(np.frombuffer(rle, np.uint8), height * width))
    if area < 0:
        raise _wrong_size(height, width)
    return area


def _wrong_size(height: int, width: int) -> MaskError:
    return MaskError(f"a run-length code that does not fit an image of {height} x {width} pixels")


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
    flat = canvas.reshape(-1, order="F")  # a view: the map is column-major
    for label, rle in zip(labels or range(1, len(rles) + 1), rles, strict=True):
        if _paint(flat, np.frombuffer(rle, np.uint8), label) < 0:
            raise _wrong_size(height, width)
    return canvas


def measure_visible(label_map: LabelMap, count: int) -> Visible:
    """Measure the instances 1..count of a label map in one pass.

    Args:
        label_map: Label map, ``(H, W)`` uint8; labels above ``count`` (void) are ignored.
        count: Number of drawn instances, at most 254.
    """
    height, width = label_map.shape
    flat = np.ascontiguousarray(label_map.T).reshape(-1)
    area, box, parts, border, code, ends = _measure(flat, height, width, count)
    text = code.tobytes()
    starts = np.concatenate(([0], ends))[:-1]
    return Visible(
        area=area,
        bbox=box,
        components=parts,
        touches_border=border,
        rle=[text[start:end] for start, end in zip(starts, ends, strict=True)],
    )


@numba.njit(cache=True, nogil=True)
def _unpack(code, pixels):
    """Return the run lengths of a compressed RLE; a single -1 if they are not ``pixels`` in all."""
    runs = np.empty(code.size, np.int64)
    bad = np.full(1, -1, np.int64)
    count, total, i = 0, 0, 0
    while i < code.size:
        value, shift = 0, 0
        while True:  # five bits a character, lowest first; bit 5 says that more follow
            if i >= code.size or shift > 60:
                return bad
            chunk = np.int64(code[i]) - 48
            i += 1
            value |= (chunk & 0x1F) << shift
            shift += 5
            if not chunk & 0x20:
                if chunk & 0x10:
                    value |= -1 << shift
                break
        if count > 2:  # from the fourth run on, the change since the last run of the same kind
            value += runs[count - 2]
        if value < 0 or value > pixels - total:  # compared before the sum can wrap around
            return bad
        total += value
        runs[count] = value
        count += 1
    return runs[:count] if total == pixels else bad


@numba.njit(cache=True, nogil=True)
def _rle_area(code, pixels):
    """Return the area of a compressed RLE, or -1 if it does not cover ``pixels`` exactly."""
    runs = _unpack(code, pixels)
    if runs.size == 1 and runs[0] < 0:
        return -1
    return runs[1::2].sum()


@numba.njit(cache=True, nogil=True)
def _paint(flat, code, label):
    """Draw a compressed RLE; return its area, or -1 if it does not cover ``flat`` exactly."""
    runs = _unpack(code, flat.size)
    if runs.size == 1 and runs[0] < 0:
        return -1
    place, filled = 0, 0
    for k in range(runs.size):
        if k % 2:
            flat[place : place + runs[k]] = label
            filled += runs[k]
        place += runs[k]
    return filled


@numba.njit(cache=True, nogil=True)
def _root(parent, node):
    """Return the representative of a run's component, halving the path to it."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@numba.njit(cache=True, nogil=True)
def _pack(value, code, place):
    """Append one signed value to a compressed RLE; return the next free place."""
    while True:
        chunk = value & 0x1F
        value >>= 5
        more = value != -1 if chunk & 0x10 else value != 0
        code[place] = (chunk | 0x20 if more else chunk) + 48
        place += 1
        if not more:
            return place


@numba.njit(cache=True, nogil=True)
def _measure(flat, height, width, count):
    """Find the column runs of every label, then measure, join and encode them."""
    # 1. Runs: maximal stretches of one label within one column, in scan order. Where eight pixels
    # of the run's label follow, they are stepped over as one word.
    capacity = 1024
    start = np.empty(capacity, np.int64)
    stop = np.empty(capacity, np.int64)
    label = np.empty(capacity, np.int64)
    column_first = np.zeros(width + 1, np.int64)
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    runs, x, p = 0, 0, 0
    while p < flat.size:
        value = flat[p]
        pattern = np.uint64(0x0101010101010101) * np.uint64(value)
        q = p + 1
        while q < flat.size and flat[q] == value:
            if q % 8 == 0:
                while q // 8 < words.size and words[q // 8] == pattern:
                    q += 8
                if q == flat.size or flat[q] != value:
                    break
            q += 1
        if 0 < value <= count:  # cut the stretch at the feet of the columns
            while p < q:
                while x < p // height:
                    x += 1
                    column_first[x] = runs
                foot = min(q, (x + 1) * height)
                if runs == capacity:
                    capacity *= 2
                    start = np.append(start, np.empty(runs, np.int64))
                    stop = np.append(stop, np.empty(runs, np.int64))
                    label = np.append(label, np.empty(runs, np.int64))
                start[runs], stop[runs], label[runs] = p, foot, value
                runs += 1
                p = foot
        p = q
    column_first[x + 1 :] = runs

    # 2. Areas, boxes and border contact; runs of equal label that touch are joined (8 neighbours).
    area = np.zeros(count, np.int64)
    left = np.full(count, width, np.int32)
    right = np.full(count, -1, np.int32)
    top = np.full(count, height, np.int32)
    bottom = np.full(count, -1, np.int32)
    parent = np.arange(runs)
    for x in range(width):
        k = column_first[x - 1] if x else 0
        previous_end = column_first[x]
        for r in range(column_first[x], column_first[x + 1]):
            i = label[r] - 1
            y0, y1 = start[r] - x * height, stop[r] - x * height  # [y0, y1)
            area[i] += y1 - y0
            left[i], right[i] = min(left[i], x), max(right[i], x)
            top[i], bottom[i] = min(top[i], y0), max(bottom[i], y1 - 1)
            if x:
                while k < previous_end and stop[k] - (x - 1) * height < y0:
                    k += 1
                j = k
                while j < previous_end and start[j] - (x - 1) * height <= y1:
                    if label[j] == label[r]:
                        a, b = _root(parent, j), _root(parent, r)
                        if a < b:
                            parent[b] = a
                        else:
                            parent[a] = b
                    j += 1
    parts = np.zeros(count, np.int32)
    for r in range(runs):
        if parent[r] == r:
            parts[label[r] - 1] += 1
    box = np.zeros((count, 4), np.int32)
    border = np.zeros(count, np.bool_)
    for i in range(count):
        if area[i]:
            box[i, 0], box[i, 1] = left[i], top[i]
            box[i, 2], box[i, 3] = right[i] - left[i] + 1, bottom[i] - top[i] + 1
            border[i] = (
                left[i] == 0 or top[i] == 0 or right[i] == width - 1 or bottom[i] == height - 1
            )

    # 3. Run-length codes: a counting sort brings each label's runs together, still in scan order.
    first = np.zeros(count + 1, np.int64)
    for r in range(runs):
        first[label[r]] += 1
    for i in range(count):
        first[i + 1] += first[i]
    order = np.empty(runs, np.int64)
    free = first[:count].copy()
    for r in range(runs):
        i = label[r] - 1
        order[free[i]] = r
        free[i] += 1
    code = np.empty(14 * (2 * runs + 2 * count + 2), np.uint8)  # at most 13 characters a length
    ends = np.empty(count, np.int64)
    lengths = np.empty(2 * runs + 2, np.int64)
    place = 0
    for i in range(count):
        n, position = 0, 0
        for o in range(first[i], first[i + 1]):
            r = order[o]
            if n and start[r] == position:  # goes on from the foot of one column to the next head
                lengths[n - 1] += stop[r] - start[r]
            else:
                lengths[n] = start[r] - position
                lengths[n + 1] = stop[r] - start[r]
                n += 2
            position = stop[r]
        if position < flat.size or n == 0:
            lengths[n] = flat.size - position
            n += 1
        for m in range(n):
            value = lengths[m] - lengths[m - 2] if m > 2 else lengths[m]
            place = _pack(value, code, place)
        ends[i] = place
    return area, box, parts, border, code[:place], ends
