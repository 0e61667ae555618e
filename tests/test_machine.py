"""The machine's own troubles, said by folder and remedy."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sbdata.errors import InputError
from sbdata.machine import check_output, sentence_of, writing_to

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "set" / "a.png"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/elsewhere")
    assert sentence_of(named) == (
        f"{tmp_path}/set/a.png: the disk is full (No space left on device); make room there or "
        "give another place"
    )
    assert sentence_of(FULL, [tmp_path / "out"]).startswith(f"{tmp_path / 'out'}")
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert "set TMPDIR to another folder" in sentence_of(named)
    assert "set TMPDIR to another folder" not in sentence_of(named, [tmp_path / "set"])
    missing = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    assert "or set TMPDIR to another folder" in sentence_of(missing)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "correct the permissions"),
        (errno.EROFS, "correct the permissions"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOTDIR, "fix the problem"),
    ],
)
def test_other_troubles_have_a_remedy(number: int, remedy: str) -> None:
    said = sentence_of(OSError(number, os.strerror(number), "out/file"))
    assert said.startswith(f"out/file: {os.strerror(number)}; ")
    assert remedy in said


def test_errors_while_a_folder_is_written_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the disk is full"), writing_to(tmp_path):
        raise FULL
    with pytest.raises(ValueError, match="other"), writing_to(tmp_path):
        raise ValueError("other")


def test_a_place_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for place in (tmp_path / "there", tmp_path / "new" / "deeper"):
        check_output(place)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not any((tmp_path / "there").iterdir())


@pytest.mark.parametrize("place", ["file", "file/below", "file/below/deeper", "/proc/x", "/proc"])
def test_places_that_cannot_be_written_are_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / place
    with pytest.raises(InputError) as caught:
        check_output(folder)
    assert str(caught.value).startswith(f"{folder}: cannot be written to: ")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_rights_is_named(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(InputError, match="Permission denied"):
        check_output(tmp_path / "shut" / "new")


# --- Ctrl-C ---------------------------------------------------------------------------------------

PROGRAM = """
import multiprocessing, os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from sbdata.machine import end_workers, starting_workers

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))
    with starting_workers():
        waiting = [pool.submit(time.sleep, 60) for _ in range(2)]
    print("started", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        end_workers(pool)
        pool.shutdown(wait=False, cancel_futures=True)
        print("stopped", flush=True)
"""


@pytest.mark.parametrize("wait", [0.0, 0.1, 1.0])
def test_workers_that_still_start_leave_the_signal_to_their_parent(
    tmp_path: Path, wait: float
) -> None:
    import time

    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    process = subprocess.Popen(
        [sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=300)
    assert (out, err) == ("stopped\n", "")


def test_processes_that_check_one_folder_together_do_not_disturb_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "ewc"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(check_output, [folder] * 300))
    assert not list(tmp_path.rglob("*.part"))
