"""Downloads from a local server that misbehaves: the right bytes or a clear error, nothing else."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.fetch import connections, parts, space
from sbdata.fetch import download as download_module
from sbdata.fetch.download import (
    Downloaded,
    DownloadOptions,
    download,
    download_each,
)
from sbdata.fetch.remotes import Remote
from tests.fetch.server import LONG_AGO, Fault, serving, tag
from tests.substitutes import SkippedPauses, Substitute

QUICK = DownloadOptions(attempts=4, timeout=5, pause=0.001)
NAME = "file.bin"
HTML = b"<!DOCTYPE html><html><body>Service is back soon.</body></html>"


def some_bytes(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


DATA = some_bytes(300_000)


def known(url: str | tuple[str, ...], data: bytes = DATA, what: str = "size sha256", **changes):
    """A remote of which so much is known."""
    about = {
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
    }
    urls = (url,) if isinstance(url, str) else url
    return Remote(NAME, urls, **{key: about[key] for key in what.split()}, **changes)


def get(remote: Remote, folder: Path, **changes) -> Downloaded:
    return download(remote, folder, options=QUICK, **changes)


def left(folder: Path) -> set[str]:
    """The names that a user sees."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def assert_right(folder: Path, data: bytes = DATA) -> None:
    assert (folder / NAME).read_bytes() == data
    assert left(folder) == {NAME}


def cut_short(site, folder: Path, remote: Remote, at: int, data: bytes = DATA) -> None:
    """Leave the first ``at`` bytes of a file behind, as a run without patience does."""
    path = remote.urls[0].removeprefix(site.address)
    site.faults[path].insert(0, Fault(cut=at))
    with pytest.raises(InputError, match="are kept in"):
        download(remote, folder, options=DownloadOptions(attempts=1))
    assert (folder / f"{NAME}.part").read_bytes() == data[:at]
    site.asked.clear()


# --- what goes right -----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["size sha256", "size", "sha256", "md5", "size md5", ""])
def test_a_file_comes_and_is_described(tmp_path, site, what):
    url = site.put("/a/file.bin", DATA)
    answer = get(known(url, what=what), tmp_path / "new" / "folder")
    path = tmp_path / "new" / "folder" / NAME
    sha256 = hashlib.sha256(DATA).hexdigest()
    assert answer == Downloaded(NAME, path, len(DATA), sha256, url, len(DATA))
    assert_right(tmp_path / "new" / "folder")


@pytest.mark.parametrize("what", ["size sha256", "size", "md5", ""])
def test_a_file_that_is_there_is_kept_without_a_request(tmp_path, site, what):
    (tmp_path / NAME).write_bytes(DATA)
    answer = get(known(site.put("/a", DATA), what=what), tmp_path)
    assert (answer.source, answer.received) == ("kept", 0)
    assert answer.sha256 == hashlib.sha256(DATA).hexdigest()
    assert site.asked == []
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("there", [DATA[:-1], DATA + b"x", DATA[:-1] + b"x", b""])
def test_a_wrong_file_that_is_there_is_replaced(tmp_path, site, there):
    (tmp_path / NAME).write_bytes(there)
    url = site.put("/a", DATA)
    assert get(known(url), tmp_path).source == url
    assert_right(tmp_path)


def test_hashes_may_be_written_in_capitals(tmp_path, site):
    remote = known(site.put("/a", DATA), what="size")
    upper = hashlib.sha256(DATA).hexdigest().upper()
    get(Remote(NAME, remote.urls, sha256=upper), tmp_path)
    assert get(Remote(NAME, remote.urls, sha256=upper), tmp_path).source == "kept"


@pytest.mark.parametrize("what", ["size sha256", ""])
def test_an_empty_file_comes(tmp_path, site, what):
    get(known(site.put("/a", b""), b"", what), tmp_path)
    assert_right(tmp_path, b"")


@pytest.mark.parametrize("what", ["size sha256", ""])
def test_a_file_in_chunks_comes(tmp_path, site, what):
    url = site.put("/a", DATA, Fault(chunked=True))
    assert get(known(url, what=what), tmp_path).received == len(DATA)
    assert_right(tmp_path)


def test_the_bytes_are_on_the_disk_before_the_file_has_its_name(tmp_path, site, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle):
        order.append(("fsync", os.fstat(handle).st_ino))
        fsync(handle)

    def note_replace(source, target):
        order.append(("replace", Path(source).stat().st_ino))
        replace(source, target)

    noting = Substitute(os, fsync=note_fsync, replace=note_replace)
    monkeypatch.setattr(download_module, "os", noting)
    path = get(known(site.put("/a", DATA)), tmp_path).path
    named = order.index(("replace", path.stat().st_ino))
    assert ("fsync", path.stat().st_ino) in order[:named]
    assert order[named + 1 :] == [("fsync", tmp_path.stat().st_ino)]


def test_progress_tells_bytes_and_ends_at_all(tmp_path, site, monkeypatch):
    monkeypatch.setattr(download_module, "_PROGRESS_EVERY", 0.0)
    seen = []
    get(known(site.put("/a", DATA)), tmp_path, progress=lambda *now: seen.append(now))
    assert seen[-1] == (len(DATA), len(DATA))
    done = [now for now, _ in seen]
    assert done == sorted(done)
    assert done[0] < len(DATA)


def test_progress_is_told_seldom(tmp_path, site):
    seen = []
    get(known(site.put("/a", DATA)), tmp_path, progress=lambda *now: seen.append(now))
    assert len(seen) < 10


# --- cut off and resumed -------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["size sha256", ""])
@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_is_cut_again_and_again_gets_there(tmp_path, site, what, reset):
    cuts = [Fault(cut=20_000, reset=reset)] * 12  # more often than QUICK would try in vain
    url = site.put("/a", DATA, *cuts)
    answer = get(known(url, what=what), tmp_path)
    assert_right(tmp_path)
    if not reset:  # a reset may overtake bytes
        assert answer.received == len(DATA)
        assert [asked.range for asked in site.asked[1:3]] == ["bytes=20000-", "bytes=40000-"]
    assert {asked.headers.get("If-Range") for asked in site.asked[1:]} == {tag(DATA)}


def test_the_next_call_goes_on(tmp_path, site):
    remote = known(site.put("/a", DATA))
    cut_short(site, tmp_path, remote, 297_000)
    answer = get(remote, tmp_path)
    assert answer.received == site.sent() == 3_000
    assert_right(tmp_path)


def test_without_a_tag_the_date_is_the_validator(tmp_path, site):
    remote = known(site.put("/a", DATA, etag=None), what="")
    cut_short(site, tmp_path, remote, 100_000)
    assert get(remote, tmp_path).received == 200_000
    assert [asked.headers.get("If-Range") for asked in site.asked] == [LONG_AGO]
    assert_right(tmp_path)


@pytest.mark.parametrize(
    "about", [{"etag": None, "date": None}, {"etag": 'W/"weak"', "date": None}]
)
def test_without_a_validator_only_a_known_hash_allows_to_go_on(tmp_path, site, about):
    remote = known(site.put("/a", DATA, **about))
    cut_short(site, tmp_path / "known", remote, 100_000)
    assert get(remote, tmp_path / "known").received == 200_000
    assert_right(tmp_path / "known")
    unknown = known(remote.urls, what="size")
    cut_short(site, tmp_path / "unknown", unknown, 100_000)
    assert get(unknown, tmp_path / "unknown").received == 300_000
    assert [asked.range for asked in site.asked] == [None]
    assert_right(tmp_path / "unknown")


def test_a_date_that_is_too_fresh_is_no_validator(tmp_path, site):
    """The file may have changed again within the second (RFC 9110, section 8.8.2.2)."""
    now = parts.parsedate_to_datetime(LONG_AGO)
    fresh = {"Last-Modified": LONG_AGO, "Date": now.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    assert parts.origin_of("http://a", 200, fresh)[0].validator is None
    older = {**fresh, "Date": LONG_AGO.replace("40 GMT", "41 GMT")}
    assert parts.origin_of("http://a", 200, older)[0].validator == LONG_AGO


@pytest.mark.parametrize("what", ["size sha256", ""])
def test_an_answer_of_200_to_a_range_begins_anew(tmp_path, site, what):
    remote = known(site.put("/a", DATA, Fault(whole=True)), what=what)
    cut_short(site, tmp_path, remote, 100_000)
    assert get(remote, tmp_path).received == len(DATA)
    assert site.asked[0].range == "bytes=100000-"
    assert_right(tmp_path)


@pytest.mark.parametrize("what", ["size sha256", "size", ""])
@pytest.mark.parametrize("said", [True, False])
def test_a_rest_that_comes_as_if_it_were_all_is_not_taken_for_all(tmp_path, site, what, said):
    rest = DATA[100_000:]
    headers = {"Content-Range": f"bytes 100000-{len(DATA) - 1}/{len(DATA)}"} if said else {}
    fault = Fault(status=200, body=rest, headers={**headers, "Content-Length": str(len(rest))})
    remote = known(site.put("/a", DATA, fault), what=what)
    cut_short(site, tmp_path, remote, 100_000)
    get(remote, tmp_path)
    assert [asked.range for asked in site.asked] == ["bytes=100000-", None]
    assert_right(tmp_path)


@pytest.mark.parametrize("what", ["size sha256", "size", ""])
@pytest.mark.parametrize("blind", [False, True])
def test_a_tag_that_changes_half_way_begins_anew(tmp_path, site, what, blind):
    new = some_bytes(len(DATA), 1)
    url = site.put("/a", DATA, Fault(cut=100_000), Fault(replace=new, blind=blind))
    get(known(url, new, what), tmp_path)
    assert_right(tmp_path, new)
    assert site.asked[-1].range == (None if blind else "bytes=100000-")


@pytest.mark.parametrize("size", [50_000, 100_000, 250_000, 300_000, 400_000])
@pytest.mark.parametrize("what", ["size sha256", ""])
def test_a_file_replaced_between_two_runs_is_fetched_anew(tmp_path, site, size, what):
    url = site.put("/a", DATA)
    cut_short(site, tmp_path, known(url, what=what), 100_000)
    new = some_bytes(size, 1)
    site.put("/a", new)
    get(known(url, new, what), tmp_path)
    assert_right(tmp_path, new)


def test_a_file_replaced_under_the_same_date_is_found_by_its_hash(tmp_path, site):
    url = site.put("/a", DATA, etag=None)
    cut_short(site, tmp_path, known(url), 100_000)
    new = some_bytes(len(DATA), 1)
    site.put("/a", new, etag=None)
    get(known(url, new), tmp_path)
    assert_right(tmp_path, new)


@pytest.mark.parametrize("what", ["size sha256", ""])
def test_an_answer_of_416_begins_anew(tmp_path, site, what):
    remote = known(site.put("/a", DATA, Fault(status=416, body=b"")), what=what)
    cut_short(site, tmp_path, remote, 100_000)
    get(remote, tmp_path)
    assert [asked.range for asked in site.asked] == ["bytes=100000-", None]
    assert_right(tmp_path)


@pytest.mark.parametrize("what", ["size sha256", "sha256", ""])
def test_a_part_that_is_too_long_is_thrown_away(tmp_path, site, what):
    remote = known(site.put("/a", DATA), what=what)
    cut_short(site, tmp_path, remote, 100_000)
    with (tmp_path / f"{NAME}.part").open("ab") as part:
        part.write(bytes(250_000))
    get(remote, tmp_path)
    assert_right(tmp_path)


@pytest.mark.parametrize(
    "answer",
    [
        Fault(shift=-1000, blind=True),
        Fault(headers={"Content-Range": None}),
        Fault(headers={"Content-Range": "bytes 100000-299999/300001"}),
        Fault(headers={"Content-Range": "lines 1-2/3"}),
        Fault(headers={"Content-Encoding": "gzip"}),
        Fault(headers={"ETag": '"another"'}),
    ],
)
@pytest.mark.parametrize("what", ["size sha256", ""])
def test_a_rest_that_does_not_fit_is_not_joined(tmp_path, site, answer, what):
    remote = known(site.put("/a", DATA, answer), what=what)
    cut_short(site, tmp_path, remote, 100_000)
    get(remote, tmp_path)
    assert [asked.range for asked in site.asked] == ["bytes=100000-", None]
    assert_right(tmp_path)


def test_a_rest_without_the_tag_is_joined_only_if_the_hash_will_tell(tmp_path, site):
    untold = Fault(headers={"ETag": None, "Last-Modified": None})
    for what, requests in (("sha256", 1), ("size", 2)):
        remote = known(site.put("/a", DATA, untold), what=what)
        cut_short(site, tmp_path / what, remote, 100_000)
        get(remote, tmp_path / what)
        assert len(site.asked) == requests
        assert_right(tmp_path / what)


def test_an_answer_of_206_to_a_request_for_all_is_refused(tmp_path, site):
    url = site.put("/a", DATA, Fault(status=206))
    with pytest.raises(InputError, match="answered 206"):
        get(known(url), tmp_path)


@pytest.mark.parametrize(
    "note",
    [None, b"", b"{", b"[]", b'{"url": 3}', b'{"url": "a", "size": "b"}', b'{"x": 1}', b"\xff"],
)
def test_a_part_without_a_good_note_is_thrown_away(tmp_path, site, note):
    (tmp_path / f"{NAME}.part").write_bytes(DATA[:1000])
    if note is not None:
        (tmp_path / f"{NAME}.part.json").write_bytes(note)
    assert get(known(site.put("/a", DATA)), tmp_path).received == len(DATA)
    assert_right(tmp_path)


def test_a_note_cannot_smuggle_a_header(tmp_path, site):
    remote = known(site.put("/a", DATA))
    cut_short(site, tmp_path, remote, 1000)
    note = tmp_path / f"{NAME}.part.json"
    note.write_text(json.dumps({"url": remote.urls[0], "etag": '"a"\r\nX-Evil: 1'}))
    assert get(remote, tmp_path).received == len(DATA)


def test_a_damaged_part_is_found_and_fetched_once_more(tmp_path, site):
    remote = known(site.put("/a", DATA))
    cut_short(site, tmp_path, remote, 100_000)
    with (tmp_path / f"{NAME}.part").open("r+b") as part:
        part.write(b"not what was there")
    answer = get(remote, tmp_path)
    assert answer.received == 200_000 + 300_000
    assert_right(tmp_path)


def test_a_part_that_is_whole_needs_no_request(tmp_path, site):
    remote = known(site.put("/a", DATA))
    cut_short(site, tmp_path, remote, 200_000)
    with (tmp_path / f"{NAME}.part").open("ab") as part:
        part.write(DATA[200_000:])
    answer = get(remote, tmp_path)
    assert (answer.received, site.asked) == (0, [])
    assert answer.source == remote.urls[0]
    assert_right(tmp_path)


def test_what_a_killed_process_left_beside_a_finished_file_is_removed(tmp_path):
    (tmp_path / NAME).write_bytes(DATA)
    (tmp_path / f"{NAME}.part.json").write_text("{}")
    (tmp_path / f"{NAME}.part").write_bytes(b"x")
    get(known("http://127.0.0.1:9/"), tmp_path)
    assert_right(tmp_path)


def test_what_a_killed_process_left_of_its_own_is_removed(tmp_path, site):
    for name in (f".{NAME}.part.json.0123abcd.part", f".{NAME}.part.plain"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".other.part.json.0123abcd.part").write_bytes(b"x")
    get(known(site.put("/a", DATA)), tmp_path)
    assert left(tmp_path) == {NAME, ".other.part.json.0123abcd.part"}


# --- a body that stalls, lies about its length or ends early -------------------------------------


@pytest.mark.parametrize("what", ["size sha256", ""])
def test_a_stalled_body_is_given_up_and_resumed(tmp_path, site, what):
    remote = known(site.put("/a", DATA, Fault(stall=90_000), Fault(stall=0)), what=what)
    options = DownloadOptions(attempts=3, timeout=0.3, pause=0.001)
    answer = download(remote, tmp_path, options=options)
    assert answer.received == len(DATA)
    assert [asked.range for asked in site.asked] == [None, "bytes=90000-", "bytes=90000-"]
    assert_right(tmp_path)


@pytest.mark.parametrize("length", ["299999", "300001", "10", "0"])
def test_a_wrong_content_length_is_an_error_where_the_size_is_known(tmp_path, site, length):
    url = site.put("/a", DATA)
    site.always["/a"] = Fault(headers={"Content-Length": length})
    with pytest.raises(InputError, match=f"announces {int(length):,} bytes, but 300,000 are"):
        get(known(url, what="size"), tmp_path)
    assert left(tmp_path) <= {f"{NAME}.part"}


def test_a_content_length_that_is_too_long_is_an_error(tmp_path, site):
    url = site.put("/a", DATA)
    site.always["/a"] = Fault(headers={"Content-Length": "300001"})
    with pytest.raises(InputError, match="could not be downloaded"):
        get(known(url, what=""), tmp_path)
    assert NAME not in left(tmp_path)


def test_a_content_length_that_is_too_short_is_found_by_the_hash(tmp_path, site):
    url = site.put("/a", DATA)
    site.always["/a"] = Fault(headers={"Content-Length": "299990"})
    with pytest.raises(InputError, match="sha256"):
        get(known(url, what="sha256"), tmp_path)
    assert left(tmp_path) <= {f"{NAME}.part"}


def test_a_wrong_content_length_once_costs_only_a_mirror(tmp_path, site):
    bad = site.put("/bad", DATA, Fault(headers={"Content-Length": "10"}))
    good = site.put("/good", DATA)
    assert get(known((bad, good)), tmp_path).source == good
    assert_right(tmp_path)


@pytest.mark.parametrize("length", ["-5", "many", "1e3", "9" * 5000, "\u00b2"])
def test_a_content_length_that_is_none_is_not_believed(tmp_path, site, length):
    url = site.put("/a", DATA, Fault(headers={"Content-Length": length}))
    get(known(url), tmp_path)
    assert_right(tmp_path)


@pytest.mark.parametrize("what", ["size", "sha256"])
def test_a_body_that_ends_with_the_connection_is_compared(tmp_path, site, what):
    endless = {"Content-Length": None, "Connection": "close"}
    url = site.put("/a", DATA, Fault(headers=endless, cut=100_000), Fault(headers=endless))
    get(known(url, what=what), tmp_path)
    assert_right(tmp_path)


def test_a_body_that_ends_with_the_connection_is_refused_where_nothing_is_known(tmp_path, site):
    url = site.put("/a", DATA)
    site.always["/a"] = Fault(headers={"Content-Length": None})
    with pytest.raises(InputError, match="does not give the file's size"):
        get(known(url, what=""), tmp_path)
    assert NAME not in left(tmp_path)


@pytest.mark.parametrize("what", ["size sha256", ""])
def test_chunks_that_are_cut_are_not_the_end(tmp_path, site, what):
    url = site.put("/a", DATA, Fault(chunked=True, cut=100_000))
    get(known(url, what=what), tmp_path)
    assert [asked.range for asked in site.asked] == [None, "bytes=100000-"]
    assert_right(tmp_path)


def test_a_file_that_does_not_end_is_cut_off(tmp_path, site):
    url = site.put("/a", DATA + bytes(10**7), Fault(chunked=True))
    site.pause = 0.001
    with pytest.raises(InputError, match="sends more than 300,000 bytes"):
        get(known(url, what="size"), tmp_path)
    assert site.sent() < 5 * 10**6
    assert NAME not in left(tmp_path)


# --- errors, mirrors and pauses ------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_the_next_mirror_is_asked_after_a_refusal(tmp_path, site, status):
    bad = site.put("/bad", DATA, Fault(status=status))
    good = site.put("/good", DATA)
    assert get(known((bad, good)), tmp_path).source == good
    assert site.paths() == ["/bad", "/good"]
    assert_right(tmp_path)


def test_a_dead_mirror_is_tried_and_left(tmp_path, site):
    good = site.put("/good", DATA)
    dead = ("http://127.0.0.1:9/file.bin", "http://nowhere.invalid/file.bin")
    assert get(known((*dead, good)), tmp_path).source == good
    assert_right(tmp_path)


def test_the_error_names_every_mirror_and_its_trouble(tmp_path, site):
    one, two = f"{site.address}/one", site.put("/two", DATA, *[Fault(status=503)] * 9)
    with pytest.raises(InputError) as caught:
        get(known((one, two, "ftp://three")), tmp_path)
    assert str(caught.value) == (
        f"{NAME} could not be downloaded ({one}: answered 404; {two}: answered 503 (tried 4 "
        "times); ftp://three: only http and https URLs are fetched); "
        "check the network and the URLs"
    )
    assert len(site.asked) == 5


def test_what_one_mirror_sent_is_kept_for_the_next_where_the_hash_is_known(tmp_path, site):
    one = site.put("/one", DATA, Fault(cut=100_000), *[Fault(status=503)] * 9)
    two = site.put("/two", DATA, etag='"of another machine"')
    answer = get(known((one, two)), tmp_path)
    assert (answer.received, answer.source) == (300_000, two)
    assert "If-Range" not in site.asked[-1].headers
    assert_right(tmp_path)


def test_what_one_mirror_sent_is_not_joined_where_no_hash_is_known(tmp_path, site):
    new = some_bytes(300_000, 1)
    one = site.put("/one", DATA, Fault(cut=100_000), *[Fault(status=503)] * 9)
    two = site.put("/two", new)
    get(known((one, two), what="size"), tmp_path)
    assert_right(tmp_path, new)


def test_halves_of_two_files_are_found_and_the_second_is_fetched_whole(tmp_path, site):
    one = site.put("/one", some_bytes(300_000, 1), Fault(cut=100_000), *[Fault(status=503)] * 9)
    two = site.put("/two", DATA)
    assert get(known((one, two)), tmp_path).received == 100_000 + 200_000 + 300_000
    assert_right(tmp_path)


def test_a_storm_of_503_passes(tmp_path, site):
    url = site.put("/a", DATA, *[Fault(status=503)] * 3)
    get(known(url), tmp_path)
    assert len(site.asked) == 4
    assert_right(tmp_path)


def test_long_pauses_are_said_and_short_ones_are_not(tmp_path, site, monkeypatch, caplog):
    """Who has no network would else look at nothing for a minute."""
    paused = []
    monkeypatch.setattr(
        connections.Connections, "pause", lambda self, seconds, deadline: paused.append(seconds)
    )
    url = site.put("/a", DATA, *[Fault(status=503)] * 3)
    download(known(url), tmp_path, options=DownloadOptions(pause=1.9))
    said = [record.getMessage() for record in caplog.records]
    assert len(paused) == 3
    assert said == [
        f"{url}: answered 503; asked again in {seconds:.0f} seconds"
        for seconds in paused
        if seconds >= 2
    ]
    assert 0 < len(said) < 3


def test_a_storm_in_the_middle_passes(tmp_path, site):
    storm = [Fault(status=503), Fault(status=500)]
    url = site.put("/a", DATA, Fault(cut=1000), *storm, Fault(cut=1000), *storm)
    assert get(known(url), tmp_path).received == len(DATA)
    assert_right(tmp_path)


def test_a_storm_that_does_not_pass_is_an_error(tmp_path, site):
    url = site.put("/a", DATA)
    site.always["/a"] = Fault(status=503)
    with pytest.raises(InputError, match=r"answered 503 \(tried 4 times\)"):
        get(known(url), tmp_path)
    assert len(site.asked) == 4
    assert left(tmp_path) == set()


def test_a_429_is_followed_by_the_pause_it_asks_for(tmp_path, site, monkeypatch):
    with closing(SkippedPauses()) as patient:
        monkeypatch.setattr(download_module, "Connections", lambda **options: patient)
        url = site.put("/a", DATA, Fault(status=429, headers={"Retry-After": "500"}))
        get(known(url), tmp_path)
        assert patient.pauses == [500]
    assert_right(tmp_path)


def test_a_429_that_asks_for_hours_sends_to_the_next_mirror(tmp_path, site):
    with serving() as other:
        busy = site.put("/a", DATA, Fault(status=429, headers={"Retry-After": "7200"}))
        free = other.put("/a", DATA)
        assert get(known((busy, free)), tmp_path).source == free
    assert len(site.asked) == 1


@pytest.mark.parametrize("what", ["size sha256", ""])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_web_page_instead_of_the_file_is_refused_and_the_part_stays(
    tmp_path, site, what, resumed
):
    remote = known(site.put("/a", DATA), what=what)
    if resumed:
        cut_short(site, tmp_path, remote, 100_000)
    site.always["/a"] = Fault(
        status=200, body=HTML, headers={"Content-Type": "text/html; charset=utf-8"}
    )
    with pytest.raises(InputError, match="answered with a web page instead of the file"):
        get(remote, tmp_path)
    assert NAME not in left(tmp_path)
    site.always.clear()
    assert get(remote, tmp_path).received == (200_000 if resumed else 300_000)
    assert_right(tmp_path)


@pytest.mark.parametrize("what", ["size", "sha256", "md5"])
def test_a_web_page_that_calls_itself_a_file_is_found(tmp_path, site, what):
    page, good = site.put("/page", HTML), site.put("/good", DATA)
    with pytest.raises(InputError, match=r"bytes|sha256|md5"):
        get(known(page, what=what), tmp_path)
    assert NAME not in left(tmp_path)
    assert get(known((page, good), what=what), tmp_path).source == good
    assert_right(tmp_path)


def test_a_web_page_that_is_wanted_comes(tmp_path, site):
    url = site.put("/a", HTML, kind="text/html")
    assert download(Remote("page.html", (url,)), tmp_path).size == len(HTML)


@pytest.mark.parametrize("what", ["sha256", "md5", "size sha256", "size md5"])
def test_the_right_size_with_wrong_bytes_is_refused(tmp_path, site, what):
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])
    bad, good = site.put("/bad", wrong), site.put("/good", DATA)
    with pytest.raises(InputError, match=f"has the {what.split()[-1]} .* is expected"):
        get(known(bad, what=what), tmp_path)
    assert left(tmp_path) == set()
    assert get(known((bad, good), what=what), tmp_path).source == good
    assert_right(tmp_path)


def test_redirects_lead_there_and_the_address_asked_is_remembered(tmp_path, site):
    there = {"status": 302, "body": b"", "headers": {"Location": "/there"}}
    here = site.put("/here", DATA)
    site.always["/here"] = Fault(**there)
    site.put("/there", DATA, Fault(cut=100_000))
    assert get(known(here, what=""), tmp_path).source == here
    assert site.sent() == len(DATA)
    assert_right(tmp_path)


def test_a_redirect_loop_is_an_error(tmp_path, site):
    url = site.put("/a", DATA)
    site.always["/a"] = Fault(status=301, headers={"Location": "/a"})
    with pytest.raises(InputError, match="more than 5 redirects"):
        get(known(url), tmp_path)
    assert len(site.asked) == 6


def test_the_total_time_ends_it_and_what_came_stays(tmp_path, site):
    site.block, site.pause = 1000, 0.1  # half a minute for all of it
    remote = known(site.put("/a", DATA))
    with pytest.raises(InputError, match=r"not done within 2 seconds; .* bytes of it are kept"):
        download(remote, tmp_path, options=DownloadOptions(total=2))
    had = (tmp_path / f"{NAME}.part").stat().st_size
    assert 0 < had < len(DATA)
    site.pause = 0.0
    assert get(remote, tmp_path).received == 300_000 - had


def test_the_total_time_ends_pauses_too(tmp_path, site, monkeypatch):
    url = site.put("/a", DATA, Fault(status=503, headers={"Retry-After": "500"}))
    with closing(SkippedPauses()) as patient:
        monkeypatch.setattr(download_module, "Connections", lambda **options: patient)
        with pytest.raises(InputError, match="not done within"):
            download(known(url), tmp_path, options=DownloadOptions(total=200))
        assert patient.pauses == []


# --- codings -------------------------------------------------------------------------------------


TEXT = json.dumps(list(range(40_000))).encode()


@pytest.mark.parametrize("what", ["size sha256", "size", "sha256", ""])
@pytest.mark.parametrize("coding", ["content", "transfer"])
def test_a_file_coded_on_its_way_is_decoded(tmp_path, site, what, coding):
    url = site.put("/a", TEXT, Fault(coding=coding))
    answer = get(known(url, TEXT, what), tmp_path)
    assert (answer.size, answer.sha256) == (len(TEXT), hashlib.sha256(TEXT).hexdigest())
    assert answer.received < len(TEXT)
    assert_right(tmp_path, TEXT)


@pytest.mark.parametrize("what", ["size sha256", ""])
def test_a_coded_file_is_resumed_too(tmp_path, site, what):
    coded = len(gzip.compress(TEXT, mtime=0))
    url = site.put("/a", TEXT, Fault(coding="content", cut=5000), Fault(coding="content"))
    assert get(known(url, TEXT, what), tmp_path).received == coded
    assert_right(tmp_path, TEXT)


@pytest.mark.parametrize("what", ["size sha256", ""])
def test_a_server_that_stops_coding_half_way_begins_anew(tmp_path, site, what):
    url = site.put("/a", TEXT, Fault(coding="content", cut=5000))
    get(known(url, TEXT, what), tmp_path)
    assert_right(tmp_path, TEXT)


@pytest.mark.parametrize("what", ["size sha256", "md5", ""])
def test_an_archive_that_is_called_coded_is_left_as_it_is(tmp_path, site, what):
    """Some servers say that a .tgz is a tar, coded as gzip."""
    data = gzip.compress(TEXT)
    named = Fault(headers={"Content-Encoding": "x-gzip", "Content-Type": "application/x-tar"})
    url = site.put("/a.tgz", data, named)
    remote = known(url, data, what)
    answer = get(Remote("a.tgz", remote.urls, remote.size, remote.sha256, remote.md5), tmp_path)
    assert answer.path.read_bytes() == data


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        (gzip.compress(TEXT)[:-9], "its gzip data is truncated"),
        (b"no gzip at all", "its gzip data is damaged"),
        (gzip.compress(TEXT + b"x"), f"decodes to more than {len(TEXT):,} bytes"),
        (gzip.compress(TEXT[:-1]), "bytes, .* are expected"),
        (gzip.compress(TEXT[:-1] + b"x"), "has the sha256"),
        (gzip.compress(bytes(10**7)), f"decodes to more than {len(TEXT):,} bytes"),
    ],
)
def test_a_wrongly_coded_file_is_refused(tmp_path, site, body, trouble):
    url = site.put("/a", body, Fault(headers={"Content-Encoding": "gzip"}))
    with pytest.raises(InputError, match=trouble):
        get(known(url, TEXT), tmp_path)
    assert left(tmp_path) <= {f"{NAME}.part"}


def test_a_bomb_of_unknown_size_is_refused(tmp_path, site):
    url = site.put(
        "/a", gzip.compress(bytes(2 * 10**7)), Fault(headers={"Content-Encoding": "gzip"})
    )
    with pytest.raises(InputError, match="decodes to more than"):
        get(known(url, what=""), tmp_path)
    assert left(tmp_path) <= {f"{NAME}.part"}


def test_members_of_a_coding_are_one_file(tmp_path, site):
    body = gzip.compress(TEXT[:7]) + gzip.compress(b"") + gzip.compress(TEXT[7:])
    get(known(site.put("/a", body, Fault(headers={"Content-Encoding": "gzip"})), TEXT), tmp_path)
    assert_right(tmp_path, TEXT)


def test_an_unknown_coding_is_refused(tmp_path, site):
    url = site.put("/a", b"xyz", Fault(headers={"Content-Encoding": "br"}))
    with pytest.raises(InputError, match="coding br, which is not supported"):
        get(known(url), tmp_path)


# --- the disk ------------------------------------------------------------------------------------


def test_too_little_space_is_told_before_anything_is_asked(tmp_path, site, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=299_999)
    monkeypatch.setattr(space, "shutil", Substitute(shutil, disk_usage=lambda _: free))
    message = f"{NAME} needs 300,000 more bytes and the disk has 299,999"
    with pytest.raises(InputError, match=message):
        get(known(site.put("/a", DATA)), tmp_path)
    assert site.asked == []
    with pytest.raises(InputError, match=message):
        get(known(site.put("/a", DATA), what=""), tmp_path)
    assert len(site.asked) == 1
    assert NAME not in left(tmp_path)


def test_what_is_there_already_needs_no_space(tmp_path, site, monkeypatch):
    remote = known(site.put("/a", DATA))
    cut_short(site, tmp_path, remote, 200_000)
    free = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(space, "shutil", Substitute(shutil, disk_usage=lambda _: free))
    get(remote, tmp_path)
    assert_right(tmp_path)


class Full:
    """A file on a disk that takes so many more bytes."""

    def __init__(self, file, room: int, number: int) -> None:
        self.file, self.room, self.number = file, room, number

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, block) -> int:
        if not self.room:
            raise OSError(self.number, os.strerror(self.number))
        written = self.file.write(block[: self.room])  # as a full disk does: first a part of it
        self.room -= written
        return written


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_what_came_is_kept(tmp_path, site, monkeypatch, number):
    remote = known(site.put("/a", DATA))
    make = parts.Part.__init__

    def on_a_full_disk(part, *args, **options):
        make(part, *args, **options)
        part._file = Full(part._file, 123_456, number)

    with monkeypatch.context() as patch:
        patch.setattr(parts.Part, "__init__", on_a_full_disk)
        with pytest.raises(InputError, match=r"is full .* 123,456 bytes of it are kept in .* free"):
            get(remote, tmp_path)
    assert left(tmp_path) == {f"{NAME}.part", f"{NAME}.part.json"}
    assert get(remote, tmp_path).received == 300_000 - 123_456
    assert_right(tmp_path)


def test_a_disk_that_really_is_full(tmp_path, site):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        # In chunks: nothing is announced that could be compared with the free space.
        remote = known(site.put("/a", DATA, Fault(chunked=True)), what="sha256")
        with pytest.raises(InputError, match=r"is full .* free some space and run it again"):
            get(remote, folder)
        assert NAME not in left(folder)
        had = (folder / f"{NAME}.part").stat().st_size
        assert 150_000 < had < 210_000
        remount = ["mount", "-o", "remount,size=900k", str(folder)]
        subprocess.run(remount, check=True)
        assert get(remote, folder).received == 300_000 - had
        assert_right(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_folder_that_is_a_file_is_told(tmp_path, site):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be used"):
        get(known(site.put("/a", DATA)), tmp_path / "file" / "folder")
    assert site.asked == []


def test_a_folder_in_the_files_place_is_told(tmp_path, site):
    (tmp_path / NAME).mkdir()
    with pytest.raises(InputError, match=f"{NAME}.*cannot be used"):
        get(known(site.put("/a", DATA)), tmp_path)


@pytest.mark.parametrize("call", ["open", "replace"])
def test_a_refusal_of_the_system_is_one_sentence(tmp_path, site, monkeypatch, call):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / NAME))

    if call == "open":
        monkeypatch.setattr(Path, "open", refuse)
    else:
        monkeypatch.setattr(download_module, "os", Substitute(os, replace=refuse))
    with pytest.raises(InputError, match=f"{NAME}: cannot be used .Permission denied.; choose"):
        get(known(site.put("/a", DATA)), tmp_path)
    monkeypatch.undo()
    get(known(site.put("/a", DATA)), tmp_path)
    assert_right(tmp_path)


@pytest.mark.parametrize("name", ["../a", "/a", "a/b", "", ".a", "a\nb", "x" * 300, "a.part"])
def test_names_that_are_none_are_refused(tmp_path, site, name):
    with pytest.raises(InputError, match="cannot name a file"):
        download(Remote(name, (site.put("/a", DATA),)), tmp_path / "in" / "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_an_address_is_told(tmp_path):
    with pytest.raises(InputError, match="no URL is given"):
        get(known(()), tmp_path)


# --- several files -------------------------------------------------------------------------------


def several(site, count: int) -> tuple[list[Remote], dict[str, bytes]]:
    bodies = {f"file{i}.bin": some_bytes(50_000 + i, i) for i in range(count)}
    remotes = [
        Remote(name, (site.put(f"/{name}", data),), len(data), hashlib.sha256(data).hexdigest())
        for name, data in bodies.items()
    ]
    return remotes, bodies


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_several_files_come_so_many_at_once(tmp_path, site, parallel):
    site.block, site.pause = 5000, 0.005
    remotes, bodies = several(site, 6)
    seen = []
    answers = download_each(
        remotes, tmp_path, parallel=parallel, options=QUICK, progress=lambda *now: seen.append(now)
    )
    assert [answer.name for answer in answers] == list(bodies)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("file*")} == bodies
    assert site.most_at_once == parallel
    assert {now for now in seen if now[1] == now[2]} == {
        (name, len(data), len(data)) for name, data in bodies.items()
    }


def test_a_file_that_fails_stops_no_other(tmp_path, site):
    remotes, bodies = several(site, 5)
    for i in (1, 3):
        del site.files[f"/file{i}.bin"]
    answers = download_each(remotes, tmp_path, options=QUICK)
    failed = {i: str(answer) for i, answer in enumerate(answers) if isinstance(answer, InputError)}
    assert set(failed) == {1, 3}
    assert all(f"file{i}.bin could not be downloaded" in said for i, said in failed.items())
    there = {path.name: path.read_bytes() for path in tmp_path.glob("*.bin")}
    assert there == {f"file{i}.bin": bodies[f"file{i}.bin"] for i in (0, 2, 4)}


def test_space_is_compared_with_all_of_them(tmp_path, site, monkeypatch):
    remotes, bodies = several(site, 3)
    (tmp_path / "file0.bin").write_bytes(bodies["file0.bin"])
    needed = len(bodies["file1.bin"]) + len(bodies["file2.bin"])
    free = shutil.disk_usage(tmp_path)._replace(free=needed - 1)
    monkeypatch.setattr(space, "shutil", Substitute(shutil, disk_usage=lambda _: free))
    with pytest.raises(InputError, match=f"3 files needs {needed:,} more bytes"):
        download_each(remotes, tmp_path, options=QUICK)
    assert site.asked == []


def test_names_given_twice_are_refused(tmp_path, site):
    remotes = [Remote(name, (site.put("/a", DATA),)) for name in ("a.bin", "b.bin", "A.bin")]
    with pytest.raises(InputError, match="given twice"):
        download_each(remotes, tmp_path)


def test_no_files_are_no_trouble(tmp_path):
    assert download_each([], tmp_path) == []


def test_two_threads_that_want_one_file_fetch_it_once(tmp_path, site, caplog):
    site.block, site.pause = 20_000, 0.03
    remote = known(site.put("/a", DATA))
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(get(remote, tmp_path))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.source for answer in answers) == sorted([*remote.urls, "kept", "kept"])
    assert len(site.asked) == 1
    assert_right(tmp_path)
    waiting = f"{tmp_path / NAME}: waiting for another process that downloads it"
    assert [record.getMessage() for record in caplog.records] == [waiting] * 2


def test_interrupted_downloads_end_at_once_and_go_on_later(tmp_path, site):
    site.block, site.pause = 1000, 0.01
    remotes, bodies = several(site, 3)
    threads = []

    def interrupt(name, done, total):
        threads.append(threading.current_thread())
        if len({*threads}) == 3 and done > 3000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_each(remotes, tmp_path, options=QUICK, progress=interrupt)
    for thread in {*threads}:
        thread.join(60)
        assert not thread.is_alive()
    had = sum(path.stat().st_size for path in tmp_path.glob("*.part"))
    assert 3000 < had < sum(map(len, bodies.values()))
    site.pause = 0.0
    answers = download_each(remotes, tmp_path, options=QUICK)
    assert sum(answer.received for answer in answers) == sum(map(len, bodies.values())) - had
    assert {path.name: path.read_bytes() for path in tmp_path.glob("file*")} == bodies


# --- the law -------------------------------------------------------------------------------------

OLD, NEW = some_bytes(4000, 2), some_bytes(4000, 3)
detectable = st.one_of(
    st.builds(Fault, cut=st.integers(0, 4000), blind=st.booleans(), whole=st.booleans()),
    st.builds(Fault, status=st.sampled_from([404, 416, 429, 500, 503])),
    st.builds(Fault, cut=st.integers(0, 4000), chunked=st.just(True)),
    st.builds(Fault, replace=st.sampled_from([OLD, NEW]), cut=st.integers(0, 4000)),
    st.builds(Fault, shift=st.integers(-500, 500), blind=st.just(True)),
    st.builds(Fault, coding=st.sampled_from(["content", "transfer"]), cut=st.integers(0, 4000)),
    st.just(Fault(body=HTML, headers={"Content-Type": "text/html"})),
    st.just(Fault(headers={"ETag": None})),
    st.just(Fault(status=302, headers={"Location": "/one"})),
)
only_by_hash = st.one_of(
    detectable,
    st.builds(Fault, body=st.sampled_from([HTML, NEW, OLD[:-1], OLD + b"x"])),
    st.builds(lambda n: Fault(headers={"Content-Length": str(n)}), st.integers(0, 5000)),
    st.just(Fault(headers={"Content-Length": None})),
    st.builds(Fault, headers=st.just({"Content-Encoding": "gzip"})),
    st.just(Fault(headers={"ETag": None, "Last-Modified": None, "Content-Range": None})),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_goes_wrong_the_file_is_right_or_absent(tmp_path_factory, site, data):
    folder = tmp_path_factory.mktemp("law")
    what = data.draw(st.sampled_from(["size sha256", "sha256", "md5", ""]))
    faults = st.lists(only_by_hash if what else detectable, max_size=6)
    urls = [site.put(path, OLD, *data.draw(faults)) for path in ("/one", "/two")]
    right = {OLD} if what else {OLD, NEW}
    remote = known(tuple(urls), OLD, what)
    quick = DownloadOptions(attempts=2, timeout=2, pause=0.0)
    for last in (False, False, True):
        if last:
            site.put("/one", OLD)
        try:
            answer = download(remote, folder, options=quick)
        except InputError:
            assert not last
            assert not (folder / NAME).exists()
        else:
            assert answer.sha256 == hashlib.sha256((folder / NAME).read_bytes()).hexdigest()
            assert (folder / NAME).read_bytes() in right
            assert left(folder) == {NAME}
