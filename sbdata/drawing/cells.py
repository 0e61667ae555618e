"""Heat map of cells by class and size, with a colour, a value and a number in each cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sbdata.drawing.svg import element, hatching, rect, shortened, text, upright, width_of
from sbdata.formatting import limits
from sbdata.sizes import SizeBins

_GAP = 28  # pixels between two columns of classes
_ROW = 32
_MANY = 10  # largest number of classes in one column


@dataclass(frozen=True)
class HeatCell:
    """One cell of a heat map.

    Attributes:
        said: Title of the cell.
        step: Index of its colour, of ten; None for an empty cell, which only has a frame.
        strong: Value as text.
        fine: Text beside or below the value.
        hatched: True if the value is based on few instances.
    """

    said: str
    step: int | None
    strong: str
    fine: str = ""
    hatched: bool = False


def heat_map(
    names: Sequence[str],
    rows: Sequence[Sequence[HeatCell]],
    bins: SizeBins,
    width: float,
    *,
    least_cell: float = 60,
) -> tuple[list[Markup], float, float]:
    """Return the cells of a heat map with class and size names, its width and its height.

    Args:
        names: Names of the classes.
        rows: Cells of each class, one per size.
        bins: Size bins.
        width: Width in pixels. Many classes are split into two columns if their cells fit.
        least_cell: Smallest width of a cell in two columns, in pixels.
    """
    longest = max(width_of(name) for name in names) + 10

    def split(blocks: int) -> tuple[float, float]:
        """Return the widths of the class names and of a cell."""
        room = (width - _GAP * (blocks - 1)) / blocks
        of_names = min(longest, room * (0.3 if blocks == 1 and width >= 700 else 0.34))
        return of_names, min((room - of_names) / len(bins.names), 132)

    blocks = 2 if width >= 460 and len(rows) > _MANY and split(2)[1] >= least_cell else 1
    names_width, cell_width = split(blocks)
    block_width = names_width + len(bins.names) * cell_width
    # With few sizes the figure is narrower than the available width.
    width = max(math.ceil(blocks * block_width + _GAP * (blocks - 1)), min(width, 330))
    in_block = math.ceil(len(rows) / blocks)
    head, top = _head(bins, cell_width)
    parts: list[Markup] = []
    for block in range(blocks):
        left = block * (block_width + _GAP) + names_width
        parts.append(element("g", *head, transform=f"translate({left:g} 0)"))
        for row in range(block * in_block, min((block + 1) * in_block, len(rows))):
            y = top + (row - block * in_block) * _ROW
            fitting = shortened(names[row], names_width - 8)
            parts.append(text(left - 8, y + 20, fitting, "end", full=names[row]))
            for k, cell in enumerate(rows[row]):
                parts.append(_cell(left + k * cell_width, y, cell_width - 2, cell))
    return parts, width, top + in_block * _ROW


def _head(bins: SizeBins, cell_width: float) -> tuple[list[Markup], float]:
    """Return the sizes' names above their columns, vertical if too long, and their lower end."""
    middles = [(k + 0.5) * cell_width - 1 for k in range(len(bins.names))]
    if max(width_of(size, bold=True) for size in bins.names) > cell_width - 4:
        shown = [shortened(size, 120) for size in bins.names]
        bottom = max(width_of(size, bold=True) for size in shown) + 6
        return [
            upright(x + 4, bottom - 6, fitting, "start strong", full=size)
            for x, fitting, size in zip(middles, shown, bins.names, strict=True)
        ], bottom
    named = [
        text(x, 13, size, "middle strong") for x, size in zip(middles, bins.names, strict=True)
    ]
    said = [limits(bins, k) for k in range(len(bins.names))]
    if max(width_of(words) for words in said) * 11 / 12 > cell_width:
        return named, 20
    below = [
        text(x, 28, words, "middle quiet fine") for x, words in zip(middles, said, strict=True)
    ]
    return [*named, *below], 36


def _cell(x: float, y: float, width: float, cell: HeatCell) -> Markup:
    middle, height = x + width / 2, _ROW - 2
    title = element("title", cell.said)
    if cell.step is None:
        frame = rect(x + 0.5, y + 0.5, width - 1, height - 1)
        label = text(middle, y + height / 2 + 4, cell.strong, "middle quiet")
        return element("g", title, frame, label, class_="nothing")
    if not cell.fine:
        inside = [text(middle, y + height / 2 + 4, cell.strong, "middle strong")]
    elif width >= 84:
        inside = [
            text(middle - 5, y + height / 2 + 4, cell.strong, "end strong"),
            text(middle + 5, y + height / 2 + 4, cell.fine, "start fine"),
        ]
    else:
        inside = [
            text(middle, y + 13, cell.strong, "middle strong"),
            text(middle, y + 26, cell.fine, "middle fine"),
        ]
    lines = hatching(x, y, width, height) if cell.hatched else ""
    colour = rect(x, y, width, height)
    return element("g", title, colour, lines, *inside, class_=f"cell h{cell.step}")
