"""Text files that people write: one name a line, in whatever encoding their editor chose."""

from __future__ import annotations

import codecs
from pathlib import Path

from sbdata.errors import InputError

_MARKS = (  # the longer ones first: UTF-32's mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_lines(path: Path, what: str) -> list[str]:
    """Read a text file's lines: UTF-8, or what its byte order mark says; the mark is left out.

    Args:
        path: of the file.
        what: it lists, for the message: ``class names``.

    Raises:
        InputError: naming the file, if it cannot be read as text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path}: not a readable list of {what} ({error.strerror or error})"
        raise InputError(msg) from error
    mark, encoding = next(((m, e) for m, e in _MARKS if data.startswith(m)), (b"", "utf-8"))
    try:
        return data[len(mark) :].decode(encoding).splitlines()
    except UnicodeDecodeError as error:
        msg = f"{path}: not a list of {what} ({error}); write one a line, in UTF-8"
        raise InputError(msg) from error
