"""Write the reference pages that are made from code; `make docs` calls it.

    python docs/reference/generate.py docs

The pages are not committed: the commands come from click, the keys of YAML files from the
dataclasses that read them, the columns of a manifest from its schemas.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from sbdata.cli import cli
from sbdata.manifest import INSTANCES_SCHEMA, images_schema
from sbdata.settings import as_plain
from sbdata.sizes import SizeBins

ROOT = Path(__file__).resolve().parents[2]

YAML_PAGES = {
    "recipe": ("Recipe YAML", "sbdata.recipe:Recipe", "../guides/build-a-set.md"),
    "study": ("Study YAML", "sbdata.benchmark.study:Study", "../studies.md"),
    "preset": ("Training preset YAML", "sbdata.train.preset:Preset", "../guides/train.md"),
}
"""Page: its title, the dataclass that reads the file, and the guide that uses it."""


def pages() -> dict[str, str]:
    """Return the text of each generated page, by its path below ``docs``."""
    made = {"reference/cli.md": commands_page(), "reference/manifest.md": manifest_page()}
    for name, (title, home, guide) in YAML_PAGES.items():
        module, _, kind = home.partition(":")
        made[f"reference/{name}.md"] = yaml_page(title, getattr(import_module(module), kind), guide)
    made["reference/python.md"] = docstrings_page()
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text("utf-8").replace("](docs/", "](")
        made[name.lower()] = text.replace("](CHANGELOG.md", "](changelog.md")
    return made


# --- commands -------------------------------------------------------------------------------------


def commands_page() -> str:
    """Return the page of all commands and their options."""
    parts = [f"# Commands\n\n{_paragraphs(cli.help or '')}\n"]
    for words, command in _commands(click.Context(cli, info_name="sbdata")):
        arguments = [a for a in command.params if isinstance(a, click.Argument)]
        usage = " ".join([words, "[OPTIONS]", *(a.human_readable_name for a in arguments)])
        parts.append(f"## {words}\n\n```text\n{usage}\n```\n\n{_paragraphs(command.help or '')}\n")
        examples = [line.strip() for line in (command.epilog or "").splitlines()[2:]]
        if examples:
            parts.append("```sh\n" + "\n".join(examples) + "\n```\n")
        options = [o for o in command.params if isinstance(o, click.Option) and not o.hidden]
        if options:
            context = click.Context(command, info_name=words)
            records = [record for o in options if (record := o.get_help_record(context))]
            rows = [f"| `{_cell(names)}` | {_cell(said)} |" for names, said in records]
            parts.append("\n".join(["| option | meaning |", "| --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def _commands(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with the words that call it."""
    group = context.command
    assert isinstance(group, click.Group)  # noqa: S101 - for the type checker
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None  # noqa: S101
        below = click.Context(command, parent=context, info_name=name)
        if isinstance(command, click.Group):
            yield from _commands(below)
        else:
            yield below.command_path, command


def _paragraphs(text: str) -> str:
    return _escaped("\n\n".join(" ".join(p.split()) for p in inspect.cleandoc(text).split("\n\n")))


# --- YAML files -----------------------------------------------------------------------------------


def yaml_page(title: str, kind: type, guide: str) -> str:
    """Return the page of the keys of a YAML file that is read into a dataclass."""
    head = (
        f"# {title}\n\nKeys of the file, as `sbdata` reads them; how to use one: [guide]({guide}). "
        "An unknown key or a wrong type is an error that lists the valid ones. A key without a "
        "default must be given. Keys are written as on the command line: `a.b` is `b` below `a`, "
        "`a.0` the first entry of a list.\n"
    )
    return "\n".join([head, *_tables(kind, "", "The file")])


def _tables(kind: type, prefix: str, title: str) -> Iterator[str]:
    """Yield the table of a dataclass, then those of the dataclasses in it."""
    hints, told = typing.get_type_hints(kind), described(kind)
    rows, nested = [], []
    for field in dataclasses.fields(kind):
        below = [k for k in _kinds(hints[field.name]) if dataclasses.is_dataclass(k)]
        of_each = ".0" if typing.get_origin(hints[field.name]) is tuple else ""
        nested += [(k, f"{prefix}{field.name}{of_each}.") for k in below]
        cells = (_type(hints[field.name]), _default(field), told.get(field.name, ""))
        rows.append(f"| `{prefix}{field.name}` | {' | '.join(map(_cell, cells))} |")
    head = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    said = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    yield f"## {title}\n\n{_code(said)}\n\n" + "\n".join([*head, *rows]) + "\n"
    for below, path in nested:
        yield from _tables(below, path, f"`{path.removesuffix('.')}`")


def described(kind: type) -> dict[str, str]:
    """Return what a dataclass's docstring says of each attribute, in one line."""
    text = inspect.cleandoc(kind.__doc__ or "")
    text = re.split(r"^(?:Attributes|Args):\n", text, flags=re.MULTILINE)[-1]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join(said.split()).replace("``", "`") for name, said in found}


def _kinds(hint: Any) -> Iterator[type]:
    """Yield the classes that a type names."""
    if not typing.get_args(hint):
        yield hint
    for part in typing.get_args(hint):
        if part is not Ellipsis and not isinstance(part, str):
            yield from _kinds(part)


def _type(hint: Any) -> str:
    """Return a type as a reader of YAML knows it."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is tuple:
        return f"list of {_type(parts[0])}"
    if origin is Mapping:
        return "mapping"
    if parts:  # a union
        return " or ".join(dict.fromkeys(_type(part) for part in parts))
    words = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if hint is type(None):
        return "null"
    return words.get(hint, "mapping, see below" if dataclasses.is_dataclass(hint) else "any")


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return "–"
    return "see below" if dataclasses.is_dataclass(value) else f"`{json.dumps(as_plain(value))}`"


# --- manifest -------------------------------------------------------------------------------------


def manifest_page() -> str:
    """Return the page of the columns of a manifest."""
    import sbdata.manifest as module

    told = inspect.getdoc(module) or ""
    parts = [f"# Manifest\n\n{_code(told.partition('.')[2].strip())}\n"]
    for name, schema, doc in (
        ("images.parquet", images_schema(SizeBins()), images_schema.__doc__ or ""),
        ("instances.parquet", INSTANCES_SCHEMA, "One row per visible instance."),
    ):
        null = {True: "yes", False: "no"}
        rows = [f"| `{c.name}` | {_cell(str(c.type))} | {null[c.nullable]} |" for c in schema]
        said = _code(inspect.cleandoc(doc))
        head = ["| column | type | may be null |", "| --- | --- | --- |"]
        parts.append(f"## `{name}`\n\n{said}\n\n" + "\n".join([*head, *rows]) + "\n")
    return "\n".join(parts)


# --- docstrings -----------------------------------------------------------------------------------


def docstrings_page() -> str:
    """Return a page that names the public objects; mkdocstrings inserts their docstrings."""
    parts = ["# Docstrings\n\nThe names of the [Python API](../api.md), and what they return.\n"]
    for module in ("sbdata", "sbdata.metrics", "sbdata.losses"):
        source = ROOT / module.replace(".", "/") / "__init__.py"
        (names,) = re.findall(r"^__all__ = (\[.*?\])", source.read_text("utf-8"), re.M | re.S)
        shown = [f"{module}.{name}" for name in ast.literal_eval(names) if name != "__version__"]
        parts.append(f"## `{module}`\n\n" + "\n\n".join(f"::: {name}" for name in shown) + "\n")
    returned = (
        "sbdata.score.result.ScoreResult",
        "sbdata.score.result.Comparison",
        "sbdata.sets.EvaluationSet",
    )
    parts.append("## What they return\n\n" + "\n\n".join(f"::: {name}" for name in returned) + "\n")
    return "\n".join(parts)


# --- Markdown -------------------------------------------------------------------------------------


def _code(text: str) -> str:
    return _escaped(text.replace("``", "`"))


def _escaped(text: str) -> str:
    """Return text in which nothing outside of code is taken for HTML."""
    return re.sub(r"`[^`]*`|[<>]", lambda m: {"<": "&lt;", ">": "&gt;"}.get(m[0], m[0]), text)


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")


def main(docs: Path) -> None:
    """Write all pages below ``docs``."""
    for name, text in pages().items():
        (docs / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
