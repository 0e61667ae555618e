"""SHA-256 of files, each read once as long as its size and time of last change stay the same."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import orjson

from sbdata.completion import FileRecord, record_file
from sbdata.storage import write_bytes

VERSION = 1


class FileHashes:
    """What is known of the content of files.

    The records may be kept in a file, so that another process, or a later one, need not read the
    files again. A record of a file that was changed since is not used.
    """

    def __init__(self, store: Path | None = None, *, verify: bool = False) -> None:
        """Take up the records of a former process.

        Args:
            store: file of the records, if they are to be kept; one that cannot be read counts as
                empty.
            verify: read every file once, whatever the records say.
        """
        self._store = store
        self._records: dict[str, FileRecord] = {}
        self._changed = False
        if store is not None and not verify:
            self._records = _read(store)

    def sha256(self, path: Path) -> str:
        """Return the hex SHA-256 of a file's bytes.

        Raises:
            OSError: if it cannot be read.
        """
        name = str(path.absolute())
        known = self._records.get(name)
        if known is not None and known.mtime_ns is not None:
            seen = path.stat()
            if (seen.st_size, seen.st_mtime_ns) == (known.size, known.mtime_ns):
                return known.sha256
        found = record_file(path)
        if found != known:
            self._records[name] = found
            self._changed = True
        return found.sha256

    def same(self, path: Path, other: Path) -> None:
        """Take the record of a file for another name of it, a hard link."""
        known = self._records.get(str(path.absolute()))
        if known is not None and known != self._records.get(str(other.absolute())):
            self._records[str(other.absolute())] = known
            self._changed = True

    def learn(self, folder: Path, records: Mapping[str, FileRecord]) -> None:
        """Take over the records of a folder's files, such as those of a marker that was checked."""
        root = folder.absolute()
        self._records |= {str(root / name): record for name, record in records.items()}

    def save(self) -> None:
        """Write the records to their file, if there is one and something is new."""
        if self._store is None or not self._changed:
            return
        rows = {
            name: astuple(record)
            for name, record in sorted(self._records.items())
            if record.mtime_ns is not None  # else it is not used again
        }
        content = {"version": VERSION, "written": time.time_ns(), "files": rows}
        write_bytes(self._store, orjson.dumps(content))
        self._changed = False


def _read(store: Path) -> dict[str, FileRecord]:
    try:
        content: Any = orjson.loads(store.read_bytes())
        if content["version"] != VERSION:
            return {}
        return {name: _record(*row) for name, row in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # the files are read again


def _record(size: int, mtime_ns: int | None, sha256: str) -> FileRecord:
    if type(size) is not int or not isinstance(sha256, str):
        raise TypeError
    return FileRecord(size, mtime_ns, sha256)
