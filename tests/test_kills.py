"""A few kills of each command, and of commands that do not bear them; ``python -m tests.kills``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.killing import starting
from tests.kills import (
    ALL,
    COMMANDS,
    FORMAT,
    Case,
    Sandbox,
    kill_at_moments,
    kill_command,
    main,
    record,
)

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("command", ALL)
def test_a_killed_command_leaves_nothing_half_taken(command: str, tmp_path: Path) -> None:
    if command in ("train", "bench", "study"):
        pytest.importorskip("torch", reason="the extra `train` is not installed")
    tried = kill_command(command, tmp_path / "box", moments=1, seed=7)
    assert tried.faults == []
    assert (
        tried.killed.total() + tried.killed_after + tried.ended
        == len(tried.steps)
        >= (1 if command == "study" else 2)
    )
    assert tried.killed.total() >= 1
    assert min(tried.steps.values()) > 20


def kills_of(function: str, tmp_path: Path) -> list[str]:
    """Kill an example with and without a former result; return what was wrong."""
    former = tmp_path / "former"
    former.mkdir()
    (former / "result.txt").write_text("the former result\n")
    case = Case(
        (str(tmp_path / "box" / "place"),),
        {"empty": None, "former": former},
        function=f"tests.kills_examples:{function}",
    )
    (tmp_path / "box").mkdir()
    with starting(tmp_path / "said.txt", "tests.kills_examples") as starter:
        box = Sandbox(tmp_path / "box", starter, case)
        return kill_at_moments(box, function, moments=12, seed=3).faults


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("good", None),
        ("in_halves", "result.txt: neither the former nor the new one"),
        ("with_litter", ".part: left over"),
        ("losing", "result.txt: lost"),
        ("growing", "result.txt: other content"),
    ],
)
def test_the_kills_find_what_is_wrong(function: str, said: str | None, tmp_path: Path) -> None:
    faults = kills_of(function, tmp_path)
    assert bool(faults) == (said is not None), faults
    assert said is None or any(said in fault for fault in faults), faults


def test_the_record_names_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    out = tmp_path / "kills.json"
    one = {"moments": 2, "faults": [], "minutes": 0.5}
    out.write_text(json.dumps(record({"train": one}, 1, 0)))
    given = ["--command", "fetch", "--moments", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["kills", *given])
    assert main() == 0
    found = json.loads(out.read_text())
    assert list(found["commands"]) == ["train", "fetch"]
    assert found["commands"]["train"] == one  # of an earlier call with the same moments
    assert found["faults"] == 0
    assert str(tmp_path) not in out.read_text()


def test_the_committed_kills_found_nothing() -> None:
    found = json.loads((ROOT / "results" / "kills.json").read_text())
    assert found["format"] == FORMAT
    assert tuple(found["commands"]) == COMMANDS
    assert found["faults"] == 0
    for command, tried in found["commands"].items():
        assert tried["faults"] == [], command
        killed = sum(tried["killed_before_the_result_stood"].values())
        counted = killed + tried["killed_after_the_result_stood"] + tried["over_before_the_kill"]
        assert counted == tried["moments"] >= 50, command
