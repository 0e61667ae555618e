"""Annotation files of a split, and whether they have changed.

Photos are not included: a built set has its own copies of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from sbdata.errors import InputError
from sbdata.recipe import SourceSpec
from sbdata.sources import NamesAnnotationFiles, Source, open_source
from sbdata.sources.coco import coco_file
from sbdata.sources.lvis import lvis_file
from sbdata.storage import sha256_of

Fingerprint = Mapping[str, str]
"""Two digests: ``stat`` of the files' names, sizes and times, ``content`` of names and bytes."""


def annotation_files(spec: SourceSpec, split: str, root: Path | None) -> list[Path]:
    """Return the files that contain the annotations of one split.

    There are none if the split is generated, or a source of a plugin does not name them.

    Args:
        spec: Source entry of the recipe.
        split: Split of the dataset.
        root: Folder of the dataset.

    Raises:
        InputError: If files are missing.
    """
    if root is None:
        return []
    if spec.reader == "coco":  # opening it would read the whole file
        return [coco_file(spec, split, root)]
    if spec.reader == "lvis":
        return [lvis_file(spec, split, root)]
    if spec.reader == "labels":  # compared even if they can no longer be opened
        options = (spec.options.get(name) for name in ("boxes", "list"))
        named = [name for name in (spec.annotations, *options) if isinstance(name, str)]
        paths = [root / name.replace("{split}", split) for name in named]
        return [f for p in paths for f in ([p] if p.is_file() else sorted(p.glob("*.xml")))]
    return files_of(open_source(spec, split, root)) or []


def files_of(source: Source) -> list[Path] | None:
    """Return the annotation files of an opened split; None if it does not name them."""
    if isinstance(source, NamesAnnotationFiles):
        named = source.annotation_files()
        return None if named is None else [*named]
    return [] if source.generated else None


def fingerprint(files: list[Path]) -> Fingerprint:
    """Return the fingerprint of some files; it changes with their contents.

    Raises:
        InputError: If a file cannot be read.
    """
    content = hashlib.sha256()
    try:
        for path in files:
            content.update(f"{path.name}\0{sha256_of(path)}\n".encode(errors="surrogateescape"))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); check its permissions"
        raise InputError(msg) from error
    return {"stat": stat_digest(files), "content": content.hexdigest()}


def is_unchanged(files: list[Path], recorded: Fingerprint) -> bool:
    """Return True if files match a fingerprint; their contents are read only if necessary.

    Args:
        files: Files to check.
        recorded: Fingerprint recorded earlier.
    """
    if stat_digest(files) == recorded.get("stat"):
        return True
    return fingerprint(files)["content"] == recorded.get("content")


def stat_digest(files: list[Path]) -> str:
    """Return a digest of the names, sizes and times of some files."""
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        line = f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()
