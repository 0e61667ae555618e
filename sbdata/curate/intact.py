"""Intact: are a set's images and masks on disk those that it was built with?

:func:`sbdata.curate.verify.verify_set` reads every file of a set and is for people; this check is
for a task that is about to train on a set's files, or to score with them, and costs next to nothing
if nothing was changed. A hidden marker in the set's folder (see :mod:`sbdata.completion`) lists the
size, time and SHA-256 of every image and mask that was found to be right. A file that it does not
vouch for, because the set was copied, built by an older version or altered, is compared with the
manifest: a mask pixel by pixel with what its run-length codes draw, an image by its SHA-256.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from sbdata.completion import (
    FileRecord,
    Problem,
    check_marker,
    describe_problems,
    read_marker,
    record_file,
)
from sbdata.curate.materialise import (
    CHECKSUMS_FILE,
    DrawnRow,
    draw_image,
    drawn_rows,
    read_checksums,
    vouch_for,
)
from sbdata.errors import InputError
from sbdata.fetch.parallel import Progress, run_each
from sbdata.layout import INTACT_MARKER, class_path, image_path, object_path
from sbdata.masks import LabelMap, MaskError, read_index_png
from sbdata.sets import EvaluationSet


def check_intact(
    opened: EvaluationSet,
    *,
    verify: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Make sure that a set's images and masks are those that it was built with.

    Arguments are those of :func:`altered_files`.

    Raises:
        InputError: naming the first files that are not, and what to do.
    """
    problems = altered_files(opened, verify=verify, workers=workers, progress=progress)
    if problems:
        msg = (
            f"{describe_problems(opened.root, problems)}, so the set is not the one of its logical "
            f"hash {opened.logical_hash[:12]}; run 'sbdata dataset verify {opened.root}' and "
            "restore the files, or build the set again"
        )
        raise InputError(msg)


def altered_files(
    opened: EvaluationSet,
    *,
    verify: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Problem]:
    """Find images and masks of a set that are missing or not those that it was built with.

    Args:
        opened: the set.
        verify: read and hash every file, those of the recorded size and time too.
        workers: threads that read, hash and draw.
        progress: called with (images compared with the manifest, images that have to be).

    Returns:
        The files that are wrong, sorted by name; empty for an intact set.
    """
    root = opened.root
    recorded, vouched = _recorded(opened, verify, workers)
    rows = [row for row in drawn_rows(opened.manifest) if not vouched.issuperset(_names(row))]
    if not rows:
        return []
    sums = _sums_of_photos(opened, recorded)
    check = partial(_compared, root, vouched, sums)
    found: dict[str, FileRecord | Problem] = {}
    for of_image in run_each(check, rows, workers=workers, progress=progress):
        found.update(of_image)
    problems = sorted(one for one in found.values() if isinstance(one, Problem))
    if not problems:
        known = {name: recorded[name] for name in vouched}
        known |= {name: one for name, one in found.items() if isinstance(one, FileRecord)}
        with suppress(OSError):  # a set that cannot be written is compared each time
            vouch_for(root, opened.logical_hash, known)
    return problems


def _names(row: DrawnRow) -> tuple[str, str, str]:
    """Return the files of an image, relative to the set's folder."""
    here, image_id = Path(), row.image_id
    photo, classes, objects = (
        path(here, image_id).as_posix() for path in (image_path, class_path, object_path)
    )
    return photo, classes, objects


def _recorded(
    opened: EvaluationSet, verify: bool, workers: int
) -> tuple[Mapping[str, FileRecord], frozenset[str]]:
    """Return what the set's marker records, and the names of the files that are still so."""
    root = opened.root
    problems = check_marker(root, verify=verify, name=INTACT_MARKER, workers=workers)
    try:
        marker = read_marker(root, name=INTACT_MARKER)
    except InputError:
        marker = None
    if marker is None or marker.extra.get("logical_hash") != opened.logical_hash:
        return {}, frozenset()  # none, a damaged one, or one of another set's files
    return marker.files, frozenset(marker.files) - {problem.name for problem in problems}


def _sums_of_photos(
    opened: EvaluationSet, recorded: Mapping[str, FileRecord]
) -> dict[str, str | None]:
    """Return the SHA-256 that each image's file must have, None if nothing tells.

    The manifest has that of published files. A generated image is known by its pixels before they
    were encoded, so its file by the marker, or else by ``checksums.txt``.
    """
    columns = (opened.manifest.images[name].to_pylist() for name in ("sha256", "sha256_of"))
    listed: Mapping[str, str] | None = None
    sums: dict[str, str | None] = {}
    for image_id, sha256, sha256_of in zip(opened.image_ids, *columns, strict=True):
        name = image_path(Path(), image_id).as_posix()
        if sha256_of == "file" and sha256 is not None:
            sums[name] = sha256
        elif name in recorded:
            sums[name] = recorded[name].sha256
        else:
            if listed is None:
                listed = _listed(opened.root)
            sums[name] = listed.get(name)
    return sums


def _listed(root: Path) -> Mapping[str, str]:
    try:
        return read_checksums(root)
    except InputError:
        return {}


def _compared(
    root: Path, vouched: Collection[str], sums: Mapping[str, str | None], row: DrawnRow
) -> dict[str, FileRecord | Problem]:
    """Compare the files of one image with the manifest, but for those that are vouched for."""
    photo, *masks = _names(row)
    found: dict[str, FileRecord | Problem] = {}
    if photo not in vouched:
        found[photo] = _compared_photo(root / photo, photo, sums[photo])
    wanted = [name for name in masks if name not in vouched]
    if wanted:
        drawn = dict(zip(masks, draw_image(row), strict=True))
        for name in wanted:
            found[name] = _compared_mask(root / name, name, drawn[name])
    return found


def _compared_photo(path: Path, name: str, sha256: str | None) -> FileRecord | Problem:
    found = _record(path, name)
    if isinstance(found, Problem) or found.sha256 == sha256:
        return found
    if sha256 is None:
        return Problem(name, "changed", f"not listed in {CHECKSUMS_FILE}, which alone could tell")
    return Problem(name, "changed", "other bytes than the image that the set was built with")


def _compared_mask(path: Path, name: str, wanted: LabelMap) -> FileRecord | Problem:
    record = _record(path, name)  # before it is read, so that a later change shows
    if isinstance(record, Problem):
        return record
    try:
        found = read_index_png(path)
    except MaskError as error:
        return Problem(name, "unreadable", str(error))
    if found.shape != wanted.shape:
        return Problem(name, "changed", f"{found.shape[1]} x {found.shape[0]} pixels")
    different = int(np.count_nonzero(found != np.ascontiguousarray(wanted)))
    if different:
        detail = f"{different:,} of {found.size:,} pixels are not what the manifest draws"
        return Problem(name, "changed", detail)
    return record


def _record(path: Path, name: str) -> FileRecord | Problem:
    try:
        return record_file(path)
    except FileNotFoundError:
        return Problem(name, "missing", "no such file")
    except OSError as error:
        return Problem(name, "unreadable", str(error.strerror or error))
