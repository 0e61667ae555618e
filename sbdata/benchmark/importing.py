"""Published masks and maps that the bench imports itself: ``--pseudo METHOD=DIR``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from sbdata.benchmark.cache import locked
from sbdata.benchmark.imported import is_import
from sbdata.errors import InputError
from sbdata.fingerprints import code_fingerprint, content_of, hash_of
from sbdata.importers.folder import Request, import_masks
from sbdata.importers.record import IMPORTS_FOLDER
from sbdata.importers.sources import SOURCES
from sbdata.importers.target import target_of_set
from sbdata.storage import sha256_of

Progress = Callable[[int, int], None]

_IMPORTING = "sbdata.importers.folder"


def import_for(
    method: str, folder: Path, training: Path, work: Path, progress: Progress | None = None
) -> Path:
    """Return the folder of an import of published masks or maps; import them if necessary.

    Args:
        method: Name of the method that made them; it determines the rule that converts maps.
        folder: Folder of an import, or of files that 'sbdata pseudo import' reads.
        training: Training set.
        work: Work folder of the bench, which gets the import.
        progress: Callback with (images done, total images).

    Raises:
        InputError: if the files cannot be imported for the training set.
    """
    if is_import(folder):
        return folder
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
