"""The boards as one HTML page that needs nothing else: no script, nothing over a network.

It has the style of the score's report. Charts are one small figure a method, which a grid breaks
into as many columns as there is room for, so that text has the same size on a phone and on a desk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from itertools import groupby

from sbdata.bench.leaderboard import (
    CONTRASTS_SAID,
    CONTROLS,
    Board,
    Change,
    Contrast,
    Mean,
    Row,
    intro_of,
    mark_shown,
    means_shown,
    name_of_row,
    pair_of,
    shown_mean,
    title_of,
)
from sbdata.score.charts import chart_style
from sbdata.score.markup import Markup, element, join
from sbdata.score.wording import NOTHING, count, signed

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_SYNTHETIC = "images are generated. Scores on them say nothing about photographs."
_STYLE = """
main { max-width: 1120px; }
th, td { padding-left: 8px; padding-right: 8px; }
th .beside { color: var(--muted); }
.panels { display: grid; gap: 16px 18px; margin: 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 164px), 1fr)); }
.panels svg { width: 100%; max-width: 230px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; padding: 0;
  margin: 0 0 10px; font-size: 0.875rem; max-width: none; }
.legend svg { display: inline-block; width: 14px; height: 14px; vertical-align: -2px;
  margin-right: 5px; }
tr.kind th { position: static; font-weight: 600; padding-top: 14px; color: var(--muted); }
tr.kind th span { position: sticky; left: 4px; }
tr.first th, tr.first td { border-top: 1px solid var(--muted); }
tr.mean th, tr.mean td { background: var(--panel); }
td.gap { color: var(--muted); text-align: left; }
thead small { display: block; font-weight: 400; color: var(--muted); font-size: 0.75rem; }
.s0 { --mark: var(--muted); } .s1 { --mark: var(--blue); }
.s2 { --mark: var(--green); } .s3 { --mark: var(--orange); }
.chart .thread { stroke: var(--muted); fill: none; stroke-width: 1; stroke-opacity: 0.6; }
.chart .spread { stroke: var(--mark); stroke-width: 2; }
.chart .mark { fill: var(--mark); stroke: var(--mark); stroke-width: 1.5; }
.chart .hollow .mark { fill: var(--surface); }
"""

_WIDTH, _HEIGHT = 168, 204  # of a method's chart, in its own pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 28, 166, 44, 162
_TOPS = (0.2, 0.4, 0.6, 0.8, 1.0)  # where the axis may end
_COLOURS = 4
_SHAPES = ("circle", "square", "diamond", "triangle")


def page_of(boards: Sequence[Board]) -> str:
    """Return the text of the page; the same boards give the same text."""
    title = "Leaderboard: IA-IoU by object size"
    ids = [f"board-{k + 1}" for k in range(len(boards))]
    links = [
        element("li", element("a", _heading(board), href=f"#{id_}"))
        for id_, board in zip(ids, boards, strict=True)
    ]
    style = (resources.files("sbdata.score") / "report.css").read_text("utf-8")
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("link", rel="icon", href="data:,"),
            element("title", title),
            element("style", Markup(chart_style() + style + _STYLE)),
        ),
        element(
            "body",
            element(
                "main",
                element(
                    "header",
                    element("h1", "Leaderboard"),
                    element(
                        "p",
                        "Instance-aware IoU by object size, of segmenters trained on what each "
                        "method made of its weak labels. Results are averaged over seeds and over "
                        "nothing else.",
                        class_="lead",
                    ),
                ),
                element("nav", element("ul", *links), aria_label="Contents"),
                *(_section(id_, board) for id_, board in zip(ids, boards, strict=True)),
            ),
        ),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{page}\n"


def _heading(board: Board) -> str:
    return f"{board.scored}, trained on {board.training}" + (
        " (synthetic)" if board.synthetic else ""
    )


def _section(id_: str, board: Board) -> Markup:
    parts = [element("h2", _heading(board), id=f"{id_}-title")]
    if board.synthetic:
        strong = element("strong", "Synthetic")
        parts.append(element("p", strong, f": {_SYNTHETIC}", class_="synthetic"))
    parts += [element("p", f"{intro_of(board)}", class_="lead"), *_charts(board), _rows(board)]
    parts += [_notes(board), *_contrasts(board), _protocol(board)]
    return element("section", *parts, id=id_, aria_labelledby=f"{id_}-title")


# --- tables ---------------------------------------------------------------------------------------


def _table(caption: str, head: Sequence[object], rows: Iterable[Markup]) -> Markup:
    """Return a table in a box of its own that scrolls sideways, by keyboard too."""
    columns = [
        element("th", title, scope="col", class_=None if k else "words")
        for k, title in enumerate(head)
    ]
    table = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", element("tr", *columns)),
        element("tbody", *rows),
    )
    label = caption.split(".")[0]
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _head(board: Board) -> list[object]:
    """Return the titles of the columns of figures, with n beneath those of IA."""
    head: list[object] = ["mIoU"]
    return head + [
        join(
            [
                title_of(name),
                element(
                    "small", f"n {n:,}, {count(board.n_classes.get(name, 0), 'class', 'classes')}"
                ),
            ]
        )
        for name, n in board.n_instances.items()
    ]


def _named(method: str, beside: str) -> Markup:
    strategy = element("span", beside, class_="beside")
    return element("th", method, " ", strategy, scope="row", class_="words")


def _kind_row(kind: str, columns: int) -> Markup:
    said = "controls: ceilings and floors, no methods" if kind == CONTROLS else kind
    title = element("th", element("span", said), scope="colgroup", colspan=columns, class_="words")
    return element("tr", title, class_="kind")


def _rows(board: Board) -> Markup:
    marked = bool(board.footnotes)
    head = ["method, strategy", "seeds", *_head(board), *(["protocol"] if marked else [])]
    lines = []
    for kind, of_kind in groupby(board.rows, key=lambda row: row.kind):
        lines.append(_kind_row(kind, len(head)))
        for _, of_method in groupby(of_kind, key=lambda row: row.method):
            lines += [_row(board, row, k == 0, marked) for k, row in enumerate(of_method)]
    caption = (
        "Methods and strategies. Class mean of IA, beneath it the instance mean; mean ± sample "
        "standard deviation over the seeds."
    )
    return _table(caption, head, lines)


def _row(board: Board, row: Row, first: bool, marked: bool) -> Markup:
    cells = [_named(name_of_row(row), row.strategy)]
    if row.seeds:
        listed = ", ".join(map(str, row.seeds))
        cells.append(element("td", f"{len(row.seeds)}", title=f"seeds {listed}"))
        for upper, *lower in means_shown(board, row):
            value, sign, spread = upper.partition(" ±")
            below = [element("small", text) for text in lower]
            cells.append(element("td", element("strong", value), sign, spread, *below))
    else:
        cells.append(element("td", NOTHING))
        cells.append(element("td", "not run", colspan=1 + len(board.n_instances), class_="gap"))
    if marked:
        cells.append(element("td", element("strong", row.mark) if row.mark else mark_shown(row)))
    return element("tr", *cells, class_="first" if first else None)


def _contrasts(board: Board) -> list[Markup]:
    if not board.contrasts:
        return []
    heading = element("h3", "Differences between strategies")
    said = element("p", f"{CONTRASTS_SAID} Bold where the interval leaves out 0.", class_="lead")
    tables = []
    for mean, name in (("class_mean", "class mean"), ("instance_mean", "instance mean")):
        names = [f"{figure}.{mean}" for figure in board.n_instances]
        columns = _head(board)
        if mean == "class_mean":
            names = ["miou", *names]
        else:
            columns = columns[1:]
        head = ["method, strategies", "seed", *columns]
        marked = bool(board.footnotes)
        lines = []
        for kind, of_kind in groupby(board.contrasts, key=lambda contrast: contrast.kind):
            lines.append(_kind_row(kind, len(head) + marked))
            for contrast in of_kind:
                lines += _contrast_rows(contrast, names, marked)
        tables.append(
            _table(
                f"Paired differences, {name} of IA.",
                [*head, "protocol"] if marked else head,
                lines,
            )
        )
    return [heading, said, *tables]


def _contrast_rows(contrast: Contrast, names: Sequence[str], marked: bool) -> list[Markup]:
    name = _named(contrast.method, pair_of(contrast))
    end = [element("td", mark_shown(contrast))] if marked else []
    if contrast.missing:
        gap = element("td", contrast.missing, colspan=len(names), class_="gap")
        return [element("tr", name, element("td", NOTHING), gap, *end, class_="first")]
    lines: list[tuple[str, Mapping[str, Change | None]]]
    lines = [(f"{seed}", changes) for seed, changes in contrast.seeds.items()]
    if contrast.mean is not None:
        lines.append((f"mean of {len(contrast.seeds)}", contrast.mean))
    return [
        element(
            "tr",
            name,
            element("td", seed),
            *(_change(changes.get(figure)) for figure in names),
            *end,
            class_="first" if k == 0 else "mean" if seed.startswith("mean") else None,
        )
        for k, (seed, changes) in enumerate(lines)
    ]


def _change(change: Change | None) -> Markup:
    if change is None:
        return element("td", NOTHING)
    value: object = signed(change.value)
    if change.interval is None:
        return element("td", value)
    low, high = change.interval
    if low > 0 or high < 0:
        value = element("strong", value)
    return element("td", value, element("small", f"{signed(low)} to {signed(high)}"))


def _notes(board: Board) -> Markup:
    if not board.footnotes and not board.notes:
        return Markup()
    items = [
        element("li", element("strong", note.mark), f": another protocol: {note.text}.")
        for note in board.footnotes
    ]
    items += [element("li", note) for note in board.notes]
    heading = element("h3", "Notes")
    return element("aside", heading, element("ul", *items), class_="notes", aria_label="Notes")


def _protocol(board: Board) -> Markup:
    rows = [
        element("tr", element("th", name, scope="row", class_="words"),
                element("td", value, class_="words value"))
        for name, value in sorted(board.protocol.items())
    ]  # fmt: skip
    said = "of all rows without a mark" if board.footnotes else "of all rows"
    table = _table(f"Protocol {said}.", ["what", "value"], rows)
    return element("details", element("summary", f"The protocol {said}"), table)


# --- charts ---------------------------------------------------------------------------------------


def _charts(board: Board) -> list[Markup]:
    """Return a legend and, for each method, IA by size under each strategy."""
    sizes = [name for name in board.n_instances if name != "ia"]
    drawn = [row for row in board.rows if row.seeds and not row.mark]
    if not sizes or not drawn:
        return []
    strategies = [name for name in board.strategies if name in {row.strategy for row in drawn}]
    ends = [
        mean.value + (mean.std or 0)
        for row in drawn
        for mean in _means(row, sizes)
        if mean is not None
    ]
    top = next((limit for limit in _TOPS if limit >= max(ends, default=1.0)), 1.0)
    legend = element(
        "ul",
        *(
            element("li", _legend_mark(k), name, class_=_series_class(k))
            for k, name in enumerate(strategies)
        ),
        class_="legend",
        aria_label="Strategies",
    )
    panels = [
        _panel(board, list(rows), sizes, strategies, top)
        for _, rows in groupby(drawn, key=lambda row: row.method)
    ]
    left_out = " Rows with a mark are left out." if board.footnotes else ""
    caption = (
        f"IA by size of the object, class mean, from 0 to {top:g}. Lines through the marks: one "
        f"standard deviation over the seeds to either side.{left_out}"
    )
    grid = element("div", *panels, class_="panels")
    return [element("figure", legend, grid, element("figcaption", caption))]


def _means(row: Row, sizes: Sequence[str]) -> list[Mean | None]:
    return [row.figures.get(f"{size}.class_mean") for size in sizes]


def _panel(
    board: Board,
    rows: Sequence[Row],
    sizes: Sequence[str],
    strategies: Sequence[str],
    top: float,
) -> Markup:
    method = name_of_row(rows[0])
    said = "; ".join(
        f"{row.strategy} " + ", ".join(
            f"{size.removeprefix('ia_')} {shown_mean(mean)}"
            for size, mean in zip(sizes, _means(row, sizes), strict=True)
        )
        for row in rows
    )  # fmt: skip
    kind = "control" if rows[0].kind == CONTROLS else rows[0].kind
    parts = [
        element("title", f"{method}, IA by size: {said}."),
        element("rect", width=_WIDTH, height=_HEIGHT, class_="ground"),
        _text(0, 13, method, "start strong"),
        _text(0, 28, kind, "start quiet fine"),
    ]
    for step in range(3):
        y = _BOTTOM - (_BOTTOM - _TOP) * step / 2
        parts.append(element("line", x1=_LEFT, y1=_n(y), x2=_RIGHT, y2=_n(y), class_="grid"))
        parts.append(_text(_LEFT - 5, y + 4, f"{top * step / 2:g}", "end quiet"))
    step_width = (_RIGHT - _LEFT) / len(sizes)
    middles = [_LEFT + step_width * (k + 0.5) for k in range(len(sizes))]
    for x, size in zip(middles, sizes, strict=True):
        parts.append(_text(x, _BOTTOM + 18, size.removeprefix("ia_"), "middle fine"))
        parts.append(_text(x, _BOTTOM + 34, f"n {board.n_instances[size]:,}", "middle quiet fine"))
    for x, size in zip(middles, sizes, strict=True):
        parts.append(_cluster(rows, x, step_width, size, strategies, top))
    return element("svg", *parts, xmlns="http://www.w3.org/2000/svg", role="img",
                   viewBox=f"0 0 {_WIDTH} {_HEIGHT}", width=_WIDTH, height=_HEIGHT,
                   class_="chart")  # fmt: skip


def _cluster(
    rows: Sequence[Row],
    middle: float,
    width: float,
    size: str,
    strategies: Sequence[str],
    top: float,
) -> Markup:
    """Draw one size: the strategies side by side on a thread.

    Threads join the strategies of a size, never the sizes of a strategy: lines that rise from size
    to size would look lower the further right they start.
    """

    def y_of(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(max(value, 0.0), top) / top

    apart = min(11.0, width * 0.8 / max(len(strategies), 1))
    marks, points = [], []
    for row in rows:
        mean = row.figures.get(f"{size}.class_mean")
        if mean is None:
            continue
        place = strategies.index(row.strategy)
        x, y = middle + (place - (len(strategies) - 1) / 2) * apart, y_of(mean.value)
        points.append(f"{_n(x)} {_n(y)}")
        said = f"{row.strategy}, {size.removeprefix('ia_')}: {shown_mean(mean)}"
        parts = [element("title", said)]
        if mean.std is not None:
            low, high = (_n(y_of(mean.value + sign * mean.std)) for sign in (-1, 1))
            parts.append(element("line", x1=_n(x), y1=low, x2=_n(x), y2=high, class_="spread"))
        marks.append(element("g", *parts, _mark(place, x, y), class_=_series_class(place)))
    thread = element("path", d=f"M{'L'.join(points)}", class_="thread") if points else ""
    return element("g", thread, *marks)


def _series_class(place: int) -> str:
    """Return the colour of a strategy; from the fifth on, its mark is hollow."""
    return f"s{place % _COLOURS}" + (" hollow" if place >= _COLOURS else "")


def _mark(place: int, x: float, y: float) -> Markup:
    shape = _SHAPES[place % len(_SHAPES)]
    if shape == "circle":
        return element("circle", cx=_n(x), cy=_n(y), r=4, class_="mark")
    corners = {
        "square": ((-3.7, -3.7), (3.7, -3.7), (3.7, 3.7), (-3.7, 3.7)),
        "diamond": ((0, -5.2), (5.2, 0), (0, 5.2), (-5.2, 0)),
        "triangle": ((0, -5), (4.8, 3.8), (-4.8, 3.8)),
    }[shape]
    points = " ".join(f"{_n(x + dx)},{_n(y + dy)}" for dx, dy in corners)
    return element("polygon", points=points, class_="mark")


def _legend_mark(place: int) -> Markup:
    return element("svg", _mark(place, 7, 7), viewBox="0 0 14 14", width=14, height=14,
                   class_="chart", aria_hidden="true")  # fmt: skip


def _text(x: float, y: float, label: str, class_: str) -> Markup:
    return element("text", label, x=_n(x), y=_n(y), class_=class_)


def _n(value: float) -> str:
    """Write a coordinate, the same on every machine."""
    return f"{round(value, 2) + 0.0:g}"
