"""Scored runs in a FiftyOne dataset: their masks, and the scores of every object and image."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sbdata.app.attached import check_comparable, outdated_runs
from sbdata.app.grey import targets_of, write_grey
from sbdata.app.info import dataset_name, field_name, info_of, lost_files, masks_folder, note_info
from sbdata.app.run_folder import Run, read_run
from sbdata.app.samples import IMAGE_ID, OBJECTS
from sbdata.errors import InputError
from sbdata.mask_files import PngError
from sbdata.metrics.image import METRIC
from sbdata.metrics.outcomes import OUTCOMES
from sbdata.parallel import Progress
from sbdata.score.saved import IMAGE_SCORES, OBJECT_SCORES, check_saved_bins, check_saved_score
from sbdata.sets import EvaluationSet

if TYPE_CHECKING:
    import fiftyone as fo


def attach_run(
    dataset: fo.Dataset, opened: EvaluationSet, run: Run, *, progress: Progress | None = None
) -> tuple[str, ...]:
    """Add a run's masks and scores to a dataset; an attached run of that name is replaced.

    Args:
        dataset: Dataset from :func:`sbdata.app.dataset.load_set`.
        opened: Set of the dataset.
        run: Run that was scored on the set.
        progress: Callback with (images done, total images).

    Returns:
        Messages for the user, for example that the predictions are no longer at their path.

    Raises:
        InputError: If the run belongs to another set, the dataset holds another set than
            ``opened``, or an attached run was scored in another way.
    """
    check_saved_score(run, opened)
    check_saved_bins(run, opened)
    known = info_of(dataset)
    if known["logical_hash"] != opened.logical_hash:
        msg = f"{opened.root}: was changed after it was loaded; run 'sbdata app {opened.root}'"
        raise InputError(msg)
    former = known["runs"].get(run.name)
    place = str(run.folder) if former is None else former["folder"]
    if place != str(run.folder) and Path(place).is_dir():
        msg = (
            f"{run.folder}: {run.name!r} is attached from {place}; score one of them again under "
            "another --name, or drop all attached runs by --fresh"
        )
        raise InputError(msg)
    others = {name: noted for name, noted in known["runs"].items() if name != run.name}
    check_comparable(run.title, run.metric_note, others)
    check_fields(run.name, others, known["sizes"])
    if former is not None:  # until everything is written, its values are mixed from two runs
        note_info(dataset, runs={**known["runs"], run.name: {**former, "metric": ""}})
    image_ids = dataset.values(IMAGE_ID)
    notes = _attach_masks(dataset, opened, run, Path(known["masks"]), image_ids, progress)
    _attach_objects(dataset, run)
    _attach_images(dataset, opened, run, image_ids)
    values = {name: cell["class_mean"]["value"] for name, cell in run.summary["ia"].items()}
    runs = {
        **info_of(dataset)["runs"],
        run.name: {
            "title": run.title,
            "folder": str(run.folder),
            "predictions_sha256": run.predictions_hash,
            "values": {"miou": run.summary["miou"]["value"], **values},
            **run.metric_note,
        },
    }
    note_info(dataset, runs=runs)
    return notes


def restore_masks(dataset: fo.Dataset, opened: EvaluationSet) -> tuple[str, ...]:
    """Attach runs again if their masks are no longer at the stored path, such as after a move.

    Returns:
        Messages for the user about runs that cannot be attached again; their scores stay.
    """
    notes: list[str] = []
    for name, noted in info_of(dataset)["runs"].items():
        if lost_files(dataset.values(f"{mask_field(name)}.mask_path")):
            try:
                notes += attach_run(dataset, opened, read_run(Path(noted["folder"])))
            except InputError as error:
                notes.append(f"{noted['title']}: its masks are gone: {error}")
    return tuple(notes)


def detach_outdated(dataset: fo.Dataset) -> tuple[str, ...]:
    """Remove the runs from a dataset that were scored by another version of the metric.

    Returns:
        The titles of the removed runs.
    """
    known = info_of(dataset)
    gone = detach_runs(dataset, outdated_runs(known))
    return tuple(str(known["runs"][name]["title"]) for name in gone)


def detach_runs(dataset: fo.Dataset, names: Sequence[str]) -> tuple[str, ...]:
    """Remove runs from a dataset, with all their fields.

    Args:
        dataset: Dataset that holds a set.
        names: Names of the runs; runs that are not attached are ignored.

    Returns:
        The names of the runs that were attached.
    """
    runs = dict(info_of(dataset)["runs"])
    gone = tuple(name for name in names if runs.pop(name, None) is not None)
    sizes = info_of(dataset)["sizes"]
    fields = [field for name in gone for field in run_fields(name, sizes)]
    present = [field for field in fields if dataset.get_field(field) is not None]
    if present:
        dataset.delete_sample_fields(present)
    for name in gone:
        dataset.mask_targets.pop(mask_field(name), None)
    dataset.save()
    note_info(dataset, runs=runs)
    return gone


def mask_field(name: str) -> str:
    """Return the field that holds a run's masks."""
    return f"prediction_{name}"


def image_fields(name: str, sizes: Sequence[str]) -> list[str]:
    """Return the fields that hold a run's scores of whole images."""
    scores = ["ia", *(f"ia_{field_name(size)}" for size in sizes), *IMAGE_SCORES]
    return [f"{score}_{name}" for score in scores]


def run_fields(name: str, sizes: Sequence[str]) -> list[str]:
    """Return all fields of a run; those of objects are full paths."""
    return [
        mask_field(name),
        *image_fields(name, sizes),
        *(f"{OBJECTS}.{score}_{name}" for score in OBJECT_SCORES),
    ]


def check_fields(name: str, others: Iterable[str], sizes: Sequence[str]) -> None:
    """Check that no field of a run would have the name of a field of another run.

    The IA of run ``small_cam`` has the field ``ia_small_cam``, and so has the IA of the small
    objects of run ``cam``.

    Args:
        name: Suffix of the run's fields.
        others: Suffixes of the other runs' fields.
        sizes: Names of the sizes.

    Raises:
        InputError: If two runs would have a common field; the message names them.
    """
    own = set(image_fields(name, sizes))
    for other in others:
        common = sorted(own.intersection(image_fields(other, sizes)))
        if other != name and common:
            msg = (
                f"runs {name!r} and {other!r} would both have the field {common[0]!r}; score one "
                "of them again under another --name"
            )
            raise InputError(msg)


def _attach_masks(
    dataset: fo.Dataset,
    opened: EvaluationSet,
    run: Run,
    masks: Path,
    image_ids: Sequence[str],
    progress: Progress | None,
) -> tuple[str, ...]:
    """Store the paths of the predictions, provided that they are the ones that were scored."""
    import fiftyone as fo

    field = mask_field(run.name)
    dataset.add_sample_field(
        field,
        fo.EmbeddedDocumentField,
        embedded_doc_type=fo.Segmentation,
        description=f"What {run.title} predicts",
    )
    dataset.mask_targets = {**dataset.mask_targets, field: targets_of(opened.taxonomy)}
    found, note = _predictions(opened, run, masks, progress)
    labels = [
        fo.Segmentation(mask_path=str(found[image_id])) if image_id in found else None
        for image_id in image_ids
    ]
    dataset.set_values(field, labels, expand_schema=False)
    return (note,) if note else ()


def _predictions(
    opened: EvaluationSet, run: Run, masks: Path, progress: Progress | None
) -> tuple[dict[str, Path], str]:
    """Return the grey masks by image, and a message for the user if there are none."""
    folder = run.predictions
    without = f"{run.title}: shown without its masks, for"
    if folder is None or run.without_masks:
        return {}, f"{without} {run.without_masks}"
    out = masks_folder(masks, dataset_name(opened.name), mask_field(run.name), run.predictions_hash)
    missing = dict(
        zip(run.images["image_id"].to_pylist(), run.images["missing"].to_pylist(), strict=True)
    )
    found, digests = {}, []
    columns = (opened.manifest.images[name].to_pylist() for name in ("image_id", "width", "height"))
    for done, (image_id, width, height) in enumerate(zip(*columns, strict=True), start=1):
        path = folder / f"{image_id}.png"
        if not missing[image_id]:
            try:
                place, digest = write_grey(path, out / path.name, (width, height), opened.taxonomy)
            except PngError as error:
                return {}, f"{without} {path} is not what was scored: {error.detail}"
            found[image_id] = place
            digests.append(f"{digest}  {image_id}.png\n")
        if progress is not None:
            progress(done, len(opened))
    if hashlib.sha256("".join(digests).encode()).hexdigest() != run.predictions_hash:
        return {}, f"{without} the predictions in {folder} are not those that were scored"
    for former in out.parent.glob(f"{mask_field(run.name)}-*"):
        if former != out:
            shutil.rmtree(former, ignore_errors=True)
    return found, ""


def _attach_objects(dataset: fo.Dataset, run: Run) -> None:
    """Set the scores of all objects, by image and number of the object."""
    import fiftyone as fo

    columns = (run.instances[name].to_pylist() for name in ("image_id", "instance_id"))
    row_of = {key: row for row, key in enumerate(zip(*columns, strict=True))}
    image_ids, numbers = dataset.values([IMAGE_ID, f"{OBJECTS}.index"])
    rows = [  # None: an object that a user drew, or one of an image that a user added
        [row_of.get((image_id, number)) for number in of_image or ()]
        for image_id, of_image in zip(image_ids, numbers, strict=True)
    ]
    kinds = {"ia_iou": fo.FloatField, "tp": fo.IntField, "fp": fo.FloatField}
    words = {
        "ia_iou": f"Instance-aware IoU ({METRIC}), {run.title}",
        "tp": f"True positives: pixels of the object predicted as its class, {run.title}",
        "fp": f"False positives attributed to this object, in pixels, {run.title}",
        "outcome": f"Outcome of the object ({', '.join(OUTCOMES)}), {run.title}",
        "other_class": "The other class that most of its pixels are predicted as, if any, "
        f"{run.title}",
    }
    for score in OBJECT_SCORES:
        path = f"{OBJECTS}.{score}_{run.name}"
        kind = kinds.get(score, fo.StringField)
        dataset.add_sample_field(path, kind, description=words[score])
        # An empty string means that there is no other class.
        values = [None if value == "" else value for value in run.instances[score].to_pylist()]
        nested = [[None if row is None else values[row] for row in of_image] for of_image in rows]
        dataset.set_values(path, nested, expand_schema=False)


def _attach_images(
    dataset: fo.Dataset, opened: EvaluationSet, run: Run, image_ids: Sequence[str]
) -> None:
    """Set the scores of all images; a mean over no objects is left out."""
    import fiftyone as fo

    per_image = {"ia": run.images["mean_ia"].to_pylist()}
    per_image |= {name: run.images[name].to_pylist() for name in IMAGE_SCORES}
    keys = run.images["image_id"].to_pylist()
    tables = {name: dict(zip(keys, values, strict=True)) for name, values in per_image.items()}
    for size, means in _means_by_size(opened, run).items():
        tables[f"ia_{field_name(size)}"] = means
    words = {
        "ia": f"Mean IA of the image's objects, {run.title}",
        "pixel_accuracy": f"Share of pixels with the right class, {run.title}",
        "orphan_pixels": f"Pixels of regions that meet no object of their class, {run.title}",
    }
    for name, values in tables.items():
        kind = fo.IntField if name == "orphan_pixels" else fo.FloatField
        size = name.removeprefix("ia_")
        description = words.get(name, f"Mean IA of the image's {size} objects, {run.title}")
        dataset.add_sample_field(f"{name}_{run.name}", kind, description=description)
        in_order = [values.get(image_id) for image_id in image_ids]
        dataset.set_values(f"{name}_{run.name}", in_order, expand_schema=False)


def _means_by_size(opened: EvaluationSet, run: Run) -> dict[str, dict[str, float]]:
    """Return the mean IA of each image's objects, by size."""
    truth = opened.manifest.instances.select(["image_id", "instance_id", "size"])
    number = truth.schema.get_field_index("instance_id")
    truth = truth.set_column(number, "instance_id", truth["instance_id"].cast(pa.int32()))
    joined = truth.join(run.instances, ["image_id", "instance_id"])
    grouped = joined.group_by(["size", "image_id"]).aggregate([("ia_iou", "mean")])
    means: dict[str, dict[str, float]] = {size: {} for size in opened.bins.names}
    for row in grouped.to_pylist():
        means[row["size"]][row["image_id"]] = float(np.float64(row["ia_iou_mean"]))
    return means
