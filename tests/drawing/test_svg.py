"""What all figures have in common: escaping, a file of their own, and a place in a notebook."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from sbdata.curate.statistics import area_edges
from sbdata.drawing import Figure, ia_by_strategy, size_distribution
from sbdata.drawing.svg import element, figure
from sbdata.sizes import SizeBins

HOSTILE = '<script>alert("x")</script>\' onload=alert(1) & \x00\u202e' + "w" * 300


def figures() -> list[Figure]:
    bins = SizeBins((64, 400), ("small", "medium", "large"))
    counts = {HOSTILE: dict.fromkeys(bins.names, 3), "b": dict.fromkeys(bins.names, 0)}
    areas = [0] * 11 + [4, 5] + [0] * 35
    return [
        size_distribution(HOSTILE, counts, {"s": areas, HOSTILE: areas}, area_edges(), bins),
        ia_by_strategy(HOSTILE, HOSTILE, {HOSTILE: 4}, {HOSTILE: [(0.5, 0.1)]}, [HOSTILE], 1.0),
    ]


def test_hostile_names_stay_text_and_inside() -> None:
    for drawn in figures():
        tree = ElementTree.fromstring(drawn)  # noqa: S314
        assert not any(e.tag.endswith("script") for e in tree.iter())
        assert not any(key.startswith("on") for e in tree.iter() for key in e.attrib)
        assert not re.search("[\x00\u202e]", drawn)
        assert "<script>" in "".join(tree.itertext())  # as text


def test_a_notebook_shows_a_figure_by_itself() -> None:
    drawn = figure("a & b", 10, 10, [element("text", "c")])
    shown = drawn._repr_svg_()
    assert ElementTree.fromstring(shown)[1].text == "a & b"  # noqa: S314
    assert "prefers-color-scheme: dark" in shown
