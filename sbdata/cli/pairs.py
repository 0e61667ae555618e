"""Command-line options of two parts: ``LEFT=RIGHT``."""

from __future__ import annotations

from collections.abc import Iterable

from sbdata.errors import InputError


def read_pairs(option: str, given: Iterable[str]) -> dict[str, str]:
    """Read a repeated option whose values are ``LEFT=RIGHT``.

    Raises:
        InputError: If a part is missing, or one left part has two right parts; the message names
            the option.

    >>> read_pairs("--mirror", ["http://a/=http://b/"])
    {'http://a/': 'http://b/'}
    """
    pairs: dict[str, str] = {}
    for text in given:
        left, equals, right = text.partition("=")
        if not (left and equals and right):
            msg = f"{option} takes LEFT=RIGHT, two parts separated by '=', not {text!r}"
            raise InputError(msg)
        if pairs.setdefault(left, right) != right:
            msg = f"{option} {left} is given twice, with {pairs[left]} and {right}; keep one"
            raise InputError(msg)
    return pairs
