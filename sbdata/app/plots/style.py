"""Shared style of the panel's plots: colours, axes, titles and margins.

Areas are drawn on a linear axis of their binary logarithm, since Plotly's own logarithmic axis does
not support bars of a given width. Heights are in pixels; the width is that of the panel. The app
fills in the colours of text and grid from its theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.masks import voc_palette
from sbdata.sizes import SizeBins

# Distinguishable with every common kind of colour blindness, on dark and light (Okabe, Ito).
RUN_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2")
NEUTRAL = "#555b63"  # white text is readable on it in any theme
CHOSEN = "#ff6d04"  # accent colour of the app
LIMIT = "rgba(150, 150, 150, 0.9)"
PALE = 0.25  # opacity of objects that are not selected
FONT = 12
_LETTER = 6  # width of an average letter, in pixels
_LEAST_LIGHT = 96  # minimum lightness, of 255
PLOT = 230  # height of bars and curves, in pixels
TICKS = 30  # height of the labels below them, in pixels
_LEGEND_ROW = 20
_NARROW = 224  # width for legends in a panel of 300 pixels, beside the axis


@dataclass(frozen=True)
class Plot:
    """A plot for Plotly.

    Attributes:
        data: Traces of the plot.
        layout: Layout without the colours of text and grid.
        height: Height in pixels.
    """

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int


def colour_of(place: int) -> str:
    """Return the colour of a run or source by its index."""
    return RUN_COLOURS[place % len(RUN_COLOURS)]


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """Return the colours of the classes 1..C: those of VOC's masks, with dark ones lightened.

    >>> class_colours(["aeroplane", "bicycle", "bird", "boat"])["boat"]
    '#5656ab'
    """
    palette = voc_palette()
    return {
        name: _lightened(palette[3 * number : 3 * number + 3])
        for number, name in enumerate(classes, start=1)
    }


def source_colours(sources: Sequence[str]) -> dict[str, str]:
    """Return the colours of the sources."""
    return {name: colour_of(k) for k, name in enumerate(sources)}


def _lightened(rgb: bytes) -> str:
    """Return a colour mixed with enough white to be visible on a dark background."""
    red, green, blue = rgb
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    if light >= _LEAST_LIGHT:
        return f"#{rgb.hex()}"
    share = (_LEAST_LIGHT - light) / (255 - light)
    return "#" + bytes(round(c + (255 - c) * share) for c in rgb).hex()


def with_alpha(colour: str, alpha: float) -> str:
    """Return a partly transparent colour in Plotly's notation."""
    red, green, blue = bytes.fromhex(colour[1:])
    return f"rgba({red}, {green}, {blue}, {alpha})"


def floats(values: Any) -> list[float | None]:
    """Return numbers for JSON, with None instead of NaN."""
    return [None if np.isnan(v) else round(float(v), 6) for v in values]


def centres(ends: npt.NDArray[np.float64], bins: SizeBins) -> list[float]:
    """Return the centre of each size on the axis of areas, see :func:`borders`."""
    return [(a + b) / 2 for a, b in pairwise(borders(ends, bins))]


def borders(ends: npt.NDArray[np.float64], bins: SizeBins) -> list[float]:
    """Return the ends of the sizes on the axis of areas.

    Sizes that are not intervals of areas divide the axis in equal parts: a legend, not a scale.
    """
    low, high = float(ends[0]), float(ends[-1])
    if bins.are_intervals:
        return [low, *np.log2(bins.pixel_edges).tolist(), high]
    found: list[float] = np.linspace(low, high, len(bins.names) + 1).tolist()
    return found


def title_of(text: str) -> dict[str, Any]:
    """Return the layout of a title in the upper left corner of a plot."""
    return {"text": text, "x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 12, "t": 6},
            "y": 1, "yref": "container", "yanchor": "top", "font": {"size": FONT + 2}}  # fmt: skip


def common_layout() -> dict[str, Any]:
    """Return the part of the layout that all plots have."""
    return {
        "margin": {"l": 12, "r": 16, "t": 30, "b": 8, "pad": 0},
        "hovermode": "closest",
        "dragmode": False,
        "font": {"size": FONT},
        "uirevision": "kept",  # hidden traces stay hidden when the view changes
    }


def legend_layout(height: float = PLOT) -> dict[str, Any]:
    """Return the part of the layout that places a legend below a plot of this height."""
    return {
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": -TICKS / height,
            "yanchor": "top",
            "font": {"size": FONT},
            "traceorder": "normal",
            "bgcolor": "rgba(0, 0, 0, 0)",
        },
    }


def area_layout(bins: SizeBins, ends: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the layout of a plot with areas on its x axis."""
    low, high = float(ends[0]), float(ends[-1])
    step = 2 if high - low <= 14 else 4
    ticks = [k for k in range(0, 64, step) if low + step / 8 < k <= high]  # clear of the y axis
    return {
        **common_layout(),
        **legend_layout(),
        "xaxis": {
            "range": [low, high],
            "fixedrange": True,
            "tickvals": ticks,
            "ticktext": [f"{2**k:,}" for k in ticks],
            "tickfont": {"size": FONT},
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
                "line": {"color": LIMIT, "width": 1, "dash": "dash"},
            }
            for x in np.log2(bins.pixel_edges).tolist()
        ],
    }


def with_legend(
    data: list[dict[str, Any]],
    layout: dict[str, Any],
    names: Sequence[str],
    *,
    top: int,
    left: int = 60,
    height: int = PLOT,
) -> Plot:
    """Return a plot with margins that leave space for a legend of these names below it.

    The margins are set explicitly, because Plotly's automatic ones let the legend cover the axis
    labels when the panel's width changes.
    """
    below = TICKS + _LEGEND_ROW * _legend_rows(names) + 8
    margin = {"l": left, "r": 16, "t": top, "b": below, "pad": 0, "autoexpand": False}
    return Plot(data, {**layout, "margin": margin}, top + height + below)


def _legend_rows(names: Sequence[str]) -> int:
    """Return how many rows a legend needs in a narrow panel, with columns of equal width."""
    wide = 42 + _LETTER * max(map(len, names), default=0)
    columns = max(1, _NARROW // wide)
    return max(1, -(-len(names) // columns))
