"""``sbdata dataset``: build, verify, measure and export evaluation sets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sbdata.cli.examples import examples
from sbdata.cli.export import export
from sbdata.cli.output import say
from sbdata.cli.pairs import read_pairs
from sbdata.cli.shell_completion import complete_recipe, complete_recipe_or_set, complete_set
from sbdata.cli.tables import print_table
from sbdata.errors import InputError
from sbdata.machine import usable_cores
from sbdata.printable import printable
from sbdata.quoting import quoted

if TYPE_CHECKING:
    from sbdata.curate.build import Built
    from sbdata.curate.statistics import LabelStatistics, SizeStatistics
    from sbdata.recipe import Recipe

_HEADER = ("candidates", "rejected", "selection", "leakage", "compared", "recipe")
_SHOWN = 20  # damages listed on the screen; --json lists all of them


def _roots(given: tuple[str, ...], recipe: Recipe) -> dict[str, Path]:
    """Return the folders of a recipe's sources: those given, otherwise those fetched."""
    from sbdata.dataset_cache import fetched_roots

    pairs = read_pairs("--source-root", given)
    roots = {name: Path(path).expanduser() for name, path in pairs.items()}
    for name, root in roots.items():
        if name not in recipe.source_names():
            named = ", ".join(sorted(spec.name for spec in recipe.sources))
            msg = (
                f"--source-root {name}={root}: recipe {recipe.name} has no source {quoted(name)}; "
                f"its images come from {named}"
            )
            raise InputError(msg)
        if not root.is_dir():
            msg = f"--source-root {name}={root}: no such folder; give an existing one"
            raise InputError(msg)
    return {**fetched_roots(recipe), **roots}


def _folder_meant(argument: str) -> Path | None:
    """Return the folder that an argument names, or None if it names a recipe.

    The name of a bundled recipe never depends on the working directory.
    """
    from sbdata.recipe import bundled_recipes

    folder = Path(argument)
    if not folder.is_dir():
        return None
    if argument in bundled_recipes():
        say(f"{argument}: the bundled recipe is used; write ./{argument} for the folder", err=True)
        return None
    return folder


_source_root = click.option(
    "--source-root",
    "source_roots",
    multiple=True,
    metavar="NAME=PATH",
    help="Folder of a source, such as coco=/data/coco; may be repeated. Sources that `sbdata "
    "sources fetch` put into data/sources are found without it.",
)
_set = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the recipe, such as select.quota=20; may be repeated.",
)
_workers = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=usable_cores,
    show_default="one per core",
    help="Number of parallel processes; the result does not depend on it.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


@click.group(epilog=examples("sbdata dataset build shapes-b", "sbdata dataset stats data/shapes-b"))
def dataset() -> None:
    """Build, verify, measure and export evaluation sets."""


dataset.add_command(export)


@dataset.command(
    epilog=examples(
        "sbdata dataset build shapes-b",
        "sbdata dataset build voc-val --source-root voc=VOCdevkit/VOC2012 --out data/voc-val",
    )
)
@click.argument("recipe", shell_complete=complete_recipe)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write the set to [data/NAME]."
)
@_source_root
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="FROM=TO",
    help="Replace the URL prefix FROM by TO in downloads; may be repeated.",
)
@_set
@click.option(
    "--skip-missing",
    is_flag=True,
    help="Leave out images that are missing or cannot be downloaded.",
)
@_workers
@_json
def build(
    recipe: str,
    out: Path | None,
    source_roots: tuple[str, ...],
    mirrors: tuple[str, ...],
    overrides: tuple[str, ...],
    skip_missing: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Build the evaluation set of RECIPE.

    RECIPE is a bundled recipe (shapes-b, pascal-b, voc-val, ...), a .yaml file, or a folder with a
    manifest, whose set is rebuilt. A bundled recipe takes precedence over a folder of the same
    name; write ./NAME for the folder. An interrupted build resumes; a set that already exists is
    verified instead.
    """
    from sbdata.cli.progress import showing_progress
    from sbdata.curate.build import build_set, built_already, rebuild_set
    from sbdata.curate.header import check_header
    from sbdata.curate.inputs import Inputs
    from sbdata.machine import check_output
    from sbdata.manifest import read_manifest
    from sbdata.recipe import load_recipe

    from_manifest = _folder_meant(recipe)
    if from_manifest:
        if overrides:
            msg = "--set does not go with a manifest, which gives the same set again; leave it out"
            raise InputError(msg)
        if skip_missing:
            msg = (
                "--skip-missing does not go with a manifest, whose set has all of its images; "
                "leave it out"
            )
            raise InputError(msg)
        resolved = check_header(read_manifest(from_manifest), from_manifest)
    else:
        resolved = load_recipe(recipe, overrides)
    target = out or Path("data") / resolved.name
    if not target.exists():
        check_output(target.parent)
    with showing_progress(quiet=as_json) as progress:
        inputs = Inputs(
            roots=_roots(source_roots, resolved),
            mirrors=read_pairs("--mirror", mirrors),
            workers=workers,
            skip_missing=skip_missing,
            progress=progress,
        )
        built = built_already(target, resolved, inputs)
        if built is None and from_manifest:
            built = rebuild_set(from_manifest, target, inputs)
        elif built is None:
            built = build_set(resolved, target, inputs)
    if as_json:
        say(json.dumps(_built_as_dict(built), indent=2))
    else:
        _print_built(built)


@dataset.command(
    epilog=examples(
        "sbdata dataset verify data/shapes-b", "sbdata dataset verify data/shapes-b --json"
    )
)
@click.argument("path", type=click.Path(path_type=Path), shell_complete=complete_set)
@_workers
@_json
@click.pass_context
def verify(ctx: click.Context, path: Path, workers: int, as_json: bool) -> None:
    """Check every file of the set in PATH; exit with status 1 if any is damaged."""
    from functools import partial

    from sbdata.cli.progress import showing_progress
    from sbdata.curate.verify import verify_set
    from sbdata.manifest import read_manifest

    with showing_progress(quiet=as_json) as progress:
        damages = verify_set(path, workers=workers, progress=partial(progress, "verify"))
    if as_json:
        listed = [{"path": str(d.path), "kind": d.kind, "detail": d.detail} for d in damages]
        said: dict[str, Any] = {"set": str(path), "good": not damages, "damages": listed}
        if not damages:
            read = read_manifest(path, check_hash=False)
            said["manifest_version"] = read.meta["version"]
            said |= {"labels_only": True} if read.labels_only else {}
        say(json.dumps(said, indent=2))
    else:
        for damage in damages[:_SHOWN]:
            say(f"{damage.path}: {damage.kind}: {damage.detail}")
        if len(damages) > _SHOWN:
            say(f"... and {len(damages) - _SHOWN} more (--json lists all)")
        good = "every file matches the manifest"
        if not damages and read_manifest(path, check_hash=False).labels_only:
            good += "; it has labels only, so there are no masks to check"
        say(f"{path}: {f'{len(damages)} damages' if damages else good}")
        if not damages and read_manifest(path, check_hash=False).meta["version"] == 1:
            say(
                f"{path}: manifest version 1, whose logical hash covers rows, classes and bins, "
                "not the name, the recipe and other facts; build the set again for one that does"
            )
    ctx.exit(1 if damages else 0)


@dataset.command(
    epilog=examples(
        "sbdata dataset stats data/shapes-b",
        "sbdata dataset stats coco-val --source-root coco=/data/coco",
    )
)
@click.argument("target", shell_complete=complete_recipe_or_set)
@_source_root
@_set
@_workers
@click.option(
    "--bins",
    "size_bins",
    metavar="A,B|A%,B%|terciles|terciles-by-class",
    help="Areas (pixels, or shares of the image) that separate the sizes, or terciles of the areas "
    "that are measured [those of TARGET].",
)
@_json
def stats(
    target: str,
    source_roots: tuple[str, ...],
    overrides: tuple[str, ...],
    workers: int,
    size_bins: str | None,
    as_json: bool,
) -> None:
    """Print statistics of the object sizes in TARGET.

    TARGET is a built set, a folder with a manifest, or a recipe. The sources of a recipe are
    measured before any filter or selection. A bundled recipe takes precedence over a folder of the
    same name; write ./NAME for the folder.
    """
    from sbdata.cli.progress import showing_progress
    from sbdata.curate.build import measure_sources
    from sbdata.curate.inputs import Inputs
    from sbdata.curate.materialise import read_rejections_of
    from sbdata.curate.notes import set_notes
    from sbdata.curate.statistics import (
        LabelStatistics,
        SizeStatistics,
        resized,
        statistics_of,
        statistics_of_set,
    )
    from sbdata.formatting import sizes_line
    from sbdata.manifest import read_manifest
    from sbdata.recipe import load_recipe
    from sbdata.settings import as_plain
    from sbdata.sizes import parse_bins
    from sbdata.sources.rejections import count_reasons, first_reasons

    asked = parse_bins(size_bins) if size_bins else None
    folder = _folder_meant(target)
    if folder is not None:
        if overrides:
            msg = f"--set changes recipes, but {folder} holds a built set; leave it out"
            raise InputError(msg)
        if source_roots:
            msg = f"--source-root is for recipes, but {folder} holds a built set; leave it out"
            raise InputError(msg)
        manifest = read_manifest(folder)
        synthetic = manifest.meta["synthetic"]
        measured, bins = statistics_of_set(manifest), manifest.bins
        notes = set_notes(manifest, folder)
        if asked is not None and isinstance(measured, SizeStatistics):
            instances, bins, lacking = resized(manifest.instances, asked, manifest.taxonomy)
            notes = (*notes, *lacking)
            measured = statistics_of(manifest.images.num_rows, instances, manifest.taxonomy, bins)
        rejected = manifest.meta.get("rejected", {})
        first = first_reasons(read_rejections_of(folder))
    else:
        recipe = load_recipe(target, overrides)
        with showing_progress(quiet=as_json) as progress:
            roots = _roots(source_roots, recipe)
            inputs = Inputs(roots=roots, workers=workers, progress=progress)
            found = measure_sources(recipe, inputs, asked)
        measured, notes, bins = found.statistics, found.notes, found.bins
        synthetic = found.synthetic
        rejected, first = count_reasons(found.rejections), first_reasons(found.rejections)
    if asked is not None and isinstance(measured, LabelStatistics):
        msg = f"--bins divides masks by area, and {target} has labels only; leave it out"
        raise InputError(msg)
    if as_json:
        said = {
            "target": target,
            "synthetic": synthetic,
            **measured.as_dict(),
            **({"bins": as_plain(bins)} if isinstance(measured, SizeStatistics) else {}),
            "rejected": rejected,
            "rejected_such_as": first,
            "notes": list(notes),
        }
        say(json.dumps(said, indent=2))
    else:
        say(f"{target}{' (synthetic)' if synthetic else ''}: {_amount(measured)}")
        _print_counts(measured)
        if isinstance(measured, SizeStatistics):
            say(f"{sizes_line(bins, measured.counts)}.")
            _print_areas(measured)
            _print_balance({"balance": measured})
        if rejected:
            say(f"left out of all numbers above: {_counted(rejected)}")
            _print_first(first)
        _print_notes(notes)


@dataset.command(
    epilog=examples(
        "sbdata dataset manifest data/shapes-b",
        "sbdata dataset manifest data/shapes-b --out manifests/mine",
    )
)
@click.argument("path", type=click.Path(path_type=Path), shell_complete=complete_set)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder to write the manifest to [manifests/NAME].",
)
@_json
def manifest(path: Path, out: Path | None, as_json: bool) -> None:
    """Write the manifest of the set in PATH, with its counts as text, to a separate folder.

    The set can be rebuilt from that folder alone.
    """
    from sbdata.curate.materialise import is_set
    from sbdata.curate.statistics import counts_as_text
    from sbdata.manifest import read_manifest, write_manifest
    from sbdata.storage import write_text

    read = read_manifest(path)
    folder = out or Path("manifests") / read.name
    if is_set(folder):
        msg = f"{folder}: a set, whose own manifest would be lost; give another folder by --out"
        raise InputError(msg)
    write_manifest(read, folder)
    write_text(folder / "counts.txt", counts_as_text(read))
    if as_json:
        say(json.dumps({"manifest": str(folder), "logical_hash": read.logical_hash}))
    else:
        say(f"{folder}: manifest of {read.name}, logical hash {read.logical_hash}")


# --- printing -------------------------------------------------------------------------------------


def _amount(measured: SizeStatistics | LabelStatistics) -> str:
    from sbdata.curate.statistics import LabelStatistics

    if isinstance(measured, LabelStatistics):
        return f"{measured.images:,} images with labels only; without masks there are no sizes"
    return f"{measured.instances:,} instances in {measured.images:,} images"


def _counted(rejected: Mapping[str, int]) -> str:
    from sbdata.sources.rejections import describe_count

    return ", ".join(describe_count(*counted) for counted in rejected.items())


def _print_first(reasons: str) -> None:
    if reasons:
        say(f"  such as {reasons}")


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        say(f"note: {printable(note)}")


def _print_counts(measured: SizeStatistics | LabelStatistics) -> None:
    from sbdata.curate.statistics import LabelStatistics

    if isinstance(measured, LabelStatistics):
        boxes = measured.boxes or {}
        labelled = [
            [n, f"{i:,}", f"{boxes[n]:,}" if boxes else "–"] for n, i in measured.labelled.items()
        ]
        print_table(["class", "images", "boxes"], labelled)
        return
    sizes = measured.sizes
    rows = [
        [name, *(f"{row[s]:,}" for s in sizes), f"{sum(row.values()):,}"]
        for name, row in measured.counts.items()
    ]
    totals = [sum(row[s] for row in measured.counts.values()) for s in sizes]
    rows.append(["all", *(f"{n:,}" for n in totals), f"{sum(totals):,}"])
    print_table(["class", *sizes, "all"], rows)


def _print_areas(measured: SizeStatistics) -> None:
    from sbdata.curate.statistics import QUANTILES

    if measured.area_quantiles:
        header = ["area (pixels)", *(f"{q:.0%}" for q in QUANTILES)]
        print_table(header, [["quantile", *(f"{a:,}" for a in measured.area_quantiles)]])


def _print_balance(statistics: dict[str, SizeStatistics]) -> None:
    from sbdata.curate.card import balance_cells

    rows = [[label, *balance_cells(s)] for label, s in statistics.items()]
    header = ["", "instances", "largest/smallest cell", "empty cells", "entropy", "smallest size"]
    print_table(header, rows)


def _built_as_dict(built: Built) -> dict[str, Any]:
    from sbdata.curate.materialise import read_rejections_of
    from sbdata.sources.rejections import first_reasons

    meta = built.manifest.meta
    return {
        "set": str(built.root),
        "fresh": built.fresh,
        "name": meta["name"],
        "synthetic": meta["synthetic"],
        "logical_hash": built.manifest.logical_hash,
        "before": built.before and built.before.as_dict(),
        "after": built.after.as_dict(),
        **{key: meta[key] for key in _HEADER},
        "rejected_such_as": first_reasons(read_rejections_of(built.root)),
        "notes": list(built.notes),
    }


def _print_built(built: Built) -> None:
    from sbdata.curate.materialise import read_rejections_of
    from sbdata.curate.statistics import SizeStatistics, statistics_from
    from sbdata.formatting import sizes_line
    from sbdata.sources.rejections import first_reasons

    meta = built.manifest.meta
    say(f"{meta['name']}{' (synthetic)' if meta['synthetic'] else ''}: {_amount(built.after)}")
    _print_counts(built.after)
    if isinstance(built.after, SizeStatistics):
        say(f"{sizes_line(built.manifest.bins, built.after.counts)}.")
    others = {
        other["set"]: statistics_from(other["statistics"], built.manifest)
        for other in meta["compared"]
        if other["statistics"]
    }
    if built.before is not None and isinstance(built.after, SizeStatistics):
        _print_balance({"source, before": built.before, "set, after": built.after, **others})
    chosen = meta["selection"]
    if chosen:
        off = [c for c in chosen["cells"] if c["shortfall"] or c["excess"]]
        named = ", ".join(f"{c['cell']} {c['chosen']} of {c['lower']}-{c['upper']}" for c in off)
        say(f"selection: {f'outside their band: {named}' if off else 'every cell in its band'}")
    for check in meta["leakage"]:
        say(f"leakage, {check['training_set']}: {check['result']}")
    if meta["rejected"]:
        say(f"left out: {_counted(meta['rejected'])} (see {built.root / 'rejected.csv'})")
        _print_first(first_reasons(read_rejections_of(built.root)))
    _print_notes(built.notes)
    say(f"logical hash: {built.manifest.logical_hash}")
    state = "built" if built.fresh else "already existed; every file verified"
    say(f"{built.root}: {state}. See {built.root / 'README.md'}, then try:")
    say(f"  sbdata dataset stats {built.root}")
    say(f"  sbdata dataset verify {built.root}")
