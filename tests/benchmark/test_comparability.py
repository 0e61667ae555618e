"""What differs from the rest of a board is marked, and never averaged with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sbdata.benchmark.aggregate import Mean
from sbdata.report.leaderboard_markdown import markdown_of
from sbdata.report.leaderboard_page import page_of
from tests.benchmark.result_examples import contrast, result, row, the_board, write


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": {"refine": "crf"}}, "refine crf instead of none"),
        ({"protocol": {"scales": (0.5, 1.0)}}, "scales [0.5, 1.0] instead of [1.0]"),
        ({"protocol": {"split": "train"}}, "split train instead of val"),
        ({"protocol": {"initialisation": "coco"}}, "initialisation coco instead of random"),
        ({"protocol": {"set_hash": "h1"}}, "set_hash h1 instead of h0"),
        ({"settings": {"seeds": {"foreground": 0.4}}},
         "its seeds: foreground 0.4 instead of 0.3"),
        ({"labels": "own.csv"}, "image labels own.csv instead of manifest"),
        ({"preset": {"lr": 1}}, "training: lr 1 instead of not stated"),
    ],
)  # fmt: skip
def test_another_protocol_is_marked_and_never_averaged(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    same = [result("irn", "ce", seed, 0.25) for seed in (0, 1)]
    board = the_board(write(tmp_path, [*same, result("irn", "ce", 2, 1.0, **change)]))
    assert row(board, "irn", "ce").figures["miou"] == Mean(0.25, 0.0, 2)
    assert row(board, "irn", "ce", "a").figures["miou"] == Mean(1.0, None, 1)
    assert [(f.mark, f.text) for f in board.footnotes] == [("a", said)]
    assert board.protocol["refine"] == "none"
    shown = markdown_of(board)
    assert f"- a: {said}." in shown
    marks = [line.split(" | ")[-1] for line in shown.splitlines() if line.startswith("| irn")]
    assert marks == ["same |", "a |"]
    page = page_of([board])
    assert "<strong>a</strong>: another protocol: " + said in page
    assert "Rows with a mark are left out." in page


def test_methods_of_one_board_have_one_saliency(tmp_path: Path) -> None:
    """Those that make their own are told apart by how, and from those that were given some."""
    own = {"saliency": {"provider": "boundary", "side": 300}, "masks": {"theta": 0.2}}
    other = {**own, "saliency": {"provider": "mbd", "side": 300}}
    write(
        tmp_path,
        [
            result("irn", "ce"),
            result("eps", "ce", settings=own),
            result("edam", "ce", settings=own),
            result("edam", "sb-ft", settings=other),
            result("edam", "sb", settings=other, saliency="pfan, SHA-256 00"),
        ],
    )
    board = the_board(tmp_path)
    assert [(f.mark, f.text) for f in board.footnotes] == [
        ("a", "saliency maps pfan, SHA-256 00 instead of built in, provider boundary, side 300"),
        (
            "b",
            "saliency maps built in, provider mbd, side 300 instead of built in, provider "
            "boundary, side 300",
        ),
    ]
    assert board.notes == (
        "Methods that use saliency have these maps: built in, provider boundary, side 300.",
    )
    marks = {(r.method, r.strategy): r.mark for r in board.rows if r.figures}
    assert marks["edam", "sb"] == "a"
    assert marks["edam", "sb-ft"] == "b"
    assert {marks["irn", "ce"], marks["eps", "ce"], marks["edam", "ce"]} == {""}


def test_checkpoints_are_no_protocol_and_methods_may_differ_in_settings(tmp_path: Path) -> None:
    preset = {"optimisation": {"steps": 600, "checkpoint_every": 7}}
    write(
        tmp_path,
        [result("irn", "ce"), result("irn", "sb", preset=preset), result("amn", "ce", settings={})],
    )
    board = the_board(tmp_path)
    assert not board.footnotes
    assert "protocol" not in markdown_of(board)


def test_the_protocol_of_most_is_the_boards(tmp_path: Path) -> None:
    crf = {"refine": "crf"}
    write(
        tmp_path,
        [result("amn", "ce"), result("irn", "ce", protocol=crf), result("cam", "ce", protocol=crf)],
    )
    board = the_board(tmp_path)
    assert board.protocol["refine"] == "crf"
    assert [(r.method, r.mark) for r in board.rows] == [("amn", "a"), ("cam", ""), ("irn", "")]


def test_a_difference_bears_the_mark_of_its_rows(tmp_path: Path) -> None:
    crf = {"refine": "crf"}
    same = [result("cam", s) for s in ("ce", "sb-ft", "sb-ewc")]
    write(tmp_path, [*same, *(result("irn", s, protocol=crf) for s in ("ce", "sb-ewc"))])
    board = the_board(tmp_path)
    assert contrast(board, "irn", "ce").mark == "a"
    assert contrast(board, "cam", "ce").mark == ""
