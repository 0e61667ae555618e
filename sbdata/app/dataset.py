"""Load a built set as a persistent FiftyOne dataset; later calls update it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import filelock

from sbdata.app.grey import targets_of, write_grey
from sbdata.app.info import dataset_name, info_of, is_ours, lost_files, masks_folder, note_info
from sbdata.app.runs import detach_outdated, detach_runs
from sbdata.app.samples import IMAGE_ID, INSTANCES, TRUTH, declare_fields, sample_fields
from sbdata.errors import InputError
from sbdata.layout import CLASSES_FOLDER, IMAGES_FOLDER, class_path, image_path
from sbdata.manifest import check_has_masks
from sbdata.mask_files import PngError
from sbdata.masks import voc_palette
from sbdata.parallel import Progress
from sbdata.sets import EvaluationSet, open_set
from sbdata.settings import as_plain
from sbdata.taxonomy import Taxonomy

if TYPE_CHECKING:
    import fiftyone as fo

_BATCH = 256  # images whose masks are in memory at once
Change = Literal["new", "same", "moved", "changed"]


@dataclass(frozen=True)
class LoadedDataset:
    """A set in FiftyOne.

    Attributes:
        opened: Set on disk.
        dataset: FiftyOne dataset.
        change: State of the dataset before: absent (``new``), up to date (``same``), the same set
            in another folder (``moved``), or with other content (``changed``).
        detached: Names of the runs that were removed because they were scored on the old content.
        outdated: Titles of the runs that were removed because another version of the metric scored
            them.
    """

    opened: EvaluationSet
    dataset: fo.Dataset
    change: Change
    detached: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()


def load_set(
    root: Path, masks: Path, *, fresh: bool = False, progress: Progress | None = None
) -> LoadedDataset:
    """Load a set into FiftyOne as the dataset ``sbdata-<name>``.

    An existing dataset of that name is updated. Samples keep their ids and what the user added to
    them, such as tags. If the set's hash differs from the stored one, images that are no longer in
    the set are deleted, the others are rewritten, and runs scored on the old content are detached.
    Images that the user added to the dataset are kept. Runs scored by another version of the metric
    are always detached.

    Args:
        root: Folder of the set.
        masks: Folder for the class maps in the form that FiftyOne reads (see
            :mod:`sbdata.app.grey`). FiftyOne refers to these files, so they must stay.
        fresh: Whether to delete an existing dataset of that name first.
        progress: Callback with (images written, total images).

    Raises:
        InputError: If the folder is not a set, lacks files, or FiftyOne has a dataset of that name
            that was not made by sbdata.
    """
    import fiftyone as fo

    opened = open_set(Path(root).resolve())
    check_has_masks(opened.manifest, opened.root, "the app")
    _check_files(opened)
    name = dataset_name(opened.name)
    masks = masks.resolve()
    masks.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(masks / f".{name}.lock"):
        if fresh and fo.dataset_exists(name):
            info_of(fo.load_dataset(name))  # raises if sbdata did not make it
            fo.delete_dataset(name)
        if not fo.dataset_exists(name):
            fill_dataset(fo.Dataset(name, persistent=True), opened, masks, progress=progress)
            return LoadedDataset(opened, fo.load_dataset(name), "new")
        dataset = fo.load_dataset(name)
        known = info_of(dataset)
        n_ours = sum(image_id is not None for image_id in dataset.values(IMAGE_ID))
        is_same = known["logical_hash"] == opened.logical_hash and n_ours == len(opened)
        is_moved = (known["root"], known["masks"]) != (str(opened.root), str(masks))
        if is_same:
            if is_moved or lost_files(dataset.values(f"{TRUTH}.mask_path")):
                _move(dataset, opened, masks, progress)
            outdated = detach_outdated(dataset)
            return LoadedDataset(
                opened, dataset, "moved" if is_moved else "same", outdated=outdated
            )
        detached = detach_runs(dataset, list(known["runs"]))
        fill_dataset(dataset, opened, masks, progress=progress)
        return LoadedDataset(opened, dataset, "changed", detached)


def fill_dataset(
    dataset: fo.Dataset, opened: EvaluationSet, masks: Path, *, progress: Progress | None = None
) -> None:
    """Write a set into a dataset: add new images, rewrite known ones and delete all others.

    The hash is stored last, so an interrupted call is repeated the next time.

    Args:
        dataset: Empty dataset, or one with old content of the set.
        opened: Set to write.
        masks: Folder for the class maps, see :func:`load_set`.
        progress: Callback with (images written, total images).
    """
    is_new = not is_ours(dataset)
    bins = opened.bins
    note_info(
        dataset,
        set=opened.name,
        logical_hash=None,
        root=str(opened.root),
        masks=str(masks),
        synthetic=bool(opened.manifest.meta.get("synthetic", False)),
        classes=list(opened.taxonomy.classes),
        sizes=list(bins.names),
        bins=as_plain(bins),
        runs={},
    )
    declare_fields(dataset, bins.names)
    # Images that a user adds have no id, and there may be several.
    with_id = {IMAGE_ID: {"$gt": ""}}
    dataset.create_index(IMAGE_ID, unique=True, partialFilterExpression=with_id)
    dataset.mask_targets = {TRUTH: targets_of(opened.taxonomy)}
    dataset.classes = {INSTANCES: list(opened.taxonomy.classes)}
    if is_new:
        dataset.app_config.color_scheme = _colours(opened.taxonomy)
        dataset.save()
    held = dict(zip(*dataset.values([IMAGE_ID, "id"]), strict=True))
    held.pop(None, None)  # an image that the user added
    dataset.delete_samples([key for image_id, key in held.items() if image_id not in opened])
    rows = opened.manifest.images
    for start in range(0, len(opened), _BATCH):
        fields = {
            row["image_id"]: sample_fields(
                opened,
                row,
                image_path(opened.root, row["image_id"]),
                truth_mask(opened, row, masks),
            )
            for row in rows.slice(start, _BATCH).to_pylist()
        }
        _write(dataset, fields, known=held)
        if progress is not None:
            progress(min(start + _BATCH, len(opened)), len(opened))
    _forget_former_masks(opened, masks)
    note_info(dataset, logical_hash=opened.logical_hash)


def _write(
    dataset: fo.Dataset, fields: Mapping[str, Mapping[str, Any]], known: Container[str]
) -> None:
    """Write samples by their ids; unknown ids are added.

    Objects are always set afterwards, because ``add_samples`` reads back everything it has written,
    which takes longest for objects. Every field is declared, so FiftyOne need not infer it.
    """
    import fiftyone as fo

    settings = {"expand_schema": False, "validate": False, "progress": False}
    added = [
        fo.Sample(**{name: value for name, value in values.items() if name != INSTANCES})
        for key, values in fields.items()
        if key not in known
    ]
    dataset.add_samples(added, batcher=False, **settings)
    is_all_new = len(added) == len(fields)
    del added  # otherwise FiftyOne would reload each sample after every change below
    view = dataset.select_by(IMAGE_ID, list(fields))
    for name in next(iter(fields.values())):
        if name == INSTANCES or not (is_all_new or name == IMAGE_ID):
            values = {key: of_sample[name] for key, of_sample in fields.items()}
            view.set_values(name, values, key_field=IMAGE_ID, **settings)


def _move(
    dataset: fo.Dataset, opened: EvaluationSet, masks: Path, progress: Progress | None
) -> None:
    """Update the dataset's paths after the set has moved, or rewrite lost class maps."""
    rows = opened.manifest.images.to_pylist()
    truths = {}
    for done, row in enumerate(rows, start=1):
        truths[row["image_id"]] = str(truth_mask(opened, row, masks))
        if progress is not None:
            progress(done, len(rows))
    photos = {key: str(image_path(opened.root, key)) for key in truths}
    dataset.set_values("filepath", photos, key_field=IMAGE_ID)
    dataset.set_values(f"{TRUTH}.mask_path", truths, key_field=IMAGE_ID)
    note_info(dataset, root=str(opened.root), masks=str(masks))


def _colours(taxonomy: Taxonomy) -> fo.ColorScheme:
    """Return a colour scheme with VOC's colours for the classes, in masks and objects alike."""
    import fiftyone as fo

    palette = voc_palette()
    hexes = {n: f"#{palette[3 * n : 3 * n + 3].hex()}" for n in targets_of(taxonomy)}
    labels = [
        {"value": name, "color": hexes[n]} for n, name in enumerate(taxonomy.classes, start=1)
    ]
    return fo.ColorScheme(
        color_by="value",
        fields=[{"path": INSTANCES, "colorByAttribute": "label", "valueColors": labels}],
        default_mask_targets_colors=[{"intTarget": n, "color": c} for n, c in hexes.items()],
    )


# --- files ----------------------------------------------------------------------------------------


def truth_mask(opened: EvaluationSet, row: Mapping[str, Any], masks: Path) -> Path:
    """Return the path of an image's class map as a grey PNG; write it if it is missing."""
    image_id = row["image_id"]
    folder = masks_folder(masks, dataset_name(opened.name), TRUTH, opened.logical_hash)
    out = folder / f"{image_id}.png"
    if out.is_file():
        return out
    path = class_path(opened.root, image_id)
    try:
        return write_grey(path, out, (row["width"], row["height"]), opened.taxonomy)[0]
    except PngError as error:
        msg = f"{path}: {error.detail}; run 'sbdata dataset verify {opened.root}'"
        raise InputError(msg) from error


def _forget_former_masks(opened: EvaluationSet, masks: Path) -> None:
    """Delete the class maps written for old contents of the set."""
    kept = masks_folder(masks, dataset_name(opened.name), TRUTH, opened.logical_hash)
    if kept.parent.is_dir():
        for folder in kept.parent.iterdir():
            if folder != kept:
                shutil.rmtree(folder, ignore_errors=True)


def _check_files(opened: EvaluationSet) -> None:
    """Check that every image and class map exists; FiftyOne would show empty tiles.

    Raises:
        InputError: If a file is missing; the message names the first one.
    """
    for folder, suffix in ((IMAGES_FOLDER, ".jpg"), (CLASSES_FOLDER, ".png")):
        absent = _absent(opened.root / folder, opened.image_ids, suffix)
        if absent:
            msg = (
                f"{opened.root / folder}: {len(absent):,} of {len(opened):,} files are missing, "
                f"such as {absent[0]}{suffix}; run 'sbdata dataset verify {opened.root}'"
            )
            raise InputError(msg)


def _absent(folder: Path, image_ids: Sequence[str], suffix: str) -> list[str]:
    names = set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208 - names suffice
    return [image_id for image_id in image_ids if f"{image_id}{suffix}" not in names]
