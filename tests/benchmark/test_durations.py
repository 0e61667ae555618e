"""Durations are estimated from earlier runs of the same kind, if there are any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sbdata.benchmark.costs import BASIS
from sbdata.benchmark.durations import FILE, Estimate, estimate_durations, note_duration
from sbdata.benchmark.tasks import Resources
from tests.benchmark.task_examples import example


def test_an_estimate_is_the_median_of_the_latest_runs_of_the_kind(tmp_path: Path) -> None:
    train, score = example("t", "train", seconds=10.0), example("s", "score", images=50)
    rough = {"t": Estimate(10.0, BASIS), "s": Estimate(0.0, BASIS)}
    assert estimate_durations(tmp_path, [train, score]) == rough
    for seconds in (900.0, 20.0, 30.0, 20.0, 20.0, 40.0):  # the first of them is too old
        note_duration(tmp_path, train, seconds)
    note_duration(tmp_path, score, 5.0)
    longer = replace(train, id="l", resources=Resources(seconds=100.0))
    assert estimate_durations(tmp_path, [train, longer, score]) == {
        "t": Estimate(20.0, "5 earlier runs"),
        "l": Estimate(200.0, "5 earlier runs"),
        "s": Estimate(5.0, "1 earlier run"),
    }


def test_stages_are_told_apart_by_their_functions(tmp_path: Path) -> None:
    one = replace(example("one", images=10), params={"function": "a.one"})
    other = replace(example("other", images=10), params={"function": "a.other"})
    note_duration(tmp_path, one, 3.0)
    found = estimate_durations(tmp_path, [one, other])
    assert found == {"one": Estimate(3.0, "1 earlier run"), "other": Estimate(0.0, BASIS)}


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    train = example("t", "train", seconds=10.0)
    note_duration(tmp_path, train, 20.0)
    with (tmp_path / FILE).open("a") as stream:
        stream.write('{"what": "train", "work": 0, "seconds": 1}\n[]\n{"what": "tra')
    assert estimate_durations(tmp_path, [train])["t"] == Estimate(20.0, "1 earlier run")
    (tmp_path / FILE).write_bytes(b"\xff\xfe")
    assert estimate_durations(tmp_path, [train])["t"] == Estimate(10.0, BASIS)
