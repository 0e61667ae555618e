"""Boards as Markdown, and a README whose tables are rewritten between markers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sbdata.benchmark.leaderboard import Board
from sbdata.benchmark.paired_differences import PAIRS
from sbdata.errors import InputError
from sbdata.report.leaderboard_text import (
    OUTCOMES_SAID,
    PAIRED,
    Texts,
    changes_shown,
    intro_of,
    outcome_rows_shown,
    outcome_sizes,
    quality_rows_shown,
    quality_said,
    rows_shown,
)


def markdown_of(board: Board) -> str:
    """Return a board as Markdown: the table, outcomes, pseudo-masks, differences, footnotes.

    A cell of IA has the class mean and, below it, the instance mean. Only the differences that
    support the paper's claim are shown; the HTML page has all.
    """
    parts = [escaped(intro_of(board)), _table(board, rows_shown(board, "<br>"), words=3)]
    if outcome_sizes(board):
        parts.append(escaped(OUTCOMES_SAID))
        parts.append(_table(board, outcome_rows_shown(board, "<br>"), words=2))
    quality = board.pseudo_masks
    if quality is not None:
        parts.append(escaped(quality_said(board, quality)))
        parts.append(_table(board, quality_rows_shown(quality, "<br>"), words=2))
    contrasts = [c for c in board.contrasts if (c.minuend, c.subtrahend) in PAIRS]
    if contrasts:
        shown = changes_shown(board, contrasts, "<br>", seeds=False)
        parts += [PAIRED, _table(board, shown, words=2)]
    said = [f"- {f.mark}: {escaped(f.text)}." for f in board.footnotes]
    said += [f"- {escaped(note)}" for note in board.notes]
    if said:
        parts.append("\n".join(said))
    return "\n\n".join(parts)


def _table(board: Board, texts: Texts, *, words: int) -> str:
    """Return a table; its last column, the marks, is left out if no row is marked."""
    titles, rows = texts
    end = len(titles) if board.footnotes else len(titles) - 1
    return markdown_table(titles[:end], [row[:end] for row in rows], words)


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    r"""Return a table as Markdown; its first ``words`` columns are aligned to the left.

    >>> print(markdown_table(["set a|b<br>IA"], [["0.5"]], 1))
    | set a\|b<br>IA |
    | --- |
    | 0.5 |
    """
    rule = ["---" if k < words else "---:" for k in range(len(titles))]
    head, *cells = ([escaped(cell) for cell in row] for row in (titles, *rows))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *cells))


def escaped(text: str) -> str:
    r"""Return a text escaped for a table cell; only our own line breaks remain markup.

    >>> print(escaped("a|b <i> 1<br>2"))
    a\|b &lt;i> 1<br>2
    """
    parts = text.replace("\n", " ").replace("|", "\\|").replace("*", "\\*").split("<br>")
    return "<br>".join(part.replace("<", "&lt;") for part in parts)


# --- README ---------------------------------------------------------------------------------------

_MARKER = re.compile(r"<!-- leaderboard:(begin|end) (\S+) -->")


def names_in_readme(text: str) -> list[str]:
    """Return the names of a text's table markers, in order."""
    return [name for edge, name in _MARKER.findall(text) if edge == "begin"]


def write_into_readme(text: str, name: str, table: str) -> str:
    """Return a text with the table between the markers of a name replaced.

    The markers are ``<!-- leaderboard:begin NAME -->`` and ``<!-- leaderboard:end NAME -->``, each
    once. They are kept, so repeating the replacement changes nothing.

    Raises:
        InputError: if the text lacks one of the markers, or has one twice or in the wrong order.
    """
    begin, end = (f"<!-- leaderboard:{edge} {name} -->" for edge in ("begin", "end"))
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        msg = f"the text needs the line {begin!r} and, after it, {end!r}, each once; add them"
        raise InputError(msg)
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    return f"{head}{begin}\n{table.strip()}\n{end}{tail}"


def write_boards_into_readme(text: str, boards: Sequence[Board]) -> str:
    """Return a text with the board's table between every pair of markers.

    A marker names a board in full, ``shapes-train/shapes-b``, or by its scored set alone if no
    other board has this scored set.

    Raises:
        InputError: if there are no markers, or a marker names no board or several.
    """
    names = names_in_readme(text)
    if not names:
        listed = ", ".join(board.name for board in boards)
        msg = (
            "the text has no lines '<!-- leaderboard:begin NAME -->' and '<!-- leaderboard:end "
            f"NAME -->'; add them, where NAME is one of {listed}"
        )
        raise InputError(msg)
    for name in names:
        found = [board for board in boards if name in (board.name, board.scored)]
        if len(found) != 1:
            listed = ", ".join(board.name for board in boards)
            msg = f"marker {name!r} matches {len(found)} boards; choose from {listed}"
            raise InputError(msg)
        text = write_into_readme(text, name, markdown_of(found[0]))
    return text
