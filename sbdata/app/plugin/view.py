"""The view of the images and objects that the grid shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.server.view as fosv


def stages_of(ctx: foo.ExecutionContext) -> list[Mapping[str, Any]]:
    """Return the stages of the page's view, as FiftyOne serialises them."""
    stages = ctx.request_params.get("view")
    saved = ctx.request_params.get("view_name")
    if not stages and saved and ctx.dataset.has_saved_view(saved):
        stages = ctx.dataset.load_saved_view(saved)._serialize()
    return list(stages or ())


def shown_view(
    ctx: foo.ExecutionContext, stages: Sequence[Mapping[str, Any]]
) -> fo.SampleCollection:
    """Return the view that the grid shows with these stages, or the images ticked in it.

    ``ctx.view`` is not used, because it leaves out the sidebar's filters if a saved view is open.
    """
    view = fosv.get_view(
        ctx.dataset,
        stages=list(stages),
        filters=ctx.request_params.get("filters"),
        extended_stages=dict(ctx.request_params.get("extended") or {}),
    )
    return view.select(ctx.selected) if ctx.selected else view
