"""The metrics: each is declared once, with its computation and its formatting.

The score, its intervals and comparisons, the printed tables, the report, the leaderboard and the
table in ``docs/definitions/metric.md`` all use :data:`METRICS`. ``docs/extending/metric.md`` shows
how to add a metric.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sbdata.errors import InputError
from sbdata.metrics.sums import Sums, Values, add_rows, mean_of_rows, ratio
from sbdata.sizes import SizeBins

Compute = Callable[[Sums, int], Values]
"""Function from sums under R weightings of the images and a size (0 for all) to R values."""

LETTERS = {"small": "S", "medium": "M", "large": "L"}
"""Abbreviations of the usual sizes in captions; other sizes keep their names."""


@dataclass(frozen=True)
class Metric:
    """A metric: its name, the formatting of its values, and their computation.

    Attributes:
        key: Name in files and in Python. With ``{size}`` there is one metric for each size.
        caption: Name in tables; may have ``{size}``, or ``{letter}`` for S, M or L.
        unit: ``"%"`` if values are written in per cent, else empty.
        better: Whether ``"higher"`` or ``"lower"`` values are better.
        digits: Number of digits after the decimal point.
        doc: One sentence that says what is measured.
        compute: Function that returns the values; or functions by the name of a mean, such as
            ``class_mean``, whose values have the name ``<key>.class_mean``. None for a metric that
            is computed elsewhere.
        per: Items over which a value is a mean. A value of few instances or regions has no
            interval.
        on_boards: Whether the metric is a column of leaderboards.
        option: Option of :class:`~sbdata.metrics.image.MetricOptions` with which it is measured;
            the attribute of the sums with that name is None without it. Empty if always measured.
    """

    key: str
    caption: str
    unit: Literal["", "%"]
    better: Literal["higher", "lower"]
    digits: int
    doc: str
    compute: Compute | Mapping[str, Compute] | None = None
    per: Literal["image", "instance", "region"] = "image"
    on_boards: bool = True
    option: str = ""

    def keys(self, bins: SizeBins) -> Iterator[tuple[str, int]]:
        """Yield the key for each size that the metric has, with the size's number (0 for all)."""
        if "{size}" not in self.key:
            yield self.key, 0
            return
        for place, name in enumerate(bins.names, start=1):
            yield self.key.replace("{size}", name), place

    def named(self, size: str) -> tuple[str, str]:
        """Return caption and doc of the metric of one size."""
        caption = self.caption.replace("{letter}", LETTERS.get(size, size)).replace("{size}", size)
        return caption, self.doc.replace("{size}", size)


def _pixel_accuracy(sums: Sums, _: int) -> Values:
    return ratio(add_rows(sums.matched), add_rows(sums.true))


def _miou(sums: Sums, _: int) -> Values:
    return mean_of_rows(ratio(sums.matched, sums.union), sums.true > 0)


def _class_mean_with_background(sums: Sums, size: int) -> Values:
    background = ratio(sums.background[:1], sums.background[1:])
    both = np.concatenate([background, ratio(sums.ia[size], sums.instances[size])])
    return mean_of_rows(both, ~np.isnan(both))


def _mean_of_classes(total: Values, n: Values) -> Values:
    return mean_of_rows(ratio(total, n), n > 0)


def _mean_of_instances(total: Values, n: Values) -> Values:
    return ratio(add_rows(total), add_rows(n))


def _class_mean(sums: Sums, size: int) -> Values:
    return _mean_of_classes(sums.ia[size], sums.instances[size])


def _instance_mean(sums: Sums, size: int) -> Values:
    return _mean_of_instances(sums.ia[size], sums.instances[size])


def _region_precision(sums: Sums, size: int) -> Values:
    return ratio(sums.precise[size], sums.regions[size])


def _boundary_class_mean(sums: Sums, size: int) -> Values:
    assert sums.boundary is not None  # noqa: S101 - for the type checker
    return _mean_of_classes(sums.boundary[size], sums.instances[size])


def _boundary_instance_mean(sums: Sums, size: int) -> Values:
    assert sums.boundary is not None  # noqa: S101 - for the type checker
    return _mean_of_instances(sums.boundary[size], sums.instances[size])


_WITH_BACKGROUND = {"class_mean": _class_mean_with_background, "instance_mean": _instance_mean}
_MEANS = {"class_mean": _class_mean, "instance_mean": _instance_mean}
_BOUNDARY = {"class_mean": _boundary_class_mean, "instance_mean": _boundary_instance_mean}

METRICS: dict[str, Metric] = {}
"""Every metric by key, in the order of the tables."""


def register_metric(metric: Metric) -> Metric:
    """Add a metric to all tables, after the existing ones; return it.

    Raises:
        InputError: If a metric of this key already exists.
    """
    if metric.key in METRICS:
        msg = f"a metric {metric.key!r} already exists; choose another key"
        raise InputError(msg)
    METRICS[metric.key] = metric
    return metric


for _metric in (
    Metric("miou", "mIoU", "", "higher", 3,
           "Mean IoU over background and the classes that have a true pixel.", _miou),
    Metric("pixel_accuracy", "pixel accuracy", "", "higher", 3,
           "Share of the pixels whose predicted class is the true one.", _pixel_accuracy,
           on_boards=False),
    Metric("ia", "IA", "", "higher", 3,
           "Instance-aware IoU of all instances; its class mean has background as a class.",
           _WITH_BACKGROUND, "instance"),
    Metric("ia_objects", "IA_objects", "", "higher", 3,
           "Instance-aware IoU of all instances, without background.", _MEANS, "instance"),
    Metric("ia_{size}", "IA_{letter}", "", "higher", 3,
           "Instance-aware IoU of the {size} instances.", _MEANS, "instance"),
    Metric("region_precision", "region precision", "", "higher", 3,
           "Share of predicted regions with at least half their pixels on their class.",
           _region_precision, "region", on_boards=False),
    Metric("region_precision_{size}", "region precision, {size}", "", "higher", 3,
           "Region precision of the {size} regions.", _region_precision, "region",
           on_boards=False),
    Metric("miss_rate_{size}", "{size}-object miss rate", "%", "lower", 1,
           "Share of the {size} instances with pixel recall < 0.5, after each stage of "
           "pseudo-masks.", None, "instance", on_boards=False),
    Metric("boundary_iou", "Boundary IoU", "", "higher", 3,
           "Boundary IoU of all instances, without background; measured with --boundary.",
           _BOUNDARY, "instance", on_boards=False, option="boundary"),
    Metric("boundary_iou_{size}", "Boundary IoU, {size}", "", "higher", 3,
           "Boundary IoU of the {size} instances; measured with --boundary.", _BOUNDARY,
           "instance", on_boards=False, option="boundary"),
):  # fmt: skip
    register_metric(_metric)


def metric_of(key: str) -> tuple[Metric, str, str]:
    """Return the metric that a value belongs to, the name of its size and that of its mean.

    A key without a metric, as in results of an extended version, is its own caption.

    >>> metric, size, mean = metric_of("ia_small.class_mean")
    >>> metric.caption, size, mean
    ('IA_{letter}', 'small', 'class_mean')
    """
    stem, _, mean = key.partition(".")
    if stem in METRICS:
        return METRICS[stem], "", mean
    for metric in METRICS.values():
        before, pattern, after = metric.key.partition("{size}")
        if pattern and stem.startswith(before) and stem.endswith(after):
            return metric, stem[len(before) : len(stem) - len(after)], mean
    return Metric(stem, stem.replace("_", " "), "", "higher", 3, ""), "", mean


def sizes_in(names: Iterable[str]) -> list[str]:
    """Return the sizes among the names of instance-aware IoU, in their order.

    >>> sizes_in(["ia", "ia_objects", "ia_small", "ia_large"])
    ['small', 'large']
    """
    return [name.removeprefix("ia_") for name in names if name not in ("ia", "ia_objects")]


def estimates(sums: Sums, bins: SizeBins) -> dict[str, Values]:
    """Return the headline values by name, each with R values; NaN if there is nothing to measure.

    The names are the metrics' keys, such as ``miou``; a metric with several means has one value
    for each, such as ``ia_small.class_mean``.

    Raises:
        InputError: If two metrics have a value of one name, which a size may cause.
    """
    found: dict[str, Values] = {}
    for metric in METRICS.values():
        if metric.option and getattr(sums, metric.option) is None:
            continue
        for key, size in metric.keys(bins):
            for mean, compute in _computed(metric):
                name = f"{key}{mean}"
                if name in found:
                    msg = (
                        f"two metrics have a value {name!r}; give the registered metric another "
                        "key, or the size another name"
                    )
                    raise InputError(msg)
                found[name] = compute(sums, size)
    return found


def numbers(sums: Sums, bins: SizeBins) -> dict[str, int]:
    """Return the number of instances or regions of each value, under the first weighting."""
    by_kind = {"instance": sums.instances.sum(axis=1)[:, 0], "region": sums.regions[:, 0]}
    return {
        f"{key}{mean}": int(by_kind[metric.per][size])
        for metric in METRICS.values()
        if metric.per in by_kind
        for key, size in metric.keys(bins)
        for mean, _ in _computed(metric)
    }


def headline_names(bins: SizeBins, options: Collection[str] = ()) -> list[str]:
    """Return the names of the headline values of a score, in the order of the tables.

    Args:
        bins: Size bins of the score.
        options: Options that are on, of those by which a metric is measured.

    >>> headline_names(SizeBins((), ("all",)))[:3]
    ['miou', 'pixel_accuracy', 'ia.class_mean']
    """
    return [
        f"{key}{mean}"
        for metric in METRICS.values()
        if not metric.option or metric.option in options
        for key, _ in metric.keys(bins)
        for mean, _ in _computed(metric)
    ]


def _computed(metric: Metric) -> list[tuple[str, Compute]]:
    if isinstance(metric.compute, Mapping):
        return [(f".{mean}", compute) for mean, compute in metric.compute.items()]
    return [("", metric.compute)] if metric.compute is not None else []
