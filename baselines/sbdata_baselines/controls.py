"""Controls: pseudo-masks that ignore the photo's pixels, a lower bound for every method.

``labels-only`` draws an image's labels as vertical stripes: one stripe of equal width per present
class, in order of the class numbers from left to right. An image without labels is background. A
method that scores no better than this has not localised anything.
"""

from __future__ import annotations

import numpy as np

from sbdata.benchmark.stage import StageContext
from sbdata.masks import LabelMap
from sbdata_baselines.settings import NoSettings
from sbdata_baselines.stages.masks import write_pseudo_mask
from sbdata_baselines.stages.photos import pending


def striped(classes: tuple[int, ...], size: tuple[int, int]) -> LabelMap:
    """Return a mask of vertical stripes, one per class.

    >>> striped((2, 5), (1, 4)).tolist()
    [[2, 2, 5, 5]]
    """
    height, width = size
    if not classes:
        return np.zeros(size, np.uint8)
    stripe = np.arange(width) * len(classes) // width
    return np.tile(np.array(classes, np.uint8)[stripe], (height, 1))


def label_stripes(task: StageContext, settings: NoSettings) -> None:
    """Write the pseudo-mask ``<image_id>.png`` of each photo."""
    for row in pending(task, ".png"):
        write_pseudo_mask(task.folder, row.image_id, striped(row.classes, row.size))
