"""Asking once: redirects, certificates, politeness, and what ends it."""

from __future__ import annotations

import math
import ssl
import subprocess
import threading
import time
from contextlib import closing

import pytest

from sbdata.fetch.connections import MAX_REDIRECTS, Connections, OverdueError, StoppedError
from sbdata.fetch.retries import PassingError, RefusedError
from tests.fetch.server import Fault, serving
from tests.substitutes import SkippedPauses


@pytest.fixture
def connections():
    with closing(Connections(timeout=5)) as found:
        yield found


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, as PEM files of it and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-keyout", folder / "key.pem", "-out", folder / "certificate.pem", "-days", "2",
        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate with")
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture
def secure_site(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(context) as found:
        yield found


def moved(target: str, status: int = 302) -> Fault:
    return Fault(status=status, headers={"Location": target}, body=b"moved")


def body(connections: Connections, url: str, deadline: float = math.inf, **options) -> bytes:
    with connections.asking(url, deadline=deadline, **options) as answer:
        return b"".join(connections.blocks(answer, deadline=deadline))


# --- redirects and certificates ------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(site, connections, status):
    url = site.put("/here", b"", moved("/there?a=1", status))
    site.put("/there?a=1", b"found")
    assert body(connections, url) == b"found"


def test_a_redirect_keeps_the_headers(site, connections):
    url = site.put("/here", b"", moved("/there"))
    site.put("/there", b"0123456789")
    assert body(connections, url, headers={"Range": "bytes=7-"}, expected=(206,)) == b"789"


def test_redirects_go_on_for_so_long(site, connections):
    for i in range(MAX_REDIRECTS + 1):
        site.put(f"/{i}", b"end", *([moved(f"/{i + 1}")] if i < MAX_REDIRECTS else []))
    assert body(connections, f"{site.address}/0") == b"end"


def test_redirect_loops_end(site, connections):
    site.always["/a"], site.always["/b"] = moved("/b"), moved("/a")
    with pytest.raises(RefusedError, match="more than 5 redirects"):
        body(connections, f"{site.address}/a")
    assert len(site.asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,a"])
def test_redirects_lead_to_no_other_scheme(site, connections, target):
    with pytest.raises(RefusedError, match="only http and https URLs are fetched"):
        body(connections, site.put("/a", b"", moved(target)))


def test_redirects_to_broken_addresses_are_refused(site, connections):
    with pytest.raises(RefusedError, match="Invalid IPv6 URL"):
        body(connections, site.put("/a", b"", moved("http://[::1/a")))


def test_a_certificate_that_nobody_vouches_for_is_refused(secure_site, connections):
    url = secure_site.put("/a", b"secret")
    with pytest.raises(RefusedError, match="its certificate is not valid"):
        body(connections, url)
    assert secure_site.asked == []


def test_a_certificate_that_is_vouched_for_is_accepted(
    secure_site, connections, certificate, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    assert body(connections, secure_site.put("/a", b"open")) == b"open"
    wrong_name = secure_site.address.replace("127.0.0.1", "localhost")
    with pytest.raises(RefusedError, match="its certificate is not valid"):
        body(connections, f"{wrong_name}/a")


@pytest.mark.parametrize("asked_for", [False, True])
def test_redirects_from_https_to_http_are_refused_unless_asked_for(
    site, secure_site, certificate, monkeypatch, asked_for
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    url = secure_site.put("/a", b"", moved(site.put("/b", b"plain")))
    with closing(Connections(plain_redirects=asked_for)) as connections:
        if asked_for:
            assert body(connections, url) == b"plain"
        else:
            with pytest.raises(RefusedError, match="redirects from https to http are not followed"):
                body(connections, url)
            assert site.asked == []


def test_redirects_from_http_to_https_are_followed(
    site, secure_site, connections, certificate, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    url = site.put("/a", b"", moved(secure_site.put("/b", b"safe")))
    assert body(connections, url) == b"safe"


def test_a_broken_ca_bundle_is_no_riddle(site, secure_site, connections, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem")
    with pytest.raises(RefusedError, match=r"/nowhere/bundle\.pem"):
        body(connections, secure_site.put("/a", b""))


# --- politeness ----------------------------------------------------------------------------------


def test_a_host_is_asked_by_so_many_at_once(site):
    site.block, site.pause = 10, 0.01
    for i in range(12):
        site.put(f"/{i}", b"x" * 50)
    with closing(Connections(per_host=2)) as connections:
        threads = [
            threading.Thread(target=body, args=(connections, f"{site.address}/{i}"))
            for i in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(site.asked) == 12
    assert site.most_at_once == 2
    assert len(site.connections) == 2  # that of a thread which has ended serves the next


def test_a_host_that_asks_for_a_pause_gets_it_from_all(site):
    url = site.put("/a", b"a", Fault(status=429, headers={"Retry-After": "500"}))
    other = site.put("/b", b"b")
    with closing(SkippedPauses(timeout=5)) as connections:
        with pytest.raises(PassingError, match="answered 429") as caught:
            body(connections, url)
        assert caught.value.retry_after == 500
        assert connections.pauses == []
        assert body(connections, other) == b"b"
        (pause,) = connections.pauses
        assert pause == pytest.approx(500, abs=100)  # less what has passed since the answer


def test_a_host_that_asks_for_a_long_pause_is_not_asked_again(site, connections):
    url = site.put("/a", b"a", Fault(status=503, headers={"Retry-After": "9999"}))
    for _ in range(2):
        with pytest.raises(PassingError) as caught:
            body(connections, url)
        assert 9990 < caught.value.retry_after <= 9999
    assert len(site.asked) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_statuses_that_say_later(site, connections, status):
    with pytest.raises(PassingError, match=f"answered {status}"):
        body(connections, site.put("/a", b"", Fault(status=status)))


# --- what ends it --------------------------------------------------------------------------------


def test_a_deadline_ends_a_body_that_trickles(site, connections):
    site.block, site.pause = 1, 0.05
    url = site.put("/a", b"x" * 1000)
    with pytest.raises(OverdueError):
        body(connections, url, deadline=time.monotonic() + 0.5)
    assert site.sent() < 1000


def test_no_pause_is_begun_that_would_end_too_late():
    with closing(SkippedPauses()) as connections:
        with pytest.raises(OverdueError):
            connections.pause(30, time.monotonic() + 20)
        assert connections.pauses == []
        connections.pause(30, time.monotonic() + 40)
        assert connections.pauses == [30]


def test_a_stalled_body_is_given_up(site):
    url = site.put("/a", b"x" * 1000, Fault(stall=400))
    with (
        closing(Connections(timeout=0.3)) as connections,
        pytest.raises(PassingError, match="no data was received in time"),
    ):
        body(connections, url)


def test_closing_ends_what_waits_in_another_thread(site):
    connections = Connections(timeout=600)
    url = site.put("/a", b"x" * 1000, Fault(stall=400))
    caught, came = [], threading.Event()

    def read():
        try:
            with connections.asking(url) as answer:
                for _ in connections.blocks(answer):
                    came.set()
        except StoppedError as error:
            caught.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert came.wait(60)
    connections.close()
    thread.join(60)  # a tenth of what a read may take
    assert len(caught) == 1


def test_what_was_read_before_a_cut_is_not_lost(site, connections):
    url = site.put("/a", bytes(range(200)), Fault(cut=150))
    came = []
    with connections.asking(url) as answer, pytest.raises(PassingError):
        came.extend(connections.blocks(answer))
    assert b"".join(came) == bytes(range(150))


def test_nothing_listens(connections):
    with pytest.raises(PassingError, match=r"^Failed to establish .*Connection refused$"):
        body(connections, "http://127.0.0.1:9/a")


def test_a_host_that_is_not_known(connections):
    with pytest.raises(PassingError, match=r"^Failed to resolve 'no-host.invalid'"):
        body(connections, "http://no-host.invalid/a")
