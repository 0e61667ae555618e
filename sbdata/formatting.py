"""Formatting of values, the same in tables, figures and titles.

The captions of metrics and the digits of their values are declared in
:mod:`sbdata.metrics.registry`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sbdata.metrics.bootstrap import Interval
from sbdata.metrics.registry import METRICS, metric_of
from sbdata.plurals import count
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

NOTHING = "–"
"""Text for an undefined value."""


def number(value: float | None, digits: int = 3) -> str:
    """Return a value between 0 and 1 as text; a dash for None.

    >>> number(0.5), number(None)
    ('0.500', '–')
    """
    return NOTHING if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign as text; a dash for None.

    >>> signed(0.25), signed(-0.25), signed(0.0)
    ('+0.250', '−0.250', '0.000')
    """
    if value is None:
        return NOTHING
    rounded = f"{abs(value):.{digits}f}"
    if float(rounded) == 0:
        return rounded
    return ("−" if value < 0 else "+") + rounded


def percent(share: float | None) -> str:
    """Return a fraction in per cent as text; a dash for None.

    >>> percent(0.125)
    '12.5 %'
    """
    return NOTHING if share is None else f"{share:.1%}".replace("%", " %")


def span(interval: Interval | None, key: str = "ia", *, difference: bool = False) -> str:
    """Return an interval of a metric, or of its differences, as text; a dash for None.

    >>> span(Interval(0.25, 0.5)), span(Interval(-0.25, 0.5), difference=True)
    ('0.250–0.500', '−0.250 to +0.500')
    """
    if interval is None:
        return NOTHING
    if difference:
        return f"{change(key, interval.low)} to {change(key, interval.high)}"
    return f"{estimate(key, interval.low)}–{estimate(key, interval.high)}"


def caption(key: str) -> str:
    """Return the caption of a metric, or of one of its means.

    >>> caption("ia_small"), caption("region_precision_small"), caption("ia.class_mean")
    ('IA_S', 'region precision, small', 'IA, class mean')
    """
    metric, size, mean = metric_of(key)
    name, _ = metric.named(size)
    return f"{name}, {mean.replace('_', ' ')}" if mean else name


def explanation(key: str) -> str:
    """Return the description of a metric, and whether higher or lower values are better.

    >>> explanation("ia_small")
    'Instance-aware IoU of the small instances. Higher is better.'
    """
    metric, size, _ = metric_of(key)
    _, doc = metric.named(size)
    return f"{doc} {metric.better.capitalize()} is better." if doc else ""


def metrics_as_markdown() -> str:
    """Return the table of the metrics in ``docs/definitions/metric.md``."""
    lines = ["| caption | key | better | written as | what it is |", "| --- " * 5 + "|"]
    for metric in METRICS.values():
        size = "small" if "{size}" in metric.key else ""
        name, doc = metric.named(size)
        key = metric.key.replace("{size}", "<size>")
        written = estimate(metric.key.replace("{size}", "small"), 0.5)
        lines.append(f"| {name} | `{key}` | {metric.better} | {written} | {doc} |")
    return "\n".join(lines)


def estimate(key: str, value: float | None, deviation: float | None = None) -> str:
    """Return the value of a metric with its digits and unit, and a standard deviation if given.

    >>> estimate("miou", 0.5), estimate("miou", 0.5, 0.25), estimate("miss_rate_small", 0.5, 0.025)
    ('0.500', '0.500 ± 0.250', '50.0 ± 2.5 %')
    """
    metric, _, _ = metric_of(key)
    if value is None:
        return NOTHING
    scale = 100 if metric.unit == "%" else 1
    numbers = [number(v * scale, metric.digits) for v in (value, deviation) if v is not None]
    return " ± ".join(numbers) + (f" {metric.unit}" if metric.unit else "")


def change(key: str, value: float | None) -> str:
    """Return the difference of two values of a metric as text, with its sign.

    >>> change("miou", -0.25), change("miss_rate_small", 0.025)
    ('−0.250', '+2.5 %')
    """
    metric, _, _ = metric_of(key)
    if metric.unit == "%" and value is not None:
        return f"{signed(100 * value, metric.digits)} %"
    return signed(value, metric.digits)


def area(pixels: int) -> str:
    """Return a limit of area as text, as a square if it is one.

    >>> area(1024), area(2000)
    ('32²', '2,000')
    """
    side = math.isqrt(pixels)
    return f"{side:,}²" if side * side == pixels and side > 9 else f"{pixels:,}"


def limits(bins: SizeBins, place: int) -> str:
    """Return the limits of one size as text.

    >>> [limits(SizeBins(), k) for k in range(3)]
    ['under 32²', '32² to 96²', '96² and more']
    >>> limits(SizeBins(("0.5%", "5%")), 1), limits(SizeBins(((4, 9), (5, 7))), 1)
    ('0.5% to 5%', 'by class')
    """
    if bins.by_class:
        return "by class"
    edges = [edge if isinstance(edge, str) else area(edge) for edge in bins.edges_of(1)]
    if not edges:
        return "any area"
    if place == 0:
        return f"under {edges[0]}"
    return (
        f"{edges[-1]} and more" if place == len(edges) else f"{edges[place - 1]} to {edges[place]}"
    )


def sizes_line(bins: SizeBins, counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return the names and limits of all sizes as text.

    Args:
        bins: Size bins.
        counts: Number of instances of each class, by size; said if the limits are by class.

    >>> sizes_line(SizeBins(), {})
    'sizes: small is under 32² pixels, medium 32² to 96², large 96² and more'
    >>> sizes_line(SizeBins(((4,), (9,)), ("low", "high")), {"cat": {"low": 2, "high": 3}})
    'sizes by class, divided in pixels (n low, high): cat at 4 (2, 3)'
    """
    if bins.by_class:
        said = [
            f"{name} at {' and '.join(f'{edge:,}' for edge in bins.edges_of(k))} "
            f"({', '.join(f'{of_class[size]:,}' for size in bins.names)})"
            for k, (name, of_class) in enumerate(counts.items(), start=1)
        ]
        return f"sizes by class, divided in pixels (n {', '.join(bins.names)}): {'; '.join(said)}"
    said = [f"{name} {limits(bins, k)}" for k, name in enumerate(bins.names)]
    unit = "of the image" if bins.relative else "pixels"
    said[0] = f"{bins.names[0]} is {limits(bins, 0)} {unit}"
    return f"sizes: {', '.join(said)}"


def sizes_said(bins: SizeBins, by_class: str) -> str:
    """Return a sentence on the limits of each size, or ``by_class`` if they are by class.

    >>> sizes_said(SizeBins((64,), ("low", "XL")), "")
    'Low is under 64 pixels of visible area. XL is 64 and more pixels of visible area.'
    >>> sizes_said(SizeBins(("1%",), ("low", "high")), "")
    'Low is under 1% of the image. High is 1% and more of the image.'
    >>> sizes_said(SizeBins(((4,), (9,)), ("low", "high")), "Sizes are by class.")
    'Sizes are by class.'
    """
    if bins.by_class:
        return by_class
    unit = "of the image" if bins.relative else "pixels of visible area"
    said = [f"{n[0].upper()}{n[1:]} is {limits(bins, k)} {unit}." for k, n in enumerate(bins.names)]
    return " ".join(said)


def said_edges(bins: SizeBins) -> str:
    """Return the edges between the sizes as text.

    >>> said_edges(SizeBins()), said_edges(SizeBins(("0.5%", "5%")))
    ('1,024, 9,216 pixels', '0.5%, 5% of the image')
    """
    if bins.by_class:
        return "edges of each class"
    if bins.relative:
        return f"{', '.join(map(str, bins.edges))} of the image"
    return f"{', '.join(f'{edge:,}' for edge in bins.pixel_edges)} pixels"


def undivided_note(classes: Mapping[int, int], names: Taxonomy) -> str:
    """Return a sentence on the classes that have no terciles of their own; see ``undivided``."""
    said = ", ".join(f"{names.name_of(c)} {n:,}" for c, n in classes.items())
    return (
        f"the areas of {count(len(classes), 'class', 'classes')} are too few or too alike for "
        f"terciles of their own; those over all classes divide them (n: {said})"
    )
