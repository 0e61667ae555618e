"""Bars of the outcomes of objects, such as found, missed or wrong class."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from sbdata.drawing.svg import Figure, element, figure, text
from sbdata.formatting import percent
from sbdata.metrics.outcomes import in_words

OUTCOME_COLOURS = {
    "found": "#009e73",
    "partial": "#56b4e9",
    "bled": "#0072b2",
    "mostly_missed": "#e69f00",
    "missed": "#d55e00",
    "wrong_class": "#cc79a7",
}
"""Colours of the outcomes, from good to bad; they differ for every common kind of colour blindness
(Okabe, Ito)."""

_WIDTH, _HEIGHT = 200, 18  # size of a bar in pixels
_LEAST = 18  # width of a segment in pixels in which two digits fit
_WHITE = ("bled",)  # outcomes on whose colours white is easier to read than black


def outcome_bar(said: str, shares: Mapping[str, float]) -> Figure:
    """Draw the shares of the outcomes as one bar of segments, each with its whole per cent.

    A segment that is too narrow for its number has none; its title has it to a tenth.

    Args:
        said: What the bar shows, such as ``"irn, ce, small"``.
        shares: Fraction of the objects with each of ``OUTCOMES``; together 1.
    """
    parts: list[Markup] = []
    left = 0.0
    for kind, colour in OUTCOME_COLOURS.items():
        width = _WIDTH * shares[kind]
        if not width:
            continue
        title = element("title", f"{in_words(kind)}: {percent(shares[kind])}")
        box = {"x": left, "y": 0.0, "width": width, "height": float(_HEIGHT)}
        segment = [title, element("rect", **box, fill=colour, class_="segment")]
        if width >= _LEAST:
            ink = "on-dark" if kind in _WHITE else "on-light"
            segment.append(text(left + width / 2, 13, f"{100 * shares[kind]:.0f}", f"middle {ink}"))
        parts.append(element("g", *segment))
        left += width
    listed = ", ".join(f"{in_words(kind)} {percent(shares[kind])}" for kind in OUTCOME_COLOURS)
    return figure(f"{said}: {listed}.", _WIDTH, _HEIGHT, parts)


def outcome_mark(kind: str) -> Markup:
    """Return a square in the colour of an outcome, for a legend."""
    mark = element("rect", x=1, y=1, width=12, height=12, fill=OUTCOME_COLOURS[kind])
    return element("svg", mark, viewBox="0 0 14 14", width=14, height=14, class_="chart",
                   aria_hidden="true")  # fmt: skip
