"""Means over seeds against the standard library and SciPy."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sbdata.benchmark.aggregate import Mean, interval_of, mean_of

SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=6)


@settings(max_examples=40, deadline=None)
@given(SHARES)
def test_mean_deviation_and_interval(values: list[float]) -> None:
    found = mean_of(values)
    assert found is not None
    assert found.n == len(values)
    assert found.value == pytest.approx(statistics.fmean(values))
    assert found.std == pytest.approx(statistics.stdev(values), abs=1e-12)
    interval = interval_of(found)
    if max(values) - min(values) > 1e-6:
        error = stats.sem(values)
        assert interval == pytest.approx(
            stats.t.interval(0.95, len(values) - 1, found.value, error)
        )


def test_one_seed_has_neither_deviation_nor_interval() -> None:
    assert mean_of([0.5]) == Mean(0.5, None, 1)
    assert interval_of(Mean(0.5, None, 1)) is None


def test_a_seed_without_the_figure_leaves_no_mean() -> None:
    assert mean_of([0.5, None]) is None
    assert mean_of([]) is None
