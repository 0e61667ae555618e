"""The direction of imports, as pyproject.toml states it, and the page that describes it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_imports_go_one_way() -> None:
    pytest.importorskip("importlinter", reason="the extra `lint` is not installed")
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_page_on_architecture_has_every_package_and_module() -> None:
    found = {path.stem for path in (ROOT / "sbdata").glob("*.py")}
    found |= {path.parent.name for path in (ROOT / "sbdata").glob("*/__init__.py")}
    in_diagram = re.findall(r"^[▼ ] (\w+) ", PAGE.split("```")[1], re.MULTILINE)
    told = {*in_diagram, *re.findall(r"`(\w+)`", PAGE)}
    assert sorted(found - {"__init__", "__main__"} - told) == []


def test_names_on_the_page_on_architecture_exist() -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    parts = {path.stem for path in (ROOT / "sbdata").iterdir()}
    unknown, found = [], 0
    for name in set(re.findall(r"`(\w+(?:\.\w+)+)`", PAGE)):
        first = name.partition(".")[0]
        if first not in {*parts, "sbdata", "sbdata_baselines"}:
            continue  # a file, such as recipes.md
        full = name if first.startswith("sbdata") else f"sbdata.{name}"
        found += 1
        if not _exists(full):
            unknown.append(name)
    assert unknown == []
    assert found > 50


def _exists(name: str) -> bool:
    """Tell whether a name is a module, or something in one."""
    words = name.split(".")
    for end in range(len(words), 0, -1):
        try:
            module = importlib.import_module(".".join(words[:end]))
        except ModuleNotFoundError:
            continue
        try:
            reduce(getattr, words[end:], module)
        except AttributeError:
            return False
        return True
    return False
