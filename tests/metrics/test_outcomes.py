"""What became of an instance: each kind, its boundaries, and that the first that holds counts."""

from __future__ import annotations

import numpy as np
import pytest

from sbdata.metrics import Accumulator, MetricOptions, score_image, truth_from_maps
from sbdata.metrics.image import INSTANCE_ROW
from sbdata.metrics.outcomes import OUTCOMES, outcome_index
from sbdata.sizes import SizeBins


def kind_of(area, tp, fp, other_pixels=0):
    rows = np.zeros(1, INSTANCE_ROW)
    rows["area"], rows["tp"], rows["fp"], rows["other_pixels"] = area, tp, fp, other_pixels
    return OUTCOMES[int(outcome_index(rows)[0])]


def test_the_kinds_and_their_order():
    assert OUTCOMES == ("found", "wrong_class", "missed", "mostly_missed", "bled", "partial")


@pytest.mark.parametrize(
    ("area", "tp", "fp", "other_pixels", "kind"),
    [
        (100, 100, 0, 0, "found"),
        (100, 50, 0, 0, "found"),  # IA exactly 0.5
        (100, 75, 50, 0, "found"),  # the same with false pixels
        (100, 50, 0, 50, "found"),  # before wrong class
        (100, 100, 100, 0, "found"),  # before bled
        (100, 49, 0, 0, "partial"),
        (100, 49, 0, 50, "wrong_class"),  # exactly half
        (100, 49, 0, 49, "partial"),
        (101, 50, 0, 50, "partial"),  # 50 of 101 is less than half
        (100, 0, 0, 50, "wrong_class"),  # before missed
        (100, 10, 0, 60, "wrong_class"),  # before mostly missed
        (100, 30, 200, 60, "wrong_class"),  # before bled
        (100, 0, 0, 0, "missed"),
        (100, 4, 0, 0, "missed"),
        (100, 4, 500, 0, "missed"),  # before bled
        (100, 5, 0, 0, "mostly_missed"),  # recall exactly 0.05
        (20, 1, 0, 0, "mostly_missed"),
        (100, 24, 0, 0, "mostly_missed"),
        (100, 24, 500, 0, "mostly_missed"),  # before bled
        (100, 25, 0, 0, "partial"),  # recall exactly 0.25
        (100, 25, 101, 0, "bled"),
        (100, 25, 100, 0, "partial"),  # as many false pixels as the area, not more
        (100, 100, 101, 0, "bled"),  # IA just under 0.5
        (1, 0, 0, 0, "missed"),
        (1, 0, 0, 1, "wrong_class"),
    ],
)
def test_boundaries(area, tp, fp, other_pixels, kind):
    assert kind_of(area, tp, fp, other_pixels) == kind


def outcomes_of(class_map, prediction, options=MetricOptions()):  # noqa: B008 - frozen
    truth = truth_from_maps(np.array(class_map), np.array(class_map))
    rows = score_image(np.array(prediction), truth, 3, options).instances
    kinds = [OUTCOMES[k] for k in outcome_index(rows)]
    others = list(zip(rows["other_class"].tolist(), rows["other_pixels"].tolist(), strict=True))
    return kinds, others


def test_it_is_one_other_class_that_has_half_of_the_pixels():
    assert outcomes_of([[1] * 6], [[2, 2, 3, 3, 0, 0]]) == (["missed"], [(2, 2)])
    assert outcomes_of([[1] * 6], [[0, 2, 2, 3, 3, 3]]) == (["wrong_class"], [(3, 3)])
    assert outcomes_of([[2] * 6], [[0, 0, 0, 0, 1, 1]]) == (["missed"], [(1, 2)])


def test_background_and_its_own_class_are_no_other_class():
    assert outcomes_of([[1, 1, 1, 1]], [[0, 0, 0, 0]]) == (["missed"], [(0, 0)])
    assert outcomes_of([[1, 1, 1, 1]], [[1, 0, 0, 0]]) == (["partial"], [(0, 0)])
    assert outcomes_of([[1, 1, 1, 1]], [[1, 1, 1, 2]]) == (["found"], [(2, 1)])


def test_void_pixels_are_no_pixels_of_another_class():
    class_map = np.array([[1, 1, 255, 255, 255]])
    found = score_image(np.array([[0, 2, 3, 3, 3]]), truth_from_maps(class_map, class_map), 3)
    assert (found.instances["other_class"], found.instances["other_pixels"]) == (2, 1)


def test_bled_depends_on_the_attribution():
    class_map, prediction = [[1, 0, 0, 0, 0, 2]], [[1, 1, 1, 1, 0, 2]]
    assert outcomes_of(class_map, prediction)[0] == ["bled", "found"]
    both = np.array([[1, 1, 1, 1, 1, 1]])
    truth = truth_from_maps(np.array([[1, 0, 0, 0, 1, 1]]), np.array([[1, 0, 0, 0, 2, 2]]))
    for fp_attribution, kinds in (
        ("overlap", ["found", "found"]),  # 3 false pixels: 1 and 2
        ("equal", ["found", "found"]),  # 1 and 1, rounded down
        ("all", ["bled", "bled"]),
    ):
        rows = score_image(both, truth, 1, MetricOptions(fp_attribution)).instances
        assert [OUTCOMES[k] for k in outcome_index(rows)] == kinds


def test_they_are_counted_by_the_size_of_the_instance():
    class_map = np.array([[1, 0, 2, 2, 2, 0, 3, 3, 3]])
    prediction = np.array([[1, 0, 1, 1, 1, 0, 3, 0, 0]])
    accumulator = Accumulator(3)
    accumulator.update("a", score_image(prediction, truth_from_maps(class_map, class_map), 3))
    summary = accumulator.compute(SizeBins((2,), ("tiny", "big")))
    none = dict.fromkeys(OUTCOMES, 0)
    assert summary.outcomes == {
        "tiny": none | {"found": 1},
        "big": none | {"wrong_class": 1, "partial": 1},
    }
    assert Accumulator(3).compute().outcomes["small"] == none
