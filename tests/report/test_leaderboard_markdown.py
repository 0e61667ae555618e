"""Boards as Markdown, and in a README between markers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sbdata.benchmark.leaderboard import read_boards
from sbdata.errors import InputError
from sbdata.report.leaderboard_markdown import (
    markdown_of,
    write_boards_into_readme,
    write_into_readme,
)
from tests.benchmark.result_examples import pseudo, result, the_board, write

README = """# Title

<!-- leaderboard:begin pets-b -->
old
<!-- leaderboard:end pets-b -->

between

<!-- leaderboard:begin pets-train/zoo-b --><!-- leaderboard:end pets-train/zoo-b -->
end
"""


def test_readme_is_rewritten_between_its_markers_and_twice_is_once(tmp_path: Path) -> None:
    masks = pseudo()
    write(tmp_path / "a", [result("irn", "ce", miou=0.25, pseudo=masks)])
    write(tmp_path / "b", [result("irn", "ce", miou=0.75, scored="zoo-b", pseudo=masks)])
    boards = read_boards([tmp_path])
    once = write_boards_into_readme(README, boards)
    assert write_boards_into_readme(once, boards) == once
    assert "old" not in once
    assert once.startswith("# Title\n\n<!-- leaderboard:begin pets-b -->\nTrained on pets-train")
    assert once.endswith("<!-- leaderboard:end pets-train/zoo-b -->\nend\n")
    first, second = once.split("between")
    assert (first.count("0.250 |"), first.count("0.750 |")) == (1, 0)
    assert (second.count("0.250 |"), second.count("0.750 |")) == (0, 1)
    assert [part.count("seeds 25.0 %<br>→ masks 50.0 % |") for part in (first, second)] == [1, 1]


def test_a_board_says_on_which_sets_it_is(tmp_path: Path) -> None:
    """A name tells nothing: a set can be built anew under it."""
    trained, scored = "0123456789ab" + 52 * "c", "fedcba987654" + 52 * "3"
    write(tmp_path, [result("irn", "ce", training_hash=trained, protocol={"set_hash": scored})])
    said = "Logical hashes: pets-train 0123456789ab, pets-b fedcba987654."
    assert said in markdown_of(the_board(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "<!-- leaderboard:begin x -->",
        "<!-- leaderboard:end x --><!-- leaderboard:begin x -->",
        "<!-- leaderboard:begin x --><!-- leaderboard:end x -->" * 2,
        "",
    ],
)
def test_markers_that_do_not_enclose(text: str) -> None:
    with pytest.raises(InputError, match="leaderboard:begin x"):
        write_into_readme(text, "x", "table")


def test_markers_must_name_one_board(tmp_path: Path) -> None:
    write(tmp_path / "a", [result("irn", "ce")])
    write(tmp_path / "b", [result("irn", "ce", training="zoo-train")])
    boards = read_boards([tmp_path])
    with pytest.raises(InputError, match=r"matches 2 boards.*pets-train/pets-b"):
        write_boards_into_readme(README, boards)
    with pytest.raises(InputError, match="no lines '<!-- leaderboard:begin"):
        write_boards_into_readme("# Title\n", boards)


def test_markdown_has_as_many_cells_in_every_line(tmp_path: Path) -> None:
    several = [result("a|b", s, pseudo=pseudo()) for s in ("ce", "sb-ft", "sb-ewc")]
    several.append(result("irn", "ce", 1, protocol={"refine": "a|b"}))
    board = the_board(write(tmp_path, several))
    blocks = [b for b in markdown_of(board).split("\n\n") if b.startswith("| method")]
    assert len(blocks) == 3
    for block in blocks:
        cells = {line.replace("\\|", "").count("|") for line in block.splitlines()}
        assert len(cells) == 1


def test_only_the_differences_of_the_claim_are_shown(tmp_path: Path) -> None:
    (board,) = read_boards([write(tmp_path, [result("m", s) for s in ("ce", "sb-ft", "sb-ewc")])])
    assert "| m | sb-ewc − ce |" in markdown_of(board)
    other = replace(board.contrasts[0], minuend="sb-ft", subtrahend="ce")
    text = markdown_of(replace(board, contrasts=(*board.contrasts, other)))
    assert "| sb-ft − ce |" not in text
    assert text == markdown_of(board)
