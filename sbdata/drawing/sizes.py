"""Figure of a dataset card: the object sizes of a dataset compared with those of its source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup

from sbdata.drawing.areas import AreaAxis
from sbdata.drawing.cells import HeatCell, heat_map
from sbdata.drawing.svg import Figure, at, element, figure, line, rect, shortened, text
from sbdata.formatting import NOTHING
from sbdata.plurals import count
from sbdata.sizes import SizeBins

_WIDTH = 480  # a page shows the file at this width or, on a phone, slightly smaller
_PLOT = 190


def size_distribution(
    name: str,
    counts: Mapping[str, Mapping[str, int]],
    areas: Mapping[str, Sequence[int]],
    edges: Sequence[float],
    bins: SizeBins,
) -> Figure:
    """Draw the areas of a dataset and of its source as histograms, and counts by class and size.

    Args:
        name: Name of the dataset.
        counts: Number of instances by class and size.
        areas: Two histograms by legend label, of the source and of the dataset.
        edges: Bin edges of the histograms, in pixels.
        bins: Size bins.
    """
    present = [k for k in range(len(edges) - 1) if any(found[k] for found in areas.values())]
    ends = [edges[present[0]], edges[present[-1] + 1]] if present else [edges[0], edges[-1]]
    ends += [
        edge * factor for edge in bins.pixel_edges for factor in (0.25, 4)
    ]  # with room around them
    axis = AreaAxis(min(ends), max(ends), 40, _WIDTH - 14, bins)
    legend = [
        part
        for k, (label, found) in enumerate(areas.items())
        for part in _key(k, f"{label}: {count(sum(found), 'instance')}")
    ]
    top = axis.head_height
    bottom = top + _PLOT
    shares = [[n / max(sum(found), 1) * 100 for n in found] for found in areas.values()]
    step = _step(max(max(found) for found in shares))
    highest = step * 4
    parts: list[Markup] = []
    for k in range(5):
        y = bottom - _PLOT * k / 4
        parts.append(line(axis.left, y, axis.right, y, "grid"))
        parts.append(text(axis.left - 8, y + 4, f"{step * k:g}", "end quiet"))
    parts += axis.head(bottom)
    for k, found in enumerate(shares):
        outline = _outline(found, edges, axis, bottom, _PLOT / highest)
        parts.append(element("path", d=outline, class_=("source", "curve")[k]))
    parts += axis.foot(bottom, bottom + 20)
    parts.append(element("g", *legend, transform=f"translate(0 {bottom + 54:g})"))
    parts = [
        text(0, 14, "Share of instances by visible area (%)", "start strong"),
        element("g", *parts, transform="translate(0 28)"),
    ]
    cells_top = bottom + 148
    classes = list(counts)
    cells = [
        [_cell(f"{of_class}, {size}", n, counts) for size, n in row.items()]
        for of_class, row in counts.items()
    ]
    title = text(0, cells_top - 8, "Instances by class and size", "start strong")
    drawn, _, tall = heat_map(classes, cells, bins, _WIDTH, least_cell=40)
    parts += [title, element("g", *drawn, transform=f"translate(0 {cells_top + 8:g})")]
    total = sum(sum(row.values()) for row in counts.values())
    said = (
        f"Sizes of {name}: {count(total, 'instance')}, their areas and those of its source, and "
        f"their number by size in {count(len(classes), 'class', 'classes')}."
    )
    return figure(said, _WIDTH, cells_top + 8 + tall, parts)


def _key(place: int, label: str) -> list[Markup]:
    y = 18 * place
    return [
        rect(40, y, 22, 11, "source key") if place == 0 else line(40, y + 6, 62, y + 6, "curve"),
        text(70, y + 10, shortened(label, _WIDTH - 84), "start", full=label),
    ]


def _step(highest: float) -> float:
    """Return the round quarter of an axis that reaches a percentage.

    >>> _step(9.3), _step(41), _step(0)
    (2.5, 12.5, 1)
    """
    return next((s for s in (1, 2.5, 5, 7.5, 10, 12.5, 15, 20) if highest <= 4 * s), 25)


def _outline(
    shares: Sequence[float], edges: Sequence[float], axis: AreaAxis, bottom: float, scale: float
) -> str:
    """Return the path of a histogram's steps within the range of the axis."""
    steps = [f"M{at(axis.left)} {at(bottom)}"]
    for share, (low, high) in zip(shares, pairwise(edges), strict=True):
        if high > axis.low and low < axis.high:
            y = bottom - share * scale
            a, b = axis.x(max(low, axis.low)), axis.x(min(high, axis.high))
            steps.append(f"H{at(a)}V{at(y)}H{at(b)}")
    return "".join(steps) + f"V{at(bottom)}"


def _cell(said: str, n: int, counts: Mapping[str, Mapping[str, int]]) -> HeatCell:
    """Return a cell coloured by the logarithm of its number."""
    if not n:
        return HeatCell(f"{said}: none", None, NOTHING)
    most = max(max(row.values()) for row in counts.values())
    step = round(9 * math.log(n + 1) / math.log(most + 1))
    return HeatCell(f"{said}: {n:,}", step, f"{n:,}")
