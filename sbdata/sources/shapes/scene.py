"""Backgrounds: 1/f noise, and clutter that belongs to no class.

A canvas is an int32 ``(H, W, 3)`` array of RGB in 16ths of a level.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import int32, int64, uint64, void

from sbdata.sources.shapes.draws import (
    STATE,
    TURN,
    between,
    chance,
    colour,
    draw,
    hashed,
    smooth_noise,
    stream,
    weighted,
)
from sbdata.sources.shapes.outlines import cosine, sine

_OCTAVES = 8  # the coarsest noise has one value every 128 pixels

# Percent of clutter that is a blob, a polygon, a scribble, a line, a soft shadow or debris.
_CLUTTER = np.array([22, 22, 16, 14, 12, 14], np.int64)


@numba.njit(int32[:, ::1](STATE, int64, int64, int64, int64), cache=True)
def noise(state, height, width, finest, decay):
    """Return 1/f noise, int32 ``(H, W)``: octaves of random lattices of about equal strength.

    In two dimensions, an amplitude spectrum that falls as 1/f has the same variance in every
    octave. Each lattice is the next coarser one interpolated to double resolution, plus new random
    values.

    Args:
        state: State of the random generator.
        height: Height in pixels.
        width: Width in pixels.
        finest: Octave at which new values end (0: pixels, 1: every other pixel, ...).
        decay: Strength of an octave in 16ths of the next coarser one's; below 16 is smoother.
    """
    highs = np.empty(_OCTAVES, np.int64)
    wides = np.empty(_OCTAVES, np.int64)
    highs[0], wides[0] = height, width
    for level in range(1, _OCTAVES):
        highs[level] = (highs[level - 1] + 1) // 2 + 2
        wides[level] = (wides[level - 1] + 1) // 2 + 2
    amplitude = 1 << 13
    key = np.uint64(draw(state, 1 << 31))
    above = np.zeros((highs[-1] // 2 + 3, wides[-1] // 2 + 3), np.int32)
    for level in range(_OCTAVES - 1, -1, -1):
        high, wide = highs[level], wides[level]
        field = np.empty((high, wide), np.int32)
        row = np.empty(above.shape[1], np.int32)
        for y in range(high):  # a value is three quarters the nearer of two coarser ones
            near = (y >> 1) + 1
            next_near = near + 1 if y & 1 else near - 1
            for x in range(row.size):
                row[x] = 3 * above[near, x] + above[next_near, x]
            for x in range(wide >> 1):
                field[y, 2 * x] = (3 * row[x + 1] + row[x]) >> 4
                field[y, 2 * x + 1] = (3 * row[x + 1] + row[x + 2]) >> 4
            if wide & 1:
                x = wide >> 1
                field[y, wide - 1] = (3 * row[x + 1] + row[x]) >> 4
        if level >= finest:
            for y in range(high):
                for x in range(wide):
                    value = np.int64(hashed(key, x, y + (level << 16)) >> np.uint64(48)) - 32768
                    field[y, x] += np.int32((value * amplitude) >> 15)
        amplitude = amplitude * decay // 16
        above = field
    return above


@numba.njit(cache=True)
def background(key, height, width):
    """Return a new canvas of coloured 1/f noise."""
    state = stream(key, 1)
    canvas = np.empty((height, width, 3), np.int32)
    base = np.empty(3, np.int64)
    colour(state, between(state, 70, 185), 45, base)
    light = noise(state, height, width, 0, between(state, 13, 16))
    red = noise(state, height, width, 3, 15)
    blue = noise(state, height, width, 3, 15)
    strength, tint = between(state, 14, 44), between(state, 4, 30)
    for y in range(height):
        for x in range(width):
            common = strength * light[y, x]
            canvas[y, x, 0] = base[0] + ((common + tint * red[y, x]) >> 9)
            canvas[y, x, 1] = base[1] + (common >> 9)
            canvas[y, x, 2] = base[2] + ((common + tint * blue[y, x]) >> 9)
    return canvas


@numba.njit(cache=True)
def clutter(key, canvas):
    """Draw objects that are none of the eight shapes: irregular, plain or streaked, never tiled."""
    state = stream(key, 2)
    for _ in range(between(state, 4, 18)):
        kind = weighted(state, _CLUTTER)
        if kind == 0:
            _blob(state, canvas)
        elif kind == 1:
            _polygon(state, canvas)
        elif kind == 2:
            _scribble(state, canvas)
        elif kind == 3:
            _line(state, canvas)
        elif kind == 4:
            _shade(state, canvas)
        else:
            _debris(state, canvas)


@numba.njit(cache=True)
def _size(state, canvas):
    """Draw a random clutter radius in pixels, small ones more often, up to a third of the image."""
    largest = max(canvas.shape[0], canvas.shape[1]) // 3
    return 4 + (draw(state, largest) * draw(state, largest) // largest)


@numba.njit(void(int32[:, :, ::1], int64, int64, int64[::1], int64, int64), cache=True)
def _paint(canvas, y, x, paint, share, extra):
    """Mix ``share`` 256ths of a colour, made lighter by ``extra``, into a pixel."""
    for c in range(3):
        old = canvas[y, x, c]
        canvas[y, x, c] = old + (((paint[c] + extra - old) * share) >> 8)


@numba.njit(int64(uint64, int64, int64, int64, int64), cache=True)
def _grain(key, angle, scale, x, y):
    """Return streaks of light and dark along one direction, like wood or brushed metal."""
    along = (x * cosine(angle) + y * sine(angle)) >> 14
    across = (y * cosine(angle) - x * sine(angle)) >> 14
    return smooth_noise(key, across * 512 // scale, along * 64 // scale)


@numba.njit(cache=True)
def _blob(state, canvas):
    """Draw a lump with an uneven, more or less soft outline."""
    height, width = canvas.shape[:2]
    radius = _size(state, canvas)
    cx, cy, angle = draw(state, width), draw(state, height), draw(state, TURN)
    narrow = between(state, 200, 600)
    key = np.uint64(draw(state, 1 << 31))
    soft = between(state, 2, 24)
    opaque, depth = between(state, 110, 250), between(state, 0, 500)
    lump = between(state, 700, 1400)
    paint = np.empty(3, np.int64)
    colour(state, between(state, 40, 215), 70, paint)
    reach = radius * 3 // 2 + 2
    for y in range(max(cy - reach, 0), min(cy + reach, height)):
        for x in range(max(cx - reach, 0), min(cx + reach, width)):
            u = ((x - cx) * cosine(angle) + (y - cy) * sine(angle)) // (radius << 4)
            v = ((y - cy) * cosine(angle) - (x - cx) * sine(angle)) // (radius << 4)
            far = (u * u + v * v * 1024 // narrow) >> 10
            far += smooth_noise(key, u * 3 // 4, v) * lump >> 10
            if far < 1024:
                share = min((1024 - far) * radius // (soft * 2), 256) * opaque >> 8
                _paint(canvas, y, x, paint, share, depth * (u + v) >> 10)


@numba.njit(cache=True)
def _polygon(state, canvas):
    """Fill an irregular, mostly concave polygon, plain, graded or streaked."""
    height, width = canvas.shape[:2]
    radius = _size(state, canvas) * 3 // 2
    corners = between(state, 5, 8)
    cx, cy, angle = draw(state, width), draw(state, height), draw(state, TURN)
    narrow = between(state, 300, 1024)
    px = np.empty(corners, np.int64)
    py = np.empty(corners, np.int64)
    top, bottom = height * 16, 0
    for k in range(corners):
        turn = (k * TURN + draw(state, TURN * 3 // 4)) // corners
        # The first corner is a notch, so that the outline is never regular and convex.
        share = between(state, 130, 380) if k == 0 else between(state, 400, 1024)
        away = radius * share >> 6  # 16ths of a pixel
        a = away * cosine(turn) >> 14
        b = (away * sine(turn) >> 14) * narrow >> 10
        px[k] = cx * 16 + ((a * cosine(angle) - b * sine(angle)) >> 14)
        py[k] = cy * 16 + ((a * sine(angle) + b * cosine(angle)) >> 14)
        top, bottom = min(top, py[k]), max(bottom, py[k])
    paint = np.empty(3, np.int64)
    colour(state, between(state, 40, 215), 70, paint)
    opaque = between(state, 130, 256)
    key = np.uint64(draw(state, 1 << 31))
    streaks = between(state, 150, 900) if chance(state, 40) else 0
    fade, scale = between(state, -900, 900), between(state, 2, 10)
    crossings = np.empty(corners, np.int64)
    for y in range(max(top // 16, 0), min(bottom // 16 + 1, height)):
        row = y * 16 + 8
        found = 0
        for k in range(corners):
            j = (k + 1) % corners
            if (py[k] <= row) != (py[j] <= row):
                at = px[k] + (row - py[k]) * (px[j] - px[k]) // (py[j] - py[k])
                place = found
                while place and crossings[place - 1] > at:
                    crossings[place] = crossings[place - 1]
                    place -= 1
                crossings[place] = at
                found += 1
        for k in range(0, found, 2):
            for x in range(
                max((crossings[k] + 8) // 16, 0), min((crossings[k + 1] + 8) // 16, width)
            ):
                extra = fade * (y - cy) // radius
                if streaks:
                    extra += _grain(key, angle, scale, x, y) * streaks >> 10
                _paint(canvas, y, x, paint, opaque, extra)


@numba.njit(
    void(int32[:, :, ::1], int64, int64, int64, int64, int64, int64[::1], int64), cache=True
)
def _stroke(canvas, ax, ay, bx, by, thick, paint, share):
    """Draw a straight stroke with round ends; all lengths in quarters of a pixel."""
    height, width = canvas.shape[:2]
    ex, ey = bx - ax, by - ay
    square = ex * ex + ey * ey
    limit = thick * thick
    for y in range(max((min(ay, by) - thick) // 4, 0), min((max(ay, by) + thick) // 4 + 1, height)):
        dy = 4 * y + 2 - ay
        for x in range(
            max((min(ax, bx) - thick) // 4, 0), min((max(ax, bx) + thick) // 4 + 1, width)
        ):
            dx = 4 * x + 2 - ax
            along = dx * ex + dy * ey
            if along <= 0:
                hit = dx * dx + dy * dy <= limit
            elif along >= square:
                hit = (dx - ex) * (dx - ex) + (dy - ey) * (dy - ey) <= limit
            else:
                cross = dx * ey - dy * ex
                hit = cross * cross <= limit * square
            if hit:
                _paint(canvas, y, x, paint, share, 0)


@numba.njit(cache=True)
def _scribble(state, canvas):
    """Draw a wandering line."""
    height, width = canvas.shape[:2]
    x, y, angle = draw(state, width) * 4, draw(state, height) * 4, draw(state, TURN)
    thick = between(state, 2, 11)
    step = between(state, 16, 70)
    bend = between(state, 30, 260)
    paint = np.empty(3, np.int64)
    colour(state, between(state, 30, 225), 70, paint)
    share = between(state, 120, 250)
    for _ in range(between(state, 5, 30)):
        angle += between(state, -bend, bend)
        nx, ny = x + (step * cosine(angle) >> 14), y + (step * sine(angle) >> 14)
        _stroke(canvas, x, y, nx, ny, thick, paint, share)
        x, y = nx, ny


@numba.njit(cache=True)
def _line(state, canvas):
    """Draw a long straight line, like a wire, a mast or an edge."""
    height, width = canvas.shape[:2]
    x, y, angle = draw(state, width) * 4, draw(state, height) * 4, draw(state, TURN)
    long = 4 * between(state, width // 8, width)
    paint = np.empty(3, np.int64)
    colour(state, between(state, 30, 225), 60, paint)
    ex, ey = long * cosine(angle) >> 14, long * sine(angle) >> 14
    thick, share = between(state, 1, 14), between(state, 110, 256)
    _stroke(canvas, x, y, x + ex, y + ey, thick, paint, share)


@numba.njit(cache=True)
def _shade(state, canvas):
    """Darken or lighten a large soft patch."""
    height, width = canvas.shape[:2]
    radius = between(state, width // 8, width // 2)
    cx, cy = draw(state, width), draw(state, height)
    depth = between(state, -140, 90)  # 256ths
    for y in range(max(cy - radius, 0), min(cy + radius, height)):
        for x in range(max(cx - radius, 0), min(cx + radius, width)):
            near = 1024 - ((x - cx) * (x - cx) + (y - cy) * (y - cy)) * 1024 // (radius * radius)
            if near > 0:
                gain = 256 + (depth * near * near >> 20)
                for c in range(3):
                    canvas[y, x, c] = canvas[y, x, c] * gain >> 8


@numba.njit(cache=True)
def _debris(state, canvas):
    """Scatter small irregular crumbs, so that not every small object is a shape."""
    height, width = canvas.shape[:2]
    cx, cy = draw(state, width) * 4, draw(state, height) * 4
    spread = 4 * between(state, 12, 80)
    paint = np.empty(3, np.int64)
    colour(state, between(state, 30, 225), 70, paint)
    for _ in range(between(state, 4, 22)):
        x = cx + (between(state, -spread, spread) + between(state, -spread, spread)) // 2
        y = cy + (between(state, -spread, spread) + between(state, -spread, spread)) // 2
        thick, share = between(state, 2, 7), between(state, 110, 256)
        for _ in range(between(state, 1, 3)):
            nx, ny = x + between(state, -20, 20), y + between(state, -20, 20)
            _stroke(canvas, x, y, nx, ny, thick, paint, share)
            x, y = nx, ny
