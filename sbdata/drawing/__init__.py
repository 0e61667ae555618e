"""Figures as SVG without scripts, for light and dark backgrounds.

Reports, leaderboards, dataset cards and notebooks show the same figures. A figure is SVG text that
a page inserts unchanged (:class:`Figure`). Each function lays out its figure for a given width
instead of scaling it, so that text has the same size on a phone and on a desktop.
"""

from sbdata.drawing.outcomes import OUTCOME_COLOURS, outcome_bar, outcome_mark
from sbdata.drawing.scores import ia_by_area, ia_by_class_and_size, precision_by_size
from sbdata.drawing.sizes import size_distribution
from sbdata.drawing.strategies import ia_by_strategy, legend_mark
from sbdata.drawing.svg import NARROW, WIDE, Figure, chart_style

__all__ = [
    "NARROW",
    "OUTCOME_COLOURS",
    "WIDE",
    "Figure",
    "chart_style",
    "ia_by_area",
    "ia_by_class_and_size",
    "ia_by_strategy",
    "legend_mark",
    "outcome_bar",
    "outcome_mark",
    "precision_by_size",
    "size_distribution",
]
