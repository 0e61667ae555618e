"""Score tables in one file, so that two prediction sets are compared without scoring them again."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from sbdata.errors import InputError
from sbdata.limits import table_size_problem
from sbdata.metrics import MetricOptions
from sbdata.metrics.image import CLASS_ROW, INSTANCE_ROW, REGION_ROW
from sbdata.metrics.tables import ScoreTables
from sbdata.quoting import shortened
from sbdata.settings import from_plain
from sbdata.storage import write_bytes

_KINDS = {
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
    head = {
        "options": tables.options.as_dict(),
        "n_classes": tables.n_classes,
        "image_ids": list(tables.image_ids),
    }
    columns = {name: getattr(tables, name) for name in _KINDS}
    out = io.BytesIO()
    np.savez_compressed(out, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **columns)
    write_bytes(path, out.getvalue())


def read_tables(path: Path) -> ScoreTables:
    """Read a file written by :func:`write_tables`.

    Raises:
        InputError: If the file is missing, damaged or of another version; the message names it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            taken = sum(entry.file_size for entry in archive.infolist())
        if problem := table_size_problem(taken, path.stat().st_size):
            raise ValueError(problem)
        with np.load(path, allow_pickle=False) as content:
            head = json.loads(content["head"].tobytes())
            columns = {name: content[name] for name in _KINDS}
        for name, kind in _KINDS.items():
            if columns[name].dtype != kind:
                msg = f"column {name} is {columns[name].dtype}"
                raise ValueError(msg)
        return ScoreTables(
            options=from_plain(MetricOptions, head["options"], str(path)),
            n_classes=int(head["n_classes"]),
            image_ids=tuple(map(str, head["image_ids"])),
            **columns,
        )
    except (
        OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error,
        MemoryError, NotImplementedError, RuntimeError, SyntaxError
    ) as error:  # fmt: skip
        reason = shortened(str(error), 200)
        msg = f"{path}: not readable score tables ({reason}); score the predictions again"
        raise InputError(msg) from error
