"""Export a set to one of the formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sbdata import __version__
from sbdata.errors import InputError
from sbdata.export.coco import check_coco, write_coco
from sbdata.export.cvat import check_cvat, write_cvat
from sbdata.export.folder import check_place, whole_folder
from sbdata.export.hub_benchmark import check_benchmark
from sbdata.export.huggingface import check_huggingface, write_huggingface
from sbdata.export.yolo import check_yolo, write_yolo
from sbdata.layout import CLASSES_FOLDER, IMAGES_FOLDER, OBJECTS_FOLDER
from sbdata.manifest import check_has_masks
from sbdata.parallel import Progress
from sbdata.sets import EvaluationSet, check_files


@dataclass(frozen=True)
class Format:
    """Export format: its writer and its checks.

    Attributes:
        write: Function that fills an empty folder and returns notes.
        reads: Folders of the set whose files are read.
        check: Function that raises InputError for a set that the format cannot hold.
    """

    write: Callable[..., list[str]]
    reads: tuple[str, ...]
    check: Callable[[EvaluationSet], None] | None = None


_MASKS = (IMAGES_FOLDER, CLASSES_FOLDER, OBJECTS_FOLDER)
FORMATS: Mapping[str, Format] = {
    "coco": Format(write_coco, (IMAGES_FOLDER,), check_coco),
    "hf": Format(write_huggingface, _MASKS, check_huggingface),
    "yolo": Format(write_yolo, (IMAGES_FOLDER, CLASSES_FOLDER), check_yolo),
    "cvat": Format(write_cvat, _MASKS, check_cvat),
}
"""The formats, by the name that ``--to`` takes."""


def export_set(
    opened: EvaluationSet,
    form: str,
    out: Path,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    benchmark: bool = False,
) -> list[str]:
    """Write a set in another tool's format.

    The same set gives the same files, whatever the number of workers. A failure or a kill leaves
    ``out`` as it was.

    Args:
        opened: Set with masks.
        form: Name of the format, a key of :data:`FORMATS`.
        out: Folder to write; absent, empty, or an unchanged export to the same format.
        workers: Number of threads.
        progress: Callback, called with (images done, total images).
        benchmark: With ``hf``: also write ``eval.yaml``, which makes the dataset a benchmark.

    Returns:
        Notes on what differs from the set, one sentence each.

    Raises:
        InputError: If ``benchmark`` is for another format or a set of several splits, the set has
            no masks, its files were altered, the format cannot hold it, or ``out`` holds something
            else or cannot be written.
    """
    found = FORMATS[form]
    if benchmark and form != "hf":
        msg = f"eval.yaml is a file of the Hugging Face Hub, not of an export to {form}; choose hf"
        raise InputError(msg)
    check_has_masks(opened.manifest, opened.root, f"an export to {form}")
    if found.check is not None:
        found.check(opened)
    if benchmark:
        check_benchmark(opened)
    check_place(opened.root, form, out)
    check_files(opened, found.reads)
    facts: dict[str, Any] = {
        "set": opened.name,
        "logical_hash": opened.logical_hash,
        "synthetic": opened.manifest.meta["synthetic"],
        "sbdata": __version__,
    }
    with whole_folder(opened.root, form, out, facts, workers=workers) as folder:
        further = {"benchmark": True} if benchmark else {}
        return found.write(opened, folder, workers=workers, progress=progress, **further)
