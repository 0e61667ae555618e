"""Boards from hand-made results, of which every mean is known."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from sbdata.benchmark.aggregate import Mean
from sbdata.benchmark.entries import read_records
from sbdata.benchmark.leaderboard import boards_as_dict, make_boards, read_boards
from sbdata.errors import InputError
from sbdata.report.leaderboard_markdown import markdown_of
from sbdata.report.leaderboard_page import page_of
from tests.benchmark.result_examples import (
    SIZES,
    outcomes,
    pseudo,
    result,
    row,
    the_board,
    write,
)


def test_mean_and_sample_deviation_over_seeds(tmp_path: Path) -> None:
    values = [0.25, 0.5, 0.75]
    write(tmp_path, [result("irn", "ce", seed, v) for seed, v in enumerate(values)])
    found = row(the_board(tmp_path), "irn", "ce")
    assert found.seeds == (0, 1, 2)
    assert found.figures["miou"] == Mean(0.5, 0.25, 3)  # divisor n - 1
    assert found.figures["ia_small.instance_mean"] == Mean(0.3125, 0.0, 3)


def test_one_seed_has_no_deviation_and_nothing_to_measure_no_figure(tmp_path: Path) -> None:
    write(tmp_path, [result("irn", "ce", 4, 0.5, None)])
    board = the_board(tmp_path)
    found = row(board, "irn", "ce")
    assert found.figures["miou"] == Mean(0.5, None, 1)
    assert found.figures["ia_small.class_mean"] is None
    assert "| 1 | 0.500 | 0.500<br>0.375 | –<br>– | 0.500<br>0.562 |" in markdown_of(board)


def test_n_is_that_of_the_set(tmp_path: Path) -> None:
    board = the_board(write(tmp_path, [result("irn", "ce")]))
    assert tuple(board.n_instances) == SIZES
    assert "IA_S: 10 instances, 2 classes;" in markdown_of(board)
    assert "IA_S: 10 instances, 2 classes;" in page_of([board])


def test_sets_and_training_sets_are_apart(tmp_path: Path) -> None:
    write(tmp_path / "a", [result("irn", "ce", miou=0.25)])
    write(tmp_path / "b", [result("irn", "ce", miou=0.5, scored="zoo-b")])
    write(tmp_path / "c", [result("irn", "ce", miou=0.75, training="zoo-train")])
    boards = read_boards([tmp_path])
    assert [board.name for board in boards] == [
        "pets-train/pets-b", "pets-train/zoo-b", "zoo-train/pets-b",
    ]  # fmt: skip
    means = [row(board, "irn", "ce").figures["miou"] for board in boards]
    assert means == [Mean(value, None, 1) for value in (0.25, 0.5, 0.75)]


def test_kinds_of_supervision_and_controls_are_apart_and_in_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        [
            result("labels-only", "ce", control=True),
            result("full", "ce", control=True, labels="masks"),
            result("bana", "ce", supervision=("image_labels", "boxes")),
            result("eps", "ce", supervision=("image_labels", "saliency")),
            result("irn", "sb"),
            result("irn", "ce"),
            result("amn", "sb"),
        ],
    )
    board = the_board(tmp_path)
    assert not board.footnotes
    rows = [r for r in board.rows if r.seeds]
    assert [(r.kind, r.method, r.strategy, r.role) for r in rows] == [
        ("image labels", "amn", "sb", ""),
        ("image labels", "irn", "ce", ""),
        ("image labels", "irn", "sb", ""),
        ("image labels + saliency", "eps", "ce", ""),
        ("image labels + boxes", "bana", "ce", ""),
        ("controls", "full", "ce", "ceiling"),
        ("controls", "labels-only", "ce", "floor"),
    ]


def test_what_stands_in_a_methods_place_is_called_so(tmp_path: Path) -> None:
    whole = {"tokens": {"model": "deit"}}
    half = {"tokens": {"backbone": "lite0"}}
    results = [
        result("mct", "ce", settings=half, variant="hybrid", pseudo=pseudo()),
        result("mct", "sb", settings=half, variant="hybrid", pseudo=pseudo()),
        result("mct", "ce", 1, settings=whole, pseudo=pseudo()),
        result("irn", "sb-ewc"),
    ]
    for number, found in enumerate(results):
        write(tmp_path / str(number), [found])
    board = the_board(tmp_path)
    roles = [(r.strategy, r.mark, r.role) for r in board.rows if r.method == "mct"]
    assert roles == [
        ("ce", "", "hybrid"), ("ce", "a", ""), ("sb", "", "hybrid"), ("sb-ewc", "", "hybrid"),
    ]  # fmt: skip
    shown = markdown_of(board)
    assert "| mct (hybrid) | image labels | ce | 1 |" in shown
    assert "| mct | image labels | ce | 1 |" in shown
    masks = board.pseudo_masks
    assert masks is not None
    found_roles = [(r.mark, r.role) for r in masks.rows if r.method == "mct"]
    assert found_roles == [("", "hybrid"), ("a", "")]


def test_masks_from_elsewhere_are_not_called_what_the_method_is(tmp_path: Path) -> None:
    """Imported masks may stand in for a control, or come from other labels than the method's."""
    own = [result("floor", s, control=True, pseudo=pseudo()) for s in ("ce", "sb-ewc")]
    given = [
        result("floor", s, settings={"masks": {"name": "x"}}, variant="imported masks",
               supervision=("boxes",), pseudo=pseudo())
        for s in ("ce", "sb-ewc")
    ]  # fmt: skip
    for number, found in enumerate((own, given)):
        write(tmp_path / str(number), found)
    board = the_board(tmp_path)
    quality = board.pseudo_masks
    assert quality is not None
    for rows in (board.rows, quality.rows, board.contrasts):
        assert {row.kind for row in rows} == {"controls", "boxes"}
    assert {(r.kind, r.role) for r in board.rows} == {
        ("controls", ""), ("boxes", "imported masks"),
    }  # fmt: skip


def test_what_was_not_run_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a", [result("irn", "ce"), result("irn", "sb"), result("cam", "ce")])
    write(tmp_path / "b", [result("seam", "dice", scored="zoo-b")])
    board = read_boards([tmp_path])[0]
    assert [(r.method, r.strategy, bool(r.seeds)) for r in board.rows] == [
        ("cam", "ce", True), ("cam", "sb", False), ("irn", "ce", True), ("irn", "sb", True),
    ]  # fmt: skip
    assert board.notes == (
        "Run only on another set: 1 method (seam).",
        "Run only on another set: 1 strategy (dice).",
    )
    assert "| cam | image labels | sb | – | not run |  |  |  |  |" in markdown_of(board)
    assert page_of([board]).count(">not run<") == 1


def test_the_same_cell_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, [result("irn", "ce", miou=0.25)])
    board = the_board(tmp_path)
    assert row(board, "irn", "ce").figures["miou"] == Mean(0.25, None, 1)
    (note,) = board.notes
    assert re.fullmatch(
        r"irn\.ce\.seed0\.[0-9a-f]{8}\.json was given twice, with the same values\.", note
    )
    write(tmp_path / "b", [result("irn", "ce", miou=0.5)])
    with pytest.raises(InputError, match=r"a/irn.*b/irn.*different values on pets-b; leave one"):
        the_board(tmp_path)


def test_results_of_other_identities_lie_side_by_side_and_are_not_mixed(tmp_path: Path) -> None:
    """The same method, strategy and seed by two versions of the code, in one folder."""
    write(tmp_path, [result("irn", "ce", miou=0.25), result("irn", "ce", miou=0.25, code="c1")])
    assert len(list(tmp_path.iterdir())) == 2
    first, other = sorted(path.name for path in tmp_path.iterdir())
    board = the_board(tmp_path)
    assert f"{first} and {other} have the same values; one of them is shown." in board.notes
    write(tmp_path, [result("irn", "ce", miou=0.5, code="c1")])
    with pytest.raises(InputError, match=r"different values on pets-b; they differ in code: sbda"):
        the_board(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"weak": "w1"}, "training: weak_digest"), ({"variant": "hybrid"}, "variant")],
)
def test_seeds_that_differ_in_more_are_not_averaged(
    tmp_path: Path, change: dict[str, str], named: str
) -> None:
    """What no mark tells apart: other photos or boxes behind the same labels, and the like."""
    write(tmp_path, [result("irn", "ce", 0), result("irn", "ce", 1, **change)])
    with pytest.raises(InputError) as refused:
        the_board(tmp_path)
    said = str(refused.value)
    assert f"are both irn, ce, but differ in {named}; only results that differ in" in said
    assert said.count("irn.ce.seed") == 2


def test_versions_of_the_code_are_noted(tmp_path: Path) -> None:
    results = [result("irn", "ce"), result("irn", "sb", code="c1")]
    board = the_board(write(tmp_path, results))
    assert board.notes == ("The results come from 2 versions of sbdata's code.",)
    results = [result("irn", "ce", k, baseline=f"b{k}") for k in range(3)]
    board = the_board(write(tmp_path / "seeds", results))
    assert row(board, "irn", "ce").seeds == (0, 1, 2)
    assert board.notes == ("The seeds of irn, ce come from 3 versions of the code.",)


def test_order_of_files_does_not_matter(tmp_path: Path) -> None:
    several = [result(m, s, k) for m in ("b", "a") for s in ("sb", "ce") for k in (1, 0)]
    several.append(result("a", "ce", 5, protocol={"refine": "crf"}))
    write(tmp_path, several)
    entries, pairs = read_records([tmp_path])
    assert make_boards(entries[::-1], pairs[::-1]) == make_boards(entries, pairs)


def test_outcomes_are_mean_shares_over_seeds_by_size(tmp_path: Path) -> None:
    first = outcomes(small=(2, 1, 7), medium=(5, 0, 0, 15))
    second = outcomes(small=(4, 3, 1, 2), medium=(15, 0, 0, 5))
    write(tmp_path, [
        result("irn", "ce", 0, outcomes=first), result("irn", "ce", 1, outcomes=second),
        result("irn", "sb-ewc", 0, outcomes=first), result("drs", "ce", 0),
    ])  # fmt: skip
    board = the_board(tmp_path)
    found = row(board, "irn", "ce").outcomes
    shares = {kind: mean and mean.value for kind, mean in found["small"].items()}
    assert shares == pytest.approx({
        "found": 0.3, "wrong_class": 0.2, "missed": 0.4, "mostly_missed": 0.1, "bled": 0.0,
        "partial": 0.0,
    })  # fmt: skip
    assert found["small"]["missed"] == Mean(pytest.approx(0.4), pytest.approx(0.18**0.5), 2)
    assert row(board, "drs", "ce").outcomes == {}
    plain = boards_as_dict([board])["boards"][0]["rows"]
    (own,) = (r for r in plain if (r["method"], r["strategy"]) == ("irn", "ce"))
    assert own["outcomes"]["medium"]["found"]["value"] == 0.5
    shown = markdown_of(board)
    assert (
        "| irn | ce | 2 | small<br>medium<br>large | 30.0 %<br>50.0 %<br>100.0 % | "
        "0.0 %<br>0.0 %<br>0.0 % | 0.0 %<br>0.0 %<br>0.0 % | 10.0 %<br>50.0 %<br>0.0 % | "
        "40.0 %<br>0.0 %<br>0.0 % | 20.0 %<br>0.0 %<br>0.0 % |"
    ) in shown
    assert "| drs | ce | 1 |  | not recorded |  |  |  |  |  |" in shown
    page = page_of([board])
    assert (
        "irn, ce, small: found 30.0 %, partial 0.0 %, bled 0.0 %, mostly missed 10.0 %, "
        "missed 40.0 %, wrong class 20.0 %."
    ) in page
    assert page.count("not recorded") == 3  # drs, in the table of each size


def test_a_size_without_instances_has_no_shares(tmp_path: Path) -> None:
    one = result("irn", "ce", outcomes=outcomes(small=()))
    ((name, scored),) = one.sets.items()
    scored = replace(scored, n_instances={**scored.n_instances, "ia_small": 0})
    board = the_board(write(tmp_path, [replace(one, sets={name: scored})]))
    assert row(board, "irn", "ce").outcomes["small"]["found"] is None
    assert "| –<br>100.0 %<br>100.0 % |" in markdown_of(board)
    assert "irn, ce, small" not in page_of([board])


def test_results_without_outcomes_have_no_table_of_them(tmp_path: Path) -> None:
    mixed = [result("irn", "ce", 0, outcomes=outcomes()), result("irn", "ce", 1)]
    board = the_board(write(tmp_path, mixed))
    assert row(board, "irn", "ce").outcomes == {}  # a mean of one of two seeds would mislead
    assert "utcome" not in markdown_of(board)
    assert "Outcomes by size" not in page_of([board])


def test_two_files_with_other_outcomes_are_refused(tmp_path: Path) -> None:
    one = result("irn", "ce", outcomes=outcomes())
    other = result("irn", "ce", code="c1", outcomes=outcomes(small=(0, 10)))
    with pytest.raises(InputError, match="different values on pets-b"):
        the_board(write(tmp_path, [one, other]))


def test_a_set_rebuilt_with_other_sizes_keeps_its_rows_apart(tmp_path: Path) -> None:
    """Its sizes have no number among those of the board's set."""
    other = result(
        "eps", "ce", protocol={"set_hash": "h1"}, outcomes={"tiny": outcomes()["medium"]}
    )
    ((name, scored),) = other.sets.items()
    scored = replace(
        scored,
        n_instances={"ia": 20, "ia_tiny": 20},
        n_classes={"ia": 3, "ia_tiny": 2},
    )
    own = [result(method, "ce", outcomes=outcomes()) for method in ("cam", "irn")]
    board = the_board(write(tmp_path, [*own, replace(other, sets={name: scored})]))
    page = page_of([board])
    assert "Outcomes of the small instances, n 10." in page
    assert "Outcomes of the tiny instances." in page
    assert "set_hash h1 instead of h0" in page


def test_two_files_with_other_numbers_of_one_set_are_refused(tmp_path: Path) -> None:
    """The board would show the numbers of one of them above the values of both."""
    own = result("irn", "ce")
    ((name, scored),) = own.sets.items()
    for change in ({"n_images": 99}, {"n_classes": {**scored.n_classes, "ia_small": 1}}):
        edited = replace(result("cam", "ce"), sets={name: replace(scored, **change)})
        with pytest.raises(InputError, match=r"cam.*irn.* different numbers of images, instances"):
            the_board(write(tmp_path, [own, edited]))
