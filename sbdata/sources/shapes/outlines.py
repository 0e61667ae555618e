"""Outlines of the eight shapes: compute the pixels of a shape by integer comparisons only.

A shape is one row of numbers: its class, its centre in 16ths of a pixel, and the matrix that maps
an offset from the centre to the shape's own frame, in which its circumscribed circle has radius
1024. A pixel belongs to the shape if its centre is inside.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import int64
from numba.types import UniTuple

from sbdata.sources.shapes.draws import COSINE, ONE, TURN, UNIT

# Columns of a shape's row.
KIND, X, Y, UX, UY, VX, VY, RADIUS, SIDE = range(9)
COLUMNS = 9

DISC, SQUARE, TRIANGLE, STAR, RING, CROSS, CRESCENT, HEXAGON = range(8)

# Circumscribed radius divided by the square root of the area, in 1024ths, by class.
REACH = np.array([578, 728, 898, 967, 697, 739, 864, 635], np.int64)

_FRAME = 1 << 16  # fixed point of the matrix

_NORMAL = np.zeros((7, 6, 2), np.int64)  # directions of a polygon's sides, by their number
for _sides in (3, 5, 6):
    for _k in range(_sides):
        _turn = (2 * _k * TURN // _sides + 1) // 2
        _NORMAL[_sides, _k] = COSINE[_turn % TURN], COSINE[(_turn - TURN // 4) % TURN]


@numba.njit(int64(int64), cache=True)
def cosine(angle):
    """Return the cosine of an angle, in units of 1 / ``ONE``."""
    return COSINE[angle % TURN]


@numba.njit(int64(int64), cache=True)
def sine(angle):
    """Return the sine of an angle, in units of 1 / ``ONE``."""
    return COSINE[(angle - TURN // 4) % TURN]


@numba.njit(cache=True)
def frame(row, radius, angle, squash):
    """Write the matrix of a shape rotated by ``angle`` and narrowed to ``squash`` 1024ths."""
    scale = (_FRAME << 10) // radius  # lengths to shares of the radius
    row[RADIUS] = radius
    row[UX] = (cosine(angle) * scale) >> 14
    row[UY] = (sine(angle) * scale) >> 14
    row[VX] = -(sine(angle) * scale * 1024 // squash) >> 14
    row[VY] = (cosine(angle) * scale * 1024 // squash) >> 14


@numba.njit(cache=True)
def inside(kind, u, v):
    """Return True if a point of the shape's own frame belongs to the shape."""
    far = u * u + v * v
    if far > 1024 * 1024:
        return False
    if kind == DISC:
        return True
    if kind == SQUARE:
        return max(abs(u), abs(v)) <= 720
    if kind == TRIANGLE:
        return _within(3, u, v, 512) == 3
    if kind == STAR:  # a pentagram: its points are on the inner side of all lines but one
        return _within(5, u, v, 316) >= 4
    if kind == RING:
        return far >= 573 * 573
    if kind == CROSS:
        return min(abs(u), abs(v)) <= 307 and max(abs(u), abs(v)) <= 973
    if kind == CRESCENT:
        return (u - 430) * (u - 430) + v * v > 819 * 819
    return _within(6, u, v, 887) == 6


@numba.njit(int64(int64, int64, int64, int64), cache=True)
def _within(sides, u, v, distance):
    """Count the lines around the centre, all ``distance`` away, that a point does not cross."""
    count = 0
    for k in range(sides):
        count += u * _NORMAL[sides, k, 0] + v * _NORMAL[sides, k, 1] <= distance * ONE
    return count


@numba.njit(UniTuple(int64, 4)(int64[::1], int64, int64, int64), cache=True)
def box(row, height, width, stretch):
    """Return the rows and columns a shape can reach (top, bottom, left, right; half-open).

    ``stretch`` widens it, in 1024ths of the radius.
    """
    reach = row[RADIUS] * stretch // 1024 + UNIT
    top = max((row[Y] - reach) // UNIT, 0)
    bottom = min((row[Y] + reach) // UNIT + 1, height)
    left = max((row[X] - reach) // UNIT, 0)
    right = min((row[X] + reach) // UNIT + 1, width)
    return top, bottom, left, right


@numba.njit(cache=True)
def whole_masks(shapes, height, width):
    """Return the mask of each shape as if it were alone.

    Args:
        shapes: One row per shape, int64 ``(n, COLUMNS)``.
        height: Height of the image.
        width: Width of the image.

    Returns:
        The masks, uint8 ``(n, W, H)``, column by column as run-length codes require, and the areas
        in pixels, int64.
    """
    masks = np.zeros((shapes.shape[0], width, height), np.uint8)
    areas = np.zeros(shapes.shape[0], np.int64)
    for k in range(shapes.shape[0]):
        row = shapes[k]
        top, bottom, left, right = box(row, height, width, 1024)
        for x in range(left, right):
            dx = x * UNIT + UNIT // 2 - row[X]
            for y in range(top, bottom):
                dy = y * UNIT + UNIT // 2 - row[Y]
                u = (row[UX] * dx + row[UY] * dy) >> 16
                v = (row[VX] * dx + row[VY] * dy) >> 16
                if inside(row[KIND], u, v):
                    masks[k, x, y] = 1
                    areas[k] += 1
    return masks, areas
