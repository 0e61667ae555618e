"""Markers: records of a bench task's output, by which it is reused or made again.

A task writes a marker into its folder last. The marker lists the folder's files with sizes, times
and hashes, and the content of the inputs from which they were made. So a file that was altered
after the task is detected, a missing file is made again, and results of other inputs are not mixed
in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sbdata.completion import (
    MARKER,
    Marker,
    check_marker,
    describe_problems,
    read_marker,
    write_marker,
)
from sbdata.errors import InputError
from sbdata.fingerprints import content_of
from sbdata.storage import remove_leftovers, write_text

STAGE_MARKER = ".stage.json"
"""Name of a stage's marker; hidden, so that a folder of masks holds only masks to score."""

INPUTS = "inputs"

STARTED = ".started.json"
"""Name of the file that records, while a step makes a folder, the inputs that it makes it from."""


def begin(folder: Path, inputs: Mapping[str, str]) -> None:
    """Prepare an unfinished folder for its step, which may continue with the files in it.

    Files of a killed process are kept only if they were made from the same content; those of other
    or unknown inputs are deleted, so that results of two runs of an earlier step never mix.

    Args:
        folder: Folder of a step; created if necessary.
        inputs: Content of the step's inputs, by any names.
    """
    note = folder / STARTED
    wanted = json.dumps(dict(inputs), sort_keys=True) + "\n"
    if note.is_file() and note.read_bytes() == wanted.encode():
        return
    if folder.is_dir():
        shutil.rmtree(folder)
    write_text(note, wanted)


def usable(
    folder: Path,
    inputs: Mapping[str, str] | None = None,
    *,
    name: str = MARKER,
    whole: bool = False,
    verify: bool = False,
) -> Marker | None:
    """Return the marker of a folder whose files can be used; None if they must be made.

    Args:
        folder: Folder of a step.
        inputs: Content of the step's current inputs, by any names; a folder made from other content
            is deleted. None skips this check.
        name: File name of the marker.
        whole: True if the step can only make all of its files together: if one is missing, the
            whole folder is deleted. Otherwise the other files are kept.
        verify: True to hash every file.

    Raises:
        InputError: if a file was altered; the message names it.
    """
    problems = check_marker(folder, verify=verify, name=name)
    altered = [p for p in problems if p.kind not in ("missing", "no_marker")]
    if altered:
        msg = f"{describe_problems(folder, altered)}; delete the folder to have it made again"
        raise InputError(msg)
    marker = read_marker(folder, name=name)
    if marker is None:
        return None
    if inputs is not None and marker.extra.get(INPUTS, dict(inputs)) != dict(inputs):
        shutil.rmtree(folder)
        return None
    if problems and whole:
        shutil.rmtree(folder)
        return None
    if problems or (inputs is not None and INPUTS not in marker.extra):
        (folder / name).unlink(missing_ok=True)  # before any change in the folder
        return None
    return marker


def keep(
    folder: Path,
    inputs: Mapping[str, str],
    extra: Mapping[str, Any],
    *,
    name: str = MARKER,
    files: Iterable[str] | None = None,
) -> Marker:
    """Mark a folder as finished; return its new marker.

    Args:
        folder: Folder of a step.
        inputs: Content of the step's inputs, by any names.
        extra: Further plain values.
        name: File name of the marker.
        files: Files that the marker lists, relative to the folder; all by default.
    """
    remove_leftovers(folder)
    names = files_below(folder, name) if files is None else sorted(files)
    names = [path for path in names if path != STARTED]
    marker = write_marker(folder, names, {**extra, INPUTS: dict(inputs)}, name=name)
    (folder / STARTED).unlink(missing_ok=True)
    return marker


def files_below(folder: Path, marker: str) -> list[str]:
    """Return the relative paths of all files in a folder except its marker, sorted."""
    found = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in found)
    return sorted(name for name in names if name != marker)


def content_of_marker(marker: Marker) -> str:
    """Return a hash over the names and contents of the files that a marker lists."""
    return content_of({name: record.sha256 for name, record in marker.files.items()})
