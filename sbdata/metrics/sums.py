"""Per-image sums under any weights of the images, of which the headline values are ratios.

Every headline value is a ratio of sums over the images, or a mean of such ratios. The values of a
set have every weight 1; a bootstrap draw uses the same sums with the weights of the draw. Both use
the same code, so they always agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.compiled_code import address, kernels
from sbdata.metrics.image import boundary_iou, ia_iou
from sbdata.metrics.tables import ScoreTables
from sbdata.sizes import SizeBins

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums under R weightings of the images; the last axis is the weighting.

    Index 0 of a size axis is all sizes together; the bins follow.

    Attributes:
        ia: Sum of IA over the instances of a size and class, ``(1 + S, C, R)``.
        instances: Number of these instances, ``(1 + S, C, R)``.
        background: Sum of the images' IoU of class 0, and number of images that have it,
            ``(2, R)``.
        precise: Number of predicted regions with at least half their pixels on their class,
            ``(1 + S, R)``.
        regions: Number of all predicted regions, ``(1 + S, R)``.
        true: Pixels of the class, ``(C + 1, R)``.
        union: Pixels that are of the class, predicted as it, or both, ``(C + 1, R)``.
        matched: Pixels of the class that are predicted as it, ``(C + 1, R)``.
        boundary: Sum of Boundary IoU over the instances of a size and class, ``(1 + S, C, R)``;
            None if it was not measured.
    """

    ia: Values
    instances: Values
    background: Values
    precise: Values
    regions: Values
    true: Values
    union: Values
    matched: Values
    boundary: Values | None = None


@dataclass(frozen=True, eq=False)
class ImageSums:
    """The sums of each image: a sparse matrix of K sums by N images, row by row (CSR).

    Attributes:
        indptr: Place of the first entry of each row, and the number of entries, int64 ``(K + 1,)``.
        images: Image (column) of each entry, int64.
        data: Value of each entry, float64.
        n_classes: Number of foreground classes, C.
        n_sizes: Number of size bins, S.
        with_boundary: Whether there are the sums of Boundary IoU, after all others.
    """

    indptr: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    data: Values
    n_classes: int
    n_sizes: int
    with_boundary: bool = False

    def weighted(self, weights: Values) -> Sums:
        """Return the sums over the images, in their order, under R weightings ``(N, R)``."""
        found = self._product(np.ascontiguousarray(weights))
        rows, sizes, classes = weights.shape[1], 1 + self.n_sizes, self.n_classes
        widths = _widths(classes, self.n_sizes, self.with_boundary)
        parts = np.split(found, np.cumsum(widths)[:-1])
        ia, instances, background, precise, regions, true, union, matched = parts[:8]
        return Sums(
            ia=ia.reshape(sizes, classes, rows),
            instances=instances.reshape(sizes, classes, rows),
            background=background,
            precise=precise,
            regions=regions,
            true=true,
            union=union,
            matched=matched,
            boundary=parts[8].reshape(sizes, classes, rows) if self.with_boundary else None,
        )

    def _product(self, weights: Values) -> Values:
        """Return the matrix times the weights; each row's entries are added in their order."""
        sums, library = self.indptr.size - 1, kernels()
        if library is None:
            from scipy.sparse import csr_matrix  # slow to import

            shape = (sums, len(weights))
            product: Values = csr_matrix((self.data, self.images, self.indptr), shape) @ weights
            return product
        found = np.zeros((sums, weights.shape[1]))
        library.weighted_sums(
            address(self.indptr), address(self.images), address(self.data), sums,
            address(weights), weights.shape[1], address(found),
        )  # fmt: skip
        return found


def image_sums(tables: ScoreTables, bins: SizeBins) -> ImageSums:
    """Return the sums of each image's rows that the headline values need.

    Args:
        tables: Scores of N images.
        bins: Size bins.
    """
    n, classes, sizes = len(tables.image_ids), tables.n_classes, len(bins.names)
    with_boundary = tables.options.boundary
    widths = _widths(classes, sizes, with_boundary)
    first = np.cumsum(widths) - widths
    found: list[tuple[npt.NDArray[np.int64], Values]] = []

    def add(block: int, column: npt.NDArray[Any], image: npt.NDArray[Any], value: Any) -> None:
        # One entry per sum and image; rows of one image are added in their order.
        values = np.broadcast_to(np.asarray(value, np.float64), image.shape)
        code = (first[block] + column.astype(np.int64)) * max(n, 1) + image
        codes, place = np.unique(code, return_inverse=True)
        sums = np.bincount(place, values, codes.size).astype(np.float64, copy=False)
        if codes.size:
            found.append((codes, sums))

    rows, image = tables.instances, tables.instance_image
    class_index = rows["class_id"].astype(np.int64) - 1
    value = ia_iou(rows)
    for place in (np.zeros(rows.size, np.int64), tables.instance_sizes(bins) + 1):
        add(0, place * classes + class_index, image, value)
        add(1, place * classes + class_index, image, 1)
        if with_boundary:
            add(8, place * classes + class_index, image, boundary_iou(rows))

    regions, image = tables.regions, tables.region_image
    precise = 2 * regions["matched"].astype(np.int64) >= regions["area"]
    for place in (np.zeros(regions.size, np.int64), tables.region_sizes(bins) + 1):
        add(3, place, image, precise)
        add(4, place, image, 1)

    rows, image = tables.classes, tables.class_image
    class_id = rows["class_id"].astype(np.int64)
    matched = rows["matched_pixels"].astype(np.int64)
    union = rows["true_pixels"].astype(np.int64) + rows["predicted_pixels"] - matched
    add(5, class_id, image, rows["true_pixels"])
    add(6, class_id, image, union)
    add(7, class_id, image, matched)
    some = (class_id == 0) & (rows["true_pixels"] > 0)
    add(2, np.zeros(int(some.sum()), np.int64), image[some], matched[some] / union[some])
    add(2, np.ones(int(some.sum()), np.int64), image[some], 1)

    found.sort(key=lambda entry: int(entry[0][0]))  # the ranges of codes do not overlap
    codes = np.concatenate([np.empty(0, np.int64), *(codes for codes, _ in found)])
    data = np.concatenate([np.empty(0), *(sums for _, sums in found)])
    columns, images = np.divmod(codes, max(n, 1))
    indptr = np.searchsorted(columns, np.arange(widths.sum() + 1))
    return ImageSums(
        indptr.astype(np.int64), images.astype(np.int64), data, classes, sizes, with_boundary
    )


def _widths(classes: int, sizes: int, with_boundary: bool) -> npt.NDArray[np.int64]:
    """Return the number of sums in each attribute of :class:`Sums`, in their order."""
    cells, pixels = (1 + sizes) * classes, classes + 1
    widths = [cells, cells, 2, 1 + sizes, 1 + sizes, pixels, pixels, pixels]
    return np.array(widths + [cells] * with_boundary)


def ratio(part: Values, whole: Values) -> Values:
    """Return part / whole elementwise, NaN if the whole is 0."""
    values: Values = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return values


def mean_of_rows(values: Values, present: npt.NDArray[np.bool_]) -> Values:
    """Return the mean over the rows that are present, for each column; NaN if none is."""
    return ratio(add_rows(np.where(present, values, 0.0)), present.sum(axis=0).astype(np.float64))


def add_rows(values: Values) -> Values:
    """Return the sum of the rows, for each column."""
    total = np.zeros(values.shape[1])
    for row in values:  # one after the other: numpy does not guarantee the order of a sum
        total += row
    return total
