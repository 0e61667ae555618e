"""Trees: folders of unpacked archives, with a table of the size and hash of every file.

An archive is unpacked into a hidden folder. When every file is written, the files are moved into
the tree, and the table last. So a tree with a table is completely unpacked; a killed process leaves
no file with wrong bytes, and the next run continues. Several archives may share a tree, such as
COCO's annotations of two years. Later damage is detected by the table and repaired by unpacking
only the damaged files again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import filelock

from sbdata.errors import InputError
from sbdata.fetch.archives import Limits, Progress, UnpackedFile, unpack_archive
from sbdata.file_names import composed
from sbdata.parallel import run_each
from sbdata.storage import is_safe_name, sha256_of, write_bytes

STATE_FOLDER = ".sbdata"
"""Name of the folder in a tree that holds its tables and archives while they are unpacked."""

_SUFFIX = ".files"

Kind = Literal["missing_file", "wrong_size", "changed_file", "unreadable_file"]


@dataclass(frozen=True)
class FileTable:
    """Table of all files unpacked from an archive.

    Attributes:
        archive: Name of the archive.
        sha256: SHA-256 of the archive's bytes.
        files: Files, sorted by path.
    """

    archive: str
    sha256: str
    files: tuple[UnpackedFile, ...]

    @property
    def size(self) -> int:
        """Total size of all files in bytes."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class FileDamage:
    """A file of a tree that differs from its archive: path, kind of damage, and description."""

    path: str
    kind: Kind
    detail: str


# --- tables ---------------------------------------------------------------------------------------


def table_path(root: Path, archive: str) -> Path:
    """Return the path of the table of an archive's files in a tree."""
    return root / STATE_FOLDER / f"{archive}{_SUFFIX}"


def table_bytes(table: FileTable) -> bytes:
    """Return a table as text: a JSON header, then one tab-separated line per file.

    A line holds SHA-256, size and path. The header holds the SHA-256 of the lines below it, so
    that damage to the table is detected.
    """
    lines = "".join(f"{file.sha256}\t{file.size}\t{file.path}\n" for file in table.files)
    header = {"archive": table.archive, "sha256": table.sha256, "lines": _digest(lines)}
    return (json.dumps(header, sort_keys=True) + "\n" + lines).encode()


def read_table(path: Path) -> FileTable | None:
    """Read the table of an archive's files; None if there is none.

    Raises:
        InputError: If the table is damaged.
    """
    try:
        first, _, lines = path.read_text(encoding="utf-8").partition("\n")
        header = json.loads(first)
        rows = [line.split("\t") for line in lines.splitlines()]
        files = tuple(UnpackedFile(name, int(size), sha256) for sha256, size, name in rows)
        table = FileTable(str(header["archive"]), str(header["sha256"]), files)
        whole = header["lines"] == _digest(lines)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: not a table of files ({error}); remove it and fetch the source again"
        raise InputError(msg) from error
    if not whole or not all(is_safe_name(file.path) for file in table.files):
        msg = f"{path}: a damaged table of files; remove it and fetch the source again"
        raise InputError(msg)
    return table


def _digest(lines: str) -> str:
    return hashlib.sha256(lines.encode()).hexdigest()


def tables_of(root: Path) -> list[FileTable]:
    """Return every readable table of a tree, sorted by archive."""
    found = []
    for path in sorted((root / STATE_FOLDER).glob(f"*{_SUFFIX}")):
        with contextlib.suppress(InputError):
            table = read_table(path)
            found += [] if table is None else [table]
    return found


# --- unpacking ------------------------------------------------------------------------------------


def unpack_into(
    root: Path,
    archive: Path,
    sha256: str,
    *,
    proven: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> FileTable:
    """Unpack an archive into a tree, unless this was done before.

    Only one process works on a tree at a time, even with different archives, because archives may
    have folders in common. Other processes wait.

    Args:
        root: Root folder of the tree. Existing folders are added to; existing files are replaced.
        archive: Archive file, see :func:`sbdata.fetch.archives.unpack_archive`.
        sha256: SHA-256 of the archive; the files of another archive with this name are replaced.
        proven: Whether the archive's size or hash was compared with a published one, see
            :func:`sbdata.fetch.archives.unpack_archive`.
        limits: Limits on the content, see :class:`sbdata.fetch.archives.Limits`.
        progress: Callback, see :data:`sbdata.fetch.archives.Progress`.

    Returns:
        The table of the archive's files.

    Raises:
        InputError: If the archive is refused, one of its files belongs to another archive already
            or to the tree's own state, or the tree cannot be written. Files that existed before
            are then unchanged.
    """
    with locked(root):
        table_at, staging = table_path(root, archive.name), _staging(root, archive.name)
        with contextlib.suppress(InputError):  # a damaged table is rewritten
            done = read_table(table_at)
            if done is not None and done.sha256 == sha256:
                _empty(staging)
                return done
        table = _staged(staging, sha256)
        if table is None:
            _empty(staging)
            files = unpack_archive(
                archive, staging / "files", proven=proven, limits=limits, progress=progress
            )
            table = FileTable(archive.name, sha256, tuple(files))
            _refuse_state(archive, table)
            _refuse_others(root, table)
            _flush()
            write_bytes(staging / "table", table_bytes(table))
        table_at.unlink(missing_ok=True)  # left by another archive of that name
        _move(staging / "files", root)
        (staging / "table").replace(table_at)
        shutil.rmtree(staging)
    return table


def repair(
    root: Path,
    archive: Path,
    table: FileTable,
    paths: Collection[str],
    *,
    progress: Progress | None = None,
) -> None:
    """Unpack some files of an archive again; no other file of the tree is changed.

    Args:
        root: Root folder of the tree.
        archive: Archive that the table was made from.
        table: Table of the archive's files.
        paths: Paths of the damaged files.
        progress: Callback, see :data:`sbdata.fetch.archives.Progress`.

    Raises:
        InputError: If the archive no longer has these files with these bytes, or they cannot be
            written.
    """
    with locked(root):
        staging = _staging(root, archive.name)
        _empty(staging)
        taken = unpack_archive(
            archive, staging / "files", only=paths, proven=True, progress=progress
        )
        wanted = {file.path: file for file in table.files if file.path in paths}
        if {file.path: file for file in taken} != wanted:
            msg = f"{archive}: not the archive that {root} came from; remove it and fetch it again"
            raise InputError(msg)
        _flush()
        _move(staging / "files", root)
        shutil.rmtree(staging)


def unfinished(root: Path, archive: str) -> bool:
    """Return whether a killed process left an archive partly unpacked."""
    return _staging(root, archive).is_dir()


def tidy(root: Path, archive: str) -> None:
    """Remove the leftovers of a process that was killed just after it moved its files."""
    if unfinished(root, archive):
        with contextlib.suppress(InputError), locked(root):
            _empty(_staging(root, archive))


def _staging(root: Path, archive: str) -> Path:
    return root / STATE_FOLDER / f"{archive}.unpacking"


def _staged(staging: Path, sha256: str) -> FileTable | None:
    """Return the table if all files were unpacked (some may be moved already), else None."""
    with contextlib.suppress(InputError):
        table = read_table(staging / "table")
        if table is not None and table.sha256 == sha256:
            return table
    return None


def _empty(staging: Path) -> None:
    if staging.is_dir():
        # Remove the table first: without it, partly deleted files do not count as unpacked.
        (staging / "table").unlink(missing_ok=True)
        shutil.rmtree(staging)


def _refuse_state(archive: Path, table: FileTable) -> None:
    """Refuse an archive with files in the tree's own folder, such as the table of another one."""
    for file in table.files:
        if composed(file.path.partition("/")[0]).casefold() == STATE_FOLDER:
            msg = (
                f"{archive}: not unpacked: it contains {file.path}, and {STATE_FOLDER} is for the "
                "tables of unpacked files; fetch it from a URL you trust"
            )
            raise InputError(msg)


def _refuse_others(root: Path, table: FileTable) -> None:
    mine = {file.path: file for file in table.files}
    for other in tables_of(root):
        differ = [f.path for f in other.files if mine.get(f.path, f) != f]
        if other.archive != table.archive and differ:
            msg = (
                f"{root}: {min(differ)} is in {other.archive} and in {table.archive}, with "
                "different bytes; give the two archives different folders in the registry"
            )
            raise InputError(msg)


def _move(source: Path, target: Path) -> None:
    """Move the entries of a folder into another; a folder missing there is moved as a whole."""
    try:
        for entry in sorted(source.iterdir()):
            place = target / entry.name
            if entry.is_dir() and place.is_dir():
                _move(entry, place)
            else:
                entry.replace(place)
    except OSError as error:
        reason = error.strerror or error
        msg = f"{target}: cannot be written ({reason}); remove the conflicting file and retry"
        raise InputError(msg) from error


def _flush() -> None:
    """Flush written files to the disk, so that a table never names files that are not there.

    One call covers all files; a call for each of tens of thousands of files would take minutes.
    """
    if hasattr(os, "sync"):
        os.sync()


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Lock a tree, so that other processes do not change it.

    Raises:
        InputError: If the tree cannot be written.
    """
    state = root / STATE_FOLDER
    try:
        state.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(state / "tree.lock"):
            yield
    except OSError as error:
        msg = f"{root}: cannot be written ({error.strerror or error}); give another folder"
        raise InputError(msg) from error


# --- checking -------------------------------------------------------------------------------------


def damaged_files(
    root: Path,
    files: Sequence[UnpackedFile],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[FileDamage]:
    """Compare every byte of files with their table and return the damaged ones.

    Args:
        root: Root folder of the tree.
        files: Files listed in its tables.
        workers: Number of threads that read and hash.
        progress: Callback with (done, total) files.
    """
    found = run_each(partial(_damage, root), files, workers=workers, progress=progress)
    return [damage for damage in found if damage is not None]


def _damage(root: Path, file: UnpackedFile) -> FileDamage | None:
    path = root / file.path
    try:
        if not path.is_file():
            kind: Kind = "unreadable_file" if path.exists() else "missing_file"
            detail = "a folder or a device" if path.exists() else "no such file"
            return FileDamage(file.path, kind, detail)
        size = path.stat().st_size
        if size != file.size:
            detail = f"{size:,} bytes instead of {file.size:,}"
            return FileDamage(file.path, "wrong_size", detail)
        if sha256_of(path) != file.sha256:
            return FileDamage(file.path, "changed_file", "the right size, other bytes")
    except OSError as error:
        return FileDamage(file.path, "unreadable_file", str(error.strerror or error))
    return None
