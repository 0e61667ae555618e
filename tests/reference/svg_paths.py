"""Winding numbers of the pixels in paths of ``M``, ``h``, ``v`` and ``z``, slow and plain."""

from __future__ import annotations

import re

import numpy as np


def windings(path: str, height: int, width: int) -> np.ndarray:
    """Return how often the path runs around the centre of each pixel, clockwise on the screen.

    A ray from the centre to the left meets the upright steps; one upwards adds 1, one downwards
    takes 1 away.
    """
    found = np.zeros((height, width), int)
    loops = re.findall(r"M(\d+) (\d+)((?:[hv]-?\d+)+)z", path)
    assert "".join(f"M{x} {y}{steps}z" for x, y, steps in loops) == path
    for x, y, steps in loops:
        points = [(int(x), int(y))]
        for kind, by in re.findall(r"([hv])(-?\d+)", steps):
            a, b = points[-1]
            points.append((a + int(by), b) if kind == "h" else (a, b + int(by)))
        for (a, b), (to_a, to_b) in zip(points, [*points[1:], points[0]], strict=True):
            assert a == to_a or b == to_b
            if a == to_a:
                found[min(b, to_b) : max(b, to_b), a:] += 1 if to_b < b else -1
    return found
