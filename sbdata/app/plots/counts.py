"""Plots of the number of objects by area, and by class and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.app.panel_data import Counts
from sbdata.app.plots.style import (
    CHOSEN,
    FONT,
    NEUTRAL,
    PALE,
    Plot,
    area_layout,
    borders,
    common_layout,
    floats,
    title_of,
    with_legend,
)
from sbdata.app.selection import Selection
from sbdata.formatting import limits
from sbdata.sizes import SizeBins

SIZES_TRACE = "(sizes)"
CELLS_TRACE = "(cells)"
TOTALS_TRACE = "(totals)"
ALL_CLASSES = "all classes"
ALL_SIZES = "all sizes"
_HEAT = ("#fbf3dc", "#d7e2d6", "#b4d2d0", "#8fc1c9", "#71abc1", "#5195b9", "#2f7fb0", "#226393")
_ROW = 24  # height of a row of the heat map, in pixels


# --- histogram ------------------------------------------------------------------------------------


def histogram_plot(
    counts: Mapping[str, Counts],
    edges: Counts,
    bins: SizeBins,
    *,
    by_size: Mapping[str, int],
    colours: Mapping[str, str],
    by: str,
    selection: Selection | None = None,
) -> Plot:
    """Plot the number of objects by area, stacked by group, with the sizes marked above.

    A trace is named after its group, and its points are numbered like the bins. The sizes are bars
    of the trace ``(sizes)``.

    Args:
        counts: Counts of each group, one per bin.
        edges: Edges of the bins of area, in pixels.
        bins: Size bins.
        by_size: Number of objects of each size.
        colours: Colours of the groups.
        by: Text attribute that defines the groups, such as ``"label"``.
        selection: Selected objects; the others are drawn pale.
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
                "x": floats((ends[:-1] + ends[1:]) / 2),
                "y": n.tolist(),
                "width": floats(np.diff(ends)),
                "marker": {
                    "color": colours.get(group, "#999999"),
                    "opacity": [1.0 if is_chosen else PALE for is_chosen in chosen],
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
    of = "class" if by == "label" else by
    layout = {
        **area_layout(bins, ends),
        "title": title_of(f"Objects by visible area (pixels), by {of}"),
        "barmode": "stack",
        "bargap": 0,
        "yaxis": {
            "domain": [0, 0.86],
            "title": {"text": "objects", "font": {"size": FONT}},
            "rangemode": "tozero",
            "fixedrange": True,
            "tickfont": {"size": FONT},
        },
        "yaxis2": {
            "domain": [0.9, 1],
            "range": [0, 1],
            "visible": False,
            "fixedrange": True,
            "anchor": "x",
        },
    }
    return with_legend(data, layout, list(counts), top=30)


def _size_strip(
    ends: npt.NDArray[np.float64], bins: SizeBins, by_size: Mapping[str, int], selection: Selection
) -> dict[str, Any]:
    """Return the bars above the plot, one per size; see :func:`borders`."""
    found = np.array(borders(ends, bins))
    low, high = found[:-1], found[1:]
    return {
        "type": "bar",
        "name": SIZES_TRACE,
        "x": floats((low + high) / 2),
        "y": [1] * low.size,
        "width": floats(high - low),
        "yaxis": "y2",
        "text": [f"{name} {by_size.get(name, 0):,}" for name in bins.names],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "textfont": {"size": FONT + 1, "color": "#ffffff"},
        "constraintext": "inside",
        "marker": {
            "color": [CHOSEN if selection.size == name else NEUTRAL for name in bins.names],
            "line": {"width": 1, "color": "#ffffff"},
        },
        "customdata": [f"{name}: {limits(bins, k)}" for k, name in enumerate(bins.names)],
        "hovertemplate": "%{text}<br>%{customdata}<br>click to show these<extra></extra>",
        "showlegend": False,
    }


def _is_in(selection: Selection, bins: SizeBins, edges: Counts, place: int) -> bool:
    """Return whether a bin of area holds selected areas."""
    low, high = int(edges[place]), int(edges[place + 1])
    if selection.area is not None and not (selection.area[0] < high and low < selection.area[1]):
        return False
    if selection.size is None or selection.size not in bins.names or not bins.are_intervals:
        return True
    first, last = bins.index([low, high - 1]).tolist()
    return bool(first <= bins.names.index(selection.size) <= last)


# --- class x size ---------------------------------------------------------------------------------


def heat_map_plot(
    cells: Counts,
    labels: Sequence[str],
    sizes: Sequence[str],
    selection: Selection | None = None,
) -> Plot:
    """Plot the number of objects by class and size, with the sums above and to the right.

    Args:
        cells: Counts, int64 ``(labels, sizes)``.
        labels: Names of the classes.
        sizes: Names of the sizes, the smallest first.
        selection: Selected objects; their cell, row or column gets a frame.
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
        "textfont": {"size": FONT},
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
            "colorscale": [[0, NEUTRAL], [1, NEUTRAL]],
            "zmin": 0,
            "zmax": 1,
        },
    ]
    layout = {
        **common_layout(),
        "title": title_of("Objects by class and size"),
        "xaxis": {
            "type": "category",
            "side": "top",
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "ticks": "",
            "tickangle": 0,
            "tickfont": {"size": FONT},
        },
        "yaxis": {
            "type": "category",
            "autorange": "reversed",
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "ticks": "",
            "tickfont": {"size": FONT},
            "automargin": True,
            "dtick": 1,
        },
        "shapes": _frame(selection, rows, columns),
    }
    layout["margin"] = {**layout["margin"], "t": 52, "b": 8}
    return Plot(data, layout, 64 + _ROW * len(rows))


def _written(cells: Sequence[Sequence[int | None]]) -> list[list[str]]:
    return [["" if n is None else f"{n:,}" if n else "–" for n in row] for row in cells]


def _frame(selection: Selection, rows: Sequence[str], columns: Sequence[str]) -> list[Any]:
    """Return the frame around the selected cell, row or column."""
    is_narrower = selection.area is not None or selection.outcome is not None
    if is_narrower or not (selection.label or selection.size):
        return []
    row, column = selection.label or ALL_CLASSES, selection.size or ALL_SIZES
    if row not in rows or column not in columns:
        return []
    y, x = rows.index(row), columns.index(column)
    line = {"color": CHOSEN, "width": 3}
    corners = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
    return [{"type": "rect", "xref": "x", "yref": "y", **corners, "line": line}]
