"""Figures of a leaderboard: IA by size of one method for each strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from sbdata.drawing.svg import Figure, at, element, figure, line, polygon, text
from sbdata.formatting import estimate

_WIDTH, _HEIGHT = 168, 204  # size of a method's figure in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 28, 166, 44, 162
_COLOURS = 4
_CORNERS = (
    (),  # a circle
    ((-3.7, -3.7), (3.7, -3.7), (3.7, 3.7), (-3.7, 3.7)),
    ((0, -5.2), (5.2, 0), (0, 5.2), (-5.2, 0)),
    ((0, -5), (4.8, 3.8), (-4.8, 3.8)),
)

Estimate = tuple[float, float | None]
"""Mean over seeds and its standard deviation."""


def ia_by_strategy(
    method: str,
    kind: str,
    sizes: Mapping[str, int],
    estimates: Mapping[str, Sequence[Estimate | None]],
    strategies: Sequence[str],
    top: float,
) -> Figure:
    """Draw IA of one method by size, with the strategies of a size side by side on a line.

    Lines join the strategies of a size, never the sizes of a strategy: a line that rises from size
    to size would look lower the further right it starts.

    Args:
        method: Name of the method.
        kind: Text below the name.
        sizes: Number of instances of each size.
        estimates: Estimates of each strategy that was run, one per size.
        strategies: All strategies of the board, in the order of their marks.
        top: Upper end of the axis.
    """

    def y_of(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(max(value, 0.0), top) / top

    said = "; ".join(
        f"{strategy} " + ", ".join(
            f"{size} {estimate('ia', *(found or (None,)))}"
            for size, found in zip(sizes, of_strategy, strict=True)
        )
        for strategy, of_strategy in estimates.items()
    )  # fmt: skip
    parts = [text(0, 13, method, "start strong"), text(0, 28, kind, "start quiet fine")]
    for step in range(3):
        y = _BOTTOM - (_BOTTOM - _TOP) * step / 2
        parts.append(line(_LEFT, y, _RIGHT, y, "grid"))
        parts.append(text(_LEFT - 5, y + 4, f"{top * step / 2:g}", "end quiet"))
    width = (_RIGHT - _LEFT) / len(sizes)
    apart = min(11.0, width * 0.8 / max(len(strategies), 1))
    for k, (size, n) in enumerate(sizes.items()):
        middle = _LEFT + width * (k + 0.5)
        parts.append(text(middle, _BOTTOM + 18, size, "middle fine"))
        parts.append(text(middle, _BOTTOM + 34, f"n {n:,}", "middle quiet fine"))
        marks, points = [], []
        for strategy, of_strategy in estimates.items():
            found = of_strategy[k]
            if found is None:
                continue
            place = strategies.index(strategy)
            x, y = middle + (place - (len(strategies) - 1) / 2) * apart, y_of(found[0])
            points.append(f"{at(x)} {at(y)}")
            inside = [element("title", f"{strategy}, {size}: {estimate('ia', *found)}")]
            if found[1] is not None:
                low, high = (y_of(found[0] + sign * found[1]) for sign in (-1, 1))
                inside.append(line(x, low, x, high, "spread"))
            marks.append(element("g", *inside, _mark(place, x, y), class_=series_class(place)))
        if points:
            parts.append(element("path", d=f"M{'L'.join(points)}", class_="thread"))
        parts += marks
    return figure(f"{method}, IA by size: {said}.", _WIDTH, _HEIGHT, parts)


def legend_mark(place: int) -> Markup:
    """Return the mark of the strategy with an index, for a legend."""
    mark = element("g", _mark(place, 7, 7), class_=series_class(place))
    return element("svg", mark, viewBox="0 0 14 14", width=14, height=14, class_="chart",
                   aria_hidden="true")  # fmt: skip


def series_class(place: int) -> str:
    """Return the CSS classes of a strategy: a colour, and a hollow mark from the fifth on.

    >>> series_class(1), series_class(5)
    ('s1', 's1 hollow')
    """
    return f"s{place % _COLOURS}" + (" hollow" if place >= _COLOURS else "")


def _mark(place: int, x: float, y: float) -> Markup:
    corners = _CORNERS[place % len(_CORNERS)]
    if not corners:
        return element("circle", cx=float(x), cy=float(y), r=4, class_="mark")
    return polygon(x, y, corners, "mark")
