"""Download files so that each is either complete and verified, or absent.

A file is downloaded to ``NAME.part`` beside its target. It is renamed after its size and hash were
compared and its bytes were flushed to the disk. If a download is interrupted (lost connection,
Ctrl-C, kill, full disk), the part stays. The next call resumes it, provided that the server
confirms that it is the same file (If-Range) or a known hash will prove it. A lock prevents two
processes from downloading the same file: the second waits and uses the first one's file.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from sbdata.errors import InputError
from sbdata.fetch.codings import undo_coding
from sbdata.fetch.connections import TIMEOUT, Connections, OverdueError
from sbdata.fetch.parts import Digests, Part, digests_of, note_of, part_of, plain_of
from sbdata.fetch.remotes import Remote
from sbdata.fetch.retries import RefusedError
from sbdata.fetch.space import check_space
from sbdata.fetch.transfers import Transfer, fill
from sbdata.parallel import run_each
from sbdata.storage import is_safe_stem

Progress = Callable[[int, int | None], None]
"""Callback with (bytes present, total bytes or None), called at most twenty times a second."""
ProgressOfEach = Callable[[str, int, int | None], None]
"""Callback with (file name, bytes present, total bytes or None); calls never overlap."""

_LOG = logging.getLogger(__name__)
_PROGRESS_EVERY = 0.05
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CODED_NAMES = (".gz", ".tgz", ".svgz")


@dataclass(frozen=True)
class DownloadOptions:
    """Retry and timeout settings of a download.

    Attributes:
        attempts: Consecutive attempts without new data before an address is given up.
        timeout: Timeout in seconds for connecting and for each read.
        total: Time limit in seconds per file, for all addresses and pauses together.
        pause: Pause in seconds before the second attempt, doubled for each further one.
        plain_redirects: Whether to follow redirects from https to http; the file's hash must still
            match.
    """

    attempts: int = 6
    timeout: float = TIMEOUT
    total: float = 24 * 3600.0
    pause: float = 1.0
    plain_redirects: bool = False


@dataclass(frozen=True)
class Downloaded:
    """A file that is complete and in its place.

    Attributes:
        name: Requested file name.
        path: Path of the file.
        size: Size in bytes.
        sha256: SHA-256 in hex.
        source: Address that its last bytes came from, or ``"kept"`` if it existed already.
        received: Bytes received over the network for it in this call.
    """

    name: str
    path: Path
    size: int
    sha256: str
    source: str
    received: int


DEFAULT_OPTIONS = DownloadOptions()


def download(
    remote: Remote,
    folder: Path,
    *,
    options: DownloadOptions = DEFAULT_OPTIONS,
    progress: Progress | None = None,
) -> Downloaded:
    """Download a file into a folder unless it is there; resume an interrupted download.

    An existing file is hashed, and kept if its size and hash match the known ones. If neither is
    known, it is kept, since a file gets its name only when it is complete.

    Args:
        remote: File to download.
        folder: Target folder; created if absent.
        options: Retry and timeout settings, see :class:`DownloadOptions`.
        progress: Callback, see ``Progress``.

    Raises:
        InputError: If no address gives the right bytes, the folder cannot be written, the disk has
            not enough space, or the time limit is reached. Bytes received until then are kept if
            they may be right.
    """
    with closing(_connections(options)) as connections:
        return _Download(remote, folder, options, connections, progress).run()


def download_each(
    remotes: Sequence[Remote],
    folder: Path,
    *,
    parallel: int = 3,
    options: DownloadOptions = DEFAULT_OPTIONS,
    progress: ProgressOfEach | None = None,
) -> list[Downloaded | InputError]:
    """Download several files into a folder in parallel; a failed file does not stop the others.

    Args:
        remotes: Files to download, with distinct names.
        folder: Target folder; created if absent.
        parallel: Number of files downloaded at the same time.
        options: Settings that apply to each file.
        progress: Callback, see ``ProgressOfEach``.

    Returns:
        One result per file, in the order given: the file, or the error.

    Raises:
        InputError: If a name is given twice, or the disk has not enough space for all files.
    """
    names = [remote.name for remote in remotes]
    if len({name.casefold() for name in names}) != len(names):
        msg = f"{folder}: a file name is given twice ({', '.join(sorted(names))}); give each once"
        raise InputError(msg)
    lacking = sum(_lacking(remote, folder / remote.name) for remote in remotes)
    check_space(folder, lacking, f"{len(remotes)} files")
    alone = threading.Lock()
    connections = _connections(options)

    def obtain(remote: Remote) -> Downloaded | InputError:
        def report(done: int, total: int | None) -> None:
            if progress is not None:
                with alone:
                    progress(remote.name, done, total)

        try:
            return _Download(remote, folder, options, connections, report).run()
        except InputError as error:
            return error

    # An interruption closes the connections too; the threads then stop and their parts stay.
    with closing(connections):
        return run_each(obtain, remotes, workers=parallel)


def _connections(options: DownloadOptions) -> Connections:
    return Connections(timeout=options.timeout, plain_redirects=options.plain_redirects)


class _Download:
    """The download of one file."""

    def __init__(
        self,
        remote: Remote,
        folder: Path,
        options: DownloadOptions,
        connections: Connections,
        progress: Progress | None,
    ) -> None:
        if not is_safe_stem(remote.name) or remote.name.endswith((".part", ".part.json")):
            msg = f"{remote.name!r} cannot name a file in {folder}; give another name"
            raise InputError(msg)
        if not remote.urls:
            raise InputError(f"{remote.name}: no URL is given; add one")
        self._remote = remote
        self._folder = folder
        self._target = folder / remote.name
        self._options = options
        self._connections = connections
        self._progress = progress
        self._reported = 0.0
        self._deadline = time.monotonic() + options.total

    def run(self) -> Downloaded:
        try:
            seen = _identity(self._target)
            # Check before locking: a good file in a read-only folder needs no lock.
            if (kept := self._kept()) is not None:
                if any(path.exists() for path in self._beside()):
                    with suppress(OSError, Timeout), self._lock().acquire(blocking=False):
                        self._sweep()
                return kept
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._deadline = time.monotonic() + self._options.total  # waiting is free
                if _identity(self._target) != seen and (kept := self._kept()) is not None:
                    self._sweep()
                    return kept  # another process has downloaded it meanwhile
                return self._obtained()
        except OverdueError as error:
            msg = (
                f"{self._remote.name}: not done within {self._options.total:,.0f} seconds; "
                f"{self._left_over()}run it again, or allow more time"
            )
            raise InputError(msg) from error
        except OSError as error:
            raise self._unusable(error) from error

    # --- existing file ----------------------------------------------------------------------------

    def _kept(self) -> Downloaded | None:
        if not self._target.is_file():
            return None
        size = self._target.stat().st_size
        if self._remote.size not in (None, size):
            return None  # no need to hash it
        digests = self._digests_of(self._target)
        if self._remote.difference(size, digests) is not None:
            return None
        self._report(size, size, last=True)
        return Downloaded(self._remote.name, self._target, size, digests.sha256, "kept", 0)

    def _sweep(self) -> None:
        """Remove the leftovers of a process that was killed just after it renamed its file."""
        for path in self._beside():
            path.unlink(missing_ok=True)

    def _beside(self) -> tuple[Path, ...]:
        return part_of(self._target), plain_of(self._target), note_of(self._target)

    # --- missing file -----------------------------------------------------------------------------

    def _obtained(self) -> Downloaded:
        check_space(self._folder, _lacking(self._remote, self._target), self._remote.name)
        transfer = Transfer(
            remote=self._remote,
            connections=self._connections,
            deadline=self._deadline,
            attempts=self._options.attempts,
            pause=self._options.pause,
            report=self._report,
        )
        troubles = []
        with closing(Part(self._target, md5=self._with_md5, between=self._check)) as part:
            for url in self._remote.urls:
                answer = self._from(url, part, transfer)
                if isinstance(answer, Downloaded):
                    return answer
                troubles.append(f"{url}: {answer}")
        again = "run it again" if self._left_over() else "check the network and the URLs"
        msg = f"{self._remote.name} could not be downloaded ({'; '.join(troubles)}); "
        raise InputError(msg + self._left_over() + again)

    def _from(self, url: str, part: Part, transfer: Transfer) -> Downloaded | RefusedError:
        """Fill the part from an address, check it and rename it."""
        try:
            fill(part, url, transfer)
            doubtful = part.doubtful
            answer = self._settled(part, transfer)
            if isinstance(answer, RefusedError) and doubtful:
                # The joined pieces may be from different files: download again in one piece.
                fill(part, url, transfer)
                answer = self._settled(part, transfer)
        except RefusedError as error:
            return error
        return answer

    def _settled(self, part: Part, transfer: Transfer) -> Downloaded | RefusedError:
        """Move the downloaded bytes to the target if they are right; discard them if not."""
        origin, size, digests, path = part.origin, part.length, part.digests, part.path
        wrong = self._remote.difference(size, digests)
        source = "" if origin is None else origin.url
        plain = plain_of(self._target)
        try:
            if origin is not None and origin.coding and (wrong or self._is_to_be_decoded()):
                self._decode(part.path, plain, origin.coding)
                path, size, digests = plain, plain.stat().st_size, self._digests_of(plain)
                wrong = self._remote.difference(size, digests)
            if wrong:
                raise RefusedError(wrong)
            self._place(part, path)
        except RefusedError as error:
            part.discard()
            return error
        finally:
            plain.unlink(missing_ok=True)
        self._report(size, size, last=True)
        name, received = self._remote.name, transfer.received
        return Downloaded(name, self._target, size, digests.sha256, source, received)

    def _is_to_be_decoded(self) -> bool:
        # Some servers describe a .tgz as a tar with the content coding gzip. A known size or hash
        # decides what is meant; without them the name does.
        known = self._remote.size is not None or self._remote.hash_known
        return not known and not self._remote.name.lower().endswith(_CODED_NAMES)

    def _decode(self, coded: Path, plain: Path, coding: str) -> None:
        undo_coding(coded, plain, coding, size=self._remote.size, between=self._check)

    def _place(self, part: Part, path: Path) -> None:
        """Flush a file to the disk and move it to the target."""
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(path, self._target)  # noqa: PTH105 - the documented atomic call
        # The order matters: a process killed in between leaves a note without a part, which is
        # ignored.
        part.path.unlink(missing_ok=True)
        part.note.unlink(missing_ok=True)
        _sync_folder(self._folder)

    # --- helpers ----------------------------------------------------------------------------------

    @property
    def _with_md5(self) -> bool:
        return self._remote.md5 is not None

    def _check(self) -> None:
        self._connections.check(self._deadline)

    def _digests_of(self, path: Path) -> Digests:
        return digests_of(path, md5=self._with_md5, between=self._check)

    def _report(self, done: int, total: int | None, *, last: bool = False) -> None:
        now = time.monotonic()
        if self._progress is not None and (last or now - self._reported >= _PROGRESS_EVERY):
            self._reported = now
            self._progress(done, total)

    def _lock(self) -> FileLock:
        return FileLock(self._folder / f".{self._remote.name}.lock")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._lock()
        if not _acquired(lock):
            _LOG.warning("%s: waiting for another process that downloads it", self._target)
            while not _acquired(lock):
                self._connections.check()
        try:
            yield
        finally:
            lock.release()

    def _left_over(self) -> str:
        part = part_of(self._target)
        size = part.stat().st_size if part.is_file() else 0
        return f"{size:,} bytes of it are kept in {part}, " if size else ""

    def _unusable(self, error: OSError) -> InputError:
        what = error.strerror or str(error)
        if error.errno in _FULL:
            kept = self._left_over()
            return InputError(
                f"{self._remote.name}: the disk of {self._folder} is full ({what}); {kept}free "
                "some space and run it again"
            )
        where = error.filename or self._target
        return InputError(f"{where}: cannot be used ({what}); choose another folder or fix it")


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        return False
    return True


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return values that change when a file is replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _lacking(remote: Remote, target: Path) -> int:
    """Return how many bytes of a file are still missing, as far as its size is known."""
    if remote.size is None:
        return 0
    have = 0
    with suppress(OSError):
        if target.is_file() and target.stat().st_size == remote.size:
            return 0
        part = part_of(target)
        have = part.stat().st_size if part.is_file() else 0
    return max(remote.size - have, 0)


def _sync_folder(folder: Path) -> None:
    """Flush the folder's entries to the disk, if the system can; otherwise no bytes are lost."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
