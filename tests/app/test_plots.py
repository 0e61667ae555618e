"""The plots are checked by Plotly's own validators, and their numbers by the counts they show."""

from __future__ import annotations

import colorsys
import json
from typing import Any

import numpy as np
import pytest

from sbdata.app.panel_data import area_edges
from sbdata.app.plots.counts import (
    ALL_CLASSES,
    ALL_SIZES,
    CELLS_TRACE,
    SIZES_TRACE,
    TOTALS_TRACE,
    heat_map_plot,
    histogram_plot,
)
from sbdata.app.plots.outcomes import outcome_of_trace, outcome_rows, outcomes_plot
from sbdata.app.plots.scores import ALL_OBJECTS, curve_plot, differences_plot, sizes_plot
from sbdata.app.plots.style import Plot, class_colours, source_colours
from sbdata.app.selection import Selection
from sbdata.app.view_estimates import Curve, Estimate, SizeEstimate
from sbdata.masks import voc_palette
from sbdata.metrics.bootstrap import Difference, Interval
from sbdata.metrics.outcomes import OUTCOMES
from sbdata.sizes import SizeBins
from sbdata.taxonomy import VOC20

BINS = SizeBins()
EDGES = area_edges([100, 30_000], BINS)
N = EDGES.size - 1
COUNTS = {"cat": np.arange(N), "cow": np.full(N, 2)}
CELLS = np.array([[3, 0, 5], [1, 2, 0]])


def _histogram(selection: Selection | None = None, by: str = "label") -> Plot:
    return histogram_plot(
        COUNTS,
        EDGES,
        BINS,
        by_size={"small": 4, "medium": 2, "large": 1500},
        colours={"cat": "#ff0000"},
        by=by,
        selection=selection,
    )


def _curve(n: list[int], mean: list[float], low: list[float], high: list[float]) -> Curve:
    rest = N - len(n)
    return Curve(
        np.array(n + [0] * rest),
        *(np.array(part + [np.nan] * rest) for part in (mean, low, high)),
    )


NAN = float("nan")
CURVE = _curve(
    [20, 4, 0, 12, 30],
    [0.1, 0.2, NAN, 0.5, 0.6],
    [0.05, 0.1, NAN, NAN, 0.5],
    [0.15, 0.3, NAN, NAN, 0.7],
)


def _curves() -> Plot:
    return curve_plot({"a": CURVE, "b": CURVE}, EDGES, BINS, titles={"a": "first run"})


KINDS = np.arange(18).reshape(3, 6)


def _outcomes(selection: Selection | None = None) -> Plot:
    counts = {"a": KINDS, "b": KINDS[::-1]}
    return outcomes_plot(counts, BINS.names, titles={"a": "first run"}, selection=selection)


def _sizes() -> Plot:
    many = SizeEstimate(
        Estimate(0.5, Interval(0.25, 0.625)), Estimate(0.375, Interval(0.25, 0.5)), 1234, 8
    )
    few = SizeEstimate(Estimate(0.75, None), Estimate(0.5, None), 9, 2)
    none = SizeEstimate(Estimate(None, None), Estimate(None, None), 0, 0)
    values = {"ia_objects": many, "ia_small": few, "ia_medium": none, "ia_large": many}
    return sizes_plot({"a": values, "b": values}, BINS.names, titles={"a": "first run"})


def _differences() -> Plot:
    found = {
        "ia_objects": Difference(-0.125, Interval(-0.25, 0.25), 0.25),
        "ia_small": Difference(0.5, None, None),
        "ia_medium": None,
        "ia_large": Difference(0.25, Interval(0.125, 0.375), 0.0),
    }
    return differences_plot({("a", "b"): found}, BINS.names, titles={"a": "first run"})


@pytest.mark.parametrize(
    "plot",
    [
        _histogram(),
        _histogram(Selection(label="cat", area=(512, 725))),
        heat_map_plot(CELLS, ["cat", "cow"], BINS.names, Selection(size="small")),
        heat_map_plot(np.zeros((0, 3), int), [], BINS.names),
        _curves(),
        _outcomes(),
        _outcomes(Selection(size="small", outcome=("a", "found"))),
        outcomes_plot({"a": np.zeros((0, 6), int)}, [], titles={}),
        _sizes(),
        _differences(),
    ],
    ids=[
        "histogram",
        "chosen",
        "cells",
        "nothing",
        "curves",
        "outcomes",
        "chosen outcome",
        "no outcome",
        "sizes",
        "differences",
    ],
)
def test_plotly_accepts_every_plot_and_json_every_number(plot: Plot) -> None:
    plotly = pytest.importorskip("plotly.graph_objects", reason="plotly is not installed")
    sent = json.loads(json.dumps([plot.data, plot.layout], allow_nan=False))
    plotly.Figure(data=sent[0], layout=sent[1])  # raises for an unknown property or value
    assert plot.height > 60


# --- histogram ------------------------------------------------------------------------------------


def _trace(plot: Plot, name: str) -> dict[str, Any]:
    (found,) = [trace for trace in plot.data if trace["name"] == name]
    return found


def test_bars_lie_side_by_side_on_the_logarithm_of_their_edges() -> None:
    bars = _trace(_histogram(), "cat")
    left = np.array(bars["x"]) - np.array(bars["width"]) / 2
    right = np.array(bars["x"]) + np.array(bars["width"]) / 2
    np.testing.assert_allclose(2**left, EDGES[:-1], rtol=1e-4)
    np.testing.assert_allclose(2**right, EDGES[1:], rtol=1e-4)
    assert bars["y"] == list(range(N))
    assert bars["customdata"][0] == f"{EDGES[0]:,} to {EDGES[1] - 1:,} pixels"


def test_the_sizes_are_as_wide_as_their_areas_and_named_with_their_counts() -> None:
    plot = _histogram()
    strip = _trace(plot, SIZES_TRACE)
    ends = np.array(strip["x"])[:, None] + np.array([-0.5, 0.5]) * np.array(strip["width"])[:, None]
    np.testing.assert_allclose(
        2**ends, [[EDGES[0], 1024], [1024, 9216], [9216, EDGES[-1]]], rtol=1e-4
    )
    assert strip["text"] == ["small 4", "medium 2", "large 1,500"]
    limits = [shape["x0"] for shape in plot.layout["shapes"]]
    np.testing.assert_allclose(limits, np.log2([1024, 9216]))


@pytest.mark.parametrize(
    ("selection", "cats", "cows"),
    [
        (Selection(), EDGES[:-1] > 0, EDGES[:-1] > 0),
        (Selection(size="small"), EDGES[:-1] < 1024, EDGES[:-1] < 1024),
        # the bin that holds the limit has some of both sizes
        (Selection(size="large"), EDGES[1:] > 9216, EDGES[1:] > 9216),
        (Selection(label="cat"), EDGES[:-1] > 0, EDGES[:-1] < 0),
        (
            Selection(label="cow", area=(int(EDGES[2]), int(EDGES[3]))),
            EDGES[:-1] < 0,
            np.arange(N) == 2,
        ),
    ],
)
def test_what_is_not_chosen_is_pale(
    selection: Selection, cats: np.ndarray, cows: np.ndarray
) -> None:
    plot = _histogram(selection)
    for name, chosen in (("cat", cats), ("cow", cows)):
        opacity = np.array(_trace(plot, name)["marker"]["opacity"])
        np.testing.assert_array_equal(opacity == 1, chosen)
    colours = _trace(plot, SIZES_TRACE)["marker"]["color"]
    assert [name for name, c in zip(BINS.names, colours, strict=True) if c == "#ff6d04"] == [
        name for name in BINS.names if name == selection.size
    ]


def test_many_classes_get_a_taller_plot() -> None:
    many = {f"a class of name {k}": np.ones(N, int) for k in range(20)}
    tall = histogram_plot(many, EDGES, BINS, by_size={}, colours={}, by="label")
    assert tall.height >= _histogram().height + 100


# --- cells ----------------------------------------------------------------------------------------


def test_every_cell_and_sum_is_shown_once() -> None:
    plot = heat_map_plot(CELLS, ["cat", "cow"], BINS.names)
    inner, outer = _trace(plot, CELLS_TRACE), _trace(plot, TOTALS_TRACE)
    assert inner["y"] == outer["y"] == [ALL_CLASSES, "cat", "cow"]
    assert inner["x"] == outer["x"] == ["small", "medium", "large", ALL_SIZES]
    assert inner["z"] == [[None] * 4, [3, 0, 5, None], [1, 2, 0, None]]
    assert outer["z"] == [[4, 2, 5, 11], [None] * 3 + [8], [None] * 3 + [3]]
    assert inner["text"][1] == ["3", "–", "5", ""]


@pytest.mark.parametrize(
    ("selection", "centre"),
    [
        (Selection(size="medium"), (1, 0)),
        (Selection(label="cow"), (3, 2)),
        (Selection(label="cat", size="large"), (2, 1)),
        (Selection(label="gone"), None),
        (Selection(label="cat", area=(1, 2)), None),
        (None, None),
    ],
)
def test_the_frame_is_around_what_is_chosen(
    selection: Selection | None, centre: tuple[int, int] | None
) -> None:
    shapes = heat_map_plot(CELLS, ["cat", "cow"], BINS.names, selection).layout["shapes"]
    found = [((s["x0"] + s["x1"]) / 2, (s["y0"] + s["y1"]) / 2) for s in shapes]
    assert found == ([] if centre is None else [centre])


# --- curve ----------------------------------------------------------------------------------------


def test_a_line_is_broken_where_there_is_nothing_and_hollow_where_there_is_little() -> None:
    plot = _curves()
    line = _trace(plot, "first run")
    assert line["y"][:6] == [0.1, 0.2, None, 0.5, 0.6, None]
    assert line["connectgaps"] is False
    assert line["marker"]["symbol"][:5] == [
        "circle", "circle-open", "circle-open", "circle", "circle"
    ]  # fmt: skip
    assert line["customdata"][0][1:] == [20, " (0.050–0.150)"]
    assert line["customdata"][3][1:] == [12, ""]
    colours = {trace["line"].get("color") for trace in plot.data} - {None}
    assert len(colours) == 2


def test_the_band_has_one_closed_outline_for_each_stretch() -> None:
    band = _trace(_curves(), "band of a")
    outlines: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(band["x"], band["y"], strict=True):
        if x is None:
            outlines.append([])
        else:
            outlines[-1].append((2**x, y))
    assert [len(outline) for outline in outlines] == [9, 7]  # of two bins, and of one
    for outline, (first, last) in zip(outlines, [(0, 1), (4, 4)], strict=True):
        assert outline[0] == outline[-1]
        assert min(x for x, _ in outline) == pytest.approx(EDGES[first], rel=1e-4)
        assert max(x for x, _ in outline) == pytest.approx(EDGES[last + 1], rel=1e-4)
        assert min(y for _, y in outline) == CURVE.low[first : last + 1].min()
        assert max(y for _, y in outline) == CURVE.high[first : last + 1].max()


def test_each_mark_has_the_ends_of_its_interval_and_few_objects_are_hollow() -> None:
    plot = _sizes()
    marks = _trace(plot, "first run")
    assert marks["y"] == [0.5, 0.75, None, 0.5]
    assert marks["error_y"]["array"] == [0.125, None, None, 0.125]
    assert marks["error_y"]["arrayminus"] == [0.25, None, None, 0.25]
    assert marks["marker"]["symbol"] == ["circle", "circle-open", "circle-open", "circle"]
    assert plot.layout["xaxis"]["ticktext"] == [ALL_OBJECTS, *BINS.names]
    assert marks["customdata"][0] == [
        ALL_OBJECTS,
        "class mean 0.500 (0.250–0.625)<br>instance mean 0.375 (0.250–0.500)<br>"
        "1,234 objects, 8 classes",
    ]
    assert marks["x"] != _trace(plot, "b")["x"]  # side by side


def test_differences_say_which_run_is_subtracted_from_which() -> None:
    plot = _differences()
    assert "A minus B" in plot.layout["title"]["text"]
    marks = _trace(plot, "first run − b")
    assert marks["y"] == [-0.125, 0.5, None, 0.25]
    assert marks["error_y"]["array"] == [0.375, None, None, 0.125]
    assert [said for _, said in marks["customdata"]] == [
        "−0.125 (−0.250 to +0.250)<br>draws with no or the opposite difference: 25.0%",
        "+0.500, no interval",
        "–",
        "+0.250 (+0.125 to +0.375)<br>draws with no or the opposite difference: 0.0%",
    ]


# --- outcomes -------------------------------------------------------------------------------------


def test_every_object_is_in_one_segment_of_the_bar_of_its_size_and_run() -> None:
    plot = _outcomes()
    assert {trace["name"].replace(" ", "_") for trace in plot.data} == set(OUTCOMES)
    rows = outcome_rows(["a", "b"], BINS.names)
    assert rows[:3] == [("small", "a"), ("small", "b"), ("medium", "a")]
    assert plot.layout["yaxis"]["ticktext"][:2] == ["small, first run", "small, b"]
    found = np.array([[one for *_, one, _ in trace["customdata"]] for trace in plot.data])
    total = [point[3] for point in plot.data[0]["customdata"]]
    assert found.sum(axis=0).tolist() == total
    for trace in plot.data:
        column = OUTCOMES.index(outcome_of_trace(trace["name"]))
        counts = [point[2] for point in trace["customdata"]]
        assert counts[::2] == KINDS[:, column].tolist()
        assert counts[1::2] == KINDS[::-1, column].tolist()
    np.testing.assert_allclose(np.sum([trace["x"] for trace in plot.data], axis=0), 1)


def test_outcomes_that_are_not_chosen_are_pale() -> None:
    plot = _outcomes(Selection(size="small", outcome=("a", "found")))
    opaque = {
        (trace["name"], place)
        for trace in plot.data
        for place, opacity in enumerate(trace["marker"]["opacity"])
        if opacity == 1
    }
    # The other run's bar of that size stays: its objects are not told apart there.
    names = {kind.replace("_", " ") for kind in OUTCOMES}
    assert opaque == {("found", 0)} | {(name, 1) for name in names}


# --- colours --------------------------------------------------------------------------------------


def test_class_colours_have_the_hue_of_vocs_masks_and_are_seen_on_a_dark_ground() -> None:
    palette = voc_palette()
    found = class_colours(VOC20.classes)
    assert len(found) == 20
    for number, name in enumerate(VOC20.classes, start=1):
        drawn = bytes.fromhex(found[name][1:])
        original = palette[3 * number : 3 * number + 3]
        red, green, blue = drawn
        assert 0.299 * red + 0.587 * green + 0.114 * blue > 90
        hues = [colorsys.rgb_to_hsv(*(c / 255 for c in rgb))[0] for rgb in (drawn, original)]
        assert hues[0] == pytest.approx(hues[1], abs=0.02)


def test_every_source_has_a_colour() -> None:
    assert len(source_colours([str(k) for k in range(9)])) == 9
