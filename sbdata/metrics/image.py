"""One image scored: ``ia_iou.v1`` rows of its instances and components, and its class counts.

The definition is drawn and worked through in ``docs/metric.md``. It is this project's reading of
the instance-aware IoU of Mun et al., "Small Objects Matters in Weakly-Supervised Semantic
Segmentation" (WACV 2024).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.metrics import kernel
from sbdata.metrics.truth import ImageTruth, as_class_map, check_connectivity, flat

METRIC = "ia_iou.v1"
SHARES = ("area", "equal", "all")
MAX_CLASSES = 254

INSTANCE_ROW = np.dtype(
    [
        ("instance_id", np.int32),
        ("class_id", np.uint8),
        ("area", np.int32),
        ("tp", np.int32),
        ("fp", np.float64),
        ("touched_components", np.int32),
    ]
)
"""One ground-truth instance: its pixels, those predicted as its class, and its share of the
pixels that the touching components have outside every instance."""

COMPONENT_ROW = np.dtype(
    [
        ("component", np.int32),
        ("class_id", np.uint8),
        ("area", np.int32),
        ("matched", np.int32),
        ("touched_instances", np.int32),
        ("false_pixels", np.int32),
    ]
)
"""One predicted component, numbered from 1 by its first pixel: its pixels, those whose true class
is its own, and those outside every instance of its class."""

CLASS_ROW = np.dtype(
    [
        ("class_id", np.uint8),
        ("true_pixels", np.int32),
        ("predicted_pixels", np.int32),
        ("matched_pixels", np.int32),
        ("false_pixels", np.int32),
        ("orphan_pixels", np.int32),
        ("orphan_components", np.int32),
        ("components", np.int32),
    ]
)
"""One class (0 is background) that is true or predicted somewhere in the image."""


@dataclass(frozen=True)
class MetricOptions:
    """What about ``ia_iou.v1`` can be chosen; the defaults are version 1.

    Attributes:
        connectivity: 8, or 4 to part components that meet at corners only.
        share: how the instances that a component touches share its false pixels: ``"area"`` in
            proportion to their areas, ``"equal"`` alike, ``"all"`` every one pays all of them.
        predicted_void: whether a prediction may hold 255; such a pixel is read as background.

    Raises:
        InputError: for any other value.
    """

    connectivity: int = 8
    share: str = "area"
    predicted_void: bool = False

    def __post_init__(self) -> None:
        check_connectivity(self.connectivity)
        if self.share not in SHARES:
            msg = f"share must be one of {', '.join(SHARES)}, not {self.share!r}"
            raise InputError(msg)

    def as_dict(self) -> dict[str, Any]:
        """Return the options as they are written into results."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class ImageScore:
    """Everything that is counted in one image; void pixels are in no number.

    Attributes:
        options: it was counted with.
        confusion: int64 ``(C + 1, C + 1)`` pixel counts, true class by predicted class.
        instances: rows of type ``INSTANCE_ROW``, in the order of the truth.
        components: rows of type ``COMPONENT_ROW``, in scan order.
        classes: rows of type ``CLASS_ROW``, by class.
    """

    options: MetricOptions
    confusion: npt.NDArray[np.int64]
    instances: npt.NDArray[np.void]
    components: npt.NDArray[np.void]
    classes: npt.NDArray[np.void]

    @property
    def ia_iou(self) -> npt.NDArray[np.float64]:
        """Return the instance-aware IoU of each instance."""
        return ia_iou(self.instances)


def ia_iou(instances: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    """Return TP / (area + FP) of rows of type ``INSTANCE_ROW``."""
    values: npt.NDArray[np.float64] = instances["tp"] / (instances["area"] + instances["fp"])
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
        prediction: ``(H, W)`` integers; 0 background, 1..n_classes, and 255 where the options
            allow it.
        truth: of the same size.
        n_classes: the number of foreground classes, C.
        options: of the metric.

    Raises:
        InputError: if the prediction has another size or holds something that is no class, if a
            pixel of an instance has another class than the instance, or if an instance has no
            pixel outside void (it has no area to be measured by; leave it out).

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
        fault, place, confusion, area, matched, component_class, component_area, on_class, inside,
        touched, pair_component, pair_instance, by_class,
    ) = kernel.count_image(
        flat(prediction), flat(truth.class_map), flat(truth.instance_map), prediction.shape[1],
        truth.index_of, truth.class_ids, n_classes, int(options.connectivity == 8),
        options.predicted_void,
    )  # fmt: skip
    if fault:
        raise _explain(fault, place, prediction, truth, n_classes)
    if not area.all():
        number = int(truth.instance_ids[np.flatnonzero(area == 0)[0]])
        msg = f"instance {number} has no pixel outside void; leave it out or correct the maps"
        raise InputError(msg)

    false = component_area - inside
    instances = np.empty(area.size, INSTANCE_ROW)
    instances["instance_id"] = truth.instance_ids
    instances["class_id"] = truth.class_ids
    instances["area"] = area
    instances["tp"] = matched
    instances["fp"] = _shared(pair_component, pair_instance, false, touched, area, options.share)
    instances["touched_components"] = np.bincount(pair_instance, minlength=area.size)

    components = np.empty(component_area.size, COMPONENT_ROW)
    components["component"] = np.arange(1, component_area.size + 1)
    components["class_id"] = component_class
    components["area"] = component_area
    components["matched"] = on_class
    components["touched_instances"] = touched
    components["false_pixels"] = false

    present = np.flatnonzero(by_class[:, kernel.TRUE_PIXELS] + by_class[:, kernel.PREDICTED])
    classes = np.empty(present.size, CLASS_ROW)
    classes["class_id"] = present
    for column, name in enumerate(CLASS_ROW.names[1:] if CLASS_ROW.names else ()):
        classes[name] = by_class[present, column]
    return ImageScore(options, confusion, instances, components, classes)


def _shared(
    pair_component: npt.NDArray[np.int32],
    pair_instance: npt.NDArray[np.int32],
    false: npt.NDArray[np.int32],
    touched: npt.NDArray[np.int32],
    area: npt.NDArray[np.int32],
    share: str,
) -> npt.NDArray[np.float64]:
    """Return the false pixels that each instance answers for.

    A component that touches one instance gives it whole pixels, and sums of those are exact in
    any order. The fractions of the others are added from the smallest up, so that the same pixels
    give the same bits however the instances are numbered or the image is turned.
    """
    n = area.size
    alone = touched[pair_component] == 1
    if share == "all" or alone.all():
        return _sums(pair_instance, false[pair_component], n)
    whole = _sums(pair_instance[alone], false[pair_component[alone]], n)
    i, j = pair_instance[~alone], pair_component[~alone]
    if share == "equal":
        parts = false[j] / touched[j]
    else:
        parts = false[j] * area[i].astype(np.int64) / _sums(j, area[i], false.size)[j]
    order = np.lexsort((parts, i))
    return whole + _sums(i[order], parts[order], n)


def _sums(places: npt.NDArray[Any], values: npt.NDArray[Any], n: int) -> npt.NDArray[np.float64]:
    """Return the sum of the values at each of n places, added in the order given."""
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
            kernel.PREDICTION_RANGE: f"the prediction holds class {int(prediction[y, x])} at x = "
            f"{x}, y = {y}; classes lie in 0..{n_classes}",
            kernel.PREDICTION_VOID: f"the prediction holds void (255) at x = {x}, y = {y}; predict "
            "a class there, or allow predicted void, which is then read as background",
            kernel.TRUTH_RANGE: f"the truth holds class {true} at x = {x}, y = {y}; classes lie in "
            f"0..{n_classes}",
            kernel.UNKNOWN_INSTANCE: f"the instance map holds number {number} at x = {x}, y = {y}, "
            "which is none of the instances; list it or clear it",
            kernel.OTHER_CLASS: f"instance {number} has a pixel of class {true} at x = {x}, y = "
            f"{y}, not of its own class; correct the maps",
        }[fault]
    )
