"""Measure a download against curl followed by sha256sum, and what a resumed one transfers.

    python benchmarks/download.py --scale 0.1

A separate process on this machine serves a file of random bytes by sendfile, which costs little.
Both sides write it to the same disk and hash it. sbdata hashes while it downloads, and flushes the
file to disk (fsync) before renaming it; curl and sha256sum run one after the other, as on the
command line, with the file still in memory. The repetitions alternate, and the medians are
compared. The seconds are wall time, so use an otherwise idle machine; CPU seconds are printed
beside them. They include the start of curl and sha256sum, but not that of Python. Then a download
that stopped at 99 % is resumed, and the server's count of what it sent is compared with the file's
size.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

from sbdata.fetch.download import download
from sbdata.fetch.parts import digests_of
from sbdata.fetch.remotes import Remote

SIZE = 10**9
BAR, RESUME_BAR = 0.8, 0.02
ETAG = '"benchmark"'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of 1 GB")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of each side")
    parser.add_argument(
        "--dir", type=Path, default=Path(tempfile.gettempdir()), help="on this disk"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if shutil.which("curl") is None or shutil.which("sha256sum") is None:
        parser.error("curl and sha256sum are needed to compare with")
    size = round(SIZE * options.scale)
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        figures = measure(Path(name), size, options.repeat)
    ours, theirs, share = figures["sbdata"], figures["curl"], figures["resumed"]
    print(f"{size:,} bytes from localhost, medians of {options.repeat}, {os.cpu_count()} cores")
    for title, side in (("curl, then sha256sum", "curl"), ("sbdata", "sbdata")):
        seconds, busy = figures[side], figures[f"{side} CPU"]
        speed = size / 1e6 / seconds
        print(f"{title:>22}: {seconds:7.2f} s  {speed:7.0f} MB/s  {busy:7.2f} s of CPU time")
    verdict = "reached" if theirs / ours >= BAR else "missed"
    print(f"{'ratio of speeds':>22}: {theirs / ours:7.2f}    (bar {BAR}: {verdict})")
    verdict = "reached" if share < RESUME_BAR else "missed"
    print(f"{'resumed at 99 %':>22}: {100 * share:7.2f} % of the file (bar under 2 %: {verdict})")
    if options.json is not None:
        options.json.write_text(json.dumps({"bytes": size, **figures}, indent=1) + "\n")


def measure(folder: Path, size: int, repeat: int) -> dict[str, float]:
    """Return the median seconds of both sides and the share that a resumed download transfers."""
    source = folder / "served.bin"
    write_random(source, size)
    sha256 = digests_of(source, md5=False, between=lambda: None).sha256
    there, here = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(source, here), daemon=True
    )
    server.start()
    try:
        remote = Remote("file.bin", (there.recv(),), size, sha256)
        sides: dict[str, Callable[[Path], str]] = {
            "sbdata": lambda place: download(remote, place).sha256,
            "curl": lambda place: curl(remote.urls[0], place / "file.bin"),
        }
        taken: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(repeat):
            for side, run in sides.items():
                taken[side].append(timed(run, folder / side, sha256))
        there.send("sent")
        before = there.recv()
        resume(remote, folder / "resumed", source)
        there.send("sent")
        sent = there.recv() - before
    finally:
        server.terminate()
        server.join()
    figures = {"resumed": sent / size}
    for side, pairs in taken.items():
        seconds, busy = zip(*pairs, strict=True)
        figures[side], figures[f"{side} CPU"] = statistics.median(seconds), statistics.median(busy)
    return figures


def timed(run: Callable[[Path], str], place: Path, sha256: str) -> tuple[float, float]:
    """Return the wall seconds, and the CPU seconds of this process and its children."""
    place.mkdir()
    os.sync()  # earlier writes must not count for this side
    before, started = cpu_seconds(), time.perf_counter()
    found = run(place)
    seconds, busy = time.perf_counter() - started, cpu_seconds() - before
    if found != sha256:
        raise SystemExit(f"{place} has other bytes")
    shutil.rmtree(place)
    return seconds, busy


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def curl(url: str, target: Path) -> str:
    subprocess.run(["curl", "--silent", "--fail", "--output", target, url], check=True)
    said = subprocess.run(["sha256sum", target], check=True, capture_output=True, text=True)
    return said.stdout.split()[0]


def resume(remote: Remote, place: Path, source: Path) -> None:
    """Resume a download that stopped at 99 %."""
    place.mkdir()
    at = round(0.99 * source.stat().st_size)
    shutil.copyfile(source, place / "file.bin.part")
    os.truncate(place / "file.bin.part", at)
    about = {"url": remote.urls[0], "etag": ETAG, "size": remote.size}
    (place / "file.bin.part.json").write_text(json.dumps(about))
    download(remote, place)


def write_random(path: Path, size: int) -> None:
    with path.open("wb") as stream:
        for begin in range(0, size, 2**24):
            stream.write(os.urandom(min(2**24, size - begin)))


def serve(path: Path, pipe: Connection) -> None:
    """Serve one file, with ranges; answer "sent" with the bytes of bodies sent so far."""
    sent = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            nonlocal sent
            size = path.stat().st_size
            asked = self.headers.get("Range")
            begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - begin))
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("ETag", ETAG)
            self.end_headers()
            with path.open("rb") as stream:
                self.wfile.flush()
                sent += self.connection.sendfile(stream, begin)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    pipe.send(f"http://127.0.0.1:{server.server_port}/file.bin")
    server.timeout = 0.05
    while True:
        server.handle_request()
        if pipe.poll():
            pipe.recv()
            pipe.send(sent)


if __name__ == "__main__":
    main()
