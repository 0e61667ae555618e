"""Untrusted Parquet files: the memory that their rows take is computed before they are read.

A column of few values is stored as a dictionary and an index into it for each row. If all rows
share one long text, the file is small, but memory holds a copy of the text for each row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sbdata.limits import table_size_problem

_BATCH_ROWS = 1 << 16
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}


class ParquetError(ValueError):
    """Parquet file that would take far more memory than its size on disk."""


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file after checking that its rows are within the limits.

    Args:
        path: Path of the file.

    Raises:
        ParquetError: If its rows would take too much memory.
        pyarrow.ArrowException, OSError: If the file is missing or damaged.
    """
    with pq.ParquetFile(path) as file:
        _check(file, path)
        yield file


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file after checking that its rows are within the limits.

    Args:
        path: Path of the file.
        columns: Columns to read; all by default.

    Raises:
        ParquetError: If its rows would take too much memory.
        pyarrow.ArrowException, OSError: If the file is missing or damaged.
    """
    with open_parquet(path) as file:
        return file.read(columns=None if columns is None else [*columns])


def _check(file: pq.ParquetFile, path: Path) -> None:
    size = path.stat().st_size
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    widths = sum(_WIDTHS.get(column.physical_type, 0) for column in file.schema)
    _refuse_if_too_large(sum(max(g.total_byte_size, g.num_rows * widths) for g in groups), size)
    for group in range(file.num_row_groups):
        # If the metadata of a column is damaged, asking for it ends the process (pyarrow 26: an
        # uncaught C++ exception). Reading a row raises an error first.
        next(file.iter_batches(1, row_groups=[group], use_threads=False), None)
    columns = [
        (schema.path, *_column_bytes(file.metadata, number, schema))
        for number, schema in enumerate(file.schema)
    ]
    taken = sum(at_least for _, at_least, _ in columns)
    _refuse_if_too_large(taken, size)
    if table_size_problem(sum(at_most for _, _, at_most in columns), size):
        for name, at_least, at_most in columns:
            if at_most > at_least:  # the exact size follows from their dictionaries
                taken += _decoded_bytes(path, name)
                _refuse_if_too_large(taken, size)


def _refuse_if_too_large(taken: int, size: int) -> None:
    if problem := table_size_problem(taken, size):
        raise ParquetError(problem)


def _column_bytes(
    metadata: pq.FileMetaData, number: int, schema: pq.ColumnSchema
) -> tuple[int, int]:
    """Return how many bytes a column takes in memory at least and, if it is text, at most."""
    width = _WIDTHS.get(schema.physical_type, max(schema.length, 1))
    at_least, at_most = 0, 0
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(number)
        stored, values = chunk.total_uncompressed_size, chunk.num_values
        at_least += max(stored, values * width)
        if schema.physical_type == "BYTE_ARRAY" and any("DICT" in e for e in chunk.encodings):
            at_most += stored * values
    return at_least, max(at_least, at_most)


def _decoded_bytes(path: Path, name: str) -> int:
    """Return the bytes of a column's texts without decoding them, by the dictionary indices."""
    taken = 0
    with pq.ParquetFile(path, read_dictionary=[name]) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=[name], use_threads=False):
            column = batch.column(0)
            while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
                column = column.flatten()
            if not pa.types.is_dictionary(column.type):
                taken += column.nbytes
                continue
            lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
            taken += pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0
    return taken
