"""Exceptions that are reported to users."""

from __future__ import annotations


class InputError(Exception):
    """Unusable input from the user: one sentence that names the file and the remedy.

    The command line prints the sentence and exits with status 2; it shows a traceback only with
    ``--debug``.
    """


class MaskError(InputError):
    """Invalid mask, polygon or run-length code."""
