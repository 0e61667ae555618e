"""Archives, good, damaged and hostile: the right bytes or a clear error, nothing anywhere else."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.fetch import archives
from sbdata.fetch.archives import Limits, UnpackedFile, unpack_archive
from tests.substitutes import Substitute

CONTENTS = {
    "VOCdevkit/VOC2012/JPEGImages/2007_000027.jpg": bytes(range(256)) * 9,
    "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt": b"2007_000033\n",
    "VOCdevkit/VOC2012/empty.txt": b"",
    "VOCdevkit/a name, with signs (1).txt": b"x" * 512,
}


def tar_entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""):
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.linkname = len(data), kind, link
    return entry, data


def write_tar(path: Path, entries, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as out:
        for entry, data in entries:
            out.addfile(entry, io.BytesIO(data))
    return path


def write_zip(path: Path, entries, **changes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in changes.items():
                setattr(info, key, value)
            out.writestr(info, data)
    return path


def write_plain(path: Path, contents: dict[str, bytes]) -> Path:
    """Write an archive of the kind that its name says."""
    if path.suffix == ".zip":
        return write_zip(path, contents.items())
    entries = [tar_entry(name, data) for name, data in contents.items()]
    return write_tar(path, entries, "w" if path.suffix == ".tar" else "w:gz")


def listing(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def refused(archive: Path, **options) -> str:
    """Unpack something that must be refused; return what is said. Nothing may lie outside."""
    folder = archive.parent / "tree" / "new"
    before = set(archive.parent.iterdir()) | {folder.parent}
    with pytest.raises(InputError) as raised:
        unpack_archive(archive, folder, **options)
    assert set(archive.parent.iterdir()) <= before
    assert list(folder.parent.iterdir()) == [folder]
    for path in folder.rglob("*"):
        assert path.is_dir() or (path.is_file() and not path.is_symlink())
    assert str(archive) in str(raised.value)
    return str(raised.value)


# --- what goes right -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.tar.gz", "a.zip"])
def test_files_come_out_with_their_bytes_and_a_table_of_them(tmp_path: Path, name: str) -> None:
    archive = write_plain(tmp_path / name, CONTENTS)
    told: list[tuple[int, int]] = []
    table = unpack_archive(
        archive, tmp_path / "new", progress=lambda done, total: told.append((done, total))
    )
    assert listing(tmp_path / "new") == CONTENTS
    assert table == [
        UnpackedFile(path, len(data), hashlib.sha256(data).hexdigest())
        for path, data in sorted(CONTENTS.items())
    ]
    size = archive.stat().st_size
    assert told == sorted(told)
    assert told[-1] == (size, size)
    assert all(0 < done <= total == size for done, total in told)


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip"])
def test_only_what_is_wanted_is_written(tmp_path: Path, name: str) -> None:
    archive = write_plain(tmp_path / name, CONTENTS)
    wanted = sorted(CONTENTS)[1:3]
    table = unpack_archive(archive, tmp_path / "new", only=wanted)
    assert [file.path for file in table] == wanted
    assert listing(tmp_path / "new") == {path: CONTENTS[path] for path in wanted}


def test_folders_and_dots_in_names_are_normalised(tmp_path: Path) -> None:
    entries = [
        tar_entry("./", kind=tarfile.DIRTYPE),
        tar_entry("./a", kind=tarfile.DIRTYPE),
        tar_entry("./a//b.txt", b"1"),
        tar_entry("a/", kind=tarfile.DIRTYPE),
    ]
    unpack_archive(write_tar(tmp_path / "a.tar", entries), tmp_path / "new")
    assert listing(tmp_path / "new") == {"a/b.txt": b"1"}
    unpack_archive(write_zip(tmp_path / "a.zip", [("c/", b""), ("c/./d", b"2")]), tmp_path / "2")
    assert listing(tmp_path / "2") == {"c/d": b"2"}


def test_long_names_and_pax_headers_are_read(tmp_path: Path) -> None:
    name = "/".join(["a-long-folder-name" * 8] * 3) + "/é.txt"
    for kind, suffix in ((tarfile.PAX_FORMAT, "p"), (tarfile.GNU_FORMAT, "g")):
        with tarfile.open(tmp_path / f"{suffix}.tar", "w", format=kind) as out:
            entry, data = tar_entry(name, b"deep")
            out.addfile(entry, io.BytesIO(data))
        unpack_archive(tmp_path / f"{suffix}.tar", tmp_path / suffix)
        assert listing(tmp_path / suffix) == {name: b"deep"}


def test_modes_and_owners_of_an_archive_are_not_taken(tmp_path: Path) -> None:
    entry, data = tar_entry("run.sh", b"#!")
    entry.mode = 0o4777
    unpack_archive(write_tar(tmp_path / "a.tar", [(entry, data)]), tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new" / "run.sh").stat().st_mode) & 0o7111 == 0


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("suffix", [".tar", ".tgz"])
def test_a_link_to_an_earlier_file_becomes_a_copy(tmp_path: Path, kind: bytes, suffix: str) -> None:
    target = "file.txt" if kind == tarfile.SYMTYPE else "a/file.txt"
    entries = [
        tar_entry("a/file.txt", b"bytes"),
        tar_entry("a/link.txt", b"", kind, target),
        tar_entry("a/last.txt", b"end"),
    ]
    archive = write_tar(tmp_path / f"a{suffix}", entries, "w" if suffix == ".tar" else "w:gz")
    unpack_archive(archive, tmp_path / "new")
    expected = {"a/file.txt": b"bytes", "a/last.txt": b"end", "a/link.txt": b"bytes"}
    assert listing(tmp_path / "new") == expected
    made = tmp_path / "new" / "a" / "link.txt"
    assert not made.is_symlink()
    assert made.stat().st_nlink == 1
    unpack_archive(archive, tmp_path / "one", only=["a/link.txt"])
    assert listing(tmp_path / "one") == {"a/link.txt": b"bytes"}


def test_the_same_file_twice_is_no_harm(tmp_path: Path) -> None:
    entries = [tar_entry("a.txt", b"same"), tar_entry("./a.txt", b"same")]
    unpack_archive(write_tar(tmp_path / "a.tar", entries), tmp_path / "new")
    assert listing(tmp_path / "new") == {"a.txt": b"same"}


@settings(max_examples=15, deadline=None)
@given(
    st.dictionaries(
        st.lists(st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True), min_size=1, max_size=3).map(
            lambda parts: "/".join([*parts[:-1], f"{parts[-1]}.bin"])
        ),
        st.binary(max_size=1200),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([".tar", ".tgz", ".zip"]),
)
def test_whatever_is_packed_comes_out(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes], suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("law")
    unpack_archive(write_plain(folder / f"a{suffix}", contents), folder / "new")
    assert listing(folder / "new") == dict(sorted(contents.items()))


# --- hostile -------------------------------------------------------------------------------------

HOSTILE_NAMES = [
    "/etc/escaped",
    "../escaped",
    "a/../../escaped",
    "a\\..\\..\\escaped",
    "C:/escaped",
    "..",
    "tab\there",
    "line\nbreak",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
def test_names_that_lead_elsewhere(tmp_path: Path, name: str, suffix: str) -> None:
    archive = write_plain(tmp_path / f"a{suffix}", {"good.txt": b"1", name: b"evil"})
    assert "leads out of its folder" in refused(archive)
    assert not Path("/etc/escaped").exists()


def test_a_name_that_zipfile_would_cut(tmp_path: Path) -> None:
    """What follows a NUL is dropped by ``zipfile``: a.txt and a.txt\\0.exe would be one file."""
    archive = write_zip(tmp_path / "a.zip", [("goodXevil", b"1")])
    archive.write_bytes(archive.read_bytes().replace(b"goodXevil", b"good\0evil"))
    assert "leads out of its folder" in refused(archive)


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "../../../secret"),
        (tarfile.SYMTYPE, "."),
        (tarfile.SYMTYPE, "b.txt"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "../secret"),
        (tarfile.LNKTYPE, "b.txt"),
    ],
)
def test_links_that_lead_elsewhere(tmp_path: Path, kind: bytes, link: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    entries = [tar_entry("a/b.txt", b"1"), tar_entry("c/link", b"", kind, link)]
    said = refused(write_tar(tmp_path / "a.tar", entries))
    assert "link" in said
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_links_are_refused_without_the_data_filter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pythons before 3.11.4 have none; the module's own checks have to do."""
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    for i, (kind, link) in enumerate(
        [(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "../../x"), (tarfile.CHRTYPE, "")]
    ):
        folder = tmp_path / str(i)
        folder.mkdir()
        refused(write_tar(folder / "a.tar", [tar_entry("link", b"", kind, link)]))


def test_the_data_filter_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python has none")
    asked: list[str] = []

    def refuse(entry: tarfile.TarInfo, folder: str) -> None:
        asked.append(entry.name)
        raise tarfile.OutsideDestinationError(entry, folder)

    monkeypatch.setattr(tarfile, "data_filter", refuse)
    assert "outside" in refused(write_plain(tmp_path / "a.tar", CONTENTS))
    assert asked == [next(iter(CONTENTS))]


def test_a_file_written_through_a_link(tmp_path: Path) -> None:
    """The classic: a link to a folder outside, then a file below the link."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for i, link in enumerate([str(outside), "../../outside"]):
        folder = tmp_path / str(i)
        folder.mkdir()
        entries = [tar_entry("x", b"", tarfile.SYMTYPE, link), tar_entry("x/evil.txt", b"evil")]
        refused(write_tar(folder / "a.tar", entries))
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes(tmp_path: Path, kind: bytes) -> None:
    said = refused(write_tar(tmp_path / "a.tar", [tar_entry("dev", b"", kind)]))
    assert "special file" in said or "device" in said


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o666, stat.S_IFIFO])
def test_links_and_devices_in_a_zip(tmp_path: Path, mode: int) -> None:
    archive = write_zip(
        tmp_path / "a.zip", [("link", b"/etc/passwd")], create_system=3, external_attr=mode << 16
    )
    assert "link is a link or a device" in refused(archive)


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name(tmp_path: Path, suffix: str) -> None:
    pairs = [("a/b.txt", b"first"), ("a/b.txt", b"other")]
    path = tmp_path / f"a{suffix}"
    if suffix == ".zip":
        write_zip(path, pairs)
    else:
        write_tar(path, [tar_entry(*pair) for pair in pairs], "w" if suffix == ".tar" else "w:gz")
    assert "it contains a/b.txt twice" in refused(path)


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
@pytest.mark.parametrize(
    ("one", "other"),
    [("a/Photo.jpg", "a/photo.jpg"), ("A/x.txt", "a/y.txt"), ("é.txt", "e\u0301.txt")],
)
def test_names_that_differ_only_in_case(tmp_path: Path, suffix: str, one: str, other: str) -> None:
    archive = write_plain(tmp_path / f"a{suffix}", {one: b"1", other: b"2"})
    assert "the same name on some systems" in refused(archive)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
def test_a_name_that_is_file_and_folder(tmp_path: Path, names: tuple[str, str]) -> None:
    archive = write_plain(tmp_path / "a.tar", dict.fromkeys(names, b"1"))
    assert "both a file and a folder" in refused(archive)


# --- bombs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tgz", ".zip"])
def test_a_bomb_is_refused_before_it_is_written(tmp_path: Path, suffix: str) -> None:
    archive = write_plain(tmp_path / f"a{suffix}", {"good": b"1", "zeros": bytes(40 << 20)})
    assert archive.stat().st_size < 50_000
    assert "expand to more than 16,777,216" in refused(archive)
    assert sum(map(len, listing(tmp_path / "tree").values())) == 1


def test_many_small_files_are_a_bomb_too(tmp_path: Path) -> None:
    archive = write_plain(tmp_path / "a.zip", {f"{i}": bytes(4000) for i in range(30)})
    limits = Limits(ratio=5, slack=1000)
    assert "expand to more than" in refused(archive, limits=limits)
    shutil.rmtree(tmp_path / "tree")
    assert "more than 20 members" in refused(archive, limits=Limits(members=20))
    shutil.rmtree(tmp_path / "tree")
    assert "expand to more than 5,000" in refused(archive, limits=Limits(total=5000))


def test_a_zip_that_lies_about_its_sizes(tmp_path: Path) -> None:
    """A header that says 10 bytes before a member of 40 MB of zeros."""
    archive = write_zip(tmp_path / "a.zip", [("zeros", bytes(40 << 20))])
    data = archive.read_bytes()
    archive.write_bytes(data.replace(struct.pack("<L", 40 << 20), struct.pack("<L", 10)))
    said = refused(archive)
    assert "damaged" in said or "instead of" in said
    assert sum(map(len, listing(tmp_path / "tree").values())) <= 10


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    """The bomb of overlapping members: every name points to the same compressed kernel."""
    archive = write_zip(tmp_path / "a.zip", [("0", os.urandom(3000)), ("1", b"")])
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        second = opened.getinfo("1").header_offset
    at = data.rindex(b"PK\x01\x02")
    data[at + 42 : at + 46] = struct.pack("<L", 0)
    assert second > 0
    archive.write_bytes(bytes(data))
    assert "damaged" in refused(archive)


def test_a_header_that_would_fill_the_memory(tmp_path: Path) -> None:
    """A pax header may claim any length, and shrinks to nothing under gzip."""
    entry = tarfile.TarInfo("pax")
    entry.type, entry.size = tarfile.XHDTYPE, 64 << 20
    with gzip.open(tmp_path / "a.tgz", "wb") as out:
        out.write(entry.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            out.write(bytes(1 << 20))
    assert "a header of 67," in refused(tmp_path / "a.tgz")


def test_zeros_without_end_after_the_last_member(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as out:
        out.addfile(tar_entry("a", b"1")[0], io.BytesIO(b"1"))
    with gzip.open(tmp_path / "a.tgz", "wb") as out:
        out.write(data.getvalue() + bytes(20 << 20))
    assert "too many bytes" in refused(tmp_path / "a.tgz")


# --- damaged -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
def test_an_archive_cut_anywhere_is_never_taken_for_whole(tmp_path: Path, suffix: str) -> None:
    whole = write_plain(tmp_path / f"whole{suffix}", CONTENTS).read_bytes()
    needed = len(whole) if suffix != ".tar" else whole.rstrip(b"\0").__len__() + 512
    for i, length in enumerate(
        [0, 1, 511, 512, 700, *range(1024, needed - 512, 977), needed - 513]
    ):
        if not 0 <= length < len(whole):
            continue
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / f"a{suffix}").write_bytes(whole[:length])
        refused(folder / f"a{suffix}")


def test_a_tar_without_its_end_marker(tmp_path: Path) -> None:
    """Cut at a member's border, where ``tarfile`` alone sees an ordinary end."""
    archive = write_tar(tmp_path / "a.tar", [tar_entry("a", b"1" * 512), tar_entry("b", b"2")])
    archive.write_bytes(archive.read_bytes()[:1024])
    with tarfile.open(archive) as opened:
        assert opened.getnames() == ["a"]
    assert "damaged" in refused(archive)


@pytest.mark.parametrize("suffix", [".tar", ".tgz"])
def test_an_archive_that_is_proven_whole_may_lack_the_marker(tmp_path: Path, suffix: str) -> None:
    contents = {"a": b"1" * 512, "b": b"2" * 700}
    data = write_plain(tmp_path / "a.tar", contents).read_bytes().rstrip(b"\0")
    data += bytes(-len(data) % 512)
    archive = tmp_path / f"b{suffix}"
    archive.write_bytes(data if suffix == ".tar" else gzip.compress(data))
    unpack_archive(archive, tmp_path / "new", proven=True)
    assert listing(tmp_path / "new") == contents
    for cut in (1, 512, 600):
        folder = tmp_path / str(cut)
        folder.mkdir()
        archive = folder / f"b{suffix}"
        archive.write_bytes(data[:-cut] if suffix == ".tar" else gzip.compress(data[:-cut]))
        assert "damaged" in refused(archive, proven=True)
    assert "damaged" in refused(write_empty(tmp_path / f"none{suffix}"), proven=True)


def write_empty(path: Path) -> Path:
    path.write_bytes(b"" if path.suffix == ".tar" else gzip.compress(b""))
    return path


def test_a_tar_with_a_damaged_header_in_the_middle(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar", [tar_entry("a", b"1" * 512), tar_entry("b", b"2")])
    data = bytearray(archive.read_bytes())
    data[1024 + 5] ^= 1
    archive.write_bytes(bytes(data))
    with tarfile.open(archive) as opened:
        assert opened.getnames() == ["a"]
    assert "at byte 1,024" in refused(archive)


@pytest.mark.parametrize("suffix", [".tgz", ".zip"])
def test_a_flipped_byte_is_found_by_the_checksum(tmp_path: Path, suffix: str) -> None:
    body = os.urandom(5000)
    archive = write_plain(tmp_path / f"a{suffix}", {"a": body})
    data = bytearray(archive.read_bytes())
    data[2500] ^= 0x10
    archive.write_bytes(bytes(data))
    assert "damaged" in refused(archive)


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
@pytest.mark.parametrize("body", [b"<html>not here</html>", b"\0" * 2000, os.urandom(3000)])
def test_what_is_no_archive(tmp_path: Path, suffix: str, body: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(body)
    empty = suffix == ".tar" and not body.strip(b"\0")  # an archive of nothing
    said = refused(tmp_path / f"a{suffix}")
    assert ("it contains no file" if empty else "damaged") in said


def test_an_encrypted_member(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", [("a", b"1")])
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(bytes(data))
    assert "encrypted" in refused(archive)


def test_an_unknown_kind_and_an_absent_file(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    assert "archives end in .tar" in refused(tmp_path / "a.rar")
    shutil.rmtree(tmp_path / "tree")
    assert "No such file" in refused(tmp_path / "none.zip")


# --- disks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_too_little_room_is_seen_first(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))
    full = Substitute(shutil, disk_usage=lambda _: usage(10, 0, 100))
    monkeypatch.setattr(archives, "shutil", full)
    archive = write_plain(tmp_path / f"a{suffix}", CONTENTS)
    assert "100 are free" in refused(archive)
    assert listing(tmp_path / "tree") == {}


def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable = Path.open

    def opened(path: Path, mode: str = "r", *args, **kwargs):
        if mode == "xb" and path.name == "val.txt":
            raise OSError(28, "No space left on device")
        return real(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    assert "No space left" in refused(write_plain(tmp_path / "a.tar", CONTENTS))


def test_a_folder_that_is_there_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(InputError, match="File exists"):
        unpack_archive(write_plain(tmp_path / "a.tar", CONTENTS), tmp_path / "new")
    assert listing(tmp_path / "new") == {}
