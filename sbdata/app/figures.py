"""The figures of the panel "Object sizes", as Plotly's data and layout and nothing else.

Areas lie on a linear axis of their binary logarithm, since Plotly's own logarithmic axis has no
bars of a given width. Heights are in pixels; the width is what the panel has. Text and grid have
the colours of the app's theme, which it fills in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.app.panel_data import Counts, Curve
from sbdata.app.selection import Selection
from sbdata.masks import voc_palette
from sbdata.sizes import SizeBins

SIZES_TRACE = "(sizes)"
CELLS_TRACE = "(cells)"
TOTALS_TRACE = "(totals)"
ALL_CLASSES = "all classes"
ALL_SIZES = "all sizes"
FEW = 10
"""A mean of fewer objects is drawn hollow, as in the report: it says little."""

# Told apart with every common kind of colour blindness, and seen on dark and light (Okabe, Ito).
RUN_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2")
_DASHES = ("solid", "dash", "dot", "dashdot")
_HEAT = ("#fbf3dc", "#d7e2d6", "#b4d2d0", "#8fc1c9", "#71abc1", "#5195b9", "#2f7fb0", "#226393")
_TOTAL = "#555b63"  # white is well read on it, whatever the theme
_CHOSEN = "#ff6d04"  # the app's own accent
_LIMIT = "rgba(150, 150, 150, 0.9)"
_PALE = 0.25  # opacity of what is not chosen
_FONT = 12
_ROW = 24  # pixels of a row of the heat map
_LETTER = 6  # pixels of an average letter
_LEAST_LIGHT = 96  # of 255
_PLOT = 230  # pixels of the height of bars and curves
_TICKS = 30  # pixels of the labels beneath them
_LEGEND_ROW = 20
_NARROW = 224  # pixels beside the axis of a panel of 300, in which legends find room


@dataclass(frozen=True)
class Figure:
    """A figure for Plotly.

    Attributes:
        data: its traces.
        layout: all but colours of text and grid.
        height: in pixels.
    """

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int


# --- histogram ------------------------------------------------------------------------------------


def histogram_figure(
    counts: Mapping[str, Counts],
    edges: Counts,
    bins: SizeBins,
    *,
    by_size: Mapping[str, int],
    colours: Mapping[str, str],
    by: str,
    selection: Selection | None = None,
) -> Figure:
    """Draw how many objects there are by area, stacked by group, with the sizes marked above.

    A trace is named after its group, and its points are numbered as the bins. The sizes are bars of
    the trace ``(sizes)``.

    Args:
        counts: of each group, one a bin.
        edges: of the bins.
        bins: of the sizes.
        by_size: number of objects of each size.
        colours: of the groups.
        by: what they are, such as ``"label"``.
        selection: what is chosen; all else is pale.
    """
    selection = selection or Selection()
    ends = np.log2(edges)
    data: list[dict[str, Any]] = []
    for group, n in counts.items():
        chosen = [
            _is_in(selection, bins, edges, place) and getattr(selection, by) in (None, group)
            for place in range(n.size)
        ]
        data.append(
            {
                "type": "bar",
                "name": group,
                "x": _floats((ends[:-1] + ends[1:]) / 2),
                "y": n.tolist(),
                "width": _floats(np.diff(ends)),
                "marker": {
                    "color": colours.get(group, "#999999"),
                    "opacity": [1.0 if is_chosen else _PALE for is_chosen in chosen],
                    "line": {"width": 0.5, "color": "rgba(128, 128, 128, 0.6)"},
                },
                "customdata": [
                    f"{low:,} to {high - 1:,} pixels"
                    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
                ],
                "hovertemplate": "%{customdata}<br><b>%{fullData.name}</b>: %{y:,}<extra></extra>",
            }
        )
    data.append(_size_strip(ends, bins, by_size, selection))
    layout = {
        **_layout(bins, ends),
        "title": _title(f"Objects by visible area (pixels), by {'class' if by == 'label' else by}"),
        "barmode": "stack",
        "bargap": 0,
        "yaxis": {
            "domain": [0, 0.86],
            "title": {"text": "objects", "font": {"size": _FONT}},
            "rangemode": "tozero",
            "fixedrange": True,
            "tickfont": {"size": _FONT},
        },
        "yaxis2": {
            "domain": [0.9, 1],
            "range": [0, 1],
            "visible": False,
            "fixedrange": True,
            "anchor": "x",
        },
    }
    return _with_legend(data, layout, list(counts), top=30)


def _size_strip(
    ends: npt.NDArray[np.float64], bins: SizeBins, by_size: Mapping[str, int], selection: Selection
) -> dict[str, Any]:
    """Return the bars above, one a size as wide as its areas are on the axis."""
    borders = [float(ends[0]), *np.log2(bins.edges).tolist(), float(ends[-1])]
    low, high = np.array(borders[:-1]), np.array(borders[1:])
    return {
        "type": "bar",
        "name": SIZES_TRACE,
        "x": _floats((low + high) / 2),
        "y": [1] * low.size,
        "width": _floats(high - low),
        "yaxis": "y2",
        "text": [f"{name} {by_size.get(name, 0):,}" for name in bins.names],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "textfont": {"size": _FONT + 1, "color": "#ffffff"},
        "constraintext": "inside",
        "marker": {
            "color": [_CHOSEN if selection.size == name else _TOTAL for name in bins.names],
            "line": {"width": 1, "color": "#ffffff"},
        },
        "customdata": list(bins.names),
        "hovertemplate": "%{text}: click to show these<extra></extra>",
        "showlegend": False,
    }


def _is_in(selection: Selection, bins: SizeBins, edges: Counts, place: int) -> bool:
    """Tell whether a bin of area holds areas that are chosen."""
    low, high = int(edges[place]), int(edges[place + 1])
    if selection.area is not None and not (selection.area[0] < high and low < selection.area[1]):
        return False
    if selection.size is None or selection.size not in bins.names:
        return True
    first, last = bins.index([low, high - 1]).tolist()
    return bool(first <= bins.names.index(selection.size) <= last)


# --- class x size ---------------------------------------------------------------------------------


def heat_map_figure(
    cells: Counts,
    labels: Sequence[str],
    sizes: Sequence[str],
    selection: Selection | None = None,
) -> Figure:
    """Draw how many objects each class has of each size, with the sums above and to the right.

    Args:
        cells: int64 ``(labels, sizes)``.
        labels: of the classes.
        sizes: from the smallest.
        selection: what is chosen; it has a frame.
    """
    selection = selection or Selection()
    columns = [*sizes, ALL_SIZES]
    rows = [ALL_CLASSES, *labels]
    inner: list[list[int | None]] = [[None] * len(columns)]
    inner += [[*row, None] for row in cells.tolist()]
    outer: list[list[int | None]] = [[*cells.sum(axis=0).tolist(), int(cells.sum())]]
    outer += [[*[None] * len(sizes), int(n)] for n in cells.sum(axis=1)]
    common = {
        "type": "heatmap",
        "x": columns,
        "y": rows,
        "xgap": 2,
        "ygap": 2,
        "texttemplate": "%{text}",
        "textfont": {"size": _FONT},
        "hoverongaps": False,
        "showscale": False,
        "hovertemplate": "%{y}, %{x}: %{z:,}<extra></extra>",
    }
    steps = [[k / (len(_HEAT) - 1), colour] for k, colour in enumerate(_HEAT)]
    data = [
        {
            **common,
            "name": CELLS_TRACE,
            "z": inner,
            "text": _written(inner),
            "colorscale": steps,
            "zmin": 0,
            "zmax": max(1, int(cells.max(initial=0))),
        },
        {
            **common,
            "name": TOTALS_TRACE,
            "z": outer,
            "text": _written(outer),
            "colorscale": [[0, _TOTAL], [1, _TOTAL]],
            "zmin": 0,
            "zmax": 1,
        },
    ]
    layout = {
        **_common_layout(),
        "title": _title("Objects by class and size"),
        "xaxis": {
            "type": "category",
            "side": "top",
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "ticks": "",
            "tickangle": 0,
            "tickfont": {"size": _FONT},
        },
        "yaxis": {
            "type": "category",
            "autorange": "reversed",
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "ticks": "",
            "tickfont": {"size": _FONT},
            "automargin": True,
            "dtick": 1,
        },
        "shapes": _frame(selection, rows, columns),
    }
    layout["margin"] = {**layout["margin"], "t": 52, "b": 8}
    return Figure(data, layout, 64 + _ROW * len(rows))


def _written(cells: Sequence[Sequence[int | None]]) -> list[list[str]]:
    return [["" if n is None else f"{n:,}" if n else "–" for n in row] for row in cells]


def _frame(selection: Selection, rows: Sequence[str], columns: Sequence[str]) -> list[Any]:
    """Return the frame around the cell, row or column that is chosen."""
    if selection.area is not None or not (selection.label or selection.size):
        return []
    row, column = selection.label or ALL_CLASSES, selection.size or ALL_SIZES
    if row not in rows or column not in columns:
        return []
    y, x = rows.index(row), columns.index(column)
    line = {"color": _CHOSEN, "width": 3}
    corners = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
    return [{"type": "rect", "xref": "x", "yref": "y", **corners, "line": line}]


# --- IA by area -----------------------------------------------------------------------------------


def curve_figure(
    curves: Mapping[str, Curve],
    edges: Counts,
    bins: SizeBins,
    *,
    titles: Mapping[str, str],
) -> Figure:
    """Draw the mean IA by area, one line a run with its band.

    The line is broken where a bin has no object.

    Args:
        curves: by run.
        edges: of the bins.
        bins: of the sizes.
        titles: of the runs.
    """
    ends = np.log2(edges)
    middle = (ends[:-1] + ends[1:]) / 2
    data: list[dict[str, Any]] = []
    for place, (run, curve) in enumerate(curves.items()):
        colour = RUN_COLOURS[place % len(RUN_COLOURS)]
        dash = _DASHES[place // len(RUN_COLOURS) % len(_DASHES)]
        x, y = _band(ends, curve)
        data.append(
            {
                "type": "scatter",
                "name": f"band of {run}",
                "x": x,
                "y": y,
                "mode": "lines",
                "fill": "toself",
                "fillcolor": _with_alpha(colour, 0.2),
                "line": {"width": 0},
                "hoverinfo": "skip",
                "legendgroup": run,
                "showlegend": False,
            }
        )
        few = curve.n < FEW
        data.append(
            {
                "type": "scatter",
                "name": titles.get(run, run),
                "legendgroup": run,
                "x": _floats(middle),
                "y": _floats(curve.mean),
                "mode": "lines+markers",
                "connectgaps": False,
                "line": {"color": colour, "width": 2, "dash": dash},
                "marker": {
                    "size": 8,
                    "color": colour,
                    "symbol": ["circle-open" if is_few else "circle" for is_few in few],
                    "line": {"width": 2, "color": colour},
                },
                "customdata": [
                    [f"{low:,} to {high - 1:,} pixels", n, _interval(lower, upper)]
                    for low, high, n, lower, upper in zip(
                        edges[:-1].tolist(), edges[1:].tolist(), curve.n.tolist(),
                        curve.low.tolist(), curve.high.tolist(), strict=True,
                    )
                ],
                "hovertemplate": (
                    "%{customdata[0]}<br><b>%{fullData.name}</b>: IA %{y:.3f}"
                    "%{customdata[2]}<br>n %{customdata[1]:,}<extra></extra>"
                ),
            }
        )  # fmt: skip
    layout = {
        **_layout(bins, ends),
        "title": _title(f"IA by area (pixels); hollow: n < {FEW}"),
        "yaxis": {
            "range": [0, 1.02],
            "dtick": 0.2,
            "tickformat": ".1f",
            "title": {"text": "mean IA, 95 % interval", "font": {"size": _FONT}},
            "fixedrange": True,
            "tickfont": {"size": _FONT},
        },
    }
    layout["annotations"] = [
        {
            "x": float(center),
            "xref": "x",
            "y": 1,
            "yref": "paper",
            "yanchor": "bottom",
            "text": name,
            "showarrow": False,
            "font": {"size": _FONT + 1},
        }
        for name, center in zip(bins.names, _centres(ends, bins), strict=True)
    ]
    return _with_legend(data, layout, [titles.get(run, run) for run in curves], top=48)


def _band(
    ends: npt.NDArray[np.float64], curve: Curve
) -> tuple[list[float | None], list[float | None]]:
    """Return the outlines of the band, one for every unbroken stretch of bins.

    An outline begins and ends half a bin before and after, so that a single bin has one too.
    """
    middle = (ends[:-1] + ends[1:]) / 2
    x: list[float | None] = []
    y: list[float | None] = []
    known = ~np.isnan(curve.low)
    starts = np.flatnonzero(known & ~np.concatenate([[False], known[:-1]]))
    stops = np.flatnonzero(known & ~np.concatenate([known[1:], [False]]))
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        inner = slice(start, stop + 1)
        along = [ends[start], *middle[inner], ends[stop + 1]]
        low = [curve.low[start], *curve.low[inner], curve.low[stop]]
        high = [curve.high[start], *curve.high[inner], curve.high[stop]]
        if x:
            x.append(None)
            y.append(None)
        x += _floats([*along, *along[::-1], along[0]])
        y += _floats([*low, *high[::-1], low[0]])
    return x, y


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f" ({low:.3f}–{high:.3f})"


# --- what they share ------------------------------------------------------------------------------


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """Return the colours of the classes 1..C: those of VOC's masks, none too dark to be seen.

    >>> class_colours(["aeroplane", "bicycle", "bird", "boat"])["boat"]
    '#5656ab'
    """
    palette = voc_palette()
    return {
        name: _lightened(palette[3 * number : 3 * number + 3])
        for number, name in enumerate(classes, start=1)
    }


def source_colours(sources: Sequence[str]) -> dict[str, str]:
    """Return a colour for every source."""
    return {name: RUN_COLOURS[k % len(RUN_COLOURS)] for k, name in enumerate(sources)}


def _lightened(rgb: bytes) -> str:
    """Return a colour mixed with as much white as makes it seen on a dark ground."""
    red, green, blue = rgb
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    if light >= _LEAST_LIGHT:
        return f"#{rgb.hex()}"
    share = (_LEAST_LIGHT - light) / (255 - light)
    return "#" + bytes(round(c + (255 - c) * share) for c in rgb).hex()


def _with_alpha(colour: str, alpha: float) -> str:
    red, green, blue = bytes.fromhex(colour[1:])
    return f"rgba({red}, {green}, {blue}, {alpha})"


def _floats(values: Any) -> list[float | None]:
    """Return numbers as JSON has them, which knows no NaN."""
    return [None if np.isnan(v) else round(float(v), 6) for v in values]


def _centres(ends: npt.NDArray[np.float64], bins: SizeBins) -> list[float]:
    borders = [float(ends[0]), *np.log2(bins.edges).tolist(), float(ends[-1])]
    return [(a + b) / 2 for a, b in pairwise(borders)]


def _title(text: str) -> dict[str, Any]:
    return {"text": text, "x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 12, "t": 6},
            "y": 1, "yref": "container", "yanchor": "top", "font": {"size": _FONT + 2}}  # fmt: skip


def _common_layout() -> dict[str, Any]:
    return {
        "margin": {"l": 12, "r": 16, "t": 30, "b": 8, "pad": 0},
        "hovermode": "closest",
        "dragmode": False,
        "font": {"size": _FONT},
        "uirevision": "kept",  # hidden traces stay hidden as the view changes
    }


def _layout(bins: SizeBins, ends: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the layout of a figure with areas along its x axis."""
    low, high = float(ends[0]), float(ends[-1])
    step = 2 if high - low <= 14 else 4
    ticks = [k for k in range(0, 64, step) if low + step / 8 < k <= high]  # clear of the y axis
    return {
        **_common_layout(),
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": -_TICKS / _PLOT,
            "yanchor": "top",
            "font": {"size": _FONT},
            "traceorder": "normal",
            "bgcolor": "rgba(0, 0, 0, 0)",
        },
        "xaxis": {
            "range": [low, high],
            "fixedrange": True,
            "tickvals": ticks,
            "ticktext": [f"{2**k:,}" for k in ticks],
            "tickfont": {"size": _FONT},
            "tickangle": 0,
            "zeroline": False,
        },
        "shapes": [
            {
                "type": "line",
                "xref": "x",
                "yref": "paper",
                "x0": x,
                "x1": x,
                "y0": 0,
                "y1": 1,
                "line": {"color": _LIMIT, "width": 1, "dash": "dash"},
            }
            for x in np.log2(bins.edges).tolist()
        ],
    }


def _with_legend(
    data: list[dict[str, Any]], layout: dict[str, Any], names: Sequence[str], *, top: int
) -> Figure:
    """Return a figure whose margins leave room for a legend of these names beneath it.

    The margins are given and not left to Plotly, which lays the legend over the labels of the axis
    when the panel's width changes.
    """
    below = _TICKS + _LEGEND_ROW * _legend_rows(names) + 8
    margin = {"l": 60, "r": 16, "t": top, "b": below, "pad": 0, "autoexpand": False}
    return Figure(data, {**layout, "margin": margin}, top + _PLOT + below)


def _legend_rows(names: Sequence[str]) -> int:
    """Return how many rows a legend needs in a narrow panel, where its columns are alike."""
    wide = 42 + _LETTER * max(map(len, names), default=0)
    columns = max(1, _NARROW // wide)
    return max(1, -(-len(names) // columns))
