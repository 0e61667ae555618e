"""Imported masks as methods of the bench: ``--method import:NAME``."""

from __future__ import annotations

import os
from pathlib import Path

from sbdata.benchmark.linking import ImportSettings
from sbdata.benchmark.stage import Stage
from sbdata.benchmark.unbuilt import LATER
from sbdata.errors import InputError
from sbdata.importers.record import (
    IMPORTS_FOLDER,
    Record,
    check_name,
    read_record,
)
from sbdata.layout import IMPORT_RECORD, IMPORTED_MASKS

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
            f"{folder}: no such import (existing: {', '.join(there) or 'none'}); make it by "
            "'sbdata pseudo import', or give its folder as import:PATH/"
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
    return (folder / IMPORT_RECORD).is_file()


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
    """Return the stage of masks that are not imported yet, for planning."""
    return _stage(ImportSettings(name, LATER, "", LATER, LATER, LATER, LATER), folder)


def _stage(settings: ImportSettings, folder: Path) -> Stage:
    source = (folder / IMPORTED_MASKS).absolute()
    run = "sbdata.benchmark.linking:link_masks"
    return Stage("masks", run, settings, gpus=0.0, seconds_per_image=0.005, source=source)


def method_name(record: Record) -> str:
    """Return the name of an import in tables and files."""
    return f"import-{record.name}"


def paper_of(record: Record) -> str:
    """Return the origin of an import, as a result states it."""
    source = record.origin.title or "unnamed source"
    return f"imported masks: {source}{f', {record.origin.url}' if record.origin.url else ''}"
