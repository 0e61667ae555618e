"""The panel "Object sizes": areas, classes and IA of the objects in the current view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone as fo
import fiftyone.core.view as fov
import fiftyone.operators as foo
import fiftyone.operators.types as types

from sbdata.app.figures import (
    ALL_CLASSES,
    ALL_SIZES,
    CELLS_TRACE,
    SIZES_TRACE,
    TOTALS_TRACE,
    Figure,
    class_colours,
    curve_figure,
    heat_map_figure,
    histogram_figure,
    source_colours,
)
from sbdata.app.info import info_of, is_ours
from sbdata.app.panel_data import (
    Objects,
    area_edges,
    count_by_area,
    count_cells,
    gather_objects,
    groups_of,
    ia_by_area,
)
from sbdata.app.plugin.view import shown_view, stages_of
from sbdata.app.samples import INSTANCES, OBJECTS
from sbdata.app.selection import Selection, split_view
from sbdata.score.wording import count
from sbdata.sizes import SizeBins

NAME = "object_sizes"
LABEL = "Object sizes"
_STACKS = {"label": "class", "source": "source"}
_PLOTLY = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False, "responsive": True}
_CLICKS = {"histogram": "on_bar", "cells": "on_cell", "curve": "on_point"}
# As many columns as fit; the panel is as narrow as the user makes it.
_GRID = {
    "display": "grid",
    "gridTemplateColumns": "repeat(auto-fit, minmax(min(100%, 440px), 1fr))",
    "alignItems": "start",
    "gap": "12px",
    "padding": "8px 12px",
    "width": "100%",
    "boxSizing": "border-box",
    "& > :first-of-type": {"gridColumn": "1 / -1"},  # the head
}
_HEAD = {
    "display": "flex",
    "flexWrap": "wrap",
    "alignItems": "center",
    "columnGap": "24px",
    "& > *": {"width": "auto !important", "flex": "0 0 auto"},
    "& > :first-of-type": {"flex": "0 1 auto"},  # the sentence takes the room that it needs
}


class ObjectSizes(foo.Panel):  # type: ignore[misc]
    """The panel. It holds nothing: what is chosen is a stage of the view itself."""

    @property
    def config(self) -> foo.PanelConfig:
        """Return its name and where it can be opened."""
        return foo.PanelConfig(
            name=NAME,
            label=LABEL,
            icon="bar_chart",
            help_markdown="Areas, classes and scores of the objects in the current view. Click on "
            "a bar, a size, a cell or a point to see those objects only; click again to see all.",
        )

    def on_load(self, ctx: foo.ExecutionContext) -> None:
        """Draw; this and the following only make FiftyOne render anew."""

    def on_change_dataset(self, ctx: foo.ExecutionContext) -> None:
        """Draw the objects of another dataset."""

    def on_change_view(self, ctx: foo.ExecutionContext) -> None:
        """Draw the objects of another view, or of other filters in the sidebar."""

    def on_change_selected(self, ctx: foo.ExecutionContext) -> None:
        """Draw the objects of the images that are ticked."""

    def on_stack(self, ctx: foo.ExecutionContext) -> None:
        """Stack the histogram by something else."""
        ctx.panel.state.stack = ctx.params["value"]

    def on_bar(self, ctx: foo.ExecutionContext) -> None:
        """Show the objects of a bar, or of the size above."""
        _, _, edges, bins = _read(ctx)
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

    def on_point(self, ctx: foo.ExecutionContext) -> None:
        """Show the objects that a mean is of."""
        _, _, edges, _ = _read(ctx)
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
        objects, selection, edges, bins = _read(ctx)
        info = info_of(ctx.dataset)
        self._head(panel, ctx, objects, selection)
        figures = _figures(objects, selection, edges, bins, info, _stack(ctx))
        for name, figure in figures.items():
            panel.plot(
                name,
                data=figure.data,
                layout={**figure.layout, "height": figure.height},
                config=_PLOTLY,
                height=f"{figure.height}px",
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
        objects: Objects,
        selection: Selection,
    ) -> None:
        """Say what is drawn and what is chosen, with the ways to change it."""
        said = f"**{count(len(objects), 'object')}** in {count(objects.n_images, 'image')}"
        if selection:
            chosen = objects.subset(selection.mask(objects))
            said += (
                f"; shown: **{selection.described()}**, {count(len(chosen), 'object')} in "
                f"{count(chosen.n_images, 'image')}"
            )
        head = panel.h_stack("head", componentsProps={"grid": {"sx": _HEAD}})
        head.md(said, name="said")
        head.enum(
            "stack",
            list(_STACKS),
            default=_stack(ctx),
            view=_choices(),
            on_change=self.on_stack,
        )
        if selection:
            head.btn("all", label="Show all objects", on_click=self.on_all, variant="outlined")


def _figures(
    objects: Objects,
    selection: Selection,
    edges: Any,
    bins: SizeBins,
    info: Mapping[str, Any],
    by: str,
) -> dict[str, Figure]:
    """Return the figures by name."""
    classes = list(info["classes"])
    groups = groups_of(objects, by, classes if by == "label" else [])
    labels = groups_of(objects, "label", classes)
    cells = count_cells(objects, labels, bins.names)
    found = {
        "histogram": histogram_figure(
            count_by_area(objects, edges, by, groups),
            edges,
            bins,
            by_size=dict(zip(bins.names, cells.sum(axis=0).tolist(), strict=True)),
            colours=class_colours(classes) if by == "label" else source_colours(groups),
            by=by,
            selection=selection,
        ),
        "cells": heat_map_figure(cells, labels, bins.names, selection),
    }
    if objects.scores:
        curves = {run: ia_by_area(objects, run, edges) for run in objects.scores}
        titles = {name: run["title"] for name, run in info["runs"].items()}
        found["curve"] = curve_figure(curves, edges, bins, titles=titles)
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


def _bins(info: Mapping[str, Any]) -> SizeBins:
    return SizeBins(tuple(info["bins"].values()), tuple(info["sizes"]))


def _read(ctx: foo.ExecutionContext) -> tuple[Objects, Selection, Any, SizeBins]:
    """Return the objects of the view, what the panel chose of them, and the bins of area.

    What the panel chose does not narrow what it shows, or it could not be changed by a click.
    """
    info = info_of(ctx.dataset)
    rest, selection = split_view(stages_of(ctx))
    objects = read_objects(shown_view(ctx, rest), list(info["runs"]))
    bins = _bins(info)
    return objects, selection, area_edges(objects.area, bins), bins


def read_objects(view: fo.SampleCollection, runs: list[str]) -> Objects:
    """Return the objects of a view."""
    names = ["area", "label", "size", "source", *runs]
    fields = [f"{OBJECTS}.{name}" for name in names[:4]]
    fields += [f"{OBJECTS}.ia_iou_{run}" for run in runs]
    return gather_objects(dict(zip(names, view.values(fields), strict=True)), runs)


def _choose(ctx: foo.ExecutionContext, selection: Selection) -> None:
    """Put a selection into the view in place of the former; the same again takes it away."""
    rest, former = split_view(stages_of(ctx))
    view = fov.DatasetView._build(ctx.dataset, rest) if rest else ctx.dataset.view()
    if selection and selection != former:
        view = view.filter_labels(INSTANCES, selection.filter())
    ctx.ops.set_view(view)
