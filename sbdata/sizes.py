"""Object sizes: which areas count as small, medium and large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError


@dataclass(frozen=True)
class SizeBins:
    """Half-open area intervals, so that every instance has exactly one size.

    ``names[i]`` holds the areas with ``edges[i-1] <= area < edges[i]``; the first interval starts
    at 0 and the last one never ends. The default edges are 32² and 96² pixels (the limits that MS
    COCO made usual; pycocotools itself counts an area of exactly 1024 as small AND medium, here
    it is medium).

    Args:
        edges: increasing areas in pixels, one fewer than names.
        names: the sizes, from the smallest.

    Raises:
        InputError: if edges do not increase or the counts do not match.

    >>> SizeBins().name_of(1023), SizeBins().name_of(1024), SizeBins().name_of(9216)
    ('small', 'medium', 'large')
    """

    edges: tuple[int, ...] = (1024, 9216)
    names: tuple[str, ...] = ("small", "medium", "large")

    def __post_init__(self) -> None:
        if len(self.names) != len(self.edges) + 1 or len(set(self.names)) != len(self.names):
            msg = f"size bins need one name more than edges, not {self.names} for {self.edges}"
            raise InputError(msg)
        if any(low >= high for low, high in zip((0, *self.edges), self.edges, strict=False)):
            msg = f"size bin edges must be positive and increase, not {self.edges}"
            raise InputError(msg)

    def index(self, areas: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the position in ``names`` of each area (pixels)."""
        return np.searchsorted(np.asarray(self.edges), np.asarray(areas), side="right")

    def name_of(self, area: int) -> str:
        """Return the size of one area (pixels)."""
        return self.names[int(self.index(area))]
