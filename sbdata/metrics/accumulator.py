"""Accumulate the scores of many images, in any order and on any number of workers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.metrics.image import (
    CLASS_ROW,
    INSTANCE_ROW,
    MAX_CLASSES,
    REGION_ROW,
    ImageScore,
    MetricOptions,
)
from sbdata.metrics.summary import Summary, summarise
from sbdata.metrics.tables import ScoreTables
from sbdata.sizes import SizeBins

_DEFAULT_OPTIONS = MetricOptions()
_DEFAULT_BINS = SizeBins()


class Accumulator:
    """Collection of :class:`ImageScore` by image, which merges with other ones without loss.

    All counts are integers, and all rows are sorted by image before a value is computed. So every
    order and every division of the images gives exactly the same values. Memory grows with the
    number of rows (about 30 bytes per instance or region), not of pixels. It can be pickled.

    Args:
        n_classes: Number of foreground classes, C.
        options: Metric options; scores made with others are refused.

    Raises:
        InputError: If the number of classes does not fit 8-bit maps.

    >>> from sbdata.metrics import score_image, truth_from_maps
    >>> truth = truth_from_maps(np.array([[1, 1, 0, 2]]), np.array([[1, 1, 0, 2]]))
    >>> half, other_half = Accumulator(2), Accumulator(2)
    >>> half.update("a", score_image(np.array([[1, 1, 0, 2]]), truth, 2))
    >>> other_half.update("b", score_image(np.array([[1, 1, 0, 0]]), truth, 2))
    >>> half.merge(other_half)
    >>> summary = half.compute()
    >>> summary.ia["ia_objects"].class_mean, summary.ia["ia_objects"].n_instances, summary.miou
    (0.75, 4, 0.7222222222222222)
    """

    def __init__(self, n_classes: int, options: MetricOptions = _DEFAULT_OPTIONS) -> None:
        if not 1 <= n_classes <= MAX_CLASSES:
            msg = f"the number of classes must lie in 1..{MAX_CLASSES}, not {n_classes}"
            raise InputError(msg)
        self.n_classes = n_classes
        self.options = options
        self._pixels: dict[str, int] = {}  # of each image
        self._confusion = np.zeros((n_classes + 1, n_classes + 1), np.int64)
        self._instances = _Rows(INSTANCE_ROW)
        self._regions = _Rows(REGION_ROW)
        self._classes = _Rows(CLASS_ROW)

    @classmethod
    def of_tables(cls, tables: ScoreTables) -> Accumulator:
        """Return the accumulator whose tables these are."""
        found = cls(tables.n_classes, tables.options)
        found._pixels = dict(zip(tables.image_ids, tables.image_pixels.tolist(), strict=True))
        found._confusion += tables.confusion
        for rows, image, values in (
            (found._instances, tables.instance_image, tables.instances),
            (found._regions, tables.region_image, tables.regions),
            (found._classes, tables.class_image, tables.classes),
        ):
            rows.append_all(np.bincount(image, minlength=len(tables.image_ids)), values)
        return found

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._pixels)

    def __contains__(self, image_id: str) -> bool:
        """Return whether an image was added."""
        return image_id in self._pixels

    def update(self, image_id: str, score: ImageScore) -> None:
        """Add the score of one image.

        Raises:
            InputError: If the image was added before, or the score was made with other options or
                another number of classes.
        """
        if image_id in self._pixels:
            raise _twice(image_id)
        if score.options != self.options or score.confusion.shape != self._confusion.shape:
            msg = (
                f"image {image_id} was scored for {len(score.confusion) - 1} classes with "
                f"{score.options}, not for {self.n_classes} with {self.options}; score it again"
            )
            raise InputError(msg)
        self._pixels[image_id] = score.pixels
        self._confusion += score.confusion
        by_number = np.argsort(score.instances["instance_id"], kind="stable")
        self._instances.append(score.instances[by_number])
        self._regions.append(score.regions)
        self._classes.append(score.classes)

    def merge(self, other: Accumulator) -> None:
        """Add everything that another accumulator holds; the other one is not changed.

        Raises:
            InputError: If both hold the same image, or they differ in options or classes.
        """
        if (other.n_classes, other.options) != (self.n_classes, self.options):
            msg = (
                f"scores for {other.n_classes} classes with {other.options} cannot be merged into "
                f"those for {self.n_classes} with {self.options}; score all images alike"
            )
            raise InputError(msg)
        for image_id in other._pixels:
            if image_id in self._pixels:
                raise _twice(image_id)
        self._pixels.update(other._pixels)
        self._confusion += other._confusion
        self._instances.extend(other._instances)
        self._regions.extend(other._regions)
        self._classes.extend(other._classes)

    def tables(self) -> ScoreTables:
        """Return all rows, sorted by image_id and, within an image, by number or class."""
        ids = np.array(list(self._pixels), dtype=object)
        order = np.argsort(ids, kind="stable")
        instance_image, instances = self._instances.in_order(order)
        region_image, regions = self._regions.in_order(order)
        class_image, classes = self._classes.in_order(order)
        return ScoreTables(
            options=self.options,
            n_classes=self.n_classes,
            image_ids=tuple(ids[order]),
            image_pixels=np.array(list(self._pixels.values()), np.int64)[order],
            confusion=self._confusion.copy(),
            instance_image=instance_image,
            instances=instances,
            region_image=region_image,
            regions=regions,
            class_image=class_image,
            classes=classes,
        )

    def compute(self, bins: SizeBins = _DEFAULT_BINS) -> Summary:
        """Return all values of the images so far; see :func:`summarise`."""
        return summarise(self.tables(), bins)


class _Rows:
    """Rows of one type, appended image by image."""

    def __init__(self, row: np.dtype[np.void]) -> None:
        self._counts: list[int] = []
        self._used = 0
        self._buffer = np.empty(64, row)

    def append(self, rows: npt.NDArray[np.void]) -> None:
        """Add the rows of one image."""
        self._counts.append(rows.size)
        self._write(rows)

    def append_all(self, counts: npt.NDArray[np.int64], rows: npt.NDArray[np.void]) -> None:
        """Add the rows of several images, of which each has a number of them."""
        self._counts.extend(counts.tolist())
        self._write(rows)

    def extend(self, other: _Rows) -> None:
        """Add the images of another object."""
        self._counts.extend(other._counts)
        self._write(other._buffer[: other._used])

    def _write(self, rows: npt.NDArray[np.void]) -> None:
        end = self._used + rows.size
        if end > self._buffer.size:
            larger = np.empty(max(end, 2 * self._buffer.size), self._buffer.dtype)
            larger[: self._used] = self._buffer[: self._used]
            self._buffer = larger
        self._buffer[self._used : end] = rows
        self._used = end

    def in_order(
        self, images: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.void]]:
        """Return the index in ``images`` of each row's image, and the rows in that order."""
        counts = np.array(self._counts, np.int64)
        first = np.cumsum(counts) - counts
        counts, first = counts[images], first[images]
        shift = first - (np.cumsum(counts) - counts)
        image = np.repeat(np.arange(counts.size, dtype=np.int32), counts)
        return image, self._buffer[shift[image] + np.arange(image.size)]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickling, without the unused part of the buffer."""
        return {**self.__dict__, "_buffer": self._buffer[: self._used]}


def _twice(image_id: str) -> InputError:
    return InputError(f"image {image_id} was scored twice; give every image once")
