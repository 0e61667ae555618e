"""Pseudo-masks on a board: each set of masks once, and where the small instances are lost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sbdata.benchmark.aggregate import Mean
from sbdata.benchmark.leaderboard import Board, boards_as_dict, read_boards
from sbdata.benchmark.pseudo_mask_quality import Quality, QualityRow
from sbdata.errors import InputError
from sbdata.report.leaderboard_markdown import markdown_of
from sbdata.report.leaderboard_page import page_of
from tests.benchmark.result_examples import pseudo, result, row, the_board, write

CRF = {"refine": "crf"}
OTHER_SETTINGS = {"seeds": {"foreground": 0.4}}


def quality_of(board: Board) -> Quality:
    assert board.pseudo_masks is not None
    return board.pseudo_masks


def masks(board: Board, method: str, mark: str = "") -> QualityRow:
    (found,) = (r for r in quality_of(board).rows if (r.method, r.mark) == (method, mark))
    return found


# --- means ----------------------------------------------------------------------------------------


def test_means_over_seeds_take_the_masks_of_all_strategies_once(tmp_path: Path) -> None:
    of_seed = {0: pseudo(0.25, masks_kept=4), 3: pseudo(0.75, masks_kept=2)}
    write(
        tmp_path,
        [
            *(result("irn", s, 0, pseudo=of_seed[0]) for s in ("ce", "sb", "sb-ewc")),
            result("irn", "ce", 3, pseudo=of_seed[3]),
        ],
    )
    found = masks(the_board(tmp_path), "irn")
    assert found.seeds == (0, 3)
    assert found.figures["ia_small.class_mean"] == Mean(0.5, pytest.approx(0.125**0.5), 2)
    assert found.figures["miou"] == Mean(0.5, 0.0, 2)
    assert list(found.lost) == ["seeds", "masks"]  # in the method's order, not by name
    assert found.lost["seeds"] == Mean(0.25, 0.0, 2)
    assert found.lost["masks"] == Mean(0.625, pytest.approx(0.03125**0.5), 2)


def test_nothing_to_measure_is_no_figure(tmp_path: Path) -> None:
    none = pseudo(None, seeds_kept=0, masks_kept=0, n_small=0)
    found = masks(the_board(write(tmp_path, [result("irn", "ce", pseudo=none)])), "irn")
    assert found.figures["ia_small.class_mean"] is None
    assert found.lost == {"seeds": None, "masks": None}


def test_n_is_that_of_the_training_set(tmp_path: Path) -> None:
    board = the_board(write(tmp_path, [result("irn", "ce", pseudo=pseudo())]))
    found = quality_of(board)
    assert (found.n_images, found.n_instances["ia_small"], found.n_classes["ia_small"]) == (
        40,
        8,
        2,
    )
    assert (board.n_images, board.n_instances["ia_small"]) == (100, 10)
    assert "IA_S: 8 instances, 2 classes;" in markdown_of(board)
    assert "IA_S: 8 instances, 2 classes;" in page_of([board])


def test_rows_are_in_the_order_of_the_board(tmp_path: Path) -> None:
    write(
        tmp_path,
        [
            result("full", "ce", control=True, true_masks=True, labels="pixel masks"),
            result("labels-only", "ce", control=True, pseudo=pseudo()),
            result("eps", "ce", supervision=("image_labels", "saliency"), pseudo=pseudo()),
            result("irn", "ce", pseudo=pseudo()),
            result("amn", "ce"),
        ],
    )
    board = the_board(tmp_path)
    rows = [(r.method, r.kind, r.role, r.missing) for r in quality_of(board).rows]
    assert rows == [
        ("amn", "image labels", "", "not measured"),
        ("irn", "image labels", "", ""),
        ("eps", "image labels + saliency", "", ""),
        ("full", "controls", "ceiling", "ground truth"),
        ("labels-only", "controls", "floor", ""),
    ]


def test_without_any_measured_masks_there_is_no_table(tmp_path: Path) -> None:
    full = result("full", "ce", control=True, true_masks=True, labels="pixel masks")
    board = the_board(write(tmp_path, [full, result("irn", "ce")]))
    assert board.pseudo_masks is None
    assert "seudo-masks" not in markdown_of(board) + page_of([board])


# --- one set of masks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        pseudo(0.5),
        pseudo(seeds_kept=5),
        pseudo(n_classes={"ia": 3, "ia_small": 3, "ia_medium": 3, "ia_large": 0}),
    ],
)
def test_files_that_disagree_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    write(tmp_path / "a", [result("irn", "ce", 2, pseudo=pseudo())])
    write(tmp_path / "b", [result("irn", "sb", 2, pseudo=other)])
    files = r"a/irn\.ce\.seed2\.\w+\.json and .*b/irn\.sb\.seed2\.\w+\.json"
    said = rf"{files} .*irn, seed 2 different values"
    with pytest.raises(InputError, match=said):
        the_board(tmp_path)


def test_files_of_different_boards_that_disagree_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", [result("irn", "ce", pseudo=pseudo())])
    write(tmp_path / "b", [result("irn", "ce", pseudo=pseudo(0.5), scored="zoo-b")])
    with pytest.raises(InputError, match="pseudo-masks of irn, seed 0 different values"):
        read_boards([tmp_path])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": OTHER_SETTINGS}, "its seeds: foreground 0.4 instead of 0.3"),
        ({"labels": "own.csv"}, "image labels own.csv instead of manifest"),
        ({"training_hash": "t1"}, "training set: logical_hash t1 instead of t0"),
    ],
)
def test_masks_of_other_origin_are_marked_as_their_results_are(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    same = [result("irn", "ce", seed, pseudo=pseudo(0.25)) for seed in (0, 1)]
    write(tmp_path / "a", same)
    write(tmp_path / "b", [result("irn", "ce", 0, pseudo=pseudo(0.75), **change)])
    board = the_board(tmp_path)
    assert [(f.mark, f.text) for f in board.footnotes] == [("a", said)]
    assert row(board, "irn", "ce", "a").seeds == (0,)
    assert masks(board, "irn").figures["ia_small.class_mean"] == Mean(0.25, 0.0, 2)
    assert masks(board, "irn", "a").figures["ia_small.class_mean"] == Mean(0.75, None, 1)


def test_what_is_done_after_the_masks_does_not_set_them_apart(tmp_path: Path) -> None:
    preset = {"lr": 1}
    write(
        tmp_path,
        [
            result("irn", "ce", 0, pseudo=pseudo()),
            result("irn", "sb", 0, pseudo=pseudo(), protocol=CRF),
            result("irn", "ce", 1, pseudo=pseudo(), preset=preset),
        ],
    )
    board = the_board(tmp_path)
    assert len(board.footnotes) == 2
    assert [(r.seeds, r.mark) for r in quality_of(board).rows] == [((0, 1), "")]


def test_origin_alone_is_said_where_a_result_differs_in_more(tmp_path: Path) -> None:
    several = [result("irn", "ce", seed, pseudo=pseudo()) for seed in (0, 1)]
    both = result("irn", "ce", 2, pseudo=pseudo(), settings=OTHER_SETTINGS, protocol=CRF)
    board = the_board(write(tmp_path, [*several, both]))
    settings = "its seeds: foreground 0.4 instead of 0.3"
    assert {f.mark: f.text for f in board.footnotes} == {
        "a": f"refine crf instead of none; {settings}",
        "b": settings,
    }
    assert masks(board, "irn", "b").seeds == (2,)


def test_another_way_of_counting_is_marked(tmp_path: Path) -> None:
    other = pseudo(lost_threshold="no pixel")
    several = [result(m, "ce", pseudo=pseudo()) for m in ("amn", "irn")]
    board = the_board(write(tmp_path, [*several, result("cam", "ce", pseudo=other)]))
    assert quality_of(board).lost_threshold == "under 50 %"
    (footnote,) = board.footnotes
    assert footnote.text == "instances lost no pixel instead of under 50 %"
    assert [(r.method, r.mark) for r in quality_of(board).rows] == [
        ("amn", ""), ("cam", footnote.mark), ("irn", ""),
    ]  # fmt: skip


# --- what is shown --------------------------------------------------------------------------------


def test_markdown_page_and_values_have_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        [
            result("irn", "ce", 0, pseudo=pseudo(masks_kept=4)),
            result("irn", "ce", 1, pseudo=pseudo(masks_kept=2)),
            result("full", "ce", control=True, true_masks=True, labels="pixel masks"),
        ],
    )
    board = the_board(tmp_path)
    shown = markdown_of(board)
    assert "Pseudo-masks of pets-train" in shown
    assert "ground truth: 40 images, with 255 (ignored) read as background" in shown
    assert "Small-object miss rate: small instances with pixel recall &lt; 0.5, after each" in shown
    assert (
        "| irn | image labels | 2 | 0.500 ± 0.000 | 0.500 ± 0.000<br>0.375 ± 0.000 "
        "| 0.250 ± 0.000<br>0.312 ± 0.000 | 0.500 ± 0.000<br>0.562 ± 0.000 "
        "| 0.750 ± 0.000<br>0.812 ± 0.000 | seeds 25.0 ± 0.0 %<br>→ masks 62.5 ± 17.7 % |"
    ) in shown
    assert "| full (ceiling) | control | – | ground truth |  |  |  |  |  |" in shown
    page = page_of([board])
    (table,) = re.findall(r"(?s)<h3>Pseudo-masks</h3>(.*?)</table>", page)
    assert '<td class="stages">seeds 25.0 ± 0.0 %<br>→ masks 62.5 ± 17.7 %</td>' in table
    assert '<td colspan="5" class="gap">ground truth</td><td class="stages">–</td>' in table
    assert '<td title="seeds 0, 1">2</td><td><strong>0.500</strong> ± 0.000</td>' in table
    (values,) = json.loads(json.dumps(boards_as_dict([board])))["boards"]
    first = values["pseudo_masks"]["rows"][0]
    assert first["lost"]["seeds"] == {"value": 0.25, "std": 0.0, "n": 2}
    assert values["pseudo_masks"]["lost_threshold"] == "under 50 %"


def test_marks_stand_where_something_is_marked(tmp_path: Path) -> None:
    other = result("irn", "ce", 1, pseudo=pseudo(), settings=OTHER_SETTINGS)
    board = the_board(write(tmp_path, [result("irn", "ce", 0, pseudo=pseudo()), other]))
    _, table = (b for b in markdown_of(board).split("\n\n") if b.startswith("| method"))
    head, _, *lines = table.splitlines()
    assert head.endswith("| small-object miss rate | protocol |")
    assert [line.split(" | ")[-1] for line in lines] == ["same |", "a |"]
    (shown,) = re.findall(r"(?s)<h3>Pseudo-masks</h3>(.*?)</table>", page_of([board]))
    assert shown.count("<strong>a</strong>") == 1
    assert shown.count("<td>same</td>") == 1
