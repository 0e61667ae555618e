"""Area axis: a logarithmic scale, with the limits and names of the sizes above it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from sbdata.drawing.svg import kept_inside, line, rows_without_overlap, text
from sbdata.formatting import area
from sbdata.sizes import SizeBins


@dataclass(frozen=True)
class AreaAxis:
    """Logarithmic axis of areas in pixels.

    Attributes:
        low: Area at the left end.
        high: Area at the right end.
        left: Position of the left end, in pixels of the figure.
        right: Position of the right end, in pixels of the figure.
        bins: Size bins; their names and limits are left out unless they are intervals of areas.
    """

    low: float
    high: float
    left: float
    right: float
    bins: SizeBins

    def x(self, pixels: float) -> float:
        """Return the horizontal position of an area."""
        share = math.log(pixels / self.low) / math.log(self.high / self.low)
        return self.left + (self.right - self.left) * share

    @property
    def _edges(self) -> list[tuple[float, str]]:
        return [(self.x(edge), area(edge)) for edge in self.bins.pixel_edges]

    @property
    def _names(self) -> list[tuple[float, str]]:
        if not self.bins.are_intervals:
            return []
        borders = [self.low, *self.bins.pixel_edges, self.high]
        return [
            (kept_inside(self.x(math.sqrt(a * b)), size, 0, self.right + 14), size)
            for (a, b), size in zip(pairwise(borders), self.bins.names, strict=True)
        ]

    @property
    def head_height(self) -> float:
        """Return the height of the sizes' names and limits above the figure."""
        rows = max(rows_without_overlap(self._names), default=0)
        return 33 + 15 * (rows + max(rows_without_overlap(self._edges), default=0))

    def head(self, bottom: float) -> list[Markup]:
        """Return the names of the sizes, and their limits as lines down to ``bottom``."""
        rows = rows_without_overlap(self._names)
        parts = [
            text(x, 14 + 15 * row, label, "middle strong")
            for (x, label), row in zip(self._names, rows, strict=True)
        ]
        for (x, label), row in zip(self._edges, rows_without_overlap(self._edges), strict=True):
            y = 29 + 15 * (max(rows, default=0) + row)
            parts += [line(x, y + 5, x, bottom, "limit"), text(x, y, label, "middle quiet fine")]
        return parts

    def foot(self, line_y: float, label_y: float) -> list[Markup]:
        """Return ticks at round areas and the axis label."""
        ticks = [(self.x(tick), f"{tick:,}") for tick in _round_areas(self.low, self.high)]
        parts = []
        for (x, label), row in zip(ticks, rows_without_overlap(ticks), strict=True):
            parts.append(line(x, line_y, x, line_y + 4, "grid"))
            if row == 0:
                inside = kept_inside(x, label, self.left, self.right)
                parts.append(text(inside, label_y, label, "middle quiet"))
        words = "visible area of the instance (pixels, log scale)"
        middle = (self.left + self.right) / 2
        return [*parts, text(middle, label_y + 20, words, "middle quiet")]


def _round_areas(low: float, high: float) -> list[int]:
    """Return round areas within the axis: powers of ten, or finer if these are few."""
    lowest, highest = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1,) if math.log10(high / low) > 2 else (1, 2, 5)
    ticks = [
        int(step * 10**power) for power in range(max(lowest, 0), highest + 1) for step in steps
    ]
    return [tick for tick in ticks if low <= tick <= high]
