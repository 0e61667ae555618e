"""Errors of the machine: folders that cannot be written, full disks, Ctrl-C.

The messages of libraries name neither the folder nor the remedy; those of this module name both.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sbdata.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NEARLY_FULL = 1 << 20  # free bytes
_TRIES, _PAUSE = 20, 0.01  # to write into a folder, and seconds between two


# --- sentences ------------------------------------------------------------------------------------


def sentence_of(error: OSError, places: Iterable[Path] = ()) -> str:
    """Return a sentence for an error of the operating system, with the place and the remedy.

    Args:
        error: Error that was raised.
        places: Folders that the work writes to, for an error that names no file.
    """
    what = error.strerror or str(error) or type(error).__name__
    named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    if error.errno in _FULL:
        places = tuple(places)
        where = named or _full_place(places)
        remedy = "make room there or give another place"
        if where == str(_temporary()) or (
            named and not _below(named, places) and _below(named, [_temporary()])
        ):
            remedy = "make room there, or set TMPDIR to another folder"
        return f"{where}: the disk is full ({what}); {remedy}"
    if named is None:
        if "temporary directory" in what:
            return f"{what}; make room in one of them, or set TMPDIR to another folder"
        return f"{what}; give another place, or fix the problem"
    if error.errno in _DENIED:
        return f"{named}: {what}; correct the permissions, or give another place"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{named}: {what}; raise the limit (ulimit -n), or use fewer workers"
    return f"{named}: {what}; give another place, or fix the problem"


def _full_place(places: Iterable[Path]) -> str:
    """Return the first place on a full file system, with the temporary and current folder last."""
    candidates = [*places, _temporary(), Path()]
    for place in candidates:
        with suppress(OSError, ValueError):
            near = next(p for p in (place, *place.absolute().parents) if p.exists())
            if shutil.disk_usage(near).free < _NEARLY_FULL:
                return str(place)
    return " or ".join(str(place) for place in candidates[:-1])


def _temporary() -> Path:
    """Return the folder of temporary files, even if no such folder can be written."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - only named


def _below(place: str, folders: Iterable[Path]) -> bool:
    try:
        return any(Path(place).resolve().is_relative_to(f.resolve()) for f in folders)
    except (OSError, ValueError):
        return False


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Convert errors of the operating system while writing a folder to one-sentence errors.

    Raises:
        InputError: If such an error occurs; the message names the file, or else the folder.
    """
    try:
        yield
    except OSError as error:
        raise InputError(sentence_of(error, [folder])) from error


def check_output(folder: Path) -> None:
    """Check that files can be written in a folder, before any work is done for it.

    The folder need not exist. Everything created for the check is removed again; if processes check
    one folder at the same time, an empty parent may stay.

    Raises:
        InputError: If files cannot be written; the message names the folder and the problem.
    """
    try:
        for _ in range(_TRIES - 1):
            # Processes that start together, as those of torchrun, remove folders of each other.
            with suppress(FileNotFoundError, FileExistsError):
                return _write_and_remove(folder)
            time.sleep(_PAUSE)
        _write_and_remove(folder)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        remedy = "give another folder"
        if isinstance(error, OSError) and error.errno in _FULL:
            what, remedy = f"the disk is full ({what})", "make room there or give another folder"
        msg = f"{folder}: cannot be written to: {what}; {remedy}"
        raise InputError(msg) from error


def _write_and_remove(folder: Path) -> None:
    made: list[Path] = []
    try:
        missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
        for place in reversed(missing):
            place.mkdir()
            made.append(place)
        # A file without a name, if the system supports it, so that a kill leaves nothing.
        with tempfile.TemporaryFile(dir=folder, prefix=".", suffix=".part") as stream:
            stream.write(b"\0")
    finally:
        for place in reversed(made):
            with suppress(OSError):
                place.rmdir()


# --- processes ----------------------------------------------------------------------------------


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_count() -> int:
    """Return how many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


# --- Ctrl-C ---------------------------------------------------------------------------------------


@contextmanager
def starting_workers() -> Iterator[None]:
    """Start worker processes within this context so that they ignore Ctrl-C.

    A terminal sends Ctrl-C to all processes of a command. A worker that is still importing its
    libraries would print its own traceback; workers started in this context never see the signal.
    This process receives it as soon as they are started.
    """
    if not hasattr(signal, "pthread_sigmask") or (
        threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    from multiprocessing import resource_tracker

    # Otherwise it is started with the first worker and unblocks the signal again.
    resource_tracker.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def end_workers(pool: ProcessPoolExecutor) -> None:
    """Kill the processes of a pool whose work is no longer needed, before it is shut down.

    Partly written files do not have their final names, so the processes may end at any point.
    """
    processes = getattr(pool, "_processes", None) or {}
    for process in list(processes.values()):
        process.terminate()
