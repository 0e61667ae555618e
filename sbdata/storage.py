"""Write files and folders atomically, and check that names stay inside their folder."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from sbdata.errors import InputError
from sbdata.file_names import stored
from sbdata.quoting import quoted

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.part")
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
_TRIES = 100


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path`` in one step.

    A reader sees the old file or the new one, never a part, even if the process is killed.
    The temporary name ends in ``.part``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 - the documented atomic call
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with writing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, without changing line ends."""
    write_bytes(path, text.encode())


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a hidden path beside ``out`` for a folder that becomes ``out`` once it is complete.

    After an error, nothing is left.

    Args:
        out: Folder that does not exist yet, or is empty.

    Raises:
        OSError: If a folder cannot be created or renamed.
    """
    prepared = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield prepared
        if out.is_dir():
            out.rmdir()
        prepared.rename(out)
    finally:
        shutil.rmtree(prepared, ignore_errors=True)


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Keep other processes from writing the same file or folder.

    The lock of a killed process is free. Therefore, temporary files and folders of the target that
    are there were left by a killed process, and are deleted. The lock is beside the target and is
    deleted afterwards.
    """
    from filelock import FileLock  # with asyncio, which most commands need not load

    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    with FileLock(lock):
        try:
            remove_leftovers(target.parent, target.name)
            yield
        finally:
            with suppress(OSError):
                lock.unlink()


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside ``target``, which it replaces unless an error occurs.

    Call it within :func:`alone`.

    Raises:
        OSError: If a folder cannot be created or renamed. ``target`` is then unchanged.
    """
    prepared = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    prepared.mkdir()
    try:
        yield prepared
        replace_folder(prepared, target)
    finally:
        shutil.rmtree(prepared, ignore_errors=True)


def replace_folder(prepared: Path, target: Path) -> None:
    """Replace a folder with a prepared one; the old folder is deleted afterwards.

    The old folder is first renamed to :func:`former_of`, because no portable call exchanges two
    folders. A process that is killed in between leaves no ``target``, but the complete old folder,
    which :func:`restore_folder` (or a later call of this function) puts back. So one of the two
    always exists completely.

    Args:
        prepared: Complete new folder, on the same file system, usually beside ``target``.
        target: Path of the folder to replace; it may be absent.

    Raises:
        OSError: If a folder cannot be renamed. ``target`` is then unchanged.
    """
    former = former_of(target)
    restore_folder(target)
    for _ in range(_TRIES):
        try:
            if target.exists():
                if not target.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
                os.rename(target, former)  # noqa: PTH104 - the documented atomic call
            os.rename(prepared, target)  # noqa: PTH104
            break
        except OSError as error:
            restore_folder(target)
            if error.errno not in _TAKEN or not prepared.is_dir():
                raise
            # Another process replaced the folder, or a reader put the old one back: try again.
    else:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(target))
    _discard(former)


def restore_folder(target: Path) -> bool:
    """Restore a folder whose replacement was interrupted; call it before reading such a folder.

    If ``target`` exists, only an old folder beside it is deleted: the replacement was complete, but
    not the deletion.

    Args:
        target: Path that was given to :func:`replace_folder`.

    Returns:
        Whether ``target`` was restored.
    """
    former = former_of(target)
    if not former.is_dir():
        return False
    if target.exists():
        _discard(former)
        return False
    try:
        os.rename(former, target)  # noqa: PTH104
    except OSError:
        if target.exists():
            return False  # another process was faster
        raise
    return True


def former_of(target: Path) -> Path:
    """Return the path to which :func:`replace_folder` moves the old folder."""
    return target.parent / f".{target.name}.former"


def _discard(folder: Path) -> None:
    """Rename and delete an old folder, so that a partly deleted one is never restored."""
    name = folder.name.removeprefix(".").removesuffix(".former")
    doomed = folder.parent / f".{name}.{uuid.uuid4().hex[:8]}.part"
    try:
        os.rename(folder, doomed)  # noqa: PTH104
    except FileNotFoundError:
        return  # another process was faster
    shutil.rmtree(doomed, ignore_errors=True)


def remove_leftovers(folder: Path, of: str | None = None) -> int:
    """Delete temporary files and folders left by a killed process; return their number.

    Only names created by :func:`writing` and :func:`replace_folder` are deleted. Subfolders are not
    searched.

    Args:
        folder: Folder of the leftovers.
        of: Name of the file or folder that they were to become; any by default.
    """
    known = _LEFTOVER if of is None else re.compile(rf"\.{re.escape(of)}\.[0-9a-f]{{8}}\.part")
    stale = [path for path in folder.glob(".*.part") if known.fullmatch(path.name)]
    for path in stale:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(stale)


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_safe_name(name: str) -> bool:
    """Return whether a relative, slash-separated name stays inside its root.

    >>> is_safe_name("train2017/000000000009.jpg"), is_safe_name("../secret.jpg")
    (True, False)
    """
    return not unsafe_reason(name)


def unsafe_reason(name: str) -> str:
    r"""Return why a relative, slash-separated name is refused; empty if it is safe.

    >>> unsafe_reason("photos\\a.jpg")
    'it has a backslash; write / between folders'
    """
    path = PurePosixPath(name)
    if not name or path.name in ("", "."):
        return "it names no file"
    if "\\" in name:
        return "it has a backslash; write / between folders"
    if ":" in name or path.is_absolute():
        return "it is absolute; write it relative to the folder of the images"
    if ".." in path.parts:
        return "it leads out of its folder by .."
    if "\0" in name or not _is_encodable(name):
        return "it holds a character that no file name has"
    return ""


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def is_safe_stem(name: str) -> bool:
    """Return whether a name is valid as a file's stem: one printable path part, not too long.

    >>> is_safe_stem("000000000009"), is_safe_stem("a/b"), is_safe_stem(".hidden")
    (True, False, False)
    """
    return (
        is_safe_name(name)
        and name.isprintable()
        and "/" not in name
        and not name.startswith(".")
        and len(name.encode()) <= 200
    )


def inside(root: Path, name: str) -> Path:
    """Return the path of a file after checking that neither its name nor a link leaves the root.

    Args:
        root: Root folder.
        name: Name relative to the root, with slashes, in any Unicode form; see
            :func:`sbdata.file_names.stored`.

    Raises:
        InputError: If the file would lie outside the root.
        AmbiguousNameError: If two files have this name.
    """
    if reason := unsafe_reason(name):
        msg = f"{quoted(name)} points outside {root}: {reason}; such a name is never followed"
        raise InputError(msg)
    path = stored(root, name)
    if not path.resolve().is_relative_to(root.resolve()):
        msg = (
            f"{quoted(name)} points outside {root} by a link (to {path.resolve()}), and links that "
            "leave the source's folder are never followed; put the files there, or give the "
            "folder that holds both by --source-root"
        )
        raise InputError(msg)
    return path
