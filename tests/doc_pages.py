"""The pages of the documentation that are written by hand, and the code blocks in them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

_spec = importlib.util.spec_from_file_location("generate", DOCS / "reference" / "generate.py")
assert _spec is not None
assert _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)

GENERATED = frozenset(generate.pages())
"""Pages made by ``docs/reference/generate.py``, by their path below ``docs``."""

PAGES = sorted(
    ["README.md"]
    + [
        f"docs/{path.relative_to(DOCS).as_posix()}"
        for path in DOCS.rglob("*.md")
        if path.relative_to(DOCS).as_posix() not in GENERATED
    ]
)


def page_text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page_text(page), re.DOTALL)
