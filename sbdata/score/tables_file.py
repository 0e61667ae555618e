"""Score tables in one file: of a prediction set, or of the images of one shard."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.limits import table_size_problem
from sbdata.metrics import MetricOptions
from sbdata.metrics.image import CLASS_ROW, INSTANCE_ROW, REGION_ROW
from sbdata.metrics.tables import ScoreTables
from sbdata.quoting import shortened
from sbdata.settings import from_plain
from sbdata.storage import write_bytes

_KINDS = {
    "image_pixels": np.dtype(np.int64),
    "confusion": np.dtype(np.int64),
    "instance_image": np.dtype(np.int32),
    "instances": INSTANCE_ROW,
    "region_image": np.dtype(np.int32),
    "regions": REGION_ROW,
    "class_image": np.dtype(np.int32),
    "classes": CLASS_ROW,
}


def write_tables(path: Path, tables: ScoreTables) -> None:
    """Write tables as a compressed ``.npz``; equal tables give equal bytes."""
    write_parts(path, {}, [tables])


def read_tables(path: Path) -> ScoreTables:
    """Read a file written by :func:`write_tables`.

    Raises:
        InputError: If the file is missing, damaged or of another version; the message names it.
    """
    return read_parts(path)[1][0]


def write_parts(path: Path, head: Mapping[str, Any], parts: Sequence[ScoreTables]) -> None:
    """Write several tables, and plain values about them, as a compressed ``.npz``."""
    about = [
        {
            "options": tables.options.as_dict(),
            "n_classes": tables.n_classes,
            "image_ids": list(tables.image_ids),
        }
        for tables in parts
    ]
    columns = {
        f"{k}.{name}": getattr(tables, name) for k, tables in enumerate(parts) for name in _KINDS
    }
    text = json.dumps({"head": dict(head), "tables": about}, sort_keys=True)
    out = io.BytesIO()
    np.savez_compressed(
        out, allow_pickle=False, head=np.frombuffer(text.encode(), np.uint8), **columns
    )
    write_bytes(path, out.getvalue())


def read_parts(path: Path) -> tuple[dict[str, Any], list[ScoreTables]]:
    """Read a file written by :func:`write_parts`.

    Raises:
        InputError: If the file is missing, damaged or of another version; the message names it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            taken = sum(entry.file_size for entry in archive.infolist())
        if problem := table_size_problem(taken, path.stat().st_size):
            raise ValueError(problem)
        with np.load(path, allow_pickle=False) as content:
            said = json.loads(content["head"].tobytes())
            return dict(said["head"]), [
                _tables_of(about, _columns_of(content, k, about), path)
                for k, about in enumerate(said["tables"])
            ]
    except (
        OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error,
        MemoryError, NotImplementedError, RuntimeError, SyntaxError
    ) as error:  # fmt: skip
        reason = shortened(str(error), 200)
        msg = f"{path}: not readable score tables ({reason}); score the predictions again"
        raise InputError(msg) from error


def _columns_of(
    content: Mapping[str, npt.NDArray[Any]], k: int, about: Mapping[str, Any]
) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of part k; files of version 0.2.0 do not know the pixels of the images."""
    unknown = {"image_pixels": np.zeros(len(about["image_ids"]), np.int64)}
    found = {name: content[f"{k}.{name}"] for name in _KINDS if f"{k}.{name}" in content}
    return {name: {**unknown, **found}[name] for name in _KINDS}


def _tables_of(
    about: Mapping[str, Any], columns: Mapping[str, npt.NDArray[Any]], path: Path
) -> ScoreTables:
    for name, kind in _KINDS.items():
        if columns[name].dtype != kind:
            msg = f"column {name} is {columns[name].dtype}"
            raise ValueError(msg)
    return ScoreTables(
        options=from_plain(MetricOptions, about["options"], str(path)),
        n_classes=int(about["n_classes"]),
        image_ids=tuple(map(str, about["image_ids"])),
        **columns,
    )
