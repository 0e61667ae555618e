"""Texts and cells of a study's tables, the same in the terminal, in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from sbdata.benchmark.study import Study
from sbdata.benchmark.study_table import CONTROL, FIGURES, Cell, StudyRow, StudyTable
from sbdata.formatting import caption, estimate
from sbdata.plurals import count
from sbdata.report.leaderboard_markdown import escaped, markdown_table
from sbdata.report.leaderboard_text import change_shown
from sbdata.report.pages import render

NOT_RUN = "not run"

_EXPLAINED = (
    "IA: class mean. Below each value: its 95 % interval (Student's t over the seeds, or the "
    "bootstrap over images for one seed). Δ: the strategy minus {control}, with its interval. No "
    "interval is corrected for the number of comparisons."
)


def heading_of(table: StudyTable) -> str:
    """Return the heading of a table: its part, training set and preset."""
    synthetic = " (synthetic)" if table.synthetic else ""
    return f"{table.part}: trained on {table.training}{synthetic}, preset {table.preset}"


def caption_of(table: StudyTable) -> str:
    """Return the caption of a table: images, instances and classes once, and the intervals."""
    numbers = [
        f"{name}: {count(table.n_images[name], 'image')}, logical hash "
        f"{table.set_hashes[name][:12]} ({_sizes(table, name)})."
        if name in table.n_images
        else f"{name}: {NOT_RUN}."
        for name in table.sets
    ]
    seeds = ", ".join(map(str, table.seeds))
    return " ".join([*numbers, f"Seeds {seeds}.", _EXPLAINED.format(control=CONTROL)])


def _sizes(table: StudyTable, name: str) -> str:
    classes = table.n_classes[name]
    return "; ".join(
        f"{caption(size)}: {count(n, 'instance')}, {count(classes[size], 'class', 'classes')}"
        for size, n in table.n_instances[name].items()
        if f"{size}.class_mean" in FIGURES
    )


def titles_of(table: StudyTable, line_break: str) -> list[str]:
    """Return the titles of a table's columns."""
    figures = [caption(name.partition(".")[0]) for name in FIGURES]
    columns = [f"{name}{line_break}{figure}" for name in table.sets for figure in figures]
    return ["method", "strategy", "seeds", *columns]


def rows_of(table: StudyTable, line_break: str) -> list[list[str]]:
    """Return a table's rows as text cells, with ``line_break`` between the lines of a cell."""
    return [
        [
            f"{row.method} ({row.role})" if row.role else row.method,
            row.strategy,
            _seeds(table, row),
            *(
                line_break.join(lines)
                for name in table.sets
                for lines in lines_of(row.cells.get(name))
            ),
        ]
        for row in table.rows
    ]


def _seeds(table: StudyTable, row: StudyRow) -> str:
    run = sorted({len(row.cells[name].seeds) if name in row.cells else 0 for name in table.sets})
    said = "–".join(map(str, run))
    return said if run == [len(table.seeds)] else f"{said} of {len(table.seeds)}"


def lines_of(cell: Cell | None) -> list[list[str]]:
    """Return the lines of each value of a cell: value, interval, difference with its interval."""
    if cell is None:
        return [[NOT_RUN], *([""] for _ in FIGURES[1:])]
    found = []
    for name, at in cell.values.items():
        lines = [estimate(name, at.value)]
        if at.interval is not None:
            lines.append("–".join(estimate(name, end) for end in at.interval))
        if at.change is not None:
            lines.append(f"Δ {change_shown(name, at.change)}")
        found.append(lines)
    return found


def notes_of(table: StudyTable) -> list[str]:
    """Return the sentences below a table."""
    protocols = [
        f"{row.method}, {row.strategy} on {name}: another protocol: {cell.protocol}."
        for row in table.rows
        for name, cell in row.cells.items()
        if cell.protocol
    ]
    return [*protocols, *table.notes]


def study_markdown(study: Study, tables: Sequence[StudyTable]) -> str:
    """Return the tables of a study as Markdown."""
    parts = [f"# Study {study.name}", escaped(study.description)]
    for table in tables:
        parts += [f"## {escaped(heading_of(table))}", escaped(caption_of(table))]
        parts.append(markdown_table(titles_of(table, "<br>"), rows_of(table, "<br>"), 2))
        if notes_of(table):
            parts.append("\n".join(f"- {escaped(note)}" for note in notes_of(table)))
    return "\n\n".join(filter(None, parts)) + "\n"


def study_page(study: Study, tables: Sequence[StudyTable]) -> str:
    """Return the HTML page of a study; the same tables give the same text."""
    by_id = {f"part-{k}": table for k, table in enumerate(tables, start=1)}
    return render(
        "study",
        title=f"Study {study.name}",
        study=study,
        tables=by_id,
        sections={key: heading_of(table) for key, table in by_id.items()},
        caption_of=caption_of,
        lines_of=lines_of,
        notes_of=notes_of,
        rows_of=lambda table: zip(table.rows, rows_of(table, "\n"), strict=True),
        titles_of=lambda table: titles_of(table, " "),
        wide=True,
    )
