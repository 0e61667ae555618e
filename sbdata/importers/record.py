"""Records of imports: their origin and the content of their masks, in a JSON file beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sbdata.errors import InputError
from sbdata.importers.digests import mask_digest
from sbdata.importers.rules import Rule
from sbdata.json_files import read_json
from sbdata.layout import IMPORT_RECORD
from sbdata.masks import VOID
from sbdata.metrics.kernel import label_parts
from sbdata.metrics.summary import half_octaves
from sbdata.metrics.truth import flat
from sbdata.settings import as_plain, from_plain
from sbdata.sizes import SizeBins
from sbdata.storage import write_text
from sbdata.taxonomy import Taxonomy

FORMAT = "sbdata.import.v1"

IMPORTS_FOLDER = "imports"
"""Name of the folder for imports in a work folder of the benchmark."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")


@dataclass(frozen=True)
class Origin:
    """Origin of imported files.

    Attributes:
        name: Name of the source as given by ``--source``; empty if it was not given.
        title: Title of the method.
        url: Address of the release or the repository.
        folder: Folder that the files were read from.
        files: Number of files that were read.
        sha256: SHA-256 over the names and bytes of the files, sorted by name.
    """

    name: str
    title: str
    url: str
    folder: str
    files: int
    sha256: str


@dataclass(frozen=True)
class Shares:
    """Shares of pixels in the masks.

    Attributes:
        pixels: Number of pixels of all masks.
        ignored: Share of pixels with value 255.
        background: Share of pixels with value 0.
        classes: Share of each class, by its name.
        images: Number of images with at least one pixel of a class, by its name.
    """

    pixels: int
    ignored: float
    background: float
    classes: Mapping[str, float]
    images: Mapping[str, int]


@dataclass(frozen=True)
class Components:
    """The connected regions of single classes (8 neighbours), by area.

    Attributes:
        by_size: Number of components by size.
        by_class: Number of components by size for each class, by its name.
        edges: Edges of half-octave bins of area, in pixels.
        histogram: Number of components in each bin, one fewer than edges.
        instances: Number of true instances in each bin; None without ground truth.
        instances_by_size: Number of true instances by size; None without ground truth.
    """

    by_size: Mapping[str, int]
    by_class: Mapping[str, Mapping[str, int]]
    edges: tuple[int, ...]
    histogram: tuple[int, ...]
    instances: tuple[int, ...] | None
    instances_by_size: Mapping[str, int] | None


@dataclass(frozen=True)
class Record:
    """Record of an import.

    Attributes:
        name: Name of the import; the benchmark calls the method ``import-<name>``.
        origin: Origin of the files.
        supervision: Supervision of the method, from ``image_labels``, ``boxes`` and ``saliency``;
            or ``unknown``.
        layout: Layout of the files.
        decisions: Observations and decisions, one sentence each.
        rule: Rule that converted maps to masks; None for finished masks.
        taxonomy: Name of the taxonomy.
        classes: Class names in order, from number 1.
        target: Name of the set, or of the list, that the masks are for.
        set_hash: Logical hash of the set; None for a list.
        synthetic: Whether the set's photos are generated.
        images: Number of masks, missing ones included.
        missing: Number of images without a file, whose masks have a single value.
        missing_as: Value of missing masks, ``ignored`` (255) or ``background``; None if none is
            missing.
        extra: Number of files of other images, which were ignored.
        extra_files: Names of the first of these files.
        cropped: Number of masks that were cut to their image's size.
        resized: Number of masks that were scaled to their image's size.
        masks_sha256: SHA-256 over the ids, sizes and pixels of the masks.
        warnings: Warnings, one sentence each.
        images_outside_labels: Number of images with a class that their labels lack; None without
            labels.
        shares: Shares of pixels.
        components: Components by area.
        losses: Instances that the masks lose, by size and threshold; None without ground truth.
    """

    name: str
    origin: Origin
    supervision: tuple[str, ...]
    layout: str
    decisions: tuple[str, ...]
    rule: Rule | None
    taxonomy: str
    classes: tuple[str, ...]
    target: str
    set_hash: str | None
    synthetic: bool
    images: int
    missing: int
    missing_as: str | None
    extra: int
    extra_files: tuple[str, ...]
    cropped: int
    resized: int
    masks_sha256: str
    warnings: tuple[str, ...]
    images_outside_labels: int | None
    shares: Shares
    components: Components
    losses: tuple[Mapping[str, Any], ...] | None

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain values for the JSON file."""
        return {"format": FORMAT, **as_plain(self)}


def check_name(name: str) -> str:
    """Return a name if it is valid in file names and tables.

    Raises:
        InputError: If the name is not valid.
    """
    if not _NAME.fullmatch(name):
        msg = f"invalid import name {name!r}; use letters, digits, '-', '_' and '.'"
        raise InputError(msg)
    return name


def write_record(folder: Path, record: Record) -> None:
    """Write the record of an import into its folder."""
    text = json.dumps(record.as_dict(), indent=2, allow_nan=False)
    write_text(folder / IMPORT_RECORD, text + "\n")


def read_record(folder: Path) -> Record:
    """Read the record of an import.

    Raises:
        InputError: If the folder is not an import, or the file is damaged; the message names the
            folder.
    """
    path = folder / IMPORT_RECORD
    if not path.is_file():
        msg = f"{folder}: not an import; make one by `sbdata pseudo import`"
        raise InputError(msg)
    raw = read_json(path, "import the masks again")
    if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
        msg = f"{path}: not a file of the format {FORMAT}; import the masks again"
        raise InputError(msg)
    found = from_plain(Record, raw, str(path))
    assert isinstance(found, Record)  # noqa: S101 - for the type checker
    return found


# --- what is in the masks -------------------------------------------------------------------------


@dataclass(frozen=True)
class MaskFacts:
    """Statistics of one mask.

    Attributes:
        pixels: Number of pixels by value, int64 ``(256,)``.
        areas: Area of each component in pixels, int64.
        classes: Class of each component, uint8.
        digest: SHA-256 of size and pixels.
    """

    pixels: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    classes: npt.NDArray[np.uint8]
    digest: str


def facts_of(mask: npt.NDArray[np.uint8]) -> MaskFacts:
    """Compute the statistics of one mask."""
    numbers, classes = label_parts(flat(mask), mask.shape[1])
    areas = np.bincount(numbers, minlength=classes.size + 1)[1:]
    return MaskFacts(np.bincount(mask.ravel(), minlength=256), areas, classes, mask_digest(mask))


def shares_of(facts: Sequence[MaskFacts], taxonomy: Taxonomy) -> Shares:
    """Return the shares of pixels in the masks."""
    pixels = np.sum([f.pixels for f in facts], axis=0)
    images = np.sum([f.pixels > 0 for f in facts], axis=0)
    share = pixels / pixels.sum()
    numbered = list(enumerate(taxonomy.classes, start=1))
    return Shares(
        int(pixels.sum()),
        float(share[VOID]),
        float(share[0]),
        {name: float(share[number]) for number, name in numbered},
        {name: int(images[number]) for number, name in numbered},
    )


def components_of(
    facts: Sequence[MaskFacts],
    taxonomy: Taxonomy,
    bins: SizeBins,
    instances: pa.Table | None,
) -> Components:
    """Return the components of the masks, by area.

    Args:
        facts: Statistics of each mask.
        taxonomy: Classes of the masks.
        bins: Size bins.
        instances: True instances with the columns area and size, if known.
    """
    areas = np.concatenate([f.areas for f in facts])
    classes = np.concatenate([f.classes for f in facts])
    pixels = np.repeat([int(f.pixels.sum()) for f in facts], [f.areas.size for f in facts])
    sizes = bins.index(areas, classes, pixels)
    true = None if instances is None else instances["area"].to_numpy().astype(np.int64)
    known = areas if true is None else np.concatenate([areas, true])
    edges = half_octaves(int(known.max(initial=1)))
    return Components(
        by_size=_by_size(sizes, bins),
        by_class={
            name: _by_size(sizes[classes == number], bins)
            for number, name in enumerate(taxonomy.classes, start=1)
        },
        edges=tuple(edges.tolist()),
        histogram=_binned(areas, edges),
        instances=None if true is None else _binned(true, edges),
        instances_by_size=None
        if instances is None
        else _by_size(pc.index_in(instances["size"], pa.array(bins.names)).to_numpy(), bins),
    )


def _by_size(sizes: npt.NDArray[np.int64], bins: SizeBins) -> dict[str, int]:
    counts = np.bincount(sizes, minlength=len(bins.names))
    return dict(zip(bins.names, counts.tolist(), strict=True))


def _binned(areas: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(np.histogram(areas, edges)[0].tolist())
