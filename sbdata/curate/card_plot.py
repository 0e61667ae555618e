"""Size-distribution plot of a dataset card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from sbdata.curate.statistics import SizeStatistics, area_edges
from sbdata.sizes import SizeBins
from sbdata.storage import writing

_BLUE, _GREY = "#2b6cb0", "#a0aec0"


def draw_size_figure(
    path: Path, name: str, chosen: SizeStatistics, source: SizeStatistics, bins: SizeBins
) -> None:
    """Write a PNG with the class x size counts and the area histograms of a set and its source.

    Args:
        path: Path of the PNG, written atomically.
        name: Name of the set.
        chosen: Statistics of the set.
        source: Statistics of everything the set was chosen from.
        bins: Size bins; their limits are marked on the area axis.
    """
    classes = len(chosen.counts)
    figure = Figure(figsize=(11, max(4.2, 0.27 * classes + 1.9)), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.7))
    _draw_counts(left, chosen)
    _draw_areas(right, name, chosen, source, bins)
    with writing(path) as temporary:
        canvas.print_figure(temporary, format="png", metadata={"Software": None})


def _draw_counts(axes: Axes, chosen: SizeStatistics) -> None:
    values = np.array([list(row.values()) for row in chosen.counts.values()])
    axes.imshow(
        np.maximum(values, 0.5),
        aspect="auto",
        cmap="Blues",
        norm=LogNorm(0.5, max(values.max(), 1)),
    )
    for (row, column), count in np.ndenumerate(values):
        shade = np.log(max(count, 0.5) / 0.5) / np.log(max(values.max(), 1) / 0.5)
        colour = "white" if shade > 0.6 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(chosen.sizes)), chosen.sizes)
    axes.set_yticks(range(len(chosen.counts)), list(chosen.counts))
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.set_title(
        f"{chosen.instances:,} instances in {chosen.images:,} images", fontsize=11, pad=12
    )
    for side in axes.spines.values():
        side.set_visible(False)


def _draw_areas(
    axes: Axes, name: str, chosen: SizeStatistics, source: SizeStatistics, bins: SizeBins
) -> None:
    edges = area_edges()
    for statistics, label, colour, filled in (
        (source, "its source", _GREY, True),
        (chosen, name, _BLUE, False),
    ):
        share = np.asarray(statistics.area_histogram) / max(statistics.instances, 1) * 100
        text = f"{label}: {statistics.instances:,} instances"
        axes.stairs(share, edges, fill=filled, color=colour, linewidth=2, label=text)
    present = np.flatnonzero(np.asarray(source.area_histogram) + np.asarray(chosen.area_histogram))
    first, last = (present[0], present[-1] + 1) if len(present) else (0, len(edges) - 1)
    axes.set_xscale("log")
    shown = [edges[first], edges[last]]
    shown += [edge * factor for edge in bins.edges for factor in (0.25, 4)]  # with a margin
    axes.set_xlim(min(shown), max(shown))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.12)  # space for the size names
    low, high = axes.get_xlim()
    limits = [low, *bins.edges, high]
    for place, size in enumerate(bins.names):
        if place:
            axes.axvline(limits[place], color="black", linewidth=0.8, linestyle="--")
        middle = np.sqrt(limits[place] * limits[place + 1])
        axes.text(middle, 0.985, size, ha="center", va="top", transform=axes.get_xaxis_transform())
    axes.set_xlabel("visible area of an instance (pixels, log scale)")
    axes.set_ylabel("share of instances (%)")
    axes.grid(axis="y", alpha=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.93), frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
