"""Boundary IoU of each true instance, as an option of the metric.

The boundary of a mask, its width and the ratio are those of Cheng, Girshick, Dollár, Berg and
Kirillov, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation" (CVPR 2021). Which
predicted pixels are compared with an instance is this package's own choice, because a semantic
prediction has no instances; ``docs/definitions/metric.md`` states it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sbdata.metrics.codes import INSTANCE_VOID, VOID
from sbdata.metrics.truth import ImageTruth

FRACTION = 0.02
"""Width of a boundary as a fraction of the image's diagonal."""

Labels = npt.NDArray[np.int32]


def boundary_width(height: int, width: int) -> int:
    """Return the width d of a boundary in pixels: 2 % of the diagonal, rounded, at least 1.

    >>> boundary_width(375, 500), boundary_width(10, 10)
    (12, 1)
    """
    return max(1, round(FRACTION * math.hypot(height, width)))


def boundary_pixels(
    prediction: npt.NDArray[np.uint8], truth: ImageTruth
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the boundary pixels of each instance and of the predicted pixels assigned to it.

    Args:
        prediction: Class map ``(H, W)``, already checked.
        truth: Ground truth of the same size, already checked.

    Returns:
        For each instance, the pixels in both boundaries and those in at least one, int64 ``(n,)``.
    """
    n = truth.instance_ids.size
    place = np.take(truth.index_of, truth.instance_map, mode="clip")
    real = (truth.class_map != VOID) & (place != INSTANCE_VOID)
    true = np.where(real & (place >= 0), place + 1, 0).astype(np.int32)
    class_map = np.where(real, truth.class_map, VOID)
    assigned = _assigned(prediction, true, class_map, np.unique(truth.class_ids))
    d = boundary_width(*true.shape)
    of_true, of_assigned = (np.where(_near_edge(x, d), x, 0) for x in (true, assigned))
    shared = np.bincount(of_true[of_true == of_assigned], minlength=n + 1)[1:]
    sizes = [np.bincount(x.ravel(), minlength=n + 1)[1:] for x in (of_true, of_assigned)]
    return shared, sizes[0] + sizes[1] - shared


def _assigned(
    prediction: npt.NDArray[np.uint8],
    true: Labels,
    class_map: npt.NDArray[np.uint8],
    class_ids: npt.NDArray[np.uint8],
) -> Labels:
    """Return the number of the instance that each predicted pixel is assigned to, 0 if none."""
    from scipy import ndimage  # slow to import

    found = np.zeros_like(true)
    for class_id in class_ids:
        predicted = prediction == class_id
        rows, columns = predicted.any(axis=1).nonzero()[0], predicted.any(axis=0).nonzero()[0]
        if not rows.size:
            continue
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        predicted, here, own = predicted[part], class_map[part], found[part]
        hit = np.where(predicted & (here == class_id), true[part], 0)
        np.maximum(own, hit, out=own)
        false = predicted & (here != class_id) & (here != VOID)
        # Regions as the metric has them: by outer outline, before void is left out.
        regions, _ = ndimage.label(_filled(predicted), np.ones((3, 3), int))
        for region, box in enumerate(ndimage.find_objects(regions), start=1):
            inside = regions[box] == region
            free, met = false[box] & inside, np.where(inside, hit[box], 0)
            if free.any() and met.any():
                own[box][free] = _nearest(met)[free]
    return found


def _nearest(labels: Labels) -> Labels:
    """Return the label that is nearest to each pixel, the lowest of several; 0 is no label."""
    from scipy import ndimage

    if (numbers := np.unique(labels[labels > 0])).size == 1:
        return np.full_like(labels, numbers[0])
    nearest = np.zeros_like(labels)
    least = np.full(labels.shape, np.iinfo(np.int32).max, np.int32)
    for label in numbers:
        distance = ndimage.distance_transform_cdt(labels != label, metric="chessboard")
        nearer = distance < least
        nearest[nearer], least[nearer] = label, distance[nearer]
    return nearest


def _filled(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return a mask with its holes: background from which no 4-connected path leads outside."""
    from scipy import ndimage

    parts, count = ndimage.label(np.pad(~mask, 1, constant_values=True))
    if count == 1:
        return mask
    found: npt.NDArray[np.bool_] = (parts != parts[0, 0])[1:-1, 1:-1]
    return found


def _near_edge(labels: Labels, d: int) -> npt.NDArray[np.bool_]:
    """Return where another label, or the outside of the image, is within d pixels of a pixel.

    Distance is the larger of the horizontal and the vertical one, as in the code of Cheng et al.
    """
    from scipy import ndimage

    height, width = labels.shape
    padded = np.pad(labels, 1, constant_values=-1)
    inner = np.ones(labels.shape, bool)  # where all eight neighbours have the same label
    for y, x in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        inner &= padded[y : y + height, x : x + width] == labels
    # From a pixel beside another label, that label is one step further.
    found: npt.NDArray[np.bool_] = ~inner
    if d > 1 and found.any():
        found |= ndimage.distance_transform_cdt(inner, metric="chessboard") <= d - 1
    return found
