"""Asking an address once, over connections that are kept, shared and used politely.

Certificates are always verified, an address that began with https never ends on http unless that is
asked for, and every trouble comes out as one of four errors: PassingError, RefusedError,
OverdueError, StoppedError.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

import sbdata
from sbdata.fetch.retries import (
    MAX_RETRY_AFTER,
    PassingError,
    RefusedError,
    retry_after_seconds,
)

MAX_REDIRECTS = 5
PER_HOST = 8
"""Requests under way at one host; browsers allow themselves six to eight."""
TIMEOUT = 30.0
"""Seconds to wait for a connection and for each read."""

_BLOCK = 256 * 2**10
_RETRIED = frozenset({408, 425, 429, *range(500, 600)})
_CONNECTION = re.compile(r"(<.*?>|\w+\(host=.*?\)): ")  # as urllib3 names it: old, since 2.6
_HEADERS = {
    "User-Agent": f"sbdata/{sbdata.__version__}",
    # Images and archives do not shrink; without a content coding the length is that of the file.
    "Accept-Encoding": "identity",
}


class OverdueError(Exception):
    """The time that everything together may take is over."""


class StoppedError(Exception):
    """The connections were closed by another thread."""


@dataclass
class _Host:
    """Who may ask a host now, and from when on (a time of ``time.monotonic``)."""

    slots: threading.Semaphore
    quiet_until: float = -math.inf


@dataclass
class _Open:
    """The answers that are being read."""

    answers: set[requests.Response] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Connections:
    """Kept connections that any number of threads use; close them when done.

    At most ``per_host`` requests are under way at one host. A host that asks for a pause
    (Retry-After) is left alone by all of them until it is over.

    Args:
        timeout: seconds to wait for a connection and for each read.
        per_host: see above.
        plain_redirects: follow redirects from https to http.
        clock: gives the seconds that deadlines are compared with.
    """

    def __init__(
        self,
        *,
        timeout: float = TIMEOUT,
        per_host: int = PER_HOST,
        plain_redirects: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._per_host = per_host
        self._plain_redirects = plain_redirects
        self._stopped = threading.Event()
        self._hosts: dict[str, _Host] = {}
        self._open = _Open()
        # Sessions are not thread-safe, so each thread has its own; the adapter, which holds the
        # connections, is, and they share it.
        self._adapter = HTTPAdapter(pool_maxsize=per_host)
        self._thread = threading.local()

    def close(self) -> None:
        """End what is under way, in whichever thread, and close the connections."""
        self._stopped.set()
        with self._open.lock:
            answers = list(self._open.answers)
        for answer in answers:
            with suppress(Exception):  # it may have ended by itself; urllib3 < 2.3 cannot
                answer.raw.shutdown()
        self._adapter.close()

    def check(self, deadline: float = math.inf) -> None:
        """Do nothing, as long as there is time and the connections are open.

        Args:
            deadline: a time of ``time.monotonic``.

        Raises:
            OverdueError: if the deadline is over.
            StoppedError: if the connections were closed.
        """
        if self._stopped.is_set():
            raise StoppedError("interrupted")
        if self._clock() >= deadline:
            raise OverdueError("out of time")

    def pause(self, seconds: float, deadline: float = math.inf) -> None:
        """Sleep, unless the deadline would pass meanwhile. Raises as :meth:`check`."""
        self.check(deadline)
        if self._clock() + seconds >= deadline:
            raise OverdueError("out of time")
        if self._stopped.wait(seconds):
            raise StoppedError("interrupted")

    @contextmanager
    def asking(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        expected: Collection[int] = (200,),
        deadline: float = math.inf,
    ) -> Iterator[requests.Response]:
        """Ask once and give the answer, its body not yet read (:meth:`blocks`).

        Args:
            url: http or https; redirects are followed.
            headers: to be sent besides our own.
            expected: the statuses that are answers.
            deadline: a time of ``time.monotonic``.

        Raises:
            PassingError: for no connection, no answer in time, and statuses that say "later".
            RefusedError: for other statuses, bad addresses, too many redirects or one to http, and
                certificates that do not verify.
            OverdueError: if the deadline is over.
            StoppedError: if the connections were closed.
        """
        came_from = ""
        for _ in range(MAX_REDIRECTS + 1):
            self._check_address(url, came_from)
            with (
                self._turn(url, deadline) as host,
                closing(self._ask(url, headers, deadline)) as answer,
            ):
                target = _redirect_of(answer)
                if target is None:
                    _check_status(answer, expected, host, self._clock())
                    with self._kept_open(answer):
                        yield answer
                    return
            came_from, url = url, target
        raise RefusedError(f"more than {MAX_REDIRECTS} redirects")

    def blocks(
        self, answer: requests.Response, *, decoded: bool = False, deadline: float = math.inf
    ) -> Iterator[bytes]:
        """Give the body of an answer as it comes in.

        Args:
            answer: of :meth:`asking`.
            decoded: undo its content coding.
            deadline: a time of ``time.monotonic``; looked at after each block.

        Raises:
            PassingError: if it ends early, is damaged on its way, or stalls.
            OverdueError: if the deadline is over.
            StoppedError: if the connections were closed.
        """
        try:
            for block in _raw_blocks(answer, decoded):
                yield block
                self.check(deadline)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self.check(deadline)
            raise PassingError(_in_words(error)) from error
        # Closing shuts the sockets, which looks like the end of the body.
        self.check(deadline)

    def _check_address(self, url: str, came_from: str) -> None:
        arrow = f"leads to {url}, and " if came_from else ""
        if not url.lower().startswith(("http://", "https://")):
            raise RefusedError(f"{arrow}only http and https addresses are fetched")
        secure = came_from.lower().startswith("https://")
        if secure and not url.lower().startswith("https://") and not self._plain_redirects:
            raise RefusedError(f"{arrow}redirects from https to http are not followed")

    @contextmanager
    def _turn(self, url: str, deadline: float) -> Iterator[_Host]:
        """Wait until the host of an address may be asked."""
        host = self._hosts.setdefault(_host_of(url), _Host(threading.Semaphore(self._per_host)))
        while not host.slots.acquire(timeout=0.1):
            self.check(deadline)
        try:
            while (left := host.quiet_until - self._clock()) > 0:
                if left > MAX_RETRY_AFTER:
                    raise PassingError("wants no more requests now", left)
                self.pause(left, deadline)
            yield host
        finally:
            host.slots.release()

    @contextmanager
    def _kept_open(self, answer: requests.Response) -> Iterator[None]:
        with self._open.lock:
            self._open.answers.add(answer)
        try:
            self.check()  # closed in between: its socket was not shut
            yield
        finally:
            with self._open.lock:
                self._open.answers.discard(answer)

    def _ask(
        self, url: str, headers: Mapping[str, str] | None, deadline: float
    ) -> requests.Response:
        self.check(deadline)
        seconds = min(self._timeout, deadline - self._clock())
        try:
            return self._session().get(
                url,
                headers=dict(headers or {}),
                stream=True,
                timeout=max(seconds, 0.001),
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE" in str(error).upper():
                raise RefusedError(f"its certificate is not valid: {_in_words(error)}") from error
            raise PassingError(_in_words(error)) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise PassingError(_in_words(error)) from error
        except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
            raise RefusedError(str(error)) from error

    def _session(self) -> requests.Session:
        if not hasattr(self._thread, "session"):
            session = requests.Session()
            session.headers.update(_HEADERS)
            session.mount("http://", self._adapter)
            session.mount("https://", self._adapter)
            self._thread.session = session
        found: requests.Session = self._thread.session
        return found


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError as error:
        raise RefusedError(str(error)) from error


def _redirect_of(answer: requests.Response) -> str | None:
    """Return the address that an answer sends to, if it does."""
    if not answer.is_redirect:
        return None
    try:
        # Headers come as Latin-1; addresses with other letters are UTF-8 in practice.
        location = answer.headers["Location"].encode("latin-1").decode("utf-8", "replace")
        return urljoin(answer.url, location)
    except ValueError as error:
        raise RefusedError(f"redirects to a broken address ({error})") from error


def _check_status(
    answer: requests.Response, expected: Collection[int], host: _Host, now: float
) -> None:
    status = answer.status_code
    if status in expected:
        return
    if status not in _RETRIED:
        raise RefusedError(f"answered {status}")
    seconds = retry_after_seconds(answer.headers.get("Retry-After"))
    if seconds is not None:
        host.quiet_until = max(host.quiet_until, now + seconds)
    raise PassingError(f"answered {status}", seconds)


def _raw_blocks(answer: requests.Response, decoded: bool) -> Iterator[bytes]:
    framing = answer.headers.get("Transfer-Encoding", "").strip().lower()
    if decoded or framing not in ("", "identity", "chunked"):
        # http.client knows no framing but plain "chunked"; urllib3's stream reads the others.
        yield from answer.raw.stream(_BLOCK, decode_content=decoded)
        return
    # read1 returns what is there. read would wait for a whole block, and drop what it has of it
    # when the connection breaks, so that a connection cut often enough would bring nothing.
    while block := answer.raw.read1(_BLOCK, decode_content=False):
        yield block


def _in_words(error: BaseException) -> str:
    """Return what went wrong, without the library's wrapping."""
    inner = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError)
    late = isinstance(error, timeouts) or isinstance(inner, timeouts)
    # A refused connection counts as late in urllib3 2.
    if late and not isinstance(inner, urllib3.exceptions.NewConnectionError):
        return "nothing came in time"
    if isinstance(inner, urllib3.exceptions.ProtocolError) and inner.args:
        inner = inner.args[-1]
    text = str(inner) or type(inner).__name__
    return _CONNECTION.sub("", text) or text
