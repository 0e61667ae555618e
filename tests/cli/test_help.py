"""Examples in the help texts, and completion of names in the shell."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from sbdata.cli import cli
from sbdata.cli.shell_completion import complete_method


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


def command_of(path: tuple[str, ...]) -> click.Command:
    found: click.Command = cli
    for name in path:
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), name)
        assert inner is not None, f"no command {name}"
        found = inner
    return found


def parsed(words: list[str]) -> tuple[str, ...]:
    """Parse a command line without running it: unknown options and wrong values raise."""
    command: click.Command = cli
    path: tuple[str, ...] = ()
    while isinstance(command, click.Group):
        name, *words = words
        path = (*path, name)
        command = command_of(path)
    command.make_context(command.name, words)
    return path


ALL = list(commands(cli, ()))


@pytest.mark.parametrize("path", ALL, ids=lambda path: " ".join(path) or "sbdata")
def test_every_help_text_shows_two_commands_that_parse(path: tuple[str, ...]) -> None:
    command = command_of(path)
    shown = command.get_help(click.Context(command, info_name="sbdata")).partition("Examples:")[2]
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    assert len(lines) >= 2
    assert len(set(lines)) == len(lines)
    for line in lines:
        program, *words = shlex.split(line.partition(" > ")[0])
        assert program == "sbdata"
        assert parsed(words)[: len(path)] == path, line


def test_an_example_with_a_wrong_option_is_found() -> None:
    with pytest.raises(click.NoSuchOption):
        parsed(["score", "predictions", "--sets", "data/shapes-b"])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("shapes-b", "voc-val"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "images.parquet").touch()
    (tmp_path / "data" / "sources").mkdir()


COMPLETED = {
    ("dataset", "build", "pascal"): {"pascal-b", "pascal-b-val"},
    ("dataset", "stats", "shapes-b"): {"shapes-b"},
    ("dataset", "verify", "data/"): {"data/shapes-b", "data/voc-val"},
    ("dataset", "export", "data/s"): {"data/shapes-b"},
    ("dataset", "export", "data/shapes-b", "--to", ""): {"coco", "hf", "yolo", "cvat"},
    ("score", "predictions", "--set", ""): {"data/shapes-b", "data/voc-val"},
    ("score", "predictions", "--taxonomy", "voc"): {"voc20"},
    ("bench", "--method", "full"): {"full"},
    ("bench", "--preset", ""): {"smoke", "photos", "paper"},
    ("bench", "--strategy", "sb-"): {"sb-ewc", "sb-ft"},
    ("train", "--preset", "wacv"): {"wacv24"},
    ("train", "--strategy", "ce"): {"ce"},
    ("sources", "fetch", "vo"): {"voc"},
    ("pseudo", "import", "maps", "--source", "ir"): {"irn"},
}


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("words", COMPLETED, ids=" ".join)
def test_names_are_completed(words: tuple[str, ...]) -> None:
    completion = ShellComplete(cli, {}, "sbdata", "_SBDATA_COMPLETE")
    items = completion.get_completions(list(words[:-1]), words[-1])
    assert {item.value for item in items if item.type == "plain"} >= COMPLETED[words]
    assert all(i.value.startswith(words[-1]) for i in items)


def test_bash_gets_the_methods_and_pytorch_is_not_imported() -> None:
    code = (
        "import sys; from sbdata.cli import main\n"
        "sys.argv = ['sbdata']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'fiftyone', 'pandas') if m in sys.modules])"
    )
    shell = {
        "_SBDATA_COMPLETE": "bash_complete",
        "COMP_WORDS": "sbdata bench --method ",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **shell},
    )
    *said, heavy = done.stdout.splitlines()
    assert heavy == "[]", done.stderr
    offered = [item.value for item in complete_method(None, None, "")]
    assert said == [f"plain,{name}" for name in offered]
    assert [item.value for item in complete_method(None, None, "fu")] == ["full"]
