"""Score one image: ``ia_iou.v2`` rows of its instances and regions, and its class counts.

``docs/definitions/metric.md`` explains the definition with examples. It is the one in the code that
Mun et al. released for "Small Objects Matters in Weakly-Supervised Semantic Segmentation"
(WACV 2024): Cheolhyun-Mun/wsss_small_object_matters at commit 629dd2c, ``libs/utils/metric.py``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.metrics import codes
from sbdata.metrics.kernel import count_image
from sbdata.metrics.truth import ImageTruth, as_class_map, flat

METRIC = "ia_iou.v2"
FP_ATTRIBUTIONS = ("overlap", "area", "equal", "all")
ROUNDINGS = ("floor", "exact")
MAX_CLASSES = 254

INSTANCE_ROW = np.dtype(
    [
        ("instance_id", np.int32),
        ("class_id", np.uint8),
        ("area", np.int32),
        ("tp", np.int32),
        ("fp", np.float64),
        ("met_regions", np.int32),
        ("other_class", np.uint8),
        ("other_pixels", np.int32),
        ("boundary_shared", np.int32),
        ("boundary_union", np.int32),
    ]
)
"""Row type of one true instance: its pixels, the number of them predicted as its class, its part of
the false pixels of the regions that meet it, and the other foreground class that most of its pixels
are predicted as (0 if there is none), with their number; then the pixels in both boundaries, and in
at least one, of the instance and of what is predicted for it (both 0 if not measured)."""

REGION_ROW = np.dtype(
    [
        ("region", np.int32),
        ("class_id", np.uint8),
        ("area", np.int32),
        ("matched", np.int32),
        ("met_instances", np.int32),
    ]
)
"""Row type of one predicted region, numbered from 1 by its first pixel: its pixels, the number of
them whose true class is the region's, and the number of instances of its class that it meets. The
other pixels are its false ones."""

CLASS_ROW = np.dtype(
    [
        ("class_id", np.uint8),
        ("true_pixels", np.int32),
        ("predicted_pixels", np.int32),
        ("matched_pixels", np.int32),
        ("false_pixels", np.int32),
        ("orphan_pixels", np.int32),
        ("orphan_false_pixels", np.int32),
        ("orphan_regions", np.int32),
        ("regions", np.int32),
    ]
)
"""Row type of one class (0 is background) that is true or predicted somewhere in the image."""


@dataclass(frozen=True)
class MetricOptions:
    """The options of ``ia_iou.v2``; the defaults are the released definition.

    Attributes:
        fp_attribution: Rule that divides the false pixels of a region among the instances that it
            meets: ``"overlap"`` in proportion to the common pixels, relative to all pixels of the
            region on its class; ``"area"`` in proportion to the instances' areas; ``"equal"`` in
            equal parts; ``"all"`` attributes all of them to every instance.
        rounding: Rounding of each part: ``"floor"`` rounds down to whole pixels, ``"exact"`` does
            not round.
        predicted_void: Whether a prediction may hold 255; such a pixel is read as background.
        boundary: Whether Boundary IoU is measured too; it takes several times as long.

    Raises:
        InputError: If a value is not valid; the message names the valid ones.
    """

    fp_attribution: str = "overlap"
    rounding: str = "floor"
    predicted_void: bool = False
    boundary: bool = False

    def __post_init__(self) -> None:
        for name, value, valid in (
            ("fp_attribution", self.fp_attribution, FP_ATTRIBUTIONS),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            if value not in valid:
                msg = f"{name} must be one of {', '.join(valid)}, not {value!r}"
                raise InputError(msg)

    def as_dict(self) -> dict[str, Any]:
        """Return the options as they are written into results."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class ImageScore:
    """All counts of one image; void pixels are not counted.

    Attributes:
        options: Options that the image was scored with.
        confusion: Pixel counts, int64 ``(C + 1, C + 1)``, true class by predicted class.
        instances: Rows of type ``INSTANCE_ROW``, in the order of the truth.
        regions: Rows of type ``REGION_ROW``, in scan order.
        classes: Rows of type ``CLASS_ROW``, by class.
        pixels: Height times width of the image, void included; sizes may be relative to it.
    """

    options: MetricOptions
    confusion: npt.NDArray[np.int64]
    instances: npt.NDArray[np.void]
    regions: npt.NDArray[np.void]
    classes: npt.NDArray[np.void]
    pixels: int

    @property
    def ia_iou(self) -> npt.NDArray[np.float64]:
        """Return the instance-aware IoU of each instance."""
        return ia_iou(self.instances)


def ia_iou(instances: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    """Return TP / (area + FP) of rows of type ``INSTANCE_ROW``."""
    values: npt.NDArray[np.float64] = instances["tp"] / (instances["area"] + instances["fp"])
    return values


def boundary_iou(instances: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    """Return the Boundary IoU of rows of type ``INSTANCE_ROW``, measured with ``boundary``."""
    values: npt.NDArray[np.float64] = instances["boundary_shared"] / instances["boundary_union"]
    return values


_DEFAULT = MetricOptions()


def score_image(
    prediction: npt.NDArray[Any],
    truth: ImageTruth,
    n_classes: int,
    options: MetricOptions = _DEFAULT,
) -> ImageScore:
    """Compare one predicted class map with the truth.

    Args:
        prediction: Integers ``(H, W)``; 0 background, 1..n_classes, and 255 if the options allow
            it.
        truth: Ground truth of the same size.
        n_classes: Number of foreground classes, C.
        options: Metric options.

    Raises:
        InputError: If the prediction has another size or holds a number that is not a class, a
            pixel of an instance has another class than the instance, or an instance has no pixel
            outside void (it has no area; leave it out).

    >>> from sbdata.metrics import truth_from_maps
    >>> truth = truth_from_maps(np.array([[1, 1, 0, 0, 1, 1]]), np.array([[1, 1, 0, 0, 2, 2]]))
    >>> score = score_image(np.array([[0, 1, 1, 0, 1, 1]]), truth, n_classes=1)
    >>> score.ia_iou.tolist()  # the first: 1 of 2 pixels, and 1 false pixel beside them
    [0.3333333333333333, 1.0]
    """
    if not 1 <= n_classes <= MAX_CLASSES:
        msg = f"the number of classes must lie in 1..{MAX_CLASSES}, not {n_classes}"
        raise InputError(msg)
    prediction = as_class_map(prediction, "the prediction")
    if prediction.shape != truth.class_map.shape:
        (height, width), (true_height, true_width) = prediction.shape, truth.class_map.shape
        msg = (
            f"the prediction has {width} x {height} pixels and the truth {true_width} x "
            f"{true_height}; predict at the image's own size"
        )
        raise InputError(msg)
    (
        fault, place, confusion, area, matched, other_class, other_pixels, region_class,
        region_area, on_class, met, pair_region, pair_instance, pair_pixels, by_class,
    ) = count_image(
        flat(prediction), flat(truth.class_map), flat(truth.instance_map), prediction.shape[1],
        truth.index_of, truth.class_ids, n_classes, options.predicted_void,
    )  # fmt: skip
    if fault:
        raise _explain(fault, place, prediction, truth, n_classes)
    if not area.all():
        number = int(truth.instance_ids[np.flatnonzero(area == 0)[0]])
        msg = f"instance {number} has no pixel outside void; leave it out or correct the maps"
        raise InputError(msg)

    instances = np.empty(area.size, INSTANCE_ROW)
    instances["instance_id"] = truth.instance_ids
    instances["class_id"] = truth.class_ids
    instances["area"] = area
    instances["tp"] = matched
    shares = _shares(
        pair_region, pair_instance, pair_pixels, on_class, met, area, options.fp_attribution
    )
    false = shares * (region_area - on_class)[pair_region]
    instances["fp"] = _sums(
        pair_instance, np.floor(false) if options.rounding == "floor" else false, area.size
    )
    instances["met_regions"] = np.bincount(pair_instance, minlength=area.size)
    instances["other_class"] = other_class
    instances["other_pixels"] = other_pixels
    instances["boundary_shared"] = instances["boundary_union"] = 0
    if options.boundary:
        from sbdata.metrics.boundary import boundary_pixels

        instances["boundary_shared"], instances["boundary_union"] = boundary_pixels(
            prediction, truth
        )

    regions = np.empty(region_area.size, REGION_ROW)
    regions["region"] = np.arange(1, region_area.size + 1)
    regions["class_id"] = region_class
    regions["area"] = region_area
    regions["matched"] = on_class
    regions["met_instances"] = met

    present = np.flatnonzero(by_class[:, codes.TRUE_PIXELS] + by_class[:, codes.PREDICTED])
    classes = np.empty(present.size, CLASS_ROW)
    classes["class_id"] = present
    for column, name in enumerate(CLASS_ROW.names[1:] if CLASS_ROW.names else ()):
        classes[name] = by_class[present, column]
    return ImageScore(options, confusion, instances, regions, classes, prediction.size)


def _shares(
    pair_region: npt.NDArray[np.int32],
    pair_instance: npt.NDArray[np.int32],
    pair_pixels: npt.NDArray[np.int32],
    on_class: npt.NDArray[np.int32],
    met: npt.NDArray[np.int32],
    area: npt.NDArray[np.int32],
    fp_attribution: str,
) -> npt.NDArray[np.float64]:
    """Return the share of a region's false pixels attributed to each instance that it meets."""
    if fp_attribution == "overlap":  # on_class: in the instance, or on its class outside it
        return pair_pixels / on_class[pair_region]
    if fp_attribution == "area":
        areas = area[pair_instance]
        return areas / _sums(pair_region, areas, met.size)[pair_region]
    if fp_attribution == "equal":
        shares: npt.NDArray[np.float64] = 1 / met[pair_region]
        return shares
    return np.ones(pair_region.size)


def _sums(places: npt.NDArray[Any], values: npt.NDArray[Any], n: int) -> npt.NDArray[np.float64]:
    """Return the sum of the values at each of n indices; the order of the values does not matter.

    Whole numbers add up exactly. Fractions are added from the smallest up, so that the same pixels
    give the same bits, however the instances are numbered or the image is rotated.
    """
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        order = np.argsort(values, kind="stable")
        places, values = places[order], values[order]
    sums = np.bincount(places, weights=values, minlength=n)
    return sums.astype(np.float64, copy=False)


def _explain(
    fault: int, place: int, prediction: npt.NDArray[Any], truth: ImageTruth, n_classes: int
) -> InputError:
    y, x = divmod(int(place), prediction.shape[1])
    number = int(truth.instance_map[y, x])
    true = int(truth.class_map[y, x])
    return InputError(
        {
            codes.PREDICTION_RANGE: f"the prediction holds class {int(prediction[y, x])} at x = "
            f"{x}, y = {y}; classes lie in 0..{n_classes}",
            codes.PREDICTION_VOID: f"the prediction holds void (255) at x = {x}, y = {y}; predict "
            "a class there, or allow predicted void, which is then read as background",
            codes.TRUTH_RANGE: f"the truth holds class {true} at x = {x}, y = {y}; classes lie in "
            f"0..{n_classes}",
            codes.UNKNOWN_INSTANCE: f"the instance map holds number {number} at x = {x}, y = {y}, "
            "which is none of the instances; list it or clear it",
            codes.OTHER_CLASS: f"instance {number} has a pixel of class {true} at x = {x}, y = "
            f"{y}, not of its own class; correct the maps",
        }[fault]
    )
