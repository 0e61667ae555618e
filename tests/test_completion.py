"""Done markers: what is vouched for, and what is noticed afterwards."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import orjson
import pytest

from sbdata import completion
from sbdata.completion import (
    MARKER,
    check_marker,
    describe_problems,
    read_marker,
    record_file,
    write_marker,
)
from sbdata.errors import InputError

OLD = 1_700_000_000_000_000_000  # ns; long before the tests run
FILES = {"a.png": b"first", "deep/b.png": b"second", "model.pt": b"weights"}


def set_time(path: Path, mtime_ns: int = OLD) -> None:
    os.utime(path, ns=(mtime_ns, mtime_ns))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
        set_time(root / name)
    write_marker(root, list(FILES), {"seed": 3})
    return root


def kinds(folder: Path, **options: bool) -> dict[str, str]:
    return {problem.name: problem.kind for problem in check_marker(folder, **options)}


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    hashed: list[Path] = []
    real = completion.sha256_of

    def sha256_of(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(completion, "sha256_of", sha256_of)
    return hashed


def test_what_was_written_is_read(folder: Path) -> None:
    marker = read_marker(folder)
    assert marker is not None
    assert marker.extra == {"seed": 3}
    assert set(marker.files) == set(FILES)
    assert marker.files["a.png"] == record_file(folder / "a.png")
    assert check_marker(folder) == []
    assert check_marker(folder, verify=True) == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_altered_or_lost_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"other")
    assert kinds(folder) == {name: "changed"}
    (folder / name).unlink()
    assert kinds(folder) == {name: "missing"}
    (folder / name).mkdir()
    assert kinds(folder) == {name: "unreadable"}


def test_other_bytes_of_the_same_size_are_noticed_by_their_time(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"FIRST")
    (problem,) = check_marker(folder)
    assert (problem.kind, problem.detail) == ("changed", "the right size, other bytes")


def test_other_bytes_of_the_same_size_and_time_are_found_on_request(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"FIRST")
    set_time(folder / "a.png")
    assert kinds(folder) == {}
    assert kinds(folder, verify=True) == {"a.png": "changed"}


def test_unchanged_files_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = count_hashes(monkeypatch)
    assert check_marker(folder) == []
    assert hashed == []


def test_a_copy_is_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    for name in FILES:
        set_time(copy / name, OLD + 5)
    hashed = count_hashes(monkeypatch)
    assert check_marker(copy) == []
    assert len(hashed) == len(FILES)
    assert check_marker(copy) == []
    assert len(hashed) == len(FILES)
    marker = read_marker(copy)
    assert marker is not None
    assert marker.extra == {"seed": 3}


def test_a_record_of_new_times_that_a_kill_cut_short_is_removed(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    (folder / f".{MARKER}.01234567.part").touch()
    set_time(folder / "a.png", OLD + 5)
    assert check_marker(folder) == []
    assert sorted(path.name for path in folder.iterdir()) == names


def test_new_times_are_not_recorded_while_a_file_is_wrong(folder: Path) -> None:
    before = (folder / MARKER).read_bytes()
    set_time(folder / "a.png", OLD + 5)
    (folder / "model.pt").unlink()
    assert kinds(folder) == {"model.pt": "missing"}
    assert (folder / MARKER).read_bytes() == before


def test_a_change_right_after_the_marker_cannot_hide(tmp_path: Path) -> None:
    """The clock of a file system is coarse: a later change may bear the same time."""
    path = tmp_path / "a.png"
    path.write_bytes(b"first")
    seen = path.stat()
    write_marker(tmp_path, ["a.png"])
    path.write_bytes(b"FIRST")
    os.utime(path, ns=(seen.st_mtime_ns, seen.st_mtime_ns))
    assert kinds(tmp_path) == {"a.png": "changed"}


def test_a_folder_without_a_marker_was_never_completed(tmp_path: Path) -> None:
    assert read_marker(tmp_path) is None
    assert kinds(tmp_path) == {MARKER: "no_marker"}
    assert kinds(tmp_path / "absent") == {MARKER: "no_marker"}


ROW = [5, OLD, "0" * 64]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"3", b"{}", b"\xff",
        {"version": 2, "extra": {}, "files": {}},
        {"version": 1, "files": {}},
        {"version": 1, "extra": 3, "files": {}},
        {"version": 1, "extra": {}, "files": []},
        {"version": 1, "extra": {}, "files": {"a.png": 3}},
        {"version": 1, "extra": {}, "files": {"a.png": ROW[:2]}},
        {"version": 1, "extra": {}, "files": {"a.png": ["5", OLD, "0" * 64]}},
        {"version": 1, "extra": {}, "files": {"a.png": [5, True, "0" * 64]}},
        {"version": 1, "extra": {}, "files": {"../a.png": ROW}},
    ],
)  # fmt: skip
def test_a_broken_marker_is_a_problem_and_one_sentence(folder: Path, content: object) -> None:
    data = content if isinstance(content, bytes) else orjson.dumps(content)
    (folder / MARKER).write_bytes(data)
    assert kinds(folder) == {MARKER: "bad_marker"}
    with pytest.raises(InputError, match=MARKER) as caught:
        read_marker(folder)
    assert "\n" not in str(caught.value)


def test_what_is_missing_cannot_be_vouched_for(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match=r"b\.png: cannot be read .* is not complete"):
        write_marker(tmp_path, ["a.png", "b.png"])
    with pytest.raises(InputError, match="points outside"):
        write_marker(tmp_path, ["../a.png"])
    assert not (tmp_path / MARKER).exists()


def test_markers_of_other_names_do_not_meet(folder: Path) -> None:
    write_marker(folder, ["a.png"], name=".photos.json")
    (folder / "model.pt").unlink()
    assert check_marker(folder, name=".photos.json") == []
    assert kinds(folder) == {"model.pt": "missing"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_hashed_each_time(folder: Path) -> None:
    set_time(folder / "a.png", OLD + 5)
    folder.chmod(0o500)
    try:
        assert check_marker(folder) == []
    finally:
        folder.chmod(0o700)


def test_problems_are_told_in_one_line(folder: Path) -> None:
    for name in FILES:
        (folder / name).unlink()
    said = describe_problems(folder, check_marker(folder))
    assert said.startswith(f"{folder}: 3 files are not as recorded (a.png: no such file; ")
