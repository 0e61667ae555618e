"""The exceptions that users are meant to see."""

from __future__ import annotations


class InputError(Exception):
    """Something the user gave cannot be used: one sentence naming the file and the remedy.

    The command line prints the sentence and exits with status 2; a traceback is shown only on
    ``--debug``.
    """


class MaskError(InputError):
    """A mask, polygon or run-length code that cannot be what it claims to be."""
