"""Plots of the IA of runs: by area, by size, and the differences between two runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.app.panel_data import Counts
from sbdata.app.plots.style import (
    FONT,
    LIMIT,
    RUN_COLOURS,
    Plot,
    area_layout,
    centres,
    colour_of,
    common_layout,
    floats,
    legend_layout,
    title_of,
    with_alpha,
    with_legend,
)
from sbdata.app.view_estimates import Curve, Estimate, SizeEstimate
from sbdata.formatting import NOTHING, number, signed, span
from sbdata.metrics.bootstrap import FEW, Difference, Interval
from sbdata.plurals import count
from sbdata.sizes import SizeBins

_DASHES = ("solid", "dash", "dot", "dashdot")


ALL_OBJECTS = "all objects"
_WIDEST = 0.16  # maximum distance between the marks of two runs, as a share of a size's width


def curve_plot(
    curves: Mapping[str, Curve],
    edges: Counts,
    bins: SizeBins,
    *,
    titles: Mapping[str, str],
) -> Plot:
    """Plot the mean IA by area: one line per run, with its intervals as a band.

    The line is broken at a bin without objects.

    Args:
        curves: Curves by run.
        edges: Edges of the bins of area, in pixels.
        bins: Size bins.
        titles: Titles of the runs.
    """
    ends = np.log2(edges)
    middle = (ends[:-1] + ends[1:]) / 2
    data: list[dict[str, Any]] = []
    for place, (run, curve) in enumerate(curves.items()):
        colour = colour_of(place)
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
                "fillcolor": with_alpha(colour, 0.2),
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
                "x": floats(middle),
                "y": floats(curve.mean),
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
        **area_layout(bins, ends),
        "title": title_of(f"IA by area (pixels); hollow: n < {FEW}"),
        "yaxis": {
            "range": [0, 1.02],
            "dtick": 0.2,
            "tickformat": ".1f",
            "title": {"text": "mean IA, 95 % interval", "font": {"size": FONT}},
            "fixedrange": True,
            "tickfont": {"size": FONT},
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
            "font": {"size": FONT + 1},
        }
        for name, center in zip(bins.names, centres(ends, bins), strict=True)
        if bins.are_intervals
    ]
    return with_legend(data, layout, [titles.get(run, run) for run in curves], top=48)


def _band(
    ends: npt.NDArray[np.float64], curve: Curve
) -> tuple[list[float | None], list[float | None]]:
    """Return the outlines of the band, one for every unbroken range of bins.

    An outline extends half a bin beyond its range on both sides, so that a single bin has one too.
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
        x += floats([*along, *along[::-1], along[0]])
        y += floats([*low, *high[::-1], low[0]])
    return x, y


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f" ({low:.3f}–{high:.3f})"


def sizes_plot(
    values: Mapping[str, Mapping[str, SizeEstimate]],
    sizes: Sequence[str],
    *,
    titles: Mapping[str, str],
) -> Plot:
    """Plot the IA of all objects and of each size: the class mean of each run with its interval.

    Args:
        values: Estimates by run, each for all objects and then for each size.
        sizes: Names of the sizes.
        titles: Titles of the runs.
    """
    marks = {
        titles.get(run, run): [
            _Mark(
                value=one.class_mean.value,
                interval=one.class_mean.interval,
                said=_said_of(one),
                is_few=one.n_objects < FEW,
            )
            for one in of_run.values()
        ]
        for run, of_run in values.items()
    }
    axis = {"range": [0, 1.02], "dtick": 0.2, "tickformat": ".1f"}
    what = "class mean of IA, 95 % interval"
    return _marks_plot(marks, sizes, f"IA by size; hollow: n < {FEW}", what, axis)


def differences_plot(
    differences: Mapping[tuple[str, str], Mapping[str, Difference | None]],
    sizes: Sequence[str],
    *,
    titles: Mapping[str, str],
) -> Plot:
    """Plot the IA of one run minus that of another, for all objects and each size.

    Args:
        differences: Differences A minus B by the pair of runs (A, B), each for all objects and then
            for each size.
        sizes: Names of the sizes.
        titles: Titles of the runs.
    """
    marks = {
        f"{titles.get(first, first)} − {titles.get(second, second)}": [
            _Mark(
                value=None if one is None else one.value,
                interval=None if one is None else one.interval,
                said=_said_of_difference(one),
                is_few=one is None or one.interval is None,
            )
            for one in found.values()
        ]
        for (first, second), found in differences.items()
    }
    axis = {"tickformat": "+.2f", "zeroline": True, "zerolinecolor": LIMIT, "zerolinewidth": 2}
    what = "difference of class means of IA"
    return _marks_plot(marks, sizes, "IA by size, A minus B; hollow: no interval", what, axis)


@dataclass(frozen=True)
class _Mark:
    """One value with its interval, and its hover text."""

    value: float | None
    interval: Interval | None
    said: str
    is_few: bool

    @property
    def above(self) -> float | None:
        """Distance from the value to the upper end of the interval, or None."""
        if self.value is None or self.interval is None:
            return None
        return self.interval.high - self.value

    @property
    def below(self) -> float | None:
        """Distance from the value to the lower end of the interval, or None."""
        if self.value is None or self.interval is None:
            return None
        return self.value - self.interval.low


def _marks_plot(
    marks: Mapping[str, Sequence[_Mark]],
    sizes: Sequence[str],
    title: str,
    what: str,
    axis: Mapping[str, Any],
) -> Plot:
    """Plot one mark for each size and group, side by side."""
    columns = [ALL_OBJECTS, *sizes]
    step = min(_WIDEST, 0.8 / max(1, len(marks)))
    data: list[dict[str, Any]] = []
    for place, (group, found) in enumerate(marks.items()):
        shift = (place - (len(marks) - 1) / 2) * step
        data.append(
            {
                "type": "scatter",
                "name": group,
                "x": [k + shift for k in range(len(columns))],
                "y": [one.value for one in found],
                "mode": "markers",
                "marker": {
                    "size": 9,
                    "color": colour_of(place),
                    "symbol": ["circle-open" if one.is_few else "circle" for one in found],
                    "line": {"width": 2, "color": colour_of(place)},
                },
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [one.above for one in found],
                    "arrayminus": [one.below for one in found],
                    "color": colour_of(place),
                    "thickness": 2,
                    "width": 4,
                },
                "customdata": [[name, one.said] for name, one in zip(columns, found, strict=True)],
                "hovertemplate": (
                    "%{customdata[0]}<br><b>%{fullData.name}</b>: %{customdata[1]}<extra></extra>"
                ),
            }
        )
    layout = {
        **common_layout(),
        **legend_layout(),
        "title": title_of(title),
        "xaxis": {
            "range": [-0.5, len(columns) - 0.5],
            "tickvals": list(range(len(columns))),
            "ticktext": columns,
            "tickfont": {"size": FONT},
            "tickangle": 0,
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
        },
        "yaxis": {
            "title": {"text": what, "font": {"size": FONT}},
            "fixedrange": True,
            "tickfont": {"size": FONT},
            **axis,
        },
    }
    return with_legend(data, layout, list(marks), top=36)


def _said_of(one: SizeEstimate) -> str:
    """Return a text with both means of a size and their numbers of objects and classes."""

    def mean(estimate: Estimate) -> str:
        interval = "" if estimate.interval is None else f" ({span(estimate.interval)})"
        return number(estimate.value) + interval

    return (
        f"class mean {mean(one.class_mean)}<br>instance mean {mean(one.instance_mean)}<br>"
        f"{count(one.n_objects, 'object')}, {count(one.n_classes, 'class', 'classes')}"
    )


def _said_of_difference(one: Difference | None) -> str:
    if one is None:
        return NOTHING
    if one.interval is None or one.sign_change is None:
        return f"{signed(one.value)}, no interval"
    return (
        f"{signed(one.value)} ({span(one.interval, difference=True)})<br>"
        f"draws with no or the opposite difference: {one.sign_change:.1%}"
    )
