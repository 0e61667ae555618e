"""How long is left, by a clock that the test turns."""

from __future__ import annotations

import pytest

from sbdata.benchmark.durations import Estimate
from sbdata.benchmark.eta import BenchProgress, Eta
from sbdata.cli.bench import _left
from tests.benchmark.task_examples import example

TASKS = (
    example("cached", seconds=50.0),
    example("first", seconds=1.0),
    example("train", "train", seconds=30.0),
)
MEASURED = {"first": Estimate(10.0, "2 earlier runs")}


def test_time_left_follows_what_estimates_were_worth() -> None:
    now, said = [0.0], list[BenchProgress]()
    clock = Eta(
        TASKS,
        lambda task: task.name == "cached",
        said.append,
        lambda tasks: MEASURED,
        lambda: now[0],
    )
    clock.finished(TASKS[0])
    assert said[-1] == BenchProgress("cached", 1, 1, 1, 3, None)
    now[0] = 10.0
    clock.told("first", 2, 4)  # half of 10 estimated seconds took 10: 35 are left
    assert said[-1] == BenchProgress("first", 2, 4, 1, 3, pytest.approx(35 * (10 + 60) / (5 + 60)))
    now[0] = 20.0
    clock.finished(TASKS[1])
    assert said[-1].seconds_left == pytest.approx(30 * (20 + 60) / (10 + 60))
    now[0] = 50.0
    clock.told("train (first-phase)", 1, 2)  # of which nothing is known until it ends
    assert said[-1].seconds_left == pytest.approx(30 * (20 + 60) / (10 + 60))
    clock.told("train (sb-ft)", 2, 2)
    clock.finished(TASKS[2])
    assert said[-1].what == ""  # its end was told
    assert (said[-1].seconds_left, said[-1].tasks_done) == (0.0, 3)
    clock.told("nothing", 0, 0)


def test_a_slow_start_is_not_taken_for_the_rest() -> None:
    now, said = [0.0], list[BenchProgress]()
    tasks = (example("masks", seconds=1.0), example("long", seconds=3600.0))
    clock = Eta(tasks, lambda task: False, said.append, now=lambda: now[0])
    now[0] = 10.0  # for what was estimated at one second
    clock.finished(tasks[0])
    assert said[-1].seconds_left == pytest.approx(3600 * 70 / 61)
    now[0] += 1800
    clock.told("long", 1, 4)  # half as fast as it was estimated to be
    assert said[-1].seconds_left == pytest.approx(2700 * 2, rel=0.1)


def test_an_estimate_that_was_far_too_high_does_not_make_the_others_seem_fast() -> None:
    now, said = [0.0], list[BenchProgress]()
    stage, train = example("stage", seconds=1800.0), example("train", "train", seconds=2000.0)
    known = {train.id: Estimate(2000.0, "1 earlier run")}
    clock = Eta(
        (stage, train), lambda task: False, said.append, lambda tasks: known, lambda: now[0]
    )
    now[0] = 200.0
    known[stage.id] = Estimate(200.0, "1 earlier run")  # as the cache says, once it has run
    clock.finished(stage)
    assert said[-1].seconds_left == pytest.approx(2000)


def test_no_watcher_is_no_matter() -> None:
    clock = Eta(TASKS, lambda task: False)
    clock.told("first", 1, 2)
    clock.finished(TASKS[0])


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "time left not known yet"), (5, "almost done"), (25, "about a minute left"),
     (100, "about 2 min left"), (3600, "about 60 min left"), (9000, "about 2 h left")],
)  # fmt: skip
def test_durations_are_rough(seconds: float | None, shown: str) -> None:
    assert _left(seconds) == shown
