"""Notes: facts that affect a set's numbers and are shown with them, one sentence each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sbdata.curate.changes import recorded_notes
from sbdata.curate.scan_sources import Opened
from sbdata.errors import InputError
from sbdata.file_names import describe_case
from sbdata.images import DAMAGE, open_image, orientation_of, turned_how
from sbdata.layout import image_path
from sbdata.manifest import Manifest
from sbdata.parallel import Progress, run_each
from sbdata.plurals import count
from sbdata.recipe import Recipe
from sbdata.sources import NamesCategories
from sbdata.sources.coco import CocoSource
from sbdata.sources.overlay import OverlaidSource
from sbdata.taxonomy import class_map, describe_unmatched

_SHOWN = 3


def opened_notes(recipe: Recipe, opened: Sequence[Opened]) -> list[str]:
    """Return the notes on a recipe's sources that follow from their lists alone.

    They are about classes that no category of a source maps to, and about images that several
    splits list.

    Args:
        recipe: Recipe with the classes.
        opened: Opened sources of the recipe.
    """
    notes = []
    for one in opened:
        source = one.source.base if isinstance(one.source, OverlaidSource) else one.source
        if isinstance(source, NamesCategories):
            mapping = class_map(recipe.classes(), one.spec.class_map)
            unmatched = mapping.unmatched(source.category_names)
            file = source.file.name if isinstance(source, CocoSource) else f"source {source.name}"
            notes.append(describe_unmatched(unmatched, file))
        for home, images in sorted(Counter(one.elsewhere.values()).items()):
            notes.append(
                f"{count(images, 'image')} that {one.spec.name} {one.source.split} also lists: "
                f"taken with masks from {home}, which comes first in the recipe"
            )
    return [*dict.fromkeys(note for note in notes if note)]


def quota_note(meta: Mapping[str, Any]) -> str:
    """Return a note on the cells of a set that are below the quota because the source has no more.

    Args:
        meta: Header of the set's manifest.
    """
    report, wanted = meta.get("selection"), meta.get("recipe", {}).get("select")
    if not report or not wanted:
        return ""
    quota = wanted["quota"]
    short = [cell for cell in report["cells"] if cell["lower"] < quota]
    if not short:
        return ""
    fewest = sorted(short, key=lambda cell: (cell["lower"], cell["cell"]))[: 2 * _SHOWN]
    named = ", ".join(f"{cell['cell']} {cell['lower']}" for cell in fewest)
    more = f" and {len(short) - len(fewest)} more" if len(short) > len(fewest) else ""
    return (
        f"{len(short)} of {len(report['cells'])} cells have fewer than the {quota} instances "
        f"wanted, because the sources have no more: {named}{more}"
    )


def turned_note(turned: Mapping[str, int]) -> str:
    """Return a note on the photos that are shown rotated or mirrored by their EXIF orientation tag.

    Masks refer to the pixels as stored, as in COCO. If the tag rotates by 180 degrees, mirrors, or
    rotates a square photo, the image size cannot tell whether the annotations do too.

    Args:
        turned: EXIF orientation of each such photo, by image id.
    """
    if not turned:
        return ""
    named = ", ".join(f"{name}: {turned_how(tag)}" for name, tag in sorted(turned.items())[:_SHOWN])
    more = f", and {len(turned) - _SHOWN} more" if len(turned) > _SHOWN else ""
    return (
        f"{count(len(turned), 'photo has', 'photos have')} an EXIF orientation tag "
        f"({named}{more}); the masks refer to the pixels as stored: check if the annotations do, "
        "or if they refer to the photo as it is shown"
    )


def turned_photos(
    photos: Mapping[str, Path], *, workers: int = 1, progress: Progress | None = None
) -> dict[str, int]:
    """Return the EXIF orientation of photos that are shown rotated or mirrored, by image id.

    Only headers are read. An unreadable photo is skipped; it is reported when it is decoded.

    Args:
        photos: Path of each photo, by image id.
        workers: Number of threads.
        progress: Callback, called with (photos done, total).
    """
    tags = run_each(_orientation, [*photos.values()], workers=workers, progress=progress)
    return {image_id: tag for image_id, tag in zip(photos, tags, strict=True) if tag > 1}


def _orientation(photo: Path) -> int:
    try:
        with open_image(photo) as image:
            return orientation_of(image)
    except DAMAGE:
        return 1


def source_notes(
    recipe: Recipe,
    opened: Sequence[Opened],
    images: pa.Table,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[str, ...]:
    """Return the notes on the sources of a recipe.

    Args:
        recipe: Recipe with the classes.
        opened: Opened sources of the recipe.
        images: Scanned images, with the columns ``image_id`` and ``file_name``.
        workers: Number of threads that read the photos' headers.
        progress: Callback, called with (photos done, total).
    """
    names = images.select(["image_id", "source", "file_name"]).to_pylist()
    photos = {}
    for row in names:
        found = _photo_of(row, opened)
        if found is not None:
            photos[row["image_id"]] = found
    turned = turned_photos(photos, workers=workers, progress=progress)
    notes = (
        *opened_notes(recipe, opened),
        turned_note(turned),
        describe_case(row["image_id"] for row in names),
    )
    return tuple(note for note in notes if note)


def _photo_of(row: Mapping[str, str], opened: Sequence[Opened]) -> Path | None:
    """Return a photo in the folder of its source; None if it does not exist or is generated."""
    for one in opened:
        if one.source.name != row["source"]:
            continue
        try:
            found = one.source.image_file(row["file_name"])
        except InputError:
            continue  # a build leaves out images with such names
        if found is not None:
            return found
    return None


def set_notes(manifest: Manifest, root: Path) -> tuple[str, ...]:
    """Return the notes on a built set, including those recorded when it was built.

    Args:
        manifest: Manifest of the set.
        root: Folder of the set, or a folder that holds only the manifest.
    """
    ids = manifest.images["image_id"].to_pylist()
    photos = {image_id: image_path(root, image_id) for image_id in ids}
    if ids and not photos[ids[0]].is_file():
        photos = {}  # only the manifest exists
    notes = (
        *recorded_notes(root, manifest.logical_hash),
        quota_note(manifest.meta),
        turned_note(turned_photos(photos)),
        describe_case(ids),
    )
    return tuple(note for note in notes if note)
