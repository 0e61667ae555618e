"""Figures of a score: IA by area, IA by class and size, region precision and IA."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup

from sbdata.drawing.areas import AreaAxis
from sbdata.drawing.cells import HeatCell, heat_map
from sbdata.drawing.svg import (
    LETTER,
    WIDE,
    Figure,
    at,
    element,
    figure,
    hatching,
    kept_inside,
    line,
    polygon,
    rect,
    shortened,
    text,
    upright,
)
from sbdata.formatting import NOTHING, limits, number, span
from sbdata.metrics import Summary
from sbdata.metrics.bootstrap import FEW, Interval
from sbdata.metrics.summary import Cell, CurvePoint
from sbdata.plurals import count

# --- IA by area ---------------------------------------------------------------------------------


def ia_by_area(summary: Summary, width: int = WIDE) -> Figure:
    """Draw the mean IA by half octaves of area, with n as bars below.

    Points with fewer than ten instances are hollow. The line is broken at empty half octaves. The
    limits of the sizes are marked and the sizes named.
    """
    name = "IA by area of the instance"
    points, bins, edges = summary.curve, summary.bins, summary.bins.pixel_edges
    if not points:
        why = "No instance to measure."
        return figure(f"{name}: {why}", width, 60, [text(width / 2, 34, why, "middle quiet")])
    low = min(points[0].low, edges[0] / 2 if edges else points[0].low)
    high = max(points[-1].high, edges[-1] * 2 if edges else points[-1].high)
    axis = AreaAxis(low, high, 40, width - 14, bins)
    top = axis.head_height
    bottom = top + (250 if width >= WIDE else 200)
    bars_bottom = bottom + 58
    labels, labels_bottom = _bar_labels(points, axis, bars_bottom)
    parts = [
        *_share_grid(axis.left, axis.right, top, bottom),
        *axis.head(bars_bottom),
        *_curve(points, axis, top, bottom),
        *_bars(points, axis, bottom + 14, bars_bottom),
        *labels,
        text(axis.left - 8, bars_bottom, "n", "end quiet"),
        *axis.foot(bars_bottom, labels_bottom + 18),
    ]
    present = [point for point in points if point.n]
    first, last = present[0], present[-1]
    said = (
        f"{name}: mean IA of {count(sum(p.n for p in points), 'instance')} by half octaves of "
        f"area, from {number(first.value, 2)} at {first.low:,} pixels to "
        f"{number(last.value, 2)} at {last.low:,}."
    )
    return figure(said, width, labels_bottom + 44, parts)


def _curve(
    points: Sequence[CurvePoint], axis: AreaAxis, top: float, bottom: float
) -> Iterable[Markup]:
    steps, marks, pen_down = [], [], False
    for point in points:
        if point.value is None:
            pen_down = False
            continue
        x, y = _middle(point, axis), bottom - (bottom - top) * point.value
        steps.append(f"{'L' if pen_down else 'M'}{at(x)} {at(y)}")
        pen_down = True
        said = (
            f"{point.low:,} to {point.high - 1:,} pixels: IA {number(point.value)}, n {point.n:,}"
        )
        class_ = "point few" if point.n < FEW else "point"
        marks.append(element("circle", element("title", said), cx=x, cy=y, r=4, class_=class_))
    return [element("path", d=" ".join(steps), class_="curve"), *marks]


def _middle(point: CurvePoint, axis: AreaAxis) -> float:
    return axis.x(math.sqrt(point.low * point.high))


def _bars(
    points: Sequence[CurvePoint], axis: AreaAxis, top: float, bottom: float
) -> Iterable[Markup]:
    most = max(point.n for point in points)
    yield line(axis.x(points[0].low), bottom, axis.x(points[-1].high), bottom, "grid")
    for point in points:
        if point.n:
            x, end = axis.x(point.low) + 0.5, axis.x(point.high) - 0.5
            tall = max(1.0, (bottom - top) * point.n / most)
            yield rect(x, bottom - tall, max(end - x, 0.5), tall, "bar")


def _bar_labels(
    points: Sequence[CurvePoint], axis: AreaAxis, bars_bottom: float
) -> tuple[list[Markup], float]:
    """Return n of every bar, vertical if there is no room for horizontal text, and their end."""
    labels = [(_middle(point, axis), f"{point.n:,}") for point in points if point.n]
    # This includes the narrow half octaves of the smallest areas, whose steps of whole pixels are
    # uneven.
    room = min((b[0] - a[0] for a, b in pairwise(labels)), default=math.inf)
    widest = max(len(label) for _, label in labels) * LETTER
    if room > widest + 3:
        y = bars_bottom + 15
        return [text(x, y, label, "middle quiet fine") for x, label in labels], y + 3
    shown: list[Markup] = []
    last = -math.inf
    for x, label in labels:
        if x - last >= 10:  # upright figures need ten pixels each; the table beside has them all
            last = x
            shown.append(upright(x + 4, bars_bottom + 5, label, "end quiet fine"))
    return shown, bars_bottom + 6 + widest


def _share_grid(left: float, right: float, top: float, bottom: float) -> Iterable[Markup]:
    """Yield the lines and labels of an axis from 0 to 1, and its name."""
    yield text(left - 8, top - 10, "IA", "end quiet")
    for share in (0, 0.2, 0.4, 0.6, 0.8, 1):
        y = bottom - (bottom - top) * share
        yield line(left, y, right, y, "grid")
        yield text(left - 8, y + 4, f"{share:g}", "end quiet")


# --- class x size -------------------------------------------------------------------------------


def ia_by_class_and_size(summary: Summary, class_names: Sequence[str], width: int = WIDE) -> Figure:
    """Draw IA by class and size, with n in the cells; hatched if n < 10, a dash if n = 0.

    Args:
        summary: Summary of the scores.
        class_names: Names of the classes 1..C.
        width: Width in pixels. A wide figure shows many classes in two columns.
    """
    bins = summary.bins
    names = [class_names[of_class.class_id - 1] for of_class in summary.classes]
    cells = [
        [_heat_cell(of_class.ia[f"ia_{size}"], f"{name}, {size}") for size in bins.names]
        for name, of_class in zip(names, summary.classes, strict=True)
    ]
    parts, wide, bottom = heat_map(names, cells, bins, width)
    legend, height = _heat_legend(bottom + 14, wide)
    said = (
        f"IA by class and size: {count(len(summary.classes), 'class', 'classes')} by "
        f"{count(len(bins.names), 'size')}. The table by class has the same values."
    )
    return figure(said, wide, height, [*parts, *legend])


def heat_step(value: float) -> int:
    """Return the index of the colour, of ten, for a value between 0 and 1.

    >>> heat_step(0.0), heat_step(0.55), heat_step(1.0)
    (0, 5, 9)
    """
    return min(9, int(value * 10))


def _heat_cell(cell: Cell, said: str) -> HeatCell:
    if cell.value is None:
        return HeatCell(f"{said}: no instance", None, NOTHING)
    n = f"n {cell.n:,}"
    return HeatCell(
        said=f"{said}: IA {number(cell.value)}, {n}",
        step=heat_step(cell.value),
        strong=number(cell.value, 2),
        fine=n,
        hatched=cell.n < FEW,
    )


def _heat_legend(y: float, width: float) -> tuple[list[Markup], float]:
    parts = [text(0, y + 12, "IA  0", "start quiet")]
    parts += [element("g", rect(34 + 14 * k, y, 14, 16), class_=f"cell h{k}") for k in range(10)]
    parts.append(text(180, y + 12, "1", "start quiet"))
    x, beside = (208.0, y) if width >= 430 else (0.0, y + 24)
    sample = [rect(x, beside, 24, 16), hatching(x, beside, 24, 16)]
    parts.append(element("g", *sample, class_="cell h1"))
    parts.append(text(x + 30, beside + 12, f"n under {FEW}", "start quiet"))
    parts.append(text(x + 112, beside + 12, f"{NOTHING}  no instance", "start quiet"))
    return parts, beside + 22


# --- region precision and IA --------------------------------------------------------------------

_Row = tuple[str, str, str, float | None, str]
"""Name, label, mark, value and number of one row."""


def precision_by_size(
    summary: Summary, intervals: Mapping[str, Interval | None], width: int = WIDE
) -> Figure:
    """Draw IA and region precision of each size side by side, with their 95 % intervals.

    The IA of all sizes is that of ``ia_objects``, since background has no region.
    """
    bins = summary.bins
    stacked = width < WIDE
    left, right = (8.0, width - 8.0) if stacked else (150.0, width - 200.0)
    row_height = 38 if stacked else 22
    parts: list[Markup] = []
    tracks: list[Markup] = []
    y = 4.0
    for k, suffix in enumerate(("", *(f"_{name}" for name in bins.names))):
        size = bins.names[k - 1] if k else "all sizes, without background"
        beside = f"({limits(bins, k - 1)})" if k else ""
        heading = element("tspan", shortened(size, width - 120), class_="strong")
        parts.append(text(0, y + 16, (heading, _beside(beside)), "start", full=size))
        y += 24
        for key, label, mark, value, n in _precision_rows(summary, suffix):
            shown = number(value)
            if stacked:
                track = y + 27
                strong = element("tspan", shown, class_="strong")
                parts.append(text(0, y + 14, label, "start"))
                parts.append(text(width, y + 14, (strong, _beside(n)), "end"))
            else:
                track = y + row_height / 2
                parts.append(text(0, track + 4, label, "start"))
                parts.append(text(right + 52, track + 4, shown, "end strong"))
                parts.append(text(right + 62, track + 4, n, "start quiet"))
            tracks.append(line(left, track, right, track, "grid"))
            if value is not None:
                said = f"{size}: {label} {shown}, 95 % interval {span(intervals.get(key))}"
                parts.append(_dot(left, right, track, mark, value, intervals.get(key), said))
            y += row_height
        y += 8
    y += 2
    shares = (0, 0.5, 1) if stacked else (0, 0.25, 0.5, 0.75, 1)
    for share in shares:
        x, label = left + (right - left) * share, f"{share:g}"
        parts.append(text(kept_inside(x, label, 0, width), y + 14, label, "middle quiet"))
        if not stacked:
            tracks.append(line(x, 30, x, y, "grid"))
    said = "Region precision and IA by size. " + " ".join(
        f"{size}: IA class mean {number(summary.ia[f'ia_{size}'].class_mean, 2)}, region "
        f"precision {number(summary.region_precision[f'region_precision_{size}'].value, 2)}."
        for size in bins.names
    )
    return figure(said, width, y + 22, [*tracks, *parts])


def _beside(words: str) -> Markup:
    return element("tspan", words, dx=8, class_="quiet")


def _precision_rows(summary: Summary, suffix: str) -> list[_Row]:
    name, region = f"ia{suffix or '_objects'}", f"region_precision{suffix}"
    ia, precision = summary.ia[name], summary.region_precision[region]
    return [
        (f"{name}.class_mean", "IA, class mean", "class-mean", ia.class_mean,
         count(ia.n_classes, "class", "classes")),
        (f"{name}.instance_mean", "IA, instance mean", "instance-mean", ia.instance_mean,
         count(ia.n_instances, "instance")),
        (region, "region precision", "region-precision", precision.value,
         count(precision.n, "region")),
    ]  # fmt: skip


def _dot(
    left: float,
    right: float,
    y: float,
    mark: str,
    value: float,
    interval: Interval | None,
    said: str,
) -> Markup:
    x = left + (right - left) * value
    parts = [element("title", said)]
    if interval is not None:
        a, b = (left + (right - left) * end for end in (interval.low, interval.high))
        parts.append(line(a, y, b, y, "whisker"))
    if mark == "class-mean":
        parts.append(element("circle", cx=x, cy=y, r=5))
    elif mark == "instance-mean":
        parts.append(polygon(x, y, ((0, -6), (6, 0), (0, 6), (-6, 0)), "dot"))
    else:
        parts.append(rect(x - 4.5, y - 4.5, 9, 9))
    return element("g", *parts, class_=mark)
