"""All reported values, each with its number of instances or classes; undefined values are None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.metrics.image import METRIC, MetricOptions, ia_iou
from sbdata.metrics.outcomes import OUTCOMES, outcome_index
from sbdata.metrics.registry import estimates
from sbdata.metrics.sums import Values, image_sums, ratio
from sbdata.metrics.tables import ScoreTables
from sbdata.sizes import SizeBins


@dataclass(frozen=True)
class InstanceFigure:
    """The instance-aware IoU of some instances.

    Attributes:
        class_mean: Mean over the classes of each class's mean.
        instance_mean: Mean over all instances of any class; never includes background.
        n_instances: Number of instances.
        n_classes: Number of classes in the class mean.
    """

    class_mean: float | None
    instance_mean: float | None
    n_instances: int
    n_classes: int


@dataclass(frozen=True)
class Cell:
    """A mean and the number of its items.

    Attributes:
        value: Mean; None if there are no items.
        n: Number of instances, regions or images.
    """

    value: float | None
    n: int


@dataclass(frozen=True)
class Orphans:
    """Predicted regions that meet no instance of their class.

    Attributes:
        regions: Number of regions.
        pixels: Number of their pixels, void left out.
        share: Share of these pixels in all predicted pixels that are not on their class; None if
            all predicted pixels are on their class.
    """

    regions: int
    pixels: int
    share: float | None


@dataclass(frozen=True)
class ClassFigures:
    """The values of one foreground class.

    Attributes:
        class_id: Class number, 1..C.
        iou: IoU over all images; None if the class is absent from the truth.
        ia: IA_c by name: ``ia``, then ``ia_<size>``.
        orphans: Orphan regions of the class.
    """

    class_id: int
    iou: float | None
    ia: Mapping[str, Cell]
    orphans: Orphans


@dataclass(frozen=True)
class CurvePoint:
    """The mean IA of the instances in half an octave of area.

    Attributes:
        low: Smallest area, in pixels.
        high: One above the largest area, in pixels.
        value: Mean IA; None if there is no instance.
        n: Number of instances.
    """

    low: int
    high: int
    value: float | None
    n: int


@dataclass(frozen=True)
class Summary:
    """The values of a set of predictions under ``ia_iou.v2``.

    Attributes:
        metric: Name and version of the metric.
        options: Metric options.
        bins: Size bins.
        n_images: Number of scored images.
        miou: Mean IoU over background and classes, from one confusion matrix of all images.
        n_miou_classes: Number of classes (background included) in ``miou``.
        absent: Classes left out of ``miou`` because no true pixel has them.
        background_iou: IoU of class 0; None if there is no true background.
        pixel_accuracy: Share of the pixels whose predicted class is the true one.
        ia: IA values by name: ``ia``, whose class mean includes background as a class;
            ``ia_objects``, the same without background; then ``ia_<size>``.
        background_ia: Mean of the IoU of background per image, over the images that have it.
        region_precision: Share of predicted regions with at least half their pixels on their class,
            by name: ``region_precision``, then ``region_precision_<size>``, by the region's own
            area.
        orphans: Orphan regions of all classes.
        outcomes: Number of instances of each size with each of ``OUTCOMES``.
        classes: Values of each foreground class.
        curve: IA by half octaves of area, from the smallest instance to the largest.
        further: Values of registered metrics that no other attribute has.
    """

    metric: str
    options: MetricOptions
    bins: SizeBins
    n_images: int
    miou: float | None
    n_miou_classes: int
    absent: tuple[int, ...]
    background_iou: float | None
    pixel_accuracy: float | None
    ia: Mapping[str, InstanceFigure]
    background_ia: Cell
    region_precision: Mapping[str, Cell]
    orphans: Orphans
    outcomes: Mapping[str, Mapping[str, int]]
    classes: tuple[ClassFigures, ...]
    curve: tuple[CurvePoint, ...]
    further: Mapping[str, float | None] = field(default_factory=dict)

    def headline(self) -> dict[str, float | None]:
        """Return the values that have intervals, by the names of :func:`estimates`."""
        found: dict[str, float | None] = {"miou": self.miou, "pixel_accuracy": self.pixel_accuracy}
        for name, figure in self.ia.items():
            found[f"{name}.class_mean"] = figure.class_mean
            found[f"{name}.instance_mean"] = figure.instance_mean
        for name, cell in self.region_precision.items():
            found[name] = cell.value
        return found | dict(self.further)

    def counts_of(self, class_names: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return the number of instances of each class 1..C, by the class's name, then by size."""
        return {
            name: {size: of_class.ia[f"ia_{size}"].n for size in self.bins.names}
            for name, of_class in zip(class_names, self.classes, strict=True)
        }

    def flat(
        self,
        prefix: str = "",
        *,
        per_class: bool = False,
        class_names: Sequence[str] | None = None,
        undefined: float | None = None,
    ) -> dict[str, float]:
        """Return the values as one flat dict for a logger, such as W&B, MLflow or TensorBoard.

        The names are those of :meth:`headline`, such as ``ia_small.class_mean``, and do not change
        within a version of the metric.

        Args:
            prefix: Text before every name, such as ``"val/"``.
            per_class: Whether to add the values of each foreground class: ``iou/<class>``,
                ``ia/<class>`` and ``ia_<size>/<class>``.
            class_names: Names of the classes 1..C; by default a class is named by its number.
            undefined: Value for what is undefined, such as the IA of a size without instances. By
                default it is left out: loggers average and rank NaN, and 0 would be wrong. With NaN
                every call has the same names.

        Raises:
            InputError: If there is not one name for each foreground class, or a name occurs twice.
        """
        numbers = [str(row.class_id) for row in self.classes]
        names = numbers if class_names is None else list(class_names)
        if len(names) != len(numbers) or len(set(names)) != len(names):
            msg = (
                f"{len(names)} class names for {len(numbers)} foreground classes; give each class "
                "1..C a name of its own, without background"
            )
            raise InputError(msg)
        found = self.headline()
        if per_class:
            for row, name in zip(self.classes, names, strict=True):
                found[f"iou/{name}"] = row.iou
                found |= {f"{key}/{name}": cell.value for key, cell in row.ia.items()}
        values = {name: undefined if value is None else value for name, value in found.items()}
        return {f"{prefix}{name}": value for name, value in values.items() if value is not None}

    def as_dict(self, class_names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the summary as plain dicts, lists and numbers, ready for JSON.

        Args:
            class_names: Names of the classes 1..C; if given, each class includes its name.
        """
        plain = asdict(self)
        if class_names is not None:
            for row, name in zip(plain["classes"], class_names, strict=True):
                row["class_name"] = name
        return plain


def summarise(tables: ScoreTables, bins: SizeBins) -> Summary:
    """Compute all values of the scored images.

    Args:
        tables: Rows of the images.
        bins: Size bins; the rows do not depend on them, so they can differ between calls.
    """
    sums = image_sums(tables, bins).weighted(np.ones((len(tables.image_ids), 1)))
    headline = {name: _or_none(values[0]) for name, values in estimates(sums, bins).items()}
    true, matched = sums.true[:, 0], sums.matched[:, 0]
    iou = np.where(true > 0, ratio(matched, sums.union[:, 0]), np.nan)
    ia, n = sums.ia[:, :, 0], sums.instances[:, :, 0]
    background, with_background = sums.background[:, 0].tolist()
    suffixes = ("", *(f"_{size}" for size in bins.names))
    means = ratio(ia, n)
    orphans = _orphans_by_class(tables)

    def figure(name: str, k: int, further_classes: int = 0) -> InstanceFigure:
        return InstanceFigure(
            class_mean=headline[f"{name}.class_mean"],
            instance_mean=headline[f"{name}.instance_mean"],
            n_instances=int(n[k].sum()),
            n_classes=int((n[k] > 0).sum()) + further_classes,
        )

    summary = Summary(
        metric=METRIC,
        options=tables.options,
        bins=bins,
        n_images=len(tables.image_ids),
        miou=headline["miou"],
        n_miou_classes=int((true > 0).sum()),
        absent=tuple(np.flatnonzero(true == 0).tolist()),
        background_iou=_or_none(iou[0]),
        pixel_accuracy=headline["pixel_accuracy"],
        ia={
            "ia": figure("ia", 0, int(with_background > 0)),
            "ia_objects": figure("ia_objects", 0),
            **{f"ia_{size}": figure(f"ia_{size}", k) for k, size in enumerate(bins.names, start=1)},
        },
        background_ia=Cell(
            background / with_background if with_background else None, int(with_background)
        ),
        region_precision={
            f"region_precision{suffix}": Cell(
                headline[f"region_precision{suffix}"], int(sums.regions[k, 0])
            )
            for k, suffix in enumerate(suffixes)
        },
        orphans=_orphans(orphans.sum(axis=0)),
        outcomes=_outcomes(tables, bins),
        classes=tuple(
            ClassFigures(
                class_id=c,
                iou=_or_none(iou[c]),
                ia={
                    f"ia{suffix}": Cell(_or_none(means[k, c - 1]), int(n[k, c - 1]))
                    for k, suffix in enumerate(suffixes)
                },
                orphans=_orphans(orphans[c]),
            )
            for c in range(1, tables.n_classes + 1)
        ),
        curve=_curve(tables),
    )
    own = summary.headline()
    return replace(summary, further={k: v for k, v in headline.items() if k not in own})


def half_octaves(largest: int) -> npt.NDArray[np.int64]:
    """Return half-octave edges from 1 to above the largest area: whole pixels, ceil(2^(k/2)).

    >>> half_octaves(20).tolist()
    [1, 2, 3, 4, 6, 8, 12, 16, 23]
    """
    edges = [1]
    k = 0
    while edges[-1] <= largest:
        k += 1
        edge = math.isqrt(2**k - 1) + 1
        if edge > edges[-1]:
            edges.append(edge)
    return np.array(edges, np.int64)


def _curve(tables: ScoreTables) -> tuple[CurvePoint, ...]:
    area = tables.instances["area"]
    if not area.size:
        return ()
    edges = half_octaves(int(area.max()))
    place = np.searchsorted(edges, area, side="right") - 1
    count = np.bincount(place, minlength=edges.size - 1)
    total = np.bincount(place, weights=ia_iou(tables.instances), minlength=edges.size - 1)
    return tuple(
        CurvePoint(
            low=int(edges[k]),
            high=int(edges[k + 1]),
            value=float(total[k] / count[k]) if count[k] else None,
            n=int(count[k]),
        )
        for k in range(int(place.min()), edges.size - 1)
    )


def _orphans_by_class(tables: ScoreTables) -> npt.NDArray[np.int64]:
    """Return ``(C + 1, 4)`` counts: orphans, their pixels, their false pixels, all false pixels."""
    found = np.zeros((tables.n_classes + 1, 4), np.int64)
    names = ("orphan_regions", "orphan_pixels", "orphan_false_pixels", "false_pixels")
    for column, name in enumerate(names):
        np.add.at(found[:, column], tables.classes["class_id"], tables.classes[name])
    return found


def _orphans(counts: npt.NDArray[np.int64]) -> Orphans:
    regions, pixels, orphan_false, false = counts.tolist()
    return Orphans(regions, pixels, orphan_false / false if false else None)


def _outcomes(tables: ScoreTables, bins: SizeBins) -> dict[str, dict[str, int]]:
    kinds = len(OUTCOMES)
    cell = tables.instance_sizes(bins) * kinds + outcome_index(tables.instances)
    counts = np.bincount(cell, minlength=len(bins.names) * kinds).reshape(-1, kinds)
    return {
        size: dict(zip(OUTCOMES, row.tolist(), strict=True))
        for size, row in zip(bins.names, counts, strict=True)
    }


def _or_none(value: float | np.float64 | Values) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number
