"""What is printed: fit for every terminal, and nothing that one would obey."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import sbdata.cli
from sbdata.cli.output import say
from sbdata.cli.tables import print_table

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_command_prints_in_one_place() -> None:
    for path in (ROOT / "sbdata").rglob("*.py"):
        if path.name != "output.py":
            assert not re.search(
                r"click\.s?echo\(|click\.secho\(|(?<![\w.])print\(", _code(path)
            ), path


def _code(path: Path) -> str:
    """Return a file without its docstrings' examples."""
    lines = path.read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if ">>>" not in line and "..." not in line)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_will_do(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    say("0.250–0.500 × café")
    print_table(["", "mean"], [["IA–small", "−0.250"]])
    stream.flush()
    shown = raw.getvalue().decode(encoding)
    dash = "–" if encoding == "utf-8" else "-"
    assert f"0.250{dash}0.500" in shown
    assert f"IA{dash}small" in shown


@pytest.mark.parametrize("on_terminal", [False, True])
def test_no_number_of_a_wide_table_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], on_terminal: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: on_terminal)
    row = ["mctformer (hybrid)", "sb-ewc − ce", "mean"]
    row += [f"+0.{k}50 (−0.5{k}0 to +0.9{k}5)" for k in range(9)]
    print_table([f"column {k}" for k in range(len(row))], [row])
    shown = capsys.readouterr().out
    assert "…" not in shown
    (line,) = [line for line in shown.splitlines() if "mctformer" in line]
    assert re.split(r" {2,}", line.strip()) == row


def test_names_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b]0;title\x07b")
    print_table(["[red]name[/red]"], [["\x1b[2Jgone"], ["[/nothing]"], ["[link=x]y"]])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert r"a\x1b]0;title\x07b" in shown
    for cell in ("[red]name[/red]", r"\x1b[2Jgone", "[/nothing]", "[link=x]y"):
        assert cell in shown


# --- errors ---------------------------------------------------------------------------------------


def ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException
) -> tuple[int, str]:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(sbdata.cli, "cli", failing)
    monkeypatch.setattr(sys, "argv", ["sbdata"])
    monkeypatch.setattr(sbdata.cli.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        sbdata.cli.main()
    return int(str(caught.value.code)), capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["score", "", "--set", "s"], "argument '' after 'score' is empty"),
        (["score", "p", "--taxonomy", " "], "argument ' ' after '--taxonomy' is empty"),
        (["score", "p", "--set="], "argument '--set=' is empty"),
        ([""], "argument '' after 'sbdata' is empty"),
        (["score", "p", "--set", "there is none"], "there is none"),
    ],
)
def test_empty_arguments_are_neither_this_folder_nor_the_default(
    monkeypatch, capsys, arguments, said
) -> None:
    monkeypatch.setattr(sys, "argv", ["sbdata", *arguments])
    with pytest.raises(SystemExit) as caught:
        sbdata.cli.main()
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out/a"), "out/a: the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "out/a"), "correct the permissions"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "f/a"), "f/a: Not a directory;"),
        (OSError("no number"), "no number"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_troubles_of_the_machine_are_never_unexpected(monkeypatch, capsys, error, said) -> None:
    status, shown = ended(monkeypatch, capsys, error)
    assert status == 2
    assert said in shown
    assert shown.startswith("Error: ")
    assert "unexpected" not in shown
    assert shown.count("\n") == 1


def test_ctrl_c_is_one_line(monkeypatch, capsys) -> None:
    for error in (KeyboardInterrupt(), click.exceptions.Abort()):
        status, shown = ended(monkeypatch, capsys, error)
        assert status == 130
        assert shown.strip() == "Error: stopped; run the same command again to continue"


def test_wrong_usage_shows_no_escapes(monkeypatch, capsys) -> None:
    status, shown = ended(monkeypatch, capsys, click.UsageError("no \x1b[31m such option"))
    assert status == 2
    assert "\x1b" not in shown
    assert "such option" in shown


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_taken_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sbdata", "--help"], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode != 0
    assert "unexpected" not in done.stderr
    assert "Traceback" not in done.stderr
