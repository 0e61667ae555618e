"""Filling the part of a file from one address, in as many requests as it takes."""

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
_SAID_FROM = 2.0  # seconds; a shorter pause is over before it is read
_PAGES = ("text/html", "application/xhtml+xml")
_PAGE_NAMES = (".html", ".htm", ".xhtml")


@dataclass
class Transfer:
    """What the requests for one file share.

    Attributes:
        remote: the file.
        connections: to ask through.
        deadline: a time of ``time.monotonic``.
        attempts: in a row, that bring nothing.
        pause: seconds before the second attempt; see :func:`sbdata.fetch.retries.delay`.
        report: called with (bytes that are there, bytes in all or None) after each block.
        received: bytes that came over the network.
    """

    remote: Remote
    connections: Connections
    deadline: float
    attempts: int
    pause: float
    report: Callable[[int, int | None], None]
    received: int = 0


def fill(part: Part, url: str, transfer: Transfer) -> None:
    """Ask an address until the part is whole, going on after each failure from where it is.

    Whole means of the length that is known or announced; the bytes are not yet checked.

    Raises:
        PassingError: never; see :func:`sbdata.fetch.retries.persist`.
        RefusedError: if the address will not give the file.
        InputError: if the disk has not enough space.
        OSError: if the part cannot be written.
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
    """Ask once, for what the part lacks or for the whole file."""
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
            raise PassingError("sent a part of the file as if it were all of it", retry_after=0)
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
        raise PassingError(f"{part.length:,} of {wanted:,} bytes came")
    if wanted is None and "Transfer-Encoding" not in answer.headers:
        # The body ended where the connection did, which proves nothing.
        if not remote.hash_known:
            part.spoilt = True
            raise RefusedError("does not say how long the file is, and nothing else is known")
        part.doubtful = True


def _wanted(remote: Remote, origin: Origin) -> int | None:
    """Return how many bytes the body has in all, as far as is known."""
    return origin.size if origin.coding or remote.size is None else remote.size


def _resuming(part: Part, url: str, remote: Remote) -> dict[str, str]:
    """Return the headers that ask for what the part lacks; none if all is to be asked for."""
    if part.origin is None or not part.length or part.spoilt:
        return {}
    validator = part.origin.validator if part.origin.url == url else None
    if validator is None and not remote.hash_known:
        return {}  # the halves of two files could be joined, and nobody would know
    headers = {"Range": f"bytes={part.length}-"}
    return headers if validator is None else {**headers, "If-Range": validator}


def _refuse_page(answer: requests.Response, remote: Remote) -> None:
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in _PAGES and not remote.name.lower().endswith(_PAGE_NAMES):
        raise RefusedError("answered with a web page instead of the file")


def _is_a_rest(part: Part, origin: Origin, answer: requests.Response) -> bool:
    """Tell whether an answer of 200 to a request for the rest holds the rest alone.

    It says so itself by a range, or has the validator of the file and another length than it.
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
    """Take an answer for the whole file, unless it cannot be it; only then the old bytes go."""
    wanted = _wanted(remote, origin)
    if wanted is not None:
        if origin.size not in (None, wanted):
            raise RefusedError(f"announces {origin.size:,} bytes, {wanted:,} are expected")
        check_space(part.path.parent, wanted - part.length, remote.name)
    part.begin(origin)


def _go_on(part: Part, origin: Origin, begin: int | None, remote: Remote) -> None:
    """Take an answer for the rest, if it is the rest of the same file."""
    was = part.origin
    if was is None:  # pragma: no cover - then no rest was asked for
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
