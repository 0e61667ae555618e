"""The boards as one HTML page that needs nothing else: no script, nothing over a network.

It has the style of the score's report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from sbdata.benchmark.entries import Change
from sbdata.benchmark.leaderboard import Board, Row
from sbdata.benchmark.ordering import CONTROLS
from sbdata.benchmark.paired_differences import PairedDifference
from sbdata.benchmark.pseudo_mask_quality import Quality, QualityRow
from sbdata.formatting import NOTHING, count, signed
from sbdata.report.document import contents, document, section, table
from sbdata.report.leaderboard_plots import PANELS_STYLE, panels_of
from sbdata.report.leaderboard_text import (
    CONTRASTS_SAID,
    intro_of,
    lost_shown,
    lost_title,
    mark_shown,
    means_shown,
    name_of_row,
    pair_of,
    quality_said,
    quality_shown,
    title_of,
)
from sbdata.report.markup import Markup, element, join

_SYNTHETIC = "images are generated. Scores on them say nothing about photographs."
_STYLE = """
main { max-width: 1180px; }
th, td { padding-left: 8px; padding-right: 8px; }
th .beside { color: var(--muted); }
tr.kind th { position: static; font-weight: 600; padding-top: 14px; color: var(--muted); }
tr.kind th span { position: sticky; left: 4px; }
tr.first th, tr.first td { border-top: 1px solid var(--muted); }
tr.mean th, tr.mean td { background: var(--panel); }
td.stages { font-size: 0.8125rem; }
td.gap { color: var(--muted); text-align: left; }
thead small { display: block; font-weight: 400; color: var(--muted); font-size: 0.75rem; }
"""


def page_of(boards: Sequence[Board]) -> str:
    """Return the text of the page; the same boards give the same text."""
    headings = [(f"board-{k}", _heading(board)) for k, board in enumerate(boards, 1)]
    header = element(
        "header",
        element("h1", "Leaderboard"),
        element(
            "p",
            "Instance-aware IoU by object size, of segmenters trained on what each method made of "
            "its weak labels. Results are averaged over seeds and over nothing else.",
            class_="lead",
        ),
    )
    sections = (
        section(*heading, _parts(board)) for heading, board in zip(headings, boards, strict=True)
    )
    return document(
        "Leaderboard: IA-IoU by object size",
        [header, contents(headings), *sections],
        PANELS_STYLE + _STYLE,
    )


def _heading(board: Board) -> str:
    return f"{board.scored}, trained on {board.training}" + (
        " (synthetic)" if board.synthetic else ""
    )


def _parts(board: Board) -> list[Markup]:
    parts = []
    if board.synthetic:
        strong = element("strong", "Synthetic")
        parts.append(element("p", strong, f": {_SYNTHETIC}", class_="synthetic"))
    parts += [element("p", f"{intro_of(board)}", class_="lead"), panels_of(board), _rows(board)]
    parts += [_notes(board), *_quality(board), *_contrasts(board), _protocol(board)]
    return parts


# --- tables ---------------------------------------------------------------------------------------


def _head(n_instances: Mapping[str, int], n_classes: Mapping[str, int]) -> list[object]:
    """Return the titles of the columns of figures, with n beneath those of IA."""
    head: list[object] = ["mIoU"]
    return head + [
        join(
            [
                title_of(name),
                element("small", f"n {n:,}, {count(n_classes.get(name, 0), 'class', 'classes')}"),
            ]
        )
        for name, n in n_instances.items()
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
    head = ["method, strategy", "seeds", *_head(board.n_instances, board.n_classes)]
    head += ["protocol"] if marked else []
    lines = []
    for kind, of_kind in groupby(board.rows, key=lambda row: row.kind):
        lines.append(_kind_row(kind, len(head)))
        for _, of_method in groupby(of_kind, key=lambda row: row.method):
            lines += [_row(board, row, k == 0, marked) for k, row in enumerate(of_method)]
    caption = (
        "Methods and strategies. Class mean of IA, beneath it the instance mean; mean ± sample "
        "standard deviation over the seeds."
    )
    return table(caption, head, lines)


def _row(board: Board, row: Row, first: bool, marked: bool) -> Markup:
    gap = "" if row.seeds else "not run"
    cells = _cells(row, means_shown(board, row), gap)
    end = [_marked(row)] if marked else []
    name = _named(name_of_row(row), row.strategy)
    return element("tr", name, *cells, *end, class_="first" if first else None)


def _cells(row: Row | QualityRow, means: Sequence[tuple[str, ...]], gap: str) -> list[Markup]:
    """Return the number of seeds and the means; what is missing is said across their columns."""
    if gap:
        return [element("td", NOTHING), element("td", gap, colspan=len(means), class_="gap")]
    listed = ", ".join(map(str, row.seeds))
    cells = [element("td", f"{len(row.seeds)}", title=f"seeds {listed}")]
    for upper, *lower in means:
        value, sign, spread = upper.partition(" ±")
        below = [element("small", text) for text in lower]
        cells.append(element("td", element("strong", value), sign, spread, *below))
    return cells


def _marked(row: Row | QualityRow) -> Markup:
    return element("td", element("strong", row.mark) if row.mark else mark_shown(row))


def _quality(board: Board) -> list[Markup]:
    quality = board.pseudo_masks
    if quality is None:
        return []
    marked = bool(board.footnotes)
    head = ["method", "seeds", *_head(quality.n_instances, quality.n_classes), lost_title(quality)]
    head += ["protocol"] if marked else []
    lines = []
    for kind, of_kind in groupby(quality.rows, key=lambda row: row.kind):
        lines.append(_kind_row(kind, len(head)))
        lines += [_quality_row(quality, row, marked) for row in of_kind]
    heading = element("h3", "Pseudo-masks")
    return [heading, table(quality_said(board, quality), head, lines)]


def _quality_row(quality: Quality, row: QualityRow, marked: bool) -> Markup:
    *means, _ = quality_shown(quality, row)
    cells = _cells(row, means, row.missing)
    stages = join(lost_shown(row), "<br>")
    end = [_marked(row)] if marked else []
    name = element("th", name_of_row(row), scope="row", class_="words")
    return element("tr", name, *cells, element("td", stages, class_="stages"), *end)


def _contrasts(board: Board) -> list[Markup]:
    if not board.contrasts:
        return []
    heading = element("h3", "Differences between strategies")
    said = element("p", f"{CONTRASTS_SAID} Bold where the interval leaves out 0.", class_="lead")
    tables = []
    for mean, name in (("class_mean", "class mean"), ("instance_mean", "instance mean")):
        names = [f"{figure}.{mean}" for figure in board.n_instances]
        columns = _head(board.n_instances, board.n_classes)
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
            table(
                f"Paired differences, {name} of IA.",
                [*head, "protocol"] if marked else head,
                lines,
            )
        )
    return [heading, said, *tables]


def _contrast_rows(contrast: PairedDifference, names: Sequence[str], marked: bool) -> list[Markup]:
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
    values = table(f"Protocol {said}.", ["what", "value"], rows)
    return element("details", element("summary", f"The protocol {said}"), values)
