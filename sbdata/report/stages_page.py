"""Page of small objects that shows, stage by stage, where a method loses them.

One self-contained HTML file without scripts. The same score and files give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from sbdata.errors import InputError
from sbdata.file_names import stored
from sbdata.formatting import limits, percent, sizes_line, sizes_said
from sbdata.layout import image_path
from sbdata.machine import check_output, writing_to
from sbdata.manifest import check_has_masks
from sbdata.report.crops import crop_around, open_photo
from sbdata.report.pages import render
from sbdata.report.stage_pictures import ObjectCrop, legend, photo_picture, stage_picture
from sbdata.score.inputs import PredictionFormat, read_prediction
from sbdata.score.lost_objects import THRESHOLD, ObjectGroup, StagedObject, choose_objects
from sbdata.score.pseudo_masks import LABELS, THRESHOLDS, PseudoScore
from sbdata.sets import EvaluationSet
from sbdata.storage import write_text

LEAST_CROP = 96
"""Smallest side of a crop, in pixels of the photo."""

_MARGIN = 1.0  # on each side of an object, so that a crop has three times the side of its box
_MARK = '<meta name="generator" content="sbdata pseudo score">'
_MARK_WITHIN = 4096  # leading bytes of a page that contain the mark


def check_page(page: Path, opened: EvaluationSet) -> None:
    """Check that a page can be made and written, before any work is done for it.

    Args:
        page: File of the page; absent, or an earlier page, which is replaced.
        opened: Set with the objects.

    Raises:
        InputError: If the file is a folder, holds anything else, is not called ``.html`` or cannot
            be written; or if the set has no masks or no objects of the smallest size, or lacks a
            photo of one.
    """
    check_has_masks(opened.manifest, opened.root, "a page of small objects")
    if page.suffix.lower() not in (".html", ".htm"):
        msg = f"{page}: --page writes one HTML file; give a name such as stages.html"
        raise InputError(msg)
    with writing_to(page.parent):
        if page.is_dir():
            msg = f"{page}: a folder; give --page the name of a file in it, such as stages.html"
            raise InputError(msg)
        if page.exists() and not _is_ours(page):
            msg = (
                f"{page}: not a page of 'sbdata pseudo score', and it would be lost; give another "
                "file by --page"
            )
            raise InputError(msg)
    size, rows = opened.bins.names[0], opened.manifest.instances
    columns = (rows[name].to_pylist() for name in ("image_id", "size"))
    of_size = dict.fromkeys(i for i, of in zip(*columns, strict=True) if of == size)
    if not of_size:
        unit = " pixels" if opened.bins.are_intervals else ""
        msg = (
            f"{opened.root}: the set has no {size} objects ({limits(opened.bins, 0)}{unit}), so "
            "there is nothing to show; leave out --page"
        )
        raise InputError(msg)
    for image_id in of_size:
        photo = image_path(opened.root, image_id)
        if not stored(photo.parent, photo.name).is_file():
            msg = f"{photo}: no such file, and --page shows the photos; build the set again"
            raise InputError(msg)
    check_output(page.parent)


def _is_ours(page: Path) -> bool:
    with page.open("rb") as stream:
        return _MARK.encode() in stream.read(_MARK_WITHIN)


def write_stages_page(
    found: PseudoScore,
    opened: EvaluationSet,
    folders: Mapping[str, Path],
    page: Path,
    most: int = 20,
) -> int:
    """Write the page of the most informative small objects, atomically.

    Args:
        found: Score of the pseudo-masks with all stages.
        opened: Set that the masks were made for.
        folders: Folder of the class masks of each stage except the image labels, by stage name.
        page: File to write, see :func:`check_page`.
        most: Number of objects; see :func:`sbdata.score.lost_objects.choose_objects`.

    Returns:
        The number of objects on the page.

    Raises:
        InputError: If a photo or mask cannot be read.
    """
    groups = choose_objects(found.fates, opened.bins.names[0], most)
    html = _html(found, opened, folders, groups)
    with writing_to(page.parent):
        write_text(page, html)
    return sum(len(group.chosen) for group in groups)


def _html(
    found: PseudoScore,
    opened: EvaluationSet,
    folders: Mapping[str, Path],
    groups: tuple[ObjectGroup, ...],
) -> str:
    scored, bins = found.as_background, opened.bins
    counts = scored.summary.counts_of(opened.taxonomy.classes)
    stages = [name for name, _ in found.fates]
    numbers = count(1)
    shown = [
        {
            "group": group,
            "said": _said(group),
            "objects": [
                {"object": one, "panels": _panels(one, next(numbers), stages, opened, folders)}
                for one in group.chosen
            ],
        }
        for group in groups
    ]
    return render(
        "stages",
        title=f"Where {bins.names[0]} objects are lost: {scored.name} on {scored.truth_name}"
        f"{' (synthetic)' if scored.synthetic else ''}",
        mark=Markup(_MARK),  # noqa: S704 - our own text
        wide=True,
        sheet=Markup(_own_style()),  # noqa: S704 - our own file
        scored=scored,
        logical_hash=opened.logical_hash[:12],
        size=bins.names[0],
        sizes_said=sizes_said(bins, f"The {sizes_line(bins, counts)}."),
        stages=stages,
        thresholds=list(THRESHOLDS),
        threshold=THRESHOLD,
        losses=_losses(found),
        groups=shown,
        n_of_size=sum(group.n_objects for group in groups),
        n_chosen=sum(len(group.chosen) for group in groups),
        sections={
            "losses": "Losses by stage and size",
            "fates": f"Fates of the {bins.names[0]} objects",
            "objects": "Objects",
        },
        legend=list(legend()),
    )


def _losses(found: PseudoScore) -> list[dict[str, Any]]:
    """Return one row for each stage and size, with the numbers of lost instances by threshold."""
    by_size: dict[tuple[str, str], dict[str, Any]] = {}
    for row in found.losses.to_pylist():
        by_size.setdefault((row["stage"], row["size"]), {})[row["threshold"]] = row
    return [
        {**of_size[THRESHOLD], "lost_by": [row["lost"] for row in of_size.values()]}
        for of_size in by_size.values()
    ]


def _said(group: ObjectGroup) -> str:
    if group.lost_at:
        return f"lost at {group.lost_at}"
    return "lost and regained" if group.regained else "never lost"


# --- pictures -------------------------------------------------------------------------------------


def _panels(
    one: StagedObject,
    number: int,
    stages: list[str],
    opened: EvaluationSet,
    folders: Mapping[str, Path],
) -> list[dict[str, Any]]:
    """Return the pictures of an object: the photo, then the mask of each stage there."""
    instances, classes = opened.instance_map(one.image_id), opened.class_map(one.image_id)
    own = instances == one.instance_id
    place = crop_around(own, _MARGIN, LEAST_CROP)
    size = instances.shape[1], instances.shape[0]
    with open_photo(opened.root, one.image_id, size) as photo:
        pixels = np.asarray(photo)[place]
    siblings = (classes == one.class_id) & ~own
    crop = ObjectCrop(number, pixels, own[place], siblings[place], one.class_id)
    said = f"photo around the {one.class_name}, which is outlined"
    panels: list[dict[str, Any]] = [{"stage": "photo", "svg": photo_picture(crop, said)}]
    contract = PredictionFormat(opened.taxonomy, predicted_void=True)
    for k, stage in enumerate(stages):
        values, share = None, one.shares[k]
        if stage == LABELS:
            share_said = f"{'have' if share else 'lack'} its class"
            said = f"{stage}: {share_said}, {one.class_name}"
        else:
            file = stored(folders[stage], f"{one.image_id}.png")
            values = read_prediction(file, size, contract)[0][place]
            share_said = percent(share)
            ignored, background, other = map(percent, one.whither[k])
            said = (
                f"{stage}: {share_said} of the object has its class, {other} another class, "
                f"{ignored} is ignored, {background} is background"
            )
        panels.append(
            {
                "stage": stage,
                "svg": stage_picture(crop, values, said),
                "share": share_said,
                "lost": share < THRESHOLDS[THRESHOLD],
            }
        )
    return panels


@cache
def _own_style() -> str:
    return (resources.files("sbdata.report") / "stages.css").read_text("utf-8")
