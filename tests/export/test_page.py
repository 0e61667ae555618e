"""The Python of the page on exports, on the exports that its commands write."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from sbdata.export.export_set import FORMATS, export_set
from sbdata.sets import open_set
from tests.doc_pages import blocks, page_text
from tests.export.sets import with_columns

PAGE = "docs/guides/export.md"


@pytest.mark.parametrize("package", ["pycocotools", "datasets"])
def test_the_python_of_the_page_runs(
    shapes_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    library = pytest.importorskip(package, reason=f"{package} is not installed")
    (code,) = (block for block in blocks(PAGE, "python") if f"from {package}" in block)
    opened = open_set(with_columns(shapes_set, tmp_path / "set", split=["val"] * 8))
    for form in ("coco", "hf"):
        export_set(opened, form, tmp_path / f"exports/shapes-b-{form}")
    monkeypatch.chdir(tmp_path)
    if package == "datasets":
        monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        monkeypatch.setattr(library.config, "HF_DATASETS_OFFLINE", True)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, PAGE, "exec"), {"__name__": "page"})  # noqa: S102 - our own page


def test_every_block_of_python_is_run_and_every_format_told_of() -> None:
    assert len(blocks(PAGE, "python")) == 2
    assert all(f"| `{form}` |" in page_text(PAGE) for form in FORMATS)
