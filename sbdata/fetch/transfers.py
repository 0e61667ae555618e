"""Download the missing bytes of a file from one address, in as many requests as needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import requests

from sbdata.fetch.connections import Connections
from sbdata.fetch.parts import Origin, Part, origin_of
from sbdata.fetch.remotes import Remote
from sbdata.fetch.retries import PassingError, RefusedError, persist
from sbdata.fetch.space import check_space

_LOG = logging.getLogger(__name__)
_SAID_FROM = 2.0  # seconds; shorter pauses are not reported
_PAGES = ("text/html", "application/xhtml+xml")
_PAGE_NAMES = (".html", ".htm", ".xhtml")


@dataclass
class Transfer:
    """Settings and state that the requests for one file share.

    Attributes:
        remote: File to download.
        connections: Connections to use.
        deadline: Deadline as a time of ``time.monotonic``.
        attempts: Consecutive attempts without new data before giving up.
        pause: Pause in seconds before the second attempt, see :func:`sbdata.fetch.retries.delay`.
        report: Callback after each block, with (bytes present, total bytes or None).
        received: Bytes received over the network.
    """

    remote: Remote
    connections: Connections
    deadline: float
    attempts: int
    pause: float
    report: Callable[[int, int | None], None]
    received: int = 0


def fill(part: Part, url: str, transfer: Transfer) -> None:
    """Download from an address until the part is complete, resuming after each failure.

    A part is complete if it has the known or announced length; its bytes are not checked here.

    Raises:
        PassingError: Never; see :func:`sbdata.fetch.retries.persist`.
        RefusedError: If the address does not give the file.
        InputError: If the disk has not enough space.
        OSError: If the part cannot be written.
    """
    before = part.furthest

    def ask() -> None:
        nonlocal before
        before = part.furthest
        whole = part.origin is not None and part.length == _wanted(transfer.remote, part.origin)
        if not whole or not part.length or part.spoilt:
            _ask(part, url, transfer)

    def say(detail: str, seconds: float) -> None:
        if seconds >= _SAID_FROM:
            _LOG.warning("%s: %s; asked again in %.0f seconds", url, detail, seconds)

    persist(
        ask,
        attempts=transfer.attempts,
        pause=transfer.pause,
        wait=lambda seconds: transfer.connections.pause(seconds, transfer.deadline),
        told=say,
        gained=lambda: part.furthest > before,
    )


def _ask(part: Part, url: str, transfer: Transfer) -> None:
    """Send one request, for the missing bytes or for the whole file."""
    remote, connections, deadline = transfer.remote, transfer.connections, transfer.deadline
    headers = _resuming(part, url, remote)
    expected = (200, 206, 416) if headers else (200,)
    with connections.asking(url, headers, expected=expected, deadline=deadline) as answer:
        if answer.status_code == 416:
            part.spoilt = True
            raise PassingError("answered 416 to a request for the rest", retry_after=0)
        _refuse_page(answer, remote)
        origin, begin = origin_of(url, answer.status_code, answer.headers)
        if headers and answer.status_code == 200 and _is_a_rest(part, origin, answer):
            part.spoilt = True  # the next request is for the whole file
            raise PassingError("sent a part of the file as the whole file", retry_after=0)
        if answer.status_code == 200:
            _begin(part, origin, remote)
        else:
            _go_on(part, origin, begin, remote)
        wanted = _wanted(remote, part.origin or origin)
        for block in connections.blocks(answer, deadline=deadline):
            transfer.received += len(block)
            part.append(block)
            transfer.report(part.length, wanted)
            if wanted is not None and part.length > wanted:
                part.spoilt = True
                raise RefusedError(f"sends more than {wanted:,} bytes")
    if wanted is not None and part.length < wanted:
        raise PassingError(f"{part.length:,} of {wanted:,} bytes were received")
    if wanted is None and "Transfer-Encoding" not in answer.headers:
        # The body ended with the connection, so it may be incomplete.
        if not remote.hash_known:
            part.spoilt = True
            raise RefusedError("does not give the file's size, and no hash is known")
        part.doubtful = True


def _wanted(remote: Remote, origin: Origin) -> int | None:
    """Return the length of the whole body in bytes, or None if it is unknown."""
    return origin.size if origin.coding or remote.size is None else remote.size


def _resuming(part: Part, url: str, remote: Remote) -> dict[str, str]:
    """Return the headers that request the missing bytes; none to request the whole file."""
    if part.origin is None or not part.length or part.spoilt:
        return {}
    validator = part.origin.validator if part.origin.url == url else None
    if validator is None and not remote.hash_known:
        return {}  # parts of two different files could be joined unnoticed
    headers = {"Range": f"bytes={part.length}-"}
    return headers if validator is None else {**headers, "If-Range": validator}


def _refuse_page(answer: requests.Response, remote: Remote) -> None:
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in _PAGES and not remote.name.lower().endswith(_PAGE_NAMES):
        raise RefusedError("answered with a web page instead of the file")


def _is_a_rest(part: Part, origin: Origin, answer: requests.Response) -> bool:
    """Return whether a 200 response to a request for the rest holds only the rest.

    This is so if it has a Content-Range, or the file's validator with another length.
    """
    was = part.origin
    if "Content-Range" in answer.headers:
        return True
    return (
        was is not None
        and was.validator is not None
        and was.validator == origin.validator
        and None not in (was.size, origin.size)
        and was.size != origin.size
        and was.coding == origin.coding
    )


def _begin(part: Part, origin: Origin, remote: Remote) -> None:
    """Check a response for the whole file, and only then discard the old bytes."""
    wanted = _wanted(remote, origin)
    if wanted is not None:
        if origin.size not in (None, wanted):
            raise RefusedError(f"announces {origin.size:,} bytes, but {wanted:,} are expected")
        check_space(part.path.parent, wanted - part.length, remote.name)
    part.begin(origin)


def _go_on(part: Part, origin: Origin, begin: int | None, remote: Remote) -> None:
    """Accept a response with the rest, if it belongs to the same file."""
    was = part.origin
    if was is None:  # pragma: no cover - no rest was requested
        raise RefusedError("answered 206 to a request for the whole file")
    wanted = _wanted(remote, was)
    same = was.url == origin.url
    proven = same and origin.confirms(was)
    if (
        begin != part.length
        or origin.coding != was.coding
        or (None not in (origin.size, wanted) and origin.size != wanted)
        or (same and was.differs(origin))
        or not (proven or remote.hash_known)
    ):
        part.spoilt = True
        raise PassingError("did not send the rest of the same file", retry_after=0)
    part.go_on(origin, proven=proven)
