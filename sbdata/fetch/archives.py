"""Unpack tar and zip archives safely: nothing in them is trusted, not even the names.

Only plain files are written, below one new folder, each under the name it has in the archive.
Links, devices and file modes are never created. A link inside a tar file that points to an earlier
file of the same archive is written as a copy of that file. Everything else that a published
dataset does not need raises an error: absolute names and ``..``, other links, devices and pipes,
two files with one name and different bytes, names that differ only in case (they are one file on
some systems), encrypted members, a truncated or damaged archive, and an archive that expands to
far more bytes than its own size.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar

from sbdata.errors import InputError
from sbdata.file_names import composed
from sbdata.quoting import quoted
from sbdata.storage import is_safe_name

Progress = Callable[[int, int], None]
"""Callback that receives the bytes of the archive read so far and the size of the archive."""

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
"""File name suffixes of the archives that can be unpacked."""

_BLOCK = 1 << 20
_LONGEST_READ = 16 << 20  # no header is longer; a longer one would fill the memory
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,  # a compression method that zipfile does not know
    RuntimeError,  # an encrypted member
    ValueError,
)


@dataclass(frozen=True)
class Limits:
    """Limits on the content of an archive; published datasets stay far below them.

    Attributes:
        members: Maximum number of files and folders.
        total: Maximum size of all files together, in bytes.
        ratio: Maximum size of all files together as a multiple of the archive's size. Annotation
            files shrink to about a quarter; DEFLATE can shrink zeros to a thousandth.
        slack: Size in bytes that is always allowed, whatever the ratio.
    """

    members: int = 1_000_000
    total: int = 256 << 30
    ratio: int = 100
    slack: int = 16 << 20


@dataclass(frozen=True)
class UnpackedFile:
    """One file unpacked from an archive: its path with slashes, size in bytes and SHA-256."""

    path: str
    size: int
    sha256: str


class DamagedArchiveError(InputError):
    """Error for a file that is not an archive of the expected kind, or is incomplete.

    Attributes:
        reason: Description of the problem.
    """

    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(
            f"{archive}: damaged or not such an archive ({reason}); remove it and fetch it again"
        )
        self.reason = reason


def unpack_archive(
    archive: Path,
    folder: Path,
    *,
    only: Collection[str] | None = None,
    proven: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> list[UnpackedFile]:
    """Write the files of an archive into a new folder.

    Files are written one after another, so an error leaves a partly filled folder. A caller that
    needs all files or none passes a temporary folder.

    Args:
        archive: Path of a ``.tar``, ``.tar.gz``, ``.tgz`` or ``.zip`` file.
        folder: Folder to create. It must not exist, so that nothing in it can lead elsewhere.
        only: Paths to write; other members are skipped. All are written by default.
        proven: Whether the archive's size or hash was compared with a published one. A tar file may
            then lack the blocks of zeros at its end, as tar files of some programs do.
        limits: Limits on the content, see :class:`Limits`.
        progress: Callback, see ``Progress``.

    Returns:
        The files that were written, sorted by path.

    Raises:
        InputError: If the archive is damaged or holds anything that the module docstring rules
            out, or the disk is full.
    """
    limits = limits or Limits()
    size = archive.stat().st_size if archive.is_file() else 0
    try:
        folder.mkdir(parents=True)
        members = _members(archive, folder, proven)
        written = _write(members, archive, folder, only, limits, progress)
    except _DAMAGE as error:
        raise DamagedArchiveError(archive, str(error)) from error
    except OSError as error:
        reason = error.strerror or error
        msg = (
            f"{archive}: cannot be unpacked into {folder} ({reason}); free some space or fix the "
            "permissions"
        )
        raise InputError(msg) from error
    if not written and only is None:
        raise _refused(archive, "it contains no file")
    if progress is not None:
        progress(size, size)
    return sorted(written.values(), key=lambda file: file.path)


@dataclass(frozen=True)
class _Member:
    """One file or folder of an archive.

    Attributes:
        name: Normalised name, safe to join to a folder.
        size: Size in bytes according to the header; None for a folder.
        open: Function that opens the member for reading.
        read: Bytes of the archive read so far.
    """

    name: str
    size: int | None
    open: Callable[[], IO[bytes]]
    read: int


def _members(archive: Path, folder: Path, proven: bool) -> Iterator[_Member]:
    if archive.name.endswith(".zip"):
        return _zip_members(archive, folder)
    if archive.name.endswith(SUFFIXES):
        return _tar_members(archive, folder, _ProvenHeader if proven else _Header)
    msg = f"{archive}: cannot be unpacked; archives end in {', '.join(SUFFIXES)}"
    raise InputError(msg)


def _write(
    members: Iterator[_Member],
    archive: Path,
    folder: Path,
    only: Collection[str] | None,
    limits: Limits,
    progress: Progress | None,
) -> dict[str, UnpackedFile]:
    size = archive.stat().st_size
    allowed = min(limits.total, max(limits.slack, limits.ratio * size))
    written: dict[str, UnpackedFile] = {}
    names: dict[str, tuple[str, bool]] = {}
    total = 0
    for count, member in enumerate(members, start=1):
        if count > limits.members:
            raise _refused(archive, f"it has more than {limits.members:,} members")
        _claim(names, archive, member.name, is_folder=member.size is None)
        if member.size is None:
            continue
        total += member.size
        if total > allowed:
            detail = f"its {size:,} bytes expand to more than {allowed:,}"
            raise _refused(archive, detail)
        if only is not None and (member.name not in only or member.name in written):
            continue
        known = written.get(member.name)
        with member.open() as stream:
            if known is None:
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as out:
                    written[member.name] = _copy(stream, out, archive, member)
            elif _copy(stream, None, archive, member) != known:
                raise _refused(archive, f"it contains {member.name} twice, with different bytes")
        if progress is not None:
            progress(member.read, size)
    return written


def _copy(stream: IO[bytes], out: IO[bytes] | None, archive: Path, member: _Member) -> UnpackedFile:
    digest, length = hashlib.sha256(), 0
    while block := stream.read(_BLOCK):
        length += len(block)
        digest.update(block)
        if out is not None:
            out.write(block)
    if length != member.size:
        raise _refused(archive, f"{member.name} has {length:,} bytes instead of {member.size:,}")
    return UnpackedFile(member.name, length, digest.hexdigest())


def _claim(
    names: dict[str, tuple[str, bool]], archive: Path, name: str, *, is_folder: bool
) -> None:
    """Register a name and its parent folders, and refuse names that conflict with earlier ones."""
    above = [str(parent) for parent in PurePosixPath(name).parents if parent.parts]
    for part, kind in ((name, is_folder), *((folder, True) for folder in above)):
        folded = composed(part).casefold()
        other, other_kind = names.setdefault(folded, (part, kind))
        if other != part:
            raise _refused(archive, f"{part} and {other} are the same name on some systems")
        if other_kind != kind:
            raise _refused(archive, f"{part} is both a file and a folder")


def _plain_name(archive: Path, name: str) -> str:
    """Return a member's name without parts such as ``./``; empty for the archive's own root."""
    parts = PurePosixPath(name).parts
    if not parts:
        return ""
    if not is_safe_name(name) or not name.isprintable():
        raise _refused(archive, f"{quoted(name)} leads out of its folder or is not a plain name")
    return "/".join(parts)


def _need_room(archive: Path, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        msg = (
            f"{archive}: needs {size:,} bytes when unpacked, but {free:,} are free in {folder}; "
            "make room or give another folder"
        )
        raise InputError(msg)


def _refused(archive: Path, detail: str) -> InputError:
    return InputError(f"{archive}: not unpacked: {detail}; fetch it from a URL you trust")


# --- zip ------------------------------------------------------------------------------------------


def _zip_members(archive: Path, folder: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        entries = opened.infolist()
        _need_room(archive, folder, sum(entry.file_size for entry in entries))
        read = 0
        for entry in entries:
            read += entry.compress_size
            # zipfile changes ``filename``; ``orig_filename`` is the name as stored in the archive.
            name = _plain_name(archive, entry.orig_filename)
            mode = stat.S_IFMT(entry.external_attr >> 16)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, f"{name} is a link or a device")
            if entry.orig_filename.endswith("/"):
                if name:
                    yield _Member(name, None, io.BytesIO, read)
            elif not name:
                raise _refused(archive, "a file without a name")
            else:
                yield _Member(name, entry.file_size, _opener(opened, entry), read)


def _opener(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: opened.open(entry)


# --- tar ------------------------------------------------------------------------------------------


class _Header(tarfile.TarInfo):
    """A member's header; a header that cannot be read raises an error.

    ``tarfile`` itself takes a damaged or missing header for the end of the archive. Here the only
    valid end is a block of zeros.
    """

    _good_ends: ClassVar[tuple[str, ...]] = ("EOFHeaderError",)  # the block of zeros

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(tarfile)
        except _HeaderError as error:
            if type(error).__name__ in cls._good_ends:
                raise
            msg = f"{error or 'no header'} at byte {tarfile.offset:,}"
            raise _ReadError(msg) from error


class _ProvenHeader(_Header):
    """A member's header in a verified archive, which may also end without a block of zeros."""

    _good_ends = ("EOFHeaderError", "EmptyHeaderError")


_HeaderError, _ReadError = tarfile.HeaderError, tarfile.ReadError


class _Bounded:
    """A stream for ``tarfile`` that refuses reads longer than ``_LONGEST_READ`` bytes."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            msg = f"a header of {size:,} bytes"
            raise _ReadError(msg)
        return self._stream.read(size)


def _tar_members(archive: Path, folder: Path, header: type[_Header]) -> Iterator[_Member]:
    _need_room(archive, folder, archive.stat().st_size)
    with archive.open("rb") as raw:
        stream: io.BufferedIOBase = raw
        if not archive.name.endswith(".tar"):
            stream = gzip.GzipFile(fileobj=raw)
        bounded: Any = _Bounded(stream)  # has the methods of a file that ``tarfile`` uses
        with tarfile.open(fileobj=bounded, mode="r:", tarinfo=header) as opened:
            files: dict[str, tarfile.TarInfo] = {}
            for entry in opened:
                name = _plain_name(archive, entry.name)
                _filter(archive, entry, folder)
                if entry.isdir():
                    if name:
                        yield _Member(name, None, io.BytesIO, raw.tell())
                    continue
                if not name:
                    raise _refused(archive, "a file without a name")
                entry = _resolved(archive, entry, name, files)
                files[name] = entry
                yield _Member(name, entry.size, _extractor(opened, entry), raw.tell())
        # The checksum of a gzip stream is verified only when its end is read.
        for _ in range(_LONGEST_READ // _BLOCK):
            if not stream.read(_BLOCK):
                return
        raise _refused(archive, "too many bytes follow the last member")


def _filter(archive: Path, entry: tarfile.TarInfo, folder: Path) -> None:
    """Apply the standard library's data filter, if this Python has one (PEP 706)."""
    data_filter = getattr(tarfile, "data_filter", None)
    if data_filter is None:
        return
    try:
        data_filter(entry, str(folder))
    except tarfile.TarError as error:
        raise _refused(archive, str(error)) from error


def _resolved(
    archive: Path, entry: tarfile.TarInfo, name: str, files: dict[str, tarfile.TarInfo]
) -> tarfile.TarInfo:
    """Return the member that holds the bytes: the entry, or the earlier file that it links to."""
    if entry.isreg():
        return entry
    if not (entry.islnk() or entry.issym()):
        raise _refused(archive, f"{name} is a device or a pipe")
    base = posixpath.dirname(name) if entry.issym() else ""
    target = posixpath.normpath(posixpath.join(base, entry.linkname))
    if target not in files:
        detail = (
            f"{name} is a link to {quoted(entry.linkname)}, not to an earlier file of the archive"
        )
        raise _refused(archive, detail)
    return files[target]


def _extractor(opened: tarfile.TarFile, entry: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def extract() -> IO[bytes]:
        stream = opened.extractfile(entry)
        assert stream is not None  # noqa: S101 - only files come here
        return stream

    return extract
