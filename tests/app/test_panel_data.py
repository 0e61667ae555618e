from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.app.panel_data import (
    OBJECT_COLUMNS,
    SCORE_COLUMNS,
    Objects,
    ObjectScores,
    area_edges,
    count_by_area,
    count_cells,
    count_outcomes,
    gather_objects,
    groups_of,
)
from sbdata.metrics.outcomes import OUTCOMES
from sbdata.sizes import SizeBins

BINS = SizeBins()


def _objects(
    images: Sequence[int],
    areas: Sequence[int],
    labels: Sequence[str] | None = None,
    tp: Sequence[float] | None = None,
) -> Objects:
    labels = labels or ["cat"] * len(areas)
    scores = {}
    if tp is not None:
        outcome = np.array(["found"] * len(areas), object)
        scores["run"] = ObjectScores(np.array(tp, np.float64), np.zeros(len(areas)), outcome)
    return Objects(
        tuple(f"{k:04}" for k in range(max(images, default=-1) + 1)),
        np.array(images, np.int64),
        np.arange(1, len(areas) + 1),
        np.array(areas, np.int64),
        {
            "label": np.array(labels, object),
            "size": np.array([BINS.name_of(a) for a in areas], object),
            "source": np.array(["voc"] * len(areas), object),
        },
        scores,
        np.zeros(max(images, default=-1) + 1, np.int64),
    )


# --- gathering ------------------------------------------------------------------------------------


def test_every_object_keeps_its_image_and_values_in_the_order_of_ids_and_numbers() -> None:
    found = gather_objects(
        ["d", "c", "b", "a"],
        {
            "area": [[5, 6], None, [], [7]],
            "number": [[9, 2], None, [], [1]],
            "label": [["a", "b"], None, [], ["c"]],
            "size": [["small", "small"], None, [], ["small"]],
            "source": [["voc", "coco"], None, [], ["lvis"]],
        },
        {
            "cam": {
                "tp": [[1, None], None, [], [3]],
                "fp": [[0.5, None], None, [], [0.0]],
                "outcome": [["missed", None], None, [], ["found"]],
            },
            # fields that no sample has yet
            "irn": {name: [None] * 4 for name in ("tp", "fp", "outcome")},
        },
    )
    assert found.image_ids == ("a", "b", "c", "d")
    assert found.image.tolist() == [0, 3, 3]
    assert found.number.tolist() == [1, 2, 9]
    assert found.area.tolist() == [7, 6, 5]
    assert found.texts["label"].tolist() == ["c", "b", "a"]
    assert found.texts["source"].tolist() == ["lvis", "coco", "voc"]
    cam = found.runs["cam"]
    np.testing.assert_array_equal(cam.tp, [3, np.nan, 1])
    np.testing.assert_array_equal(cam.fp, [0, np.nan, 0.5])
    assert cam.outcome.tolist() == ["found", "", "missed"]
    assert cam.is_scored.tolist() == [True, False, True]
    assert not found.runs["irn"].is_scored.any()
    assert (len(found), found.n_images) == (3, 2)


def test_an_object_that_was_drawn_in_the_app_is_left_out() -> None:
    found = gather_objects(
        ["i"],
        {
            "area": [[None, 9]],
            "number": [[None, 1]],
            "label": [["mine", "cat"]],
            "size": [[None, "small"]],
            "source": [[None, "voc"]],
        },
    )
    assert found.texts["label"].tolist() == ["cat"]
    assert found.area.tolist() == [9]


def test_a_view_without_objects_is_empty() -> None:
    columns = {name: [None, []] for name in OBJECT_COLUMNS}
    found = gather_objects(["a", "b"], columns, {"cam": {n: [None, []] for n in SCORE_COLUMNS}})
    assert (len(found), found.n_images) == (0, 0)
    edges = area_edges(found.area, BINS)
    assert edges[0] <= 512
    assert edges[-1] > 9216
    assert count_cells(found, ["cat"], BINS.names).tolist() == [[0, 0, 0]]
    assert count_outcomes(found, "cam", BINS.names).sum() == 0


# --- counts ---------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 400_000), max_size=40))
@settings(max_examples=40, deadline=None)
def test_edges_hold_every_area_and_show_every_size(areas: list[int]) -> None:
    edges = area_edges(areas, BINS)
    assert (np.diff(edges) > 0).all()
    assert all(edges[0] <= area < edges[-1] for area in areas)
    assert edges[0] < BINS.edges[0]
    assert edges[-1] > BINS.edges[-1]
    assert all(edge == math.ceil(2 ** (k / 2)) for edge, k in _halves(edges))


def _halves(edges: np.ndarray) -> list[tuple[int, int]]:
    """Pair each edge with the half octave nearest to it."""
    return [
        (edge, min(range(50), key=lambda k: abs(math.ceil(2 ** (k / 2)) - edge)))
        for edge in edges.tolist()
    ]


@given(
    st.lists(
        st.tuples(st.integers(1, 100_000), st.sampled_from(["cat", "cow", "dog"])), max_size=40
    )
)
@settings(max_examples=40, deadline=None)
def test_each_object_is_counted_once(rows: list[tuple[int, str]]) -> None:
    found = _objects([0] * len(rows), [a for a, _ in rows], [label for _, label in rows])
    edges = area_edges(found.area, BINS)
    groups = groups_of(found, "label", ["cat", "cow"])
    counts = count_by_area(found, edges, "label", groups)
    for group in groups:
        for place, (low, high) in enumerate(pairwise(edges.tolist())):
            expected = sum(label == group and low <= area < high for area, label in rows)
            assert counts[group][place] == expected
    assert sum(int(n.sum()) for n in counts.values()) == len(rows)
    cells = count_cells(found, groups, BINS.names)
    for i, group in enumerate(groups):
        for j, size in enumerate(BINS.names):
            assert cells[i, j] == sum(
                label == group and BINS.name_of(area) == size for area, label in rows
            )


def test_known_groups_come_first_and_absent_ones_are_left_out() -> None:
    found = _objects([0] * 4, [1, 2, 3, 4], ["zebra", "cow", "cat", "ape"])
    assert groups_of(found, "label", ["cow", "dog", "cat"]) == ["cow", "cat", "ape", "zebra"]


def test_each_scored_object_has_one_outcome() -> None:
    found = _objects([0, 0, 1, 1], [600, 610, 5000, 620], tp=[300, 0, 5000, np.nan])
    outcomes = np.array(["partial", "missed", "found", ""], object)
    run = ObjectScores(found.runs["run"].tp, found.runs["run"].fp, outcomes)
    found = dataclasses.replace(found, runs={"run": run})
    counts = count_outcomes(found, "run", BINS.names)
    assert counts.shape == (3, len(OUTCOMES))
    by_name = [dict(zip(OUTCOMES, row, strict=True)) for row in counts.tolist()]
    assert by_name[0]["partial"] == by_name[0]["missed"] == by_name[1]["found"] == 1
    assert counts.sum() == 3
