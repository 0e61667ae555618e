"""Single images: from a local folder or over HTTP into one folder, checked, whole or absent.

Every image is checked before it gets its name, so a file in the folder is a good one, and a run
that was killed goes on where it stopped. Nothing is asked for that was not requested.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from sbdata.errors import InputError
from sbdata.fetch.connections import Connections, StoppedError
from sbdata.fetch.photos import PhotoError, decode_photo, perceptual_hash
from sbdata.fetch.remotes import mirrored
from sbdata.fetch.retries import PassingError, RefusedError, persist
from sbdata.file_names import AmbiguousNameError
from sbdata.machine import sentence_of
from sbdata.parallel import Progress, run_each
from sbdata.storage import is_safe_stem, remove_leftovers, write_bytes

MAX_BYTES = 64 * 2**20

Reason = Literal[
    "missing",
    "http",
    "unsafe_path",
    "ambiguous_name",
    "unreadable_image",
    "sha256",
    "image_size",
    "image_format",
]


@dataclass(frozen=True)
class ImageRequest:
    """One image that is wanted.

    Attributes:
        image_id: stem of the file it becomes.
        file_name: what the source calls it; handed to ``local``.
        url: where it can be fetched otherwise, or None.
        sha256: recorded hash, or None where none is known.
        width: annotated, in pixels.
        height: annotated, in pixels.
        sha256_of: what the hash is of: ``"file"``, the file's bytes, or ``"pixels"``, a generated
            image's RGB array before encoding.
    """

    image_id: str
    file_name: str
    url: str | None
    sha256: str | None
    width: int
    height: int
    sha256_of: str = "file"


@dataclass(frozen=True)
class Fetched:
    """An image that lies in the folder now.

    Attributes:
        image_id: as requested.
        sha256: of the file, or of the pixels where the request says so.
        phash: see :func:`sbdata.fetch.photos.perceptual_hash`.
        origin: where it came from: already in the folder, from ``local``, or over HTTP.
    """

    image_id: str
    sha256: str
    phash: str
    origin: Literal["kept", "local", "http"]


@dataclass(frozen=True)
class Failed:
    """An image that could not be had, and why.

    Attributes:
        image_id: as requested.
        reason: ``missing`` (neither local nor with a url), ``http``, ``unsafe_path`` (the name
            leads out of its folder), ``ambiguous_name`` (two files are called so, see
            :mod:`sbdata.file_names`), ``unreadable_image`` (truncated, a web page, a bomb),
            ``sha256``, ``image_size`` or ``image_format`` (not a JPEG).
        detail: what was seen, in words.
    """

    image_id: str
    reason: Reason
    detail: str


def fetch_images(
    wanted: Sequence[ImageRequest],
    folder: Path,
    *,
    local: Callable[[str], bytes | None],
    pixel_sha256: Callable[[str], str | None] | None = None,
    mirrors: Mapping[str, str] | None = None,
    workers: int = 1,
    processes: bool = False,
    attempts: int = 4,
    timeout: float = 30.0,
    pause: float = 0.5,
    progress: Progress | None = None,
) -> list[Fetched | Failed]:
    """Put the requested images into a folder as ``<image_id>.jpg``; keep those already good.

    An image that is there and passes the checks is kept. Otherwise ``local`` is asked, then the
    url. The checks: a JPEG that decodes wholly, of the annotated size, with the recorded sha256. A
    generated image (``sha256_of="pixels"``) is always made again: its encoded bytes prove nothing
    about which pixels went in.

    Args:
        wanted: distinct by ``image_id``.
        folder: made if absent; temporary files of a killed run are removed from it.
        local: returns a file's bytes or None; raises InputError for a name that leaves its root.
        pixel_sha256: of generated images: their hash by file name; compared where one is recorded.
        mirrors: url prefix to its replacement; the longest prefix that fits is used.
        workers: threads, or processes.
        processes: use processes, for a ``local`` that is plain Python work; it must be picklable.
        attempts: at each url, as connection errors, truncated answers, 429 and 5xx are retried.
        timeout: seconds to wait for the connection and for each read.
        pause: seconds before the second attempt; see :func:`sbdata.fetch.retries.delay`. A server
            that asks for a pause (``Retry-After``) is left alone by all workers until it is over.
        progress: called with (done, total).

    Returns:
        One answer a request, in the order of the requests.

    Raises:
        InputError: if an ``image_id`` is given twice or the folder cannot be written.
    """
    ids = [request.image_id for request in wanted]
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        msg = f"{folder}: image id {twice} is requested twice; the source must give distinct ids"
        raise InputError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    connections = None if processes else Connections(timeout=timeout)
    job = _Job(
        folder=folder,
        local=local,
        pixel_sha256=pixel_sha256,
        mirrors=dict(mirrors or {}),
        attempts=attempts,
        timeout=timeout,
        pause=pause,
        connections=connections,
    )
    try:
        return run_each(
            partial(_fetch, job), wanted, workers=workers, processes=processes, progress=progress
        )
    finally:
        if connections is not None:
            connections.close()  # an interrupted run's threads are not to sleep out their pauses


@dataclass(frozen=True)
class _Job:
    """What all the requests of one run share."""

    folder: Path
    local: Callable[[str], bytes | None]
    pixel_sha256: Callable[[str], str | None] | None
    mirrors: Mapping[str, str]
    attempts: int
    timeout: float
    pause: float
    connections: Connections | None


class _FailedError(Exception):
    """Ends the work on one request."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail


def _fetch(job: _Job, request: ImageRequest) -> Fetched | Failed:
    try:
        if not is_safe_stem(request.image_id):
            raise _FailedError("unsafe_path", f"{request.image_id!r} cannot name a file")
        return _kept(job, request) or _obtained(job, request)
    except _FailedError as failure:
        return Failed(request.image_id, failure.reason, failure.detail)


def _target(job: _Job, request: ImageRequest) -> Path:
    return job.folder / f"{request.image_id}.jpg"


def _kept(job: _Job, request: ImageRequest) -> Fetched | None:
    path = _target(job, request)
    if request.sha256_of != "file" or not path.is_file():
        return None
    try:
        sha256, phash = _checked(request, path.read_bytes())
    except (_FailedError, OSError):
        return None  # it is fetched again and replaced
    return Fetched(request.image_id, sha256, phash, "kept")


def _obtained(job: _Job, request: ImageRequest) -> Fetched:
    origin: Literal["local", "http"] = "local"
    data = _local_bytes(job, request)
    if data is None:
        if not request.url:
            detail = (
                f"{request.file_name} is not in the source's folder and its annotation gives no "
                "url; put the file there"
            )
            raise _FailedError("missing", detail)
        origin = "http"
        data = _download(job, request.image_id, mirrored(request.url, job.mirrors))
    sha256, phash = _checked(request, data)
    if request.sha256_of == "pixels":
        sha256 = _pixels(job, request)
    try:
        write_bytes(_target(job, request), data)
    except OSError as error:
        raise _cannot_write(job.folder, error) from error
    return Fetched(request.image_id, sha256, phash, origin)


def _local_bytes(job: _Job, request: ImageRequest) -> bytes | None:
    try:
        return job.local(request.file_name)
    except AmbiguousNameError as error:
        raise _FailedError("ambiguous_name", str(error)) from error
    except InputError as error:
        raise _FailedError("unsafe_path", str(error)) from error
    except OSError as error:
        raise _FailedError("missing", f"{request.file_name} cannot be read ({error})") from error


def _checked(request: ImageRequest, data: bytes) -> tuple[str, str]:
    """Return the bytes' sha256 and perceptual hash, if they are the image."""
    try:
        with decode_photo(data, (request.width, request.height)) as image:
            phash = perceptual_hash(image)
    except PhotoError as error:
        raise _FailedError(error.reason, error.detail) from error
    sha256 = hashlib.sha256(data).hexdigest()
    if request.sha256_of == "file" and request.sha256 not in (None, sha256):
        raise _wrong_hash(request, sha256)
    return sha256, phash


def _pixels(job: _Job, request: ImageRequest) -> str:
    """Return the hash of a generated image's pixels, if it is the recorded one."""
    found = job.pixel_sha256(request.file_name) if job.pixel_sha256 else request.sha256
    if found is None:
        raise _FailedError("sha256", "a generated image whose source gives no hash of its pixels")
    if request.sha256 not in (None, found):
        raise _wrong_hash(request, found)
    return found


def _wrong_hash(request: ImageRequest, found: str) -> _FailedError:
    return _FailedError("sha256", f"sha256 is {found}, recorded as {request.sha256}")


def _cannot_write(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder}: cannot be written: {sentence_of(error, [folder])}")


# --- HTTP ----------------------------------------------------------------------------------------


@functools.cache
def _of_this_process(timeout: float) -> Connections:
    """Return the connections of a worker process, which end with it; they cannot be sent there."""
    return Connections(timeout=timeout)


def _download(job: _Job, image_id: str, url: str) -> bytes:
    connections = job.connections or _of_this_process(job.timeout)
    try:
        return persist(
            partial(_get, connections, url),
            attempts=job.attempts,
            pause=job.pause,
            wait=connections.pause,
        )
    except (RefusedError, StoppedError) as error:
        raise _FailedError("http", f"{url}: {error}") from error


def _get(connections: Connections, url: str) -> bytes:
    """Ask once.

    Raises:
        PassingError: for what a later attempt may mend.
        RefusedError: for what it cannot.
        StoppedError: if the run is over.
    """
    with connections.asking(url) as answer:
        blocks, length = [], 0
        for block in connections.blocks(answer, decoded=True):
            blocks.append(block)
            length += len(block)
            if length > MAX_BYTES:
                raise RefusedError(f"more than {MAX_BYTES} bytes")
        announced = answer.headers.get("Content-Length", "")
        coded = answer.headers.get("Content-Encoding", "identity") != "identity"
        # urllib3 compares the length by itself from version 2 on.
        if announced.isdigit() and not coded and int(announced) != length:
            raise PassingError(f"{length} bytes came, {announced} were announced")
        return b"".join(blocks)
