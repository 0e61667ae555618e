"""Imported masks as methods of the bench: ``--method import:NAME``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sbdata.benchmark.cache import locked
from sbdata.benchmark.linking import ImportSettings
from sbdata.benchmark.stage import Stage
from sbdata.benchmark.unbuilt import LATER
from sbdata.errors import InputError
from sbdata.fingerprints import code_fingerprint, content_of, hash_of
from sbdata.importers.record import (
    IMPORTS_FOLDER,
    MASKS_FOLDER,
    RECORD,
    Record,
    check_name,
    read_record,
)
from sbdata.storage import sha256_of

Progress = Callable[[int, int], None]

_IMPORTING = "sbdata.importers.folder"

PREFIX = "import:"
"""Prefix of the name of a method that is an import."""


def import_folder(method: str, work: Path) -> Path:
    """Return the folder of an import.

    Args:
        method: Method name: ``import:NAME`` for an import in the work folder, or ``import:PATH``
            with a slash in the path.
        work: Work folder of the bench.

    Raises:
        InputError: if there is no such import; the message lists the existing ones.

    >>> import_folder("import:./there", Path("runs"))
    PosixPath('there')
    """
    name = method.removeprefix(PREFIX)
    if _is_path(name):
        return Path(name)
    folder = work / IMPORTS_FOLDER / check_name(name)
    if not folder.is_dir():
        there = sorted(p.name for p in folder.parent.glob("*") if not p.name.startswith("."))
        msg = (
            f"{folder}: no such import; there {'are ' + ', '.join(there) if there else 'is none'}. "
            "'sbdata pseudo import' writes them, and import:PATH/ takes one from elsewhere"
        )
        raise InputError(msg)
    return folder


def _is_path(name: str) -> bool:
    return "/" in name or os.sep in name


def absolute_import(method: str) -> str:
    """Return ``import:PATH`` with an absolute path, which is valid in any process.

    Other method names are returned unchanged.
    """
    name = method.removeprefix(PREFIX)
    if method.startswith(PREFIX) and _is_path(name):
        return f"{PREFIX}{Path(name).absolute()}"
    return method


def find_import(method: str, work: Path) -> tuple[Record, Stage]:
    """Return the record of an import, and the single stage that links its masks into the bench.

    Args:
        method: Method name: ``import:NAME`` or ``import:PATH``, see :func:`import_folder`.
        work: Work folder of the bench.

    Raises:
        InputError: if there is no such import.
    """
    return import_in(import_folder(method, work))


def is_import(folder: Path) -> bool:
    """Return True if 'sbdata pseudo import' wrote a folder."""
    return (folder / RECORD).is_file()


def import_in(folder: Path) -> tuple[Record, Stage]:
    """Return the record of the import in a folder, and the stage that links its masks.

    Raises:
        InputError: if the folder holds no import.
    """
    record = read_record(folder)
    settings = ImportSettings(
        name=record.name,
        source=record.origin.title,
        url=record.origin.url,
        layout=record.layout,
        rule="" if record.rule is None else str(record.rule),
        files_sha256=record.origin.sha256,
        masks_sha256=record.masks_sha256,
    )
    return record, _stage(settings, folder)


def planned_import(name: str, folder: Path) -> Stage:
    """Return the stage of masks that are still to be imported, to plan with."""
    return _stage(ImportSettings(name, LATER, "", LATER, LATER, LATER, LATER), folder)


def _stage(settings: ImportSettings, folder: Path) -> Stage:
    source = (folder / MASKS_FOLDER).absolute()
    run = "sbdata.benchmark.linking:link_masks"
    return Stage("masks", run, settings, gpus=0.0, seconds_per_image=0.005, source=source)


def method_name(record: Record) -> str:
    """Return the name of an import in tables and files."""
    return f"import-{record.name}"


def paper_of(record: Record) -> str:
    """Return the origin of an import, as a result states it."""
    source = record.origin.title or "unnamed source"
    return f"imported masks: {source}{f', {record.origin.url}' if record.origin.url else ''}"


def import_for(
    method: str, folder: Path, training: Path, work: Path, progress: Progress | None = None
) -> Path:
    """Return the folder of an import of published masks or maps; import them if necessary.

    Args:
        method: Name of the method that they are of; it sets the rule that converts maps.
        folder: Folder of an import, or of files that 'sbdata pseudo import' reads.
        training: Training set.
        work: Work folder of the bench, which gets the import.
        progress: Callback with (images done, total images).

    Raises:
        InputError: if the files cannot be imported for the training set.
    """
    if is_import(folder):
        return folder
    from sbdata.importers.folder import Request, import_masks
    from sbdata.importers.sources import SOURCES
    from sbdata.importers.target import target_of_set

    target = target_of_set(training)
    source = method if method in SOURCES else None
    request = Request(folder, target, method, source=source)
    assert target.opened is not None  # noqa: S101 - it is of a set
    content = content_of({p.relative_to(folder).as_posix(): sha256_of(p) for p in _files(folder)})
    key = hash_of([target.opened.logical_hash, content, code_fingerprint(_IMPORTING)])
    out = work / IMPORTS_FOLDER / f"{method}-{key}"
    with locked(out):
        if not is_import(out):
            import_masks(request, out, progress)
    return out


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        msg = f"{folder}: no such folder; --pseudo takes a folder of masks, maps or an import"
        raise InputError(msg)
    return (path for path in folder.rglob("*") if path.is_file())
