"""Bars of outcomes: widths are the shares, and each number is on the bar or in a title."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from sbdata.drawing import OUTCOME_COLOURS, outcome_bar
from sbdata.metrics.outcomes import OUTCOMES

SVG = "{http://www.w3.org/2000/svg}"
SHARES = dict.fromkeys(OUTCOMES, 0.0) | {"found": 0.5, "bled": 0.05, "missed": 0.45}


def test_segments_are_as_wide_as_their_shares_and_fill_the_bar() -> None:
    bar = ElementTree.fromstring(outcome_bar("irn, ce, small", SHARES))  # noqa: S314 - our own
    found = {}
    left = 0.0
    for group in bar.findall(f"{SVG}g"):
        title, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None
        assert title.text is not None
        assert rect is not None
        assert float(rect.attrib["x"]) == pytest.approx(left)
        left += float(rect.attrib["width"])
        kind = title.text.split(":")[0].replace(" ", "_")
        assert rect.attrib["fill"] == OUTCOME_COLOURS[kind]
        number = group.find(f"{SVG}text")
        found[kind] = (title.text, None if number is None else number.text)
    assert left == float(bar.attrib["width"])
    assert found == {
        "found": ("found: 50.0 %", "50"),
        "bled": ("bled: 5.0 %", None),
        "missed": ("missed: 45.0 %", "45"),
    }
    (title,) = bar.findall(f"{SVG}title")
    assert title.text is not None
    assert title.text.startswith("irn, ce, small: found 50.0 %, partial 0.0 %, bled 5.0 %")


def test_every_outcome_has_a_colour_on_which_its_number_can_be_read() -> None:
    assert sorted(OUTCOME_COLOURS) == sorted(OUTCOMES)
    for kind, colour in OUTCOME_COLOURS.items():
        drawn = outcome_bar("x", dict.fromkeys(OUTCOMES, 0.0) | {kind: 1.0})
        (ink,) = re.findall(r"on-(light|dark)", drawn)
        own = _luminance(colour)
        contrast = (own + 0.05) / 0.05 if ink == "light" else 1.05 / (own + 0.05)
        assert contrast >= 4.5, kind


def _luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.1."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    )  # fmt: skip
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
