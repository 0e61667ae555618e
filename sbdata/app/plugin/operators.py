"""The two operators: score predictions, and export the images shown as a new evaluation set."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any

import fiftyone.core.view as fov
import fiftyone.operators as foo
import fiftyone.operators.types as types

from sbdata.app.info import info_of, is_ours
from sbdata.app.plugin.view import shown_view, stages_of
from sbdata.app.samples import IMAGE_ID
from sbdata.app.scoring import default_results, score_and_attach
from sbdata.app.subset import write_subset
from sbdata.errors import InputError
from sbdata.manifest import read_manifest
from sbdata.plurals import count

_SECONDS = 0.5  # between two progress updates


class ScorePredictions(foo.Operator):  # type: ignore[misc]
    """Operator that scores a folder of predictions in the background and attaches the run."""

    @property
    def config(self) -> foo.OperatorConfig:
        """Return the operator's name and that it reports progress."""
        return foo.OperatorConfig(
            name="score_predictions",
            label="Score predictions",
            description="Score a folder of predicted masks on this set and show the run",
            icon="grading",
            execute_as_generator=True,
            rerunnable=False,
            view_target=False,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        """Build the form that asks for the folder, a name and the folder of the result."""
        inputs = types.Object()
        if not _is_ours(ctx, inputs):
            return types.Property(inputs, invalid=True)
        inputs.file(
            "predictions",
            required=True,
            label="Predictions",
            description="Folder of PNGs named <image_id>.png with class numbers",
            view=types.FileExplorerView(
                choose_dir=True, button_label="Choose a folder", choose_button_label="Choose"
            ),
        )
        inputs.str("name", label="Name", description="Name of the run [the folder's name]")
        inputs.str(
            "out",
            label="Results",
            description="Folder of all results; the run gets a folder of its name there",
            default=str(default_results(ctx.dataset)),
        )
        return types.Property(inputs, view=types.View(label="Score predictions"))

    def execute(self, ctx: foo.ExecutionContext) -> Iterator[Any]:
        """Score the predictions, report the progress and then the outcome.

        The work runs in a thread and is finished even if the page is closed meanwhile.
        """
        predictions = _path(ctx.params.get("predictions"))
        if predictions is None:
            yield ctx.ops.notify("no folder of predictions was chosen", variant="error")
            return
        out = _path(ctx.params.get("out")) or default_results(ctx.dataset)
        done = [0, len(ctx.dataset)]

        def progress(images: int, of: int) -> None:
            done[:] = images, of

        with ThreadPoolExecutor(1) as pool:
            work = pool.submit(
                score_and_attach,
                ctx.dataset,
                predictions,
                out,
                (ctx.params.get("name") or "").strip(),
                progress=progress,
            )
            while wait_for([work], _SECONDS).not_done:
                images, of = done
                yield ctx.ops.set_progress(
                    label=f"{images:,} of {count(of, 'image')} scored", progress=images / max(1, of)
                )
            try:
                title, notes = work.result()
            except InputError as error:
                yield ctx.ops.notify(str(error), variant="error")
                return
        for note in notes:
            yield ctx.ops.notify(note, variant="warning")
        yield ctx.ops.notify(f"{title}: scored and attached", variant="success")
        yield ctx.ops.reload_dataset()
        yield ctx.ops.set_view(fov.DatasetView._build(ctx.dataset, stages_of(ctx)))


class ExportView(foo.Operator):  # type: ignore[misc]
    """Operator that writes the images shown as the manifest of a new evaluation set."""

    @property
    def config(self) -> foo.OperatorConfig:
        """Return the operator's name."""
        return foo.OperatorConfig(
            name="export_view",
            label="Export view as a manifest",
            description="Write the images of this view as a recipe and manifest of a new set",
            icon="fact_check",
            dynamic=True,
            rerunnable=False,
            view_target=False,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        """Build the form that asks for the new set's name and folder, and describe the new set."""
        inputs = types.Object()
        if not _is_ours(ctx, inputs):
            return types.Property(inputs, invalid=True)
        known = info_of(ctx.dataset)
        inputs.str("name", label="Name", required=True, default=f"{known['set']}-part")
        inputs.str(
            "out",
            label="Folder",
            description="Folder in which the new set's folder is created",
            default=str(Path(known["root"]).parent / "manifests"),
        )
        shown = shown_view(ctx, stages_of(ctx)).exists(IMAGE_ID).count()
        inputs.md(
            f"It will hold the **{count(shown, 'image')}** shown, with all their objects, hidden "
            "ones as well: without these, a prediction that finds one would count as wrong.",
            name="said",
        )
        return types.Property(inputs, view=types.View(label="Export view as a manifest"))

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Write the manifest of the new set."""
        known = info_of(ctx.dataset)
        out = _path(ctx.params.get("out")) or Path(known["root"]).parent / "manifests"
        try:
            manifest = read_manifest(Path(known["root"]))
            shown = shown_view(ctx, stages_of(ctx)).values(IMAGE_ID)
            # An image that a user added to the dataset does not belong to the set.
            image_ids = [image_id for image_id in shown if image_id is not None]
            folder = write_subset(manifest, image_ids, str(ctx.params["name"]).strip(), out)
        except InputError as error:
            ctx.ops.notify(str(error), variant="error")
            return {"written": "", "error": str(error)}
        ctx.ops.notify(f"written: {folder}", variant="success")
        return {"written": str(folder), "error": ""}

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property:
        """Show where the new set is and what can be done with it."""
        outputs = types.Object()
        folder, error = ctx.results.get("written"), ctx.results.get("error")
        outputs.md(error or f"Build it by `sbdata dataset build {folder}`", name="said")
        return types.Property(outputs, view=types.View(label=folder or "Not written"))


def _is_ours(ctx: foo.ExecutionContext, inputs: types.Object) -> bool:
    """Return whether sbdata made the dataset; if not, show a message on the form."""
    if ctx.dataset is not None and is_ours(ctx.dataset):
        return True
    inputs.md("This dataset was not loaded by `sbdata app`.", name="said")
    return False


def _path(value: Any) -> Path | None:
    """Return the path from a form's value, given as text or by the file explorer."""
    text = value.get("absolute_path") if isinstance(value, dict) else value
    return Path(str(text).strip()).expanduser().absolute() if text and str(text).strip() else None
