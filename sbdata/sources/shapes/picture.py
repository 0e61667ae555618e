"""Pictures: the textured shapes of a layout, painted on a background."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
from numba import int64, uint64

from sbdata.sources.shapes.draws import (
    TURN,
    UNIT,
    between,
    chance,
    colour,
    draw,
    hashed,
    smooth_noise,
    stream,
)
from sbdata.sources.shapes.layout import Layout
from sbdata.sources.shapes.outlines import (
    KIND,
    RADIUS,
    SIDE,
    UX,
    UY,
    VX,
    VY,
    X,
    Y,
    box,
    cosine,
    inside,
    sine,
)
from sbdata.sources.shapes.scene import background, clutter

_FIRST_SHAPE = 16  # streams below belong to the scene


def render(layout: Layout) -> npt.NDArray[np.uint8]:
    """Paint a layout.

    A pixel shows shape k exactly if ``layout.label_map`` is k + 1 there.

    Returns:
        RGB pixels, uint8 ``(H, W, 3)``.
    """
    canvas = background(layout.looks, layout.height, layout.width)
    clutter(layout.looks, canvas)
    columns = layout.label_map.T  # row x holds column x
    for k, row in enumerate(layout.shapes):
        _shadow(layout.looks, canvas, columns, row, k)
        _paint(layout.looks, canvas, columns, row, k)
    pixels: npt.NDArray[np.uint8] = _develop(layout.looks, canvas)
    return pixels


@numba.njit(int64(int64), cache=True)
def _wave(phase):
    """Return a triangle wave of period 1024 between -1024 and 1024."""
    return 1024 - 4 * abs((phase & 1023) - 512)


@numba.njit(int64(int64, int64), cache=True)
def _tiles(a, b):
    """Return the nearer of two edges, with the product of their signs."""
    near = min(abs(a), abs(b))
    return near if (a < 0) == (b < 0) else -near


@numba.njit(int64(int64, uint64, int64, int64), cache=True)
def texture(kind, key, p, q):
    """Return a class's texture at a point: above 0 is one colour, below 0 the other.

    Args:
        kind: Class of the shape.
        key: Random key for the random texture.
        p: First coordinate in 1024ths of the texture's period.
        q: Second coordinate in 1024ths of the texture's period.

    Returns:
        Value of about -1024..1024, with about the same slope at 0 in every texture.
    """
    if kind == 0:  # stripes
        return _wave(p)
    if kind == 1:  # checks
        return _tiles(_wave(p), _wave(q))
    if kind == 2:  # dots, every other row shifted
        dx = ((p + 512 * ((q >> 10) & 1)) & 1023) - 512
        dy = (q & 1023) - 512
        return (330 * 330 - dx * dx - dy * dy) >> 7
    if kind == 3:  # rings around a point of the shape
        return _wave(np.int64(np.sqrt(np.float64(p * p + q * q))))
    if kind == 4:  # zigzag
        return _wave(q + abs((p & 2047) - 1024) * 7 // 10)
    if kind == 5:  # grid of thin lines
        return 4 * (110 - min(512 - abs((p & 1023) - 512), 512 - abs((q & 1023) - 512)))
    if kind == 6:  # blotches
        return 3 * smooth_noise(key, p, q)
    p, q = p * 5 // 8, q * 5 // 8  # triangles are small tiles
    a, b = (p * 8192 + q * 14189) >> 14, (q * 14189 - p * 8192) >> 14
    return _tiles(_tiles(_wave(p + 256), _wave(a)), _wave(b)) * 8 // 5


@numba.njit(cache=True)
def _shadow(key, canvas, columns, row, number):
    """Let some shapes darken the area below and next to them: a core with a rim around it."""
    state = stream(key, 2 * number + _FIRST_SHAPE)
    if not chance(state, 60):
        return
    height, width = canvas.shape[:2]
    gain = 256 - between(state, 20, 75)
    cast = row.copy()
    shift = min(row[RADIUS] // 6, 7 * UNIT)
    cast[X] += between(state, -shift, shift)
    cast[Y] += between(state, -shift // 3, shift * 3 // 2)
    rim = 1024 + min(row[RADIUS] // 8, between(state, 1, 5) * UNIT) * 1024 // row[RADIUS]
    shrink = (1024 << 10) // rim
    top, bottom, left, right = box(cast, height, width, rim)
    for y in range(top, bottom):
        dy = y * UNIT + UNIT // 2 - cast[Y]
        for x in range(left, right):
            if columns[x, y] == number + 1:
                continue  # will be painted over
            dx = x * UNIT + UNIT // 2 - cast[X]
            u = (row[UX] * dx + row[UY] * dy) >> 16
            v = (row[VX] * dx + row[VY] * dy) >> 16
            times = inside(row[KIND], u, v) + inside(row[KIND], u * shrink >> 10, v * shrink >> 10)
            for _ in range(times):
                for c in range(3):
                    canvas[y, x, c] = canvas[y, x, c] * gain >> 8


@numba.njit(cache=True)
def _paint(key, canvas, columns, row, number):
    """Paint the visible pixels of one shape: two colours in its texture, and a light gradient."""
    height, width = canvas.shape[:2]
    state = stream(key, 2 * number + 1 + _FIRST_SHAPE)
    # Colours and light are drawn first and in the same way for all classes: they carry no class.
    luma, contrast = between(state, 85, 170), between(state, 70, 130)
    if chance(state, 50):
        contrast = -contrast
    one = np.empty(3, np.int64)
    two = np.empty(3, np.int64)
    colour(state, luma + contrast // 2, 60, one)
    colour(state, luma - contrast // 2, 60, two)
    steep, turn = draw(state, 90), draw(state, TURN)
    light_u, light_v = steep * cosine(turn) >> 14, steep * sine(turn) >> 14
    round_off = draw(state, 70)

    side = row[SIDE]
    period = side * between(state, 12, 40) // 100
    period = min(max(period, 4 * UNIT, side * 40 // 100 if side < 14 * UNIT else 0), 44 * UNIT)
    angle = draw(state, TURN)
    start_p, start_q = draw(state, 1 << 12), draw(state, 1 << 12)
    if row[KIND] == 3:  # rings must show their centre
        start_p = row[RADIUS] * between(state, -40, 40) // 100 * 1024 // period
        start_q = row[RADIUS] * between(state, -40, 40) // 100 * 1024 // period
    scale = (1024 << 16) // period
    turn_p, turn_q = cosine(angle) * scale >> 14, sine(angle) * scale >> 14
    sharp = period * 256 // (3 * UNIT)  # so that an edge is about a pixel wide for any period
    secret = np.uint64(draw(state, 1 << 31))

    top, bottom, left, right = box(row, height, width, 1024)
    for y in range(top, bottom):
        dy = y * UNIT + UNIT // 2 - row[Y]
        for x in range(left, right):
            if columns[x, y] != number + 1:
                continue
            dx = x * UNIT + UNIT // 2 - row[X]
            p = ((turn_p * dx + turn_q * dy) >> 16) + start_p
            q = ((turn_p * dy - turn_q * dx) >> 16) + start_q
            mix = texture(row[KIND], secret, p, q) * sharp >> 10
            mix = min(max(mix, -256), 256)
            u = (row[UX] * dx + row[UY] * dy) >> 16
            v = (row[VX] * dx + row[VY] * dy) >> 16
            gain = 256 + ((light_u * u + light_v * v) >> 10)
            gain += (round_off >> 1) - (round_off * (u * u + v * v) >> 20)
            for c in range(3):
                flat = (one[c] * (256 + mix) + two[c] * (256 - mix)) >> 9
                canvas[y, x, c] = flat * gain >> 8


@numba.njit(cache=True)
def _develop(key, canvas):
    """Light the scene unevenly, blur it slightly, add sensor noise and round to bytes."""
    height, width = canvas.shape[:2]
    state = stream(key, 3)
    slope_x, slope_y = between(state, -45, 45), between(state, -45, 45)  # 256ths, centre to edge
    centre = between(state, 5, 14)  # weight of a pixel; its neighbours have 1 and 1
    share = (1 << 20) // ((centre + 2) * (centre + 2))
    grain = between(state, 3, 26)  # of the noise
    secret = np.uint64(draw(state, 1 << 31))

    # Rows are treated as flat runs of numbers; neighbouring pixels are 3 numbers apart.
    flat = canvas.reshape(height, 3 * width)
    level = np.empty((height, 3 * width), np.int32)
    lit = np.empty(3 * width + 6, np.int32)
    across = np.empty(3 * width, np.int32)
    for i in range(3 * width):
        across[i] = slope_x * (2 * (i // 3) - width) // width
    for y in range(height):
        gain = 256 + slope_y * (2 * y - height) // height
        for i in range(3 * width):
            lit[i + 3] = flat[y, i] * (gain + across[i]) >> 8
        for c in range(3):
            lit[c], lit[3 * width + 3 + c] = lit[c + 3], lit[3 * width + c]
        for i in range(3 * width):
            level[y, i] = lit[i] + centre * lit[i + 3] + lit[i + 6]
    out = np.empty((height, 3 * width), np.uint8)
    wobble = np.empty(3 * width + 2, np.int32)
    byte = np.uint64(255)
    for y in range(height):
        above, below = max(y - 1, 0), min(y + 1, height - 1)
        for i in range(0, 3 * width, 4):  # 64 random bits are noise for four numbers
            bits = hashed(secret, i, y)
            for c in range(min(4, 3 * width - i)):
                # The sum of two bytes has a triangular distribution.
                pair = (bits & byte) + ((bits >> np.uint64(8)) & byte)
                wobble[i + c] = (np.int64(pair) - 255) * grain >> 2
                bits >>= np.uint64(16)
        for i in range(3 * width):
            value = level[above, i] + centre * level[y, i] + level[below, i]
            value = ((value * share >> 16) + wobble[i]) >> 8
            out[y, i] = min(max(value, 0), 255)
    return out.reshape(height, width, 3)
