"""The plots of the panel "Object sizes", as plain data and layouts for Plotly."""

from sbdata.app.plots.counts import (
    ALL_CLASSES,
    ALL_SIZES,
    CELLS_TRACE,
    SIZES_TRACE,
    TOTALS_TRACE,
    heat_map_plot,
    histogram_plot,
)
from sbdata.app.plots.outcomes import outcome_of_trace, outcome_rows, outcomes_plot
from sbdata.app.plots.scores import ALL_OBJECTS, curve_plot, differences_plot, sizes_plot
from sbdata.app.plots.style import Plot, class_colours, source_colours

__all__ = [
    "ALL_CLASSES",
    "ALL_OBJECTS",
    "ALL_SIZES",
    "CELLS_TRACE",
    "SIZES_TRACE",
    "TOTALS_TRACE",
    "Plot",
    "class_colours",
    "curve_plot",
    "differences_plot",
    "heat_map_plot",
    "histogram_plot",
    "outcome_of_trace",
    "outcome_rows",
    "outcomes_plot",
    "sizes_plot",
    "source_colours",
]
