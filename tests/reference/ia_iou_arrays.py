"""``ia_iou.v2`` by scipy.ndimage and numpy, quick enough for maps of real size.

The sets of ``ia_iou.py`` are not. Nothing here is shared with the package.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

VOID = 255
SIDES = ndimage.generate_binary_structure(2, 1)
SIDES_AND_CORNERS = ndimage.generate_binary_structure(2, 2)


def label_regions(prediction, n_classes):
    """Number the regions of all foreground classes; return the map and the class of each number."""
    labels, class_of = np.zeros(prediction.shape, np.int64), [0]
    for c in range(1, n_classes + 1):
        pixels = prediction == c
        if pixels.any():
            filled = ndimage.binary_fill_holes(pixels, structure=SIDES)
            parts, count = ndimage.label(filled, structure=SIDES_AND_CORNERS)
            labels[pixels] = parts[pixels] + len(class_of) - 1
            class_of += [c] * count
    return labels, np.array(class_of)


def score(
    prediction,
    class_map,
    instance_map,
    classes,
    n_classes,
    *,
    fp_attribution="overlap",
    rounding="floor",
):
    """Score one image; the arguments are arrays and otherwise as in ``ia_iou.score``.

    Returns:
        ``instances`` as {number: (area, tp, fp, met regions)}, ``regions`` as sorted rows of class,
        area, matched and met instances, the ``confusion`` matrix, and the IoU of the ``background``
        or None.
    """
    prediction = np.where(prediction == VOID, 0, prediction)
    real = class_map != VOID
    if VOID not in classes:
        real &= instance_map != VOID
    labels, class_of = label_regions(prediction, n_classes)
    m = class_of.size
    area = np.bincount(labels[real], minlength=m)
    matched = np.bincount(labels[real & (prediction == class_map)], minlength=m)
    false = area - matched
    met = np.zeros(m, np.int64)
    met_area = np.zeros(m, np.int64)
    size, hits = {}, {}
    for i, c in classes.items():
        mine = real & (instance_map == i)
        size[i] = int(mine.sum())
        hits[i] = np.bincount(labels[mine & (prediction == c)], minlength=m)
        met += hits[i] > 0
        met_area += np.where(hits[i] > 0, size[i], 0)
    instances = {}
    for i, pixels in hits.items():
        r = np.flatnonzero(pixels)
        share = {
            "overlap": pixels[r] / matched[r],
            "area": size[i] / met_area[r],
            "equal": 1 / met[r],
            "all": np.ones(r.size),
        }[fp_attribution]
        parts = share * false[r]
        fp = float(np.floor(parts).sum() if rounding == "floor" else parts.sum())
        instances[i] = (size[i], int(pixels.sum()), fp, r.size)
    chosen = (class_of > 0) & (area > 0)
    regions = np.stack([class_of, area, matched, met], axis=1)[chosen]
    code = class_map[real].astype(np.int64) * (n_classes + 1) + prediction[real]
    confusion = np.bincount(code, minlength=(n_classes + 1) ** 2).reshape(n_classes + 1, -1)
    union = confusion[0].sum() + confusion[:, 0].sum() - confusion[0, 0]
    return {
        "instances": instances,
        "regions": sorted(map(tuple, regions.tolist())),
        "confusion": confusion,
        "background": confusion[0, 0] / union if confusion[0].any() else None,
    }
