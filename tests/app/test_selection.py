from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.app.panel_data import Objects, ObjectScores
from sbdata.app.selection import Selection, selection_of, split_view

texts = st.none() | st.sampled_from(["cat", "small", "x y", "$$this.area"])
areas = st.none() | st.tuples(st.integers(0, 50), st.integers(51, 99))
outcomes = st.none() | st.tuples(
    st.sampled_from(["cam", "a_b", "unknown"]), st.sampled_from(["found", "wrong_class"])
)
selections = st.builds(
    Selection, label=texts, size=texts, source=texts, area=areas, outcome=outcomes
)

OBJECTS = Objects(
    tuple("abcdef"),
    np.arange(6),
    np.ones(6, int),
    np.array([1, 40, 60, 98, 99, 3]),
    {
        "label": np.array(["cat", "cat", "cow", "x y", "cat", "cow"], object),
        "size": np.array(["small"] * 3 + ["large"] * 3, object),
        "source": np.array(["voc", "coco"] * 3, object),
    },
    {
        name: ObjectScores(np.zeros(6), np.zeros(6), np.array(found, object))
        for name, found in {
            "cam": ["found", "wrong_class"] * 3,
            "a_b": ["found", "found", "bled"] * 2,
        }.items()
    },
    np.zeros(6, int),
)


def _holds(expression: Any, row: dict[str, Any]) -> bool:
    """Work out the few of MongoDB's operators that are used."""
    ((operator, operands),) = expression.items()
    if operator == "$and":
        return all(_holds(part, row) for part in operands)
    path, value = operands
    found = row.get(path.removeprefix("$$this."))
    return bool(
        {"$eq": found == value}.get(operator, False)
        or (operator == "$gte" and found >= value)
        or (operator == "$lt" and found < value)
    )


@given(selections)
@settings(max_examples=60, deadline=None)
def test_mask_and_filter_choose_the_same(selection: Selection) -> None:
    rows = [
        {
            "area": int(area),
            **{name: found[k] for name, found in OBJECTS.texts.items()},
            **{f"outcome_{name}": run.outcome[k] for name, run in OBJECTS.runs.items()},
        }
        for k, area in enumerate(OBJECTS.area)
    ]
    expected = [_holds(selection.filter(), row) for row in rows]
    assert selection.mask(OBJECTS).tolist() == expected


@given(selections)
@settings(max_examples=60, deadline=None)
def test_a_filter_is_known_again_after_a_trip_through_json(selection: Selection) -> None:
    sent = orjson.loads(orjson.dumps(selection.filter()))
    assert selection_of(sent) == (selection or None)


@pytest.mark.parametrize(
    "other",
    [
        None,
        "$and",
        [],
        {},
        {"$eq": ["$$this.size", "small"]},  # the saved view of small objects is not the panel's
        {"$and": []},
        {"$and": "ab"},
        {"$and": [{"$eq": ["$$this.size"]}]},
        {"$and": [{"$eq": ["$$this.size", "small"]}, {"$gt": ["$$this.confidence", 0.5]}]},
        {"$and": [{"$gte": ["$$this.area", 5]}]},
        {"$and": [{"$eq": ["$$this.outcome_a", "found"]}, {"$eq": ["$$this.outcome_b", "bled"]}]},
        {"$and": [{"$eq": ["$$this.size", "small"]}], "$or": []},
        {"$and": [{"$eq": ["$$this.size", 3]}, 7]},
    ],
)
def test_another_expression_is_no_selection(other: Any) -> None:
    assert selection_of(other) is None


def _stage(filter_: Any, field: str = "instances") -> dict[str, Any]:
    return {
        "_cls": "fiftyone.core.stages.FilterLabels",
        "kwargs": [["field", field], ["filter", filter_], ["only_matches", True]],
        "_uuid": "1",
    }


def test_the_panels_own_stage_is_taken_out_of_a_view_wherever_it_is() -> None:
    own = Selection(size="small", label="cat")
    limit = {"_cls": "fiftyone.core.stages.Limit", "kwargs": [["limit", 5]]}
    others = [
        _stage({"$eq": ["$$this.size", "small"]}),
        _stage(own.filter(), field="predictions"),
        limit,
    ]
    assert split_view(None) == ([], Selection())
    assert split_view(others) == (others, Selection())
    for place in range(4):
        stages = [*others[:place], _stage(own.filter()), *others[place:]]
        assert split_view(stages) == (others, own)


def test_words() -> None:
    assert Selection().described() == "all objects"
    assert Selection("cat", "small", "voc", (1024, 2000), ("cam", "bled")).described() == (
        "cat, small, voc, 1,024 to 1,999 pixels, bled in cam"
    )
