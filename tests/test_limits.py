"""Tables and JSON files that ask for more room than they have bytes; names of what is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sbdata import limits
from sbdata.benchmark.entries import read_records
from sbdata.benchmark.records import write_result
from sbdata.errors import InputError
from sbdata.limits import image_size_problem
from sbdata.manifest import IMAGES_FILE, INSTANCES_FILE, read_manifest
from sbdata.quoting import has_controls, quoted, shortened
from tests.benchmark.result_examples import result

DOCS = (Path(__file__).parents[1] / "docs" / "reference" / "files.md").read_text("utf-8")


@pytest.mark.parametrize("name", sorted(n for n in vars(limits) if n.startswith("MAX_")))
def test_the_docs_have_every_limit_and_its_value(name: str) -> None:
    (line,) = (line for line in DOCS.splitlines() if f"`{name}`" in line)
    assert f"{getattr(limits, name):,}".removesuffix(".0") in line


def test_sizes_of_tables() -> None:
    most = limits.MAX_TABLE_BYTES
    assert limits.table_size_problem(most, 1) == ""
    assert "in memory" in limits.table_size_problem(most + 1, 1)
    assert limits.table_size_problem(most + 1, most // limits.MAX_TABLE_GROWTH + 1) == ""


def test_a_table_of_constant_rows_is_refused_by_its_header(tmp_path: Path) -> None:
    rows = 3_000_000
    column = pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int8()).fill_null(0), ["x"])
    pq.write_table(pa.table({"image_id": column}), tmp_path / IMAGES_FILE, compression="zstd")
    (tmp_path / INSTANCES_FILE).write_bytes(b"")
    assert (tmp_path / IMAGES_FILE).stat().st_size < 100_000
    with pytest.raises(InputError, match=r"images.parquet: 3,000,000 rows in .* bytes"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("width", "height", "name", "fits"),
    [
        (65_535, 1_365, "a.jpg", True),
        (65_536, 1, "a.jpg", False),
        (65_536, 1, "a.JPEG", False),
        (65_536, 1, "a.png", True),
        (1_000_001, 1, "a.png", False),
        (9_460, 9_459, "a.png", False),
        (0, 4, "a.png", False),
    ],
)
def test_sizes_of_images(width: int, height: int, name: str, fits: bool) -> None:
    assert (image_size_problem(width, height, name) == "") is fits


def test_every_damaged_result_is_named(tmp_path: Path) -> None:
    good = write_result(tmp_path, result("cam", "ce"))[0]
    plain = json.loads(good.read_text())
    deep, half = tmp_path / "deep.json", tmp_path / "half.json"
    deep.write_text('{"format": ' + "[" * 100_000)
    half.write_text(json.dumps(plain | {"method": "\ud800"}))
    with pytest.raises(InputError) as caught:
        read_records([tmp_path])
    assert str(deep) in str(caught.value)
    assert str(half) in str(caught.value)
    for path in (deep, half):
        path.unlink()
    assert len(read_records([tmp_path])[0]) == 1


def test_quoted_values_are_short_and_print() -> None:
    for value in ("\x1b[2J" * 1000, ["x" * 10**6] * 10, {"a": {"b": [1] * 10**5}}, 10**5000):
        text = quoted(value)
        assert len(text) <= 100
        assert text.isprintable()
    assert len(shortened("ä" * 5000)) == 100
    assert not has_controls("名\u3000前 ‍🦊\tx")
