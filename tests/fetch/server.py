"""A local server that keeps to HTTP, and misbehaves on request."""

from __future__ import annotations

import gzip
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LONG_AGO = formatdate(1_300_000_000, usegmt=True)


@dataclass(frozen=True)
class Fault:
    """One way to misbehave, once; what is not given is as it should be.

    Attributes:
        status: instead of 200 or 206.
        headers: more of them, or others; None takes one away.
        body: instead of the file's bytes.
        cut: body bytes after which the connection is closed.
        reset: close it by a reset.
        stall: body bytes after which nothing comes any more.
        whole: answer a Range request with all.
        blind: answer a Range request without a look at If-Range.
        shift: send the bytes of a range that begins elsewhere, and say so.
        chunked: send no length but chunks.
        coding: send the file coded as gzip: in its ``content`` or its ``transfer``.
        replace: put these bytes in the file's place before answering.
    """

    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    reset: bool = False
    stall: int | None = None
    whole: bool = False
    blind: bool = False
    shift: int = 0
    chunked: bool = False
    coding: str = ""
    replace: bytes | None = None


@dataclass
class Asked:
    """A request that came, and what became of it."""

    path: str
    headers: dict[str, str]
    when: float
    status: int = 0
    sent: int = 0

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")


@dataclass
class File:
    """A file on the server; ``etag`` and ``date`` may be None."""

    data: bytes
    etag: str | None
    date: str | None
    kind: str = "application/octet-stream"


class Site:
    """What the server has, how it is to misbehave and what it was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.files: dict[str, File] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.asked: list[Asked] = []
        self.connections: set[tuple[str, int]] = set()
        self.most_at_once = 0
        self.block = 64 * 2**10
        self.pause = 0.0
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._at_once = 0

    def put(self, path: str, data: bytes, *faults: Fault, **about: str | None) -> str:
        """Have a file, misbehave so often about it, and return its address."""
        self.files[path] = File(
            data, about.pop("etag", tag(data)), about.pop("date", LONG_AGO), **about
        )
        self.faults[path] = list(faults)
        return self.address + path

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def sent(self) -> int:
        return sum(asked.sent for asked in self.asked)

    @contextmanager
    def counted(self, asked: Asked, client: tuple[str, int]) -> Iterator[None]:
        with self._lock:
            self.asked.append(asked)
            self.connections.add(client)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def fault(self, path: str) -> Fault:
        with self._lock:
            waiting = self.faults.get(path, [])
            return waiting.pop(0) if waiting else self.always.get(path, Fault())


def tag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:16]}"'


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Serve on a free port of this machine, in threads, until the end of the block."""
    site = Site()
    with running(_handler(site), context) as site.address:
        try:
            yield site
        finally:
            site.over.set()


@contextmanager
def running(
    handler: Callable[..., BaseHTTPRequestHandler], context: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Answer by a handler, in threads, until the end of the block; yield the server's address."""
    server = _Server(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    scheme = "https" if context else "http"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client hung up; the tests say what came of it."""


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = Asked(self.path, dict(self.headers), time.monotonic())
            with site.counted(asked, self.client_address):
                fault = site.fault(self.path)
                if fault.replace is not None:
                    site.files[self.path] = File(fault.replace, tag(fault.replace), LONG_AGO)
                self._answer(asked, fault)

        def _answer(self, asked: Asked, fault: Fault) -> None:
            status, headers, body = self._plain(asked, fault)
            status = fault.status or status
            if fault.body is not None:
                body = fault.body
            if fault.chunked or fault.coding == "transfer":
                headers["Transfer-Encoding"] = (
                    "gzip, chunked" if fault.coding == "transfer" else "chunked"
                )
            else:
                headers["Content-Length"] = str(len(body))
            headers.update(fault.headers)
            asked.status = status
            self.send_response(status)
            for name, value in headers.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            if headers.get("Content-Length") != str(len(body)):
                self.close_connection = "Transfer-Encoding" not in headers
            self._send(asked, fault, body, chunked="Transfer-Encoding" in headers)

        def _plain(self, asked: Asked, fault: Fault) -> tuple[int, dict[str, str | None], bytes]:
            """Return what a good server would answer."""
            file = site.files.get(self.path)
            if file is None:
                return 404, {"Content-Type": "text/html"}, b"<html>no such page</html>"
            headers: dict[str, str | None] = {
                "Content-Type": file.kind, "ETag": file.etag, "Last-Modified": file.date,
                "Accept-Ranges": "bytes",
            }  # fmt: skip
            data = file.data
            if fault.coding:
                data = gzip.compress(data, mtime=0)
                headers["Content-Encoding"] = "gzip" if fault.coding == "content" else None
            wished = asked.headers.get("If-Range")
            same = wished in (None, file.etag, file.date) or fault.blind
            if asked.range is None or fault.whole or not same:
                return 200, headers, data
            begin = int(asked.range.removeprefix("bytes=").removesuffix("-")) + fault.shift
            if begin >= len(data):
                return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            return 206, headers, data[begin:]

        def _send(self, asked: Asked, fault: Fault, body: bytes, *, chunked: bool) -> None:
            stops = [n for n in (fault.cut, fault.stall) if n is not None]
            end = min(stops, default=len(body))
            for begin in range(0, min(end, len(body)), site.block):
                block = body[begin : min(begin + site.block, end)]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block) if chunked else block)
                asked.sent += len(block)
                if site.pause:
                    time.sleep(site.pause)
            if stops:
                self.close_connection = True
            elif chunked:
                self.wfile.write(b"0\r\n\r\n")
            if fault.stall is not None:
                site.over.wait(30)
            if fault.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                with suppress(OSError):
                    self.rfile.close()
                    self.connection.close()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
