"""What the commands print: nothing that a terminal would obey, nothing that it cannot show.

Names from files of other people may hold escape sequences, and a terminal or pipe may know ASCII
only. Every command prints through :func:`say` and :func:`sbdata.cli.tables.print_table`.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import click

from sbdata.printable import PLAIN, encodable, printable


def say(message: Any = "", *, err: bool = False, nl: bool = True, bold: bool = False) -> None:
    """Print a message as ``click.echo`` does.

    Args:
        message: line ends and tabs stay, other characters that do not print become escapes.
        err: whether it goes to stderr.
        nl: whether a line end follows.
        bold: whether a terminal shows it bold.
    """
    text = fit(str(message), err=err)
    click.echo(click.style(text, bold=True) if bold else text, err=err, nl=nl)


def fit(text: str, *, err: bool = False) -> str:
    """Return a text as stdout, or stderr, can show it."""
    stream = sys.stderr if err else sys.stdout
    return encodable(printable(text, keep="\n\t"), getattr(stream, "encoding", None))


def use_plain_characters() -> None:
    """Let stdout and stderr replace what their encoding lacks, whoever prints it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors=PLAIN)  # type: ignore[union-attr]
