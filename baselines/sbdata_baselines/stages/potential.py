"""Potential objects: background that an earlier map takes for an object.

Yao et al., "Non-Salient Region Object Mining for Weakly Supervised Semantic Segmentation" (NS-ROM,
CVPR 2021), section 3.2: objects that do not stand out would be taught as background by saliency.
So pixels there become 255 that a class's map finds at least as strong as most of what was labelled
with it; and a second round of labels (section 3.3) looks for such objects near what a segmenter
found. Facts beyond the paper were read in the authors' code.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sbdata.masks import VOID, LabelMap
from sbdata_baselines.stages.maps import ClassMaps
from sbdata_baselines.stages.salient_scores import without_sparse


def without_potential_objects(labels: LabelMap, earlier: ClassMaps, spare: float) -> LabelMap:
    """Return labels whose background is 255 where a class may be.

    Args:
        labels: uint8 ``(H, W)``: classes, 0 background, 255 void.
        earlier: maps of the present classes.
        spare: see :func:`threshold_of`.
    """
    masked: LabelMap = labels.copy()
    for class_id, values in zip(earlier.classes, earlier.maps, strict=True):
        threshold = threshold_of(values, labels == class_id, spare)
        masked[(labels == 0) & (values > threshold)] = VOID
    return masked


def threshold_of(
    values: npt.NDArray[np.float32], labelled: npt.NDArray[np.bool_], spare: float
) -> float:
    """Return the value above which a map's pixel may belong to the class.

    The median of the map over the labelled pixels. If there are none: the median of what lies
    above the median of all values above ``spare``. If there are none either, 1.

    Args:
        values: ``(H, W)`` in [0, 1].
        labelled: ``(H, W)``, the pixels that were given the class.
        spare: see above.
    """
    if labelled.any():
        return float(np.median(values[labelled]))
    high = values[values > spare]
    if high.size:
        high = high[high > np.median(high)]
    return float(np.median(high)) if high.size else 1.0


def second_labels(
    predicted: LabelMap,
    labels: LabelMap,
    classes: tuple[int, ...],
    reach: int = 30,
    least: float = 0.01,
) -> LabelMap:
    """Return the labels of the second round.

    A photo of one class keeps the prediction. In one of several, predicted background takes the
    class of the first labels if they have one, and what lies further from all of both is 255.

    Args:
        predicted: uint8 ``(H, W)``, of a segmenter that learned the first labels.
        labels: the first labels.
        classes: numbers of the photo's classes.
        reach: side in pixels of the square by which what was found is dilated.
        least: share of the photo that must have a class, else all of it is 255; 0 keeps all.
    """
    if not classes:
        return predicted
    joined = predicted.copy()
    if len(classes) > 1:
        spared = (predicted == 0) & (labels != 0) & (labels != VOID)
        joined[spared] = labels[spared]
        found = ((predicted != 0) | (labels != 0)).astype(np.uint8)
        joined[ndimage.maximum_filter(found, size=reach, mode="constant") == 0] = VOID
    return without_sparse(joined, least)
