"""The panel "Object sizes": areas, classes, outcomes and IA of the objects in the current view."""

from __future__ import annotations

from collections.abc import Sequence

import fiftyone as fo
import fiftyone.core.view as fov
import fiftyone.operators as foo
import fiftyone.operators.types as types

from sbdata.app.attached import AttachedRun, attached_runs
from sbdata.app.info import bins_of, info_of, is_ours
from sbdata.app.panel_data import (
    OBJECT_COLUMNS,
    SCORE_COLUMNS,
    Objects,
    area_edges,
    count_by_area,
    count_cells,
    count_outcomes,
    gather_objects,
    groups_of,
)
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
from sbdata.app.plugin.view import shown_view, stages_of
from sbdata.app.samples import IMAGE_ID, INSTANCES, OBJECTS
from sbdata.app.selection import Selection, split_view
from sbdata.app.view_estimates import ia_by_area, ia_by_size, ia_differences
from sbdata.app.views import pairs_of
from sbdata.formatting import sizes_line
from sbdata.plurals import count
from sbdata.sizes import SizeBins

NAME = "object_sizes"
LABEL = "Object sizes"
_STACKS = {"label": "class", "source": "source"}
_PLOTLY = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False, "responsive": True}
_CLICKS = {
    "histogram": "on_bar",
    "cells": "on_cell",
    "outcomes": "on_outcome",
    "sizes": "on_size",
    "curve": "on_point",
    "differences": "on_size",
}
# As many columns as fit; the user can make the panel narrow.
_GRID = {
    "display": "grid",
    "gridTemplateColumns": "repeat(auto-fit, minmax(min(100%, 440px), 1fr))",
    "alignItems": "start",
    "gap": "12px",
    "padding": "8px 12px",
    "width": "100%",
    "boxSizing": "border-box",
    "& > :first-of-type": {"gridColumn": "1 / -1"},  # the header
}
_HEAD = {
    "display": "flex",
    "flexWrap": "wrap",
    "alignItems": "center",
    "columnGap": "24px",
    "& > *": {"width": "auto !important", "flex": "0 0 auto"},
    "& > :first-of-type": {"flex": "0 1 auto"},  # the sentence takes the space that it needs
}


class ObjectSizes(foo.Panel):  # type: ignore[misc]
    """The panel "Object sizes". It has no state: the selection is a stage of the view."""

    @property
    def config(self) -> foo.PanelConfig:
        """Return the panel's name and where it can be opened."""
        return foo.PanelConfig(
            name=NAME,
            label=LABEL,
            icon="bar_chart",
            help_markdown="Areas, classes, outcomes and scores of the objects in the current view. "
            "Click on a bar, a size, a cell or a point to see those objects only; click again to "
            "see all.",
        )

    def on_load(self, ctx: foo.ExecutionContext) -> None:
        """Draw the panel. Like the other handlers, this only makes FiftyOne render again."""

    def on_change_dataset(self, ctx: foo.ExecutionContext) -> None:
        """Draw the objects of another dataset."""

    def on_change_view(self, ctx: foo.ExecutionContext) -> None:
        """Draw the objects of another view, or of other filters in the sidebar."""

    def on_change_selected(self, ctx: foo.ExecutionContext) -> None:
        """Draw the objects of the ticked images."""

    def on_stack(self, ctx: foo.ExecutionContext) -> None:
        """Stack the histogram by another attribute."""
        ctx.panel.state.stack = ctx.params["value"]

    def on_bar(self, ctx: foo.ExecutionContext) -> None:
        """Show the objects of a histogram bar, or of a size in the strip above."""
        read = _Read(ctx)
        edges, bins = read.edges, read.bins
        place = int(ctx.params["idx"])
        if ctx.params["trace"] == SIZES_TRACE:
            _choose(ctx, Selection(size=bins.names[place]))
        else:
            area = (int(edges[place]), int(edges[place + 1]))
            _choose(ctx, Selection(**{_stack(ctx): ctx.params["trace"]}, area=area))

    def on_cell(self, ctx: foo.ExecutionContext) -> None:
        """Show the objects of a class and size."""
        if ctx.params["trace"] not in (CELLS_TRACE, TOTALS_TRACE) or not ctx.params["z"]:
            return
        label, size = ctx.params["y"], ctx.params["x"]
        _choose(
            ctx,
            Selection(
                label=None if label == ALL_CLASSES else label,
                size=None if size == ALL_SIZES else size,
            ),
        )

    def on_outcome(self, ctx: foo.ExecutionContext) -> None:
        """Show the objects of a size with one outcome."""
        info = info_of(ctx.dataset)
        rows = outcome_rows(list(attached_runs(info)), info["sizes"])
        size, run = rows[int(ctx.params["idx"])]
        _choose(ctx, Selection(size=size, outcome=(run, outcome_of_trace(ctx.params["trace"]))))

    def on_size(self, ctx: foo.ExecutionContext) -> None:
        """Show the objects of a size, or all of them."""
        size = [ALL_OBJECTS, *info_of(ctx.dataset)["sizes"]][int(ctx.params["idx"])]
        _choose(ctx, Selection(size=None if size == ALL_OBJECTS else size))

    def on_point(self, ctx: foo.ExecutionContext) -> None:
        """Show the objects that a plotted mean was computed from."""
        edges = _Read(ctx).edges
        place = int(ctx.params["idx"])
        _choose(ctx, Selection(area=(int(edges[place]), int(edges[place + 1]))))

    def on_all(self, ctx: foo.ExecutionContext) -> None:
        """Show all objects again."""
        _choose(ctx, Selection())

    def render(self, ctx: foo.ExecutionContext) -> types.Property:
        """Draw the current view."""
        panel = types.Object()
        if ctx.dataset is None or not is_ours(ctx.dataset):
            panel.md("This dataset was not loaded by `sbdata app`; it has no object sizes.")
            return types.Property(panel)
        read = _Read(ctx)
        self._head(panel, ctx, read)
        for name, plot in _plots(read, _stack(ctx)).items():
            panel.plot(
                name,
                data=plot.data,
                layout={**plot.layout, "height": plot.height},
                config=_PLOTLY,
                height=f"{plot.height}px",
                on_click=getattr(self, _CLICKS[name]),
            )
        return types.Property(
            panel,
            view=types.ObjectView(componentsProps={"gridContainer": {"sx": {**_GRID}}}),
        )

    def _head(
        self,
        panel: types.Object,
        ctx: foo.ExecutionContext,
        read: _Read,
    ) -> None:
        """Describe the objects drawn and the selection, with controls to change them."""
        objects, selection = read.objects, read.selection
        said = f"**{count(len(objects), 'object')}** in {count(objects.n_images, 'image')}"
        if selection:
            chosen = objects.subset(selection.mask(objects))
            said += (
                f"; shown: **{selection.described()}**, {count(len(chosen), 'object')} in "
                f"{count(chosen.n_images, 'image')}"
            )
        head = panel.h_stack("head", componentsProps={"grid": {"sx": _HEAD}})
        head.md(said, name="said")
        if read.bins != SizeBins():
            head.md(_sizes_said(read), name="edges")
        head.enum(
            "stack",
            list(_STACKS),
            default=_stack(ctx),
            view=_choices(),
            on_change=self.on_stack,
        )
        if selection:
            head.btn("all", label="Show all objects", on_click=self.on_all, variant="outlined")


def _sizes_said(read: _Read) -> str:
    """Return the edges between the sizes, with n of each class if they are by class."""
    cells = count_cells(read.objects, read.classes, read.bins.names).tolist()
    counts = [dict(zip(read.bins.names, row, strict=True)) for row in cells]
    return sizes_line(read.bins, dict(zip(read.classes, counts, strict=True)))


def _plots(read: _Read, by: str) -> dict[str, Plot]:
    """Return all plots by name."""
    objects, edges, bins, selection = read.objects, read.edges, read.bins, read.selection
    groups = groups_of(objects, by, read.classes if by == "label" else [])
    labels = groups_of(objects, "label", read.classes)
    cells = count_cells(objects, labels, bins.names)
    found = {
        "histogram": histogram_plot(
            count_by_area(objects, edges, by, groups),
            edges,
            bins,
            by_size=dict(zip(bins.names, cells.sum(axis=0).tolist(), strict=True)),
            colours=class_colours(read.classes) if by == "label" else source_colours(groups),
            by=by,
            selection=selection,
        ),
        "cells": heat_map_plot(cells, labels, bins.names, selection),
    }
    return found | (_run_plots(read) if read.runs else {})


def _run_plots(read: _Read) -> dict[str, Plot]:
    """Return the plots of the runs' scores, by name."""
    objects, bins, classes, runs = read.objects, read.bins, read.classes, read.runs
    titles = {name: run.title for name, run in runs.items()}
    outcomes = {name: count_outcomes(objects, name, bins.names) for name in runs}
    values = {name: ia_by_size(objects, run, classes, bins) for name, run in runs.items()}
    curves = {name: ia_by_area(objects, run, classes, read.edges) for name, run in runs.items()}
    found = {
        "outcomes": outcomes_plot(outcomes, bins.names, titles=titles, selection=read.selection),
        "sizes": sizes_plot(values, bins.names, titles=titles),
        "curve": curve_plot(curves, read.edges, bins, titles=titles),
    }
    differences = {
        (first, second): ia_differences(objects, runs[first], runs[second], classes, bins)
        for first, second in pairs_of(list(runs))
        if runs[first].options == runs[second].options
    }
    if differences:
        found["differences"] = differences_plot(differences, bins.names, titles=titles)
    return found


def _choices() -> types.View:
    choices = types.RadioView(orientation="horizontal")
    for name, label in _STACKS.items():
        choices.add_choice(name, label=f"by {label}")
    return choices


# --- the view -------------------------------------------------------------------------------------


def _stack(ctx: foo.ExecutionContext) -> str:
    found = ctx.panel.get_state("stack")
    return found if found in _STACKS else "label"


class _Read:
    """The objects of the view, and the data needed to draw them.

    The panel's own selection does not filter the objects drawn; otherwise a click could not change
    it.

    Attributes:
        objects: Objects of the view without the panel's own selection.
        selection: Selection made in the panel.
        classes: Names of the classes 1..C.
        bins: Size bins.
        edges: Edges of the bins of area, in pixels.
        runs: Attached runs that are drawn.
    """

    def __init__(self, ctx: foo.ExecutionContext) -> None:
        info = info_of(ctx.dataset)
        rest, self.selection = split_view(stages_of(ctx))
        self.classes: list[str] = list(info["classes"])
        self.bins = bins_of(info)
        self.runs: dict[str, AttachedRun] = attached_runs(info)
        self.objects = read_objects(shown_view(ctx, rest), list(self.runs))
        self.edges = area_edges(self.objects.area, self.bins)


def read_objects(view: fo.SampleCollection, runs: Sequence[str]) -> Objects:
    """Return the objects of a view with the scores of some runs.

    Images that a user added to the dataset do not belong to the set and are left out.
    """
    fields = {"number": "index"}
    paths = [f"{OBJECTS}.{fields.get(name, name)}" for name in OBJECT_COLUMNS]
    paths += [f"{OBJECTS}.{score}_{run}" for run in runs for score in SCORE_COLUMNS]
    sides = ["metadata.width", "metadata.height"]
    found = view.values([IMAGE_ID, *sides, *paths])
    ours = [k for k, image_id in enumerate(found[0]) if image_id is not None]
    image_ids, widths, heights, *columns = ([values[k] for k in ours] for values in found)
    of_runs = columns[len(OBJECT_COLUMNS) :]
    width = len(SCORE_COLUMNS)
    return gather_objects(
        image_ids,
        dict(zip(OBJECT_COLUMNS, columns, strict=False)),
        {
            run: dict(zip(SCORE_COLUMNS, of_runs[k * width : (k + 1) * width], strict=True))
            for k, run in enumerate(runs)
        },
        [(width or 0) * (height or 0) for width, height in zip(widths, heights, strict=True)],
    )


def _choose(ctx: foo.ExecutionContext, selection: Selection) -> None:
    """Replace the selection in the view; choosing the same selection again removes it."""
    rest, former = split_view(stages_of(ctx))
    view = fov.DatasetView._build(ctx.dataset, rest) if rest else ctx.dataset.view()
    if selection and selection != former:
        view = view.filter_labels(INSTANCES, selection.filter())
    ctx.ops.set_view(view)
