"""The panels of the app that are open at first: the images, and the object sizes beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import fiftyone as fo

PANEL = "object_sizes"  # name of the panel in sbdata.app.plugin


def first_spaces() -> fo.Space:
    """Return the grid of images with the panel "Object sizes" on its right."""
    import fiftyone as fo

    grid = fo.Panel(type="Samples", pinned=True)
    sizes = fo.Panel(type=PANEL)
    parts = [fo.Space(children=[panel], active_child=panel.component_id) for panel in (grid, sizes)]
    return fo.Space(children=parts, orientation="horizontal", sizes=[0.5, 0.5])
