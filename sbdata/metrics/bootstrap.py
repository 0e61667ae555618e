"""How far the figures hang on the choice of images: percentile bootstrap, single and paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sbdata.errors import InputError
from sbdata.metrics.figures import Values, figures, weighted_sums
from sbdata.metrics.image import MetricOptions
from sbdata.metrics.tables import ScoreTables
from sbdata.sizes import SizeBins

RESAMPLES = 1000
_LEVEL = 0.95
_CHUNK_WEIGHTS = 1_000_000


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile interval over resamples of the images.

    Attributes:
        low: the 2.5th percentile.
        high: the 97.5th percentile.
        defined: the share of resamples that had the figure at all (an instance of that size, say);
            the interval is over those.
    """

    low: float
    high: float
    defined: float


@dataclass(frozen=True)
class Difference:
    """A figure of one prediction set minus the same figure of another.

    Attributes:
        value: on the images as they are.
        interval: of the difference, over paired resamples in which both sets have the figure; None
            for a single image.
        sign_change: the share of those resamples whose difference is 0 or has the other sign: 1
            where the sets do not differ. None for a single image.
    """

    value: float
    interval: Interval | None
    sign_change: float | None


@dataclass(frozen=True, eq=False)
class Resampled:
    """The figures of one prediction set, on its images and on R resamples of them.

    Attributes:
        image_ids: sorted.
        options: of the metric.
        bins: of the sizes.
        seed: of the draws; with the same images and seed the draws are the same.
        observed: each figure of the set itself, NaN where there is nothing to measure.
        figures: each figure's R values.
    """

    image_ids: tuple[str, ...]
    options: MetricOptions
    bins: SizeBins
    seed: int
    observed: Mapping[str, float]
    figures: Mapping[str, Values]

    @property
    def resamples(self) -> int:
        """Return how many resamples there are."""
        return len(self.figures["miou"])

    def intervals(self) -> dict[str, Interval | None]:
        """Return the interval of each figure, None where no resample had it.

        One image, or none, tells nothing about others: all are None.
        """
        if len(self.image_ids) < 2:
            return dict.fromkeys(self.figures)
        return {name: _interval(values) for name, values in self.figures.items()}


def resample(
    tables: ScoreTables, bins: SizeBins, *, resamples: int = RESAMPLES, seed: int = 0
) -> Resampled:
    """Draw the images with replacement and compute all headline figures of each draw.

    The draws come from the raw output of PCG64, whose stream numpy promises to keep; a seed gives
    the same resamples everywhere.

    Args:
        tables: of N images.
        bins: of the sizes.
        resamples: how many draws of N images.
        seed: of the draws.

    Raises:
        InputError: if there is not at least one resample.
    """
    if resamples < 1:
        msg = f"a bootstrap needs at least one resample, not {resamples}"
        raise InputError(msg)
    n = len(tables.image_ids)
    observed = figures(weighted_sums(tables, bins, np.ones((n, 1))), bins)
    drawn: dict[str, Values] = {name: np.empty(resamples) for name in observed}
    generator = np.random.PCG64(seed)
    chunk = max(1, min(resamples, _CHUNK_WEIGHTS // max(n, 1)))
    for first in range(0, resamples, chunk):
        last = min(first + chunk, resamples)
        part = figures(weighted_sums(tables, bins, _weights(generator, n, last - first)), bins)
        for name, values in part.items():
            drawn[name][first:last] = values
    single = {name: float(values[0]) for name, values in observed.items()}
    return Resampled(tables.image_ids, tables.options, bins, seed, single, drawn)


def compare(first: Resampled, second: Resampled) -> dict[str, Difference | None]:
    """Compare two prediction sets on the same images by the paired bootstrap: first minus second.

    Returns:
        The difference of each figure, None where one of the sets has no such figure.

    Raises:
        InputError: if the two were not resampled alike.
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
    return {
        name: _difference(
            first.observed[name] - second.observed[name],
            first.figures[name] - second.figures[name],
            len(first.image_ids),
        )
        for name in first.figures
    }


def _weights(generator: np.random.PCG64, n: int, resamples: int) -> Values:
    """Return how often each of n images is drawn in each of the next resamples, ``(n, R)``."""
    counts = np.empty((resamples, n))
    for r in range(resamples):
        # The high 32 bits, scaled to 0..n-1: off from even chances by less than n / 2^32.
        draws = ((generator.random_raw(n) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32)
        counts[r] = np.bincount(draws.astype(np.int64), minlength=n)
    return np.ascontiguousarray(counts.T)


def _interval(values: Values) -> Interval | None:
    defined = np.sort(values[~np.isnan(values)])
    if not defined.size:
        return None
    tail = (1 - _LEVEL) / 2
    return Interval(
        low=_percentile(defined, tail),
        high=_percentile(defined, 1 - tail),
        defined=defined.size / values.size,
    )


def _difference(value: float, values: Values, n_images: int) -> Difference | None:
    if np.isnan(value):
        return None
    interval = _interval(values) if n_images > 1 else None
    if interval is None:
        return Difference(value, None, None)
    defined = values[~np.isnan(values)]
    return Difference(value, interval, float(np.mean(defined * np.sign(value) <= 0)))


def _percentile(ordered: Values, share: float) -> float:
    """Return a percentile of sorted values, linear between neighbours."""
    place = (ordered.size - 1) * share
    below = int(place)
    above = min(below + 1, ordered.size - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))
