"""`make speed` calls scripts as they can be called, and leaves committed figures alone."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from shutil import which

import pytest

ROOT = Path(__file__).resolve().parent.parent


def options_of(script: Path) -> dict[str, str]:
    """Return the options and arguments that a script adds to its parser, each with its call."""
    calls = [
        node
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    found = {
        call.args[0].value: ast.unparse(call)
        for call in calls
        if call.func.attr == "add_argument" and isinstance(call.args[0], ast.Constant)
    }
    if any(ast.unparse(call.func) == "harness.parser" for call in calls):
        found |= options_of(ROOT / "benchmarks/harness.py")
    return found


@pytest.mark.skipif(which("make") is None, reason="make is not installed")
def test_make_speed_calls_scripts_that_need_nothing_but_a_scale() -> None:
    command = ["make", "--dry-run", "--directory", str(ROOT), "speed"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    scripts = re.findall(r"benchmarks/\w+\.py", re.search(r"for script in (.*?);", said)[1])
    assert len(scripts) > 10
    for name in scripts:
        options = options_of(ROOT / name)
        assert "--scale" in options, f"{name} has no --scale"
        assert [o for o in options if not o.startswith("-")] == [], f"{name} needs an argument"


def test_no_script_writes_figures_unless_it_is_told_where() -> None:
    for script in (ROOT / "benchmarks").glob("*.py"):
        for option, call in options_of(script).items():
            if option in ("--out", "--json", "--record"):
                assert "results" not in call.lower(), f"{script.name}: {call}"
