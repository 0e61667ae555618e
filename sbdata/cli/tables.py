"""Print tables to stdout."""

from __future__ import annotations

from sbdata.cli.output import fit

_WIDEST = 1_000_000  # columns; a table is as wide as its cells


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table, its first column left-aligned and the others right-aligned.

    No cell is shortened to the width of the terminal, because it may be a number.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def cell(text: str) -> Text:
        return Text(fit(text))  # a plain string would be read as rich's markup

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(header):
        table.add_column(cell(name), justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(cell, row))
    Console(width=_WIDEST, highlight=False).print(table, crop=False)
