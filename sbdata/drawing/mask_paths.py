"""Masks as SVG paths, in coordinates of the image's pixels."""

from __future__ import annotations

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


def _edge_runs(mask: Mask) -> list[tuple[int, int, int]]:
    """Return the straight runs of the edges between rows: line, first and end column."""
    edges = np.pad((mask[1:] != mask[:-1]).astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(edges, axis=1)
    starts, stops = np.argwhere(steps == 1).tolist(), np.argwhere(steps == -1).tolist()
    return [(line + 1, a, b) for (line, a), (_, b) in zip(starts, stops, strict=True)]
