"""Export to CVAT's "Segmentation mask 1.1": a VOC devkit with one list and ``labelmap.txt``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sbdata.errors import InputError
from sbdata.export.photos import place_photo, turn_note
from sbdata.labelmap import LABELMAP_FILE, labelmap_problem, labelmap_text
from sbdata.layout import (
    CLASSES_FOLDER,
    IMAGES_FOLDER,
    LISTS_FOLDER,
    OBJECTS_FOLDER,
    class_path,
    image_path,
    object_path,
)
from sbdata.manifest import IMAGES_FILE
from sbdata.mask_files import write_index_png
from sbdata.parallel import Progress, run_each
from sbdata.quoting import quoted
from sbdata.sets import EvaluationSet


def check_cvat(opened: EvaluationSet) -> None:
    """Check that ``labelmap.txt`` can hold the class names, and the image list the image ids.

    Raises:
        InputError: If a name cannot be written; the message names it.
    """
    problem = labelmap_problem(opened.taxonomy)
    if problem:
        msg = (
            f"{opened.root / IMAGES_FILE}: {LABELMAP_FILE} cannot hold a {problem}; build the set "
            "with another name for it"
        )
        raise InputError(msg)
    odd = [name for name in opened.image_ids if name.startswith("#") or name != name.strip()]
    if odd:
        msg = (
            f"{opened.root / IMAGES_FILE}: image {quoted(odd[0])} would be lost from CVAT's list, "
            "where # begins a comment and blanks at the ends do not count; rename it in its source"
        )
        raise InputError(msg)


def write_cvat(
    opened: EvaluationSet, folder: Path, *, workers: int, progress: Progress | None
) -> list[str]:
    """Write photos, class masks and instance masks of a set as CVAT and Datumaro read them.

    Returns:
        Notes on the export.
    """
    for name in (IMAGES_FOLDER, CLASSES_FOLDER, OBJECTS_FOLDER, LISTS_FOLDER):
        (folder / name).mkdir(parents=True)
    write = partial(_write, opened, folder)
    turned = run_each(write, opened.image_ids, workers=workers, progress=progress)
    lines = "".join(f"{image_id}\n" for image_id in opened.image_ids)
    (folder / LISTS_FOLDER / "default.txt").write_bytes(lines.encode())
    (folder / LABELMAP_FILE).write_bytes(labelmap_text(opened.taxonomy).encode())
    return turn_note(turned)


def _write(opened: EvaluationSet, folder: Path, image_id: str) -> bool:
    write_index_png(class_path(folder, image_id), opened.class_map(image_id))
    write_index_png(object_path(folder, image_id), opened.instance_map(image_id))
    return place_photo(opened.image_path(image_id), image_path(folder, image_id), link=True)
