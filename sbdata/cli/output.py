"""Output of the commands, without control sequences or characters that a terminal cannot show.

Names from other people's files may contain escape sequences, and a terminal or pipe may support
only ASCII. Every command prints through :func:`say` and :func:`sbdata.cli.tables.print_table`.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import click

from sbdata.printable import PLAIN, encodable, printable


def say(message: Any = "", *, err: bool = False, nl: bool = True, bold: bool = False) -> None:
    """Print a message like ``click.echo``, with unprintable characters escaped.

    Args:
        message: Message; line ends and tabs are kept, other unprintable characters are escaped.
        err: True to print to stderr.
        nl: True to add a line end.
        bold: True to show it bold on a terminal.
    """
    text = fit(str(message), err=err)
    click.echo(click.style(text, bold=True) if bold else text, err=err, nl=nl)


def fit(text: str, *, err: bool = False) -> str:
    """Return a text in characters that stdout, or stderr, can show."""
    stream = sys.stderr if err else sys.stdout
    return encodable(printable(text, keep="\n\t"), getattr(stream, "encoding", None))


def use_plain_characters() -> None:
    """Make stdout and stderr replace characters that their encoding lacks, for all callers."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors=PLAIN)  # type: ignore[union-attr]
