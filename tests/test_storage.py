"""Atomic writing, leftovers of killed processes, and names that stay inside."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.storage import (
    former_of,
    inside,
    is_safe_name,
    is_safe_stem,
    remove_leftovers,
    replace_folder,
    restore_folder,
    sha256_of,
    write_bytes,
    write_text,
    writing,
)
from tests.substitutes import Substitute


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.txt"
    write_text(path, "old")

    def fail():
        with writing(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nobody_sees_a_part(tmp_path):
    path = tmp_path / "deep" / "table.bin"
    with writing(path) as temporary:
        temporary.write_bytes(b"part")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".part"
    assert path.read_bytes() == b"part"


def test_a_killed_writer_leaves_a_leftover_that_is_removed(tmp_path):
    path = tmp_path / "image.jpg"
    write_bytes(path, b"whole")
    script = (
        "import sys, pathlib, time\n"
        "from sbdata.storage import writing\n"
        "with writing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half'); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        os.kill(run.pid, signal.SIGKILL)
    assert path.read_bytes() == b"whole"
    assert len(list(tmp_path.iterdir())) == 2
    assert remove_leftovers(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_are_known_by_their_name_alone(tmp_path):
    others = ["mine.part", ".hidden", ".image.jpg.part", ".image.jpg.0123456z.part"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".image.jpg.01234567.part").touch()
    assert remove_leftovers(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    assert remove_leftovers(tmp_path / "absent") == 0


# --- folders -------------------------------------------------------------------------------------


def folder_with(path, text):
    path.mkdir(parents=True)
    (path / "summary.txt").write_text(text)
    (path / "deep").mkdir()
    (path / "deep" / "table.txt").write_text(text)
    return path


def text_of(path):
    found = {(path / name).read_text() for name in ("summary.txt", "deep/table.txt")}
    assert len(found) == 1  # not half of one and half of another
    return found.pop()


def test_a_folder_takes_the_place_of_another(tmp_path):
    target = tmp_path / "result"
    for text in ("first", "second"):
        replace_folder(folder_with(tmp_path / "prepared", text), target)
        assert text_of(target) == text
        assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("step", range(5))
def test_a_kill_while_a_folder_is_replaced_loses_neither(tmp_path, step):
    """The process ends before its rename number ``step``, or before the deletion at the end."""
    target = folder_with(tmp_path / "result", "former")
    prepared = folder_with(tmp_path / ".new.part", "new")
    script = (
        "import os, pathlib, shutil, signal, sys\n"
        "from sbdata import storage\n"
        "real, left = os.rename, int(sys.argv[3])\n"
        "def end(): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def rename(*paths):\n"
        "    global left\n"
        "    if left == 0: end()\n"
        "    left -= 1\n"
        "    real(*paths)\n"
        "os.rename = rename\n"
        "shutil.rmtree = lambda *a, **k: end()\n"
        "storage.replace_folder(*map(pathlib.Path, sys.argv[1:3]))\n"
    )
    command = [sys.executable, "-c", script, str(prepared), str(target), str(step)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert restore_folder(target) == (step == 1)  # between the two renames
    assert text_of(target) == ("former" if step < 2 else "new")
    assert not former_of(target).exists()
    remove_leftovers(tmp_path)
    replace_folder(folder_with(tmp_path / "third", "third"), target)
    assert text_of(target) == "third"
    assert {path.name for path in tmp_path.iterdir()} <= {"result", ".new.part"}


def test_the_next_replacement_restores_by_itself(tmp_path):
    target = tmp_path / "result"
    folder_with(former_of(target), "former")  # as a killed process leaves it
    with pytest.raises(OSError, match="absent"):
        replace_folder(tmp_path / "absent", target)
    assert text_of(target) == "former"


def test_a_reader_that_restores_meanwhile_does_not_stop_the_replacement(tmp_path, monkeypatch):
    target = folder_with(tmp_path / "result", "former")
    prepared = folder_with(tmp_path / "prepared", "new")
    real, calls = os.rename, []

    def rename(source, place):
        real(source, place)
        calls.append(place)
        if len(calls) == 1:
            restore_folder(target)

    with monkeypatch.context() as patch:
        patch.setattr("sbdata.storage.os", Substitute(os, rename=rename))
        replace_folder(prepared, target)
    assert text_of(target) == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "result").write_text("mine")
    with pytest.raises(NotADirectoryError):
        replace_folder(folder_with(tmp_path / "prepared", "new"), tmp_path / "result")
    assert (tmp_path / "result").read_text() == "mine"


def test_nothing_is_restored_without_need(tmp_path):
    target = folder_with(tmp_path / "result", "mine")
    assert not restore_folder(target)
    assert not restore_folder(tmp_path / "absent")
    folder_with(former_of(target), "older")  # its deletion was cut short
    assert not restore_folder(target)
    assert text_of(target) == "mine"
    assert list(tmp_path.iterdir()) == [target]


def test_folders_of_killed_processes_are_leftovers_too(tmp_path):
    folder_with(tmp_path / ".result.01234567.part", "half")
    assert remove_leftovers(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_one_name_are_removed_alone(tmp_path):
    folder_with(tmp_path / ".result.01234567.part", "half")
    other = folder_with(tmp_path / ".result.b.01234567.part", "of another, which is at work")
    assert remove_leftovers(tmp_path, "result") == 1
    assert list(tmp_path.iterdir()) == [other]


def test_a_former_folder_that_was_half_deleted_is_a_leftover_of_its_name(tmp_path, monkeypatch):
    target = folder_with(tmp_path / "result", "former")
    with monkeypatch.context() as patch:
        patch.setattr("sbdata.storage.shutil.rmtree", lambda *_, **__: None)
        replace_folder(folder_with(tmp_path / "prepared", "new"), target)
    assert len(list(tmp_path.iterdir())) == 2
    assert remove_leftovers(tmp_path, "result") == 1
    assert text_of(target) == "new"


# --- bytes and names -----------------------------------------------------------------------------


def test_sha256_is_that_of_the_bytes(tmp_path):
    data = os.urandom(3_000_000)
    write_bytes(tmp_path / "data", data)
    assert sha256_of(tmp_path / "data") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "/etc/passwd", "../a.jpg", "a/../../b.jpg", "a/..", "a\\b.jpg", "C:x.jpg",
        "a\0.jpg",
    ],
)  # fmt: skip
def test_names_that_lead_out_are_refused(tmp_path, name):
    assert not is_safe_name(name)
    with pytest.raises(InputError, match="points outside"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["a.jpg", "train2017/a.jpg", "a b.jpg", "ä/..b.jpg"])
def test_plain_names_are_taken(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


def test_links_that_leave_the_root_are_refused(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret.jpg").touch()
    (root / "file.jpg").symlink_to(outside / "secret.jpg")
    (root / "folder").symlink_to(outside)
    (root / "within.jpg").touch()
    (root / "good.jpg").symlink_to(root / "within.jpg")
    for name in ("file.jpg", "folder/secret.jpg", "folder/new.jpg"):
        with pytest.raises(InputError, match="points outside"):
            inside(root, name)
    assert inside(root, "good.jpg") == root / "good.jpg"


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".a", "a\nb", "a\0", "a" * 201, "\ud800"])
def test_stems_that_cannot_name_a_file_are_refused(name):
    assert not is_safe_stem(name)


@given(st.text(max_size=220))
def test_a_safe_stem_names_one_file_in_the_folder(tmp_path_factory, name):
    if is_safe_stem(name):
        folder = tmp_path_factory.getbasetemp() / "stems"
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.jpg"
        path.write_bytes(b"x")
        assert [found.name for found in folder.iterdir()] == [f"{name}.jpg"]
        path.unlink()
