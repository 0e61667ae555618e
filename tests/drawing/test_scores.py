"""The figures: numbers, marks and text that fits, read from the SVG itself."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest

from sbdata.drawing import (
    NARROW,
    WIDE,
    chart_style,
    ia_by_area,
    ia_by_class_and_size,
    precision_by_size,
)
from sbdata.drawing.scores import heat_step
from sbdata.formatting import number
from sbdata.metrics import Accumulator
from sbdata.metrics.summary import Cell, CurvePoint, summarise
from sbdata.sizes import SizeBins
from sbdata.taxonomy import COCO80, VOC20, Taxonomy
from tests.score.scored_examples import BINS, TAXONOMY, example_images, scored_from

WIDTHS = pytest.mark.parametrize("width", [WIDE, NARROW])
SIX = SizeBins(
    (16, 64, 256, 400, 20000), ("tiny", "small", "medium", "quite-large", "large", "6th")
)


@pytest.fixture(scope="module")
def scored():
    return scored_from(example_images())


def parsed(svg):
    """Return the elements of an SVG as (tag, element), the namespace left out."""
    root = ElementTree.fromstring(svg)  # noqa: S314
    return [(e.tag.split("}")[1], e) for e in root.iter()]


def texts(svg):
    return ["".join(e.itertext()) for tag, e in parsed(svg) if tag == "text"]


def marked(svg, class_):
    return [e for _, e in parsed(svg) if class_ in (e.get("class") or "").split()]


def title_of(element):
    return next(e.text for e in element if e.tag.endswith("title"))


# --- IA by area -----------------------------------------------------------------------------------


@WIDTHS
def test_curve_has_a_point_where_there_are_instances_at_the_height_of_its_mean(scored, width):
    points = [p for p in scored.summary.curve if p.n]
    drawn = marked(ia_by_area(scored.summary, width), "point")
    assert [title_of(e) for e in drawn] == [
        f"{p.low:,} to {p.high - 1:,} pixels: IA {number(p.value)}, n {p.n:,}" for p in points
    ]
    # The height is a straight line in the value, the place one in the logarithm of the area.
    for get, of in (
        (lambda e: e.get("cy"), lambda p: p.value),
        (lambda e: e.get("cx"), lambda p: math.log(p.low * p.high)),
    ):
        shown, meant = [float(get(e)) for e in drawn], [of(p) for p in points]
        slope, offset = np.polyfit(meant, shown, 1)
        assert np.allclose(shown, np.multiply(slope, meant) + offset, atol=0.02)


def test_curve_is_hollow_under_ten_and_broken_where_nothing_is(scored):
    areas = [(64, 91), (91, 128), (128, 182), (182, 256)]
    values = [(0.5, 9), (0.25, 10), (None, 0), (1.0, 11)]
    curve = tuple(CurvePoint(*area, *value) for area, value in zip(areas, values, strict=True))
    svg = ia_by_area(replace(scored.summary, curve=curve))
    assert ["few" in e.get("class") for e in marked(svg, "point")] == [True, False, False]
    (line,) = marked(svg, "curve")
    assert re.sub(r"[^ML]", "", line.get("d")) == "MLM"
    assert [label for label in texts(svg) if label in ("9", "10", "11")] == ["9", "10", "11"]
    bars = [float(e.get("height")) for e in marked(svg, "bar")]
    assert bars[1] / bars[0] == pytest.approx(10 / 9, abs=0.01)


@WIDTHS
def test_curve_names_the_sizes_and_marks_their_limits(scored, width):
    svg = ia_by_area(scored.summary, width)
    assert {"small", "medium", "large", "64", "20²"} <= set(texts(svg))
    assert len(marked(svg, "limit")) == 2


def test_curve_writes_every_n_upright_where_there_is_no_room(scored):
    curve = tuple(CurvePoint(2**k, 2 ** (k + 1), 0.5, 10_000 + k) for k in range(18))
    svg = ia_by_area(replace(scored.summary, curve=curve), NARROW)
    turned = [
        e for tag, e in parsed(svg) if tag == "text" and "rotate" in (e.get("transform") or "")
    ]
    assert [e.text for e in turned] == [f"{10_000 + k:,}" for k in range(18)]


# --- class x size ---------------------------------------------------------------------------------


@WIDTHS
def test_heat_map_has_value_and_n_of_every_cell(scored, width):
    svg = ia_by_class_and_size(scored.summary, TAXONOMY.classes, width)
    shown = texts(svg)
    for figures, name in zip(scored.summary.classes, TAXONOMY.classes, strict=True):
        assert name in shown
        for size in BINS.names:
            cell = figures.ia[f"ia_{size}"]
            said = [title_of(e) for _, e in parsed(svg) if e.get("class") == "nothing"]
            if cell.n == 0:
                assert f"{name}, {size}: no instance" in said
            else:
                assert number(cell.value, 2) in shown
                assert f"n {cell.n}" in shown
    assert shown.count("–") == sum(
        figures.ia[f"ia_{size}"].n == 0 for figures in scored.summary.classes for size in BINS.names
    )


@pytest.mark.parametrize(("n", "hatched"), [(1, True), (9, True), (10, False), (400, False)])
def test_heat_map_is_hatched_under_ten(scored, n, hatched):
    figures = replace(
        scored.summary.classes[0], ia={f"ia_{size}": Cell(0.55, n) for size in BINS.names}
    )
    svg = ia_by_class_and_size(replace(scored.summary, classes=(figures,)), ("disc",))
    cells = [e for e in marked(svg, "cell") if any(c.tag.endswith("title") for c in e)]
    assert len(cells) == 3
    assert [e.get("class") for e in cells] == [f"cell h{heat_step(0.55)}"] * 3
    assert [any("hatching" in (c.get("class") or "") for c in e) for e in cells] == [hatched] * 3


@WIDTHS
@pytest.mark.parametrize("bins", [BINS, SIX], ids=["three", "six"])
@pytest.mark.parametrize("taxonomy", [TAXONOMY, VOC20, COCO80], ids=lambda t: t.name)
def test_no_figure_runs_over_its_sides_and_no_cells_overlap(width, bins, taxonomy):
    scored = scored_from(example_images(6), taxonomy=taxonomy, bins=bins)
    for svg in (
        ia_by_area(scored.summary, width),
        ia_by_class_and_size(scored.summary, taxonomy.classes, width),
        precision_by_size(scored.summary, scored.intervals, width),
    ):
        root = ElementTree.fromstring(svg)  # noqa: S314
        assert float(root.get("width")) <= width
        inside = float(root.get("width")), float(root.get("height"))
        for tag, e in parsed(svg):
            if tag == "rect":
                assert float(e.get("x", 0)) + float(e.get("width")) <= inside[0] + 0.01
                assert float(e.get("y", 0)) + float(e.get("height")) <= inside[1] + 0.01
            if tag == "text" and e.get("x"):
                assert 0 <= float(e.get("x")) <= inside[0]
                assert 0 <= float(e.get("y")) <= inside[1]
    cells = [
        tuple(float(r.get(key)) for key in ("x", "y", "width", "height"))
        for tag, g in parsed(ia_by_class_and_size(scored.summary, taxonomy.classes, width))
        if tag == "g" and (g.get("class") or "").startswith(("cell", "nothing"))
        for r in g
        if r.tag.endswith("rect")
    ]
    for (x, y, w, h), (a, b, c, d) in combinations(cells[: 12 * len(bins.names)], 2):
        assert x + w <= a + 0.01 or a + c <= x + 0.01 or y + h <= b + 0.01 or b + d <= y + 0.01


def test_a_long_class_name_is_cut_and_kept_whole_in_its_title(scored):
    name = "a class whose name is far longer than any figure is wide, and then some"
    svg = ia_by_class_and_size(scored.summary, (name, "b", "c"), NARROW)
    cut = next(label for label in texts(svg) if "…" in label)
    shown, full = cut.split("…")
    assert name.startswith(shown)
    assert full == name


# --- region precision --------------------------------------------------------------------------


@WIDTHS
def test_precision_stands_beside_ia_for_each_size(scored, width):
    svg = precision_by_size(scored.summary, scored.intervals, width)
    shown = " ".join(texts(svg))
    for name, cell in scored.summary.region_precision.items():
        if cell.value is not None:
            assert f"{cell.n:,} region" in shown
            assert number(cell.value) in shown
        ia = scored.summary.ia["ia" + (name.removeprefix("region_precision") or "_objects")]
        assert number(ia.class_mean) in shown
        assert number(ia.instance_mean) in shown
    defined = {
        name: value
        for name, value in scored.summary.headline().items()
        if name.partition(".")[0] not in ("miou", "pixel_accuracy", "ia")
    }
    drawn = [e for c in ("class-mean", "instance-mean", "region-precision") for e in marked(svg, c)]
    assert len(drawn) == sum(value is not None for value in defined.values())
    whiskers = marked(svg, "whisker")
    assert len(whiskers) == sum(scored.intervals[name] is not None for name in defined)
    assert all(float(e.get("x1")) <= float(e.get("x2")) for e in whiskers)


@WIDTHS
def test_the_ia_of_all_sizes_is_not_taken_for_the_one_with_background(scored, width):
    ia = scored.summary.ia
    assert ia["ia"].class_mean != ia["ia_objects"].class_mean
    shown = texts(precision_by_size(scored.summary, scored.intervals, width))
    assert any(text.startswith("all sizes, without background") for text in shown)


# --- all of them ----------------------------------------------------------------------------------


def test_nothing_scored_draws_dashes_and_says_so():
    taxonomy = Taxonomy("one", ("only",))
    summary = summarise(Accumulator(1).tables(), BINS)
    assert texts(ia_by_area(summary)) == ["No instance to measure."]
    assert texts(ia_by_class_and_size(summary, taxonomy.classes)).count("–") == 3
    assert not marked(precision_by_size(summary, {}), "whisker")


def test_a_single_instance_and_a_single_bin_can_be_drawn():
    one = scored_from(
        example_images(1, classes=(1,), invented=0),
        taxonomy=Taxonomy("one", ("only",)),
        bins=SizeBins((), ("any",)),
    )
    assert len(marked(ia_by_area(one.summary), "point")) == 1
    assert "any area" in texts(ia_by_class_and_size(one.summary, ("only",)))


def test_standalone_figures_carry_their_style_and_name_no_address(scored):
    svg = ia_by_area(scored.summary).standalone()
    root = ElementTree.fromstring(svg)  # noqa: S314
    style = next(e for e in root if e.tag.endswith("style"))
    assert "prefers-color-scheme: dark" in style.text
    assert re.findall(r"https?://[^\s\"]+", svg) == ["http://www.w3.org/2000/svg"]
    assert "url(" not in svg
    assert "@import" not in svg


def test_every_svg_has_a_title_that_says_what_it_shows(scored):
    for svg in (
        ia_by_area(scored.summary),
        ia_by_class_and_size(scored.summary, TAXONOMY.classes),
        precision_by_size(scored.summary, scored.intervals),
    ):
        root = ElementTree.fromstring(svg)  # noqa: S314
        assert root.get("role") == "img"
        assert root[0].tag.endswith("title")
        assert "IA" in root[0].text


# --- colours --------------------------------------------------------------------------------------


def schemes():
    """Return the custom properties by day and by night."""
    day, night = re.split(r"@media", chart_style())[:2]
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part)) for part in (day, night)]
    return {"light": found[0], "dark": found[1]}


def luminance(colour):
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_have_enough_contrast(scheme):
    colours = schemes()[scheme]
    pairs = [(f"heat-{k}", f"heat-ink-{k}", 4.5) for k in range(10)]
    pairs += [(ground, ink, 4.5) for ground in ("surface", "panel") for ink in ("ink", "muted")]
    pairs += [("alarm-panel", "alarm", 4.5), ("surface", "blue", 4.5)]
    pairs += [("surface", mark, 3.0) for mark in ("orange", "green")]
    for ground, ink, least in pairs:
        assert contrast(colours[ground], colours[ink]) >= least, (ground, ink)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_steps_of_the_heat_map_go_one_way(scheme):
    steps = [luminance(schemes()[scheme][f"heat-{k}"]) for k in range(10)]
    assert steps == sorted(steps, reverse=scheme == "light")
    assert len(set(steps)) == 10
