"""Fetching against a local server that misbehaves on request, and against local bytes."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image
from requests.adapters import HTTPAdapter

import sbdata
from sbdata.errors import InputError
from sbdata.fetch import images
from sbdata.fetch.connections import PER_HOST
from sbdata.fetch.images import Failed, Fetched, ImageRequest, fetch_images
from sbdata.storage import inside
from tests.fetch.server import Fault, running, serving
from tests.substitutes import SkippedPauses
from tests.waiting import wait_until

SIZE = (48, 32)


def jpeg(seed: int, size: tuple[int, int] = SIZE, kind: str = "JPEG") -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(out, kind)
    return out.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Site:
    """What a server answers by path; each answer is (status, headers, body), the last for good."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.asked: list[str] = []
        self.connections: set[tuple[str, int]] = set()
        self.agents: set[str | None] = set()
        self.slow = 0.0
        self.hanging: set[str] = set()
        self.released = threading.Event()
        self.address = ""

    def put(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.setdefault(path, []).append((status, named, body))
        return self.address + path


@pytest.fixture
def site():
    found = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            found.asked.append(self.path)
            found.connections.add(self.client_address)
            found.agents.add(self.headers.get("User-Agent"))
            time.sleep(found.slow)
            if self.path in found.hanging:
                found.released.wait()
            waiting = found.answers.get(self.path, [(404, {}, b"no such page")])
            status, headers, body = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            length = headers.get("Content-Length", str(len(body)))
            self.send_response(status)
            for name, value in headers.items():
                if name != "Content-Length":
                    self.send_header(name, value)
            if length != "none":
                self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(body)
            if length != str(len(body)):
                self.close_connection = True

        def log_message(self, *_):
            pass

    with running(Handler) as found.address:
        yield found
        found.released.set()


def nothing(_: str) -> None:
    return None


def wanted(name: str, url: str | None = None, recorded: str | None = None, **changes):
    plain = {"width": SIZE[0], "height": SIZE[1], **changes}
    return ImageRequest(name, f"val/{name}.jpg", url, recorded, **plain)


def fetch(requests, folder, **options):
    return fetch_images(requests, folder, **{"local": nothing, "pause": 0.01, **options})


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def only_failure(answers) -> Failed:
    (answer,) = answers
    assert isinstance(answer, Failed)
    return answer


# --- what goes right -----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
def test_images_come_by_http_and_only_those_requested(tmp_path, site, workers):
    data = {f"{i:03}": jpeg(i) for i in range(12)}
    for name, body in data.items():
        site.put(f"/val/{name}.jpg", body)
    chosen = ["007", "001", "010", "004"]
    requests = [wanted(name, f"{site.address}/val/{name}.jpg") for name in chosen]
    answers = fetch(requests, tmp_path / "new" / "JPEGImages", workers=workers)
    assert [answer.image_id for answer in answers] == chosen
    assert Counter(site.asked) == Counter(f"/val/{name}.jpg" for name in chosen)
    assert listing(tmp_path / "new" / "JPEGImages") == {f"{n}.jpg": data[n] for n in sorted(chosen)}
    for answer in answers:
        picture = Image.open(io.BytesIO(data[answer.image_id]))
        phash = str(imagehash.phash(picture))
        assert answer == Fetched(answer.image_id, sha256(data[answer.image_id]), phash, "http")
    assert site.agents == {f"sbdata/{sbdata.__version__}"}


def test_a_connection_is_used_again(tmp_path, site):
    for i in range(8):
        site.put(f"/{i}.jpg", jpeg(i))
    fetch([wanted(str(i), f"{site.address}/{i}.jpg") for i in range(8)], tmp_path, workers=2)
    assert len(site.connections) <= 2


def test_many_workers_are_polite_to_one_host(tmp_path):
    with serving() as polite:
        polite.block, polite.pause = 100, 0.002
        requests = [wanted(str(i), polite.put(f"/{i}.jpg", jpeg(i))) for i in range(24)]
        answers = fetch(requests, tmp_path, workers=PER_HOST + 6)
    assert [answer.origin for answer in answers] == ["http"] * 24
    assert 1 < polite.most_at_once <= PER_HOST
    assert len(polite.connections) <= PER_HOST


def test_a_host_that_asks_for_a_pause_gets_it_from_every_worker(tmp_path, monkeypatch):
    together = threading.Barrier(2)

    def met(seconds):
        if not together.broken and len(patient.pauses) <= 2:
            together.wait(60)  # broken unless both workers pause before either goes on

    with serving() as busy, closing(SkippedPauses(met)) as patient:
        monkeypatch.setattr(images, "Connections", lambda **options: patient)
        later = Fault(status=429, headers={"Retry-After": "500"})
        requests = [wanted("a", busy.put("/a.jpg", jpeg(1), later))]
        requests += [wanted(str(i), busy.put(f"/{i}.jpg", jpeg(i))) for i in range(6)]
        answers = fetch(requests, tmp_path, workers=2)
    assert all(isinstance(answer, Fetched) for answer in answers)


def test_local_bytes_are_preferred(tmp_path, site):
    url = site.put("/a.jpg", jpeg(1))
    asked = []

    def local(name):
        asked.append(name)
        return jpeg(2)

    (answer,) = fetch([wanted("a", url)], tmp_path, local=local)
    assert (answer.origin, answer.sha256) == ("local", sha256(jpeg(2)))
    assert asked == ["val/a.jpg"]
    assert site.asked == []


def test_good_files_are_kept_and_others_replaced(tmp_path, site):
    bodies = {name: jpeg(i) for i, name in enumerate(("good", "cut", "other", "size", "page"))}
    requests = [
        wanted(name, site.put(f"/{name}.jpg", body), sha256(body)) for name, body in bodies.items()
    ]
    (tmp_path / "good.jpg").write_bytes(bodies["good"])
    (tmp_path / "cut.jpg").write_bytes(bodies["cut"][:-40])
    (tmp_path / "other.jpg").write_bytes(jpeg(99))
    (tmp_path / "size.jpg").write_bytes(jpeg(3, (32, 32)))
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    answers = fetch(requests, tmp_path)
    assert [answer.origin for answer in answers] == ["kept", "http", "http", "http", "http"]
    assert "/good.jpg" not in site.asked
    assert listing(tmp_path) == {f"{name}.jpg": body for name, body in sorted(bodies.items())}


def test_a_photo_corrected_in_its_source_replaces_the_kept_one(tmp_path):
    request = wanted("a")
    for number, origin in ((5, "local"), (5, "kept"), (6, "local"), (6, "kept")):
        (answer,) = fetch_images([request], tmp_path, local={"val/a.jpg": jpeg(number)}.get)
        assert (answer.origin, answer.sha256) == (origin, sha256(jpeg(number)))
    (answer,) = fetch_images([request], tmp_path, local=lambda _: None)
    assert answer.sha256 == sha256(jpeg(6))


def test_a_kept_file_needs_no_recorded_hash(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(5))
    (answer,) = fetch([wanted("a")], tmp_path)
    assert (answer.origin, answer.sha256) == ("kept", sha256(jpeg(5)))


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / ".a.jpg.0123abcd.part").write_bytes(jpeg(1)[:50])
    fetch([wanted("a")], tmp_path, local=lambda _: jpeg(1))
    assert list(listing(tmp_path)) == ["a.jpg"]


def test_the_longest_fitting_prefix_stands_in(tmp_path, site):
    site.put("/mirror/val/a.jpg", jpeg(1))
    site.put("/mirror/all/train/b.jpg", jpeg(2))
    mirrors = {
        "http://photos.invalid/": f"{site.address}/mirror/all/",
        "http://photos.invalid/deep/val": f"{site.address}/mirror/val",
        "http://photos.invalid/deep/valuable": "http://127.0.0.1:9/",
    }
    requests = [
        wanted("a", "http://photos.invalid/deep/val/a.jpg"),
        wanted("b", "http://photos.invalid/train/b.jpg"),
    ]
    answers = fetch(requests, tmp_path, mirrors=mirrors)
    assert [answer.origin for answer in answers] == ["http", "http"]
    assert sorted(site.asked) == ["/mirror/all/train/b.jpg", "/mirror/val/a.jpg"]


def test_redirects_are_followed_but_not_for_ever(tmp_path, site):
    site.put("/moved.jpg", status=302, Location="/a.jpg")
    site.put("/a.jpg", jpeg(1))
    site.put("/loop.jpg", status=302, Location="/loop.jpg")
    good, bad = fetch(
        [wanted("a", f"{site.address}/moved.jpg"), wanted("b", f"{site.address}/loop.jpg")],
        tmp_path,
    )
    assert good.sha256 == sha256(jpeg(1))
    assert bad.reason == "http"
    assert len(site.asked) < 10


def test_progress_counts_requests(tmp_path):
    seen = []
    fetch(
        [wanted(str(i)) for i in range(3)],
        tmp_path,
        local=lambda _: jpeg(1),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


# --- what goes wrong on the way and is tried again -----------------------------------------------


def test_a_server_error_is_tried_again(tmp_path, site):
    site.put("/a.jpg", b"sorry", 500)
    site.put("/a.jpg", b"sorry", 503)
    url = site.put("/a.jpg", jpeg(1))
    (answer,) = fetch([wanted("a", url)], tmp_path)
    assert answer.sha256 == sha256(jpeg(1))
    assert len(site.asked) == 3


def test_a_cut_off_body_is_tried_again(tmp_path, site):
    data = jpeg(1)
    site.put("/a.jpg", data[:100], Content_Length=str(len(data)))
    url = site.put("/a.jpg", data)
    (answer,) = fetch([wanted("a", url)], tmp_path)
    assert answer.sha256 == sha256(data)
    assert len(site.asked) == 2


def test_a_cut_off_body_never_becomes_a_file(tmp_path, site):
    data = jpeg(1)
    url = site.put("/a.jpg", data[:100], Content_Length=str(len(data)))
    failure = only_failure(fetch([wanted("a", url)], tmp_path, attempts=2))
    assert failure.reason == "http"
    assert len(site.asked) == 2
    assert listing(tmp_path) == {}


def test_a_cut_off_body_is_seen_where_the_library_does_not_look(tmp_path, site, monkeypatch):
    """Urllib3 compares the length by itself from version 2 on."""
    build = HTTPAdapter.build_response

    def careless(adapter, request, raw):
        raw.enforce_content_length = False
        return build(adapter, request, raw)

    monkeypatch.setattr(HTTPAdapter, "build_response", careless)
    data = jpeg(1)
    url = site.put("/a.jpg", data[:100], Content_Length=str(len(data)))
    failure = only_failure(fetch([wanted("a", url)], tmp_path, attempts=2))
    assert f"100 bytes were received, but {len(data)} were announced" in failure.detail


def test_a_body_of_unknown_length_that_was_cut_is_unreadable(tmp_path, site):
    url = site.put("/a.jpg", jpeg(1)[:-100], Content_Length="none", Connection="close")
    assert only_failure(fetch([wanted("a", url)], tmp_path)).reason == "unreadable_image"


@pytest.fixture
def pauses(monkeypatch):
    """The pauses of the runs of a test; none of them is waited for."""
    made = []

    def connections(**options):
        made.append(SkippedPauses(**options))
        return made[-1]

    monkeypatch.setattr(images, "Connections", connections)
    return lambda: [one.pauses for one in made]


@pytest.mark.parametrize("header", ["500", "date"])
def test_retry_after_is_honoured(tmp_path, site, header, pauses):
    value = formatdate(time.time() + 500, usegmt=True) if header == "date" else header
    site.put("/a.jpg", b"slow down", 429, Retry_After=value)
    url = site.put("/a.jpg", jpeg(1))
    (answer,) = fetch([wanted("a", url)], tmp_path)
    assert isinstance(answer, Fetched)
    ((pause,),) = pauses()
    assert pause == 500 if header != "date" else 0 < pause <= 500


def test_retry_after_zero_goes_on_at_once(tmp_path, site, pauses):
    site.put("/a.jpg", b"slow down", 429, Retry_After="0")
    url = site.put("/a.jpg", jpeg(1))
    fetch([wanted("a", url)], tmp_path, pause=30)
    assert pauses() == [[0.0]]


def test_clients_that_want_the_same_image_do_not_come_back_together(tmp_path, site, pauses):
    """Each folder stands for a machine; all of them fail at once, as a server restarts."""
    for client in range(5):
        site.answers.clear()
        for _ in range(2):
            site.put("/a.jpg", b"sorry", 503)
        url = site.put("/a.jpg", jpeg(1))
        (answer,) = fetch([wanted("a", url)], tmp_path / str(client), pause=30)
        assert isinstance(answer, Fetched)
    drawn = pauses()
    assert len({first for first, _ in drawn}) == len({second for _, second in drawn}) == 5
    assert all(15 <= first <= 30 <= second <= 60 for first, second in drawn)


def test_a_closed_port_is_tried_as_often_as_asked(tmp_path, monkeypatch):
    asked = []
    get = images._get
    monkeypatch.setattr(images, "_get", lambda *args: asked.append(args) or get(*args))
    failure = only_failure(fetch([wanted("a", "http://127.0.0.1:9/a.jpg")], tmp_path, attempts=3))
    assert failure.reason == "http"
    assert "tried 3 times" in failure.detail
    assert len(asked) == 3


def test_a_server_that_says_nothing_is_given_up(tmp_path, site):
    site.slow = 1.0
    url = site.put("/a.jpg", jpeg(1))
    failure = only_failure(fetch([wanted("a", url)], tmp_path, timeout=0.1, attempts=2))
    assert failure.reason == "http"
    assert "no data was received in time" in failure.detail
    assert len(site.asked) == 2


# --- what goes wrong and stays wrong -------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204])
def test_other_answers_are_asked_for_once(tmp_path, site, status):
    url = site.put("/a.jpg", b"" if status == 204 else b"no", status)
    failure = only_failure(fetch([wanted("a", url)], tmp_path))
    assert failure == Failed("a", "http", f"{url}: answered {status}")
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "unreadable_image"),
        (b"", "unreadable_image"),
        (jpeg(1)[:-100], "unreadable_image"),
        (jpeg(1, (32, 48)), "image_size"),
        (jpeg(1, kind="PNG"), "image_format"),
        (jpeg(2), "sha256"),
        (jpeg(1) + b"x", "sha256"),
    ],
)
@pytest.mark.parametrize("way", ["local", "http"])
def test_wrong_contents_are_refused_by_reason(tmp_path, site, body, reason, way):
    url = site.put("/a.jpg", body)
    local = (lambda _: body) if way == "local" else nothing
    failure = only_failure(fetch([wanted("a", url, sha256(jpeg(1)))], tmp_path, local=local))
    assert failure.reason == reason
    assert listing(tmp_path) == {}
    assert len(site.asked) == (way == "http")


def test_a_wrong_local_file_is_not_hidden_by_the_network(tmp_path, site):
    url = site.put("/a.jpg", jpeg(1))
    failure = only_failure(fetch([wanted("a", url)], tmp_path, local=lambda _: b"<html>"))
    assert failure.reason == "unreadable_image"
    assert site.asked == []


def test_neither_local_nor_url_is_missing_and_says_which(tmp_path):
    failure = only_failure(fetch([wanted("a")], tmp_path))
    assert failure.reason == "missing"
    assert "val/a.jpg" in failure.detail


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd", "link.jpg"])
def test_names_that_leave_the_root_are_not_followed(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(jpeg(1))
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    request = ImageRequest("a", name, None, None, *SIZE)
    failure = only_failure(
        fetch([request], tmp_path / "set", local=lambda n: inside(root, n).read_bytes())
    )
    assert failure.reason == "unsafe_path"
    assert listing(tmp_path / "set") == {}


@pytest.mark.parametrize("name", ["../a", "/a", "a/b", "", ".a", "a\nb", "x" * 300])
def test_ids_that_cannot_name_a_file_are_refused(tmp_path, name):
    request = ImageRequest(name, "a.jpg", None, None, *SIZE)
    failure = only_failure(fetch([request], tmp_path / "in" / "set", local=lambda _: jpeg(1)))
    assert failure.reason == "unsafe_path"
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "set"]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a.jpg", "a.jpg", "//a/b"])
def test_other_addresses_are_not_fetched(tmp_path, url):
    failure = only_failure(fetch([wanted("a", url)], tmp_path))
    assert failure.reason == "http"
    assert failure.detail == f"{url}: only http and https URLs are fetched"


@pytest.mark.parametrize("url", ["http://", "http://[::1/a.jpg", "http://\ud800/", "http://.a"])
def test_broken_addresses_are_refused(tmp_path, url):
    assert only_failure(fetch([wanted("a", url)], tmp_path, attempts=1)).reason == "http"


def test_a_redirect_to_a_file_is_not_followed(tmp_path, site):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg(1))
    url = site.put("/a.jpg", status=302, Location=f"file://{secret}")
    assert only_failure(fetch([wanted("a", url)], tmp_path / "set")).reason == "http"


def test_an_endless_file_is_cut_off(tmp_path, site, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    url = site.put("/a.jpg", b"\xff" * 200_000)
    failure = only_failure(fetch([wanted("a", url)], tmp_path))
    assert (failure.reason, failure.detail) == ("http", f"{url}: more than 1000 bytes")
    assert len(site.asked) == 1


def test_one_bad_image_stops_no_other(tmp_path, site):
    url = site.put("/good.jpg", jpeg(1))
    bad = [wanted(f"bad{i}", f"{site.address}/{i}.jpg") for i in range(5)]
    answers = fetch([*bad, wanted("good", url)], tmp_path, workers=3)
    assert [type(answer) for answer in answers] == [Failed] * 5 + [Fetched]


def test_an_id_requested_twice_is_an_error(tmp_path):
    with pytest.raises(InputError, match="image id a is requested twice"):
        fetch([wanted("a"), wanted("b"), wanted("a")], tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        fetch([wanted("a")], tmp_path / "file" / "images")


# --- generated images ----------------------------------------------------------------------------


def render(name: str) -> bytes:
    return jpeg(int(name.removeprefix("val/").removesuffix(".jpg")))


def render_pixels(name: str) -> str:
    return sha256(np.asarray(Image.open(io.BytesIO(render(name)))).tobytes())


def test_generated_images_are_recorded_by_their_pixels(tmp_path):
    request = wanted("7", sha256_of="pixels")
    (answer,) = fetch([request], tmp_path, local=render, pixel_sha256=render_pixels)
    assert answer.sha256 == render_pixels("val/7.jpg")
    assert answer.sha256 != sha256(render("val/7.jpg"))


def test_generated_images_are_compared_by_their_pixels(tmp_path):
    generated = {"local": render, "pixel_sha256": render_pixels}
    good = wanted("7", recorded=render_pixels("val/7.jpg"), sha256_of="pixels")
    assert isinstance(fetch([good], tmp_path, **generated)[0], Fetched)
    bad = wanted("8", recorded=render_pixels("val/7.jpg"), sha256_of="pixels")
    assert only_failure(fetch([bad], tmp_path, **generated)).reason == "sha256"
    assert list(listing(tmp_path)) == ["7.jpg"]


def test_a_generated_image_is_made_again_over_whatever_is_there(tmp_path):
    (tmp_path / "7.jpg").write_bytes(jpeg(8))
    request = wanted("7", recorded=render_pixels("val/7.jpg"), sha256_of="pixels")
    (answer,) = fetch([request], tmp_path, local=render)
    assert answer.origin == "local"
    assert (tmp_path / "7.jpg").read_bytes() == jpeg(7)


def test_processes_give_the_same_files(tmp_path):
    requests = [wanted(str(i), sha256_of="pixels") for i in range(6)]
    options = {"local": render, "pixel_sha256": render_pixels}
    inline = fetch(requests, tmp_path / "one", **options)
    spread = fetch(requests, tmp_path / "two", workers=2, processes=True, **options)
    assert spread == inline
    assert listing(tmp_path / "two") == listing(tmp_path / "one")


# --- killed in the middle ------------------------------------------------------------------------

KILLED = """
import sys, pathlib
from sbdata.fetch.images import ImageRequest, fetch_images
address, folder, count = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
requests = [ImageRequest(f"{i:03}", "", f"{address}/{i:03}.jpg", None, 48, 32)
            for i in range(count)]
fetch_images(requests, folder, local=lambda name: None, workers=2)
"""


def test_killed_and_started_again_it_ends_the_same(tmp_path, site):
    count = 40
    data = {f"{i:03}.jpg": jpeg(i) for i in range(count)}
    for name, body in data.items():
        site.put(f"/{name}", body)
    site.hanging = {f"/{i:03}.jpg" for i in range(count // 2, count)}  # until it is killed
    folder = tmp_path / "JPEGImages"
    command = [sys.executable, "-c", KILLED, site.address, str(folder), str(count)]
    with subprocess.Popen(command) as run:
        wait_until(lambda: len(list(folder.glob("*.jpg"))) >= count // 4)
        os.kill(run.pid, signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    there = {path.name for path in folder.glob("*.jpg")}
    assert count // 4 <= len(there) < count
    # What a kill between writing and renaming leaves; the kill above seldom hits that moment.
    (folder / ".039.jpg.00c0ffee.part").write_bytes(data["039.jpg"][:99])
    assert {name: data[name] for name in there} == {
        path.name: path.read_bytes() for path in folder.glob("*.jpg")
    }
    site.hanging = set()
    site.released.set()
    site.asked.clear()
    requests = [wanted(f"{i:03}", f"{site.address}/{i:03}.jpg") for i in range(count)]
    answers = fetch(requests, folder, workers=2)
    assert all(isinstance(answer, Fetched) for answer in answers)
    assert listing(folder) == data
    assert set(site.asked) == {f"/{name}" for name in data.keys() - there}


def test_an_interrupted_run_does_not_sleep_out_its_pauses(tmp_path, site):
    url = site.put("/a.jpg", b"", 503, Retry_After="600")

    def progress(done, total):
        raise KeyboardInterrupt

    requests = [wanted("a", url), wanted("b"), wanted("c")]
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        fetch(requests, tmp_path, workers=2, progress=progress)
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("sbdata"):
            thread.join(60)  # a tenth of the pause
            assert not thread.is_alive()
