"""Balance: how evenly instances are distributed over the class x size cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Balance:
    """Balance figures of a table of counts.

    Attributes:
        instances: Number of instances in all cells.
        max_over_min: Count of the fullest cell divided by that of the emptiest; None if a cell is
            empty.
        empty_cells: Number of cells without an instance.
        normalised_entropy: Entropy of the distribution over cells, divided by its largest possible
            value: 1 if all cells are equal, 0 if one cell holds everything; None if there is no
            instance.
        shares: Share of all instances by size name; empty if there is no instance.
    """

    instances: int
    max_over_min: float | None
    empty_cells: int
    normalised_entropy: float | None
    shares: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON-like values."""
        return asdict(self)


def balance_of(counts: Mapping[str, Mapping[str, int]]) -> Balance:
    """Measure how evenly the cells of a table of counts are filled.

    Args:
        counts: Number of instances by class name, then size name; every class has the same sizes.

    >>> balance_of({"cat": {"small": 2, "large": 4}, "dog": {"small": 2, "large": 2}}).max_over_min
    2.0
    """
    cells = np.array([list(row.values()) for row in counts.values()], np.int64)
    total, empty = int(cells.sum()), int((cells == 0).sum())
    if not total:
        return Balance(0, None, empty, None, {})
    share = cells[cells > 0] / total
    # A table of one cell is perfectly even.
    widest = np.log(cells.size) if cells.size > 1 else 1.0
    entropy = float(-(share * np.log(share)).sum() / widest) if cells.size > 1 else 1.0
    sizes = next(iter(counts.values()))
    return Balance(
        instances=total,
        max_over_min=None if empty else float(cells.max() / cells.min()),
        empty_cells=empty,
        normalised_entropy=round(entropy, 12) + 0.0,
        shares={
            size: float(of_size / total)
            for size, of_size in zip(sizes, cells.sum(axis=0), strict=True)
        },
    )
