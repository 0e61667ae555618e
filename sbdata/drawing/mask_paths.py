"""Masks as SVG paths, in coordinates of the image's pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from sbdata.drawing.svg import element

Mask = npt.NDArray[np.bool_]


def filled(mask: Mask, class_: str) -> Markup | str:
    """Return a mask as a path with one rectangle per run of pixels in a row."""
    if not mask.any():
        return ""
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    starts, stops = np.argwhere(steps == 1), np.argwhere(steps == -1)
    runs = zip(starts.tolist(), stops.tolist(), strict=True)  # both in scan order
    path = "".join(f"M{x} {y}H{end}v1H{x}z" for (y, x), (_, end) in runs)
    return element("path", d=path, class_=class_, shape_rendering="crispEdges")


def outlined(mask: Mask, class_: str, stroke: float) -> Markup | str:
    """Return the borders of a mask's pixels, drawn twice: a dark casing below the line itself."""
    if not mask.any():
        return ""
    path = outline_path(mask)
    return element(
        "g",
        element("path", d=path, class_="casing", stroke_width=f"{2.4 * stroke:.3g}"),
        element("path", d=path, stroke_width=f"{stroke:.3g}"),
        class_=class_,
    )


def outline_path(mask: Mask) -> str:
    """Return the SVG path of all pixel edges between a mask and its outside.

    The sides of the array are not edges: the mask may continue beyond them.

    >>> outline_path(np.array([[True, True, False], [False, False, False]]))
    'M0 1H2M2 0V1'
    """
    return "".join(
        [f"M{a} {line}H{b}" for line, a, b in _edge_runs(mask)]
        + [f"M{line} {a}V{b}" for line, a, b in _edge_runs(mask.T)]
    )


def contour_path(mask: Mask) -> str:
    """Return the SVG path of a mask's borders as closed lines, to be filled or stroked.

    Unlike :func:`outline_path` it follows the sides of the array, too. It is a third as long,
    because each step is relative to the one before.

    >>> contour_path(np.array([[True, True, False], [False, True, False]]))
    'M0 0h2v2h-1v-1h-1z'
    """
    if not mask.any():
        return ""
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.int8)
    padded[1:-1, 1:-1] = mask
    ends: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # The mask is to the right of its border, which runs to the right above it, down beside it, ...
    for y, left, right, above in _borders(padded):
        start, end = (left, right) if above else (right, left)
        ends.setdefault((start, y), []).append((end, y))
    for x, top, bottom, before in _borders(padded.T):
        start, end = (bottom, top) if before else (top, bottom)
        ends.setdefault((x, start), []).append((x, end))
    parts = []
    while ends:
        first = here = next(iter(ends))
        steps: list[str] = []
        while not steps or here != first:
            there = ends[here].pop()
            if not ends[here]:
                del ends[here]
            (x, y), (to_x, to_y) = here, there
            steps.append(f"h{to_x - x}" if to_y == y else f"v{to_y - y}")
            here = there
        parts.append(f"M{first[0]} {first[1]}{''.join(steps[:-1])}z")
    return "".join(parts)


def _borders(padded: npt.NDArray[np.int8]) -> Iterator[tuple[int, int, int, bool]]:
    """Yield the straight borders between the rows of a mask with a margin of zeros.

    Each is a line, its first and end column, and whether the mask is below it.
    """
    steps = np.diff(padded, axis=0)
    lines, columns = np.nonzero(np.diff(steps, axis=1))  # where borders begin or end, in scan order
    kinds = steps[lines, columns + 1]
    found = (values.tolist() for values in (lines, columns, columns[1:], kinds))
    return ((y, first, end, kind > 0) for y, first, end, kind in zip(*found, strict=False) if kind)


def _edge_runs(mask: Mask) -> list[tuple[int, int, int]]:
    """Return the straight runs of the edges between rows: line, first and end column."""
    edges = np.pad((mask[1:] != mask[:-1]).astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(edges, axis=1)
    starts, stops = np.argwhere(steps == 1).tolist(), np.argwhere(steps == -1).tolist()
    return [(line + 1, a, b) for (line, a), (_, b) in zip(starts, stops, strict=True)]
