"""Quote values from untrusted files in messages: short, and without control characters."""

from __future__ import annotations

import reprlib
import unicodedata
from typing import Any

from sbdata.printable import printable

_LONGEST = 100


def quoted(value: Any, longest: int = _LONGEST) -> str:
    r"""Return a value as Python would write it, cut to ``longest`` characters.

    Control characters are written as escapes. Only the first part of a large or deeply nested value
    is read, so that the cost does not depend on its size.

    >>> quoted("a\x1b[31m"), quoted([1, 2])
    ("'a\\x1b[31m'", '[1, 2]')
    >>> quoted("x" * 1000, longest=10)
    "'xxxxxx..."
    """
    writer = reprlib.Repr()
    writer.maxlevel = 4
    writer.maxlist = writer.maxtuple = writer.maxset = writer.maxdict = 12
    writer.maxstring = writer.maxother = writer.maxlong = 10 * longest
    try:
        text = writer.repr(value[: 4 * longest] if isinstance(value, str | bytes) else value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        text = f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Return a text with unprintable characters escaped, cut to ``longest`` characters."""
    shown = printable(text[: 4 * longest])
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def has_controls(text: str) -> bool:
    r"""Return True if a text contains control characters other than tabs, or lone surrogates.

    >>> has_controls("traffic light"), has_controls("fox\x1b[2J"), has_controls("\ud800")
    (False, True, True)
    """
    if text.isprintable():  # most are, and this is fast
        return False
    return any(unicodedata.category(c) in ("Cc", "Cs") and c != "\t" for c in text)


def without_surrogates(text: str) -> str:
    r"""Return a text with lone surrogates (halves of characters) written as escapes.

    >>> without_surrogates("\ud800.jpg")
    '\\ud800.jpg'
    """
    return text.encode("utf-8", "backslashreplace").decode()
