"""``sbdata doctor``: what is installed, what the machine has, and what each command lacks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say

if TYPE_CHECKING:
    from sbdata.doctor import Diagnosis, Folder


@click.command(epilog=examples("sbdata doctor", "sbdata doctor --json > doctor.json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Show versions, devices, caches and what is missing for which command.

    The output contains no value of an environment variable, and shows the home folder as ~, so it
    can be put into a bug report. Exit with status 1 only if the core itself does not work.
    """
    from sbdata.doctor import as_dict, diagnose

    found = diagnose(Path())
    if as_json:
        say(json.dumps(as_dict(found), indent=2))
    else:
        _print(found)
    ctx.exit(1 if found.problems else 0)


def _print(found: Diagnosis) -> None:
    from sbdata.doctor import CORE

    say(f"sbdata {found.sbdata}, Python {found.python}, {found.system}")
    core = {name: found.packages[name] for name in CORE}
    extras = {name: v for name, v in found.packages.items() if name not in core}
    say(f"core: {_versions(core.items())}")
    say(f"extras: {_versions(extras.items())}")
    memory = "memory not known" if found.memory is None else f"{_size(found.memory)} of memory"
    free = ", ".join(f"{_size(size)} free in the {place}" for place, size in found.free.items())
    say(f"machine: {found.cores} cores, {memory}, {free}")
    devices = f" ({', '.join(found.devices)})" if found.devices else ""
    say(f"devices: {found.device_note}{devices}")
    say(f"MongoDB: {found.database}")
    for folder in (*found.weights, *found.caches):
        say(f"{folder.what}: {_folder(folder)}")
    for missing in found.missing:
        say(f"missing: {missing.purpose} needs {', '.join(missing.needs)}: {missing.remedy}")
    for problem in found.problems:
        say(f"broken: {problem}")
    if not found.problems:
        say("The core works: sbdata dataset, score, sources and quickstart can run.")


def _versions(packages: Iterable[tuple[str, str | None]]) -> str:
    return ", ".join(f"{name} {version or 'not installed'}" for name, version in packages)


def _folder(folder: Folder) -> str:
    if folder.size is None:
        return f"none ({folder.place})"
    return f"{_size(folder.size)} ({folder.place})" if folder.size else folder.place


def _size(size: int) -> str:
    """Return a size in a decimal unit.

    >>> _size(1_234_567)
    '1.2 MB'
    """
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if size >= 10**power:
            return f"{size / 10**power:,.1f} {unit}"
    return f"{size} bytes"
