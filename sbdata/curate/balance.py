"""Balance: how evenly instances are spread over the class x size cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Balance:
    """Balance figures of a table of counts.

    Attributes:
        instances: in all cells.
        max_over_min: the fullest cell over the emptiest; None where a cell is empty.
        empty_cells: how many cells have no instance.
        normalised_entropy: of the distribution over cells, divided by its largest possible value:
            1 means all cells are equal, 0 that one cell has everything; None without an instance.
        shares: size name to its share of all instances; empty without an instance.
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
    """Measure how even the cells of a table of counts are.

    Args:
        counts: class name to size name to number of instances; every class has the same sizes.

    >>> balance_of({"cat": {"small": 2, "large": 4}, "dog": {"small": 2, "large": 2}}).max_over_min
    2.0
    """
    cells = np.array([list(row.values()) for row in counts.values()], np.int64)
    total, empty = int(cells.sum()), int((cells == 0).sum())
    if not total:
        return Balance(0, None, empty, None, {})
    share = cells[cells > 0] / total
    # A table of one cell is as even as it can be.
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
