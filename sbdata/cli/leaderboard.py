"""``sbdata leaderboard``: compare the results of ``sbdata bench``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.tables import print_table
from sbdata.errors import InputError

if TYPE_CHECKING:
    from sbdata.benchmark.leaderboard import Board

PAGE, MARKDOWN, VALUES = "leaderboard.html", "leaderboard.md", "leaderboard.json"

_WORK = Path("runs/bench")  # only the names of its generated sets are used
_PATH = click.Path(path_type=Path)


@click.command(
    epilog=examples(
        "sbdata leaderboard results/bench --out leaderboard",
        "sbdata leaderboard results/bench --readme README.md",
        "sbdata leaderboard results --check --known manifests",
        "sbdata leaderboard results/bench --eval-results models --dataset-id ORG/shapes-b",
        "sbdata leaderboard scores/mine --eval-results models --dataset-id ORG/shapes-b",
    )
)
@click.argument("results", metavar="RESULTS...", nargs=-1, required=True, type=_PATH)
@click.option("--out", type=_PATH, help=f"Folder for {PAGE}, {MARKDOWN} and {VALUES}.")
@click.option(
    "--readme",
    type=_PATH,
    help="File in which the text between '<!-- leaderboard:begin NAME -->' and "
    "'<!-- leaderboard:end NAME -->' is replaced by the table; NAME is TRAINING/SCORED, or SCORED "
    "if that is unique.",
)
@click.option(
    "--study", "study_name", metavar="NAME|FILE",
    help="Show the table of a study instead; --out then gets study.html, study.md and study.json.",
)  # fmt: skip
@click.option(
    "--eval-results",
    "models",
    type=_PATH,
    help="Folder for RESULT/.eval_results/SET.yaml, which the Hugging Face Hub reads in a "
    "model's repository; needs --dataset-id. RESULTS may then be scores on sets, too.",
)
@click.option(
    "--dataset-id",
    "datasets",
    metavar="[SET=]ORG/NAME",
    multiple=True,
    help="Dataset of the Hub that is a scored set; may be repeated, for several sets.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Only check the files, as for a submission; exit with status 1 on a problem.",
)
@click.option(
    "--known",
    type=_PATH,
    help="With --check: folder whose subfolders are sets or manifests; results on other sets are "
    "refused.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_context
def leaderboard(
    ctx: click.Context,
    results: tuple[Path, ...],
    out: Path | None,
    readme: Path | None,
    study_name: str | None,
    models: Path | None,
    datasets: tuple[str, ...],
    check: bool,
    known: Path | None,
    as_json: bool,
) -> None:
    """Compare the results in RESULTS: methods, strategies and sets, over their seeds.

    RESULTS are the JSON files that 'sbdata bench' wrote, or folders of them. With --eval-results
    they may also be folders of scores, such as scores/NAME, which 'sbdata score' wrote.
    """
    from sbdata.benchmark.leaderboard import boards_as_dict, read_boards
    from sbdata.machine import check_output
    from sbdata.report.leaderboard_markdown import markdown_of, write_boards_into_readme
    from sbdata.report.leaderboard_page import page_of
    from sbdata.score.saved import is_saved_score
    from sbdata.storage import write_text

    if check or known is not None:
        if not check or any((out, readme, study_name, models, datasets)):
            msg = (
                "--check goes with --known and --json alone; leave out the others, and add --check"
            )
            raise InputError(msg)
        ctx.exit(_check(results, known, as_json=as_json))
    if (models is None) != (not datasets):
        msg = "--eval-results and --dataset-id go together; give both"
        raise InputError(msg)
    scores = tuple(path for path in results if is_saved_score(path))
    results = tuple(path for path in results if path not in scores)
    _check_scores(scores, models, boards=bool(results), asked=bool(out or readme or study_name))
    for folder in (out, models):
        if folder is not None:
            check_output(folder)
    if study_name is not None:
        from sbdata.benchmark.study import load_study
        from sbdata.cli.study import show_study

        if readme is not None or models is not None:
            given = "--readme" if readme is not None else "--eval-results"
            msg = f"{given} does not go with --study; leave one of them out"
            raise InputError(msg)
        show_study(load_study(study_name), results, _WORK, as_json=as_json, out=out)
        return
    boards = read_boards(results) if results else []
    values = json.dumps(boards_as_dict(boards), indent=2) + "\n"
    notes: list[str] = []
    files: dict[Path, str] = {}
    if models is not None:
        notes, files = _eval_results(results, scores, models, datasets)
    written = []
    if readme is not None:
        text = _text_of(readme)
        try:
            # A link is followed, not replaced by a file of its own.
            write_text(readme.resolve(), write_boards_into_readme(text, boards))
        except InputError as error:
            msg = f"{readme}: {error}"
            raise InputError(msg) from error
        written.append(readme)
    if out is not None:
        tables = "\n\n".join(f"## {board.name}\n\n{markdown_of(board)}" for board in boards)
        for name, text in ((PAGE, page_of(boards)), (MARKDOWN, f"{tables}\n"), (VALUES, values)):
            write_text(out / name, text)
            written.append(out / name)
    for path, text in files.items():
        write_text(path, text)
        written.append(path)
    for note in notes:
        say(f"note: {note}", err=as_json)
    if as_json:
        say(values, nl=False)
        return
    for board in boards:
        _print_board(board)
    for path in written:
        say(f"{path}: written")


def _check(results: Sequence[Path], known: Path | None, *, as_json: bool) -> int:
    """Print the problems of submitted results; return the exit status."""
    from sbdata.benchmark.submissions import check_submission, known_sets
    from sbdata.plurals import count
    from sbdata.printable import printable

    found = check_submission(results, None if known is None else known_sets(known))
    if as_json:
        values = {**asdict(found), "skipped": [str(path) for path in found.skipped]}
        say(json.dumps(values, indent=2))
    else:
        for problem in found.problems:
            say(printable(problem))
        if found.skipped:
            said = count(len(found.skipped), "JSON file")
            say(f"note: {said} of other formats not checked, such as {found.skipped[0]}")
        read = f"{count(found.results, 'result')}, {found.differences:,} of differences"
        say(f"{read}: {count(len(found.problems), 'problem')}")
    return 1 if found.problems else 0


def _check_scores(
    scores: Sequence[Path], models: Path | None, *, boards: bool, asked: bool
) -> None:
    """Refuse scores of ``sbdata score`` if something is asked that only results of a bench have."""
    if scores and (models is None or (asked and not boards)):
        msg = (
            f"{scores[0]}: a score of 'sbdata score', which has no board; give --eval-results and "
            "--dataset-id alone with it, or give results of 'sbdata bench'"
        )
        raise InputError(msg)


def _eval_results(
    results: Sequence[Path], scores: Sequence[Path], models: Path, datasets: Sequence[str]
) -> tuple[list[str], dict[Path, str]]:
    """Return notes on the files for model repositories, and their texts."""
    from sbdata.benchmark.entries import read_records
    from sbdata.report.eval_results import datasets_of, eval_results
    from sbdata.report.hub_results import result_of_record, result_of_score

    records = read_records(results)[0] if results else []
    found = [*map(result_of_record, records), *map(result_of_score, scores)]
    files, notes = eval_results(found, datasets_of(datasets, found))
    return notes, {models / path: text for path, text in files.items()}


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read as text ({error}); give a Markdown file"
        raise InputError(msg) from error


def _print_board(board: Board) -> None:
    from sbdata.report.leaderboard_text import (
        OUTCOMES_SAID,
        PAIRED,
        changes_shown,
        intro_of,
        outcome_rows_shown,
        outcome_sizes,
        quality_rows_shown,
        quality_said,
        rows_shown,
    )

    say(f"\n{intro_of(board)}")
    _print_marked(board, *rows_shown(board, "\n"))
    if outcome_sizes(board):
        say(OUTCOMES_SAID)
        _print_marked(board, *outcome_rows_shown(board, "\n"))
    if board.pseudo_masks is not None:
        say(quality_said(board, board.pseudo_masks))
        _print_marked(board, *quality_rows_shown(board.pseudo_masks, "\n"))
    if board.contrasts:
        say(PAIRED)
        _print_marked(board, *changes_shown(board, board.contrasts, "\n", seeds=True))
    for footnote in board.footnotes:
        say(f"protocol {footnote.mark}: {footnote.text}")
    for note in board.notes:
        say(f"note: {note}")


def _print_marked(board: Board, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; its last column, the marks, is left out if no row is marked."""
    end = len(titles) if board.footnotes else len(titles) - 1
    print_table(list(titles[:end]), [list(row[:end]) for row in rows])
