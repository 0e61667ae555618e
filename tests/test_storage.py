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
    inside,
    is_safe_name,
    is_safe_stem,
    remove_leftovers,
    sha256_of,
    write_bytes,
    write_text,
    writing,
)


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
