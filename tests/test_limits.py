"""The limits on files of others, and what the docs say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbdata import limits

DOCS = (Path(__file__).parents[1] / "docs" / "files.md").read_text("utf-8")
NAMES = sorted(name for name in vars(limits) if name.startswith("MAX_"))


@pytest.mark.parametrize("name", NAMES)
def test_the_docs_have_every_limit_and_its_value(name: str) -> None:
    (line,) = (line for line in DOCS.splitlines() if f"`{name}`" in line)
    assert f"{getattr(limits, name):,}".removesuffix(".0") in line


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ((640, 480, "a.jpg"), ""),
        ((65_535, 1, "a.JPG"), ""),
        ((65_536, 1, "a.jpg"), "65,535"),
        ((65_536, 1, "a.png"), ""),
        ((1_000_001, 1, "a.png"), "1,000,000"),
        ((10_000, 10_000, "a.jpg"), "89,478,485"),
        ((0, 5, "a.jpg"), "at least 1 pixel"),
    ],
)
def test_sizes_of_images(size: tuple[int, int, str], problem: str) -> None:
    found = limits.image_size_problem(*size)
    assert problem in found
    assert bool(problem) == bool(found)


def test_sizes_of_tables() -> None:
    most = limits.MAX_TABLE_BYTES
    assert limits.table_size_problem(most, 1) == ""
    assert "in memory" in limits.table_size_problem(most + 1, 1)
    assert limits.table_size_problem(most + 1, most // limits.MAX_TABLE_GROWTH + 1) == ""
