"""Order of methods and strategies in tables, and the roles of controls."""

from __future__ import annotations

from typing import Any

CONTROLS = "controls"
"""Kind of the methods that are a ceiling or a floor."""

_STRATEGIES = ("ce", "sb", "sb-ft", "sb-ewc")  # listed first, in this order; others by name
_KINDS = ("image labels", "image labels + saliency", "boxes")  # listed first, in this order
_ROLES = {"full": "ceiling", "labels-only": "floor"}


def strategy_order(strategy: str) -> tuple[int, str]:
    """Return the sort key of a strategy.

    >>> sorted(["dice", "sb-ewc", "ce"], key=strategy_order)
    ['ce', 'sb-ewc', 'dice']
    """
    return (*_STRATEGIES, strategy).index(strategy), strategy


def method_order(method: str, kind: str) -> tuple[Any, ...]:
    """Return the sort key of a method: kind, with controls last, then name."""
    known = (*_KINDS, kind) if kind != CONTROLS else (*_KINDS, "", CONTROLS)
    roles = (*_ROLES, method)
    return known.index(kind), kind, roles.index(method) if kind == CONTROLS else 0, method


def role_of(method: str, kind: str) -> str:
    """Return ``ceiling`` or ``floor`` for a control, else an empty string.

    >>> role_of("full", "controls"), role_of("irn", "image labels")
    ('ceiling', '')
    """
    return _ROLES.get(method, "") if kind == CONTROLS else ""
