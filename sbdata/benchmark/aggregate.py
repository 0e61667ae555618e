"""Means over seeds, with their standard deviations and t-intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Mean:
    """Mean of a value over seeds.

    Attributes:
        value: Mean.
        std: Sample standard deviation (divisor n - 1); None for one seed.
        n: Number of seeds.
    """

    value: float
    std: float | None
    n: int


def mean_of(values: Sequence[float | None]) -> Mean | None:
    """Return the mean over seeds; None if the value is undefined for a seed.

    >>> mean_of([0.25, 0.5, 0.75])
    Mean(value=0.5, std=0.25, n=3)
    """
    defined = [value for value in values if value is not None]
    if not defined or len(defined) < len(values):
        return None
    n = len(defined)
    mean = math.fsum(defined) / n
    if n == 1:
        return Mean(mean, None, 1)
    return Mean(mean, math.sqrt(math.fsum((v - mean) ** 2 for v in defined) / (n - 1)), n)


def interval_of(mean: Mean) -> tuple[float, float] | None:
    """Return the 95 % t-interval of a mean over seeds; None for one seed.

    >>> low, high = interval_of(Mean(0.5, 0.25, 4))
    >>> f"{low:.3f} {high:.3f}"
    '0.102 0.898'
    """
    if mean.std is None:
        return None
    from scipy.stats import t  # slow to import, and not needed for one seed

    reach = float(t.ppf(0.975, mean.n - 1)) * mean.std / math.sqrt(mean.n)
    return mean.value - reach, mean.value + reach
