"""Captions: the words of a board, the same in the printed tables, on the page and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from sbdata.benchmark.aggregate import Mean
from sbdata.benchmark.entries import Change
from sbdata.benchmark.leaderboard import Board, Row
from sbdata.benchmark.ordering import CONTROLS
from sbdata.benchmark.paired_differences import PairedDifference
from sbdata.benchmark.pseudo_mask_quality import Quality, QualityRow
from sbdata.formatting import NOTHING, count, number, percent, signed

CONTRASTS_SAID = (
    "Differences, first strategy minus second: of a seed, with the 95 % interval of the paired "
    "bootstrap over images; of the mean over seeds, with its 95 % t-interval."
)

_CELLS_SAID = (
    "IA: class mean, beneath it the instance mean; mean ± sample standard deviation over the seeds."
)


def intro_of(board: Board) -> str:
    """Return the sentence over a board: what was trained and scored on, and how to read a cell."""
    synthetic = " (synthetic)" if board.synthetic else ""
    return (
        f"Trained on {board.training}, scored on {board.scored}{synthetic}: "
        f"{count(board.n_images, 'image')}. {_CELLS_SAID}"
    )


def quality_said(board: Board, quality: Quality) -> str:
    """Return the sentences over the pseudo-masks: what they are held against, what lost means."""
    size = quality.smallest
    return (
        f"Pseudo-masks of {board.training}, the masks that the segmenters learned from. Measured "
        f"on that set's own truth, {count(quality.n_images, 'image')}, with 255 (ignored) read as "
        f"background. {_CELLS_SAID} {lost_title(quality).capitalize()}: the share of {size} "
        f"instances of whose pixels {quality.lost_threshold} carry their class, after each stage "
        "that writes masks; the last are the pseudo-masks themselves."
    )


# --- names ----------------------------------------------------------------------------------------


def title_of(figure: str) -> str:
    """Return how a figure is called.

    >>> title_of("ia_small")
    'IA_small'
    """
    return f"IA{figure.removeprefix('ia')}"


def lost_title(quality: Quality) -> str:
    """Return the title of the column of lost instances."""
    return f"{quality.smallest} lost"


def name_of_row(row: Row | QualityRow) -> str:
    """Return a row's method, with its role if it is a control or a variant of the method."""
    return f"{row.method} ({row.role})" if row.role else row.method


def what_it_sees(kind: str) -> str:
    """Return a row's kind in a word: what the method sees, or that it is a control.

    >>> what_it_sees("boxes"), what_it_sees("controls")
    ('boxes', 'control')
    """
    return "control" if kind == CONTROLS else kind


def mark_shown(item: Row | PairedDifference | QualityRow) -> str:
    """Return the mark of another protocol, or that it is the board's; a dash where nothing was run.

    >>> mark_shown(Row("irn", "ce", "image labels", "", (0,)))
    'same'
    """
    there = bool(item.seeds)
    return (item.mark or "same") if there else NOTHING


def pair_of(contrast: PairedDifference) -> str:
    """Return the two strategies of a difference."""
    return f"{contrast.minuend} − {contrast.subtrahend}"


# --- figures --------------------------------------------------------------------------------------


def shown_mean(mean: Mean | None) -> str:
    """Write a mean over seeds.

    >>> shown_mean(Mean(0.5, 0.25, 3)), shown_mean(Mean(0.5, None, 1)), shown_mean(None)
    ('0.500 ± 0.250', '0.500', '–')
    """
    if mean is None:
        return NOTHING
    return number(mean.value) + ("" if mean.std is None else f" ± {number(mean.std)}")


def shown_share(mean: Mean | None) -> str:
    """Write the mean of a share over seeds.

    >>> shown_share(Mean(0.5, 0.025, 3)), shown_share(Mean(0.5, None, 1)), shown_share(None)
    ('50.0 ± 2.5 %', '50.0 %', '–')
    """
    if mean is None or mean.std is None:
        return percent(mean.value if mean else None)
    return f"{percent(mean.value).removesuffix(' %')} ± {percent(mean.std)}"


def shown_change(change: Change | None) -> str:
    """Write a difference and its interval.

    >>> shown_change(Change(0.25, (-0.5, 1.0)))
    '+0.250 (−0.500 to +1.000)'
    """
    if change is None or change.interval is None:
        return signed(change.value if change else None)
    low, high = change.interval
    return f"{signed(change.value)} ({signed(low)} to {signed(high)})"


# --- cells, each a tuple of lines -----------------------------------------------------------------


def means_shown(board: Board, row: Row) -> list[tuple[str, ...]]:
    """Return a row's cells: mIoU, then for each size the class mean and the instance mean."""
    if not row.seeds:
        return [("not run",), *[("",)] * len(board.n_instances)]
    shown = {name: shown_mean(mean) for name, mean in row.figures.items()}
    return _cells(board.n_instances, shown)


def changes_shown(board: Board, changes: Mapping[str, Change | None]) -> list[tuple[str, ...]]:
    """Return the cells of one seed's differences, or of their mean, as :func:`means_shown`."""
    shown = {name: shown_change(change) for name, change in changes.items()}
    return _cells(board.n_instances, shown)


def quality_shown(quality: Quality, row: QualityRow) -> list[tuple[str, ...]]:
    """Return the cells of a row of pseudo-masks, as :func:`means_shown`, and the lost by stage."""
    if row.missing:
        return [(row.missing,), *[("",)] * (len(quality.n_instances) + 1)]
    shown = {name: shown_mean(mean) for name, mean in row.figures.items()}
    return [*_cells(quality.n_instances, shown), lost_shown(row)]


def lost_shown(row: QualityRow) -> tuple[str, ...]:
    """Return a line a stage: the share of the smallest instances that are lost by then.

    >>> lost = {"seeds": Mean(0.25, None, 1), "masks": Mean(0.5, None, 1)}
    >>> lost_shown(QualityRow("irn", "image labels", "", (0,), lost=lost))
    ('seeds 25.0 %', '→ masks 50.0 %')
    """
    lines = [f"{stage} {shown_share(mean)}" for stage, mean in row.lost.items()]
    return tuple(f"→ {line}" if place else line for place, line in enumerate(lines)) or (NOTHING,)


def _cells(names: Mapping[str, int], shown: Mapping[str, str]) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = [(shown.get("miou", NOTHING),)]
    for name in names:
        means = (f"{name}.class_mean", f"{name}.instance_mean")
        cells.append(tuple(shown.get(mean, NOTHING) for mean in means))
    return cells


# --- tables of text -------------------------------------------------------------------------------


def rows_shown(board: Board, line_break: str) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a board as text; the last column is of protocol marks.

    Args:
        board: to show.
        line_break: between the lines of one cell.
    """
    sizes = _sizes(board.n_instances, board.n_classes, line_break)
    head = ["method", "sees", "strategy", "seeds", "mIoU", *sizes, "protocol"]
    return head, [
        [
            name_of_row(row),
            what_it_sees(row.kind),
            row.strategy,
            _number_of_seeds(row),
            *(line_break.join(cell) for cell in means_shown(board, row)),
            mark_shown(row),
        ]
        for row in board.rows
    ]


def quality_rows_shown(quality: Quality, line_break: str) -> tuple[list[str], list[list[str]]]:
    """Return the same of the pseudo-masks."""
    sizes = _sizes(quality.n_instances, quality.n_classes, line_break)
    head = ["method", "sees", "seeds", "mIoU", *sizes, lost_title(quality), "protocol"]
    return head, [
        [
            name_of_row(row),
            what_it_sees(row.kind),
            _number_of_seeds(row),
            *(line_break.join(cell) for cell in quality_shown(quality, row)),
            mark_shown(row),
        ]
        for row in quality.rows
    ]


def _sizes(
    n_instances: Mapping[str, int], n_classes: Mapping[str, int], line_break: str
) -> list[str]:
    return [
        f"{title_of(name)}{line_break}n {n:,} in {n_classes.get(name, 0)}"
        for name, n in n_instances.items()
    ]


def _number_of_seeds(row: Row | QualityRow) -> str:
    return f"{len(row.seeds)}" if row.seeds else NOTHING
