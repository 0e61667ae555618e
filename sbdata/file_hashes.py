"""Cache of SHA-256 hashes; a file is read again only if its size or time of change differs."""

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
    """Known hashes of files.

    The records can be stored in a file, so that other processes need not read the files again. The
    record of a file that has changed since is not used.
    """

    def __init__(self, store: Path | None = None, *, verify: bool = False) -> None:
        """Load the records of an earlier process.

        Args:
            store: File for the records, or None to keep none. If it cannot be read, it counts as
                empty.
            verify: Whether to read every file once, regardless of the records.
        """
        self._store = store
        self._records: dict[str, FileRecord] = {}
        self._changed = False
        if store is not None and not verify:
            self._records = _read(store)

    def sha256(self, path: Path) -> str:
        """Return the hex SHA-256 of a file's bytes.

        Raises:
            OSError: If the file cannot be read.
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
        """Use the record of a file for a hard link to it."""
        known = self._records.get(str(path.absolute()))
        if known is not None and known != self._records.get(str(other.absolute())):
            self._records[str(other.absolute())] = known
            self._changed = True

    def learn(self, folder: Path, records: Mapping[str, FileRecord]) -> None:
        """Add the records of a folder's files, such as those of a checked marker."""
        root = folder.absolute()
        self._records |= {str(root / name): record for name, record in records.items()}

    def save(self) -> None:
        """Write the records to their file, if there is one and there are new records."""
        if self._store is None or not self._changed:
            return
        rows = {
            name: astuple(record)
            for name, record in sorted(self._records.items())
            if record.mtime_ns is not None  # otherwise it would not be used again
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
