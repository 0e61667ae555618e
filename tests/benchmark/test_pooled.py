"""Pooled differences, against a bootstrap written as loops and Holm's procedure by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sbdata.benchmark.pooled import pooled_differences
from sbdata.errors import InputError
from sbdata.metrics.bootstrap import Bootstrap
from sbdata.metrics.image import MetricOptions
from sbdata.sizes import SizeBins

METHODS, SEEDS, DRAWS = ("a", "b", "c"), (0, 1), 400


def run_with(mean: float, seed: int, spread: float = 0.01) -> Bootstrap:
    draws = np.random.default_rng(seed).normal(mean, spread, DRAWS)
    return Bootstrap(
        image_ids=("1", "2"),
        options=MetricOptions(),
        bins=SizeBins(),
        seed=0,
        observed={"miou": mean},
        counts={},
        draws={"miou": draws},
    )


def runs_of(**means: float) -> dict[tuple[str, str, int], Bootstrap]:
    return {
        (method, strategy, seed): run_with(mean + 0.001 * seed, 10 * k + seed)
        for k, method in enumerate(METHODS)
        for strategy, mean in means.items()
        for seed in SEEDS
    }


def test_the_difference_is_the_mean_over_methods_and_seeds():
    runs = runs_of(ce=0.5, sb=0.53)
    runs["a", "sb", 1] = run_with(0.60, 99)
    found = pooled_differences(runs, ["sb"], ["miou"])
    assert [one.methods for one in found] == [("a",), ("b",), ("c",), METHODS]
    by_hand = [runs[m, "sb", s].observed["miou"] - runs[m, "ce", s].observed["miou"]
               for m in METHODS for s in SEEDS]  # fmt: skip
    assert found[3].difference == pytest.approx(np.mean(by_hand))
    assert found[0].difference == pytest.approx(np.mean(by_hand[:2]))


def test_draws_are_those_of_a_loop():
    runs = runs_of(ce=0.5, sb=0.51)
    *_, pooled = pooled_differences(runs, ["sb"], ["miou"], seed=3)
    raw = np.random.PCG64(3)
    methods = raw.random_raw(DRAWS * 3).reshape(DRAWS, 3) % 3
    seeds = raw.random_raw(DRAWS * 6).reshape(DRAWS, 3, 2) % 2
    means = []
    for k in range(DRAWS):
        values = []
        for place, m in enumerate(methods[k]):
            for s in seeds[k, place]:
                one, other = (runs[METHODS[int(m)], x, int(s)] for x in ("sb", "ce"))
                values.append(one.draws["miou"][k] - other.draws["miou"][k])
        means.append(np.mean(values))
    assert [pooled.low, pooled.high] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist())


def test_equal_strategies_do_not_differ_and_a_large_difference_is_sure():
    runs = runs_of(ce=0.5, same=0.5, better=0.7)
    by = {
        (d.strategy, d.methods): d for d in pooled_differences(runs, ["same", "better"], ["miou"])
    }
    same, better = by["same", METHODS], by["better", METHODS]
    assert same.p == same.holm_p == 1
    assert better.p == pytest.approx(2 / (DRAWS + 1))
    assert better.holm_p == pytest.approx(8 * better.p)  # the smallest of eight, four times
    assert better.holm_low <= better.low <= better.difference <= better.high <= better.holm_high
    assert {d.comparisons for d in by.values()} == {8}


def test_holm_by_hand():
    runs = runs_of(ce=0.5, sb=0.503, ft=0.52)
    found = pooled_differences(runs, ["sb", "ft"], ["miou"])
    order = sorted(found, key=lambda one: one.p)
    expected, highest = [], 0.0
    for rank, one in enumerate(order):
        highest = max(highest, min(1.0, one.p * (len(found) - rank)))
        expected.append(highest)
    assert [one.holm_p for one in order] == expected


def test_what_is_missing_or_not_alike_is_refused():
    runs = runs_of(ce=0.5, sb=0.5)
    with pytest.raises(InputError, match="a has no result of ft with seed 1; run it"):
        pooled_differences({**runs, ("a", "ft", 0): run_with(0.5, 1)}, ["ft"], ["miou"])
    one = {**runs, ("a", "sb", 0): replace(runs["a", "sb", 0], image_ids=("1", "3"))}
    with pytest.raises(InputError, match="score all of them alike"):
        pooled_differences(one, ["sb"], ["miou"])
    undefined = {**runs, ("a", "sb", 0): run_with(float("nan"), 1)}
    with pytest.raises(InputError, match="'miou' of a, sb, seed 0 has no value"):
        pooled_differences(undefined, ["sb"], ["miou"])
    with pytest.raises(InputError, match="no results to compare"):
        pooled_differences({}, ["sb"], ["miou"])
