"""Copy or download single images into a folder so that each is complete and checked, or absent.

Every image is checked before it gets its name, so each file in the folder is valid, and a killed
run can be resumed. Only requested images are downloaded.
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
    """Request for one image.

    Attributes:
        image_id: Stem of the file that is written.
        file_name: Name of the image in its source; passed to ``local``.
        url: Address to use if the image is not found locally, or None.
        sha256: Recorded hash, or None if none is known.
        width: Annotated width in pixels.
        height: Annotated height in pixels.
        sha256_of: Content that the hash covers: ``"file"``, the file's bytes, or ``"pixels"``, a
            generated image's RGB array before encoding.
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
    """An image that is in the folder now.

    Attributes:
        image_id: Requested image id.
        sha256: Hash of the file, or of the pixels if the request says so.
        phash: Perceptual hash, see :func:`sbdata.fetch.photos.perceptual_hash`.
        origin: Place it came from: already in the folder, from ``local``, or over HTTP.
    """

    image_id: str
    sha256: str
    phash: str
    origin: Literal["kept", "local", "http"]


@dataclass(frozen=True)
class Failed:
    """An image that could not be fetched, and the reason.

    Attributes:
        image_id: Requested image id.
        reason: One of ``missing`` (neither local nor with a url), ``http``, ``unsafe_path`` (the
            name leads out of its folder), ``ambiguous_name`` (two files have this name, see
            :mod:`sbdata.file_names`), ``unreadable_image`` (truncated, a web page, a
            decompression bomb), ``sha256``, ``image_size`` and ``image_format`` (not a JPEG).
        detail: Description of the problem.
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
    """Write the requested images to a folder as ``<image_id>.jpg``; keep valid existing ones.

    An existing image that passes the checks is kept, unless no hash is recorded and ``local`` has
    other bytes: a photo may have been corrected since. Otherwise ``local`` is tried, then the url.
    An image passes if it is a JPEG that decodes completely and has the annotated size and the
    recorded sha256. A generated image (``sha256_of="pixels"``) is always made again, because its
    encoded bytes do not prove which pixels were encoded.

    Args:
        wanted: Requests with distinct ``image_id``.
        folder: Target folder; created if absent. Temporary files of a killed run are removed.
        local: Function from file name to the file's bytes or None. It raises InputError for a name
            that leaves its root.
        pixel_sha256: Function from file name to the pixel hash of a generated image, which is
            compared with the recorded hash if there is one.
        mirrors: Replacements by url prefix; the longest matching prefix is used.
        workers: Number of threads, or of processes.
        processes: Whether to use processes, for a ``local`` that is pure Python work. ``local``
            must then be picklable.
        attempts: Attempts per url. Connection errors, truncated responses, 429 and 5xx are retried.
        timeout: Timeout in seconds for connecting and for each read.
        pause: Pause in seconds before the second attempt, see :func:`sbdata.fetch.retries.delay`.
            If a server asks for a pause (``Retry-After``), no worker sends it a request until the
            pause is over.
        progress: Callback with (done, total).

    Returns:
        One result per request, in the order of the requests.

    Raises:
        InputError: If an ``image_id`` is given twice or the folder cannot be written.
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
            connections.close()  # so that the threads of an interrupted run stop sleeping


@dataclass(frozen=True)
class _Job:
    """Settings that all requests of one run share."""

    folder: Path
    local: Callable[[str], bytes | None]
    pixel_sha256: Callable[[str], str | None] | None
    mirrors: Mapping[str, str]
    attempts: int
    timeout: float
    pause: float
    connections: Connections | None


class _FailedError(Exception):
    """Error that ends the work on one request."""

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
        data = path.read_bytes()
        sha256, phash = _checked(request, data)
        if request.sha256 is None and _local_bytes(job, request) not in (None, data):
            return None
    except (_FailedError, OSError):
        return None  # it is fetched again and replaced
    return Fetched(request.image_id, sha256, phash, "kept")


def _obtained(job: _Job, request: ImageRequest) -> Fetched:
    origin: Literal["local", "http"] = "local"
    data = _local_bytes(job, request)
    if data is None:
        if not request.url:
            detail = (
                f"{request.file_name} is not in the source's folder and its annotation has no "
                "URL; put the file there"
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
    """Return the pixel hash of a generated image, if it matches the recorded one."""
    found = job.pixel_sha256(request.file_name) if job.pixel_sha256 else request.sha256
    if found is None:
        raise _FailedError("sha256", "a generated image whose source gives no hash of its pixels")
    if request.sha256 not in (None, found):
        raise _wrong_hash(request, found)
    return found


def _wrong_hash(request: ImageRequest, found: str) -> _FailedError:
    return _FailedError("sha256", f"sha256 is {found}, but {request.sha256} is recorded")


def _cannot_write(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder}: cannot be written: {sentence_of(error, [folder])}")


# --- HTTP ----------------------------------------------------------------------------------------


@functools.cache
def _of_this_process(timeout: float) -> Connections:
    """Return the connections of a worker process; they cannot be sent to it, and end with it."""
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
    """Send one request and return the body.

    Raises:
        PassingError: If a later attempt may succeed.
        RefusedError: If no later attempt can succeed.
        StoppedError: If the run is over.
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
        # From version 2 on, urllib3 compares the length by itself.
        if announced.isdigit() and not coded and int(announced) != length:
            raise PassingError(f"{length} bytes were received, but {announced} were announced")
        return b"".join(blocks)
