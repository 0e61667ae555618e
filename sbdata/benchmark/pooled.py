"""Pooled differences: a strategy minus a control over several methods, seeds and all images.

Each draw of the hierarchical bootstrap takes as many methods as there are, with replacement, then
as many seeds of each, with replacement, and one weighting of the images that all of them share (see
:mod:`sbdata.metrics.bootstrap`). The difference of a draw is the mean over its methods of the mean
over their seeds. With three seeds, the part of the interval that seeds contribute is too narrow by
a factor of about sqrt(2/3), because drawing with replacement divides by n and not by n - 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sbdata.errors import InputError
from sbdata.metrics.bootstrap import Bootstrap
from sbdata.metrics.sums import Values

LEVEL = 0.95

Run = tuple[str, str, int]
"""Method, strategy and seed of a result."""


@dataclass(frozen=True)
class PooledDifference:
    """The difference of one headline value between a strategy and the control.

    Attributes:
        methods: Methods that are pooled, sorted; one for the difference of a method.
        strategy: Name of the strategy.
        control: Name of the strategy that is subtracted.
        value: Name of the headline value, such as ``ia_small.class_mean``.
        seeds: Number of seeds of each method.
        difference: Mean over methods of the mean over seeds, on the unweighted images.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        p: Two-sided p-value: twice the share of draws, the observed one included, on the other side
            of 0; at most 1.
        comparisons: Number of comparisons that the corrected values account for.
        holm_p: p-value after Holm's correction.
        holm_low: Lower end of the interval at the level at which Holm's procedure tests this
            difference, 1 - 0.05 / comparisons for the smallest p-value.
        holm_high: Upper end of that interval.
    """

    methods: tuple[str, ...]
    strategy: str
    control: str
    value: str
    seeds: int
    difference: float
    low: float
    high: float
    p: float
    comparisons: int = 1
    holm_p: float = float("nan")
    holm_low: float = float("nan")
    holm_high: float = float("nan")


def pooled_differences(
    runs: Mapping[Run, Bootstrap],
    strategies: Sequence[str],
    values: Sequence[str],
    *,
    control: str = "ce",
    seed: int = 0,
) -> list[PooledDifference]:
    """Compare strategies with a control, for each method and for all methods together.

    The intervals and p-values of all comparisons of one call are corrected together.

    Args:
        runs: Draws of each result; all with the same images, seed of the draws and options.
        strategies: Strategies to compare with the control.
        values: Names of the headline values.
        control: Strategy that is subtracted.
        seed: Seed of the draws of methods and seeds.

    Raises:
        InputError: If a method lacks a strategy or a seed that another one has, a value is
            undefined, or the results are not of the same images.
    """
    methods, seeds = _checked(runs, [control, *strategies])
    for (method, strategy, number), run in runs.items():
        for value in values:
            if np.isnan(run.draws[value]).any():
                msg = f"{value!r} of {method}, {strategy}, seed {number} has no value; leave it out"
                raise InputError(msg)
    found, draws = [], []
    for strategy in strategies:
        for value in values:
            drawn_of = {key: run.draws[value] for key, run in runs.items()}
            observed_of = {key: run.observed[value] for key, run in runs.items()}
            differences, observed = (
                _differences(of, methods, seeds, (strategy, control))
                for of in (drawn_of, observed_of)
            )
            groups = [(name,) for name in methods] + ([methods] if len(methods) > 1 else [])
            for group in groups:
                rows = [methods.index(name) for name in group]
                drawn = _hierarchical(differences[rows], seed)
                mean = float(observed[rows].mean())
                interval = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
                found.append(
                    PooledDifference(
                        group, strategy, control, value, len(seeds), mean,
                        float(interval[0]), float(interval[1]), _two_sided(drawn),
                    )
                )  # fmt: skip
                draws.append(drawn)
    return _corrected(found, draws)


def _checked(
    runs: Mapping[Run, Bootstrap], strategies: Iterable[str]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return methods and seeds, after making sure that every combination is there."""
    methods = tuple(sorted({method for method, _, _ in runs}))
    seeds = tuple(sorted({seed for _, _, seed in runs}))
    for method in methods:
        for strategy in strategies:
            for seed in seeds:
                if (method, strategy, seed) not in runs:
                    msg = (
                        f"{method} has no result of {strategy} with seed {seed}; run it, or leave "
                        "the method or the seed out of the comparison"
                    )
                    raise InputError(msg)
    if not methods:
        msg = "no results to compare; give those of at least one method"
        raise InputError(msg)
    alike = {
        (run.image_ids, run.options, run.bins, run.seed, run.resamples) for run in runs.values()
    }
    if len(alike) > 1:
        msg = "the results differ in images, options, bins or draws; score all of them alike"
        raise InputError(msg)
    return methods, seeds


def _differences(
    of: Mapping[Run, Any], methods: Sequence[str], seeds: Sequence[int], pair: tuple[str, str]
) -> Values:
    """Return the differences of two strategies, by method and seed first."""
    one, other = pair
    return np.array([[of[m, one, s] - of[m, other, s] for s in seeds] for m in methods])


def _hierarchical(differences: Values, seed: int) -> Values:
    """Return one mean for each draw of images, over methods and seeds drawn with replacement."""
    methods, seeds, draws = differences.shape
    raw = np.random.PCG64(seed)  # its raw output is stable; the numbers are far below 2^64
    drawn_methods = (raw.random_raw(draws * methods) % np.uint64(methods)).astype(np.int64)
    drawn_seeds = (raw.random_raw(draws * methods * seeds) % np.uint64(seeds)).astype(np.int64)
    place = np.arange(draws)[:, None, None]
    taken = differences[
        drawn_methods.reshape(draws, methods, 1), drawn_seeds.reshape(draws, methods, seeds), place
    ]
    means: Values = taken.mean(axis=(1, 2))
    return means


def _two_sided(draws: Values) -> float:
    below, above = int((draws <= 0).sum()), int((draws >= 0).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + draws.size))


def _corrected(found: list[PooledDifference], draws: list[Values]) -> list[PooledDifference]:
    """Add Holm's p-values and intervals: the k-th smallest p-value counts n - k + 1 times."""
    n, highest = len(found), 0.0
    order = sorted(range(n), key=lambda k: found[k].p)
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, found[k].p * (n - rank)))
        tail = (1 - LEVEL) / (n - rank) / 2
        low, high = np.quantile(draws[k], [tail, 1 - tail])
        found[k] = replace(
            found[k], comparisons=n, holm_p=highest, holm_low=float(low), holm_high=float(high)
        )
    return found
