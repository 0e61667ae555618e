"""Print tables to stdout."""

from __future__ import annotations

import sys

from sbdata.cli.output import fit


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table, its first column left-aligned and the others right-aligned."""
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
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False).print(table)
