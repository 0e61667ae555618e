"""Markers: what a task of the bench made, to be used again or made again.

A task writes a marker into its folder last. The marker lists the folder's files with sizes, times
and hashes, and the content of the inputs that they were made from. So a file that was altered after
the step is noticed, one that was lost is made again, and what was made from other inputs is not
mixed in.
"""

from __future__ import annotations

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
from sbdata.storage import remove_leftovers

STAGE_MARKER = ".stage.json"
"""Name of a stage's marker; hidden, since a folder of masks holds nothing else to score."""

INPUTS = "inputs"


def usable(
    folder: Path,
    inputs: Mapping[str, str] | None = None,
    *,
    name: str = MARKER,
    whole: bool = False,
    verify: bool = False,
) -> Marker | None:
    """Return the marker of a folder that can be used as it is; None if it has to be made.

    Args:
        folder: of a step.
        inputs: content of what the step reads now, by any names; a folder that was made from other
            content is deleted. None passes over it.
        name: of the marker.
        whole: whether the step makes all of its files or none, so that the whole folder is deleted
            if one was lost; else the others are kept.
        verify: hash every file.

    Raises:
        InputError: naming a file that was altered.
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
        (folder / name).unlink(missing_ok=True)  # before anything in the folder changes
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
    """Say that a folder is finished.

    Args:
        folder: of a step.
        inputs: content of what the step read, by any names.
        extra: further plain values.
        name: of the marker.
        files: that it vouches for, relative to the folder; all by default.
    """
    remove_leftovers(folder)
    names = files_below(folder, name) if files is None else sorted(files)
    return write_marker(folder, names, {**extra, INPUTS: dict(inputs)}, name=name)


def files_below(folder: Path, marker: str) -> list[str]:
    """Return the paths of all files in a folder but its marker, relative, with slashes, sorted."""
    found = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in found)
    return sorted(name for name in names if name != marker)


def content_of_marker(marker: Marker) -> str:
    """Return a hash over the names and the content of the files that a marker vouches for."""
    return content_of({name: record.sha256 for name, record in marker.files.items()})
