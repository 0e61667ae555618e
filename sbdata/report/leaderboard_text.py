"""Texts and cells of a board, the same in the printed tables, on the page and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sbdata.benchmark.aggregate import Mean
from sbdata.benchmark.entries import Change
from sbdata.benchmark.leaderboard import Board, Row
from sbdata.benchmark.ordering import CONTROLS
from sbdata.benchmark.paired_differences import PairedDifference
from sbdata.benchmark.pseudo_mask_quality import Quality, QualityRow
from sbdata.drawing import OUTCOME_COLOURS
from sbdata.formatting import NOTHING, caption, change, estimate, explanation, percent
from sbdata.metrics.outcomes import OUTCOMES_EXPLAINED, in_words
from sbdata.metrics.registry import metric_of
from sbdata.plurals import count

PAIRED = (
    "Paired differences (A − B) per seed, 95 % bootstrap CI over images; their mean over the seeds "
    "with its 95 % t-interval. No interval is corrected for the number of comparisons."
)

OUTCOMES_SAID = (
    "Outcomes of the instances of each size, in per cent of them, mean over seeds; the first that "
    f"applies. {OUTCOMES_EXPLAINED}"
)

_CELLS = "IA: class mean, below it the instance mean; mean ± sample standard deviation over seeds."


@dataclass(frozen=True)
class Column:
    """Column of a board: a metric.

    Attributes:
        caption: Column title.
        doc: Description of the metric.
        keys: Metric keys of the values in a cell, one below the other.
    """

    caption: str
    doc: str
    keys: tuple[str, ...]


def columns_of(table: Board | Quality) -> list[Column]:
    """Return the value columns: mIoU, IA by size, and any further metric of the results."""
    found = [Column("mIoU", explanation("miou"), ("miou",))]
    found += [
        Column(caption(name), explanation(name), (f"{name}.class_mean", f"{name}.instance_mean"))
        for name in table.n_instances
    ]
    shown = {key for column in found for key in column.keys}
    rows: Sequence[Row | QualityRow] = table.rows
    further = dict.fromkeys(key for row in rows for key in row.figures if key not in shown)
    found += [
        Column(caption(key), explanation(key), (key,))
        for key in further
        if metric_of(key)[0].on_boards
    ]
    return found


# --- sentences ------------------------------------------------------------------------------------


def intro_of(board: Board) -> str:
    """Return the caption of a board: training set, scored set, and the meaning of a cell."""
    synthetic = " (synthetic)" if board.synthetic else ""
    sets = (
        (board.training, board.protocol["training set: logical_hash"]),
        (board.scored, board.protocol["set_hash"]),
    )
    said = ", ".join(f"{name} {full[:12]}" for name, full in dict.fromkeys(sets))
    return (
        f"Trained on {board.training}, scored on {board.scored}{synthetic}: "
        f"{count(board.n_images, 'image')}. Logical hashes: {said}. {numbers_of(board)} {_CELLS}"
    )


def quality_said(board: Board, quality: Quality) -> str:
    """Return the caption of the pseudo-mask table: its ground truth, and what a miss is."""
    recall = quality.lost_threshold.replace("under 50 %", "< 0.5")
    miss_rate = miss_rate_title(quality)
    return (
        f"Pseudo-masks of {board.training}, the masks that the segmenters learned from, against "
        f"that set's ground truth: {count(quality.n_images, 'image')}, with 255 (ignored) read as "
        f"background. {numbers_of(quality)} {_CELLS} {miss_rate[0].upper()}{miss_rate[1:]}: "
        f"{quality.smallest} instances with pixel recall {recall}, after each stage that writes "
        "masks; the last are the pseudo-masks themselves."
    )


def numbers_of(table: Board | Quality) -> str:
    """Return the numbers of instances and classes behind the IA of each size."""
    said = (
        f"{caption(name)}: {count(n, 'instance')}, "
        f"{count(table.n_classes[name], 'class', 'classes')}"
        for name, n in table.n_instances.items()
    )
    return "; ".join(said) + "."


def miss_rate_title(quality: Quality) -> str:
    """Return the title of the column of miss rates."""
    return caption(f"miss_rate_{quality.smallest}")


def name_of_row(row: Row | QualityRow) -> str:
    """Return a row's method, with its role if it is a control or a variant."""
    return f"{row.method} ({row.role})" if row.role else row.method


def supervision_of(kind: str) -> str:
    """Return the supervision of a row's method, or ``control``.

    >>> supervision_of("boxes"), supervision_of("controls")
    ('boxes', 'control')
    """
    return "control" if kind == CONTROLS else kind


def mark_shown(item: Row | PairedDifference | QualityRow) -> str:
    """Return a row's protocol mark, ``same`` for the board's protocol, or a dash if it was not run.

    >>> mark_shown(Row("irn", "ce", "image labels", "", (0,)))
    'same'
    """
    return (item.mark or "same") if item.seeds else NOTHING


def pair_of(contrast: PairedDifference) -> str:
    """Return the two strategies of a difference."""
    return f"{contrast.minuend} − {contrast.subtrahend}"


# --- cells, each a tuple of lines -----------------------------------------------------------------


def estimate_shown(key: str, mean: Mean | None) -> str:
    """Return the mean of a metric over seeds as text.

    >>> estimate_shown("miou", Mean(0.5, 0.25, 3)), estimate_shown("miou", None)
    ('0.500 ± 0.250', '–')
    """
    return estimate(key, None) if mean is None else estimate(key, mean.value, mean.std)


def change_shown(key: str, found: Change | None) -> str:
    """Return a difference and its interval as text.

    >>> change_shown("miou", Change(0.25, (-0.5, 1.0)))
    '+0.250 (−0.500 to +1.000)'
    """
    if found is None or found.interval is None:
        return change(key, found.value if found else None)
    low, high = found.interval
    return f"{change(key, found.value)} ({change(key, low)} to {change(key, high)})"


def cells_of(row: Row | QualityRow, columns: Sequence[Column]) -> list[tuple[str, ...]]:
    """Return a row's cells, one per column; the first cell of an empty row gives the reason."""
    gap = missing_of(row)
    if gap:
        return [(gap,), *[("",)] * (len(columns) - 1)]
    return [
        tuple(estimate_shown(key, row.figures.get(key)) for key in column.keys)
        for column in columns
    ]


def changes_of(
    changes: Mapping[str, Change | None], columns: Sequence[Column]
) -> list[tuple[str, ...]]:
    """Return the cells of one seed's differences, or of their mean, one per column."""
    return [tuple(change_shown(key, changes.get(key)) for key in column.keys) for column in columns]


def missing_of(row: Row | QualityRow) -> str:
    """Return the reason for missing values; empty if there are values."""
    return row.missing if isinstance(row, QualityRow) else "" if row.seeds else "not run"


def miss_rates_of(quality: Quality, row: QualityRow) -> tuple[str, ...]:
    """Return the miss rate of the smallest instances after each stage, one line per stage."""
    key = f"miss_rate_{quality.smallest}"
    lines = [f"{stage} {estimate_shown(key, mean)}" for stage, mean in row.lost.items()]
    return tuple(f"→ {line}" if place else line for place, line in enumerate(lines)) or (NOTHING,)


def outcome_sizes(board: Board) -> list[str]:
    """Return the sizes of which a row has outcomes, the smallest first."""
    return list(dict.fromkeys(size for row in board.rows for size in row.outcomes))


def outcomes_of(row: Row, size: str) -> tuple[str, ...]:
    """Return the shares of the outcomes of a size, in the order of ``OUTCOME_COLOURS``."""
    if not row.outcomes:
        return ("not recorded", *[""] * (len(OUTCOME_COLOURS) - 1))
    means = (row.outcomes.get(size, {}).get(kind) for kind in OUTCOME_COLOURS)
    return tuple(percent(None if mean is None else mean.value) for mean in means)


# --- tables of text -------------------------------------------------------------------------------

Texts = tuple[list[str], list[list[str]]]
"""Titles and rows of a table; the last column holds protocol marks."""


def rows_shown(board: Board, line_break: str) -> Texts:
    """Return a board as text cells, with ``line_break`` between the lines of a cell."""
    columns = columns_of(board)
    titles = ["method", "supervision", "strategy", "seeds", *(c.caption for c in columns)]
    return [*titles, "protocol"], [
        [
            name_of_row(row),
            supervision_of(row.kind),
            row.strategy,
            f"{len(row.seeds)}" if row.seeds else NOTHING,
            *map(line_break.join, cells_of(row, columns)),
            mark_shown(row),
        ]
        for row in board.rows
    ]


def outcome_rows_shown(board: Board, line_break: str) -> Texts:
    """Return the outcomes of a board's rows as text, with one line per size in a cell."""
    sizes = outcome_sizes(board)
    rows = []
    for row in board.rows:
        if row.seeds:
            lines = zip(*(outcomes_of(row, size) for size in sizes), strict=True)
            cells = [line_break.join(sizes), *map(line_break.join, lines)]
            if not row.outcomes:
                cells = ["", *outcomes_of(row, "")]
            name = [name_of_row(row), row.strategy, f"{len(row.seeds)}"]
            rows.append([*name, *cells, mark_shown(row)])
    kinds = map(in_words, OUTCOME_COLOURS)
    return ["method", "strategy", "seeds", "size", *kinds, "protocol"], rows


def quality_rows_shown(quality: Quality, line_break: str) -> Texts:
    """Return the pseudo-mask table as text, with ``line_break`` between the lines of a cell."""
    columns = columns_of(quality)
    titles = ["method", "supervision", "seeds", *(c.caption for c in columns)]
    return [*titles, miss_rate_title(quality), "protocol"], [
        [
            name_of_row(row),
            supervision_of(row.kind),
            f"{len(row.seeds)}" if row.seeds else NOTHING,
            *map(line_break.join, cells_of(row, columns)),
            "" if row.missing else line_break.join(miss_rates_of(quality, row)),
            mark_shown(row),
        ]
        for row in quality.rows
    ]


def changes_shown(
    board: Board, contrasts: Sequence[PairedDifference], line_break: str, *, seeds: bool
) -> Texts:
    """Return paired differences as text cells.

    Args:
        board: Board of the differences.
        contrasts: Differences to show.
        line_break: Separator of the lines of a cell.
        seeds: True for a row per seed; else only the mean, or the only seed.
    """
    columns = columns_of(board)
    rows = []
    for contrast in contrasts:
        name = [contrast.method, pair_of(contrast)]
        n = f"{len(contrast.seeds)}" if contrast.seeds else NOTHING
        lines = [(f"{seed}", changes) for seed, changes in contrast.seeds.items()]
        if contrast.mean is not None:
            lines.append(("mean", dict(contrast.mean)))
        if not seeds:
            lines = [(n, changes) for _, changes in lines[-1:]]
        if contrast.missing:
            gap = [contrast.missing, *[""] * (len(columns) - 1)]
            rows.append([*name, NOTHING, *gap, mark_shown(contrast)])
        rows += [
            [*name, seed, *map(line_break.join, changes_of(changes, columns)), mark_shown(contrast)]
            for seed, changes in lines
            if seeds or not contrast.missing
        ]
    titles = ["method", "A − B", "seed" if seeds else "seeds", *(c.caption for c in columns)]
    return [*titles, "protocol"], rows
