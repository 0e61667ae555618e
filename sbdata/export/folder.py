"""Folder of an export: written as a whole, never over files of others.

An export is prepared in a hidden folder beside its final path and moved there in one step, so that
a folder with the final name is complete. ``export.json`` says what it holds, and ``checksums.txt``
lists its files. A later export of the same format replaces the folder only if it holds exactly
these files, unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from sbdata.checksums import CHECKSUMS_FILE, read_checksums
from sbdata.curate.materialise import files_of, write_checksums
from sbdata.errors import InputError
from sbdata.machine import writing_to
from sbdata.quoting import shortened
from sbdata.storage import alone, replacing, restore_folder, sha256_of

MARKER_FILE = "export.json"
_KIND = "sbdata_export"


def check_place(root: Path, form: str, out: Path) -> Path:
    """Check that an export may be written to a folder.

    Args:
        root: Folder of the set.
        form: Name of the format.
        out: Folder for the export.

    Returns:
        The folder's path without links.

    Raises:
        InputError: If the folder is the set's, lies in it or contains it, or holds something else
            than an unchanged export of this format.
    """
    place, source = out.resolve(), root.resolve()
    if place.is_relative_to(source) or source.is_relative_to(place):
        msg = f"{out}: the folder of the set, or one inside or around it; give another --out"
        raise InputError(msg)
    restore_folder(place)
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return place
    if not place.is_dir() or _marker(place).get(_KIND) != form:
        msg = f"{out}: exists and is not an export to {form}; give another --out"
        raise InputError(msg)
    foreign = _foreign_file(place)
    if foreign:
        msg = (
            f"{place / foreign}: not a file of the export as it was written, and it would be lost; "
            "move it away, or give another --out"
        )
        raise InputError(msg)
    return place


def _marker(folder: Path) -> Mapping[str, Any]:
    try:
        content = orjson.loads((folder / MARKER_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _foreign_file(folder: Path) -> str:
    """Return a file that is not as an earlier export wrote it; empty if there is none."""
    sums = read_checksums(folder)
    for name in files_of(folder):
        if name == CHECKSUMS_FILE:
            continue
        if name not in sums or (folder / name).is_dir() or sha256_of(folder / name) != sums[name]:
            return shortened(name)
    return ""


@contextmanager
def whole_folder(
    root: Path, form: str, out: Path, facts: Mapping[str, Any], *, workers: int
) -> Iterator[Path]:
    """Yield a hidden folder to fill; on success it gets its marker and replaces ``out``.

    Args:
        root: Folder of the set.
        form: Name of the format.
        out: Folder for the export.
        facts: Plain values for ``export.json``.
        workers: Number of threads that hash files.

    Raises:
        InputError: If ``out`` is refused by :func:`check_place`, or cannot be written.
    """
    place = check_place(root, form, out)
    with writing_to(place.parent), alone(place):
        check_place(root, form, out)
        with replacing(place) as prepared:
            yield prepared
            marker = orjson.dumps({_KIND: form, **facts}, option=orjson.OPT_INDENT_2)
            (prepared / MARKER_FILE).write_bytes(marker + b"\n")
            write_checksums(prepared, workers=workers)
