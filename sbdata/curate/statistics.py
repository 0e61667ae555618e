"""Size statistics: class x size counts, area quantiles and balance of a table of instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sbdata.curate.balance import Balance, balance_of
from sbdata.formatting import undivided_note
from sbdata.manifest import Manifest, size_counts, sizes_of
from sbdata.sizes import AskedBins, SizeBins, resolve_bins, undivided
from sbdata.taxonomy import Taxonomy

if TYPE_CHECKING:
    import pandas as pd

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def area_edges() -> npt.NDArray[np.float64]:
    """Return the half-octave edges of area histograms: 1, 1.41, 2, ... 2^24 pixels."""
    return np.asarray(2.0 ** (np.arange(49) / 2))


@dataclass(frozen=True)
class SizeStatistics:
    """Object-size statistics of a set, or of a source before any selection.

    Attributes:
        images: Number of images, including those without an instance.
        instances: Number of visible instances.
        counts: Number of instances by class name, then size name.
        area_quantiles: Areas (pixels) of existing instances at ``QUANTILES``; empty if there is no
            instance.
        area_histogram: Number of instances in each half-octave of area, see ``area_edges``; larger
            areas count in the last one.
    """

    images: int
    instances: int
    counts: Mapping[str, Mapping[str, int]]
    area_quantiles: tuple[int, ...]
    area_histogram: tuple[int, ...]

    @property
    def sizes(self) -> tuple[str, ...]:
        """Return the names of the sizes, smallest first."""
        return tuple(next(iter(self.counts.values()), {}))

    @property
    def balance(self) -> Balance:
        """Return the balance of the class x size cells."""
        return balance_of(self.counts)

    def to_pandas(self) -> pd.DataFrame:
        """Return the counts as a table: classes are rows, sizes are columns (extra ``pandas``)."""
        import pandas as pd

        table: pd.DataFrame = pd.DataFrame.from_dict(dict(self.counts), orient="index")
        return table

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON-like values, including the balance."""
        return {**asdict(self), "balance": self.balance.as_dict()}


@dataclass(frozen=True)
class LabelStatistics:
    """Statistics of a set with labels only, which has no sizes.

    Attributes:
        images: Number of images.
        labelled: Number of images with each class, by class name.
        boxes: Number of boxes of each class, by class name; None if the set has no boxes.
    """

    images: int
    labelled: Mapping[str, int]
    boxes: Mapping[str, int] | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON-like values."""
        return asdict(self)


def label_statistics_of(images: pa.Table, taxonomy: Taxonomy) -> LabelStatistics:
    """Count the labels and boxes of images with labels only.

    Args:
        images: Images table with the columns labels and boxes.
        taxonomy: Classes to count; a class of no image counts 0.
    """
    classes = taxonomy.classes
    labels = Counter(c for of_one in images["labels"].to_pylist() for c in of_one)
    boxes = images["boxes"].to_pylist()
    boxed = Counter(box["class_id"] for of_one in boxes for box in of_one or ())
    return LabelStatistics(
        images=images.num_rows,
        labelled={name: labels[c] for c, name in enumerate(classes, start=1)},
        boxes=None
        if None in boxes
        else {name: boxed[c] for c, name in enumerate(classes, start=1)},
    )


def resized(
    instances: pa.Table, asked: AskedBins, taxonomy: Taxonomy
) -> tuple[pa.Table, SizeBins, tuple[str, ...]]:
    """Return a table of instances with the sizes of other bins, and these bins with their edges.

    Args:
        instances: Instances table with the columns size and ``SIZED``.
        asked: Size bins, or terciles of these instances' areas.
        taxonomy: Classes of the instances.

    Returns:
        The table, the bins, and a note if some classes have no terciles of their own.

    Raises:
        InputError: If the areas cannot be divided in terciles.
    """
    measured = instances["area"].to_numpy(), instances["class_id"].to_numpy(), len(taxonomy)
    bins = resolve_bins(asked, *measured)
    lacking = undivided(asked, *measured)
    notes = (undivided_note(lacking, taxonomy),) if lacking else ()
    place = instances.schema.get_field_index("size")
    return instances.set_column(place, "size", sizes_of(instances, bins)), bins, notes


def statistics_of_set(manifest: Manifest) -> SizeStatistics | LabelStatistics:
    """Return the statistics of a set: of sizes, or of labels if it has no masks."""
    if manifest.labels_only:
        return label_statistics_of(manifest.images, manifest.taxonomy)
    return statistics_of(
        manifest.images.num_rows, manifest.instances, manifest.taxonomy, manifest.bins
    )


def statistics_of(
    images: int, instances: pa.Table, taxonomy: Taxonomy, bins: SizeBins
) -> SizeStatistics:
    """Measure a table of instances.

    Args:
        images: Number of images that the instances come from.
        instances: Instances table with the columns class_name, size and area.
        taxonomy: Classes to count; a class without instances counts 0.
        bins: Size bins.
    """
    areas = instances["area"].to_numpy()
    edges = area_edges()
    quantiles = np.quantile(areas, QUANTILES, method="inverted_cdf") if len(areas) else []
    return SizeStatistics(
        images=images,
        instances=instances.num_rows,
        counts=size_counts(instances, taxonomy, bins),
        area_quantiles=tuple(int(q) for q in quantiles),
        area_histogram=tuple(np.histogram(areas.clip(max=edges[-1]), edges)[0].tolist()),
    )


def statistics_from(plain: Mapping[str, Any], manifest: Manifest) -> SizeStatistics:
    """Restore statistics in a manifest's header from the values returned by ``as_dict``.

    A header is written with sorted keys, so the order of classes and sizes is the manifest's.

    Args:
        plain: Statistics of the set's sources, or of a compared set, in the header.
        manifest: Manifest with the classes and size bins of the counts.
    """
    classes, sizes = manifest.taxonomy.classes, manifest.bins.names
    return SizeStatistics(
        images=plain["images"],
        instances=plain["instances"],
        counts={name: {size: plain["counts"][name][size] for size in sizes} for name in classes},
        area_quantiles=tuple(plain["area_quantiles"]),
        area_histogram=tuple(plain["area_histogram"]),
    )


def counts_as_text(manifest: Manifest) -> str:
    """Return a manifest's counts as a small text table, suited to reviewing diffs."""
    if manifest.labels_only:
        return _labels_as_text(label_statistics_of(manifest.images, manifest.taxonomy), manifest)
    measured = statistics_of(
        manifest.images.num_rows, manifest.instances, manifest.taxonomy, manifest.bins
    )
    sizes = manifest.bins.names
    width = max(len(name) for name in manifest.taxonomy.classes) + 2
    wide = max(9, *(len(size) + 1 for size in sizes))
    lines = [
        f"# {manifest.name}" + (" (synthetic)" if manifest.meta["synthetic"] else ""),
        f"# logical hash {manifest.logical_hash}",
        f"# images {measured.images}, instances {measured.instances}",
        "class".ljust(width) + "".join(size.rjust(wide) for size in sizes),
    ]
    lines += [
        name.ljust(width) + "".join(str(row[size]).rjust(wide) for size in sizes)
        for name, row in measured.counts.items()
    ]
    return "\n".join(lines) + "\n"


def _labels_as_text(measured: LabelStatistics, manifest: Manifest) -> str:
    width = max(len(name) for name in manifest.taxonomy.classes) + 2
    lines = [
        f"# {manifest.name}, labels only" + (" (synthetic)" if manifest.meta["synthetic"] else ""),
        f"# logical hash {manifest.logical_hash}",
        f"# images {measured.images}",
        *(f"{name.ljust(width)}{n:>9}" for name, n in measured.labelled.items()),
    ]
    return "\n".join(lines) + "\n"
