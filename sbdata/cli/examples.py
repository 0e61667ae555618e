"""Examples at the end of a command's help text."""

from __future__ import annotations


def examples(*lines: str) -> str:
    r"""Return the epilog of a command: a heading and one command per line, not wrapped.

    >>> examples("sbdata doctor", "sbdata doctor --json")
    '\x08\nExamples:\n  sbdata doctor\n  sbdata doctor --json'
    """
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
