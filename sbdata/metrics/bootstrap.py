"""Sampling variability over images: the Bayesian bootstrap, for one prediction set or a pair.

Each draw weights the images by Dirichlet(1, ..., 1) (Rubin, "The Bayesian bootstrap", Annals of
Statistics 9, 1981). No weight is 0, so no class is missing from a draw. Resampling with replacement
would drop the classes of few images from the mean of a draw, which shifts the interval away from
the value. ``tests/reference/interval_coverage.py`` measures both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sbdata.errors import InputError
from sbdata.metrics.image import MetricOptions
from sbdata.metrics.registry import estimates, numbers
from sbdata.metrics.sums import Values, image_sums
from sbdata.metrics.tables import ScoreTables
from sbdata.sizes import SizeBins

RESAMPLES = 1000
FEW = 10
"""Minimum number of instances (or regions); a value of fewer has no interval."""

_LEVEL = 0.95
_BLOCK = 500_000  # weights in memory at a time


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile interval over bootstrap draws.

    Attributes:
        low: 2.5th percentile.
        high: 97.5th percentile.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A headline value of prediction set A minus the same value of B.

    Attributes:
        value: Difference on the unweighted images.
        interval: Interval of the difference, with the same weights for both sets; None for a single
            image, and for a value of few instances.
        sign_change: Share of draws whose difference is 0 or has the other sign; 1 if the sets do
            not differ, None if there is no interval.
    """

    value: float
    interval: Interval | None
    sign_change: float | None


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """The headline values of one prediction set, on its images and under R draws of weights.

    Attributes:
        image_ids: Image ids, sorted.
        options: Metric options.
        bins: Size bins.
        seed: Seed of the draws; the same images and seed give the same weights.
        observed: Values on the unweighted images, by name; NaN if there is nothing to measure.
        counts: Number of instances (regions for precision) of each value that has such a number.
        draws: R values of each headline value, one per draw.
    """

    image_ids: tuple[str, ...]
    options: MetricOptions
    bins: SizeBins
    seed: int
    observed: Mapping[str, float]
    counts: Mapping[str, int]
    draws: Mapping[str, Values]

    @property
    def resamples(self) -> int:
        """Number of draws, R."""
        return len(self.draws["miou"])

    def has_interval(self, name: str) -> bool:
        """Return whether a value has enough images and instances for an interval."""
        return len(self.image_ids) > 1 and self.counts.get(name, FEW) >= FEW

    def intervals(self) -> dict[str, Interval | None]:
        """Return the interval of each value; None for few instances or a single image."""
        return {
            name: _interval(values) if self.has_interval(name) else None
            for name, values in self.draws.items()
        }


def bootstrap(
    tables: ScoreTables, bins: SizeBins, *, resamples: int = RESAMPLES, seed: int = 0
) -> Bootstrap:
    """Compute all headline values under random weights of the images.

    The weights come from the raw output of PCG64, whose stream numpy guarantees to keep. The same
    seed gives the same weights everywhere, up to the last bit of a logarithm.

    Args:
        tables: Scores of N images.
        bins: Size bins.
        resamples: Number of draws.
        seed: Seed of the draws.

    Raises:
        InputError: If there is not at least one draw.
    """
    if resamples < 1:
        msg = f"a bootstrap needs at least one resample, not {resamples}"
        raise InputError(msg)
    n = len(tables.image_ids)
    sums = image_sums(tables, bins)
    whole = sums.weighted(np.ones((n, 1)))
    observed = estimates(whole, bins)
    draws: dict[str, Values] = {name: np.empty(resamples) for name in observed}
    generator = np.random.PCG64(seed)
    block = max(1, min(resamples, _BLOCK // max(n, 1)))
    for first in range(0, resamples, block):
        last = min(first + block, resamples)
        part = estimates(sums.weighted(_weights(generator, n, last - first)), bins)
        for name, values in part.items():
            draws[name][first:last] = values
    return Bootstrap(
        image_ids=tables.image_ids,
        options=tables.options,
        bins=bins,
        seed=seed,
        observed={name: float(values[0]) for name, values in observed.items()},
        counts=numbers(whole, bins),
        draws=draws,
    )


def compare(first: Bootstrap, second: Bootstrap) -> dict[str, Difference | None]:
    """Return the differences of two prediction sets: first minus second, with the same weights.

    Returns:
        The difference of each headline value; None if one of the sets has no such value.

    Raises:
        InputError: If the two do not have the same images, options, bins, seed and draws.
    """
    if first.image_ids != second.image_ids:
        differing = sorted(set(first.image_ids) ^ set(second.image_ids))
        msg = (
            f"the two prediction sets were scored on different images ({len(differing)} are in one "
            f"only, such as {differing[0]}); score both on the same set"
        )
        raise InputError(msg)
    for what, one, other in (
        ("metric options", first.options, second.options),
        ("size bins", first.bins, second.bins),
        ("seed", first.seed, second.seed),
        ("number of resamples", first.resamples, second.resamples),
    ):
        if one != other:
            msg = f"a paired comparison needs the same {what} for both, not {one} and {other}"
            raise InputError(msg)
    found: dict[str, Difference | None] = {}
    for name in first.draws:
        value = first.observed[name] - second.observed[name]
        enough = first.has_interval(name) and second.has_interval(name)
        draws = first.draws[name] - second.draws[name]
        found[name] = None if np.isnan(value) else _difference(value, draws if enough else None)
    return found


def _difference(value: float, draws: Values | None) -> Difference:
    interval = None if draws is None else _interval(draws)
    if draws is None or interval is None:
        return Difference(value, None, None)
    return Difference(value, interval, float(np.mean(draws * np.sign(value) <= 0)))


def _weights(generator: np.random.PCG64, n: int, draws: int) -> Values:
    """Return independent standard exponential weights of n images in each draw, ``(n, draws)``.

    Divided by their sum they follow Dirichlet(1, ..., 1). Every headline value is a ratio, so the
    scale cancels out.
    """
    raw = generator.random_raw(n * draws).reshape(draws, n)
    uniform = (raw >> np.uint64(11)) + 0.5
    uniform *= 2.0**-53  # in (0, 1)
    np.log(uniform, out=uniform)
    weights: Values = np.negative(uniform.T, order="C")
    return weights


def _interval(values: Values) -> Interval | None:
    if np.isnan(values).any():
        return None
    ordered = np.sort(values)
    tail = (1 - _LEVEL) / 2
    return Interval(low=_percentile(ordered, tail), high=_percentile(ordered, 1 - tail))


def _percentile(ordered: Values, share: float) -> float:
    """Return a percentile of sorted values, interpolated linearly."""
    place = (ordered.size - 1) * share
    below = int(place)
    above = min(below + 1, ordered.size - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))
