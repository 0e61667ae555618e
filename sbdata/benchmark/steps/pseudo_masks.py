"""Scores of pseudo-masks against the training set's ground truth, stage by stage."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sbdata.benchmark.values import pseudo_figures_of
from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.images import open_image
from sbdata.json_files import read_json
from sbdata.parallel import Progress
from sbdata.score.pseudo_masks import MASKS, score_pseudo
from sbdata.sets import EvaluationSet
from sbdata.storage import write_text

FIGURES = "figures.json"


def write_pseudo_figures(
    stages: Mapping[str, Path],
    opened: EvaluationSet,
    folder: Path,
    hashes: FileHashes,
    progress: Progress,
) -> None:
    """Score a method's pseudo-masks, and the class masks of its earlier stages.

    Args:
        stages: Folder of each stage by name, in their order; the last one holds the pseudo-masks.
        opened: Training set.
        folder: Output folder of the values.
        hashes: Known hashes of the files.
        progress: Callback, called with (images done, total images).
    """
    ids = opened.image_ids
    *earlier, last = stages
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".alone.{uuid.uuid4().hex[:8]}.part"  # a killed process leaves it here
    try:
        alone = {
            name: _masks_alone(masks, ids, temporary / str(number) / name)
            for number, (name, masks) in enumerate(stages.items())
            if name == last or holds_masks(masks, ids)
        }
        named = [(name_of_earlier(name), alone[name]) for name in earlier if name in alone]
        scored = score_pseudo(alone[last], opened, named, progress=progress, hashes=hashes)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_text(folder / FIGURES, json.dumps(pseudo_figures_of(scored), indent=2) + "\n")


def read_pseudo_figures(folder: Path) -> dict[str, Any]:
    """Return the values that :func:`write_pseudo_figures` wrote.

    Raises:
        InputError: if the file is missing or damaged; the message names it.
    """
    remedy = "delete its folder to have the pseudo-masks scored again"
    found = read_json(folder / FIGURES, remedy)
    if not isinstance(found, dict):
        msg = f"{folder / FIGURES}: holds no values; {remedy}"
        raise InputError(msg)
    return found


def name_of_earlier(part: str) -> str:
    """Return the name under which the losses list an earlier stage of a method."""
    return f"{part} (stage)" if part == MASKS else part


def holds_masks(folder: Path, image_ids: Sequence[str]) -> bool:
    """Return True if a stage wrote class masks, which have a palette, for all images."""
    files = [folder / f"{image_id}.png" for image_id in image_ids]
    if not all(file.is_file() for file in files):
        return False
    with open_image(files[0], ["PNG"]) as image:
        return bool(image.mode == "P")


def _masks_alone(folder: Path, image_ids: tuple[str, ...], place: Path) -> Path:
    """Link a stage's masks into a folder without other files, as scoring requires."""
    place.mkdir(parents=True)
    for image_id in image_ids:
        (place / f"{image_id}.png").symlink_to(folder / f"{image_id}.png")
    return place
