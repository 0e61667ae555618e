"""Make untrusted text safe for a terminal, a CSV cell or an output with few characters.

Names in other people's files may contain anything: escape sequences that move a terminal's cursor,
line ends, formulas that a spreadsheet runs.
"""

from __future__ import annotations

import codecs
from unicodedata import category

_FORMULA = ("=", "+", "-", "@")
_TURNS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_PLAIN = {
    "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u2010": "-", "\u2011": "-",
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2026": "...", "\u00d7": "x",
    "\u2265": ">=", "\u2264": "<=", "\u2192": "->", "\u00b1": "+-", "\u00b2": "^2",
    "\u00b7": ".", "\u00a0": " ", "\u00bd": "1/2", "\u03b1": "alpha", "\u03bb": "lambda",
    "\u03c4": "tau", "\u221a": "sqrt", "\u2022": "*",
}  # fmt: skip


def printable(text: str, *, keep: str = "") -> str:
    r"""Return a text with unprintable characters, including lone surrogates, written as escapes.

    Args:
        text: Text from any origin.
        keep: Characters to keep, such as a line end.

    >>> print(printable("a\x1b[31m\nb"))
    a\x1b[31m\nb
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def displayable(text: str) -> str:
    r"""Return a text for HTML or SVG, with what cannot be shown there as the replacement character.

    Control characters are not allowed in XML, lone surrogates not in UTF-8, and characters that
    turn the direction of writing could make a name look like another.

    >>> displayable("a\x00b")
    'a�b'
    """
    if text.isprintable():
        return text
    return "".join(c if _has_a_place(c) else "\ufffd" for c in text)


def _has_a_place(character: str) -> bool:
    if character in "\n\t":
        return True
    return category(character) not in ("Cc", "Cs", "Cn") and character not in _TURNS


def csv_cell(text: str) -> str:
    r"""Return a text as a CSV cell that no spreadsheet interprets as a formula.

    A text that would be a formula gets a leading apostrophe, which spreadsheets read as "text
    follows".

    >>> csv_cell("=1+1"), csv_cell("a=b"), csv_cell("a\tb")
    ("'=1+1", 'a=b', 'a\\tb')
    """
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown


def text_of_cell(cell: str) -> str:
    """Return the text that was passed to :func:`csv_cell`, except for escapes.

    >>> text_of_cell("'=1+1"), text_of_cell("'tis")
    ('=1+1', "'tis")
    """
    rest = cell[1:]
    return rest if cell.startswith("'") and rest.lstrip().startswith(_FORMULA) else cell


def encodable(text: str, encoding: str | None) -> str:
    r"""Return a text that an encoding can represent; dashes and similar become plain characters.

    >>> encodable("0.5 \u2013 0.7, 32\u00b2 \u2192 \u00e9", "ascii")
    '0.5 - 0.7, 32^2 -> \\xe9'
    """
    encoding = encoding or "ascii"
    return text.encode(encoding, PLAIN).decode(encoding)


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c, ascii(c)[1:-1]) for c in lacking), error.end


PLAIN = "sbdata.plain"
"""Name of the error handler (see :mod:`codecs`) by which :func:`encodable` encodes."""

codecs.register_error(PLAIN, _in_plain)
