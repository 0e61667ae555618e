"""The page of formats: each format that code accepts has a row, and rows name what there is."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache

import click
import pytest

from sbdata.cli.score import score
from sbdata.export.export_set import FORMATS as EXPORTS
from sbdata.importers.layouts import LAYOUTS
from sbdata.score.palettes import PALETTES
from sbdata.weak_labels.labels import _READERS
from tests.doc_pages import ROOT, page_text

PAGE = "docs/reference/formats.md"
NAMES = {
    "PyTorch": "torch", "PyArrow": "pyarrow", "Pillow": "pillow", "NumPy": "numpy",
    "SciPy": "scipy", "FiftyOne": "fiftyone", "MMEngine": "mmengine",
}  # fmt: skip
"""Distributions of libraries that the page writes otherwise."""


def rows() -> list[list[str]]:
    lines = [line for line in page_text(PAGE).splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("format", "---")]


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def source_formats() -> set[str]:
    """Formats of the registry without those of other packages that are installed here."""
    text = (ROOT / "sbdata/sources/__init__.py").read_text()
    own = re.findall(r'^        "(\w+)": _open_', text, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {*own, *project["entry-points"]["sbdata.sources"]}


def test_every_format_that_is_accepted_has_a_row() -> None:
    given = " ".join(row[1] for row in rows())
    options = [p for p in score.params if isinstance(p, click.Option)]
    truths = [p.opts[0] for p in options if (p.help or "").startswith("Ground truth")]
    assert (len(source_formats()), len(truths)) == (8, 6)
    for name in (
        *(f"`score {option}`" for option in truths),
        *(f"`dataset export --to {form}`" for form in EXPORTS),
        *(f"`format: {name}`" for name in source_formats()),
        *(f"`--layout {name}`" for name in LAYOUTS),
        *(f"`--palette {name}`" for name in PALETTES),
    ):
        assert name in given, f"{PAGE} has no row with {name}"
    for suffix in (*_READERS, ".csv"):
        assert any(f"`{suffix}`" in row[0] and "--labels" in row[1] for row in rows()), suffix


def test_every_row_names_tests_that_exist_and_says_who_took_part() -> None:
    assert len(rows()) > 40
    for form, _, library, tests in rows():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert named, form
        for file, name in named:
            assert name in functions_of(file), f"{file} has no {name}"
        marked = any("realdata" in (ROOT / file).read_text() for file, _ in named)
        assert marked or "official files" not in library, form
        assert "sbdata only" in library or re.search(r" \d+\.\d+", library), form


def test_the_versions_are_those_of_the_development_environment() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    seen = set()
    for row in rows():
        for name, version, rest in re.findall(r"(\w+) (\d+\.\d+\.\d+)([^;,]*)", row[2]):
            found = pinned.get(NAMES.get(name, name))
            if found is None:
                assert "(not installed)" in rest, f"{name} is not in constraints.txt"
            else:
                assert version == found, f"{name} {version} is {found} in constraints.txt"
            seen.add(name)
    assert {"pycocotools", "datasets", "mlcroissant", "FiftyOne", "Datumaro"} <= seen


@pytest.mark.parametrize("page", ["docs/guides/export.md", "docs/reference/files.md"])
def test_pages_on_formats_lead_to_it(page: str) -> None:
    assert "formats.md" in page_text(page)
