"""Cache of published datasets on this machine: download, unpack, verify and repair them.

The root of the cache holds ``archives/``, the files as they were published, and a folder for each
dataset with their unpacked content. Archives are kept to restore damaged files; a removed archive
is downloaded again when it is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import filelock

from sbdata.errors import InputError
from sbdata.fetch.archives import DamagedArchiveError, UnpackedFile
from sbdata.fetch.download import Downloaded, DownloadOptions, download_each
from sbdata.fetch.remotes import Remote, mirrored
from sbdata.fetch.trees import (
    FileTable,
    damaged_files,
    locked,
    read_table,
    repair,
    table_bytes,
    table_path,
    tables_of,
    tidy,
    unfinished,
    unpack_into,
)
from sbdata.json_files import read_json
from sbdata.recipe import Recipe
from sbdata.sources.derived import Derived, derive_image_labels, derive_train_aug, is_derived_from
from sbdata.sources.published import ARCHIVES_FOLDER, PublishedFile, PublishedSource, Registry
from sbdata.storage import is_safe_stem, remove_leftovers, sha256_of, write_bytes, write_text

ROOT = Path("data") / "sources"
"""Default folder of the sources."""

ASK_FROM = 1_000_000_000
"""Size in bytes from which a download needs confirmation."""

_RECORD = "recorded.json"
_DERIVED = "derived"
_MB = 1_000_000

Progress = Callable[[str, int, int], None]
"""Callback with (name of the work, amount done, total amount)."""


@dataclass(frozen=True)
class PublishedCollection:
    """The folder of the published datasets on this machine, and their registry.

    Attributes:
        root: Root folder.
        registry: Registry of the datasets.
    """

    root: Path
    registry: Registry

    @property
    def archives(self) -> Path:
        """Folder of the archives."""
        return self.root / ARCHIVES_FOLDER

    def tree(self, source: PublishedSource) -> Path:
        """Return the folder in which a source is unpacked."""
        return self.root / source.place


@dataclass(frozen=True)
class Damage:
    """A file of a source that differs from its fetched state.

    Attributes:
        path: Path of the file.
        kind: Kind of damage: ``missing_file``, ``wrong_size``, ``changed_file`` or
            ``unreadable_file``; ``not_fetched`` or ``not_unpacked`` for an archive; ``table`` for a
            table of files.
        detail: Description of the damage.
    """

    path: Path
    kind: str
    detail: str


@dataclass(frozen=True)
class ArchiveStatus:
    """State of one archive of a source.

    Attributes:
        source: Source that the archive belongs to.
        file: Published file.
        table: Table of the files unpacked from it; None if it was not completely unpacked.
        damages: Damage to its unpacked files, or the reason why there is no table.
        downloaded: Whether the archive itself is present, as far as was checked.
    """

    source: PublishedSource
    file: PublishedFile
    table: FileTable | None
    damages: tuple[Damage, ...]
    downloaded: bool

    @property
    def whole(self) -> bool:
        """Whether the archive is unpacked and undamaged."""
        return not self.damages

    @property
    def missing(self) -> int | None:
        """Number of bytes that a fetch would download; None if unknown."""
        return 0 if self.whole or self.downloaded else self.file.size


@dataclass(frozen=True)
class FetchReport:
    """Report of a fetch for one archive.

    Attributes:
        holding: State of the archive before the fetch.
        table: Table of its files.
        repaired: Paths of the files that were unpacked again.
        received: Bytes received over the network.
        url: Address that they came from; empty if nothing was downloaded.
        recorded: SHA-256 that was recorded because none was published, else empty.
    """

    holding: ArchiveStatus
    table: FileTable
    repaired: tuple[str, ...] = ()
    received: int = 0
    url: str = ""
    recorded: str = ""


# --- looking --------------------------------------------------------------------------------------


def archive_status(collection: PublishedCollection, names: Iterable[str]) -> list[ArchiveStatus]:
    """Return the state of the archives of some sources, without reading their files.

    Raises:
        InputError: If a name is not in the registry.
    """
    sources = {name: collection.registry.source(name) for name in names}
    return [_holding(collection, s, file) for s in sources.values() for file in s.files]


def verify_archives(
    collection: PublishedCollection,
    names: Iterable[str],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[ArchiveStatus]:
    """Return the state of the archives of some sources, comparing every byte with their tables.

    An archive is read only if something must be unpacked from it again.

    Args:
        collection: Cache that holds them.
        names: Names of the sources.
        workers: Number of threads.
        progress: Callback, see ``Progress``.

    Raises:
        InputError: If a name is not in the registry.
    """
    checked = []
    for holding in archive_status(collection, names):
        if holding.table is not None:
            tree = collection.tree(holding.source)
            shown = None if progress is None else partial(progress, f"verify {holding.file.name}")
            damages = _damages(tree, holding.table, workers, shown)
            holding = replace(holding, damages=damages)
        if holding.downloaded and not holding.whole:
            holding = replace(holding, downloaded=_is_good_archive(collection, holding))
        checked.append(holding)
    return checked


def verify_derived(collection: PublishedCollection, names: Iterable[str]) -> list[Damage]:
    """Compare the files derived from some sources with their table, and return the damage."""
    damages = []
    trees = {collection.tree(collection.registry.source(name)) for name in names}
    for tree in sorted(trees):
        try:
            table = read_table(table_path(tree, _DERIVED))
        except InputError as error:
            damages.append(Damage(table_path(tree, _DERIVED), "table", str(error)))
            continue
        damages += [] if table is None else _damages(tree, table, 1, None)
    return damages


def fetched_roots(recipe: Recipe, root: Path = ROOT) -> dict[str, Path]:
    """Return the folders of a recipe's fetched sources, by name.

    Args:
        recipe: Recipe whose sources, finer masks, excluded and compared sets are looked up.
        root: Root folder of the cache.
    """
    # A source's name may contain hyphens; the existing folders show which part of a text it is.
    plain = [name for name in sorted(recipe.source_names()) if is_safe_stem(name)]
    return {name: root / name for name in plain if tables_of(root / name)}


def _holding(
    collection: PublishedCollection, source: PublishedSource, file: PublishedFile
) -> ArchiveStatus:
    tree, archive = collection.tree(source), collection.archives / file.name
    downloaded = archive.is_file() and file.size in (None, archive.stat().st_size)
    table: FileTable | None = None
    damages: tuple[Damage, ...] = ()
    path = table_path(tree, file.name)
    try:
        table = read_table(path)
        if table is None and unfinished(tree, file.name):
            detail = f"{file.name} was not completely unpacked"
            damages = (Damage(tree, "not_unpacked", detail),)
        elif table is None:
            kind = "not_unpacked" if downloaded else "not_fetched"
            damages = (Damage(archive, kind, f"{file.name} was {kind.replace('_', ' ')}"),)
        elif file.sha256 not in (None, table.sha256):
            detail = f"unpacked from another version of {file.name} than the registry lists"
            table, damages = None, (Damage(path, "table", detail),)
    except InputError as error:
        damages = (Damage(path, "table", str(error)),)
    return ArchiveStatus(source, file, table, damages, downloaded)


def _is_good_archive(collection: PublishedCollection, holding: ArchiveStatus) -> bool:
    """Return whether an existing archive has the right bytes, as far as its hash is known."""
    recorded = _read_record(collection).get(holding.file.name)
    known = holding.file.sha256 or recorded or (holding.table and holding.table.sha256)
    path = collection.archives / holding.file.name
    try:
        return known is None or sha256_of(path) == known
    except OSError:
        return False  # the download will report the problem


def _damages(
    tree: Path, table: FileTable, workers: int, progress: Callable[[int, int], None] | None
) -> tuple[Damage, ...]:
    found = damaged_files(tree, table.files, workers=workers, progress=progress)
    return tuple(Damage(tree / damage.path, damage.kind, damage.detail) for damage in found)


# --- fetching -------------------------------------------------------------------------------------


def fetch_archives(
    collection: PublishedCollection,
    holdings: Sequence[ArchiveStatus],
    *,
    mirrors: Mapping[str, str] | None = None,
    parallel: int = 3,
    options: DownloadOptions | None = None,
    progress: Progress | None = None,
) -> list[FetchReport]:
    """Download and unpack missing archives, and repair damaged files.

    Args:
        collection: Cache to write to.
        holdings: State of the archives, from :func:`archive_status` or :func:`verify_archives`.
        mirrors: Replacements of url prefixes.
        parallel: Number of simultaneous downloads.
        options: Settings of the downloads.
        progress: Callback, see ``Progress``; bytes are counted in millions.

    Raises:
        InputError: If a file cannot be downloaded as published, or cannot be unpacked. The other
            files are unpacked nevertheless, and completed work is kept for the next call.
    """
    wanted = [holding for holding in holdings if not holding.whole]
    recorded = _read_record(collection)
    remotes = [_remote(holding.file, recorded, mirrors or {}) for holding in wanted]
    answers = download_each(
        remotes,
        collection.archives,
        parallel=parallel,
        options=options or DownloadOptions(),
        progress=None if progress is None else _sum_of_bytes(progress, remotes),
    )
    downloads = [answer for answer in answers if isinstance(answer, Downloaded)]
    failed = [str(answer) for answer in answers if isinstance(answer, InputError)]
    by_name = {download.name: download for download in downloads}
    done = []
    for holding in holdings:
        if holding.whole and holding.table is not None:
            tidy(collection.tree(holding.source), holding.file.name)
            done.append(FetchReport(holding, holding.table))
            continue
        if holding.file.name not in by_name:
            continue
        download = by_name[holding.file.name]
        try:
            table, repaired = _unpacked(collection, holding, download, progress)
        except DamagedArchiveError as error:
            failed.append(_without_damaged(holding, download, error))
            continue
        except InputError as error:
            failed.append(str(error))
            continue
        # Record the hash only of archives that could be opened.
        fresh = set() if holding.file.sha256 else _record(collection, [download])
        new = download.sha256 if holding.file.name in fresh else ""
        url = download.source if download.received else ""
        done.append(FetchReport(holding, table, repaired, download.received, url, new))
    if failed:
        others = f"; unpacked: {', '.join(one.holding.file.name for one in done)}" if done else ""
        raise InputError("; ".join(failed) + others)
    return done


def derive_files(collection: PublishedCollection) -> list[Derived]:
    """Write VOC's list ``trainaug`` and its image-level labels, if VOC and SBD are available.

    The files are stored in VOC's tree, with their own table.

    Raises:
        InputError: If the files that they are made from are damaged or cannot be read, or a user's
            file has the name of a derived one.
    """
    voc, sbd = (collection.root / name for name in ("voc", "sbd"))
    made = []
    if tables_of(voc):
        _refuse_damaged_inputs(voc)
        made.append(derive_image_labels(voc))
        if tables_of(sbd):
            _refuse_damaged_inputs(sbd)
            made.append(derive_train_aug(voc, sbd))
    files = []
    former = _derived_before(voc)
    for derived in made:
        data = derived.text.encode()
        path = voc / derived.path
        is_ours = former is None or derived.path in former
        if not is_ours and path.is_file() and path.read_bytes() != data:
            msg = (
                f"{path}: a file of your own in place of the one derived from VOC and SBD, which "
                "would replace it; move it away and run the command again"
            )
            raise InputError(msg)
        _write_if_new(voc, path, data)
        files.append(UnpackedFile(derived.path, len(data), hashlib.sha256(data).hexdigest()))
    if files:
        table = FileTable(_DERIVED, "", tuple(sorted(files, key=lambda file: file.path)))
        _write_if_new(voc, table_path(voc, _DERIVED), table_bytes(table))
    return made


def _derived_before(voc: Path) -> set[str] | None:
    """Return the paths of the derived files in VOC's tree; None if their table is damaged."""
    with contextlib.suppress(InputError):
        table = read_table(table_path(voc, _DERIVED))
        return set() if table is None else {file.path for file in table.files}
    return None


def _write_if_new(tree: Path, path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        with locked(tree):
            remove_leftovers(path.parent)  # left by a process that was killed while writing
            write_bytes(path, data)


def _refuse_damaged_inputs(tree: Path) -> None:
    """Check that the input files are present and as published, before deriving others from them."""
    for table in tables_of(tree):
        if table.archive == _DERIVED:
            continue
        inputs = [file for file in table.files if is_derived_from(file.path)]
        damages = damaged_files(tree, inputs)
        if damages:
            first = damages[0]
            msg = (
                f"{tree / first.path}: {first.detail}, so no file is derived from it; run 'sbdata "
                f"sources verify --repair {tree.name}'"
            )
            raise InputError(msg)


def remove_archives(collection: PublishedCollection, done: Iterable[FetchReport]) -> int:
    """Delete the archives of a fetch; return the number of bytes freed."""
    freed = 0
    for one in done:
        path = collection.archives / one.holding.file.name
        with contextlib.suppress(FileNotFoundError):
            freed += path.stat().st_size
            path.unlink()
    return freed


def _unpacked(
    collection: PublishedCollection,
    holding: ArchiveStatus,
    download: Downloaded,
    progress: Progress | None,
) -> tuple[FileTable, tuple[str, ...]]:
    tree = collection.tree(holding.source)
    shown = None if progress is None else _in_millions(progress, f"unpack {holding.file.name}")
    if holding.table is None or holding.table.sha256 != download.sha256:
        file = holding.file
        proven = any(known is not None for known in (file.size, file.sha256, file.md5))
        table = unpack_into(tree, download.path, download.sha256, proven=proven, progress=shown)
        return table, ()
    paths = tuple(damage.path.relative_to(tree).as_posix() for damage in holding.damages)
    repair(tree, download.path, holding.table, paths, progress=shown)
    return holding.table, paths


def _without_damaged(
    holding: ArchiveStatus, download: Downloaded, error: DamagedArchiveError
) -> str:
    """Delete a damaged archive that was just downloaded without a published hash.

    Otherwise the next call would accept it as the archive. Returns the message for the user.
    """
    known = holding.file.sha256 or holding.file.md5
    if known is not None or download.source == "kept":
        return str(error)
    download.path.unlink(missing_ok=True)
    return (
        f"{download.name}: the file from {download.source} is damaged or not such an archive "
        f"({error.reason}) and was removed; run it again, or correct the URL"
    )


def _remote(file: PublishedFile, recorded: Mapping[str, str], mirrors: Mapping[str, str]) -> Remote:
    urls = tuple(mirrored(url, mirrors) for url in file.urls)
    sha256 = file.sha256 or recorded.get(file.name)
    return Remote(file.name, urls, size=file.size, sha256=sha256, md5=file.md5)


# --- hashes that nobody published -----------------------------------------------------------------


def _read_record(collection: PublishedCollection) -> dict[str, str]:
    """Return the recorded SHA-256 of archives by name, from their first download."""
    path = collection.archives / _RECORD
    try:
        if not path.is_file():
            return {}
        found = read_json(path, "restore it")
        return {str(name): str(entry["sha256"]) for name, entry in found.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, InputError, KeyError, TypeError, AttributeError) as error:
        msg = (
            f"{path}: not a record of downloads ({error}); restore it, or delete it to re-register "
            "the current hashes"
        )
        raise InputError(msg) from error


def _record(collection: PublishedCollection, downloads: Sequence[Downloaded]) -> Collection[str]:
    """Record the hashes of downloads without a published hash; return the newly recorded names."""
    if {download.name for download in downloads} <= _read_record(collection).keys():
        return set()
    path = collection.archives / _RECORD
    try:
        with filelock.FileLock(path.with_name(f".{_RECORD}.lock")):
            remove_leftovers(path.parent, _RECORD)  # of a process that was killed while writing
            known = _read_record(collection)
            fresh = [download for download in downloads if download.name not in known]
            entries = json.loads(path.read_text(encoding="utf-8")) if known else {}
            entries |= {
                d.name: {"sha256": d.sha256, "size": d.size, "url": d.source} for d in fresh
            }
            write_text(path, json.dumps(entries, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        msg = (
            f"{path}: cannot be written ({error.strerror or error}); fix the permissions and retry"
        )
        raise InputError(msg) from error
    return {download.name for download in fresh}


# --- progress -------------------------------------------------------------------------------------


def _millions(size: int) -> int:
    return -(-size // _MB)


def _in_millions(progress: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(f"{stage} (MB)", _millions(done), _millions(total))


def _sum_of_bytes(
    progress: Progress, remotes: Sequence[Remote]
) -> Callable[[str, int, int | None], None]:
    """Return a callback that reports each download, and their sum if there are several."""
    received: dict[str, int] = {}
    sizes = {remote.name: remote.size or 0 for remote in remotes}

    def show(name: str, done: int, total: int | None) -> None:
        received[name] = done
        sizes[name] = max(total or 0, sizes[name], done)
        progress(f"{name} (MB)", _millions(done), _millions(sizes[name]))
        if len(remotes) > 1:
            together = _millions(sum(received.values())), _millions(sum(sizes.values()))
            progress("all downloads (MB)", *together)

    return show
