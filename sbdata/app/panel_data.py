"""The objects of a view as arrays, and their counts by area, by class and size, and by outcome.

This module depends neither on FiftyOne nor on the plots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.metrics.outcomes import OUTCOMES
from sbdata.metrics.summary import half_octaves
from sbdata.sizes import SizeBins

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

TEXTS = ("label", "size", "source")
OBJECT_COLUMNS = ("area", "number", *TEXTS)
SCORE_COLUMNS = ("tp", "fp", "outcome")


@dataclass(frozen=True, eq=False)
class ObjectScores:
    """The scores of one run, one element for each object of a view.

    Attributes:
        tp: Pixels of the object that are predicted as its class, float64; NaN without a score.
        fp: False positives attributed to the object, float64; NaN without a score.
        outcome: ``object`` array of ``OUTCOMES``; empty text without a score.
    """

    tp: Values
    fp: Values
    outcome: npt.NDArray[Any]

    @property
    def is_scored(self) -> npt.NDArray[np.bool_]:
        """Boolean array of the objects that have a score."""
        scored: npt.NDArray[np.bool_] = ~(np.isnan(self.tp) | np.isnan(self.fp))
        return scored


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a view, sorted by image id and number.

    Attributes:
        image_ids: All images of the view, sorted; some may have no object.
        image: Index of each object's image in ``image_ids``, int64.
        number: Number of each object in its image, int64.
        area: Visible pixels of each object, int64.
        texts: Arrays of strings (type ``object``), by ``label``, ``size`` and ``source``.
        runs: Scores by run.
        image_pixels: Height times width of each image, int64; 0 if not known.
    """

    image_ids: tuple[str, ...]
    image: Counts
    number: Counts
    area: Counts
    texts: Mapping[str, npt.NDArray[Any]]
    runs: Mapping[str, ObjectScores]
    image_pixels: Counts

    def __len__(self) -> int:
        return int(self.area.size)

    @property
    def n_images(self) -> int:
        """Number of images that have an object."""
        return int(np.unique(self.image).size)

    def subset(self, chosen: npt.NDArray[Any]) -> Objects:
        """Return some of the objects; ``image_ids`` stays the same.

        Args:
            chosen: Boolean for each object, or indices of objects.
        """
        return Objects(
            self.image_ids,
            self.image[chosen],
            self.number[chosen],
            self.area[chosen],
            {name: texts[chosen] for name, texts in self.texts.items()},
            {
                name: ObjectScores(run.tp[chosen], run.fp[chosen], run.outcome[chosen])
                for name, run in self.runs.items()
            },
            self.image_pixels,
        )


def gather_objects(
    image_ids: Sequence[str],
    columns: Mapping[str, Sequence[Sequence[Any] | None]],
    runs: Mapping[str, Mapping[str, Sequence[Sequence[Any] | None]]] | None = None,
    image_pixels: Sequence[int] | None = None,
) -> Objects:
    """Collect the objects of all images into one table.

    Objects without an area are left out: a user drew them in the app, and sbdata has not measured
    them.

    Args:
        image_ids: Ids of the images, in any order.
        columns: Columns by the names of ``OBJECT_COLUMNS``. Each has one sequence per image with a
            value per object, or None for an image without objects.
        runs: Columns of each run in the same form, by the names of ``SCORE_COLUMNS``.
        image_pixels: Height times width of each image; 0 or None if not known.

    >>> table = {"area": [[9, 40], None], "number": [[1, 2], None], "label": [["cat", "cow"], None]}
    >>> table |= {"size": [["small"] * 2, None], "source": [["voc"] * 2, None]}
    >>> scores = {"tp": [[9, None], None], "fp": [[2, None], None], "outcome": [["bled", ""], None]}
    >>> found = gather_objects(["b", "a"], table, {"cam": scores})
    >>> found.image_ids, found.image.tolist(), found.area.tolist(), found.runs["cam"].tp.tolist()
    (('a', 'b'), [1, 1], [9, 40], [9.0, nan])
    """
    counts = [len(areas or ()) for areas in columns["area"]]

    def flat(values: Sequence[Sequence[Any] | None]) -> list[Any]:
        # If no object of an image has a field, the whole entry of the image is None.
        pairs = zip(values, counts, strict=True)
        return [value for of_image, n in pairs for value in (of_image or [None] * n)]

    sorted_ids = tuple(sorted(set(image_ids)))
    place_of = {image_id: place for place, image_id in enumerate(sorted_ids)}
    owner = np.repeat(np.array([place_of[i] for i in image_ids], np.int64), counts)
    area, number = (_integers(flat(columns[name])) for name in ("area", "number"))
    everything = Objects(
        sorted_ids,
        owner,
        number,
        area,
        {name: _texts(flat(columns[name])) for name in TEXTS},
        {
            name: ObjectScores(
                _floats(flat(scores["tp"])),
                _floats(flat(scores["fp"])),
                _texts(flat(scores["outcome"])),
            )
            for name, scores in (runs or {}).items()
        },
        _pixels_in_order(sorted_ids, image_ids, image_pixels),
    )
    order = np.lexsort((number, owner))
    return everything.subset(order[area[order] > 0])


def _pixels_in_order(
    ordered: Sequence[str], image_ids: Sequence[str], pixels: Sequence[int] | None
) -> Counts:
    known = dict(zip(image_ids, pixels, strict=True)) if pixels is not None else {}
    return np.array([known.get(image_id, 0) for image_id in ordered], np.int64)


def _integers(values: list[Any]) -> Counts:
    return np.array([value or 0 for value in values], np.int64)


def _floats(values: list[Any]) -> Values:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _texts(values: list[Any]) -> npt.NDArray[Any]:
    return np.array(["" if value is None else str(value) for value in values], object)


# --- by area --------------------------------------------------------------------------------------


def area_edges(areas: npt.ArrayLike, bins: SizeBins) -> Counts:
    """Return half-octave edges that cover all areas and at least two octaves of every size.

    The two octaves leave room for the name of the size. The edges are those of the report's curve,
    so that the two can be compared.

    >>> area_edges([700, 20000], SizeBins()).tolist()[:4]
    [256, 363, 512, 725]
    """
    areas = np.asarray(areas, np.int64)
    ends = [*bins.pixel_edges] or [1]
    low = min(int(areas.min(initial=ends[0])), max(1, ends[0] // 4))
    high = max(int(areas.max(initial=1)), ends[-1] * 4 - 1)
    edges = half_octaves(high)
    kept: Counts = edges[int(np.searchsorted(edges, low, side="right")) - 1 :]
    return kept


def count_by_area(
    objects: Objects, edges: Counts, by: str, groups: Sequence[str]
) -> dict[str, Counts]:
    """Count the objects in each bin of area, by group.

    Args:
        objects: Objects of the view, all within the edges.
        edges: Increasing areas in pixels; a bin holds ``edges[i] <= area < edges[i + 1]``.
        by: Text attribute to group by, such as ``"label"``.
        groups: Groups in their order.
    """
    place = np.searchsorted(edges, objects.area, side="right") - 1
    return {
        group: np.bincount(place[objects.texts[by] == group], minlength=edges.size - 1)
        for group in groups
    }


def groups_of(objects: Objects, by: str, order: Sequence[str]) -> list[str]:
    """Return the groups of the objects: first the known ones in their order, then others by name.

    Args:
        objects: Objects of the view.
        by: Text attribute to group by, such as ``"label"``.
        order: Order of the known groups.
    """
    found = set(objects.texts[by].tolist())
    return [name for name in order if name in found] + sorted(found - set(order))


def count_cells(objects: Objects, labels: Sequence[str], sizes: Sequence[str]) -> Counts:
    """Count the objects of each class and size.

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


def count_outcomes(objects: Objects, run: str, sizes: Sequence[str]) -> Counts:
    """Count the objects of each size and outcome.

    Args:
        objects: Objects of the view.
        run: Name of the run that scored them.
        sizes: Names of the sizes, the smallest first.

    Returns:
        int64 ``(sizes, outcomes)``, in the order of ``OUTCOMES``.
    """
    scored = objects.subset(objects.runs[run].is_scored)
    outcome = scored.runs[run].outcome
    found = [
        [int(((scored.texts["size"] == size) & (outcome == kind)).sum()) for kind in OUTCOMES]
        for size in sizes
    ]
    return np.array(found, np.int64).reshape(len(sizes), len(OUTCOMES))
