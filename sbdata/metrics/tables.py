"""The sorted rows of all scored images; every value is computed from these tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.metrics.image import MetricOptions, boundary_iou, ia_iou
from sbdata.metrics.outcomes import OUTCOMES, outcome_index
from sbdata.sizes import SizeBins

Columns = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ScoreTables:
    """Rows sorted by image_id, so that values do not depend on the order of the scoring.

    Each of the three tables has an index array with the position of each row's image in
    ``image_ids``.

    Attributes:
        options: Metric options.
        n_classes: Number of foreground classes, C.
        image_ids: Image ids, sorted.
        image_pixels: Height times width of each image, int64; 0 if not known.
        confusion: Pixel counts over all images, int64 ``(C + 1, C + 1)``, true class by predicted
            class.
        instance_image: Image index of each row of ``instances``, int32.
        instances: Rows of type ``INSTANCE_ROW``, within an image sorted by instance_id.
        region_image: Image index of each row of ``regions``, int32.
        regions: Rows of type ``REGION_ROW``, within an image in scan order.
        class_image: Image index of each row of ``classes``, int32.
        classes: Rows of type ``CLASS_ROW``, within an image sorted by class.
    """

    options: MetricOptions
    n_classes: int
    image_ids: tuple[str, ...]
    image_pixels: npt.NDArray[np.int64]
    confusion: npt.NDArray[np.int64]
    instance_image: npt.NDArray[np.int32]
    instances: npt.NDArray[np.void]
    region_image: npt.NDArray[np.int32]
    regions: npt.NDArray[np.void]
    class_image: npt.NDArray[np.int32]
    classes: npt.NDArray[np.void]

    def instance_sizes(self, bins: SizeBins) -> npt.NDArray[np.int64]:
        """Return the index of the size of each row of ``instances``.

        Raises:
            InputError: If the sizes need the images' pixels, and these are not known.
        """
        return self._sizes(bins, self.instances, self.instance_image)

    def region_sizes(self, bins: SizeBins) -> npt.NDArray[np.int64]:
        """Return the index of the size of each row of ``regions``, by the region's own area.

        Raises:
            InputError: If the sizes need the images' pixels, and these are not known.
        """
        return self._sizes(bins, self.regions, self.region_image)

    def _sizes(
        self, bins: SizeBins, rows: npt.NDArray[np.void], image: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int64]:
        known = bins.relative and self.image_pixels.all()
        pixels = self.image_pixels[image] if known else None
        return bins.index(rows["area"], rows["class_id"], pixels)

    def instance_columns(self, bins: SizeBins, class_names: Sequence[str]) -> Columns:
        """Return the columns of a table with one row per ground-truth instance.

        Args:
            bins: Size bins.
            class_names: Names of the classes 1..C.
        """
        rows = self.instances
        return {
            **self._head(self.instance_image, rows, "instance_id", class_names),
            "area": rows["area"],
            "size": _names(bins.names)[self.instance_sizes(bins)],
            "tp": rows["tp"],
            "fp": rows["fp"],
            "ia_iou": ia_iou(rows),
            "recall": rows["tp"] / rows["area"],
            "met_regions": rows["met_regions"],
            "outcome": _names(OUTCOMES)[outcome_index(rows)],
            "other_class": _names(("", *class_names))[rows["other_class"]],
            "other_pixels": rows["other_pixels"],
            **({"boundary_iou": boundary_iou(rows)} if self.options.boundary else {}),
        }

    def region_columns(self, bins: SizeBins, class_names: Sequence[str]) -> Columns:
        """Return the columns of a table with one row per predicted region.

        Args:
            bins: Size bins.
            class_names: Names of the classes 1..C.
        """
        rows = self.regions
        return {
            **self._head(self.region_image, rows, "region", class_names),
            "area": rows["area"],
            "size": _names(bins.names)[self.region_sizes(bins)],
            "matched": rows["matched"],
            "met_instances": rows["met_instances"],
        }

    def confusion_columns(self, class_names: Sequence[str]) -> Columns:
        """Return the columns of a table with one row per pair of true and predicted class.

        ``share`` is the share of the true class's pixels, NaN if it has none.

        Args:
            class_names: Names of the classes 1..C.
        """
        names, side = _names(("background", *class_names)), len(self.confusion)
        true, predicted = np.divmod(np.arange(side * side), side)
        total = self.confusion.sum(axis=1)[true]
        pixels = self.confusion.ravel()
        return {
            "true_id": true,
            "true_class": names[true],
            "predicted_id": predicted,
            "predicted_class": names[predicted],
            "pixels": pixels,
            "share": np.where(total > 0, pixels / np.maximum(total, 1), np.nan),
        }

    def _head(
        self,
        image: npt.NDArray[np.int32],
        rows: npt.NDArray[np.void],
        number: str,
        class_names: Sequence[str],
    ) -> Columns:
        return {
            "image_id": _names(self.image_ids)[image],
            number: rows[number],
            "class_id": rows["class_id"],
            "class_name": _names(("background", *class_names))[rows["class_id"]],
        }


def _names(names: Sequence[str]) -> npt.NDArray[np.object_]:
    return np.array(names, dtype=object)
