"""The headline figures, as sums over images that may carry weights.

The figures of a set are those with every weight 1; a bootstrap resample is the same sums with the
weights of its draw. Both go through the same lines, so they cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from sbdata.metrics.image import ia_iou
from sbdata.metrics.tables import ScoreTables
from sbdata.sizes import SizeBins

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums under R weightings of the images; the last axis is the weighting.

    Index 0 of a size axis is all sizes together, then the bins follow.

    Attributes:
        ia: ``(1 + S, C, R)``, the sum of IA over the instances of a size and class.
        instances: ``(1 + S, C, R)``, their number.
        good: ``(1 + S, R)``, predicted components with at least half their pixels on their class.
        components: ``(1 + S, R)``, their number.
        true: ``(C + 1, R)``, pixels of the class.
        union: ``(C + 1, R)``, pixels of the class, predicted as it, or both.
        matched: ``(C + 1, R)``, pixels both.
    """

    ia: Values
    instances: Values
    good: Values
    components: Values
    true: Values
    union: Values
    matched: Values


def weighted_sums(tables: ScoreTables, bins: SizeBins, weights: Values) -> Sums:
    """Sum the rows under each of R weightings of the images.

    Args:
        tables: of N images.
        bins: of the sizes.
        weights: float64 ``(N, R)``, how often each image counts.
    """
    n, c, s = len(tables.image_ids), tables.n_classes, len(bins.names)
    resamples = weights.shape[1]
    weights = np.ascontiguousarray(weights)
    # Instances in cells of class and size; the cell of all sizes is summed by itself, so that it
    # does not depend on the bins.
    rows, image = tables.instances, tables.instance_image
    of_class = rows["class_id"].astype(np.int64) - 1
    cell = (bins.index(rows["area"]) + 1) * c + of_class
    value = ia_iou(rows)
    ones = np.ones(rows.size)
    ia = np.zeros(((1 + s) * c, resamples))
    count = np.zeros(((1 + s) * c, resamples))
    for places in (of_class, cell):
        _add(image, places, value, weights, ia)
        _add(image, places, ones, weights, count)
    # Components are many and counted only, so they are first counted by image and size.
    size = bins.index(tables.components["area"]) + 1
    half = 2 * tables.components["matched"].astype(np.int64) >= tables.components["area"]
    components = np.zeros((1 + s, resamples))
    good = np.zeros((1 + s, resamples))
    for out, chosen in ((components, slice(None)), (good, half)):
        code = tables.component_image[chosen].astype(np.int64) * (1 + s) + size[chosen]
        by_image = np.bincount(code, minlength=n * (1 + s)).reshape(n, 1 + s)
        by_image[:, 0] = by_image.sum(axis=1)
        places, sizes = np.nonzero(by_image)
        _add(places, sizes, by_image[places, sizes].astype(np.float64), weights, out)
    # Classes.
    rows, image = tables.classes, tables.class_image
    class_id = rows["class_id"].astype(np.int64)
    both = rows["true_pixels"].astype(np.int64) + rows["predicted_pixels"] - rows["matched_pixels"]
    true, union, matched = (np.zeros((c + 1, resamples)) for _ in range(3))
    for out, pixels in (
        (true, rows["true_pixels"]),
        (union, both),
        (matched, rows["matched_pixels"]),
    ):
        _add(image, class_id, pixels.astype(np.float64), weights, out)
    return Sums(
        ia=ia.reshape(1 + s, c, resamples),
        instances=count.reshape(1 + s, c, resamples),
        good=good,
        components=components,
        true=true,
        union=union,
        matched=matched,
    )


def figures(sums: Sums, bins: SizeBins) -> dict[str, Values]:
    """Return the headline figures by name, each with R values; NaN is a figure of nothing.

    The names are ``miou``, ``pixel_accuracy``, ``ia.class_mean``, ``ia.instance_mean``,
    ``component_precision``, and the last three by size as in ``ia_small.class_mean``.
    """
    found: dict[str, Values] = {}
    found["miou"] = _mean_of_rows(ratio(sums.matched, sums.union), sums.true > 0)
    found["pixel_accuracy"] = ratio(_add_rows(sums.matched), _add_rows(sums.true))
    suffixes = suffixes_of(bins)
    for k, suffix in enumerate(suffixes):
        means = ratio(sums.ia[k], sums.instances[k])
        found[f"ia{suffix}.class_mean"] = _mean_of_rows(means, sums.instances[k] > 0)
        found[f"ia{suffix}.instance_mean"] = ratio(
            _add_rows(sums.ia[k]), _add_rows(sums.instances[k])
        )
    for k, suffix in enumerate(suffixes):
        found[f"component_precision{suffix}"] = ratio(sums.good[k], sums.components[k])
    return found


def suffixes_of(bins: SizeBins) -> tuple[str, ...]:
    """Return how the figures' names end: nothing for all sizes, then ``_<size>`` each.

    >>> suffixes_of(SizeBins())
    ('', '_small', '_medium', '_large')
    """
    return ("", *(f"_{name}" for name in bins.names))


def ratio(part: Values, whole: Values) -> Values:
    """Return part / whole, NaN where the whole is 0."""
    values: Values = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return values


def _add_rows(values: Values) -> Values:
    total = np.zeros(values.shape[1])
    for row in values:  # one after the other: the order of a numpy sum is not promised
        total += row
    return total


def _mean_of_rows(values: Values, present: npt.NDArray[np.bool_]) -> Values:
    return ratio(_add_rows(np.where(present, values, 0.0)), present.sum(axis=0).astype(np.float64))


@numba.njit(cache=True, nogil=True)
def _add(image, cell, value, weights, out):
    """Add ``weights[image] * value`` to ``out[cell]``, row after row."""
    for k in range(image.size):
        source, target, v = weights[image[k]], out[cell[k]], value[k]
        for r in range(target.size):
            target[r] += source[r] * v
