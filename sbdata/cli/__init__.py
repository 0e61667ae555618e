"""The command line: parse, call, print. One file per command group, imported when it is used."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import click

from sbdata import __version__
from sbdata.cli.examples import examples
from sbdata.cli.output import say, use_plain_characters
from sbdata.errors import InputError
from sbdata.quoting import quoted

# name -> module that holds a click command of the same name, and its line in `--help`
COMMANDS = {
    "app": ("sbdata.cli.app", "Look at a set in the FiftyOne app."),
    "bench": ("sbdata.cli.bench", "Run methods from weak labels to scores."),
    "browse": ("sbdata.cli.browse", "Write a page that shows a set's objects by size."),
    "dataset": ("sbdata.cli.dataset", "Build, verify, measure and export evaluation sets."),
    "doctor": ("sbdata.cli.doctor", "Show what is installed and what is missing."),
    "leaderboard": ("sbdata.cli.leaderboard", "Compare results of sbdata bench."),
    "predict": ("sbdata.cli.predict", "Write the masks of a trained segmenter."),
    "pseudo": ("sbdata.cli.pseudo", "Score and import pseudo-masks."),
    "quickstart": ("sbdata.cli.quickstart", "Score three predictors on generated images."),
    "score": ("sbdata.cli.score", "Score predictions by object size."),
    "sources": ("sbdata.cli.sources", "List, fetch and verify the published datasets."),
    "train": ("sbdata.cli.train", "Train a segmenter on masks."),
}


# Of Arrow's ways to allocate, only the system's gives the memory of a large manifest back after
# reading: a third less at the peak for 82,000 images, in a third of the time.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

OTHERS_CODE = frozenset({"app", "bench", "predict", "pseudo", "train"})
"""Commands that run third-party code, such as FiftyOne or a method, which may need pandas."""


class _NoPandas:
    """Import finder that reports pandas as not installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)


class _LazyGroup(click.Group):
    """Command group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.command(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("sbdata quickstart --open", "sbdata score predictions --set data/shapes-b"),
)
@click.version_option(__version__, prog_name="sbdata")
def cli() -> None:
    """Measure how well a segmentation method sees small objects.

    Exit status: 0 success; 1 the check found a problem; 2 usage or input error. Add --debug to any
    command to see where an error came from.
    """


def main() -> NoReturn:
    """Run the command line."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if arguments[:1] and arguments[0] not in OTHERS_CODE:
        # pyarrow imports pandas, if it is installed, with its first array: a third of a second that
        # these commands do not need.
        sys.meta_path.insert(0, _NoPandas)
    run(cli, "sbdata")


def run(command: click.Command, name: str | None = None) -> NoReturn:
    """Run a command with the arguments of this process, then exit.

    Errors are printed as one sentence on stderr; the argument ``--debug`` adds a traceback.

    Args:
        command: Command to run.
        name: Name of the program in messages; by default that of the running script.
    """
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    use_plain_characters()
    try:
        _check_not_empty(arguments)
        status = command.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would interrupt the message
        _fail("stopped; run the same command again to continue", 130)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        say(text.getvalue(), err=True, nl=False)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of the output, such as `head`, closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _fail(_sentence(error, arguments), 2)
    sys.exit(status if isinstance(status, int) else 0)


def _check_not_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty argument: as a path it would be this folder, as an option its default."""
    for before, text in pairwise(["sbdata", *arguments]):
        option, equals, value = text.partition("=")
        if not text.strip() or (option.startswith("--") and equals and not value.strip()):
            after = "" if text.strip() else f" after {quoted(before)}"
            msg = f"the argument {quoted(text)}{after} is empty; give a value, or leave it out"
            raise InputError(msg)


def _sentence(error: Exception, arguments: Sequence[str]) -> str:
    """Return the message for an error."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        from sbdata.machine import sentence_of

        given = [Path(text.rpartition("=")[2]) for text in arguments if os.sep in text]
        return f"{sentence_of(error, given)} (--debug shows where)"
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs, or use fewer workers (--debug shows where)"
    return f"unexpected {type(error).__name__}: {error} (--debug shows where)"


def _fail(message: str, status: int) -> NoReturn:
    say(f"Error: {message}", err=True)
    sys.exit(status)
