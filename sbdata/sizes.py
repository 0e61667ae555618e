"""Object sizes: the limits of area between small, medium and large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.quoting import quoted


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


TERCILES: Literal["terciles"] = "terciles"
"""Size bins that the areas of the data determine."""

AskedBins = SizeBins | Literal["terciles"]
"""Size bins as a user gives them: known edges, or ``"terciles"``."""


def parse_bins(text: str) -> AskedBins:
    """Return the size bins written as two areas in pixels, or as ``terciles``.

    Raises:
        InputError: If the text is neither, or the areas do not increase.

    >>> parse_bins("400,2500").edges, parse_bins("terciles")
    ((400, 2500), 'terciles')
    """
    if text.strip() == TERCILES:
        return TERCILES
    try:
        edges = tuple(int(part) for part in text.split(","))
    except ValueError:
        edges = ()
    if len(edges) != 2:
        msg = (
            "--bins takes two areas in pixels, such as 1024,9216, or terciles for those of the "
            f"data, not {quoted(text)}"
        )
        raise InputError(msg)
    return SizeBins(edges)


def resolve_bins(asked: AskedBins, areas: npt.ArrayLike) -> SizeBins:
    """Return size bins with edges in pixels; those of ``"terciles"`` come from the areas.

    Each edge is one above the smallest area that a third, or two thirds, of the instances do not
    exceed. So at least a third is small, and at least two thirds are small or medium; instances of
    equal area always have one size.

    Args:
        asked: Size bins, or ``"terciles"``.
        areas: Areas in pixels of all instances.

    Raises:
        InputError: If the areas are too few or too alike to be divided in three.

    >>> resolve_bins("terciles", [5, 7, 7, 20, 30, 90]).edges
    (8, 21)
    """
    if isinstance(asked, SizeBins):
        return asked
    ordered = np.sort(np.asarray(areas, np.int64))
    ends = [int(ordered[-(-k * ordered.size // 3) - 1]) for k in (1, 2)] if ordered.size else []
    if not ends or not ends[0] < ends[1] < ordered[-1]:
        msg = (
            f"the areas of {ordered.size} instances are too few or too alike to divide them in "
            "terciles; give the areas that divide them, such as --bins 1024,9216"
        )
        raise InputError(msg)
    return SizeBins((ends[0] + 1, ends[1] + 1))
