"""Notes: what stands beside a set's numbers because it bears on them, in one sentence each."""

from __future__ import annotations

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
from sbdata.recipe import Recipe
from sbdata.sources.coco import CocoSource
from sbdata.sources.overlay import OverlaidSource
from sbdata.taxonomy import class_map, describe_unmatched

_SHOWN = 3


def unmatched_notes(recipe: Recipe, opened: Sequence[Opened]) -> list[str]:
    """Say which classes of a recipe no category of a COCO-format source leads to.

    Args:
        recipe: whose classes are looked for.
        opened: its sources.
    """
    notes = []
    for one in opened:
        source = one.source.base if isinstance(one.source, OverlaidSource) else one.source
        if isinstance(source, CocoSource):
            mapping = class_map(recipe.classes(), one.spec.class_map)
            unmatched = mapping.unmatched(source.categories.values())
            notes.append(describe_unmatched(unmatched, source.file.name))
    return [note for note in notes if note]


def quota_note(meta: Mapping[str, Any]) -> str:
    """Say which cells of a set hold less than the quota because the source has no more.

    Args:
        meta: the header of a set's manifest.
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
        f"wanted, for lack of supply: {named}{more}"
    )


def turned_note(turned: Mapping[str, int]) -> str:
    """Say which photos are shown turned by their EXIF orientation tag.

    Masks lie on the pixels as they are stored, as COCO's do; whether a file's annotations do, its
    size cannot tell where the tag turns by half, mirrors, or turns a square photo.

    Args:
        turned: the tag of each such photo, by image id.
    """
    if not turned:
        return ""
    named = ", ".join(f"{name}: {turned_how(tag)}" for name, tag in sorted(turned.items())[:_SHOWN])
    more = f", and {len(turned) - _SHOWN} more" if len(turned) > _SHOWN else ""
    photos = "1 photo has" if len(turned) == 1 else f"{len(turned)} photos have"
    return (
        f"{photos} an EXIF orientation tag ({named}{more}); the masks lie on the pixels as they "
        "are stored: look whether the annotations mean them or the photo as it is shown"
    )


def turned_photos(
    photos: Mapping[str, Path], *, workers: int = 1, progress: Progress | None = None
) -> dict[str, int]:
    """Return the EXIF orientation of the photos that are shown turned, by image id.

    Only headers are read. A photo that cannot be read is passed over: what decodes it names it.

    Args:
        photos: by image id.
        workers: threads.
        progress: called with (photos done, in all).
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
    """Return the notes on a recipe's sources, as they are.

    Args:
        recipe: whose classes are looked for.
        opened: its sources.
        images: what was scanned, with the columns ``image_id`` and ``file_name``.
        workers: threads that read the photos' headers.
        progress: called with (photos done, in all).
    """
    names = images.select(["image_id", "source", "file_name"]).to_pylist()
    photos = {}
    for row in names:
        found = _photo_of(row, opened)
        if found is not None:
            photos[row["image_id"]] = found
    turned = turned_photos(photos, workers=workers, progress=progress)
    notes = (
        *unmatched_notes(recipe, opened),
        turned_note(turned),
        describe_case(row["image_id"] for row in names),
    )
    return tuple(note for note in notes if note)


def _photo_of(row: Mapping[str, str], opened: Sequence[Opened]) -> Path | None:
    """Return a photo in the folder of its source; None if it is not there, or generated."""
    for one in opened:
        if one.source.name != row["source"]:
            continue
        try:
            found = one.source.image_file(row["file_name"])
        except InputError:
            continue  # for such a name, a build leaves the image out
        if found is not None:
            return found
    return None


def set_notes(manifest: Manifest, root: Path) -> tuple[str, ...]:
    """Return the notes on a built set, also those that were recorded when it was built.

    Args:
        manifest: of the set.
        root: its folder, or one that holds the manifest alone.
    """
    ids = manifest.images["image_id"].to_pylist()
    photos = {image_id: image_path(root, image_id) for image_id in ids}
    if ids and not photos[ids[0]].is_file():
        photos = {}  # the manifest alone
    notes = (
        *recorded_notes(root, manifest.logical_hash),
        quota_note(manifest.meta),
        turned_note(turned_photos(photos)),
        describe_case(ids),
    )
    return tuple(note for note in notes if note)
