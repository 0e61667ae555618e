"""Panels: a board's charts, one small figure a method.

A grid breaks them into as many columns as there is room for, so that text has the same size on a
phone and on a desk.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from sbdata.benchmark.aggregate import Mean
from sbdata.benchmark.leaderboard import Board, Row
from sbdata.benchmark.ordering import CONTROLS
from sbdata.report.leaderboard_text import name_of_row, shown_mean
from sbdata.report.markup import Markup, element

PANELS_STYLE = """
.panels { display: grid; gap: 16px 18px; margin: 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 164px), 1fr)); }
.panels svg { width: 100%; max-width: 230px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; padding: 0;
  margin: 0 0 10px; font-size: 0.875rem; max-width: none; }
.legend svg { display: inline-block; width: 14px; height: 14px; vertical-align: -2px;
  margin-right: 5px; }
.s0 { --mark: var(--muted); } .s1 { --mark: var(--blue); }
.s2 { --mark: var(--green); } .s3 { --mark: var(--orange); }
.chart .thread { stroke: var(--muted); fill: none; stroke-width: 1; stroke-opacity: 0.6; }
.chart .spread { stroke: var(--mark); stroke-width: 2; }
.chart .mark { fill: var(--mark); stroke: var(--mark); stroke-width: 1.5; }
.chart .hollow .mark { fill: var(--surface); }
"""
"""Style of the charts and their legend, beside that of the score's charts."""

_WIDTH, _HEIGHT = 168, 204  # of a method's chart, in its own pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 28, 166, 44, 162
_TOPS = (0.2, 0.4, 0.6, 0.8, 1.0)  # where the axis may end
_COLOURS = 4
_SHAPES = ("circle", "square", "diamond", "triangle")


def panels_of(board: Board) -> Markup:
    """Return a legend and, for each method, IA by size under each strategy; may be empty."""
    sizes = [name for name in board.n_instances if name not in ("ia", "ia_objects")]
    drawn = [row for row in board.rows if row.seeds and not row.mark]
    if not sizes or not drawn:
        return Markup()
    strategies = [name for name in board.strategies if name in {row.strategy for row in drawn}]
    ends = [
        mean.value + (mean.std or 0)
        for row in drawn
        for mean in _means(row, sizes)
        if mean is not None
    ]
    top = next((limit for limit in _TOPS if limit >= max(ends, default=1.0)), 1.0)
    legend = element(
        "ul",
        *(
            element("li", _legend_mark(k), name, class_=_series_class(k))
            for k, name in enumerate(strategies)
        ),
        class_="legend",
        aria_label="Strategies",
    )
    panels = [
        _panel(board, list(rows), sizes, strategies, top)
        for _, rows in groupby(drawn, key=lambda row: row.method)
    ]
    left_out = " Rows with a mark are left out." if board.footnotes else ""
    caption = (
        f"IA by size of the object, class mean, from 0 to {top:g}. Lines through the marks: one "
        f"standard deviation over the seeds to either side.{left_out}"
    )
    grid = element("div", *panels, class_="panels")
    return element("figure", legend, grid, element("figcaption", caption))


def _means(row: Row, sizes: Sequence[str]) -> list[Mean | None]:
    return [row.figures.get(f"{size}.class_mean") for size in sizes]


def _panel(
    board: Board,
    rows: Sequence[Row],
    sizes: Sequence[str],
    strategies: Sequence[str],
    top: float,
) -> Markup:
    method = name_of_row(rows[0])
    said = "; ".join(
        f"{row.strategy} " + ", ".join(
            f"{size.removeprefix('ia_')} {shown_mean(mean)}"
            for size, mean in zip(sizes, _means(row, sizes), strict=True)
        )
        for row in rows
    )  # fmt: skip
    kind = "control" if rows[0].kind == CONTROLS else rows[0].kind
    parts = [
        element("title", f"{method}, IA by size: {said}."),
        element("rect", width=_WIDTH, height=_HEIGHT, class_="ground"),
        _text(0, 13, method, "start strong"),
        _text(0, 28, kind, "start quiet fine"),
    ]
    for step in range(3):
        y = _BOTTOM - (_BOTTOM - _TOP) * step / 2
        parts.append(element("line", x1=_LEFT, y1=_n(y), x2=_RIGHT, y2=_n(y), class_="grid"))
        parts.append(_text(_LEFT - 5, y + 4, f"{top * step / 2:g}", "end quiet"))
    step_width = (_RIGHT - _LEFT) / len(sizes)
    middles = [_LEFT + step_width * (k + 0.5) for k in range(len(sizes))]
    for x, size in zip(middles, sizes, strict=True):
        parts.append(_text(x, _BOTTOM + 18, size.removeprefix("ia_"), "middle fine"))
        parts.append(_text(x, _BOTTOM + 34, f"n {board.n_instances[size]:,}", "middle quiet fine"))
    for x, size in zip(middles, sizes, strict=True):
        parts.append(_cluster(rows, x, step_width, size, strategies, top))
    return element("svg", *parts, xmlns="http://www.w3.org/2000/svg", role="img",
                   viewBox=f"0 0 {_WIDTH} {_HEIGHT}", width=_WIDTH, height=_HEIGHT,
                   class_="chart")  # fmt: skip


def _cluster(
    rows: Sequence[Row],
    middle: float,
    width: float,
    size: str,
    strategies: Sequence[str],
    top: float,
) -> Markup:
    """Draw one size: the strategies side by side on a thread.

    Threads join the strategies of a size, never the sizes of a strategy: lines that rise from size
    to size would look lower the further right they start.
    """

    def y_of(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(max(value, 0.0), top) / top

    apart = min(11.0, width * 0.8 / max(len(strategies), 1))
    marks, points = [], []
    for row in rows:
        mean = row.figures.get(f"{size}.class_mean")
        if mean is None:
            continue
        place = strategies.index(row.strategy)
        x, y = middle + (place - (len(strategies) - 1) / 2) * apart, y_of(mean.value)
        points.append(f"{_n(x)} {_n(y)}")
        said = f"{row.strategy}, {size.removeprefix('ia_')}: {shown_mean(mean)}"
        parts = [element("title", said)]
        if mean.std is not None:
            low, high = (_n(y_of(mean.value + sign * mean.std)) for sign in (-1, 1))
            parts.append(element("line", x1=_n(x), y1=low, x2=_n(x), y2=high, class_="spread"))
        marks.append(element("g", *parts, _mark(place, x, y), class_=_series_class(place)))
    thread = element("path", d=f"M{'L'.join(points)}", class_="thread") if points else ""
    return element("g", thread, *marks)


def _series_class(place: int) -> str:
    """Return the colour of a strategy; from the fifth on, its mark is hollow."""
    return f"s{place % _COLOURS}" + (" hollow" if place >= _COLOURS else "")


def _mark(place: int, x: float, y: float) -> Markup:
    shape = _SHAPES[place % len(_SHAPES)]
    if shape == "circle":
        return element("circle", cx=_n(x), cy=_n(y), r=4, class_="mark")
    corners = {
        "square": ((-3.7, -3.7), (3.7, -3.7), (3.7, 3.7), (-3.7, 3.7)),
        "diamond": ((0, -5.2), (5.2, 0), (0, 5.2), (-5.2, 0)),
        "triangle": ((0, -5), (4.8, 3.8), (-4.8, 3.8)),
    }[shape]
    points = " ".join(f"{_n(x + dx)},{_n(y + dy)}" for dx, dy in corners)
    return element("polygon", points=points, class_="mark")


def _legend_mark(place: int) -> Markup:
    return element("svg", _mark(place, 7, 7), viewBox="0 0 14 14", width=14, height=14,
                   class_="chart", aria_hidden="true")  # fmt: skip


def _text(x: float, y: float, label: str, class_: str) -> Markup:
    return element("text", label, x=_n(x), y=_n(y), class_=class_)


def _n(value: float) -> str:
    """Write a coordinate, the same on every machine."""
    return f"{round(value, 2) + 0.0:g}"
