"""Masks that are hard to label, and random ones for hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


def spiral(side: int) -> np.ndarray:
    """One path of class 1 that winds inwards, with a gap of one pixel between its turns."""
    walls = np.pad(np.zeros((side, side), np.uint8), 2, constant_values=1)
    walls[1:-1, 1:-1] = 0  # the path may run along the border
    y, x, dy, dx = 2, 2, 0, 1
    walls[y, x] = 1
    for _ in range(4 * side):
        while not (walls[y + dy, x + dx] or walls[y + 2 * dy, x + 2 * dx]):
            y, x = y + dy, x + dx
            walls[y, x] = 1
        dy, dx = dx, -dy
    return walls[2:-2, 2:-2]


def serpentine(height: int, width: int) -> np.ndarray:
    """One path that runs to and fro: every second row whole, joined at alternating ends."""
    mask = np.zeros((height, width), np.uint8)
    mask[::2] = 1
    mask[1::4, -1] = 1
    mask[3::4, 0] = 1
    return mask


def comb(height: int, width: int, joined: str) -> np.ndarray:
    """Teeth in every second column, joined in the first or the last row."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, ::2] = 1
    mask[0 if joined == "first" else -1] = 1
    return mask


def checkerboard(height: int, width: int) -> np.ndarray:
    """Classes 1 and 2 that each hang together at corners only."""
    return (np.indices((height, width)).sum(axis=0) % 2 + 1).astype(np.uint8)


def dots(height: int, width: int) -> np.ndarray:
    """Single pixels that do not touch."""
    mask = np.zeros((height, width), np.uint8)
    mask[::2, ::2] = 1
    return mask


def diagonals(side: int) -> np.ndarray:
    """Diagonals that rise to the right, apart from each other."""
    rows, columns = np.indices((side, side))
    return ((rows + columns) % 3 == 0).astype(np.uint8)


SHAPES = {
    "spiral": spiral(13),
    "spiral turned": np.ascontiguousarray(spiral(16)[::-1, ::-1]),
    "serpentine": serpentine(15, 8),
    "serpentine upright": np.ascontiguousarray(serpentine(11, 9).T),
    "comb above": comb(9, 12, "first"),
    "comb below": comb(9, 12, "last"),
    "checkerboard": checkerboard(8, 11),
    "dots": dots(9, 9),
    "diagonals": diagonals(12),
    "full": np.full((7, 9), 3, np.uint8),
    "background": np.zeros((4, 5), np.uint8),
    "void": np.full((4, 5), 255, np.uint8),
    "one pixel": np.full((1, 1), 254, np.uint8),
    "one row": np.array([[1, 1, 0, 1, 255, 1, 2, 2]], np.uint8),
    "one column": np.array([[1], [1], [0], [1], [255], [1], [2], [2]], np.uint8),
}


@st.composite
def batches(draw):
    """Draw ``(N, H, W)`` masks of up to 9 x 9 pixels, from rather full to rather empty."""
    n, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kinds = draw(
        st.sampled_from([(0, 1), (0, 1, 2), (0, 0, 0, 1, 1, 2, 255), (1, 1, 1, 0), (0, 254, 255)])
    )
    size = n * height * width
    drawn = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8)
    return np.array(kinds, np.uint8)[drawn % len(kinds)].reshape(n, height, width)
