"""Send single HTTP requests over connections that threads share and that respect host limits.

Certificates are always verified. Redirects from https to http are followed only on request. Every
failure is raised as one of four errors: PassingError, RefusedError, OverdueError, StoppedError.
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
"""Maximum number of concurrent requests to one host; browsers use six to eight."""
TIMEOUT = 30.0
"""Default timeout in seconds for connecting and for each read."""

_BLOCK = 256 * 2**10
_RETRIED = frozenset({408, 425, 429, *range(500, 600)})
# Prefixes of urllib3's messages: before 2.6, and since 2.6.
_CONNECTION = re.compile(r"(<.*?>|\w+\(host=.*?\)): ")
_HEADERS = {
    "User-Agent": f"sbdata/{sbdata.__version__}",
    # Images and archives do not compress further; without a content coding, Content-Length is the
    # size of the file.
    "Accept-Encoding": "identity",
}


class OverdueError(Exception):
    """Error for a deadline that has passed."""


class StoppedError(Exception):
    """Error for connections that another thread has closed."""


@dataclass
class _Host:
    """Free request slots of a host, and the ``time.monotonic`` time until which it must rest."""

    slots: threading.Semaphore
    quiet_until: float = -math.inf


@dataclass
class _Open:
    """The responses that are being read."""

    answers: set[requests.Response] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Connections:
    """Persistent connections that any number of threads can share; close them when done.

    At most ``per_host`` requests run at one host at the same time. If a host asks for a pause
    (Retry-After), no thread sends it a request until the pause is over.

    Args:
        timeout: Timeout in seconds for connecting and for each read.
        per_host: Maximum number of concurrent requests to one host.
        plain_redirects: Whether to follow redirects from https to http.
        clock: Function that returns the seconds that deadlines are compared with.
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
        # Sessions are not thread-safe, so each thread has its own. The adapter, which holds the
        # connections, is thread-safe and shared.
        self._adapter = HTTPAdapter(pool_maxsize=per_host)
        self._thread = threading.local()

    def close(self) -> None:
        """Abort the requests of all threads and close the connections."""
        self._stopped.set()
        with self._open.lock:
            answers = list(self._open.answers)
        for answer in answers:
            with suppress(Exception):  # it may have ended already; urllib3 < 2.3 has no shutdown
                answer.raw.shutdown()
        self._adapter.close()

    def check(self, deadline: float = math.inf) -> None:
        """Check that the deadline has not passed and that the connections are open.

        Args:
            deadline: Deadline as a time of ``time.monotonic``.

        Raises:
            OverdueError: If the deadline has passed.
            StoppedError: If the connections were closed.
        """
        if self._stopped.is_set():
            raise StoppedError("interrupted")
        if self._clock() >= deadline:
            raise OverdueError("out of time")

    def pause(self, seconds: float, deadline: float = math.inf) -> None:
        """Sleep for some seconds.

        Raises:
            OverdueError: If the deadline has passed or would pass during the sleep.
            StoppedError: If the connections were closed.
        """
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
        """Send one request and yield the response; read its body with :meth:`blocks`.

        Args:
            url: Address with http or https; redirects are followed.
            headers: Headers to send besides the default ones.
            expected: Status codes that count as success.
            deadline: Deadline as a time of ``time.monotonic``.

        Raises:
            PassingError: If there is no connection, no response in time, or a status that asks to
                try later.
            RefusedError: If the status is any other, the address is bad, there are too many
                redirects or one to http, or the certificate is invalid.
            OverdueError: If the deadline has passed.
            StoppedError: If the connections were closed.
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
        """Yield the body of a response in blocks, as it arrives.

        Args:
            answer: Response from :meth:`asking`.
            decoded: Whether to undo its content coding.
            deadline: Deadline as a time of ``time.monotonic``, checked after each block.

        Raises:
            PassingError: If the body ends early, is damaged in transfer, or stalls.
            OverdueError: If the deadline has passed.
            StoppedError: If the connections were closed.
        """
        try:
            for block in _raw_blocks(answer, decoded):
                yield block
                self.check(deadline)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self.check(deadline)
            raise PassingError(_in_words(error)) from error
        # Closing shuts the sockets down, which looks like the end of the body.
        self.check(deadline)

    def _check_address(self, url: str, came_from: str) -> None:
        arrow = f"leads to {url}, and " if came_from else ""
        if not url.lower().startswith(("http://", "https://")):
            raise RefusedError(f"{arrow}only http and https URLs are fetched")
        secure = came_from.lower().startswith("https://")
        if secure and not url.lower().startswith("https://") and not self._plain_redirects:
            raise RefusedError(f"{arrow}redirects from https to http are not followed")

    @contextmanager
    def _turn(self, url: str, deadline: float) -> Iterator[_Host]:
        """Wait until a request may be sent to the host of an address."""
        host = self._hosts.setdefault(_host_of(url), _Host(threading.Semaphore(self._per_host)))
        while not host.slots.acquire(timeout=0.1):
            self.check(deadline)
        try:
            while (left := host.quiet_until - self._clock()) > 0:
                if left > MAX_RETRY_AFTER:
                    raise PassingError("refuses further requests for now", left)
                self.pause(left, deadline)
            yield host
        finally:
            host.slots.release()

    @contextmanager
    def _kept_open(self, answer: requests.Response) -> Iterator[None]:
        with self._open.lock:
            self._open.answers.add(answer)
        try:
            self.check()  # if closed in between, its socket was not shut down
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
    """Return the address that a response redirects to, or None."""
    if not answer.is_redirect:
        return None
    try:
        # Headers are read as Latin-1; in practice, addresses with other letters are in UTF-8.
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
        # http.client supports only plain "chunked" framing; urllib3's stream reads the others.
        yield from answer.raw.stream(_BLOCK, decode_content=decoded)
        return
    # read1 returns the bytes that are available. read would wait for a whole block and drop a
    # partial one if the connection breaks; an unstable connection might then never make progress.
    while block := answer.raw.read1(_BLOCK, decode_content=False):
        yield block


def _in_words(error: BaseException) -> str:
    """Return the message of an error without the library's wrapping."""
    inner = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError)
    late = isinstance(error, timeouts) or isinstance(inner, timeouts)
    # A refused connection counts as late in urllib3 2.
    if late and not isinstance(inner, urllib3.exceptions.NewConnectionError):
        return "no data was received in time"
    if isinstance(inner, urllib3.exceptions.ProtocolError) and inner.args:
        inner = inner.args[-1]
    text = str(inner) or type(inner).__name__
    return _CONNECTION.sub("", text) or text
