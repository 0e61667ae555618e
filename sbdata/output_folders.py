"""Output folders: made before the work, and their troubles said in one sentence.

A disk that is full or a folder that cannot be written is no fault of the program: the message names
the folder and what can be done.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sbdata.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR,
    errno.ENAMETOOLONG,
)  # fmt: skip


def prepare_output(folder: Path) -> None:
    """Make a folder for output and write a file there, which is removed again.

    Raises:
        InputError: if either cannot be done.
    """
    probe = folder / f".{uuid.uuid4().hex[:8]}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise output_problem(folder, error) from error


def output_problem(folder: Path, error: OSError) -> InputError:
    """Return the sentence for an error of writing below a folder.

    Args:
        folder: that was written to.
        error: what the system said.
    """
    if error.errno in _FULL or "No space left" in str(error):
        return InputError(
            f"{folder}: the disk is full; free some space there, or give another folder, and run "
            "the same command again, which goes on where it was"
        )
    reason = error.strerror or str(error)
    standing = _file_in_the_way(folder)
    if standing is not None:
        reason = f"{standing} is a file"
    return InputError(
        f"{folder}: cannot be written ({reason}); give another folder, or change its permissions"
    )


@contextmanager
def naming_output_problems(folder: Path) -> Iterator[None]:
    """Turn the system's errors of writing below a folder into one sentence that names it.

    Errors of other files pass through unchanged.

    Raises:
        InputError: if the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL or "No space left" in str(error)
        if full or (error.errno in _REFUSED and _is_below(error.filename, folder)):
            raise output_problem(folder, error) from error
        raise


def _is_below(name: object, folder: Path) -> bool:
    if not isinstance(name, str | os.PathLike):
        return False
    return Path(os.path.abspath(name)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100


def _file_in_the_way(folder: Path) -> Path | None:
    """Return the part of a folder's path that is a file, if any."""
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            return part
    return None
