"""Notes: what stands beside a set's numbers because it bears on them, in one sentence each."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sbdata.curate.scan_sources import Opened
from sbdata.curate.select_and_fetch import count_reasons
from sbdata.images import DAMAGE, open_image, orientation_of, turned_how
from sbdata.layout import image_path
from sbdata.manifest import Manifest
from sbdata.quoting import shortened
from sbdata.recipe import Recipe
from sbdata.sources import Rejection
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


def same_name_rejections(images: pa.Table) -> list[Rejection]:
    """Return a rejection for each image whose name differs from another's only in letter case.

    Names that differ only in how letters with marks are composed count as the same, too. Such
    files are one file on a Mac or on Windows.

    Args:
        images: with the columns ``image_id``, ``source`` and ``file_name``.
    """
    rows = images.select(["image_id", "source", "file_name"]).to_pylist()
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        folded = unicodedata.normalize("NFC", row["image_id"]).casefold()
        groups.setdefault(folded, []).append(row)
    return [
        Rejection(
            row["source"],
            row["file_name"],
            "names_differ_in_case",
            f"the names of {' and '.join(other['image_id'] for other in group)} differ only in "
            "letter case, so that a Mac or Windows takes them for one file; rename one",
            row["image_id"],
        )
        for group in groups.values()
        if len(group) > 1
        for row in group
    ]


def first_reasons(rejections: Sequence[Rejection], shown: int = _SHOWN) -> str:
    """Say what was seen, of one thing of each reason; empty if nothing was left out.

    Args:
        rejections: what was left out.
        shown: how many are said.
    """
    first: dict[str, Rejection] = {}
    for rejection in rejections:
        first.setdefault(rejection.reason, rejection)
    said = [
        f"{shortened(r.file, 80)}: {shortened(r.detail, 240)}" for r in list(first.values())[:shown]
    ]
    return "; ".join(said)


def describe_rejections(rejections: Sequence[Rejection]) -> str:
    """Say how much was left out for which reason, and of one thing of each what was seen."""
    if not rejections:
        return ""
    counts = ", ".join(f"{reason} {n:,}" for reason, n in count_reasons(rejections).items())
    return f"{counts} ({first_reasons(rejections)})"


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


def set_notes(manifest: Manifest, root: Path) -> tuple[str, ...]:
    """Return the notes on a built set whose photos are at hand.

    Args:
        manifest: of the set.
        root: its folder, or one that holds the manifest alone.
    """
    turned = {}
    for image_id in manifest.images["image_id"].to_pylist():
        path = image_path(root, image_id)
        if not path.is_file():
            break
        try:
            with open_image(path) as image:
                turned[image_id] = orientation_of(image)
        except DAMAGE:
            continue  # `sbdata dataset verify` names it
    turned = {image_id: tag for image_id, tag in turned.items() if tag > 1}
    return tuple(note for note in (quota_note(manifest.meta), turned_note(turned)) if note)
