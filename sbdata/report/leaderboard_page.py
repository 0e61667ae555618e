"""Leaderboards as one self-contained HTML page: no script, no network access.

It has the style of the score report.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sbdata.benchmark.leaderboard import Board, Row
from sbdata.benchmark.ordering import CONTROLS
from sbdata.benchmark.paired_differences import PairedDifference
from sbdata.drawing import OUTCOME_COLOURS, ia_by_strategy, legend_mark, outcome_bar, outcome_mark
from sbdata.drawing.svg import Figure
from sbdata.metrics.outcomes import in_words
from sbdata.metrics.registry import sizes_in
from sbdata.report.leaderboard_text import (
    OUTCOMES_SAID,
    PAIRED,
    Column,
    cells_of,
    columns_of,
    intro_of,
    mark_shown,
    miss_rate_title,
    miss_rates_of,
    missing_of,
    name_of_row,
    outcome_sizes,
    outcomes_of,
    pair_of,
    quality_said,
    supervision_of,
)
from sbdata.report.pages import render

_TOPS = (0.2, 0.4, 0.6, 0.8, 1.0)  # possible upper ends of a plot's axis


def page_of(boards: Sequence[Board]) -> str:
    """Return the HTML of the page; the same boards give the same text."""
    return render(
        "leaderboard",
        title="Leaderboard",
        boards={f"board-{k}": _shown(board) for k, board in enumerate(boards, start=1)},
        sections={f"board-{k}": _heading(board) for k, board in enumerate(boards, start=1)},
        paired=PAIRED,
        controls=CONTROLS,
        wide=True,
        cells_of=cells_of,
        lines_of=_lines_of,
        mark_shown=mark_shown,
        miss_rates_of=miss_rates_of,
        missing_of=missing_of,
        name_of_row=name_of_row,
        outcome_legend=[(outcome_mark(kind), in_words(kind)) for kind in OUTCOME_COLOURS],
        outcomes_of=outcomes_of,
        outcomes_said=OUTCOMES_SAID,
        pair_of=pair_of,
    )


def _heading(board: Board) -> str:
    return f"{board.scored}, trained on {board.training}" + (
        " (synthetic)" if board.synthetic else ""
    )


def _shown(board: Board) -> dict[str, Any]:
    """Return the template's values for a board, besides the board itself."""
    quality, columns = board.pseudo_masks, columns_of(board)
    return {
        "board": board,
        "columns": columns,
        "intro": intro_of(board),
        "plots": _plots_of(board),
        "rows": _by_kind(board.rows),
        "outcomes": _outcomes_of(board),
        "quality": quality,
        "quality_columns": columns_of(quality) if quality else [],
        "quality_rows": _by_kind(quality.rows) if quality else [],
        "quality_said": quality_said(board, quality) if quality else "",
        "miss_rate_title": miss_rate_title(quality) if quality else "",
        "contrasts": _by_kind(board.contrasts),
        "contrast_tables": _contrast_tables(board, columns),
    }


def _by_kind(rows: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    return [(kind, list(found)) for kind, found in groupby(rows, key=lambda row: row.kind)]


def _contrast_tables(
    board: Board, columns: Sequence[Column]
) -> list[tuple[str, list[tuple[Column, str]]]]:
    """Return two tables of differences, of class and instance means, as name, columns and keys."""
    if not board.contrasts:
        return []
    tables = []
    for place, name in enumerate(("class mean", "instance mean")):
        several = [column for column in columns if place < len(column.keys)]
        tables.append((name, [(column, column.keys[place]) for column in several]))
    return tables


def _lines_of(contrast: PairedDifference) -> list[tuple[str, Any]]:
    """Return the rows of a difference: each seed, then their mean."""
    lines: list[tuple[str, Any]] = [(f"{seed}", found) for seed, found in contrast.seeds.items()]
    if contrast.mean is not None:
        lines.append((f"mean of {len(contrast.seeds)}", contrast.mean))
    return lines


# --- plots ----------------------------------------------------------------------------------------


def _plots_of(board: Board) -> dict[str, Any] | None:
    """Return a legend and one plot per method, of IA by size for each strategy; None if empty.

    A grid arranges the plots in as many columns as fit, so that text has the same size on a phone
    and on a desktop.
    """
    sizes = sizes_in(board.n_instances)
    drawn = [row for row in board.rows if row.seeds and not row.mark]
    if not sizes or not drawn:
        return None
    strategies = [name for name in board.strategies if name in {row.strategy for row in drawn}]
    estimates = {id(row): _estimates(row, sizes) for row in drawn}
    ends = [v + (std or 0) for found in estimates.values() for v, std in filter(None, found)]
    top = next((limit for limit in _TOPS if limit >= max(ends, default=1.0)), 1.0)
    numbers = {size: board.n_instances[f"ia_{size}"] for size in sizes}
    return {
        "legend": [(legend_mark(place), name) for place, name in enumerate(strategies)],
        "figures": [
            ia_by_strategy(
                name_of_row(rows[0]),
                supervision_of(rows[0].kind),
                numbers,
                {row.strategy: estimates[id(row)] for row in rows},
                strategies,
                top,
            )
            for rows in (list(found) for _, found in groupby(drawn, key=lambda row: row.method))
        ],
        "top": f"{top:g}",
    }


def _outcomes_of(board: Board) -> list[dict[str, Any]]:
    """Return a table for each size with outcomes: its caption, and rows with their bars."""
    return [
        {
            "size": size,
            "said": f"Outcomes of the {size} instances{_number_of(board, size)}.",
            "rows": [
                (kind, [(row, _bar(row, size)) for row in rows])
                for kind, rows in _by_kind([row for row in board.rows if row.seeds])
            ],
        }
        for size in outcome_sizes(board)
    ]


def _number_of(board: Board, size: str) -> str:
    """Return the number of instances of a size; empty if only rows with a mark have the size."""
    n = board.n_instances.get(f"ia_{size}")
    return "" if n is None else f", n {n:,}"


def _bar(row: Row, size: str) -> Figure | None:
    means = row.outcomes.get(size, {})
    shares = {kind: mean.value for kind, mean in means.items() if mean is not None}
    said = f"{name_of_row(row)}, {row.strategy}, {size}"
    return outcome_bar(said, shares) if shares else None


def _estimates(row: Row, sizes: Sequence[str]) -> list[tuple[float, float | None] | None]:
    means = (row.figures.get(f"ia_{size}.class_mean") for size in sizes)
    return [None if mean is None else (mean.value, mean.std) for mean in means]
