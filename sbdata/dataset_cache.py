"""The collection: published datasets on this machine, fetched, unpacked, verified and repaired.

Below its root lie ``archives/``, the files as they were published, and a folder for each dataset
with what they hold. Archives are kept, because a damaged file is taken out of them again; one that
was removed is fetched again when it is needed.
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
"""Where sources are put, and looked for, unless another folder is given."""

ASK_FROM = 1_000_000_000
"""Bytes from which a download is asked for first."""

_RECORD = "recorded.json"
_DERIVED = "derived"
_MB = 1_000_000

Progress = Callable[[str, int, int], None]
"""Called with what is done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class PublishedCollection:
    """Where published datasets lie on this machine, and what is known of them.

    Attributes:
        root: the folder of all.
        registry: of the datasets.
    """

    root: Path
    registry: Registry

    @property
    def archives(self) -> Path:
        """Return the folder of the archives."""
        return self.root / ARCHIVES_FOLDER

    def tree(self, source: PublishedSource) -> Path:
        """Return the folder that a source is unpacked in."""
        return self.root / source.place


@dataclass(frozen=True)
class Damage:
    """Something of a source that is not as it was fetched.

    Attributes:
        path: of the file.
        kind: ``missing_file``, ``wrong_size``, ``changed_file`` or ``unreadable_file``;
            ``not_fetched`` or ``not_unpacked`` of an archive; ``table`` of a table of files.
        detail: what was seen.
    """

    path: Path
    kind: str
    detail: str


@dataclass(frozen=True)
class ArchiveStatus:
    """One archive of a source, and what there is of it.

    Attributes:
        source: that it belongs to.
        file: as published.
        table: of the files unpacked from it; None if it was not unpacked to the end.
        damages: to its unpacked files, or why there is no table.
        downloaded: whether the archive itself is there, as far as was looked.
    """

    source: PublishedSource
    file: PublishedFile
    table: FileTable | None
    damages: tuple[Damage, ...]
    downloaded: bool

    @property
    def whole(self) -> bool:
        """Tell whether nothing has to be done."""
        return not self.damages

    @property
    def missing(self) -> int | None:
        """Return the bytes that a fetch would download; None if nobody knows."""
        return 0 if self.whole or self.downloaded else self.file.size


@dataclass(frozen=True)
class FetchReport:
    """What a fetch did about one archive.

    Attributes:
        holding: as it was before.
        table: of its files.
        repaired: paths of the files that were taken out of it again.
        received: bytes that came over the network.
        url: that they came from, empty if nothing was asked for.
        recorded: the SHA-256 that was recorded because nobody published one, else empty.
    """

    holding: ArchiveStatus
    table: FileTable
    repaired: tuple[str, ...] = ()
    received: int = 0
    url: str = ""
    recorded: str = ""


# --- looking --------------------------------------------------------------------------------------


def archive_status(collection: PublishedCollection, names: Iterable[str]) -> list[ArchiveStatus]:
    """Tell what there is of some sources, without reading their files.

    Raises:
        InputError: for a name that the registry does not have.
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
    """Tell what there is of some sources, and compare every byte of it with its tables.

    Archives are read where something has to be taken out of them.

    Args:
        collection: that has them.
        names: of sources.
        workers: threads.
        progress: see ``Progress``.

    Raises:
        InputError: for a name that the registry does not have.
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
    """Compare the files that were derived of some sources with their table."""
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
    """Return the folders of those of a recipe's sources that were fetched, by name.

    Args:
        recipe: whose sources, finer masks, excluded and compared sets are looked up.
        root: of the collection.
    """
    names = {spec.name for spec in recipe.sources}
    for named in (*recipe.exclude_overlap_with, *recipe.compare):
        # The source's name may have hyphens itself; which of the parts it is, the folders say.
        names |= {named[:place] for place, letter in enumerate(named) if letter == "-"}
    if recipe.overlay is not None:
        names.add(recipe.overlay.source.name)
    plain = [name for name in sorted(names) if is_safe_stem(name)]
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
            detail = f"{file.name} was not unpacked to the end"
            damages = (Damage(tree, "not_unpacked", detail),)
        elif table is None:
            kind = "not_unpacked" if downloaded else "not_fetched"
            damages = (Damage(archive, kind, f"{file.name} was {kind.replace('_', ' ')}"),)
        elif file.sha256 not in (None, table.sha256):
            detail = f"made from another {file.name} than the registry's"
            table, damages = None, (Damage(path, "table", detail),)
    except InputError as error:
        damages = (Damage(path, "table", str(error)),)
    return ArchiveStatus(source, file, table, damages, downloaded)


def _is_good_archive(collection: PublishedCollection, holding: ArchiveStatus) -> bool:
    """Tell whether an archive that is there has the bytes it should have, as far as known."""
    recorded = _read_record(collection).get(holding.file.name)
    known = holding.file.sha256 or recorded or (holding.table and holding.table.sha256)
    path = collection.archives / holding.file.name
    try:
        return known is None or sha256_of(path) == known
    except OSError:
        return False  # the download will say what is wrong with it


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
    """Fetch and unpack what is missing, and repair what is damaged.

    Args:
        collection: to put it into.
        holdings: what there is, see :func:`archive_status` and :func:`verify_archives`.
        mirrors: url prefix to the prefix that is asked instead.
        parallel: downloads at once.
        options: of the downloads.
        progress: see ``Progress``; bytes are counted in millions.

    Raises:
        InputError: if a file cannot be had as published, or cannot be unpacked; the others are
            unpacked all the same. What was done stays for the next try.
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
        # Only what could be opened is what the archive is from now on.
        fresh = set() if holding.file.sha256 else _record(collection, [download])
        new = download.sha256 if holding.file.name in fresh else ""
        url = download.source if download.received else ""
        done.append(FetchReport(holding, table, repaired, download.received, url, new))
    if failed:
        others = f"; unpacked: {', '.join(one.holding.file.name for one in done)}" if done else ""
        raise InputError("; ".join(failed) + others)
    return done


def derive_files(collection: PublishedCollection) -> list[Derived]:
    """Make VOC's list ``trainaug`` and its image-level labels, as far as VOC and SBD are there.

    They lie in VOC's tree, with a table of their own.

    Raises:
        InputError: if the files that they are made from are damaged or cannot be read.
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
    for derived in made:
        data = derived.text.encode()
        _write_if_new(voc, voc / derived.path, data)
        files.append(UnpackedFile(derived.path, len(data), hashlib.sha256(data).hexdigest()))
    if files:
        table = FileTable(_DERIVED, "", tuple(sorted(files, key=lambda file: file.path)))
        _write_if_new(voc, table_path(voc, _DERIVED), table_bytes(table))
    return made


def _write_if_new(tree: Path, path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        with locked(tree):
            remove_leftovers(path.parent)  # of a process that was killed as it wrote this
            write_bytes(path, data)


def _refuse_damaged_inputs(tree: Path) -> None:
    """Make sure that nothing is derived of files that are missing or not as published."""
    for table in tables_of(tree):
        if table.archive == _DERIVED:
            continue
        inputs = [file for file in table.files if is_derived_from(file.path)]
        damages = damaged_files(tree, inputs)
        if damages:
            first = damages[0]
            msg = (
                f"{tree / first.path}: {first.detail}, so nothing is derived of it; run sbdata "
                f"sources verify --repair {tree.name}"
            )
            raise InputError(msg)


def remove_archives(collection: PublishedCollection, done: Iterable[FetchReport]) -> int:
    """Delete the archives of what was fetched; return the bytes that were freed."""
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
    """Remove an archive that came just now, by no published hash, and is none; return what to say.

    Kept, it would be taken for the archive by the next call.
    """
    known = holding.file.sha256 or holding.file.md5
    if known is not None or download.source == "kept":
        return str(error)
    download.path.unlink(missing_ok=True)
    return (
        f"{download.name}: what {download.source} sent is damaged or no archive of its kind "
        f"({error.reason}), and was removed; run it again, or correct the address"
    )


def _remote(file: PublishedFile, recorded: Mapping[str, str], mirrors: Mapping[str, str]) -> Remote:
    urls = tuple(mirrored(url, mirrors) for url in file.urls)
    sha256 = file.sha256 or recorded.get(file.name)
    return Remote(file.name, urls, size=file.size, sha256=sha256, md5=file.md5)


# --- hashes that nobody published -----------------------------------------------------------------


def _read_record(collection: PublishedCollection) -> dict[str, str]:
    """Return the SHA-256 of archives whose first download was recorded, by name."""
    path = collection.archives / _RECORD
    try:
        if not path.is_file():
            return {}
        found = read_json(path, "restore it")
        return {str(name): str(entry["sha256"]) for name, entry in found.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, InputError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path}: not a record of downloads ({error}); restore it, or remove it to trust anew"
        raise InputError(msg) from error


def _record(collection: PublishedCollection, downloads: Sequence[Downloaded]) -> Collection[str]:
    """Record downloads whose hash nobody published; return the names of those that are new."""
    if {download.name for download in downloads} <= _read_record(collection).keys():
        return set()
    path = collection.archives / _RECORD
    try:
        with filelock.FileLock(path.with_name(f".{_RECORD}.lock")):
            for stale in path.parent.glob(f".{_RECORD}.*.part"):
                stale.unlink()  # a process was killed as it wrote it
            known = _read_record(collection)
            fresh = [download for download in downloads if download.name not in known]
            entries = json.loads(path.read_text(encoding="utf-8")) if known else {}
            entries |= {
                d.name: {"sha256": d.sha256, "size": d.size, "url": d.source} for d in fresh
            }
            write_text(path, json.dumps(entries, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error}); mend the rights, try again"
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
    """Show each download, and all of them together where there are several."""
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
