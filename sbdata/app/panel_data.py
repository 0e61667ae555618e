"""What the panel "Object sizes" shows, as arrays: counts by area and by cell, and IA by area.

Nothing here knows FiftyOne or how it is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.metrics.summary import half_octaves
from sbdata.sizes import SizeBins

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

LEAST_IMAGES = 5
"""Resampling fewer images says nothing of what others would have given."""
_WEIGHTS_AT_ONCE = 4_000_000  # 32 MB


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a view, one element each.

    Attributes:
        image: int64, number of the image that it is in.
        area: int64, visible pixels.
        texts: what it is, as ``object`` arrays of strings by ``label``, ``size`` and ``source``.
        scores: IA by run, float64; NaN where it was not scored.
    """

    image: Counts
    area: Counts
    texts: Mapping[str, npt.NDArray[Any]]
    scores: Mapping[str, Values]

    def __len__(self) -> int:
        return int(self.area.size)

    @property
    def n_images(self) -> int:
        """Return how many images they are in."""
        return int(np.unique(self.image).size)

    def subset(self, chosen: npt.NDArray[np.bool_]) -> Objects:
        """Return those that are chosen."""
        return Objects(
            self.image[chosen],
            self.area[chosen],
            {name: texts[chosen] for name, texts in self.texts.items()},
            {run: values[chosen] for run, values in self.scores.items()},
        )


def gather_objects(
    columns: Mapping[str, Sequence[Sequence[Any] | None]], runs: Sequence[str] = ()
) -> Objects:
    """Put the objects of all images into one table.

    Objects without an area are left out: someone drew them in the app, and sbdata has not measured
    them.

    Args:
        columns: by ``area``, ``label``, ``size``, ``source`` and the runs' names; each has a
            sequence an image, with a value an object, or None for an image without any.
        runs: whose scores there are.

    >>> table = {"area": [[9, 100], None], "label": [["cat", "cow"], None]}
    >>> table |= {"size": [["small"] * 2, None], "source": [["voc"] * 2, None]}
    >>> found = gather_objects({**table, "cam": [[0.5, None], None]}, runs=["cam"])
    >>> found.area.tolist(), found.texts["label"].tolist(), found.scores["cam"].tolist()
    ([9, 100], ['cat', 'cow'], [0.5, nan])
    """
    flat: dict[str, list[Any]] = {name: [] for name in ("area", "label", "size", "source", *runs)}
    owners: list[int] = []
    for place, areas in enumerate(columns["area"]):
        owners.extend([place] * len(areas or ()))
    for name, values in flat.items():
        for of_image, areas in zip(columns[name], columns["area"], strict=True):
            # A field that no object of an image has is None as a whole.
            values.extend(of_image or [None] * len(areas or ()))
    measured = np.array([area is not None for area in flat["area"]], dtype=bool)
    everything = Objects(
        np.array(owners, np.int64),
        np.array([area or 0 for area in flat["area"]], np.int64),
        {
            name: np.array([str(text) for text in flat[name]], object)
            for name in ("label", "size", "source")
        },
        {
            run: np.array([np.nan if v is None else v for v in flat[run]], np.float64)
            for run in runs
        },
    )
    return everything if measured.all() else everything.subset(measured)


# --- by area --------------------------------------------------------------------------------------


def area_edges(areas: npt.ArrayLike, bins: SizeBins) -> Counts:
    """Return half-octave edges that hold all areas and two octaves of every size, to name it in.

    The edges are those of the report's curve, so that the two can be compared.

    >>> area_edges([700, 20000], SizeBins()).tolist()[:4]
    [256, 363, 512, 725]
    """
    areas = np.asarray(areas, np.int64)
    ends = [*bins.edges] or [1]
    low = min(int(areas.min(initial=ends[0])), max(1, ends[0] // 4))
    high = max(int(areas.max(initial=1)), ends[-1] * 4 - 1)
    edges = half_octaves(high)
    kept: Counts = edges[int(np.searchsorted(edges, low, side="right")) - 1 :]
    return kept


def count_by_area(
    objects: Objects, edges: Counts, by: str, groups: Sequence[str]
) -> dict[str, Counts]:
    """Count the objects between every two edges, by group.

    Args:
        objects: of the view, all of them within the edges.
        edges: increasing areas; a bin holds ``edges[i] <= area < edges[i + 1]``.
        by: the text that groups them, such as ``"label"``.
        groups: in their order.
    """
    place = np.searchsorted(edges, objects.area, side="right") - 1
    return {
        group: np.bincount(place[objects.texts[by] == group], minlength=edges.size - 1)
        for group in groups
    }


def groups_of(objects: Objects, by: str, order: Sequence[str]) -> list[str]:
    """Return which groups the objects fall into: those of the order, then others by name.

    Args:
        objects: of the view.
        by: the text that groups them.
        order: of the groups that are known.
    """
    found = set(objects.texts[by].tolist())
    return [name for name in order if name in found] + sorted(found - set(order))


def count_cells(objects: Objects, labels: Sequence[str], sizes: Sequence[str]) -> Counts:
    """Count the objects of every class and size.

    Returns:
        int64 ``(labels, sizes)``.
    """
    rows = {label: row for row, label in enumerate(labels)}
    columns = {size: column for column, size in enumerate(sizes)}
    found = np.zeros((len(labels), len(sizes)), np.int64)
    for label, size in zip(objects.texts["label"], objects.texts["size"], strict=True):
        if label in rows and size in columns:
            found[rows[label], columns[size]] += 1
    return found


# --- IA by area -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Curve:
    """The mean IA of the objects in each bin of area.

    Attributes:
        n: int64, scored objects in the bin.
        mean: their mean IA; NaN where there is none.
        low: lower end of the 95 % interval; NaN where fewer than five images have one.
        high: its upper end.
    """

    n: Counts
    mean: Values
    low: Values
    high: Values


def ia_by_area(
    objects: Objects, run: str, edges: Counts, *, resamples: int = 300, seed: int = 0
) -> Curve:
    """Return the mean IA by area with a bootstrap over images, as in ``ia_iou.v1``.

    Args:
        objects: of the view, all of them within the edges.
        run: whose scores.
        edges: as in :func:`count_by_area`.
        resamples: of the images, drawn with replacement.
        seed: of the draws.
    """
    scored = objects.subset(~np.isnan(objects.scores[run]))
    size = edges.size - 1
    place = np.searchsorted(edges, scored.area, side="right") - 1
    _, owner = np.unique(scored.image, return_inverse=True)
    images = int(owner.max(initial=-1)) + 1
    code = owner * size + place
    shape = (images, size)
    count = np.bincount(code, minlength=images * size).reshape(shape).astype(np.float64)
    summed = np.bincount(code, weights=scored.scores[run], minlength=images * size)
    total = summed.reshape(shape).astype(np.float64)
    n = count.sum(axis=0)
    mean = _ratio(total.sum(axis=0), n)
    low, high = np.full(size, np.nan), np.full(size, np.nan)
    enough = (count > 0).sum(axis=0) >= LEAST_IMAGES
    if enough.any():
        drawn = _resampled(count[:, enough], total[:, enough], resamples, seed)
        low[enough], high[enough] = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    return Curve(n.astype(np.int64), mean, low, high)


def _resampled(count: Values, total: Values, resamples: int, seed: int) -> Values:
    """Return the means of every resample, ``(resamples, bins)``."""
    images = len(count)
    random = np.random.default_rng(seed)
    step = max(1, _WEIGHTS_AT_ONCE // images)
    parts = []
    for start in range(0, resamples, step):
        draws = min(step, resamples - start)
        weights = random.multinomial(images, np.full(images, 1 / images), size=draws)
        weights = weights.astype(np.float64)
        parts.append(_ratio(weights @ total, weights @ count))
    return np.concatenate(parts)


def _ratio(part: Values, whole: Values) -> Values:
    values: Values = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return values
