"""Lock of a training: two processes never write the folders of one run at the same time.

:mod:`sbdata.train.strategies` does not import this module, so a change here does not change the
fingerprint of the code that trained a segmenter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sbdata.errors import InputError
from sbdata.train.devices import DistributedContext
from sbdata.train.registry import FIRST_PHASE
from sbdata.train.strategies import needs_first_phase

LOCK = ".lock"
"""Name of the lock in a run's folder; the file stays there if the run wrote anything."""


@contextmanager
def locked_run(name: str, out: Path, place: DistributedContext) -> Iterator[None]:
    """Keep other processes from training a strategy in a folder, until the context ends.

    A strategy that must first run the shared first phase locks that one, too. Of several processes
    of one training, the first one locks. The system releases the locks of a killed process.

    Args:
        name: Name of the strategy.
        out: Output folder as in :func:`~sbdata.train.strategies.run_strategy`.
        place: Device and processes.

    Raises:
        InputError: If another process is training there.
    """
    with ExitStack() as held:
        if place.is_first:
            shared = [out / FIRST_PHASE] if needs_first_phase(name, out) else []
            for folder in (out / name, *shared):
                _lock(folder, held)
        yield


def _lock(folder: Path, held: ExitStack) -> None:
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(FileLock(folder / LOCK, blocking=False))
        held.callback(_remove_if_unused, folder, created)
    except Timeout as error:
        msg = (
            f"{folder} is being trained by another process; wait for it, or choose another folder "
            "(--out)"
        )
        raise InputError(msg) from error
    except PermissionError:  # a finished run in a read-only folder is only read
        return


def _remove_if_unused(folder: Path, created: Sequence[Path]) -> None:
    """Delete the lock and the folders created for it, if a refused run has written nothing."""
    if [path.name for path in folder.iterdir()] == [LOCK]:
        with suppress(OSError):
            (folder / LOCK).unlink()
            for path in created:
                path.rmdir()
