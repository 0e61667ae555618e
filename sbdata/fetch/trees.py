"""Trees: what archives unpacked into, with a table of every file's bytes.

An archive is unpacked into a hidden folder and moved into its tree when every file is written; the
table goes last. So a tree with a table was unpacked to the end, a process killed on the way leaves
no file of wrong bytes, and the next run goes on. Several archives may share a tree, as COCO's
annotations of two years do. Damage that comes later is found by the table and mended by taking only
the damaged files out of the archive again.
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
from sbdata.parallel import run_each
from sbdata.storage import is_safe_name, sha256_of, write_bytes

STATE_FOLDER = ".sbdata"
"""In a tree: its tables, and the folder that an archive is unpacked in."""

_SUFFIX = ".files"

Kind = Literal["missing_file", "wrong_size", "changed_file", "unreadable_file"]


@dataclass(frozen=True)
class FileTable:
    """Every file that came out of an archive.

    Attributes:
        archive: name of the archive.
        sha256: of the archive's bytes.
        files: sorted by path.
    """

    archive: str
    sha256: str
    files: tuple[UnpackedFile, ...]

    @property
    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class FileDamage:
    """A file of a tree that is not as its archive had it: where, what kind, and what was seen."""

    path: str
    kind: Kind
    detail: str


# --- tables ---------------------------------------------------------------------------------------


def table_path(root: Path, archive: str) -> Path:
    """Return where a tree keeps the table of an archive's files."""
    return root / STATE_FOLDER / f"{archive}{_SUFFIX}"


def table_bytes(table: FileTable) -> bytes:
    """Return a table as text: a JSON header, then SHA-256, size and path of each file by tabs.

    The header holds the SHA-256 of the lines below it, so that a damaged table is seen to be one.
    """
    lines = "".join(f"{file.sha256}\t{file.size}\t{file.path}\n" for file in table.files)
    header = {"archive": table.archive, "sha256": table.sha256, "lines": _digest(lines)}
    return (json.dumps(header, sort_keys=True) + "\n" + lines).encode()


def read_table(path: Path) -> FileTable | None:
    """Read the table of an archive's files; None where there is none.

    Raises:
        InputError: if it is damaged.
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
    """Unpack an archive into a tree, unless that was done before.

    Two processes may try it at once: one does it, the other waits, with any archive of the tree,
    since archives may have folders in common.

    Args:
        root: the tree; folders that are there already are added to, files are replaced.
        archive: see :func:`sbdata.fetch.archives.unpack_archive`.
        sha256: of the archive, so that a tree of another archive of that name is made anew.
        proven: see :func:`sbdata.fetch.archives.unpack_archive`.
        limits: see :class:`sbdata.fetch.archives.Limits`.
        progress: see :data:`sbdata.fetch.archives.Progress`.

    Returns:
        The table of its files.

    Raises:
        InputError: if the archive is refused, a file of it is another archive's already, or the
            tree cannot be written; files that were there before are as they were.
    """
    with locked(root):
        table_at, staging = table_path(root, archive.name), _staging(root, archive.name)
        with contextlib.suppress(InputError):  # a damaged table is written anew
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
            _refuse_others(root, table)
            _flush()
            write_bytes(staging / "table", table_bytes(table))
        table_at.unlink(missing_ok=True)  # of another archive of that name
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
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> None:
    """Take some files out of an archive again; no other file of the tree is touched.

    Args:
        root: the tree.
        archive: that the table was made from.
        table: of the archive's files.
        paths: of the damaged files.
        limits: see :class:`sbdata.fetch.archives.Limits`.
        progress: see :data:`sbdata.fetch.archives.Progress`.

    Raises:
        InputError: if the archive no longer has those files with those bytes, or they cannot be
            written.
    """
    with locked(root):
        staging = _staging(root, archive.name)
        _empty(staging)
        taken = unpack_archive(
            archive, staging / "files", only=paths, proven=True, limits=limits, progress=progress
        )
        wanted = {file.path: file for file in table.files if file.path in paths}
        if {file.path: file for file in taken} != wanted:
            msg = f"{archive}: not the archive that {root} was made from; remove it, fetch it anew"
            raise InputError(msg)
        _flush()
        _move(staging / "files", root)
        shutil.rmtree(staging)


def unfinished(root: Path, archive: str) -> bool:
    """Tell whether a process that was killed left an archive half unpacked."""
    return _staging(root, archive).is_dir()


def tidy(root: Path, archive: str) -> None:
    """Remove what a process left that was killed just after its files were in their places."""
    if unfinished(root, archive):
        with contextlib.suppress(InputError), locked(root):
            _empty(_staging(root, archive))


def _staging(root: Path, archive: str) -> Path:
    return root / STATE_FOLDER / f"{archive}.unpacking"


def _staged(staging: Path, sha256: str) -> FileTable | None:
    """Return the table of files that were all unpacked and perhaps partly moved, if any."""
    with contextlib.suppress(InputError):
        table = read_table(staging / "table")
        if table is not None and table.sha256 == sha256:
            return table
    return None


def _empty(staging: Path) -> None:
    if staging.is_dir():
        # The table first: without it what is left is no staged tree, however far this comes.
        (staging / "table").unlink(missing_ok=True)
        shutil.rmtree(staging)


def _refuse_others(root: Path, table: FileTable) -> None:
    mine = {file.path: file for file in table.files}
    for other in tables_of(root):
        differ = [f.path for f in other.files if mine.get(f.path, f) != f]
        if other.archive != table.archive and differ:
            msg = (
                f"{root}: {min(differ)} is in {other.archive} and in {table.archive}, with other "
                "bytes; give the two archives different folders in the registry"
            )
            raise InputError(msg)


def _move(source: Path, target: Path) -> None:
    """Move the entries of a folder into another, whole folders at once where none is there."""
    try:
        for entry in sorted(source.iterdir()):
            place = target / entry.name
            if entry.is_dir() and place.is_dir():
                _move(entry, place)
            else:
                entry.replace(place)
    except OSError as error:
        reason = error.strerror or error
        msg = f"{target}: cannot be written ({reason}); remove what stands in the way, try again"
        raise InputError(msg) from error


def _flush() -> None:
    """Bring what was written to the disk, so that a table never names files that are not there.

    One call for all: a call for each of tens of thousands of files would take minutes.
    """
    if hasattr(os, "sync"):
        os.sync()


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep other processes from changing a tree meanwhile.

    Raises:
        InputError: if it cannot be written.
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
    """Compare files with their table, every byte of them.

    Args:
        root: the tree.
        files: of its tables.
        workers: threads that read and hash.
        progress: called with (done, total) files.
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
