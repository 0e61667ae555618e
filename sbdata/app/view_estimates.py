"""The IA of the objects in a view, with the intervals that ``sbdata score`` would give it.

The values come from the same functions of :mod:`sbdata.metrics` as every result. On a whole set
they equal those of the run's ``summary.json`` exactly. A view has the scores of its objects but
not its pixels, so there is no mIoU here and no IA with background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sbdata.app.attached import AttachedRun
from sbdata.app.panel_data import Counts, Objects, Values
from sbdata.metrics.bootstrap import Bootstrap, Difference, Interval, bootstrap, compare
from sbdata.metrics.image import CLASS_ROW, INSTANCE_ROW, REGION_ROW
from sbdata.metrics.tables import ScoreTables
from sbdata.sizes import SizeBins


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval.

    Attributes:
        value: Mean; None if there is no object.
        interval: Interval; None for few objects or a single image.
    """

    value: float | None
    interval: Interval | None


@dataclass(frozen=True)
class SizeEstimate:
    """The IA of the objects of one size.

    Attributes:
        class_mean: Mean over the classes of each class's mean.
        instance_mean: Mean over all objects.
        n_objects: Number of objects.
        n_classes: Number of classes that the objects have.
    """

    class_mean: Estimate
    instance_mean: Estimate
    n_objects: int
    n_classes: int


@dataclass(frozen=True, eq=False)
class Curve:
    """The mean IA of the objects in each bin of area.

    Attributes:
        n: Number of scored objects in the bin, int64.
        mean: Mean IA of these objects; NaN if there are none.
        low: Lower end of the 95 % interval; NaN if there are few objects.
        high: Upper end of the 95 % interval; NaN if there are few objects.
    """

    n: Counts
    mean: Values
    low: Values
    high: Values


def object_tables(objects: Objects, run: AttachedRun, classes: Sequence[str]) -> ScoreTables:
    """Return the scores of a view's objects as the tables that all estimates are computed from.

    The tables have no regions and no pixel counts, so only the values of ``ia_objects`` and of the
    sizes are meaningful.

    Args:
        objects: Objects of the view. Objects without a score are left out, and objects whose class
            a user renamed to something else.
        run: Run that scored them.
        classes: Names of the classes 1..C.
    """
    class_of = {name: number for number, name in enumerate(classes, start=1)}
    known = np.array([label in class_of for label in objects.texts["label"]], bool)
    scored = objects.subset(objects.runs[run.name].is_scored & known)
    rows = np.zeros(len(scored), INSTANCE_ROW)
    rows["instance_id"] = scored.number
    rows["class_id"] = [class_of[label] for label in scored.texts["label"]]
    rows["area"] = scored.area
    rows["tp"] = scored.runs[run.name].tp
    rows["fp"] = scored.runs[run.name].fp
    nowhere = np.empty(0, np.int32)
    return ScoreTables(
        options=run.options,
        n_classes=len(classes),
        image_ids=scored.image_ids,
        image_pixels=scored.image_pixels,
        confusion=np.zeros((len(classes) + 1, len(classes) + 1), np.int64),
        instance_image=scored.image.astype(np.int32),
        instances=rows,
        region_image=nowhere,
        regions=np.empty(0, REGION_ROW),
        class_image=nowhere,
        classes=np.empty(0, CLASS_ROW),
    )


def size_names(bins: SizeBins) -> tuple[str, ...]:
    """Return the names of the estimates in a summary: for all objects, then by size.

    >>> size_names(SizeBins())
    ('ia_objects', 'ia_small', 'ia_medium', 'ia_large')
    """
    return ("ia_objects", *(f"ia_{size}" for size in bins.names))


def ia_by_size(
    objects: Objects, run: AttachedRun, classes: Sequence[str], bins: SizeBins
) -> dict[str, SizeEstimate]:
    """Return the IA of all objects and of each size, by the names of :func:`size_names`.

    Args:
        objects: Objects of the view.
        run: Run that scored them.
        classes: Names of the classes 1..C.
        bins: Size bins.
    """
    tables = object_tables(objects, run, classes)
    drawn = bootstrap(tables, bins, resamples=run.resamples, seed=run.seed)
    intervals = drawn.intervals()
    size = tables.instance_sizes(bins)
    chosen = [np.ones(size.size, bool), *(size == k for k in range(len(bins.names)))]

    def estimate(name: str) -> Estimate:
        return Estimate(_or_none(drawn.observed[name]), intervals[name])

    return {
        name: SizeEstimate(
            class_mean=estimate(f"{name}.class_mean"),
            instance_mean=estimate(f"{name}.instance_mean"),
            n_objects=int(of_size.sum()),
            n_classes=int(np.unique(tables.instances["class_id"][of_size]).size),
        )
        for name, of_size in zip(size_names(bins), chosen, strict=True)
    }


def ia_by_area(objects: Objects, run: AttachedRun, classes: Sequence[str], edges: Counts) -> Curve:
    """Return the mean IA by area; each bin is treated like a size.

    Args:
        objects: Objects of the view, all within the edges.
        run: Run that scored them.
        classes: Names of the classes 1..C.
        edges: Increasing areas in pixels; a bin holds ``edges[i] <= area < edges[i + 1]``.
    """
    names = tuple(str(low) for low in edges[:-1].tolist())
    bins = SizeBins(tuple(edges[1:-1].tolist()), names)
    tables = object_tables(objects, run, classes)
    drawn = bootstrap(tables, bins, resamples=run.resamples, seed=run.seed)
    intervals = drawn.intervals()
    keys = [f"ia_{name}.instance_mean" for name in names]
    found = [intervals[key] or Interval(np.nan, np.nan) for key in keys]
    return Curve(
        n=np.bincount(tables.instance_sizes(bins), minlength=len(names)).astype(np.int64),
        mean=np.array([drawn.observed[key] for key in keys]),
        low=np.array([interval.low for interval in found]),
        high=np.array([interval.high for interval in found]),
    )


def ia_differences(
    objects: Objects,
    first: AttachedRun,
    second: AttachedRun,
    classes: Sequence[str],
    bins: SizeBins,
) -> dict[str, Difference | None]:
    """Return the IA of one run minus that of another, by the names of :func:`size_names`.

    The values are class means, paired by image. Both runs use the resamples and the seed of the
    first.

    Args:
        objects: Objects of the view; objects scored by only one of the runs are left out.
        first: Run A of A minus B.
        second: Run B of A minus B.
        classes: Names of the classes 1..C.
        bins: Size bins.

    Raises:
        InputError: If the two runs were scored with different options.
    """
    runs = objects.runs
    both = objects.subset(runs[first.name].is_scored & runs[second.name].is_scored)

    def drawn(run: AttachedRun) -> Bootstrap:
        tables = object_tables(both, run, classes)
        return bootstrap(tables, bins, resamples=first.resamples, seed=first.seed)

    found = compare(drawn(first), drawn(second))
    return {name: found[f"{name}.class_mean"] for name in size_names(bins)}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
