"""The choice of objects against the rule, applied slowly and in words."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.score.lost_objects import choose_objects

NAMES = ("seeds", "walk", "masks")


def fates(rows, stages=NAMES):
    """Return the tables of stages from rows (image, number, area, size, pixels by stage)."""
    found = []
    for k, stage in enumerate(stages):
        share = np.array([pixels[k] / area for _, _, area, _, pixels in rows], np.float64)
        found.append(
            (
                stage,
                pa.table(
                    {
                        "image_id": [row[0] for row in rows],
                        "instance_id": pa.array([row[1] for row in rows], pa.int32()),
                        "class_id": pa.array([1] * len(rows), pa.int16()),
                        "class_name": ["cat"] * len(rows),
                        "size": [row[3] for row in rows],
                        "area": pa.array([row[2] for row in rows], pa.int32()),
                        "share_own_class": share,
                        "share_ignored": 1 - share,
                        "share_background": np.zeros(len(rows)),
                        "share_other": np.zeros(len(rows)),
                    }
                ),
            )
        )
    return found


def shown(groups):
    """Return the chosen objects as (fate, image and number)."""
    return [
        (
            group.lost_at or ("regained" if group.regained else "kept"),
            f"{o.image_id}{o.instance_id}",
        )
        for group in groups
        for o in group.chosen
    ]


def test_each_fate_gets_its_own() -> None:
    rows = [
        ("a", 1, 10, "small", (0, 0, 0)),
        ("b", 1, 10, "small", (9, 1, 1)),
        ("c", 1, 10, "small", (9, 9, 4)),
        ("d", 1, 10, "small", (4, 9, 9)),
        ("e", 1, 10, "small", (9, 9, 5)),  # half of the pixels are not under half
        ("f", 1, 10, "small", (0, 9, 0)),  # had, and lost for good at the last stage
        ("g", 1, 99, "large", (0, 0, 0)),
    ]
    groups = choose_objects(fates(rows), "small", 20)
    assert [(g.lost_at, g.regained, g.n_objects) for g in groups] == [
        ("seeds", False, 1), ("walk", False, 1), ("masks", False, 2),
        ("", True, 1), ("", False, 1),
    ]  # fmt: skip
    assert shown(groups) == [
        ("seeds", "a1"), ("walk", "b1"), ("masks", "f1"), ("masks", "c1"),
        ("regained", "d1"), ("kept", "e1"),
    ]  # fmt: skip
    (one,) = groups[1].chosen
    assert (one.area, one.class_name, one.shares) == (10, "cat", (0.9, 0.1, 0.1))
    assert one.whither[0] == (pytest.approx(0.1), 0, 0)


def test_order_is_by_the_pixels_of_the_step_that_counts() -> None:
    rows = [
        ("a", 1, 10, "small", (10, 9, 0)),  # loses 9 at masks
        ("b", 1, 1, "small", (1, 1, 0)),  # loses all of its one
        ("c", 1, 40, "small", (20, 20, 19)),  # loses 20 at seeds, but 1 where it is lost
        ("d", 1, 20, "small", (20, 10, 0)),  # loses 10 at masks
        ("e", 1, 10, "small", (10, 9, 0)),  # like a
    ]
    groups = choose_objects(fates(rows), "small", 20)
    assert [name for _, name in shown(groups)] == ["d1", "a1", "e1", "b1", "c1"]


def test_places_are_equal_and_images_new() -> None:
    rows = [(f"a{k}", 1, 10, "small", (0, 0, 0)) for k in range(9)]
    rows += [("b", k, 10, "small", (9, 9, 0)) for k in range(1, 5)]
    rows += [("c", 1, 10, "small", (9, 9, 9)), ("c", 2, 9, "small", (9, 9, 9))]
    chosen = choose_objects(fates(rows), "small", 4)
    assert shown(chosen) == [("seeds", "a01"), ("seeds", "a11"), ("masks", "b1"), ("kept", "c1")]
    many = [len(group.chosen) for group in choose_objects(fates(rows), "small", 13)]
    assert many == [9, 0, 2, 0, 2], "all new images come before a second object of b or c"
    assert [len(g.chosen) for g in choose_objects(fates(rows), "small", 99)] == [9, 0, 4, 0, 2]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rule_in_words(data: st.DataObject) -> None:
    stages = NAMES[: data.draw(st.integers(1, 3))]
    rows = []
    for k in range(data.draw(st.integers(1, 14))):
        area = data.draw(st.integers(1, 5))
        pixels = tuple(data.draw(st.integers(0, area)) for _ in stages)
        size = data.draw(st.sampled_from(("small", "large")))
        rows.append((f"i{k // 3}", k % 3 + 1, area, size, pixels))
    most = data.draw(st.integers(1, 8))
    groups = {name: [] for name in (*stages, "regained", "kept")}
    for row in rows:
        image, number, area, size, pixels = row
        if size != "small":
            continue
        lost = [2 * have < area for have in pixels]
        steps = [was - now for was, now in zip((area, *pixels), pixels, strict=False)]
        if lost[-1]:
            at = len(lost) - 1
            while at and lost[at - 1]:
                at -= 1
            groups[stages[at]].append((-steps[at], image, number))
        else:
            groups["regained" if any(lost) else "kept"].append((-max(steps), image, number))
    waiting = {name: sorted(group) for name, group in groups.items()}
    counts, used, expected = dict.fromkeys(groups, 0), set(), []
    for _ in range(min(most, sum(map(len, groups.values())))):
        turn = sorted(waiting, key=lambda name: counts[name])
        pairs = [(name, one) for name in turn for one in waiting[name]]
        name, one = next((p for p in pairs if p[1][1] not in used), pairs[0])
        waiting[name].remove(one)
        counts[name] += 1
        used.add(one[1])
        expected.append((name, f"{one[1]}{one[2]}"))
    found = shown(choose_objects(fates(rows, stages), "small", most))
    assert sorted(found) == sorted(expected)
