"""``ia_iou.v1`` counts by cc3d and numpy: the array path that the compiled pass was tried against.

Many times slower than the package's own pass, but quick enough for maps of real size, where the
sets of ``ia_iou.py`` are not.
"""

from __future__ import annotations

import cc3d
import numpy as np

VOID = 255


def score(prediction, class_map, instance_map, classes, n_classes, *, connectivity=8):
    """Score one image with ``share="area"``; the arguments are as in ``ia_iou.score``.

    Returns:
        ``instances`` as {number: (area, tp, fp, touched components)}, ``components`` as sorted rows
        of class, area, matched, touched instances and false pixels, and the confusion matrix.
    """
    counted = class_map != VOID
    labels = cc3d.connected_components(prediction, connectivity=connectivity).astype(np.int64)
    m = int(labels.max()) + 1
    class_of = np.zeros(m, np.int64)
    class_of[labels.ravel()] = prediction.ravel()
    area = np.bincount(labels[counted], minlength=m)
    matched = np.bincount(labels[counted & (prediction == class_map)], minlength=m)
    number_class = np.full(int(instance_map.max()) + 1, -1)
    for i, c in classes.items():
        number_class[i] = c
    on_own = counted & (number_class[instance_map] == prediction) & (prediction > 0)
    inside = np.bincount(labels[on_own], minlength=m)
    false = area - inside
    n = number_class.size
    codes, overlap = np.unique(labels[on_own] * n + instance_map[on_own], return_counts=True)
    pairs = np.divmod(codes, n)
    size = np.bincount(instance_map[counted].astype(np.int64), minlength=n)
    touched = np.bincount(pairs[0], minlength=m)
    neighbours_area = np.bincount(pairs[0], weights=size[pairs[1]], minlength=m)
    instances = {}
    for i in classes:
        mine = pairs[1] == i
        parts = pairs[0][mine]
        fp = (false[parts] * size[i] / neighbours_area[parts]).sum()
        instances[i] = (int(size[i]), int(overlap[mine].sum()), float(fp), int(mine.sum()))
    chosen = (class_of > 0) & (area > 0)
    components = np.stack([class_of, area, matched, touched, false], axis=1)[chosen]
    code = class_map[counted].astype(np.int64) * (n_classes + 1) + prediction[counted]
    confusion = np.bincount(code, minlength=(n_classes + 1) ** 2)
    return {
        "instances": instances,
        "components": sorted(map(tuple, components.tolist())),
        "confusion": confusion.reshape(n_classes + 1, n_classes + 1),
    }
