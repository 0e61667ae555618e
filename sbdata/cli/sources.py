"""``sbdata sources``: list, fetch and verify published datasets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.pairs import read_pairs
from sbdata.cli.shell_completion import complete_published
from sbdata.cli.tables import print_table
from sbdata.errors import InputError
from sbdata.machine import usable_cores
from sbdata.plurals import count

if TYPE_CHECKING:
    from sbdata.dataset_cache import (
        ArchiveStatus,
        Damage,
        FetchReport,
        Progress,
        PublishedCollection,
    )
    from sbdata.sources.derived import Derived

_SHOWN = 20  # damages listed on the screen; --json lists all of them
_SCALE = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))

_root = click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder of the downloaded datasets, which builds search [data/sources].",
)
_registry = click.option(
    "--registry",
    type=click.Path(path_type=Path),
    help="YAML file that lists datasets, instead of the bundled list.",
)
_workers = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=usable_cores,
    show_default="one per core",
    help="Number of threads that read and hash files.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def _fetching(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of commands that may download."""
    for option in (
        click.option("--yes", is_flag=True, help="Download 1 GB or more without asking."),
        click.option(
            "--parallel",
            type=click.IntRange(min=1),
            default=3,
            help="Number of parallel downloads [3].",
        ),
        click.option(
            "--mirror",
            "mirrors",
            multiple=True,
            metavar="FROM=TO",
            help="Replace the URL prefix FROM by TO in downloads; may be repeated.",
        ),
        click.option(
            "--plain-redirects",
            is_flag=True,
            help="Follow redirects from https to http; sizes and hashes are still checked.",
        ),
    ):
        command = option(command)
    return command


@click.group(epilog=examples("sbdata sources list", "sbdata sources fetch voc sbd"))
def sources() -> None:
    """List, fetch and verify published datasets."""


@sources.command(
    "list",
    epilog=examples("sbdata sources list", "sbdata sources list --root /data/sources --json"),
)
@_root
@_registry
@_json
def list_sources(root: Path | None, registry: Path | None, as_json: bool) -> None:
    """List the datasets that can be fetched, their download sizes, and their local state."""
    from sbdata.dataset_cache import archive_status

    collection = _collection(root, registry)
    known = collection.registry.sources
    holdings = {source.name: archive_status(collection, [source.name]) for source in known}
    if as_json:
        rows = [
            {
                "name": source.name,
                "folder": str(collection.tree(source)),
                "state": _state(holdings[source.name]),
                "purpose": source.purpose,
                "license": source.license,
                "citation": source.citation,
                "homepage": source.homepage,
                "files": [
                    {
                        "name": file.name,
                        "size": file.size,
                        "sha256": file.sha256,
                        "md5": file.md5,
                        "urls": list(file.urls),
                    }
                    for file in source.files
                ],
            }
            for source in known
        ]
        say(json.dumps(rows, indent=2))
        return
    print_table(
        ["source", "to download", "state", "folder"],
        [
            [
                source.name,
                _total([file.size for file in source.files]),
                _state(holdings[source.name]),
                str(collection.tree(source)),
            ]
            for source in known
        ],
    )
    for source in known:
        say(f"{source.name}: {source.purpose}")
        say(f"  licence: {source.license}")
        say(f"  cite: {source.citation}")


@sources.command(
    epilog=examples(
        "sbdata sources fetch voc sbd",
        "sbdata sources fetch coco lvis --yes --parallel 4",
    )
)
@click.argument(
    "names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_published
)
@_root
@_registry
@_fetching
@click.option(
    "--drop-archives",
    is_flag=True,
    help="Delete the archives after unpacking; a repair downloads them again.",
)
@_workers
@_json
def fetch(
    names: tuple[str, ...],
    root: Path | None,
    registry: Path | None,
    mirrors: tuple[str, ...],
    plain_redirects: bool,
    parallel: int,
    yes: bool,
    drop_archives: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Download and unpack the datasets NAME..., which `sbdata sources list` lists.

    An interrupted fetch resumes. Files that already exist are verified, and only damaged ones are
    replaced.
    """
    from sbdata.cli.progress import showing_progress
    from sbdata.dataset_cache import remove_archives, verify_archives

    collection, instead = _collection(root, registry), read_pairs("--mirror", mirrors)
    with showing_progress(quiet=as_json) as progress:
        holdings = verify_archives(collection, names, workers=workers, progress=progress)
    _ask(holdings, instead, yes=yes, quiet=as_json)
    with showing_progress(quiet=as_json) as progress:
        done, derived = _fetch(collection, holdings, instead, plain_redirects, parallel, progress)
    freed = remove_archives(collection, done) if drop_archives else 0
    if as_json:
        said = _fetched_as_dict(collection, done, derived)
        say(json.dumps({**said, "freed": freed}, indent=2))
        return
    _print_fetched(collection, done, derived)
    if freed:
        say(f"{collection.archives}: {_size(freed)} of archives deleted")


@sources.command(epilog=examples("sbdata sources verify", "sbdata sources verify voc --repair"))
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_published)
@_root
@_registry
@click.option("--repair", is_flag=True, help="Restore damaged files from their archives.")
@_fetching
@_workers
@_json
@click.pass_context
def verify(
    ctx: click.Context,
    names: tuple[str, ...],
    root: Path | None,
    registry: Path | None,
    repair: bool,
    mirrors: tuple[str, ...],
    plain_redirects: bool,
    parallel: int,
    yes: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Check every file of the datasets NAME... [all fetched]; exit with status 1 on damage."""
    from sbdata.cli.progress import showing_progress
    from sbdata.dataset_cache import archive_status, verify_archives, verify_derived

    collection, instead = _collection(root, registry), read_pairs("--mirror", mirrors)
    if not names:
        known = [source.name for source in collection.registry.sources]
        here = [
            h for h in archive_status(collection, known) if h.table or h.damages[0].kind == "table"
        ]
        names = tuple(dict.fromkeys(holding.source.name for holding in here))
        if not names:
            msg = f"{collection.root}: holds no dataset; get one by 'sbdata sources fetch NAME'"
            raise InputError(msg)
    with showing_progress(quiet=as_json) as progress:
        holdings = verify_archives(collection, names, workers=workers, progress=progress)
    damages = [d for holding in holdings for d in holding.damages]
    damages += verify_derived(collection, names)
    if as_json:
        listed = [{"path": str(d.path), "kind": d.kind, "detail": d.detail} for d in damages]
        said: dict[str, Any] = {"sources": list(names), "good": not damages, "damages": listed}
    else:
        _print_damages(damages)
    if damages and repair:
        _ask(holdings, instead, yes=yes, quiet=as_json)
        with showing_progress(quiet=as_json) as progress:
            done, derived = _fetch(
                collection, holdings, instead, plain_redirects, parallel, progress
            )
        if as_json:
            said |= _fetched_as_dict(collection, done, derived)
        else:
            _print_fetched(collection, done, derived)
    if as_json:
        say(json.dumps(said, indent=2))
    elif not damages:
        files = sum(len(holding.table.files) for holding in holdings if holding.table)
        say(f"{', '.join(names)}: every one of {files:,} files is as it was unpacked")
    elif not repair:
        absent = all(damage.kind in ("not_fetched", "not_unpacked") for damage in damages)
        remedy = "fetch {} downloads them" if absent else "verify --repair {} replaces only these"
        say(f"sbdata sources {remedy.format(' '.join(names))}")
    ctx.exit(1 if damages and not repair else 0)


def _collection(root: Path | None, registry: Path | None) -> PublishedCollection:
    from sbdata.dataset_cache import ROOT, PublishedCollection
    from sbdata.sources.published import load_registry

    return PublishedCollection(root or ROOT, load_registry(registry))


def _fetch(
    collection: PublishedCollection,
    holdings: Sequence[ArchiveStatus],
    mirrors: Mapping[str, str],
    plain_redirects: bool,
    parallel: int,
    progress: Progress,
) -> tuple[list[FetchReport], list[Derived]]:
    from sbdata.dataset_cache import derive_files, fetch_archives
    from sbdata.fetch.download import DownloadOptions

    done = fetch_archives(
        collection,
        holdings,
        mirrors=mirrors,
        parallel=parallel,
        options=DownloadOptions(plain_redirects=plain_redirects),
        progress=progress,
    )
    places = {one.holding.source.place for one in done}
    return done, derive_files(collection) if places & {"voc", "sbd"} else []


# --- asking and printing --------------------------------------------------------------------------


def _ask(
    holdings: Sequence[ArchiveStatus], mirrors: Mapping[str, str], *, yes: bool, quiet: bool
) -> None:
    """Print the pending downloads, and ask before a gigabyte or an unknown amount.

    Raises:
        InputError: If nobody can be asked, or the answer is no.
    """
    from sbdata.dataset_cache import ASK_FROM
    from sbdata.fetch.remotes import mirrored

    wanted = [holding for holding in holdings if holding.missing != 0]
    if not wanted:
        return
    total = sum(holding.missing or 0 for holding in wanted)
    amount = _total([holding.missing for holding in wanted])
    if not quiet:
        for holding in wanted:
            url = mirrored(holding.file.urls[0], mirrors)
            where = urlsplit(url).netloc or url
            say(f"{holding.file.name}: {_size(holding.missing)} from {where}")
        for source in {holding.source.name: holding.source for holding in wanted}.values():
            say(f"{source.name}: {source.license}")
    unknown = any(holding.missing is None for holding in wanted)
    if yes or (total < ASK_FROM and not unknown):
        return
    if quiet or not _is_asked():
        msg = f"{amount} would be downloaded; confirm it by --yes"
        raise InputError(msg)
    if not click.confirm(f"Download {amount}?"):
        msg = "nothing was downloaded, as you chose; run the command again, or add --yes"
        raise InputError(msg)


def _is_asked() -> bool:
    """Return True if a user can answer on the terminal."""
    return sys.stdin.isatty()


def _print_damages(damages: Sequence[Damage]) -> None:
    for damage in damages[:_SHOWN]:
        say(f"{damage.path}: {damage.kind}: {damage.detail}")
    if len(damages) > _SHOWN:
        say(f"... and {len(damages) - _SHOWN:,} more (--json lists all)")


def _print_fetched(
    collection: PublishedCollection, done: Sequence[FetchReport], derived: Sequence[Derived]
) -> None:
    for one in done:
        file, table = one.holding.file, one.table
        if one.recorded:
            say(
                f"{file.name}: its SHA-256 was not published. Recorded {one.recorded} of "
                f"{one.url or 'the file that was there'}; later downloads must match it."
            )
        if one.holding.whole:
            state = "was there already; every file verified"
        elif one.repaired:
            state = f"{count(len(one.repaired), 'damaged file')} replaced"
        else:
            state = "unpacked"
        tree = collection.tree(one.holding.source)
        say(f"{tree}: {file.name}: {count(len(table.files), 'file')}, {_size(table.size)}: {state}")
    expected = collection.registry.train_aug_images
    for made in derived:
        said = f"{collection.root / 'voc' / made.path}: derived, {made.count:,} images"
        if made.path.endswith("trainaug.txt") and expected not in (None, made.count):
            said += f"; {expected:,} were expected, so a list is not as published"
        say(said)


def _fetched_as_dict(
    collection: PublishedCollection, done: Sequence[FetchReport], derived: Sequence[Derived]
) -> dict[str, Any]:
    return {
        "fetched": [
            {
                "source": one.holding.source.name,
                "file": one.holding.file.name,
                "folder": str(collection.tree(one.holding.source)),
                "sha256": one.table.sha256,
                "files": len(one.table.files),
                "size": one.table.size,
                "received": one.received,
                "url": one.url,
                "recorded": bool(one.recorded),
                "repaired": list(one.repaired),
            }
            for one in done
        ],
        "derived": [
            {"path": str(collection.root / "voc" / made.path), "images": made.count}
            for made in derived
        ],
    }


def _state(holdings: Sequence[ArchiveStatus]) -> str:
    here = [holding for holding in holdings if holding.table is not None]
    if len(here) == len(holdings):
        return "here"
    kinds = {holding.damages[0].kind for holding in holdings if holding.damages}
    return "-" if kinds == {"not_fetched"} and not here else "unfinished"


def _total(sizes: Sequence[int | None]) -> str:
    known = sum(size for size in sizes if size is not None)
    if None not in sizes:
        return _size(known)
    return f"{_size(known)} and more" if known else _size(None)


def _size(size: int | None) -> str:
    if size is None:
        return "size unknown"
    for unit, name in _SCALE:
        if size >= unit:
            return f"{size / unit:.{0 if size >= 100 * unit else 1}f} {name}"
    return f"{size} bytes"
