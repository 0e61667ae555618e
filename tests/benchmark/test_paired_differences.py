"""Differences between strategies, by seed and over the seeds."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from scipy import stats

from sbdata.benchmark.leaderboard import read_boards
from sbdata.benchmark.records import (
    PairedDifferences,
    read_differences,
    write_differences,
    write_result,
)
from sbdata.errors import InputError
from sbdata.report.leaderboard_markdown import markdown_of
from sbdata.report.leaderboard_page import page_of
from tests.benchmark.result_examples import contrast, pair, result, the_board, write


def test_differences_by_seed_and_their_mean(tmp_path: Path) -> None:
    gaps = (0.0, 0.125, 0.25)
    results = [result("irn", "ce", seed, 0.25) for seed in range(3)]
    results += [result("irn", "sb-ewc", seed, 0.25 + gap) for seed, gap in enumerate(gaps)]
    board = the_board(write(tmp_path, results))
    found = contrast(board, "irn", "ce")
    by_seed = [found.seeds[seed]["miou"] for seed in range(3)]
    assert [(c.value, c.interval) for c in by_seed if c] == [
        (gap, (gap - 0.0625, gap + 0.0625)) for gap in gaps
    ]
    assert found.mean is not None
    mean = found.mean["miou"]
    assert mean is not None
    assert mean.interval is not None
    assert mean.value == 0.125
    expected = stats.t.interval(0.95, 2, 0.125, 0.125 / math.sqrt(3))
    assert mean.interval == pytest.approx(expected)
    shown = markdown_of(board)
    assert "| irn | sb-ewc − ce | 3 | +0.125 (−0.186 to +0.436) |" in shown
    # Bold are the seeds whose interval leaves out 0.
    page = page_of([board])
    assert "<strong>+0.250</strong>" in page
    assert "<strong>+0.125</strong>" in page
    assert "<strong>0.000</strong>" not in page


def test_one_seed_shows_the_paired_bootstrap(tmp_path: Path) -> None:
    board = the_board(write(tmp_path, [result("irn", "ce"), result("irn", "sb-ewc", 0, 0.375)]))
    assert contrast(board, "irn", "ce").mean is None
    assert "| sb-ewc − ce | 1 | −0.125 (−0.188 to −0.062) |" in markdown_of(board)


def test_differences_of_other_figures_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [result("irn", "ce"), result("irn", "sb-ewc", 0, 0.375)])
    write_result(tmp_path, result("irn", "sb-ewc", 0, 0.75))
    with pytest.raises(
        InputError, match=r"irn-seed0-differences\.\w+\.json: the difference of miou"
    ):
        the_board(tmp_path)


def test_differences_without_a_result_are_left_out_and_noted(tmp_path: Path) -> None:
    write(tmp_path, [result("irn", "ce"), result("irn", "sb-ewc")])
    (path,) = tmp_path.glob("irn.sb-ewc.seed0.*.json")
    path.unlink()
    board = the_board(tmp_path)
    assert not board.contrasts
    (note,) = board.notes
    assert re.search(r"irn-seed0-differences\.\w+\.json is left out: the result of sb-ewc", note)


def test_a_difference_is_that_of_the_results_of_its_identity(tmp_path: Path) -> None:
    """Two versions of the code in one folder, of which the leaderboard is given the first."""
    for code, gap in (("c0", 0.125), ("c1", 0.25)):
        both = [result("irn", "ce", code=code), result("irn", "sb-ewc", miou=0.5 + gap, code=code)]
        write(tmp_path, both)
    files = [path for path in tmp_path.iterdir() if "differences" in path.name]
    assert len(files) == 2
    first = [
        path
        for path in tmp_path.iterdir()
        if "differences" in path.name or '"c0"' in path.read_text()
    ]
    found = contrast(read_boards(first)[0], "irn", "ce").seeds[0]["miou"]
    assert found is not None
    assert found.value == 0.125


def test_differences_of_an_older_file_are_of_the_only_results_beside_it(tmp_path: Path) -> None:
    both = [result("irn", "ce"), result("irn", "sb-ewc", miou=0.75)]
    write(tmp_path, both, compared=False)
    write_differences(tmp_path, PairedDifferences("irn", 0, "key", (pair(both[1], both[0]),)))
    found = contrast(the_board(tmp_path), "irn", "ce").seeds[0]["miou"]
    assert found is not None
    assert found.value == 0.25


def test_a_difference_is_not_run_or_not_compared(tmp_path: Path) -> None:
    several = [result(m, s) for m in ("amn", "cam", "irn") for s in ("ce", "sb-ewc")]
    board = the_board(write(tmp_path, [r for r in several if r is not several[1]], compared=False))
    assert contrast(board, "amn", "ce").missing == "not run"
    assert contrast(board, "cam", "ce").missing == "not compared"
    assert {c.missing for c in board.contrasts if c.method == "irn"} == {"not compared"}


def test_differences_on_a_set_that_was_built_anew_are_left_out_and_noted(tmp_path: Path) -> None:
    """Only ce and sb were run again on the new set, which has the name of the former one."""
    rebuilt = {"set_hash": "h1"}
    former = [result("irn", strategy, 0, 0.5) for strategy in ("ce", "sb", "sb-ewc")]
    write(tmp_path, former)
    again = [result("irn", "ce", 0, 0.25, protocol=rebuilt)]
    again.append(result("irn", "sb", 0, 0.375, protocol=rebuilt))
    for one in again:
        write_result(tmp_path, one)
    board = the_board(tmp_path)
    assert board.contrasts[0].missing == "not compared"
    assert any("sb-ewc and ce in irn-seed0-differences" in note for note in board.notes)
    found = PairedDifferences(
        "irn", 0, "key", (pair(again[1], again[0]),), again[0].shared_identity
    )
    path = write_differences(tmp_path, found)
    assert [(p.first, p.set_hash) for p in read_differences(path).pairs] == [("sb", "h1")]
    board = the_board(tmp_path)
    assert [(c.minuend, list(c.seeds)) for c in board.contrasts] == [("sb-ewc", []), ("sb", [0])]
