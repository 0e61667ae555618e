"""Completion markers: a file that states that a folder is complete, and lists its files.

A task that fills a folder writes the marker last. The marker lists each file with its size, time of
last change and SHA-256, so that a later task can detect files that were changed or lost afterwards.
Sizes and times are always compared, which is cheap. A file is read and hashed only if its time
differs, or on request.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from sbdata.errors import InputError
from sbdata.plurals import count
from sbdata.quoting import quoted
from sbdata.storage import is_safe_name, remove_leftovers, sha256_of, write_bytes

MARKER = "complete.json"
"""Default name of the marker in its folder."""

HIDDEN_MARKER = ".complete.json"
"""Name of the marker of a folder of masks: hidden, so that the folder has only masks to score."""

VERSION = 1
_RECENT = 2_000_000_000  # ns; the coarsest time that a usual file system records is 2 s

Kind = Literal["no_marker", "bad_marker", "missing", "changed", "unreadable"]


@dataclass(frozen=True, slots=True)  # there is one for every file
class FileRecord:
    """State of a file when it was recorded.

    Attributes:
        size: Size in bytes.
        mtime_ns: Time of last change, in ns since the epoch. It is None if the file had changed so
            recently that a later change might get the same time; such a file is hashed when it is
            checked.
        sha256: SHA-256 of its bytes, in hex.
    """

    size: int
    mtime_ns: int | None
    sha256: str


@dataclass(frozen=True)
class Marker:
    """The content of a marker.

    Attributes:
        files: Records of the files, by path relative to the marker's folder, with slashes.
        extra: Plain values that the task recorded as well, such as its settings.
    """

    files: Mapping[str, FileRecord]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class Problem:
    """One reason not to use a folder.

    Attributes:
        name: Path of the file in the folder; the marker's own path for ``no_marker`` and
            ``bad_marker``.
        kind: Kind of problem: ``no_marker`` (the folder was never completed), ``bad_marker`` (the
            marker cannot be read), ``missing``, ``changed`` (other bytes) or ``unreadable``.
        detail: Description of the problem.
    """

    name: str
    kind: Kind
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}"


def record_file(path: Path) -> FileRecord:
    """Read a file and return its record.

    The size and time are read before the bytes, so that a later check detects a change during the
    call.

    Raises:
        OSError: If the file cannot be read.
    """
    seen = path.stat()
    fresh = time.time_ns() - seen.st_mtime_ns < _RECENT
    return FileRecord(seen.st_size, None if fresh else seen.st_mtime_ns, sha256_of(path))


def write_marker(
    folder: Path,
    files: Iterable[str] | Mapping[str, FileRecord],
    extra: Mapping[str, Any] | None = None,
    *,
    name: str = MARKER,
) -> Marker:
    """Mark a folder as complete; the marker is written atomically and replaces an older one.

    A task must delete the marker before it changes a completed folder.

    Args:
        folder: Folder of the files.
        files: Paths relative to the folder, with slashes; or their records, if known already.
        extra: Plain values of JSON's types to store in the marker.
        name: Name of the marker.

    Raises:
        InputError: If a file is missing or cannot be read, or its name leads out of the folder.
    """
    names = sorted(files)
    unsafe = [path for path in names if not is_safe_name(path)]
    if unsafe:
        msg = f"{unsafe[0]!r} points outside {folder}; a marker lists only files below its folder"
        raise InputError(msg)
    if isinstance(files, Mapping):
        records = {path: files[path] for path in names}
    else:
        try:
            records = {path: record_file(folder / path) for path in names}
        except OSError as error:
            msg = (
                f"{error.filename or folder}: cannot be read ({error.strerror or error}), so "
                f"{folder} is not complete; run the task again"
            )
            raise InputError(msg) from error
    marker = Marker(records, dict(extra or {}))
    rows = {path: [r.size, r.mtime_ns, r.sha256] for path, r in records.items()}
    content = {"version": VERSION, "extra": marker.extra, "files": rows}
    write_bytes(folder / name, orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE))
    return marker


def read_marker(folder: Path, *, name: str = MARKER) -> Marker | None:
    """Return the marker of a folder, or None if it has none. The listed files are not checked.

    Raises:
        InputError: If this version cannot read the marker.
    """
    path = folder / name
    try:
        content = orjson.loads(path.read_bytes())
        if content["version"] != VERSION:
            msg = f"{path}: marker version {content['version']!r:.20}, not {VERSION}; delete it"
            raise InputError(msg)
        files = {path: _record(path, *row) for path, row in content["files"].items()}
        return Marker(files, dict(content["extra"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path}: not a readable marker ({error}); delete it, and run its task again"
        raise InputError(msg) from error


def _record(path: str, size: int, mtime_ns: int | None, sha256: str) -> FileRecord:
    times = (int, type(None))
    if type(size) is not int or type(mtime_ns) not in times or not isinstance(sha256, str):
        msg = f"an invalid entry for {path}"
        raise TypeError(msg)
    if not is_safe_name(path):
        msg = f"{quoted(path)} points outside"
        raise ValueError(msg)
    return FileRecord(size, mtime_ns, sha256)


def check_marker(folder: Path, *, verify: bool = False, name: str = MARKER) -> list[Problem]:
    """Compare a folder with its marker; files that the marker does not list are ignored.

    A file with the recorded size and time counts as unchanged. A file with another time, for
    example after a copy, is hashed. If all files are unchanged, the new times are recorded (if the
    folder can be written), so that the files are not hashed again.

    Args:
        folder: Folder with the marker.
        verify: Whether to hash every file.
        name: Name of the marker.

    Returns:
        The problems, sorted by name; empty if the folder can be used as it is.
    """
    try:
        marker = read_marker(folder, name=name)
    except InputError as error:
        return [Problem(name, "bad_marker", str(error))]
    if marker is None:
        return [Problem(name, "no_marker", "not there, so the folder was never completed")]
    found = {
        path: _compared(folder / path, path, record, verify)
        for path, record in sorted(marker.files.items())
    }
    problems = [one for one in found.values() if isinstance(one, Problem)]
    if not problems and found != marker.files:
        fresh = {path: one for path, one in found.items() if isinstance(one, FileRecord)}
        with suppress(OSError):  # a folder that cannot be written is hashed each time
            remove_leftovers(folder, name)  # of a process that was killed at this
            write_marker(folder, fresh, marker.extra, name=name)
    return problems


def _compared(path: Path, name: str, record: FileRecord, verify: bool) -> FileRecord | Problem:
    """Return a file's current record, or its problem."""
    try:
        seen = path.stat()
        if not path.is_file():
            return Problem(name, "unreadable", "a folder or a device")
        if seen.st_size != record.size:
            detail = f"{seen.st_size:,} bytes instead of {record.size:,}"
            return Problem(name, "changed", detail)
        if seen.st_mtime_ns == record.mtime_ns and not verify:
            return record
        found = record_file(path)
    except FileNotFoundError:
        return Problem(name, "missing", "no such file")
    except OSError as error:
        return Problem(name, "unreadable", str(error.strerror or error))
    if found.sha256 != record.sha256:
        return Problem(name, "changed", "the right size, other bytes")
    return found


def describe_problems(folder: Path, problems: Sequence[Problem]) -> str:
    """Describe the problems of a folder as part of a sentence that names the first three.

    >>> describe_problems(Path("run"), [Problem("a.png", "missing", "no such file")])
    'run: 1 file is not as recorded (a.png: no such file)'
    """
    shown = "; ".join(map(str, problems[:3]))
    more = f"; and {len(problems) - 3:,} more" if len(problems) > 3 else ""
    files = count(len(problems), "file is", "files are")
    return f"{folder}: {files} not as recorded ({shown}{more})"
