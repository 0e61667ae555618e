"""Layout of an image: the positions of its shapes, without drawing the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from numba import boolean, int64, void

from sbdata.masks import LabelMap, drawing_order
from sbdata.sources.shapes.draws import (
    STATE,
    TURN,
    UNIT,
    between,
    chance,
    draw,
    keys,
    length,
    stream,
    weighted,
)
from sbdata.sources.shapes.outlines import (
    COLUMNS,
    KIND,
    RADIUS,
    REACH,
    SIDE,
    X,
    Y,
    cosine,
    frame,
    sine,
    whole_masks,
)

MIN_VISIBLE = 12  # pixels
MAX_HIDDEN = 85  # percent of an object's own mask in the image

SPLITS = ("train", "pool")

# In percent, by split: number of shapes in an image (1 to 8) and their size (small, medium, large).
_COUNTS = np.array([[26, 24, 17, 12, 8, 5, 4, 4], [8, 12, 15, 17, 16, 13, 10, 9]], np.int64)
_SIZES = np.array([[20, 27, 53], [33, 34, 33]], np.int64)
# In percent, by split: number of different classes in an image (1 to 4).
_CLASSES = np.array([[45, 35, 15, 5], [20, 32, 30, 18]], np.int64)
# Percent of small shapes that take the class of a larger one and are placed next to it.
_COMPANIONS = np.array([75, 35], np.int64)
# Percent of images whose first shape is large, independent of the weights.
_LARGE_FIRST = np.array([80, 0], np.int64)

# Ranges of the square root of the area, in 256ths of an octave of pixels: 5 to 31, 33 to 94 and
# from 99 on. They keep a distance from the edges of the usual size bins, because occlusion only
# reduces sizes.
_RANGES = np.array([[594, 1268], [1291, 1678], [1697, 2060]], np.int64)


@dataclass(frozen=True)
class Layout:
    """Shapes of one image, in drawing order: later ones are on top.

    Attributes:
        height: Height in pixels.
        width: Width in pixels.
        shapes: One row per shape, int64 ``(n, COLUMNS)``, see ``outlines``.
        masks: Whole mask of each shape, uint8 ``(n, W, H)``, column by column.
        label_map: Visible shapes, ``(H, W)`` uint8, column-major, 1 for the first shape.
        looks: Random key of the picture's appearance.
    """

    height: int
    width: int
    shapes: npt.NDArray[np.int64]
    masks: npt.NDArray[np.uint8]
    label_map: LabelMap
    looks: np.uint64


def lay_out(seed: int, split: str, index: int, size: int) -> Layout:
    """Place the shapes of one image.

    A shape is left out if fewer than ``MIN_VISIBLE`` of its pixels would be visible, or if more
    than ``MAX_HIDDEN`` percent of them would be hidden. The shape on top always remains.

    Args:
        seed: Seed of the dataset.
        split: One of ``SPLITS``.
        index: Index of the image in the split.
        size: Longer side of the image, in pixels.
    """
    code = SPLITS.index(split)
    places, looks = keys(seed, code, index)
    height, width, shapes = _place(places, code, size)
    masks, area = whole_masks(shapes, height, width)
    order = drawing_order(area)
    label_map = _stacked(masks, order)
    seen = _visible(label_map, len(order))
    keep = (seen >= MIN_VISIBLE) & (100 * seen >= (100 - MAX_HIDDEN) * area[order])
    if not keep.all():  # the others can only become more visible
        order = order[keep]
        label_map = _stacked(masks, order)
    return Layout(height, width, shapes[order], masks[order], label_map.T, looks)


@numba.njit(cache=True)
def _stacked(masks, order):
    """Return the ``(W, H)`` uint8 map of the topmost mask at each pixel, 1 for the first drawn."""
    _, width, height = masks.shape
    labels = np.zeros((width, height), np.uint8)
    for place, k in enumerate(order):
        for x in range(width):
            for y in range(height):
                if masks[k, x, y]:
                    labels[x, y] = place + 1
    return labels


@numba.njit(cache=True)
def _visible(labels, count):
    """Return the number of pixels of each label 1..count."""
    seen = np.zeros(count + 1, np.int64)
    for x in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            seen[labels[x, y]] += 1
    return seen[1:]


@numba.njit(cache=True)
def _place(key, split, size):
    """Draw the image's height and width and its shapes, planned largest first."""
    state = stream(key, 0)
    long, short = size, size * between(state, 12, 16) // 16
    height, width = (long, short) if chance(state, 30) else (short, long)
    count = weighted(state, _COUNTS[split]) + 1
    classes = np.arange(REACH.size)
    for k in range(REACH.size - 1):  # a random order, of which the first few are used
        other = between(state, k, REACH.size - 1)
        classes[k], classes[other] = classes[other], classes[k]
    several = weighted(state, _CLASSES[split]) + 1

    # Sizes first, because larger shapes are placed first and small ones next to them.
    steps = np.empty(count, np.int64)
    for k in range(count):
        kind = weighted(state, _SIZES[split])
        if k == 0 and chance(state, _LARGE_FIRST[split]):
            kind = 2
        step = between(state, _RANGES[kind, 0], _RANGES[kind, 1])
        if kind == 2 and k:  # several very large ones would only hide each other
            step = min(step, between(state, _RANGES[kind, 0], _RANGES[kind, 1]))
        place = k
        while place and steps[place - 1] < step:
            steps[place] = steps[place - 1]
            place -= 1
        steps[place] = step

    shapes = np.zeros((count, COLUMNS), np.int64)
    placed = 0
    for k in range(count):
        row = shapes[placed]
        row[KIND] = classes[draw(state, several)]
        anchor = -1
        if placed and steps[k] <= _RANGES[0, 1] and chance(state, _COMPANIONS[split]):
            other = draw(state, placed)
            if length(steps[k]) * 2 <= shapes[other, SIDE]:
                anchor = other
                row[KIND] = shapes[other, KIND]
        _shape(state, row, length(steps[k]), min(height, width) * UNIT)
        placed += _position(state, shapes, placed, anchor, height * UNIT, width * UNIT)
    return height, width, shapes[:placed]


@numba.njit(void(STATE, int64[::1], int64, int64), cache=True)
def _shape(state, row, side, short):
    """Draw a shape's size, rotation and squash; ``side`` is the wanted square root of its area."""
    squash = between(state, 820, 1024)
    radius = side * REACH[row[KIND]] * (2048 - squash) >> 20
    ceiling = short * 47 // 100  # most of the image
    if radius > ceiling:
        radius = ceiling - draw(state, ceiling // 16 + 1)
    radius = max(radius, 3 * UNIT)  # a diameter of 6 pixels
    row[SIDE] = side
    frame(row, radius, draw(state, TURN), squash)


@numba.njit(boolean(int64[:, ::1], int64, int64), cache=True)
def _crowded(shapes, k, percent):
    """Return True if a shape is closer to one of similar size than ``percent`` of their radii."""
    row = shapes[k]
    for j in range(k):
        other = shapes[j]
        if 3 * row[RADIUS] > other[RADIUS]:
            near = (row[RADIUS] + other[RADIUS]) * percent // 100
            dx, dy = row[X] - other[X], row[Y] - other[Y]
            if dx * dx + dy * dy < near * near:
                return True
    return False


@numba.njit(boolean(STATE, int64[:, ::1], int64, int64, int64, int64), cache=True)
def _position(state, shapes, k, anchor, high, wide):
    """Draw a shape's centre, next to its anchor if any; return whether a position was found."""
    row = shapes[k]
    radius = row[RADIUS]
    cut = radius > 40 * UNIT and chance(state, 35)  # may extend beyond the image
    margin = radius * 6 // 10 if cut else radius + UNIT
    for attempt in range(16):
        if anchor >= 0 and attempt < 12:
            other = shapes[anchor]
            angle = draw(state, TURN)
            away = (other[RADIUS] + radius) * between(state, 75, 130) // 100
            row[X] = other[X] + (cosine(angle) * away >> 14)
            row[Y] = other[Y] + (sine(angle) * away >> 14)
        else:
            row[X] = between(state, margin, wide - margin)
            row[Y] = between(state, margin, high - margin)
        inside = margin <= row[X] <= wide - margin and margin <= row[Y] <= high - margin
        if inside and not _crowded(shapes, k, max(between(state, 45, 105) - 3 * attempt, 40)):
            return True
    return False
