"""The order in which methods and strategies are listed, and what a method counts as."""

from __future__ import annotations

from typing import Any

CONTROLS = "controls"
"""The kind of what is a ceiling or a floor instead of a method."""

_STRATEGIES = ("ce", "sb", "sb-ft", "sb-ewc")  # in this order; others follow by name
_KINDS = ("image labels", "image labels + saliency", "boxes")  # likewise
_ROLES = {"full": "ceiling", "labels-only": "floor"}


def strategy_order(strategy: str) -> tuple[int, str]:
    """Return what strategies are sorted by.

    >>> sorted(["dice", "sb-ewc", "ce"], key=strategy_order)
    ['ce', 'sb-ewc', 'dice']
    """
    return (*_STRATEGIES, strategy).index(strategy), strategy


def method_order(method: str, kind: str) -> tuple[Any, ...]:
    """Return what methods are sorted by: their kind, controls last, then their name."""
    known = (*_KINDS, kind) if kind != CONTROLS else (*_KINDS, "", CONTROLS)
    roles = (*_ROLES, method)
    return known.index(kind), kind, roles.index(method) if kind == CONTROLS else 0, method


def role_of(method: str, kind: str) -> str:
    """Return ``ceiling`` or ``floor`` of a control, else nothing.

    >>> role_of("full", "controls"), role_of("irn", "image labels")
    ('ceiling', '')
    """
    return _ROLES.get(method, "") if kind == CONTROLS else ""
