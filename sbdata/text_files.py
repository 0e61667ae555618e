"""Untrusted text files: read as UTF-8, with or without a byte order mark, within a size limit.

For a compressed file or another encoding, the error names the type of the file.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from sbdata.errors import InputError
from sbdata.limits import MAX_TEXT_BYTES

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# UTF-32's little-endian mark begins with UTF-16's, so it comes first, here and below.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_KINDS = (
    (b"\x1f\x8b", "compressed by gzip", "unpack it first (gunzip)"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it first (unzip)"),
    (b"BZh", "compressed by bzip2", "unpack it first (bunzip2)"),
    (b"\xfd7zXZ\x00", "compressed by xz", "unpack it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it first (unzstd)"),
    (b"\xff\xfe\x00\x00", "UTF-32 text", "save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "UTF-32 text", "save it as UTF-8"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
)


def other_kind(begin: bytes) -> str:
    r"""Return the type of a file and the remedy if its first bytes are not UTF-8 text, else empty.

    >>> other_kind(b"\x1f\x8b\x08"), other_kind(b"{}")
    ('compressed by gzip; unpack it first (gunzip)', '')
    """
    for mark, kind, remedy in _KINDS:
        if begin.startswith(mark):
            return f"{kind}; {remedy}"
    if len(begin) >= 2 and sorted(begin[:2])[0] == 0 and 9 <= max(begin[:2]) < 127:
        return "UTF-16 text; save it as UTF-8"
    return ""


def decode_text(data: bytes, where: str) -> str:
    """Decode the bytes of a text file and remove a byte order mark.

    Args:
        data: Bytes of the whole file.
        where: Name of the file in messages.

    Raises:
        InputError: If the bytes are not UTF-8.
    """
    if kind := other_kind(data[:8]):
        msg = f"{where}: {kind}"
        raise InputError(msg)
    try:
        return data.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        msg = (
            f"{where}: not UTF-8 text (byte {data[error.start]:#04x} in line {line}); save it as "
            "UTF-8"
        )
        raise InputError(msg) from error


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """Read an untrusted text file within a size limit.

    Args:
        path: Path of the file.
        limit: Largest size in bytes.

    Raises:
        InputError: If it cannot be read, is larger than the limit, or is not UTF-8 text.
    """
    return decode_text(_read(path, limit), str(path))


def read_lines(path: Path, what: str) -> list[str]:
    """Read the lines of a text file: UTF-8, or the encoding of its byte order mark (removed).

    Args:
        path: Path of the file.
        what: Plural noun for the lines, for the message: ``class names``.

    Raises:
        InputError: If it cannot be read as text; the message names the file.
    """
    data = _read(path, MAX_TEXT_BYTES, f"list of {what}")
    mark, encoding = next(((m, e) for m, e in _MARKS if data.startswith(m)), (b"", "utf-8"))
    try:
        return data[len(mark) :].decode(encoding).splitlines()
    except UnicodeDecodeError as error:
        kind = "" if mark else other_kind(data[:8])
        reason = kind or f"{error}; write one per line, in UTF-8"
        msg = f"{path}: not a list of {what} ({reason})"
        raise InputError(msg) from error


def _read(path: Path, limit: int, what: str = "text file") -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"{path}: not a readable {what} ({reason}); check the path and its permissions"
        raise InputError(msg) from error
    if len(data) > limit:
        msg = f"{path}: larger than {limit:,} bytes, which is too much for a {what}; split it"
        raise InputError(msg)
    return data
