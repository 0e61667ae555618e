"""What may be printed, and what may stand in a cell."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from sbdata.litter import is_litter
from sbdata.printable import csv_cell, encodable, printable, text_of_cell

ANYTHING = st.text(st.characters(exclude_categories=()))


@given(ANYTHING)
def test_nothing_that_a_terminal_obeys_is_printed(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    if text.isprintable():
        assert printable(text) == text
    printable(text).encode("utf-8")


def test_escapes_and_marks_are_shown() -> None:
    assert printable("a\x1b[31mred") == r"a\x1b[31mred"
    assert printable("\u202egnp.exe") == r"\u202egnp.exe"  # would be read from right to left
    assert printable("\udc80") == r"\udc80"
    assert printable("two\nlines") == r"two\nlines"
    assert printable("two\nlines\x07", keep="\n") == "two\nlines\\x07"


@given(ANYTHING)
def test_no_cell_is_a_formula(text: str) -> None:
    cell = csv_cell(text)
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    assert text_of_cell(cell) == printable(text) or text.startswith("'")
    out = io.StringIO()
    csv.writer(out).writerow([cell, "second"])
    assert next(csv.reader(io.StringIO(out.getvalue()))) == [cell, "second"]


@given(ANYTHING, st.sampled_from(["ascii", "latin-1", "cp437", "utf-8", None]))
def test_every_terminal_shows_something(text: str, encoding: str | None) -> None:
    encodable(text, encoding).encode(encoding or "ascii")


def test_dashes_become_plain_ones() -> None:
    assert encodable("0.25–0.50 −0.1 3×4 …", "ascii") == "0.25-0.50 -0.1 3x4 ..."
    assert encodable("0.25–0.50", "utf-8") == "0.25–0.50"
    assert encodable("café", "latin-1") == "café"


def test_litter_of_desktops_is_known() -> None:
    for name in (
        ".DS_Store", "._a.png", "Thumbs.db", "thumbs.db", "desktop.ini", "Desktop.ini", "__MACOSX",
        "ehthumbs.db", ".Trashes", "@eaDir", "Icon\r", "$RECYCLE.BIN", "~$list.txt",
    ):  # fmt: skip
        assert is_litter(name), name
        assert is_litter(name, hidden=False), name
    for name in ("a.png", "thumbs.png", "icon", "macosx.png", "_a.png"):
        assert not is_litter(name), name
    assert is_litter(".hidden.png")
    assert not is_litter(".hidden.png", hidden=False)
