"""Scan sources: open and scan every split of a recipe's sources, and join the tables."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from sbdata.curate.inputs import Inputs
from sbdata.curate.statistics import SizeStatistics, resized, statistics_of
from sbdata.errors import InputError
from sbdata.file_names import composed
from sbdata.manifest import SIZED
from sbdata.recipe import Recipe, ResolvedBins, SourceSpec, source_and_split
from sbdata.sizes import (
    AskedBins,
    SizeBins,
    resolve_bins,
    undivided,
)
from sbdata.sources import FORMATS, Source, open_source
from sbdata.sources.overlay import OverlaidSource
from sbdata.sources.scan import Scan, scan_source
from sbdata.taxonomy import CLASS_MAPS, class_map


@dataclass(frozen=True)
class Opened:
    """Opened split of a recipe's source, with finer masks applied if the recipe asks for them.

    Attributes:
        spec: Source entry of the recipe.
        source: Opened split.
        listed: Number of images that the split lists; None if nothing depends on it.
        elsewhere: Split that each image is taken from instead, by image id; empty unless the
            recipe says ``same_image: first``.
    """

    spec: SourceSpec
    source: Source
    listed: int | None = None
    elsewhere: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scanned:
    """Scanned split of a source, with its tables."""

    source: Source
    scan: Scan


def open_all(recipe: Recipe, inputs: Inputs) -> list[Opened]:
    """Open every split that a recipe names.

    Args:
        recipe: Recipe that names the sources and splits.
        inputs: Build inputs with the folders of the sources.

    Raises:
        InputError: If a source is missing.
    """
    opened = []
    home: dict[str, str] = {}
    for spec in (spec_with_classes(given, recipe) for given in recipe.sources):
        for split in spec.splits:
            source = open_source(spec, split, inputs.roots.get(spec.name))
            if recipe.overlay is not None:
                source = _overlaid(recipe, source, spec, inputs)
            if recipe.expect is None and recipe.same_image == "refuse":
                opened.append(Opened(spec, source))
                continue
            names = (PurePosixPath(member.file_name).stem for member in source.members())
            ids = list(map(composed, names))
            first = recipe.same_image == "first"
            elsewhere = {i: home[i] for i in ids if i in home} if first else {}
            opened.append(Opened(spec, source, len(ids), elsewhere))
            for image_id in ids:
                home.setdefault(image_id, f"{spec.name} {split}")
    return opened


def scan_all(
    recipe: Recipe, opened: Sequence[Opened], folder: Path, inputs: Inputs
) -> list[Scanned]:
    """Scan the opened splits of a recipe.

    Args:
        recipe: Recipe with the classes and size bins; terciles are resolved later, by
            :func:`with_edges`.
        opened: Splits returned by :func:`open_all`.
        folder: Folder that keeps the scans; finished ones are reused.
        inputs: Build inputs with the number of workers.
    """
    return [_scan(recipe, one, folder, inputs) for one in opened]


def open_compared(recipe: Recipe, inputs: Inputs) -> list[tuple[str, Opened | InputError]]:
    """Open the ordinary sets that a recipe names in ``compare``; a missing one is its error."""
    known = {spec.name: spec for spec in recipe.sources}
    found: list[tuple[str, Opened | InputError]] = []
    for name in recipe.compare:
        source_name, split = source_and_split(name, {*known, *inputs.roots, *FORMATS})
        spec = known.get(source_name) or _spec_of(source_name, split, recipe)
        try:
            source = open_source(spec, split, inputs.roots.get(source_name))
            found.append((name, Opened(spec, source)))
        except InputError as error:
            found.append((name, error))
    return found


def _spec_of(name: str, split: str, recipe: Recipe) -> SourceSpec:
    """Return the entry of a dataset that the recipe does not list, with the map to its classes."""
    named = f"{name}-to-{recipe.taxonomy}"
    return SourceSpec(name, (split,), class_map=named if named in CLASS_MAPS else None)


def compared_statistics(
    recipe: Recipe,
    compared: Sequence[tuple[str, Opened | InputError]],
    folder: Path,
    inputs: Inputs,
) -> list[dict[str, Any]]:
    """Measure the ordinary sets that a recipe compares with its own.

    Args:
        recipe: Recipe with the classes and size bins.
        compared: Sets returned by :func:`open_compared`.
        folder: Folder that keeps the scans.
        inputs: Build inputs with the number of workers.

    Returns:
        Plain values for each set: its name, its statistics or None, and the reason if it is
        missing.
    """
    measured: list[dict[str, Any]] = []
    for name, one in compared:
        try:
            if isinstance(one, InputError):
                raise one
            scanned = _scan(recipe, one, folder, inputs)
        except InputError as error:
            measured.append({"set": name, "statistics": None, "missing": str(error)})
            continue
        found = source_statistics([scanned], recipe).as_dict()
        measured.append({"set": name, "statistics": found, "missing": ""})
    return measured


def _scan(recipe: Recipe, one: Opened, folder: Path, inputs: Inputs) -> Scanned:
    source = one.source
    scan = scan_source(
        source,
        class_map(recipe.classes(), one.spec.class_map),
        recipe.bins if isinstance(recipe.bins, SizeBins) else SizeBins(),
        recipe.split,
        folder / f"{one.spec.name}-{source.split}",
        without=one.elsewhere,
        workers=inputs.workers,
        progress=partial(inputs.progress, f"scan {source.split}"),
    )
    return Scanned(source, scan)


def source_statistics(scanned: Sequence[Scanned], recipe: Recipe) -> SizeStatistics:
    """Measure what was scanned, before any filter or selection."""
    return source_statistics_by(scanned, recipe, recipe.bins)[0]


def source_statistics_by(
    scanned: Sequence[Scanned], recipe: Recipe, asked: AskedBins
) -> tuple[SizeStatistics, SizeBins, tuple[str, ...]]:
    """Measure what was scanned by given size bins; also return the bins with their edges.

    Returns:
        The statistics, the bins, and a note if some classes have no terciles of their own.

    Raises:
        InputError: If the areas cannot be divided in terciles.
    """
    columns = ["class_name", "size", *SIZED]
    instances = pa.concat_tables([s.scan.instances(columns=columns) for s in scanned])
    images = sum(s.scan.images().num_rows for s in scanned)
    taxonomy = recipe.classes()
    if isinstance(asked, SizeBins) and asked == recipe.bins:  # as scanned
        return statistics_of(images, instances, taxonomy, asked), asked, ()
    instances, bins, notes = resized(instances, asked, taxonomy)
    return statistics_of(images, instances, taxonomy, bins), bins, notes


def with_edges(
    recipe: Recipe, scanned: Sequence[Scanned], image_ids: Sequence[str]
) -> tuple[Recipe, list[Scanned], ResolvedBins]:
    """Return a recipe with edges instead of terciles, and the scans with sizes by these edges.

    Args:
        recipe: Recipe that asks for terciles, which are those of the candidates' areas.
        scanned: Scans of the recipe.
        image_ids: Ids of the candidates.

    Raises:
        InputError: If the areas cannot be divided in terciles.
    """
    assert not isinstance(recipe.bins, SizeBins)  # noqa: S101 - for the type checker
    taxonomy = recipe.classes()
    table = pa.concat_tables(
        [s.scan.instances(image_ids=image_ids, columns=["area", "class_id"]) for s in scanned]
    )
    measured = table["area"].to_numpy(), table["class_id"].to_numpy(), len(taxonomy)
    try:
        bins = resolve_bins(recipe.bins, *measured)
    except InputError as error:
        msg = f"recipe {recipe.name}: {error}"
        raise InputError(msg) from error
    sized = [replace(s, scan=replace(s.scan, bins=bins)) for s in scanned]
    lacking = undivided(recipe.bins, *measured)
    asked = ResolvedBins(recipe.bins, table.num_rows, tuple(map(taxonomy.name_of, lacking)))
    return replace(recipe, bins=bins), sized, asked


def _overlaid(recipe: Recipe, source: Source, spec: SourceSpec, inputs: Inputs) -> Source:
    overlay = recipe.overlay
    assert overlay is not None  # noqa: S101 - for the type checker
    finer = overlay.source
    if finer.name not in inputs.roots:
        msg = (
            f"recipe {recipe.name} takes finer masks from {finer.name}: fetch it by "
            f"`sbdata sources fetch {finer.name}`, give its folder by --source-root "
            f"{finer.name}=PATH, or build with the masks of {spec.name} alone by --set overlay=null"
        )
        raise InputError(msg)
    taxonomy = recipe.classes()
    opened = [open_source(finer, split, inputs.roots[finer.name]) for split in finer.splits]
    return OverlaidSource(
        base=source,
        finer=tuple(opened),
        base_map=class_map(taxonomy, spec.class_map),
        finer_map=class_map(taxonomy, finer.class_map),
        min_iou=overlay.min_iou,
    )


def has_labels_only(recipe: Recipe, images: pa.Table) -> bool:
    """Return True if the scanned images have labels only, False if they have masks.

    Raises:
        InputError: If some have masks and others not, or the recipe needs masks and there are none.
    """
    kinds = images["labels_only"].unique().to_pylist()
    if len(kinds) == 2:
        msg = (
            f"recipe {recipe.name}: some of its sources have masks, others labels only; build a "
            "separate set of each kind"
        )
        raise InputError(msg)
    if kinds == [True] and not isinstance(recipe.bins, SizeBins):
        msg = (
            f"recipe {recipe.name}: its images have labels only, but bins: {recipe.bins} needs "
            "masks; leave it out by --set bins={}"
        )
        raise InputError(msg)
    needing = {"select": recipe.select, "overlay": recipe.overlay}
    needed = [key for key, given in needing.items() if given is not None]
    if kinds == [True] and needed:
        msg = (
            f"recipe {recipe.name}: its images have labels only, but {needed[0]} needs masks; "
            f"leave it out by --set {needed[0]}=null"
        )
        raise InputError(msg)
    return bool(kinds == [True])


def spec_with_classes(spec: SourceSpec, recipe: Recipe) -> SourceSpec:
    """Return a source entry that names the classes of its labels, if it is of the format labels.

    A recipe names them only if they are others than the set's.
    """
    if spec.reader != "labels" or "classes" in spec.options:
        return spec
    return replace(spec, options={**spec.options, "classes": list(recipe.classes().classes)})


def join_images(scanned: Sequence[Scanned]) -> pa.Table:
    """Return the images of all scans as one table, sorted by id."""
    table = pa.concat_tables([s.scan.images() for s in scanned]).sort_by("image_id")
    ids = table["image_id"].to_pylist()
    forms = sorted((composed(image_id), image_id) for image_id in ids)
    twice = next((a[1] for a, b in itertools.pairwise(forms) if a[0] == b[0]), None)
    if twice is not None:
        msg = (
            f"image id {twice} occurs in more than one split of the recipe's sources; leave one of "
            "them out by --set, or set same_image=first if it is the same image in all of them"
        )
        raise InputError(msg)
    return table
