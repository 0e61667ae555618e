"""A file that has come in part: its bytes, what they are a part of, and their hashes.

``NAME.part`` holds the bytes as they were sent, ``NAME.part.json`` where they come from. The note
is there before the first byte, so that a process that is killed leaves a part that the next one can
judge; a part without a note is thrown away.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from glob import escape
from pathlib import Path

from sbdata.storage import write_bytes

_BLOCK = 2**20
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Origin:
    """Where bytes come from, as the server described it.

    Attributes:
        url: as it was asked, before redirects.
        etag: the file's tag, or None.
        last_modified: the file's date, or None.
        size: of the whole body in bytes, or None where the server did not say.
        coding: how the body was coded on its way (``gzip``), empty for as it is.
    """

    url: str
    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None
    coding: str = ""

    @property
    def validator(self) -> str | None:
        """What If-Range may carry: a strong tag, else the date (RFC 9110, section 13.1.5).

        >>> Origin("http://a", etag='W/"1"').validator is None
        True
        """
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def differs(self, other: Origin) -> bool:
        """Tell whether two answers of one address are certainly of different files.

        Where both have tags, dates do not count: machines behind one address may differ in them.
        """
        tagged = None not in (self.etag, other.etag)
        mine = (self.etag, None if tagged else self.last_modified, self.size)
        theirs = (other.etag, None if tagged else other.last_modified, other.size)
        pairs = zip(mine, theirs, strict=True)
        return any(None not in pair and len({*pair}) > 1 for pair in pairs)

    def confirms(self, other: Origin) -> bool:
        """Tell whether an answer to a request with the other's validator shows that it was heeded.

        An answer of 206 repeats the tag and may leave out the date (RFC 9110, section 15.3.7).
        """
        if other.validator is None or self.differs(other):
            return False
        return self.etag == other.etag or other.validator != other.etag


def origin_of(url: str, status: int, headers: Mapping[str, str]) -> tuple[Origin, int | None]:
    """Read where the body of an answer comes from and the offset that it begins at.

    The offset is None for an answer of 206 that does not say where its bytes belong.
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

    That is, if the answer was made at least a second later (RFC 9110, section 8.8.2.2).
    """
    date = headers.get("Last-Modified")
    try:
        age = parsedate_to_datetime(headers.get("Date", "")) - parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return None
    return date if age.total_seconds() >= 1 else None


def _coding_of(headers: Mapping[str, str]) -> str:
    """Return the codings of a body, in the order they were applied; chunks are no coding."""
    names = f"{headers.get('Content-Encoding', '')},{headers.get('Transfer-Encoding', '')}"
    codings = [name.strip().lower().removeprefix("x-") for name in names.split(",")]
    return ",".join(name for name in codings if name not in ("", "identity", "chunked"))


class Digests:
    """The SHA-256, and where wanted the MD5, of bytes as they come by."""

    def __init__(self, *, md5: bool) -> None:
        self._hashes = [hashlib.sha256()]
        if md5:
            self._hashes.append(hashlib.md5(usedforsecurity=False))

    def update(self, block: bytes) -> None:
        """Let bytes come by."""
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
    """Hash a file; ``between`` is called after each block and may raise."""
    digests = Digests(md5=md5)
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            digests.update(block)
            between()
    return digests


class Part:
    """The part of a file beside it; made under the file's lock, to be closed.

    Attributes:
        path: of the bytes.
        note: of their origin.
        origin: of the bytes, or None for an empty part.
        length: bytes that are there.
        furthest: the greatest length there was, so that repeating a beginning is no progress.
        digests: of what is there.
        doubtful: whether the bytes come from more than one unbroken answer, so that a wrong hash
            may be due to their joint and not to the server.
        spoilt: whether the next answer has to be of the whole file.
    """

    def __init__(self, target: Path, *, md5: bool, between: Callable[[], None]) -> None:
        self.path, self.note = part_of(target), note_of(target)
        self.length = self.furthest = 0
        self.doubtful = self.spoilt = False
        self.digests = Digests(md5=md5)
        self._md5 = md5
        for stale in target.parent.glob(f".{escape(self.note.name)}.*.part"):
            stale.unlink(missing_ok=True)  # a process was killed as it wrote the note
        plain_of(target).unlink(missing_ok=True)
        self.origin = _noted(self.note)
        if self.origin is not None and self.path.is_file():
            self.digests = digests_of(self.path, md5=md5, between=between)
            self.length = self.furthest = self.path.stat().st_size
            self.doubtful = self.length > 0
        self._file = self.path.open("r+b" if self.length else "wb", buffering=0)
        self._file.seek(self.length)

    def close(self) -> None:
        """Close the file of the bytes; an empty one is of no use to anybody."""
        self._file.close()
        if not self.length:
            with suppress(OSError):
                self.note.unlink(missing_ok=True)
                self.path.unlink(missing_ok=True)

    def begin(self, origin: Origin) -> None:
        """Throw away what is there; the bytes of another answer follow."""
        self._file.seek(0)
        self._file.truncate()
        self.length, self.digests = 0, Digests(md5=self._md5)
        self.doubtful = self.spoilt = False
        self._describe(origin)

    def go_on(self, origin: Origin, *, proven: bool) -> None:
        """Let the bytes of an answer follow those that are there.

        Args:
            origin: of the answer.
            proven: whether the server has confirmed that both are of the same file.
        """
        self.doubtful |= not proven
        if origin.size is None and self.origin is not None:
            origin = Origin(**{**asdict(origin), "size": self.origin.size})
        self._describe(origin)

    def append(self, block: bytes) -> None:
        """Add bytes."""
        view = memoryview(block)
        while len(view):
            view = view[self._file.write(view) :]
        self.digests.update(block)
        self.length += len(block)
        self.furthest = max(self.furthest, self.length)

    def discard(self) -> None:
        """Throw away the bytes and the note."""
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
    """Return where the part of a file lies."""
    return target.with_name(f"{target.name}.part")


def note_of(target: Path) -> Path:
    """Return where the note beside the part of a file lies."""
    return target.with_name(f"{target.name}.part.json")


def plain_of(target: Path) -> Path:
    """Return where a file is written whose part is coded."""
    return target.with_name(f".{target.name}.part.plain")


def _noted(path: Path) -> Origin | None:
    """Read a note; None if there is none, or none that can be read."""
    try:
        origin = Origin(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    texts = (origin.url, origin.etag or "", origin.last_modified or "", origin.coding)
    good = all(isinstance(text, str) and text.isprintable() for text in texts)
    return origin if good and isinstance(origin.size, int | None) else None
