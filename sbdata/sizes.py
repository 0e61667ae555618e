"""Object sizes: the limits of area between small, medium and large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError


@dataclass(frozen=True)
class SizeBins:
    """Half-open area intervals, so that every instance has exactly one size.

    ``names[i]`` holds the areas with ``edges[i-1] <= area < edges[i]``; the first interval starts
    at 0 and the last one has no upper end. The default edges are 32² and 96² pixels, the usual
    limits from MS COCO. (pycocotools counts an area of exactly 1024 as small AND medium; here it
    is medium.)

    Args:
        edges: Increasing areas in pixels, one fewer than names.
        names: Names of the sizes, the smallest first.

    Raises:
        InputError: If edges do not increase or the counts do not match.

    >>> SizeBins().name_of(1023), SizeBins().name_of(1024), SizeBins().name_of(9216)
    ('small', 'medium', 'large')
    """

    edges: tuple[int, ...] = (1024, 9216)
    names: tuple[str, ...] = ("small", "medium", "large")

    def __post_init__(self) -> None:
        if len(self.names) != len(self.edges) + 1 or len(set(self.names)) != len(self.names):
            msg = f"size bins need one more name than edges, not {self.names} for {self.edges}"
            raise InputError(msg)
        if any(low >= high for low, high in zip((0, *self.edges), self.edges, strict=False)):
            msg = f"size bin edges must be positive and increase, not {self.edges}"
            raise InputError(msg)

    def index(self, areas: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the index in ``names`` for each area in pixels."""
        return np.searchsorted(np.asarray(self.edges), np.asarray(areas), side="right")

    def name_of(self, area: int) -> str:
        """Return the name of the size of an area in pixels."""
        return self.names[int(self.index(area))]
