"""Files that are whole or absent, and names that stay inside their folder."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from sbdata.errors import InputError

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.part")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; on success it replaces ``path`` in one step.

    A reader, or a process killed half-way, sees the old file or the new one, never a part.
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
    """Write a UTF-8 text file atomically, its line ends as given."""
    write_bytes(path, text.encode())


def remove_leftovers(folder: Path) -> int:
    """Delete the temporary files that a killed process left in a folder; return how many.

    Only names that :func:`writing` gives are touched, and folders below are not looked into.
    """
    stale = [path for path in folder.glob(".*.part") if _LEFTOVER.fullmatch(path.name)]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return (
            hashlib.file_digest(stream, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else hashlib.sha256(stream.read()).hexdigest()
        )


def is_safe_name(name: str) -> bool:
    """Tell whether a relative, slash-separated name cannot point outside its root.

    >>> is_safe_name("train2017/000000000009.jpg"), is_safe_name("../secret.jpg")
    (True, False)
    """
    path = PurePosixPath(name)
    return (
        bool(name)
        and "\\" not in name
        and "\0" not in name
        and ":" not in name
        and not path.is_absolute()
        and ".." not in path.parts
        and path.name not in ("", ".")
    )


def is_safe_stem(name: str) -> bool:
    """Tell whether a name can stand as a file's stem: one printable path part, not too long.

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
    """Return ``root / name`` after making sure that neither the name nor a link leaves the root.

    Raises:
        InputError: if it would.
    """
    path = root / name
    if not is_safe_name(name) or not path.resolve().is_relative_to(root.resolve()):
        msg = f"{name!r} points outside {root}; such a name is never followed"
        raise InputError(msg)
    return path
