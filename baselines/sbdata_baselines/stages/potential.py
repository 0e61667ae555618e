"""Potential objects: background pixels that may belong to an object according to an earlier map.

Yao et al., "Non-Salient Region Object Mining for Weakly Supervised Semantic Segmentation" (NS-ROM,
CVPR 2021), section 3.2: saliency labels objects that do not stand out as background. So background
pixels become 255 if a class's map there exceeds its median over the pixels labelled with the class.
A second round of labels (section 3.3) looks for such objects near the predictions of a segmentation
network. Details that the paper leaves open follow the authors' code.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sbdata.masks import VOID, LabelMap
from sbdata_baselines.stages.maps import ClassMaps, minmax_normalised
from sbdata_baselines.stages.salient_scores import without_sparse


def without_potential_objects(labels: LabelMap, earlier: ClassMaps, spare: float) -> LabelMap:
    """Return labels with background that may belong to a class replaced by 255.

    Args:
        labels: Labels, uint8 ``(H, W)``: a class, 0 for background, 255 for void.
        earlier: Maps of the present classes; each is stretched to [0, 1].
        spare: See :func:`threshold_of`.
    """
    masked: LabelMap = labels.copy()
    stretched = minmax_normalised(earlier.maps, eps=1e-8)
    for class_id, values in zip(earlier.classes, stretched, strict=True):
        threshold = threshold_of(values, labels == class_id, spare)
        masked[(labels == 0) & (values > threshold)] = VOID
    return masked


def threshold_of(
    values: npt.NDArray[np.float32], labelled: npt.NDArray[np.bool_], spare: float
) -> float:
    """Return the value above which a map's pixel may belong to the class.

    It is the median of the map over the labelled pixels. If the map is 0 there, or no pixel is
    labelled, it is, of the values above ``spare``, the median of those above their median; without
    such values, it is 1.

    Args:
        values: Map, ``(H, W)`` in [0, 1].
        labelled: Pixels labelled with the class, ``(H, W)``.
        spare: Value that a pixel must exceed if the map is 0 at all labelled pixels.
    """
    if values[labelled].any():
        return float(np.median(values[labelled]))
    high = values[values > spare]
    if high.size:
        high = high[high > np.median(high)]
    return float(np.median(high)) if high.size else 1.0


def second_labels(
    predicted: LabelMap,
    labels: LabelMap,
    salient: npt.NDArray[np.bool_],
    classes: tuple[int, ...],
    reach: int = 30,
    least: float = 0.01,
) -> LabelMap:
    """Return the labels of the second round.

    A photo of one class keeps the prediction. In a photo of several classes, predicted background
    takes the class of the first labels, if any; the background that is far from all objects and
    from everything salient becomes 255 (``gen_masked_label.py`` of the authors' code).

    Args:
        predicted: Prediction of a segmentation network trained on the first labels, uint8
            ``(H, W)``.
        labels: First labels.
        salient: Salient pixels, ``(H, W)``.
        classes: Class numbers of the photo.
        reach: Side in pixels of the square by which objects and salient pixels are dilated.
        least: Fraction of the photo that must have a class, else all of it is 255; 0 keeps all.
    """
    if not classes:
        return predicted
    joined = predicted.copy()
    if len(classes) > 1:
        spared = (predicted == 0) & (labels != 0) & (labels != VOID)
        joined[spared] = labels[spared]
        found = ((joined != 0) | salient).astype(np.uint8)
        joined[ndimage.maximum_filter(found, size=reach, mode="constant") == 0] = VOID
    return without_sparse(joined, least)
