"""How figures are written: the same in tables, in charts and in their titles."""

from __future__ import annotations

import math

from sbdata.metrics import Interval
from sbdata.sizes import SizeBins

NOTHING = "–"
"""Stands for a figure of nothing."""


def number(value: float | None, digits: int = 3) -> str:
    """Write a figure between 0 and 1, or a dash.

    >>> number(0.5), number(None)
    ('0.500', '–')
    """
    return NOTHING if value is None else f"{value:.{digits}f}"


def mean_and_deviation(value: float | None, deviation: float | None) -> str:
    """Write a mean over seeds with its sample standard deviation, if it has one.

    >>> mean_and_deviation(0.5, 0.25), mean_and_deviation(0.5, None), mean_and_deviation(None, None)
    ('0.500 ± 0.250', '0.500', '–')
    """
    return number(value) + ("" if deviation is None else f" ± {number(deviation)}")


def signed(value: float | None) -> str:
    """Write a difference with its sign, or a dash.

    >>> signed(0.25), signed(-0.25), signed(0.0)
    ('+0.250', '−0.250', '0.000')
    """
    if value is None:
        return NOTHING
    rounded = f"{abs(value):.3f}"
    if float(rounded) == 0:
        return rounded
    return ("−" if value < 0 else "+") + rounded


def percent(share: float | None) -> str:
    """Write a share in per cent, or a dash.

    >>> percent(0.125)
    '12.5 %'
    """
    return NOTHING if share is None else f"{share:.1%}".replace("%", " %")


def span(interval: Interval | None, *, difference: bool = False) -> str:
    """Write an interval, or a dash.

    >>> span(Interval(0.25, 0.5))
    '0.250–0.500'
    >>> span(Interval(-0.25, 0.5), difference=True)
    '−0.250 to +0.500'
    """
    if interval is None:
        return NOTHING
    if difference:
        return f"{signed(interval.low)} to {signed(interval.high)}"
    return f"{number(interval.low)}–{number(interval.high)}"


def metric_name(name: str) -> str:
    """Return how a metric of ``Summary`` is called.

    >>> metric_name("ia_small"), metric_name("region_precision_small"), metric_name("miou")
    ('IA_small', 'region precision, small', 'mIoU')
    """
    if name == "miou":
        return "mIoU"
    if name == "ia" or name.startswith("ia_"):
        return f"IA{name[2:]}"
    return name.replace("region_precision_", "region precision, ").replace("_", " ")


def headline_name(name: str) -> str:
    """Return how a value of ``Summary.headline`` is called.

    >>> headline_name("ia_small.class_mean"), headline_name("pixel_accuracy")
    ('IA_small, class mean', 'pixel accuracy')
    """
    metric, _, mean = name.partition(".")
    return f"{metric_name(metric)}, {mean.replace('_', ' ')}" if mean else metric_name(metric)


def count(n: int, one: str, many: str = "") -> str:
    """Write a number of things.

    >>> count(1, "image"), count(1200, "image"), count(2, "class", "classes")
    ('1 image', '1,200 images', '2 classes')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def area(pixels: int) -> str:
    """Write a limit of area, as a square where it is one.

    >>> area(1024), area(2000)
    ('32²', '2,000')
    """
    side = math.isqrt(pixels)
    return f"{side:,}²" if side * side == pixels and side > 9 else f"{pixels:,}"


def limits(bins: SizeBins, place: int) -> str:
    """Write the limits of one size.

    >>> [limits(SizeBins(), k) for k in range(3)]
    ['under 32²', '32² to 96²', '96² and more']
    """
    edges = [area(edge) for edge in bins.edges]
    if not edges:
        return "any area"
    if place == 0:
        return f"under {edges[0]}"
    return (
        f"{edges[-1]} and more" if place == len(edges) else f"{edges[place - 1]} to {edges[place]}"
    )
