"""The figures of a report as SVG text, from a summary and nothing else.

Every function draws at a width in pixels, and lays its figure out for that width instead of
shrinking it, so that text has the same size on a phone and on a desk. The colours are CSS custom
properties of ``charts.css``: :func:`standalone` puts them into the figure, a report has them once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from itertools import pairwise
from unicodedata import east_asian_width

from sbdata.formatting import NOTHING, area, count, limits, number, span
from sbdata.metrics import FEW, Cell, CurvePoint, Interval, Summary
from sbdata.report.markup import Markup, element
from sbdata.sizes import SizeBins

WIDE = 720
NARROW = 344

_Scale = Callable[[float], float]
_LETTER = 7.0  # pixels of an average letter at 12 px, on the wide side
_BOLD = 1.12  # how much wider a bold letter is


def chart_style() -> str:
    """Return the style sheet of the figures."""
    return (resources.files("sbdata.report") / "charts.css").read_text("utf-8")


def standalone(svg: str) -> str:
    """Return a figure as a file of its own: with its style, for light and dark surroundings."""
    head, rest = svg.split(">", 1)
    return f"{head}><style>{chart_style()}</style>{rest}\n"


# --- IA by area ---------------------------------------------------------------------------------


def curve_svg(summary: Summary, width: int = WIDE) -> Markup:
    """Draw the mean IA by half octaves of area, with n as bars beneath.

    Points of fewer than ten instances are hollow. The line is broken where a half octave is
    empty. The limits of the sizes are marked and the sizes named.
    """
    name = "IA by area of the instance"
    points = summary.curve
    if not points:
        return _empty(name, width, "No instance to measure.")
    bins = summary.bins
    left, right = 40, width - 14
    low = min(points[0].low, bins.edges[0] / 2 if bins.edges else points[0].low)
    high = max(points[-1].high, bins.edges[-1] * 2 if bins.edges else points[-1].high)

    def x_of(pixels: float) -> float:
        return left + (right - left) * math.log(pixels / low) / math.log(high / low)

    borders = [low, *bins.edges, high]
    names = [
        (_kept_inside(x_of(math.sqrt(a * b)), size, 0, width), size)
        for (a, b), size in zip(pairwise(borders), bins.names, strict=True)
    ]
    edges = [(x_of(edge), area(edge)) for edge in bins.edges]
    name_rows = _rows_without_overlap(names)
    edge_rows = _rows_without_overlap(edges)
    head = 16 + 15 * max(name_rows)
    top = head + 17 + 15 * max(edge_rows, default=0)
    bottom = top + (250 if width >= WIDE else 200)
    bars_top, bars_bottom = bottom + 14, bottom + 58
    labels, labels_bottom = _bar_labels(points, x_of, bars_bottom)
    axis = labels_bottom + 18
    height = axis + 26

    parts = [*_share_grid(left, right, top, bottom)]
    for (x, label), row in zip(names, name_rows, strict=True):
        parts.append(_text(x, 14 + 15 * row, label, "middle strong"))
    for (x, label), row in zip(edges, edge_rows, strict=True):
        parts.append(_line(x, head + 18 + 15 * row, x, bars_bottom, "limit"))
        parts.append(_text(x, head + 13 + 15 * row, label, "middle quiet fine"))
    parts += [_curve_lines(points, x_of, top, bottom), *_curve_points(points, x_of, top, bottom)]
    parts += [*_bars(points, x_of, bars_top, bars_bottom), *labels]
    parts.append(_text(left - 8, bars_bottom, "n", "end quiet"))
    ticks = [(x_of(tick), f"{tick:,}") for tick in _area_ticks(low, high)]
    for (x, label), row in zip(ticks, _rows_without_overlap(ticks), strict=True):
        parts.append(_line(x, bars_bottom, x, bars_bottom + 4, "grid"))
        if row == 0:
            parts.append(_text(_kept_inside(x, label, left, right), axis, label, "middle quiet"))
    words = "visible area of the instance (pixels, log scale)"
    parts.append(_text((left + right) / 2, height - 6, words, "middle quiet"))
    first, last = _ends(points)
    said = (
        f"{name}: mean IA of {count(sum(p.n for p in points), 'instance')} by half octaves of "
        f"area, from {number(first.value, 2)} at {first.low:,} pixels to "
        f"{number(last.value, 2)} at {last.low:,}."
    )
    return _svg(said, width, height, parts)


def _ends(points: Sequence[CurvePoint]) -> tuple[CurvePoint, CurvePoint]:
    defined = [point for point in points if point.n]
    return defined[0], defined[-1]


def _middle(point: CurvePoint) -> float:
    return math.sqrt(point.low * point.high)


def _curve_lines(points: Sequence[CurvePoint], x_of: _Scale, top: float, bottom: float) -> Markup:
    steps, pen_down = [], False
    for point in points:
        if point.value is None:
            pen_down = False
            continue
        y = bottom - (bottom - top) * point.value
        steps.append(f"{'L' if pen_down else 'M'}{_n(x_of(_middle(point)))} {_n(y)}")
        pen_down = True
    return element("path", d=" ".join(steps), class_="curve")


def _curve_points(
    points: Sequence[CurvePoint], x_of: _Scale, top: float, bottom: float
) -> Iterable[Markup]:
    for point in points:
        if point.value is not None:
            y = bottom - (bottom - top) * point.value
            said = (
                f"{point.low:,} to {point.high - 1:,} pixels: IA {number(point.value)}, "
                f"n {point.n:,}"
            )
            yield element(
                "circle",
                element("title", said),
                cx=_n(x_of(_middle(point))),
                cy=_n(y),
                r=4,
                class_="point few" if point.n < FEW else "point",
            )


def _bars(
    points: Sequence[CurvePoint], x_of: _Scale, top: float, bottom: float
) -> Iterable[Markup]:
    most = max(point.n for point in points)
    yield _line(x_of(points[0].low), bottom, x_of(points[-1].high), bottom, "grid")
    for point in points:
        if point.n:
            x, end = x_of(point.low) + 0.5, x_of(point.high) - 0.5
            tall = max(1.0, (bottom - top) * point.n / most)
            yield _rect(x, bottom - tall, max(end - x, 0.5), tall, "bar")


def _bar_labels(
    points: Sequence[CurvePoint], x_of: _Scale, bars_bottom: float
) -> tuple[list[Markup], float]:
    """Return n of every bar, upright where there is no room to write it flat, and their end."""
    labels = [(x_of(_middle(point)), point) for point in points if point.n]
    # The narrow half octaves of the smallest areas count as well: whole pixels are not even steps.
    room = min((b[0] - a[0] for a, b in pairwise(labels)), default=math.inf)
    widest = max(len(f"{point.n:,}") for point in points)
    if room > widest * _LETTER + 3:
        y = bars_bottom + 15
        return [_text(x, y, f"{point.n:,}", "middle quiet fine") for x, point in labels], y + 3
    shown: list[Markup] = []
    last = -math.inf
    for x, point in labels:
        if x - last >= 10:  # upright figures need ten pixels each; the table beside has them all
            last = x
            turned = f"translate({_n(x + 4)} {_n(bars_bottom + 5)}) rotate(-90)"
            shown.append(element("text", f"{point.n:,}", transform=turned, class_="end quiet fine"))
    return shown, bars_bottom + 6 + widest * _LETTER


def _area_ticks(low: float, high: float) -> list[int]:
    """Return round areas within the axis: powers of ten, or finer where those are few."""
    lowest, highest = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1,) if math.log10(high / low) > 2 else (1, 2, 5)
    ticks = [step * 10**power for power in range(lowest, highest + 1) for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


# --- class x size -------------------------------------------------------------------------------


def heat_map_svg(summary: Summary, class_names: Sequence[str], width: int = WIDE) -> Markup:
    """Draw IA by class and size, with n in the cells; hatched where n < 10, a dash where n = 0.

    Args:
        summary: of the scores.
        class_names: of the classes 1..C.
        width: in pixels. With many classes a wide figure has them in two columns.
    """
    bins = summary.bins
    gap = 28
    longest = max(_width_of(name) for name in class_names) + 10

    def split(blocks: int) -> tuple[float, float]:
        """Return the widths of the class names and of a cell."""
        room = (width - gap * (blocks - 1)) / blocks
        names = min(longest, room * (0.3 if blocks == 1 and width >= WIDE else 0.34))
        return names, min((room - names) / len(bins.names), 132)

    blocks = 2 if width >= WIDE and len(summary.classes) > 10 and split(2)[1] >= 60 else 1
    names_width, cell_width = split(blocks)
    block_width = names_width + len(bins.names) * cell_width
    # Few sizes do not need all the room: the figure is then narrower.
    width = max(math.ceil(blocks * block_width + gap * (blocks - 1)), min(width, 330))
    rows = math.ceil(len(summary.classes) / blocks)
    row_height = 32
    names_head, head = _heat_head(bins, cell_width)
    parts: list[Markup] = []
    for block in range(blocks):
        left = block * (block_width + gap) + names_width
        parts.append(element("g", *names_head, transform=f"translate({_n(left)} 0)"))
        for row, figures in enumerate(summary.classes[block * rows : (block + 1) * rows]):
            y = head + row * row_height
            name = class_names[figures.class_id - 1]
            fitting = _shortened(name, names_width - 8)
            parts.append(_text(left - 8, y + 20, fitting, "end", full=name))
            for k, size in enumerate(bins.names):
                cell = figures.ia[f"ia_{size}"]
                x = left + k * cell_width
                said = f"{name}, {size}"
                parts.append(_heat_cell(x, y, cell_width - 2, row_height - 2, cell, said))
    legend, height = _heat_legend(head + rows * row_height + 14, width)
    said = (
        f"IA by class and size: {count(len(summary.classes), 'class', 'classes')} by "
        f"{count(len(bins.names), 'size')}. The table by class has the same figures."
    )
    return _svg(said, width, height, [*parts, *legend])


def _heat_head(bins: SizeBins, cell_width: float) -> tuple[list[Markup], float]:
    """Return the sizes' names above their columns, upright where too long, and where they end."""
    middles = [(k + 0.5) * cell_width - 1 for k in range(len(bins.names))]
    widest = max(_width_of(size) for size in bins.names) * _BOLD
    if widest > cell_width - 4:
        shown = [_shortened(size, 120) for size in bins.names]
        bottom = max(_width_of(size) for size in shown) * _BOLD + 6
        return [
            element(
                "text",
                fitting,
                element("title", size),
                transform=f"translate({_n(x + 4)} {_n(bottom - 6)}) rotate(-90)",
                class_="start strong",
            )
            for x, fitting, size in zip(middles, shown, bins.names, strict=True)
        ], bottom
    named = [
        _text(x, 13, size, "middle strong") for x, size in zip(middles, bins.names, strict=True)
    ]
    said = [limits(bins, k) for k in range(len(bins.names))]
    if max(_width_of(words) for words in said) * 11 / 12 > cell_width:
        return named, 20
    named += [
        _text(x, 28, words, "middle quiet fine") for x, words in zip(middles, said, strict=True)
    ]
    return named, 36


def heat_step(value: float) -> int:
    """Return which of the ten colours stands for a figure between 0 and 1.

    >>> heat_step(0.0), heat_step(0.55), heat_step(1.0)
    (0, 5, 9)
    """
    return min(9, int(value * 10))


def _heat_cell(x: float, y: float, width: float, height: float, cell: Cell, said: str) -> Markup:
    middle = x + width / 2
    if cell.value is None:
        return element(
            "g",
            element("title", f"{said}: no instance"),
            _rect(x + 0.5, y + 0.5, width - 1, height - 1, None),
            _text(middle, y + height / 2 + 4, NOTHING, "middle quiet"),
            class_="nothing",
        )
    few = cell.n < FEW
    value, n = number(cell.value, 2), f"n {cell.n:,}"
    if width >= 84:
        inside = [
            _text(middle - 5, y + height / 2 + 4, value, "end strong"),
            _text(middle + 5, y + height / 2 + 4, n, "start fine"),
        ]
    else:
        inside = [
            _text(middle, y + 13, value, "middle strong"),
            _text(middle, y + 26, n, "middle fine"),
        ]
    return element(
        "g",
        element("title", f"{said}: IA {number(cell.value)}, {n}"),
        _rect(x, y, width, height, None),
        _hatching(x, y, width, height) if few else "",
        *inside,
        class_=f"cell h{heat_step(cell.value)}",
    )


def _hatching(x: float, y: float, width: float, height: float) -> Markup:
    """Return oblique lines that fill a rectangle, cut at its sides."""
    lines = []
    step = 7
    for k in range(1, math.ceil((width + height) / step)):
        offset = k * step  # the line runs from (offset, 0) down to the left
        x0, y0 = (offset, 0.0) if offset <= width else (width, offset - width)
        x1, y1 = (0.0, offset) if offset <= height else (offset - height, height)
        lines.append(f"M{_n(x + x0)} {_n(y + y0)}L{_n(x + x1)} {_n(y + y1)}")
    return element("path", d="".join(lines), class_="hatching")


def _heat_legend(y: float, width: float) -> tuple[list[Markup], float]:
    parts = [_text(0, y + 12, "IA  0", "start quiet")]
    for k in range(10):
        swatch = _rect(34 + 14 * k, y, 14, 16, None)
        parts.append(element("g", swatch, class_=f"cell h{k}"))
    parts.append(_text(180, y + 12, "1", "start quiet"))
    x, line = (208.0, y) if width >= 430 else (0.0, y + 24)
    sample = [_rect(x, line, 24, 16, None), _hatching(x, line, 24, 16)]
    parts.append(element("g", *sample, class_="cell h1"))
    parts.append(_text(x + 30, line + 12, f"n under {FEW}", "start quiet"))
    parts.append(_text(x + 112, line + 12, f"{NOTHING}  no instance", "start quiet"))
    return parts, line + 22


# --- region precision beside IA -----------------------------------------------------------------


def precision_svg(
    summary: Summary, intervals: Mapping[str, Interval | None], width: int = WIDE
) -> Markup:
    """Draw IA and region precision of each size side by side, with their 95 % intervals."""
    bins = summary.bins
    stacked = width < WIDE
    left, right = (8.0, width - 8.0) if stacked else (150.0, width - 200.0)
    group_head, row_height = 30, 38 if stacked else 22
    parts: list[Markup] = []
    tracks: list[Markup] = []
    y = 4.0
    for k, suffix in enumerate(("", *(f"_{name}" for name in bins.names))):
        size = bins.names[k - 1] if k else "all sizes"
        beside = f"({limits(bins, k - 1)})" if k else ""
        fitting = _shortened(size, width - 120)
        heading = element("tspan", fitting, class_="strong")
        parts.append(_text(0, y + 16, (heading, _beside(beside)), "start", full=size))
        y += group_head - 6
        for key, label, mark, value, n in _precision_rows(summary, suffix):
            figure = number(value)
            if stacked:
                parts.append(_text(0, y + 14, label, "start"))
                figures = (element("tspan", figure, class_="strong"), _beside(n))
                parts.append(_text(width, y + 14, figures, "end"))
                line = y + 27
            else:
                line = y + row_height / 2
                parts.append(_text(0, line + 4, label, "start"))
                parts.append(_text(right + 52, line + 4, figure, "end strong"))
                parts.append(_text(right + 62, line + 4, n, "start quiet"))
            tracks.append(_line(left, line, right, line, "grid"))
            parts += _dot(left, right, line, mark, value, intervals.get(key), label, size)
            y += row_height
        y += 8
    y += 2
    grid = [
        _line(left + (right - left) * share, 30, left + (right - left) * share, y, "grid")
        for share in ((0, 0.25, 0.5, 0.75, 1) if not stacked else ())
    ]
    for share in (0, 0.25, 0.5, 0.75, 1) if not stacked else (0, 0.5, 1):
        x, label = left + (right - left) * share, f"{share:g}"
        parts.append(_text(_kept_inside(x, label, 0, width), y + 14, label, "middle quiet"))
    said = "Region precision beside IA, by size. " + " ".join(
        f"{size}: IA class mean {number(summary.ia[f'ia_{size}'].class_mean, 2)}, region "
        f"precision {number(summary.region_precision[f'region_precision_{size}'].value, 2)}."
        for size in bins.names
    )
    return _svg(said, width, y + 22, [*grid, *tracks, *parts])


def _precision_rows(summary: Summary, suffix: str) -> list[tuple[str, str, str, float | None, str]]:
    name = f"ia{suffix}" if suffix else "ia_objects"
    ia, precision = summary.ia[name], summary.region_precision[f"region_precision{suffix}"]
    return [
        (
            f"{name}.class_mean",
            "IA, class mean",
            "class-mean",
            ia.class_mean,
            count(ia.n_classes, "class", "classes"),
        ),
        (
            f"{name}.instance_mean",
            "IA, instance mean",
            "instance-mean",
            ia.instance_mean,
            count(ia.n_instances, "instance"),
        ),
        (
            f"region_precision{suffix}",
            "region precision",
            "region-precision",
            precision.value,
            count(precision.n, "region"),
        ),
    ]


def _dot(
    left: float,
    right: float,
    y: float,
    mark: str,
    value: float | None,
    interval: Interval | None,
    label: str,
    size: str,
) -> list[Markup]:
    if value is None:
        return []
    x = left + (right - left) * value
    said = f"{size}: {label} {number(value)}, 95 % interval {span(interval)}"
    parts = [element("title", said)]
    if interval is not None:
        a, b = (left + (right - left) * end for end in (interval.low, interval.high))
        parts.append(_line(a, y, b, y, "whisker"))
    if mark == "class-mean":
        parts.append(element("circle", cx=_n(x), cy=_n(y), r=5))
    elif mark == "instance-mean":
        corners = [(x, y - 6), (x + 6, y), (x, y + 6), (x - 6, y)]
        parts.append(element("polygon", points=" ".join(f"{_n(a)},{_n(b)}" for a, b in corners)))
    else:
        parts.append(_rect(x - 4.5, y - 4.5, 9, 9, None))
    return [element("g", *parts, class_=mark)]


# --- shared -------------------------------------------------------------------------------------


def _svg(said: str, width: float, height: float, parts: Iterable[Markup]) -> Markup:
    wide, tall = math.ceil(width), math.ceil(height)
    return element(
        "svg",
        element("title", said),
        element("rect", width=wide, height=tall, class_="ground"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {wide} {tall}",
        width=wide,
        height=tall,
        class_="chart",
        role="img",
    )


def _empty(name: str, width: int, why: str) -> Markup:
    return _svg(f"{name}: {why}", width, 60, [_text(width / 2, 34, why, "middle quiet")])


def _share_grid(left: float, right: float, top: float, bottom: float) -> Iterable[Markup]:
    """Yield the lines and labels of an axis from 0 to 1 and its name."""
    yield _text(left - 8, top - 10, "IA", "end quiet")
    for share in (0, 0.2, 0.4, 0.6, 0.8, 1):
        y = bottom - (bottom - top) * share
        yield _line(left, y, right, y, "grid")
        yield _text(left - 8, y + 4, f"{share:g}", "end quiet")


def _text(
    x: float, y: float, label: str | Sequence[Markup], class_: str, full: str | None = None
) -> Markup:
    """Return a line of text; where it may be a shortened name, the full one is its title."""
    parts = [label] if isinstance(label, str) else label
    title = element("title", full) if full is not None and full != label else ""
    return element("text", *parts, title, x=_n(x), y=_n(y), class_=class_)


def _beside(words: str) -> Markup:
    return element("tspan", words, dx=8, class_="quiet")


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=_n(x1), y1=_n(y1), x2=_n(x2), y2=_n(y2), class_=class_)


def _rect(x: float, y: float, width: float, height: float, class_: str | None) -> Markup:
    return element("rect", x=_n(x), y=_n(y), width=_n(width), height=_n(height), class_=class_)


def _n(value: float) -> str:
    """Write a coordinate to a hundredth of a pixel, the same on every machine."""
    return f"{round(value, 2) + 0.0:g}" if abs(value) < 1e5 else f"{value:.0f}"


def _width_of(label: str) -> float:
    """Return about how wide a label is at 12 px, rather too much than too little."""
    letters = 0.0
    for c in label:
        if east_asian_width(c) in "WF":
            letters += 1.8
        elif c in "mwMW@%":
            letters += 1.5
        else:
            letters += 0.55 if c in "iljI.,:'|" else 1
    return letters * _LETTER


def _shortened(label: str, room: float) -> str:
    """Return a label, cut with an ellipsis if it is too wide.

    >>> _shortened("pottedplant", 50)
    'potted…'
    """
    if _width_of(label) <= room:
        return label
    while label and _width_of(label) + _LETTER > room:
        label = label[:-1]
    return label + "…"


def _kept_inside(x: float, label: str, left: float, right: float) -> float:
    """Return where a centred label has to stand so as not to leave the figure."""
    half = _width_of(label) * _BOLD / 2
    return max(left + half, min(right - half, x))


def _rows_without_overlap(labels: Sequence[tuple[float, str]]) -> list[int]:
    """Return for each centred label the first row in which it touches no earlier one."""
    ends: list[float] = []
    rows = []
    for x, label in labels:
        half = _width_of(label) * _BOLD / 2 + 3
        row = next((k for k, end in enumerate(ends) if end <= x - half), len(ends))
        ends[row : row + 1] = [x + half]
        rows.append(row)
    return rows
