"""SVG elements, in which every plain string is escaped, and estimated text widths.

Names of images, classes and folders come from files and may contain anything. A string enters a
figure as text or as an attribute's value, never as markup; only ``Markup`` is inserted unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from unicodedata import east_asian_width

from markupsafe import Markup, escape

from sbdata.printable import displayable

WIDE = 720
NARROW = 344

LETTER = 7.0
"""Width in pixels of an average letter at 12 px, rather too large than too small."""

_BOLD = 1.12  # width of a bold letter relative to a normal one


class Figure(Markup):
    """Figure as SVG text, coloured by the CSS custom properties of ``chart.css``.

    A page with figures includes that style sheet once. A notebook shows a figure on its own.
    """

    __slots__ = ()

    def standalone(self) -> str:
        """Return the text of an SVG file: the figure with its style, for light and dark."""
        head, rest = str(self).split(">", 1)
        return f"{head}><style>{chart_style()}</style>{rest}\n"

    def _repr_svg_(self) -> str:
        return self.standalone()


@cache
def chart_style() -> str:
    """Return the style sheet of the figures."""
    return (resources.files("sbdata.drawing") / "chart.css").read_text("utf-8")


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return one SVG element.

    Args:
        name: Name of the tag.
        children: Content; Markup is kept, anything else is escaped text.
        attributes: Attributes; ``class_`` stands for ``class`` and ``stroke_width`` for
            ``stroke-width``. None omits an attribute; numbers are rounded to a hundredth.

    >>> print(element("text", "1 < 2 ", element("tspan", "&"), class_="note", x=0.501))
    <text class="note" x="0.5">1 &lt; 2 <tspan>&amp;</tspan></text>
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{''.join(map(_escaped, children))}</{name}>")  # noqa: S704


def _escaped(value: object) -> str:
    return value if isinstance(value, Markup) else escape(displayable(str(value)))


def _value(value: object) -> str:
    return at(value) if isinstance(value, float) else escape(displayable(str(value)))


def figure(said: str, width: float, height: float, parts: Iterable[Markup]) -> Figure:
    """Return a figure with the given elements; ``said`` is its title and text alternative."""
    wide, tall = math.ceil(width), math.ceil(height)
    return Figure(
        element(
            "svg",
            element("title", said),
            element("rect", width=wide, height=tall, class_="ground"),
            *parts,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {wide} {tall}",
            width=wide,
            height=tall,
            class_="chart",
            role="img",
        )
    )


def text(
    x: float, y: float, label: str | Sequence[Markup], class_: str, full: str | None = None
) -> Markup:
    """Return a line of text; if the label is a shortened name, the full one is its title."""
    parts = [label] if isinstance(label, str) else label
    title = element("title", full) if full is not None and full != label else ""
    return element("text", *parts, title, x=float(x), y=float(y), class_=class_)


def upright(x: float, y: float, label: str, class_: str, full: str | None = None) -> Markup:
    """Return a vertical line of text, read from bottom to top."""
    title = element("title", full) if full is not None and full != label else ""
    turned = f"translate({at(x)} {at(y)}) rotate(-90)"
    return element("text", label, title, transform=turned, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    ends = {"x1": float(x1), "y1": float(y1), "x2": float(x2), "y2": float(y2)}
    return element("line", **ends, class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str | None = None) -> Markup:
    """Return a rectangle."""
    box = {"x": float(x), "y": float(y), "width": float(width), "height": float(height)}
    return element("rect", **box, class_=class_)


def polygon(x: float, y: float, corners: Iterable[tuple[float, float]], class_: str) -> Markup:
    """Return a polygon with corners relative to its centre."""
    points = " ".join(f"{at(x + dx)},{at(y + dy)}" for dx, dy in corners)
    return element("polygon", points=points, class_=class_)


def at(value: float) -> str:
    """Return a coordinate rounded to a hundredth of a pixel, the same on every machine."""
    return f"{round(value, 2) + 0.0:g}" if abs(value) < 1e5 else f"{value:.0f}"


def hatching(x: float, y: float, width: float, height: float) -> Markup:
    """Return oblique lines that fill a rectangle, clipped at its sides."""
    lines = []
    step = 7
    for k in range(1, math.ceil((width + height) / step)):
        offset = k * step  # the line runs from (offset, 0) down to the left
        x0, y0 = (offset, 0.0) if offset <= width else (width, offset - width)
        x1, y1 = (0.0, offset) if offset <= height else (offset - height, height)
        lines.append(f"M{at(x + x0)} {at(y + y0)}L{at(x + x1)} {at(y + y1)}")
    return element("path", d="".join(lines), class_="hatching")


# --- text that fits -------------------------------------------------------------------------------


def width_of(label: str, *, bold: bool = False) -> float:
    """Return the approximate width of a label at 12 px, rather too large than too small."""
    letters = 0.0
    for c in label:
        if east_asian_width(c) in "WF":
            letters += 1.8
        elif c in "mwMW@%":
            letters += 1.5
        else:
            letters += 0.55 if c in "iljI.,:'|" else 1
    return letters * LETTER * (_BOLD if bold else 1)


def shortened(label: str, room: float) -> str:
    """Return a label, cut with an ellipsis if it is wider than the room.

    >>> shortened("pottedplant", 50)
    'potted…'
    """
    if width_of(label) <= room:
        return label
    while label and width_of(label) + LETTER > room:
        label = label[:-1]
    return label + "…"


def kept_inside(x: float, label: str, left: float, right: float) -> float:
    """Return the position of a centred label at which it does not leave the figure."""
    half = width_of(label, bold=True) / 2
    return max(left + half, min(right - half, x))


def rows_without_overlap(labels: Sequence[tuple[float, str]]) -> list[int]:
    """Return for each centred label the first row in which it overlaps no earlier one."""
    ends: list[float] = []
    rows = []
    for x, label in labels:
        half = width_of(label, bold=True) / 2 + 3
        row = next((k for k, end in enumerate(ends) if end <= x - half), len(ends))
        ends[row : row + 1] = [x + half]
        rows.append(row)
    return rows
