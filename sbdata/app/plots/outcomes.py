"""Plot of the outcomes of the objects of each size, such as found, missed or wrong class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sbdata.app.panel_data import Counts
from sbdata.app.plots.style import (
    FONT,
    PALE,
    Plot,
    common_layout,
    legend_layout,
    title_of,
    with_legend,
)
from sbdata.app.selection import Selection
from sbdata.drawing import OUTCOME_COLOURS
from sbdata.metrics.outcomes import OUTCOMES, in_words

_ROW = 26  # height of a bar, in pixels
_LONGEST = 16  # maximum letters of a run's title beside a bar
_LETTER = 7  # width of an average letter, in pixels


def outcome_rows(runs: Sequence[str], sizes: Sequence[str]) -> list[tuple[str, str]]:
    """Return the size and run of each bar, from the top."""
    return [(size, run) for size in sizes for run in runs]


def outcome_of_trace(name: str) -> str:
    """Return the outcome that a trace of the plot shows.

    >>> outcome_of_trace("wrong class")
    'wrong_class'
    """
    return name.replace(" ", "_")


def outcomes_plot(
    counts: Mapping[str, Counts],
    sizes: Sequence[str],
    *,
    titles: Mapping[str, str],
    selection: Selection | None = None,
) -> Plot:
    """Plot the share and number of objects with each outcome, by size and run.

    There is one bar for each size and run, in the order of :func:`outcome_rows`, and one trace for
    each outcome.

    Args:
        counts: Counts of each run, int64 ``(sizes, outcomes)``.
        sizes: Names of the sizes, the smallest first.
        titles: Titles of the runs.
        selection: Selected objects; the others are drawn pale.
    """
    chosen = (selection or Selection()).outcome
    rows = outcome_rows(list(counts), sizes)
    places = list(range(len(rows)))
    totals = [int(counts[run][sizes.index(size)].sum()) for size, run in rows]
    data: list[dict[str, Any]] = []
    for kind, colour in OUTCOME_COLOURS.items():
        column = OUTCOMES.index(kind)
        n = [int(counts[run][sizes.index(size), column]) for size, run in rows]
        is_chosen = [_is_chosen(chosen, selection, size, run, kind) for size, run in rows]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": in_words(kind),
                "x": [one / max(1, total) for one, total in zip(n, totals, strict=True)],
                "y": places,
                "text": [f"{one:,}" if one else "" for one in n],
                "textposition": "inside",
                "insidetextanchor": "middle",
                "textangle": 0,
                "textfont": {"size": FONT, "color": "#000000"},
                "marker": {
                    "color": colour,
                    "opacity": [1.0 if one else PALE for one in is_chosen],
                    "line": {"width": 0.5, "color": "rgba(128, 128, 128, 0.6)"},
                },
                "customdata": [
                    [size, titles.get(run, run), one, total]
                    for (size, run), one, total in zip(rows, n, totals, strict=True)
                ],
                "hovertemplate": (
                    "%{customdata[0]}, %{customdata[1]}<br><b>%{fullData.name}</b>: "
                    "%{customdata[2]:,} of %{customdata[3]:,}<extra></extra>"
                ),
            }
        )
    labels = [size if len(counts) == 1 else f"{size}, {_short(titles.get(run, run))}"
              for size, run in rows]  # fmt: skip
    height = _ROW * max(1, len(rows))
    layout = {
        **common_layout(),
        **legend_layout(height),
        "title": title_of("Outcomes by size, share of objects"),
        "barmode": "stack",
        "bargap": 0.15,
        "uniformtext": {"minsize": FONT - 1, "mode": "hide"},  # hide numbers that do not fit
        "xaxis": {
            "range": [0, 1],
            "tickformat": ".0%",
            "tickvals": [0, 0.25, 0.5, 0.75, 1],
            "fixedrange": True,
            "tickfont": {"size": FONT},
            "tickangle": 0,
        },
        "yaxis": {
            "range": [len(rows) - 0.5, -0.5],
            "tickvals": places,
            "ticktext": labels,
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "ticks": "outside",
            "ticklen": 6,
            "tickcolor": "rgba(0, 0, 0, 0)",
            "tickfont": {"size": FONT},
        },
    }
    names = [trace["name"] for trace in data]
    left = 20 + _LETTER * max(map(len, labels), default=0)
    return with_legend(data, layout, names, top=30, left=left, height=height)


def _is_chosen(
    chosen: tuple[str, str] | None, selection: Selection | None, size: str, run: str, kind: str
) -> bool:
    """Return whether a segment holds selected objects."""
    if selection is not None and selection.size not in (None, size):
        return False
    return chosen is None or chosen[0] != run or chosen[1] == kind


def _short(title: str) -> str:
    return title if len(title) <= _LONGEST else title[: _LONGEST - 1] + "…"
