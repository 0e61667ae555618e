"""Rejections of a source, counted and described by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sbdata.quoting import shortened
from sbdata.sources import Rejection

_SHOWN = 3
_ITEMS = {
    "hidden": "objects",
    "unknown_image": "annotations",
    "unassigned_pixels": "images kept, with these pixels void",
    "maps_disagree": "images kept, with these pixels void",
    "palette_order": "masks kept, read by their colours",
    "overlay_skipped": "images kept, with their own masks",
}
"""Items of the reasons that leave out something else than an image, and what is kept of it."""


def count_reasons(rejections: Sequence[Rejection]) -> dict[str, int]:
    """Return the number of rejections by reason."""
    return dict(sorted(Counter(r.reason for r in rejections).items()))


def describe_count(reason: str, count: int) -> str:
    """Return a reason and its count as text; it says so if the images are not left out.

    >>> describe_count("missing_mask", 1200), describe_count("palette_order", 2)
    ('missing_mask 1,200', 'palette_order 2 (masks kept, read by their colours)')
    """
    items = f" ({_ITEMS[reason]})" if reason in _ITEMS else ""
    return f"{shortened(reason)} {count:,}{items}"


def first_reasons(rejections: Sequence[Rejection]) -> str:
    """Return one rejection of each of the first reasons as text; empty if nothing was left out."""
    first: dict[str, Rejection] = {}
    for rejection in rejections:
        first.setdefault(rejection.reason, rejection)
    said = [
        f"{shortened(r.file, 80)}: {shortened(r.detail, 240)}"
        for r in list(first.values())[:_SHOWN]
    ]
    return "; ".join(said)


def describe_rejections(rejections: Sequence[Rejection]) -> str:
    """Return the number of rejections by reason, with the details of one of each, as text."""
    if not rejections:
        return ""
    counts = ", ".join(describe_count(*counted) for counted in count_reasons(rejections).items())
    return f"{counts} ({first_reasons(rejections)})"
