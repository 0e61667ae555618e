"""Tables whose rows would take far more memory than the file has bytes are refused unread."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sbdata.errors import InputError
from sbdata.limits import MAX_TABLE_BYTES
from sbdata.manifest import IMAGES_FILE, INSTANCES_FILE, ManifestError, read_manifest
from sbdata.parquet_files import ParquetError, open_parquet, read_parquet

LONG = "x" * 2**20
ROWS = 20_000  # twenty gigabytes of one text


def repeated(text: str | bytes, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))


def nested(text: str, rows: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, rows], pa.int32()), repeated(text, rows))


@pytest.mark.parametrize(
    "column",
    [
        repeated(LONG, ROWS),
        repeated(LONG.encode(), ROWS),
        nested(LONG, ROWS),
        pa.array(np.zeros(50_000_000, np.int64)),
        pa.array([b"\0" * (MAX_TABLE_BYTES + 1)]),
    ],
    ids=["text", "bytes", "list", "numbers", "one-value"],
)
def test_a_small_file_of_much_is_refused_before_it_is_read(
    tmp_path: Path, column: pa.Array
) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"a": column})
    pq.write_table(table.replace_schema_metadata(None), path, compression="zstd")
    del column, table
    assert path.stat().st_size < 2**20
    former, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.system_memory_pool())
    pa.set_memory_pool(pool)
    try:
        for read in (read_parquet, lambda p: open_parquet(p).__enter__()):
            with pytest.raises(ParquetError, match="an implausible"):
                read(path)
    finally:
        pa.set_memory_pool(former)
    assert (pool.max_memory() or 0) < 2**26


def test_damaged_metadata_of_a_column_does_not_end_the_process(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [["x"], [], None]}), path)
    good = path.read_bytes()
    code = (
        "import sys, pyarrow as pa; from pathlib import Path\n"
        "from sbdata.parquet_files import ParquetError, read_parquet\n"
        "path = Path(sys.argv[1]); good = path.read_bytes(); begin = int(sys.argv[2])\n"
        "for place in range(begin, len(good) - 8):\n"
        "    for step in (1, 2):\n"
        "        data = bytearray(good); data[place] = (data[place] + step) % 256\n"
        "        path.write_bytes(data)\n"
        "        try: read_parquet(path)\n"
        "        except (pa.ArrowException, OSError, ParquetError, UnicodeDecodeError): pass\n"
        "print('end')"
    )
    footer = int.from_bytes(good[-8:-4], "little")
    begin = str(len(good) - 8 - footer)
    done = subprocess.run([sys.executable, "-c", code, path, begin], capture_output=True, text=True)
    assert done.stdout == "end\n", done.stderr[-400:]


def test_ordinary_tables_are_read(tmp_path: Path) -> None:
    ids = [f"image-{k}" for k in range(30_000)]
    table = pa.table(
        {
            "id": ids,
            "same": ["the same text for all of them"] * len(ids),
            "labels": pa.array([[1, 2]] * len(ids), pa.list_(pa.int16())),
            "names": pa.array([["fox", "hen"]] * len(ids)),
            "mask": [name.encode() for name in ids],
            "share": np.arange(len(ids)) / 7,
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert read_parquet(tmp_path / "a.parquet").equals(table)
    assert read_parquet(tmp_path / "a.parquet", ["share", "id"]).equals(
        table.select(["share", "id"])
    )


def test_a_long_text_that_few_rows_share_is_read(tmp_path: Path) -> None:
    table = pa.table({"a": repeated(LONG, 100).cast(pa.string())})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_parquet(tmp_path / "a.parquet")["a"].to_pylist() == [LONG] * 100


@pytest.mark.parametrize("name", [IMAGES_FILE, INSTANCES_FILE])
def test_a_manifest(tmp_path: Path, shapes_set: Path, name: str) -> None:
    for file in (IMAGES_FILE, INSTANCES_FILE):
        (tmp_path / file).write_bytes((shapes_set / file).read_bytes())
    table = pq.read_table(tmp_path / name)
    rows = 400 if table.num_rows < 400 else table.num_rows
    whole = pa.concat_tables([table] * (1 + rows // table.num_rows))
    place = whole.schema.get_field_index("source")
    whole = whole.set_column(place, "source", repeated("y" * 2**22, whole.num_rows))
    pq.write_table(whole, tmp_path / name)
    with pytest.raises(ManifestError, match=f"{name}: not a readable .* in memory"):
        read_manifest(tmp_path)


def test_the_table_of_a_saved_score(tmp_path: Path) -> None:
    from sbdata.score.saved import _table

    pq.write_table(pa.table({"a": repeated(LONG, ROWS)}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="an implausible"):
        _table(tmp_path / "a.parquet", ["a"])


def test_score_tables(tmp_path: Path) -> None:
    from sbdata.score.tables_file import read_tables

    column = io.BytesIO()
    np.save(column, np.zeros(MAX_TABLE_BYTES // 8 + 1))
    with zipfile.ZipFile(tmp_path / "t.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("confusion.npy", column.getvalue())
    with pytest.raises(InputError, match=r"t.npz: not readable score tables .* in memory"):
        read_tables(tmp_path / "t.npz")
