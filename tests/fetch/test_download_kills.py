"""Downloads in processes of their own: killed, interrupted, without rights, and two at once."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from sbdata.fetch.download import DownloadOptions, download
from sbdata.fetch.remotes import Remote
from tests.fetch.server import Fault, Site
from tests.waiting import wait_until

SEED = 20120511
KILLS = 50
NAME = "file.bin"
DATA = np.random.default_rng(SEED).bytes(6 * 2**20)

# Starts a download in a child of its own for each line that it reads, so that the moments of a kill
# fall into the work and not into the start of Python. In "events", the child counts what it does to
# names in the folder and kills itself at the given one.
STARTER = """
import json, os, signal, sys
from pathlib import Path
from sbdata.errors import InputError
from sbdata.fetch.download import download
from sbdata.fetch.remotes import Remote

NAMING = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.link"}

def work(order):
    left = order["events"]
    def count(event, arguments):
        nonlocal left
        if event in NAMING and str(arguments[0]).startswith(order["folder"]):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
    if left:
        sys.addaudithook(count)
    if order["user"]:
        os.setuid(order["user"])
    remote = Remote(**{**order["remote"], "urls": tuple(order["remote"]["urls"])})
    try:
        answer = download(remote, Path(order["folder"]))
        return f"{answer.source} {answer.received}"
    except InputError as error:
        return f"error {error}"

print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    out, into = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(into, work(order).encode())
        finally:
            os._exit(0)
    os.close(into)
    print(child, flush=True)
    sys.stdin.readline()  # until asked for, the child is not reaped, and its number is its own
    with os.fdopen(out) as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), said]), flush=True)
"""


class Starter:
    """Starts downloads, one at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._child: int | None = None

    def start(self, remote: Remote, folder: Path, *, events: int = 0, user: int = 0) -> None:
        if self._child is not None:  # a test failed in the middle
            self.kill()
            self.end()
        about = {
            "name": remote.name, "urls": remote.urls, "size": remote.size, "sha256": remote.sha256,
        }  # fmt: skip
        order = {"remote": about, "folder": str(folder), "events": events, "user": user}
        self._say(json.dumps(order))
        self._child = int(self._process.stdout.readline())

    def kill(self) -> None:
        """Kill the download, or what is left of it."""
        os.kill(self._child, signal.SIGKILL)

    def end(self) -> tuple[int, str]:
        """Wait for the download; return its exit status and what it said."""
        self._say("")
        code, said = json.loads(self._process.stdout.readline())
        self._child = None
        return code, said

    def _say(self, line: str) -> None:
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


@contextmanager
def starting() -> Iterator[Starter]:
    command = [sys.executable, "-c", STARTER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield Starter(process)
        process.stdin.close()


@pytest.fixture(scope="module")
def starter():
    with starting() as found:
        yield found


@pytest.fixture(scope="module")
def another():
    with starting() as found:
        yield found


def remote_of(site: Site, data: bytes = DATA, **about) -> Remote:
    url = site.put("/file.bin", data, **about)
    return Remote(NAME, (url,), len(data), hashlib.sha256(data).hexdigest())


def assert_not_wrong(folder: Path, data: bytes = DATA) -> int:
    """Check what a kill has left; return how many bytes of a part it left."""
    target, part = folder / NAME, folder / f"{NAME}.part"
    if target.exists():
        assert target.read_bytes() == data
    had = part.read_bytes() if part.exists() else b""
    assert data.startswith(had)
    if had:
        assert (folder / f"{NAME}.part.json").is_file() or target.exists()
    return len(had)


def assert_finished(folder: Path, data: bytes = DATA) -> None:
    assert (folder / NAME).read_bytes() == data
    assert {path.name for path in folder.iterdir()} <= {NAME, f".{NAME}.lock"}


def kill_at_random(starter: Starter, site: Site, folder: Path, kills: int, seed: int) -> list[int]:
    """Kill downloads at random moments, and let each be finished by another call.

    Returns:
        How many bytes each kill has left; -1 where the file was finished.
    """
    rng = random.Random(seed)
    remote = remote_of(site)
    site.block = 64 * 2**10
    left = []
    for kill in range(kills):
        place = folder / str(kill)
        site.pause = 0.001
        starter.start(remote, place)
        _await_bytes(place, int(rng.uniform(-0.1, 1.02) * len(DATA)))
        time.sleep(rng.uniform(0, 0.005))
        starter.kill()
        code, _ = starter.end()
        finished = (place / NAME).exists()
        assert code == -signal.SIGKILL or finished
        had = assert_not_wrong(place) if place.exists() else 0
        site.pause = 0.0
        answer = download(remote, place)
        assert answer.received == (0 if finished else len(DATA) - had)
        assert_finished(place)
        shutil.rmtree(place)
        left.append(-1 if finished else had)
    return left


def _await_bytes(place: Path, count: int) -> None:
    """Wait until so many bytes have come, or the file is whole."""
    part = place / f"{NAME}.part"

    def enough() -> bool:
        with suppress(FileNotFoundError):
            return count <= 0 or (place / NAME).exists() or part.stat().st_size >= count
        return False

    wait_until(enough, pause=0.0002)  # two cores are shared by the download, its server and this


def test_killed_at_random_moments_it_ends_the_same(starter, site, tmp_path):
    left = kill_at_random(starter, site, tmp_path, 5, SEED)
    assert len(left) == 5


@pytest.mark.slow
def test_killed_at_fifty_random_moments_it_ends_the_same(starter, site, tmp_path):
    left = kill_at_random(starter, site, tmp_path, KILLS, SEED + 1)
    half_way = [had for had in left if 0 < had < len(DATA)]
    print(f"{KILLS} kills, seed {SEED + 1}, 0 wrong files; {len(half_way)} fell half-way")
    assert len(half_way) > KILLS / 2, left


@pytest.mark.parametrize("way", ["fresh", "resumed", "coded", "replaced"])
def test_killed_before_each_change_of_a_name_it_ends_the_same(starter, site, tmp_path, way):
    data = DATA[:100_000]
    for event in range(1, 60):
        folder = tmp_path / str(event)
        remote = remote_of(site, data)
        if way == "coded":
            site.always["/file.bin"] = Fault(coding="content")
        elif way != "fresh":
            had = data if way == "resumed" else bytes(len(data))
            leave_part(folder, remote, had[:60_000], site, old=way == "replaced")
        starter.start(remote, folder, events=event)
        code, said = starter.end()
        if way != "coded" and folder.exists():
            assert_not_wrong_after(folder, data, way)
        assert download(remote, folder).sha256 == remote.sha256
        assert_finished(folder, data)
        if code == 0:
            assert not said.startswith("error"), said
            break
        assert code == -signal.SIGKILL
    assert 8 < event < 59


def leave_part(folder: Path, remote: Remote, had: bytes, site: Site, *, old: bool) -> None:
    folder.mkdir()
    (folder / f"{NAME}.part").write_bytes(had)
    etag = '"old"' if old else site.files["/file.bin"].etag
    about = {"url": remote.urls[0], "etag": etag, "size": remote.size}
    (folder / f"{NAME}.part.json").write_text(json.dumps(about))


def assert_not_wrong_after(folder: Path, data: bytes, way: str) -> None:
    part = folder / f"{NAME}.part"
    if way == "replaced" and part.exists() and part.read_bytes() == bytes(60_000):
        part.unlink()  # of the old file, as it was
    assert_not_wrong(folder, data)


def wait_for_bytes(site: Site) -> None:
    wait_until(site.sent)


def test_two_processes_fetch_a_file_once(starter, another, site, tmp_path):
    remote = remote_of(site)
    site.pause = 0.01
    starter.start(remote, tmp_path)
    wait_for_bytes(site)
    another.start(remote, tmp_path)
    assert not (tmp_path / NAME).exists()
    assert starter.end() == (0, f"{remote.urls[0]} {len(DATA)}")
    assert another.end() == (0, "kept 0")
    assert len(site.asked) == 1
    assert_finished(tmp_path)


def test_when_one_process_is_killed_the_other_goes_on(starter, another, site, tmp_path):
    remote = remote_of(site)
    site.pause = 0.01
    starter.start(remote, tmp_path)
    wait_for_bytes(site)
    another.start(remote, tmp_path)
    time.sleep(0.1)
    starter.kill()
    assert starter.end()[0] == -signal.SIGKILL
    site.pause = 0.0
    code, said = another.end()
    assert code == 0
    source, received = said.split()
    assert source == remote.urls[0]
    assert 0 < int(received) < len(DATA)
    assert len(site.asked) == 2
    assert_finished(tmp_path)


@pytest.fixture
def read_only():
    """A folder that the process, or user 65534 if the process is root, cannot write to."""
    base = Path(tempfile.mkdtemp())  # tmp_path is closed to other users
    base.chmod(0o755)
    folder = base / "read-only"
    folder.mkdir(mode=0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(base)


def test_a_folder_without_the_right_to_write_is_told(starter, site, read_only):
    remote = remote_of(site)
    user = 65534 if os.geteuid() == 0 else 0
    read_only.chmod(0o555)
    starter.start(remote, read_only, user=user)
    code, said = starter.end()
    assert code == 0
    assert said.startswith("error ")
    assert "cannot be used (Permission denied); choose another folder" in said
    assert site.asked == []
    assert list(read_only.iterdir()) == []


def test_a_good_file_in_a_folder_without_the_right_to_write_is_kept(starter, site, read_only):
    remote = remote_of(site)
    (read_only / NAME).write_bytes(DATA)
    (read_only / NAME).chmod(0o444)
    read_only.chmod(0o555)
    starter.start(remote, read_only, user=65534 if os.geteuid() == 0 else 0)
    assert starter.end() == (0, "kept 0")


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from pathlib import Path
from sbdata.fetch.download import DownloadOptions, download_each
from sbdata.fetch.remotes import Remote
remotes = [Remote(name, (f"{sys.argv[1]}/{name}",)) for name in sys.argv[3:]]
try:
    download_each(remotes, Path(sys.argv[2]), options=DownloadOptions(timeout=600))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_interrupted_by_the_user_it_ends_soon_and_goes_on_later(site, tmp_path):
    names = ["a.bin", "b.bin", "c.bin"]
    for name in names:
        site.put(f"/{name}", DATA, Fault(stall=2_000_000))
    command = [sys.executable, "-c", INTERRUPTED, site.address, str(tmp_path), *names]
    with subprocess.Popen(command) as process:
        # Hidden ones are there for a moment only, and may be gone before their size is read.
        shown = "[!.]*.part"
        wait_until(lambda: sum(p.stat().st_size for p in tmp_path.glob(shown)) >= 6_000_000)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130  # all three connections would hang for ten minutes
    site.asked.clear()
    for name in names:
        remote = Remote(name, (f"{site.address}/{name}",))
        answer = download(remote, tmp_path, options=DownloadOptions(attempts=1))
        assert answer.received == len(DATA) - 2_000_000
        assert answer.path.read_bytes() == DATA
