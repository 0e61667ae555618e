"""Partly downloaded files: their bytes, their origin and their hashes.

``NAME.part`` holds the bytes as they were sent; ``NAME.part.json``, the note, describes their
origin. The note is written before the first byte, so that the part of a killed process can be
resumed. A part without a note is discarded.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from sbdata.storage import remove_leftovers, write_bytes

_BLOCK = 2**20
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Origin:
    """Origin of downloaded bytes, as the server described it.

    Attributes:
        url: Requested address, before redirects.
        etag: Entity tag of the file, or None.
        last_modified: Modification date of the file, or None.
        size: Size of the whole body in bytes, or None if the server did not give it.
        coding: Content coding of the body (such as ``gzip``); empty for none.
    """

    url: str
    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None
    coding: str = ""

    @property
    def validator(self) -> str | None:
        """Value for If-Range: a strong tag, or else the date (RFC 9110, section 13.1.5).

        >>> Origin("http://a", etag='W/"1"').validator is None
        True
        """
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def differs(self, other: Origin) -> bool:
        """Return whether two responses of one address certainly belong to different files.

        If both have tags, dates are ignored: servers behind one address may differ in them.
        """
        tagged = None not in (self.etag, other.etag)
        mine = (self.etag, None if tagged else self.last_modified, self.size)
        theirs = (other.etag, None if tagged else other.last_modified, other.size)
        pairs = zip(mine, theirs, strict=True)
        return any(None not in pair and len({*pair}) > 1 for pair in pairs)

    def confirms(self, other: Origin) -> bool:
        """Return whether the response to a request with the other's validator confirms it.

        A 206 response repeats the tag and may omit the date (RFC 9110, section 15.3.7).
        """
        if other.validator is None or self.differs(other):
            return False
        return self.etag == other.etag or other.validator != other.etag


def origin_of(url: str, status: int, headers: Mapping[str, str]) -> tuple[Origin, int | None]:
    """Return the origin of a response's body and the offset at which the body begins.

    The offset is None for a 206 response that does not say where its bytes belong.
    """
    begin: int | None = 0
    size: int | None
    if status == 206:
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        begin = int(found[1]) if found else None
        size = int(found[2]) if found and found[2] != "*" else None
    else:
        length = headers.get("Content-Length", "").strip()
        size = int(length) if _LENGTH.fullmatch(length) else None
    origin = Origin(
        url, headers.get("ETag") or None, _strong_date(headers), size, _coding_of(headers)
    )
    return origin, begin


def _strong_date(headers: Mapping[str, str]) -> str | None:
    """Return Last-Modified if the file cannot have changed again within that second.

    This holds if the response was made at least a second later (RFC 9110, section 8.8.2.2).
    """
    date = headers.get("Last-Modified")
    try:
        age = parsedate_to_datetime(headers.get("Date", "")) - parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return None
    return date if age.total_seconds() >= 1 else None


def _coding_of(headers: Mapping[str, str]) -> str:
    """Return the codings of a body in the order they were applied; ``chunked`` is left out."""
    names = f"{headers.get('Content-Encoding', '')},{headers.get('Transfer-Encoding', '')}"
    codings = [name.strip().lower().removeprefix("x-") for name in names.split(",")]
    return ",".join(name for name in codings if name not in ("", "identity", "chunked"))


class Digests:
    """Incremental SHA-256 and, on request, MD5 of a stream of bytes."""

    def __init__(self, *, md5: bool) -> None:
        self._hashes = [hashlib.sha256()]
        if md5:
            self._hashes.append(hashlib.md5(usedforsecurity=False))

    def update(self, block: bytes) -> None:
        """Add bytes to the hashes."""
        for each in self._hashes:
            each.update(block)

    @property
    def sha256(self) -> str:
        """The SHA-256, in hex."""
        return self._hashes[0].hexdigest()

    @property
    def md5(self) -> str | None:
        """The MD5, in hex, or None."""
        return self._hashes[1].hexdigest() if len(self._hashes) > 1 else None


def digests_of(path: Path, *, md5: bool, between: Callable[[], None]) -> Digests:
    """Hash a file. The callback ``between`` runs after each block and may raise."""
    digests = Digests(md5=md5)
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            digests.update(block)
            between()
    return digests


class Part:
    """Part of a file, stored beside its target. Create it under the file's lock, and close it.

    Attributes:
        path: Path of the bytes.
        note: Path of the note about their origin.
        origin: Origin of the bytes, or None for an empty part.
        length: Number of bytes present.
        furthest: Greatest length so far, so that a repeated beginning does not count as progress.
        digests: Hashes of the bytes present.
        doubtful: Whether the bytes come from more than one unbroken response, so that a wrong hash
            may be due to joining them and not to the server.
        spoilt: Whether the next response must be of the whole file.
    """

    def __init__(self, target: Path, *, md5: bool, between: Callable[[], None]) -> None:
        self.path, self.note = part_of(target), note_of(target)
        self.length = self.furthest = 0
        self.doubtful = self.spoilt = False
        self.digests = Digests(md5=md5)
        self._md5 = md5
        remove_leftovers(target.parent, self.note.name)  # of a process killed while writing it
        plain_of(target).unlink(missing_ok=True)
        self.origin = _noted(self.note)
        if self.origin is not None and self.path.is_file():
            self.digests = digests_of(self.path, md5=md5, between=between)
            self.length = self.furthest = self.path.stat().st_size
            self.doubtful = self.length > 0
        self._file = self.path.open("r+b" if self.length else "wb", buffering=0)
        self._file.seek(self.length)

    def close(self) -> None:
        """Close the part; delete it if it is empty."""
        self._file.close()
        if not self.length:
            with suppress(OSError):
                self.note.unlink(missing_ok=True)
                self.path.unlink(missing_ok=True)

    def begin(self, origin: Origin) -> None:
        """Discard the bytes present; those of another response follow."""
        self._file.seek(0)
        self._file.truncate()
        self.length, self.digests = 0, Digests(md5=self._md5)
        self.doubtful = self.spoilt = False
        self._describe(origin)

    def go_on(self, origin: Origin, *, proven: bool) -> None:
        """Continue with the bytes of a response after those present.

        Args:
            origin: Origin of the response.
            proven: Whether the server has confirmed that both belong to the same file.
        """
        self.doubtful |= not proven
        if origin.size is None and self.origin is not None:
            origin = Origin(**{**asdict(origin), "size": self.origin.size})
        self._describe(origin)

    def append(self, block: bytes) -> None:
        """Append bytes to the part."""
        view = memoryview(block)
        while len(view):
            view = view[self._file.write(view) :]
        self.digests.update(block)
        self.length += len(block)
        self.furthest = max(self.furthest, self.length)

    def discard(self) -> None:
        """Discard the bytes and delete the note."""
        self._file.seek(0)
        self._file.truncate()
        self.note.unlink(missing_ok=True)
        self.origin, self.digests = None, Digests(md5=self._md5)
        self.length = self.furthest = 0
        self.doubtful = self.spoilt = False

    def _describe(self, origin: Origin) -> None:
        if origin != self.origin or not self.note.is_file():
            write_bytes(self.note, json.dumps(asdict(origin), indent=1).encode())
        self.origin = origin


def part_of(target: Path) -> Path:
    """Return the path of the part of a file."""
    return target.with_name(f"{target.name}.part")


def note_of(target: Path) -> Path:
    """Return the path of the note beside the part of a file."""
    return target.with_name(f"{target.name}.part.json")


def plain_of(target: Path) -> Path:
    """Return the path of the decoded copy of a part that has a content coding."""
    return target.with_name(f".{target.name}.part.plain")


def _noted(path: Path) -> Origin | None:
    """Return the origin in a note; None if the note is missing or cannot be read."""
    try:
        origin = Origin(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    texts = (origin.url, origin.etag or "", origin.last_modified or "", origin.coding)
    good = all(isinstance(text, str) and text.isprintable() for text in texts)
    return origin if good and isinstance(origin.size, int | None) else None
