"""Boards from hand-made results, of which every mean and difference is known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scipy import stats

from sbdata.bench.leaderboard import (
    Board,
    Contrast,
    Mean,
    Row,
    boards_as_dict,
    make_boards,
    read_boards,
    read_entries,
)
from sbdata.bench.markdown import markdown_of, write_boards_into_readme, write_into_readme
from sbdata.bench.page import page_of
from sbdata.bench.result import (
    Differences,
    Figure,
    Pair,
    Protocol,
    Result,
    ScoredSet,
    Training,
    write_differences,
    write_result,
)
from sbdata.cli.leaderboard import leaderboard
from sbdata.errors import InputError

SIZES = ("ia", "ia_small", "ia_medium", "ia_large")


def figures(miou: float, small: float | None = 0.25) -> dict[str, Figure]:
    """Figures of which all but mIoU and IA_small are the same everywhere."""
    found = {"miou": miou, "ia.class_mean": 0.5, "ia.instance_mean": 0.375}
    for size, value in (("small", small), ("medium", 0.5), ("large", 0.75)):
        found[f"ia_{size}.class_mean"] = value
        found[f"ia_{size}.instance_mean"] = None if value is None else value + 0.0625
    return {
        name: Figure(value, None if value is None else (value - 0.125, value + 0.125))
        for name, value in found.items()
    }


def result(
    method: str,
    strategy: str,
    seed: int = 0,
    miou: float = 0.5,
    small: float | None = 0.25,
    *,
    scored: str = "pets-b",
    training: str = "pets-train",
    supervision: tuple[str, ...] = ("image_labels",),
    control: bool = False,
    settings: Mapping[str, Any] | None = None,
    preset: Mapping[str, Any] | None = None,
    protocol: Mapping[str, Any] | None = None,
    synthetic: bool = False,
    code: str = "c0",
    labels: str = "manifest",
) -> Result:
    own = {
        "scales": (1.0,), "flip": False, "refine": "none", "split": "val",
        "initialisation": "random", "set_hash": "h0", **(protocol or {}),
    }  # fmt: skip
    found = ScoredSet(
        logical_hash=own["set_hash"],
        split=own["split"],
        metric="ia_iou.v1",
        n_images=100,
        n_instances={"ia": 60, "ia_small": 10, "ia_medium": 20, "ia_large": 30},
        n_classes={"ia": 3, "ia_small": 2, "ia_medium": 3, "ia_large": 3},
        figures=figures(miou, small),
        protocol=Protocol(**own),
        predictions="p",
    )
    return Result(
        method=method,
        paper="",
        supervision=supervision,
        control=control,
        strategy=strategy,
        seed=seed,
        synthetic=synthetic,
        preset="smoke",
        method_settings=settings or {"seeds": {"foreground": 0.3}},
        training_preset={"optimisation": {"steps": 600, "checkpoint_every": 50}, **(preset or {})},
        training=Training(training, "t0", 40, "w0", labels),
        initialisation=own["initialisation"],
        pretrained=False,
        code={"sbdata": code, "baseline": "b0"},
        environment={"python": "3.11"},
        seconds={"train": 12.5 + seed},
        pseudo=None,
        sets={scored: found},
    )


def pair(first: Result, second: Result, reach: float = 0.0625) -> Pair:
    """Second minus first on their one set, with intervals of that reach to either side."""
    ((name, one),) = first.sets.items()
    other = second.sets[name]
    found: dict[str, dict[str, Any] | None] = {}
    for figure, at in one.figures.items():
        mine, theirs = other.figures[figure].value, at.value
        if mine is None or theirs is None:
            found[figure] = None
            continue
        gap = mine - theirs
        found[figure] = {
            "value": gap, "interval": [gap - reach, gap + reach], "sign_change": 0.25,
        }  # fmt: skip
    return Pair(name, first.strategy, second.strategy, found)


def write(root: Path, results: Sequence[Result], *, compared: bool = True) -> Path:
    """Write results, and differences of every sb-ewc from the ce-ft and ce of its seed."""
    for one in results:
        write_result(root, one)
    for second in results:
        others = [
            r for r in results
            if (r.method, r.seed) == (second.method, second.seed) and r.strategy in ("ce", "ce-ft")
        ]  # fmt: skip
        if compared and second.strategy == "sb-ewc" and others:
            pairs = tuple(pair(first, second) for first in others)
            write_differences(root, Differences(second.method, second.seed, "key", pairs))
    return root


def the_board(root: Path) -> Board:
    (board,) = read_boards([root])
    return board


def row(board: Board, method: str, strategy: str, mark: str = "") -> Row:
    (found,) = (r for r in board.rows if (r.method, r.strategy, r.mark) == (method, strategy, mark))
    return found


def contrast(board: Board, method: str, subtrahend: str) -> Contrast:
    (found,) = (
        c for c in board.contrasts
        if (c.method, c.minuend, c.subtrahend) == (method, "sb-ewc", subtrahend)
    )  # fmt: skip
    return found


# --- means and their spread -----------------------------------------------------------------------


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
    assert "IA_small<br>n 10 in 2" in markdown_of(board)
    assert "n 10, 2 classes" in page_of([board])


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
            result("irn", "ce-ft"),
            result("amn", "sb"),
        ],
    )
    board = the_board(tmp_path)
    assert not board.footnotes
    rows = [r for r in board.rows if r.seeds]
    assert [(r.kind, r.method, r.strategy, r.role) for r in rows] == [
        ("image labels", "amn", "sb", ""),
        ("image labels", "irn", "ce-ft", ""),
        ("image labels", "irn", "sb", ""),
        ("image labels + saliency", "eps", "ce", ""),
        ("image labels + boxes", "bana", "ce", ""),
        ("controls", "full", "ce", "ceiling"),
        ("controls", "labels-only", "ce", "floor"),
    ]


# --- not run --------------------------------------------------------------------------------------


def test_what_was_not_run_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a", [result("irn", "ce"), result("irn", "sb"), result("cam", "ce")])
    write(tmp_path / "b", [result("seam", "dice", scored="zoo-b")])
    board = read_boards([tmp_path])[0]
    assert [(r.method, r.strategy, bool(r.seeds)) for r in board.rows] == [
        ("cam", "ce", True), ("cam", "sb", False), ("irn", "ce", True), ("irn", "sb", True),
    ]  # fmt: skip
    assert board.notes == (
        "Not run here, though on another set: 1 method (seam).",
        "Not run here, though on another set: 1 strategy (dice).",
    )
    assert "| cam | image labels | sb | – | not run |  |  |  |  |" in markdown_of(board)
    assert page_of([board]).count(">not run<") == 1


def test_a_difference_is_not_run_or_not_compared(tmp_path: Path) -> None:
    several = [result(m, s) for m in ("amn", "irn") for s in ("ce", "ce-ft", "sb-ewc")]
    board = the_board(write(tmp_path, [r for r in several if r is not several[1]], compared=False))
    assert contrast(board, "amn", "ce").missing == "not compared"
    assert contrast(board, "amn", "ce-ft").missing == "not run"
    assert {c.missing for c in board.contrasts if c.method == "irn"} == {"not compared"}


# --- protocols ------------------------------------------------------------------------------------


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
    same = [result("cam", s) for s in ("ce", "ce-ft", "sb-ewc")]
    write(tmp_path, [*same, *(result("irn", s, protocol=crf) for s in ("ce", "sb-ewc"))])
    board = the_board(tmp_path)
    assert contrast(board, "irn", "ce").mark == "a"
    assert contrast(board, "cam", "ce").mark == ""


def test_the_same_cell_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, [result("irn", "ce", miou=0.25)])
    board = the_board(tmp_path)
    assert row(board, "irn", "ce").figures["miou"] == Mean(0.25, None, 1)
    assert board.notes == ("irn.ce.seed0.json is there twice, with the same figures.",)
    write(tmp_path / "b", [result("irn", "ce", miou=0.5)])
    with pytest.raises(InputError, match=r"a/irn.*b/irn.*different figures.*leave one"):
        the_board(tmp_path)


def test_versions_of_the_code_are_noted(tmp_path: Path) -> None:
    board = the_board(write(tmp_path, [result("irn", "ce"), result("irn", "sb", code="c1")]))
    assert board.notes == ("The results come from 2 versions of sbdata's code.",)


# --- differences ----------------------------------------------------------------------------------


def test_differences_by_seed_and_their_mean(tmp_path: Path) -> None:
    gaps = (0.0, 0.125, 0.25)
    results = [result("irn", "ce-ft", seed, 0.25) for seed in range(3)]
    results += [result("irn", "sb-ewc", seed, 0.25 + gap) for seed, gap in enumerate(gaps)]
    board = the_board(write(tmp_path, results))
    found = contrast(board, "irn", "ce-ft")
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
    assert "| irn | sb-ewc − ce-ft | 3 | +0.125 (−0.186 to +0.436) |" in shown
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
    with pytest.raises(InputError, match=r"irn-seed0-differences\.json: the difference of miou"):
        the_board(tmp_path)


def test_differences_without_a_result_are_left_out_and_noted(tmp_path: Path) -> None:
    write(tmp_path, [result("irn", "ce"), result("irn", "sb-ewc")])
    (tmp_path / "irn.sb-ewc.seed0.json").unlink()
    board = the_board(tmp_path)
    assert not board.contrasts
    (note,) = board.notes
    assert "irn-seed0-differences.json is left out: the result of sb-ewc" in note


# --- reading --------------------------------------------------------------------------------------


def test_only_results_are_read(tmp_path: Path) -> None:
    write(tmp_path / "run", [result("irn", "ce")])
    (tmp_path / "other.json").write_text('{"format": "sbdata.leaderboard.v1"}')
    assert len(read_entries([tmp_path])[0]) == 1
    with pytest.raises(InputError, match=r"other\.json: no result"):
        read_entries([tmp_path / "other.json"])
    later = tmp_path / "later.json"
    later.write_text('{"format": "sbdata.result.v2"}')
    with pytest.raises(InputError, match=r"later\.json: of format sbdata\.result\.v2"):
        read_entries([tmp_path])
    later.write_text("{")
    with pytest.raises(InputError, match=r"later\.json: cannot be read as JSON"):
        read_entries([tmp_path])
    with pytest.raises(InputError, match="nowhere: no such file"):
        read_entries([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no result of format"):
        read_entries([tmp_path / "empty"])


def test_order_of_files_does_not_matter(tmp_path: Path) -> None:
    several = [result(m, s, k) for m in ("b", "a") for s in ("sb", "ce") for k in (1, 0)]
    several.append(result("a", "ce", 5, protocol={"refine": "crf"}))
    write(tmp_path, several)
    entries, pairs = read_entries([tmp_path])
    assert make_boards(entries[::-1], pairs[::-1]) == make_boards(entries, pairs)


# --- README ---------------------------------------------------------------------------------------

README = """# Title

<!-- leaderboard:begin pets-b -->
old
<!-- leaderboard:end pets-b -->

between

<!-- leaderboard:begin pets-train/zoo-b --><!-- leaderboard:end pets-train/zoo-b -->
end
"""


def test_readme_is_rewritten_between_its_markers_and_twice_is_once(tmp_path: Path) -> None:
    write(tmp_path / "a", [result("irn", "ce", miou=0.25)])
    write(tmp_path / "b", [result("irn", "ce", miou=0.75, scored="zoo-b")])
    boards = read_boards([tmp_path])
    once = write_boards_into_readme(README, boards)
    assert write_boards_into_readme(once, boards) == once
    assert "old" not in once
    assert once.startswith("# Title\n\n<!-- leaderboard:begin pets-b -->\nTrained on pets-train")
    assert once.endswith("<!-- leaderboard:end pets-train/zoo-b -->\nend\n")
    first, second = once.split("between")
    assert (first.count("0.250 |"), first.count("0.750 |")) == (1, 0)
    assert (second.count("0.250 |"), second.count("0.750 |")) == (0, 1)


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
    with pytest.raises(InputError, match=r"names 2 boards.*pets-train/pets-b"):
        write_boards_into_readme(README, boards)
    with pytest.raises(InputError, match="no line '<!-- leaderboard:begin"):
        write_boards_into_readme("# Title\n", boards)


# --- what is shown --------------------------------------------------------------------------------


class _Balanced(HTMLParser):
    """Complains of a tag that is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for key, value in attrs if key == "id" and value]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_needs_nothing_else_and_says_synthetic(tmp_path: Path) -> None:
    write(tmp_path / "a", [result("irn", "ce", synthetic=True), result("<b>&", "sb")])
    write(tmp_path / "b", [result("irn", "ce", scored="zoo-b")])
    boards = read_boards([tmp_path])
    page = page_of(boards)
    assert page == page_of(read_boards([tmp_path]))
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []
    assert len(set(parser.ids)) == len(parser.ids)
    assert "<b>&" not in page
    for outside in ("<script", "http://", "https://", "url(", "@import"):
        assert outside not in page.replace("http://www.w3.org/2000/svg", "")
    assert page.count('<p class="synthetic">') == 1
    assert "pets-b (synthetic)" in markdown_of(boards[0])
    assert "synthetic" not in markdown_of(boards[1])


def test_markdown_has_as_many_cells_in_every_line(tmp_path: Path) -> None:
    several = [result("a|b", s) for s in ("ce", "ce-ft", "sb-ewc")]
    several.append(result("irn", "ce", 1, protocol={"refine": "a|b"}))
    board = the_board(write(tmp_path, several))
    blocks = [b for b in markdown_of(board).split("\n\n") if b.startswith("| method")]
    assert len(blocks) == 2
    for block in blocks:
        cells = {line.replace("\\|", "").count("|") for line in block.splitlines()}
        assert len(cells) == 1


def test_command_prints_and_writes(tmp_path: Path) -> None:
    strategies = ("ce", "ce-ft", "sb-ewc")
    write(tmp_path / "results", [result("irn", s, k) for s in strategies for k in (0, 1)])
    readme, out = tmp_path / "README.md", tmp_path / "results" / "page"
    readme.write_text("<!-- leaderboard:begin pets-b -->\n<!-- leaderboard:end pets-b -->\n")
    given = [str(tmp_path / "results"), "--out", str(out), "--readme", str(readme)]
    done = CliRunner().invoke(leaderboard, given, catch_exceptions=False)
    assert done.exit_code == 0
    assert "Trained on pets-train, scored on pets-b: 100 images." in done.output
    assert "0.500 ± 0.000" in done.output
    assert "sb-ewc − ce-ft" in done.output
    assert sorted(path.name for path in out.iterdir()) == [
        "leaderboard.html", "leaderboard.json", "leaderboard.md",
    ]  # fmt: skip
    assert "| irn | image labels | sb-ewc | 2 |" in readme.read_text()
    again = CliRunner().invoke(leaderboard, [*given, "--json"], catch_exceptions=False)
    boards = read_boards([tmp_path / "results"])
    assert json.loads(again.output) == json.loads(json.dumps(boards_as_dict(boards)))
    assert again.output == (out / "leaderboard.json").read_text()
