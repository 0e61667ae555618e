"""Trees: unpacked to the end or not at all, every byte known, damage found and mended alone."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NoReturn

import pytest

from sbdata.errors import InputError
from sbdata.fetch import trees
from sbdata.fetch.archives import UnpackedFile
from sbdata.fetch.trees import (
    FileTable,
    damaged_files,
    read_table,
    repair,
    table_bytes,
    table_path,
    tables_of,
    unfinished,
    unpack_into,
)
from tests.fetch.test_archives import listing, tar_entry, write_plain, write_tar

CONTENTS = {
    "annotations/instances_train2017.json": b"{}" * 300,
    "annotations/instances_val2017.json": b"[]" * 200,
    "README.txt": b"read me",
}
OTHERS = {"annotations/instances_val2014.json": b"[1]" * 90}


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Bringing all files of the machine to the disk may take seconds; count it instead."""
    flushed: list[None] = []
    monkeypatch.setattr(trees, "_flush", lambda: flushed.append(None))
    return flushed


def packed(folder: Path, name: str = "a.zip", contents: dict[str, bytes] = CONTENTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_plain(folder / name, contents)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unpack(root: Path, archive: Path, **options) -> FileTable:
    return unpack_into(root, archive, sha256(archive), **options)


def visible(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in listing(root).items() if not name.startswith(".sbdata")}


def state(root: Path) -> list[str]:
    return sorted(p.name for p in (root / ".sbdata").iterdir() if p.suffix != ".lock")


# --- unpacking -----------------------------------------------------------------------------------


def test_a_tree_has_its_files_and_their_table(tmp_path: Path, no_flush: list[None]) -> None:
    archive = packed(tmp_path)
    table = unpack(tmp_path / "tree", archive)
    assert visible(tmp_path / "tree") == dict(sorted(CONTENTS.items()))
    assert state(tmp_path / "tree") == ["a.zip.files"]
    assert read_table(table_path(tmp_path / "tree", "a.zip")) == table
    assert table.sha256 == sha256(archive)
    assert table.size == sum(map(len, CONTENTS.values()))
    assert damaged_files(tmp_path / "tree", table.files, workers=2) == []
    assert len(no_flush) == 1


def test_what_is_unpacked_is_not_unpacked_again(tmp_path: Path) -> None:
    archive = packed(tmp_path)
    first = unpack(tmp_path / "tree", archive)
    digest = sha256(archive)
    archive.unlink()
    assert unpack_into(tmp_path / "tree", archive, digest) == first


def test_two_archives_share_a_tree(tmp_path: Path) -> None:
    unpack(tmp_path / "tree", packed(tmp_path))
    unpack(tmp_path / "tree", packed(tmp_path, "b.zip", OTHERS))
    assert visible(tmp_path / "tree") == dict(sorted({**CONTENTS, **OTHERS}.items()))
    assert [table.archive for table in tables_of(tmp_path / "tree")] == ["a.zip", "b.zip"]


def test_two_archives_with_one_file_are_refused(tmp_path: Path) -> None:
    unpack(tmp_path / "tree", packed(tmp_path))
    other = packed(tmp_path, "b.zip", {**OTHERS, "README.txt": b"another"})
    with pytest.raises(InputError, match=r"is in a.zip and in b.zip, with different bytes"):
        unpack(tmp_path / "tree", other)
    assert visible(tmp_path / "tree") == dict(sorted(CONTENTS.items()))


def test_two_archives_may_have_the_same_file(tmp_path: Path) -> None:
    """Some hold the same read-me, or what a system hides in every folder."""
    unpack(tmp_path / "tree", packed(tmp_path))
    more = {**OTHERS, "README.txt": CONTENTS["README.txt"]}
    unpack(tmp_path / "tree", packed(tmp_path, "b.zip", more))
    assert visible(tmp_path / "tree") == dict(sorted({**CONTENTS, **OTHERS}.items()))
    for table in tables_of(tmp_path / "tree"):
        assert damaged_files(tmp_path / "tree", table.files) == []


def test_another_archive_of_the_same_name_replaces_the_files(tmp_path: Path) -> None:
    unpack(tmp_path / "tree", packed(tmp_path))
    changed = {**CONTENTS, "README.txt": b"second edition"}
    table = unpack(tmp_path / "tree", packed(tmp_path, contents=changed))
    assert visible(tmp_path / "tree") == dict(sorted(changed.items()))
    assert damaged_files(tmp_path / "tree", table.files) == []


def test_a_refused_archive_leaves_the_tree_as_it_was(tmp_path: Path) -> None:
    unpack(tmp_path / "tree", packed(tmp_path))
    evil = write_tar(tmp_path / "e.tar", [tar_entry("new.txt", b"1"), tar_entry("../x", b"2")])
    with pytest.raises(InputError, match="leads out"):
        unpack(tmp_path / "tree", evil)
    assert visible(tmp_path / "tree") == dict(sorted(CONTENTS.items()))
    assert not table_path(tmp_path / "tree", "e.tar").exists()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("folder", [".sbdata", ".SBData"])
def test_an_archive_cannot_replace_the_table_of_another(tmp_path: Path, folder: str) -> None:
    table = unpack(tmp_path / "tree", packed(tmp_path))
    empty = table_bytes(FileTable("a.zip", table.sha256, ()))
    evil = packed(tmp_path, "b.zip", {**OTHERS, f"{folder}/a.zip.files": empty})
    with pytest.raises(
        InputError, match=r"b\.zip: not unpacked: it contains \.[sS][bB][dD]ata/a\.zip"
    ):
        unpack(tmp_path / "tree", evil)
    assert read_table(table_path(tmp_path / "tree", "a.zip")) == table
    assert visible(tmp_path / "tree") == dict(sorted(CONTENTS.items()))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    archive = packed(tmp_path)
    (tmp_path / "tree").write_bytes(b"a file")
    with pytest.raises(InputError, match="cannot be written"):
        unpack(tmp_path / "tree", archive)


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    archive = packed(tmp_path)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "annotations").write_bytes(b"mine")
    with pytest.raises(InputError, match="remove the conflicting file"):
        unpack(tmp_path / "tree", archive)
    assert (tmp_path / "tree" / "annotations").read_bytes() == b"mine"
    (tmp_path / "tree" / "annotations").unlink()
    unpack(tmp_path / "tree", archive)
    assert visible(tmp_path / "tree") == dict(sorted(CONTENTS.items()))


# --- damage and repair ---------------------------------------------------------------------------


def harm(root: Path) -> dict[str, str]:
    (root / "README.txt").unlink()
    (root / "annotations" / "instances_train2017.json").write_bytes(b"{}" * 299)
    (root / "annotations" / "instances_val2017.json").write_bytes(b"[]" * 199 + b"[ ")
    return {
        "README.txt": "missing_file",
        "annotations/instances_train2017.json": "wrong_size",
        "annotations/instances_val2017.json": "changed_file",
    }


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
def test_each_damaged_file_is_named_and_only_those_are_replaced(tmp_path: Path, name: str) -> None:
    contents = {**CONTENTS, **{f"images/{i}.jpg": bytes([i]) * 100 for i in range(20)}}
    root, archive = tmp_path / "tree", packed(tmp_path, name, contents)
    table = unpack(root, archive)
    kinds = harm(root)
    (root / "mine.txt").write_bytes(b"not of the archive")
    found = damaged_files(root, table.files)
    assert {damage.path: damage.kind for damage in found} == kinds
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}
    repair(root, archive, table, [damage.path for damage in found])
    assert visible(root) == dict(sorted({**contents, "mine.txt": b"not of the archive"}.items()))
    touched = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and before.get(path) != (path.stat().st_ino, path.stat().st_mtime_ns)
    }
    assert {path for path in touched if not path.startswith(".sbdata")} == set(kinds)
    assert damaged_files(root, table.files) == []
    assert state(root) == [f"{name}.files"]


def test_a_repair_from_another_archive_is_refused(tmp_path: Path) -> None:
    table = unpack(tmp_path / "tree", packed(tmp_path))
    harm(tmp_path / "tree")
    before = visible(tmp_path / "tree")
    other = packed(tmp_path / "other", "a.zip", {**CONTENTS, "README.txt": b"other"})
    with pytest.raises(InputError, match="not the archive"):
        repair(tmp_path / "tree", other, table, ["README.txt"])
    assert visible(tmp_path / "tree") == before


def test_a_folder_in_place_of_a_file_is_damage(tmp_path: Path) -> None:
    table = unpack(tmp_path / "tree", packed(tmp_path))
    (tmp_path / "tree" / "README.txt").unlink()
    (tmp_path / "tree" / "README.txt" / "x").mkdir(parents=True)
    (damage,) = damaged_files(tmp_path / "tree", table.files)
    assert (damage.path, damage.kind) == ("README.txt", "unreadable_file")
    with pytest.raises(InputError, match="remove the conflicting file"):
        repair(tmp_path / "tree", tmp_path / "a.zip", table, ["README.txt"])


# --- tables --------------------------------------------------------------------------------------


def test_a_table_can_be_read_by_other_tools(tmp_path: Path) -> None:
    table = unpack(tmp_path / "tree", packed(tmp_path))
    first, *lines = table_path(tmp_path / "tree", "a.zip").read_text().splitlines()
    below = "".join(f"{line}\n" for line in lines).encode()
    assert json.loads(first) == {
        "archive": "a.zip",
        "lines": hashlib.sha256(below).hexdigest(),
        "sha256": table.sha256,
    }
    for line in lines:
        digest, size, name = line.split("\t")
        assert hashlib.sha256(CONTENTS[name]).hexdigest() == digest
        assert int(size) == len(CONTENTS[name])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-40],
        lambda text: text[:-3] + "\n",
        lambda text: text.rsplit("\n", 2)[0] + "\n",
        lambda text: "",
        lambda text: text.replace("README.txt", "../README.txt"),
        lambda text: text.replace("\t", " "),
        lambda text: "[]" + text,
    ],
)
def test_a_damaged_table_is_said_to_be_and_is_made_anew(tmp_path: Path, change) -> None:
    archive = packed(tmp_path)
    table = unpack(tmp_path / "tree", archive)
    path = table_path(tmp_path / "tree", "a.zip")
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match="table of files"):
        read_table(path)
    assert tables_of(tmp_path / "tree") == []
    assert unpack(tmp_path / "tree", archive) == table
    assert read_table(path) == table


def test_an_empty_table_is_a_table() -> None:
    assert table_bytes(FileTable("x", "", ())).count(b"\n") == 1


def test_no_table_is_none(tmp_path: Path) -> None:
    assert read_table(tmp_path / "none") is None
    assert tables_of(tmp_path / "none") == []
    assert not unfinished(tmp_path, "a.zip")


def test_tables_of_many_files_keep_their_order(tmp_path: Path) -> None:
    files = tuple(UnpackedFile(f"f{i:03}", i, "0" * 64) for i in range(50))
    (tmp_path / "t").write_bytes(table_bytes(FileTable("x", "ab", files)))
    assert read_table(tmp_path / "t") == FileTable("x", "ab", files)


# --- killed --------------------------------------------------------------------------------------


def test_a_kill_at_every_step_is_mended_by_the_next_run(tmp_path: Path) -> None:
    """Every change of the file system in turn is the last one that a child process makes."""
    archive = packed(tmp_path)
    for limit in range(400):
        root = tmp_path / "trees" / str(limit)
        root.mkdir(parents=True)
        # A file that was there before must be whole at any time, old or new.
        (root / "README.txt").write_bytes(b"older")
        child = os.fork()
        if child == 0:
            _unpack_until(limit, root, archive)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        found = visible(root)
        assert found.pop("README.txt") in (CONTENTS["README.txt"], b"older")
        assert all(CONTENTS[name] == data for name, data in found.items())
        table = read_table(table_path(root, "a.zip"))
        assert table is None or damaged_files(root, table.files) == []
        assert table is not None or not found or unfinished(root, "a.zip")
        table = unpack(root, archive)
        assert visible(root) == dict(sorted(CONTENTS.items()))
        assert damaged_files(root, table.files) == []
        assert state(root) == ["a.zip.files"]
    assert ended == 0
    assert limit > 12


def _unpack_until(limit: int, root: Path, archive: Path) -> NoReturn:
    """Unpack in a process of its own, which kills itself before its change number ``limit``."""
    left, opened = limit, Path.open

    def step() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def counted(function):
        def call(*args, **kwargs):
            step()
            return function(*args, **kwargs)

        return call

    def counted_open(path: Path, mode: str = "r", *args, **kwargs):
        if "x" in mode or "w" in mode:
            step()
        return opened(path, mode, *args, **kwargs)

    try:
        for name in ("replace", "rename", "mkdir", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        Path.open = counted_open
        unpack(root, archive)
    except BaseException:  # the child must not go on as a second test run
        os._exit(3)
    os._exit(0)


KILLED = """
    import json, os, random, signal, sys, time
    from pathlib import Path
    from sbdata.fetch import trees
    trees._flush = lambda: None
    root, archive, digest = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    seed, kills = int(sys.argv[4]), int(sys.argv[5])
    wanted = {name: data for name, data in json.loads(sys.argv[6]).items()}
    import hashlib, shutil

    def spawn():
        # Returns the process, and a pipe that gets a byte for each file that was unpacked.
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            def tell(done, total):
                os.write(into, b".")
                time.sleep(0.0005)
            try:
                trees.unpack_into(root, archive, digest, progress=tell)
            finally:
                os._exit(0)
        os.close(into)
        return pid, os.fdopen(out, "rb", buffering=0)

    def end(pid, files):
        status = os.waitpid(pid, 0)[1]
        files.close()
        return os.WIFSIGNALED(status)

    def check():
        found = {p.relative_to(root).as_posix(): p for p in root.rglob("*")
                 if p.is_file() and ".sbdata" not in p.parts}
        for name, path in found.items():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == wanted[name], name
        table = trees.read_table(trees.table_path(root, archive.name))
        assert table is None or set(found) == set(wanted), "a table before its files"
        return table is not None

    drawn, landed = random.Random(seed), {"unpacking": 0, "moving": 0, "after": 0}
    while sum(landed.values()) < kills:
        pid, files = spawn()
        count = int(drawn.uniform(-0.05, 1.2) * len(wanted))
        for _ in range(min(count, len(wanted))):
            files.read(1)
        # What follows the last file takes longer than any of them.
        time.sleep(drawn.uniform(0, 0.002 if count < len(wanted) else 0.01))
        os.kill(pid, signal.SIGKILL)
        if not end(pid, files):
            shutil.rmtree(root)  # it was over before
            continue
        staged = root / ".sbdata" / f"{archive.name}.unpacking" / "table"
        if check():
            landed["after"] += 1
            shutil.rmtree(root)  # begin anew
        else:
            landed["moving" if staged.is_file() else "unpacking"] += 1
    end(*spawn())
    assert check()
    print(json.dumps(landed))
"""


@pytest.mark.parametrize(
    "kills", [12, pytest.param(50, marks=pytest.mark.slow)], ids=["few", "fifty"]
)
def test_a_kill_at_any_moment_leaves_no_wrong_file(tmp_path: Path, kills: int) -> None:
    """kill -9 at random moments (seed 0), each followed by a rerun of the same command."""
    contents = {f"train2017/{i:012}.jpg": os.urandom(2000 + i) for i in range(40)}
    contents |= {f"annotations/{i}.json": b"{}" * i for i in range(1, 9)}
    archive = packed(tmp_path, "a.tgz", contents)
    wanted = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), tmp_path / "tree", archive,
         sha256(archive), "0", str(kills), json.dumps(wanted)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    landed = json.loads(done.stdout)
    print(f"{kills} kills, seed 0, 0 wrong files; they fell into: {landed}")
    assert sum(landed.values()) == kills
    assert landed["unpacking"] > kills / 2, landed
    assert listing(tmp_path / "tree" / "train2017").keys() == {
        name.removeprefix("train2017/") for name in contents if name.startswith("train2017/")
    }


def test_two_processes_at_once(tmp_path: Path) -> None:
    archive = packed(tmp_path, "a.tar", {f"{i}.txt": bytes([i]) * 3000 for i in range(100)})
    code = """
        import sys
        from pathlib import Path
        from sbdata.fetch import archives, trees
        trees._flush = lambda: None
        real = trees.unpack_archive
        trees.unpack_archive = lambda *a, **k: (print("unpacks"), real(*a, **k))[1]
        trees.unpack_into(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path / "tree", archive]
    running = [
        subprocess.Popen([*command, sha256(archive)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sorted(said) == ["", "unpacks\n"]
    assert len(visible(tmp_path / "tree")) == 100
