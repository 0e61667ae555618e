"""Header of a built set's manifest: the parts that a card, a rebuild and the CLI need.

:func:`sbdata.manifest.read_manifest` checks the parts that every reader needs. The header of a set
built from a recipe has further parts, which are checked here before they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from sbdata.curate.statistics import SizeStatistics, area_edges
from sbdata.errors import InputError
from sbdata.manifest import IMAGES_FILE, Manifest, SchemaError
from sbdata.recipe import Recipe, ResolvedBins, recipe_from_dict
from sbdata.settings import from_plain

Part = TypeVar("Part")


@dataclass(frozen=True)
class _Candidates:
    scanned: int
    kept: int


@dataclass(frozen=True)
class _Cell:
    cell: str
    lower: int
    upper: int
    chosen: int
    shortfall: int
    excess: int


@dataclass(frozen=True)
class _SelectionReport:
    images: int
    gap: float | None
    cells: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class _LeakageCheck:
    training_set: str
    checked: bool
    result: str


@dataclass(frozen=True)
class _Compared:
    set: str
    statistics: Mapping[str, Any] | None


def check_header(manifest: Manifest, folder: Path) -> Recipe:
    """Check that a set can be described and rebuilt from its manifest.

    Args:
        manifest: Manifest of the set, as read.
        folder: Folder of the manifest, for the error message.

    Returns:
        The recipe of the set.

    Raises:
        SchemaError: If a part of the header is missing or malformed; the message names the file and
            the part.
    """
    path = folder / IMAGES_FILE
    meta = manifest.meta
    try:
        recipe = recipe_from_dict(meta["recipe"], "its recipe")
        _part(_Candidates, meta["candidates"], "candidates")
        from_plain(Mapping[str, int], meta["rejected"], "rejected")
        if meta["selection"] is not None:
            report = _part(_SelectionReport, meta["selection"], "selection")
            for cell in report.cells:
                _part(_Cell, cell, "selection.cells")
        if "asked_bins" in meta:
            _part(ResolvedBins, meta["asked_bins"], "asked_bins")
        for check in meta["leakage"]:
            _part(_LeakageCheck, check, "leakage")
        if not manifest.labels_only:
            _check_statistics(meta["source"], manifest, "source")
        for other in meta["compared"]:
            measured = _part(_Compared, other, "compared").statistics
            if measured is not None:
                _check_statistics(measured, manifest, "compared.statistics")
    except (KeyError, InputError) as error:
        msg = f"{path}: its header is invalid ({error}); restore it or rebuild the set"
        raise SchemaError(msg) from error
    return recipe


def _part(kind: type[Part], raw: Any, where: str) -> Part:
    """Read the fields of ``kind`` from a part of the header; further fields are allowed."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    known = {k: v for k, v in raw.items() if k in names} if isinstance(raw, dict) else raw
    found = from_plain(kind, known, where)
    assert isinstance(found, kind)  # noqa: S101 - for the type checker
    return found


def _check_statistics(raw: Any, manifest: Manifest, where: str) -> None:
    found = _part(SizeStatistics, raw, where)
    rows = {name: sorted(row) for name, row in found.counts.items()}
    sizes = sorted(manifest.bins.names)
    if rows != dict.fromkeys(manifest.taxonomy.classes, sizes):
        msg = f"{where}: counts must have the set's classes and sizes"
        raise InputError(msg)
    if len(found.area_histogram) != len(area_edges()) - 1:
        msg = f"{where}: area_histogram must have {len(area_edges()) - 1} counts"
        raise InputError(msg)
