"""Materialise: turn a manifest and its images into a folder in the VOC devkit's layout.

Masks are drawn from the manifest alone, so a set can be rebuilt from its two tables. The tables are
written after the masks, and ``checksums.txt`` last: a folder that contains it is finished. Then a
hidden marker of the images and masks is written, which makes it cheap to detect later changes.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import astuple, fields
from functools import partial
from pathlib import Path

from sbdata.checksums import CHECKSUMS_FILE
from sbdata.drawn_rows import DrawnRow, draw_image, drawn_rows
from sbdata.errors import InputError
from sbdata.labelmap import LABELMAP_FILE, labelmap_problem, labelmap_text
from sbdata.layout import (
    CLASSES_FOLDER,
    IMAGES_FOLDER,
    LISTS_FOLDER,
    OBJECTS_FOLDER,
    SOURCES_MARKER,
    class_path,
    image_path,
    object_path,
)
from sbdata.litter import is_litter
from sbdata.manifest import Manifest, write_manifest
from sbdata.masks import write_index_png
from sbdata.parallel import Progress, run_each
from sbdata.printable import csv_cell, text_of_cell
from sbdata.sources import Rejection
from sbdata.storage import is_safe_name, remove_leftovers, sha256_of, write_text

REJECTED_FILE = "rejected.csv"
_OWN_MARKER = re.compile(rf"{re.escape(SOURCES_MARKER)}|\.{re.escape(SOURCES_MARKER)}\..*\.part")


# --- writing -------------------------------------------------------------------------------------


def write_set(
    manifest: Manifest,
    root: Path,
    *,
    rejections: Sequence[Rejection] = (),
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write all files of a set except its images, which must exist in ``root/JPEGImages``.

    Existing files are replaced. Other files of the set (card, Croissant) must be written before
    this call, or :func:`write_checksums` must be called after them.

    Args:
        manifest: Manifest of the set; one with labels only gets no masks.
        root: Folder of the set.
        rejections: Items left out during the build, for ``rejected.csv``.
        workers: Number of threads that draw and write masks.
        progress: Callback, called with (images done, total images).

    Raises:
        InputError: If an image is missing, or a mask of the manifest does not fit its image.
    """
    rows = [] if manifest.labels_only else list(drawn_rows(manifest))
    ids = manifest.images["image_id"].to_pylist()
    absent = [image_id for image_id in ids if not image_path(root, image_id).is_file()]
    if absent:
        msg = (
            f"{image_path(root, absent[0])}: no such file, and {len(absent) - 1} other images are "
            "missing; fetch them before the set is written"
        )
        raise InputError(msg)
    masks = () if manifest.labels_only else (CLASSES_FOLDER, OBJECTS_FOLDER)
    for folder in (".", IMAGES_FOLDER, *masks, LISTS_FOLDER):
        (root / folder).mkdir(parents=True, exist_ok=True)
        remove_leftovers(root / folder)
    (root / CHECKSUMS_FILE).unlink(missing_ok=True)  # the set is unfinished from here on
    run_each(partial(_write_masks, root), rows, workers=workers, progress=progress)
    for name, text in image_lists(manifest).items():
        write_text(root / name, text)
    if labelmap_problem(manifest.taxonomy):
        (root / LABELMAP_FILE).unlink(missing_ok=True)
    else:
        write_text(root / LABELMAP_FILE, labelmap_text(manifest.taxonomy))
    write_rejected(root / REJECTED_FILE, rejections)
    write_manifest(manifest, root)
    write_checksums(root, workers=workers)


def image_lists(manifest: Manifest) -> dict[str, str]:
    """Return the text of each ``ImageSets/Segmentation/<split>.txt`` by its path in the set."""
    members: dict[str, list[str]] = {}
    for image_id, split in zip(
        manifest.images["image_id"].to_pylist(), manifest.images["split"].to_pylist(), strict=True
    ):
        members.setdefault(split, []).append(image_id)
    return {
        f"{LISTS_FOLDER}/{split}.txt": "".join(f"{image_id}\n" for image_id in sorted(ids))
        for split, ids in sorted(members.items())
    }


def _write_masks(root: Path, row: DrawnRow) -> None:
    classes, objects = draw_image(row)
    write_index_png(class_path(root, row.image_id), classes)
    write_index_png(object_path(root, row.image_id), objects)


def remove_strangers(manifest: Manifest, root: Path) -> list[Path]:
    """Delete images, masks and lists in a set's folders that the manifest does not name.

    They come from an earlier build with other choices, or are images that were fetched and then
    found to be near duplicates. Call this only on a folder that sbdata created.

    Returns:
        The paths of the deleted files.
    """
    ids = manifest.images["image_id"].to_pylist()
    paths = (image_path,) if manifest.labels_only else (image_path, class_path, object_path)
    wanted = {path(root, i) for path in paths for i in ids}
    wanted |= {root / name for name in image_lists(manifest)}
    made = (
        (IMAGES_FOLDER, "*.jpg"),
        (CLASSES_FOLDER, "*.png"),
        (OBJECTS_FOLDER, "*.png"),
        (LISTS_FOLDER, "*.txt"),
    )
    strangers = sorted(
        path for folder, kind in made for path in (root / folder).glob(kind) if path not in wanted
    )
    for path in strangers:
        path.unlink()
    return strangers


# --- rejected.csv --------------------------------------------------------------------------------


def write_rejected(path: Path, rejections: Sequence[Rejection]) -> None:
    """Write rejections as CSV, one line each, sorted by source, file, reason and the other columns.

    Names come from annotation files and may hold any characters. Unprintable characters are written
    as escapes, so that each rejection is one line, and formulas are written as text.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(field.name for field in fields(Rejection))
    for row in sorted(map(astuple, rejections)):
        writer.writerow(csv_cell(value) for value in row)
    write_text(path, out.getvalue())


def read_rejected(path: Path) -> list[Rejection]:
    """Read a file written by :func:`write_rejected`.

    Raises:
        InputError: If the file is missing or has other columns.
    """
    names = [field.name for field in fields(Rejection)]
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
    except (OSError, ValueError, csv.Error) as error:
        msg = f"{path}: not a list of rejections ({error}); build the set again"
        raise InputError(msg) from error
    if header != names or any(len(row) != len(names) for row in rows):
        msg = f"{path}: its columns are not {', '.join(names)}; build the set again"
        raise InputError(msg)
    return [Rejection(*map(text_of_cell, row)) for row in rows]


def read_rejections_of(root: Path) -> list[Rejection]:
    """Return what was left out when a set was built; empty if the list is lost or damaged.

    ``sbdata dataset verify`` reports a lost or damaged list.

    Args:
        root: Folder of the set, or a folder that holds only the manifest.
    """
    try:
        return read_rejected(root / REJECTED_FILE)
    except InputError:
        return []


def is_set(folder: Path) -> bool:
    """Return True if a folder has the files of a set, not only a manifest."""
    return (folder / CHECKSUMS_FILE).exists() or (folder / IMAGES_FOLDER).exists()


# --- checksums.txt -------------------------------------------------------------------------------


def write_checksums(root: Path, *, workers: int = 1) -> None:
    """Write ``checksums.txt``: the SHA-256 of every other file of the set, sorted by path.

    ``sha256sum -c checksums.txt``, run in the set's folder, checks it.

    Raises:
        InputError: If a file name contains characters that the format does not allow, or a path is
            not a regular file.
    """
    names = [name for name in files_of(root) if name != CHECKSUMS_FILE]
    odd = [
        name
        for name in names
        if not (name.isprintable() and is_safe_name(name) and (root / name).is_file())
    ]
    if odd:
        msg = (
            f"{root}: {odd[0]!r} cannot be listed in {CHECKSUMS_FILE}, because it is not a plain "
            "file with a plain name; remove or rename it"
        )
        raise InputError(msg)
    sums = run_each(sha256_of, [root / name for name in names], workers=workers)
    lines = (f"{digest}  {name}\n" for digest, name in zip(sums, names, strict=True))
    write_text(root / CHECKSUMS_FILE, "".join(lines))


def files_of(root: Path) -> list[str]:
    """Return the relative paths of all files below a folder, with slashes, sorted.

    A link to a folder counts as a file and is not followed. Three kinds of files are left out: the
    set's own markers, temporary files of processes killed while writing, and files that desktops
    create.
    """
    found = []
    for folder, folders, names in os.walk(root):
        base = Path(folder)
        links = [name for name in folders if (base / name).is_symlink()]
        found += [
            (base / name).relative_to(root).as_posix()
            for name in (*names, *links)
            if not is_litter(name, hidden=False)
            and not (base == root and _OWN_MARKER.fullmatch(name))
        ]
    return sorted(found)
