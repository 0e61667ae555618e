"""Box masks: from the attribution maps of a photo's objects to its pseudo-mask.

Lee et al., "BBAM: Bounding Box Attribution Map for Weakly Supervised Semantic and Instance
Segmentation" (CVPR 2021). Two masks are made of each object: its foreground, of what is surely
needed, and a wide one. The band between the two is 255.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sbdata.masks import VOID, LabelMap
from sbdata.train.refine import Photo, Refiner
from sbdata.weak_labels.weak_set import Box
from sbdata_baselines.methods.bbam import BoxMaskSettings
from sbdata_baselines.stages.boxes import pixels_in
from sbdata_baselines.stages.maps import FloatMap

BoolMap = npt.NDArray[np.bool_]
Fit = Callable[[FloatMap], BoolMap]
"""From the values in a box, in [0, 1], to the pixels of the box that belong to the object."""


def clipped_values(values: FloatMap, theta: float) -> FloatMap:
    """Divide values by the one at rank ``1 - theta`` from the top, and cut them at 1.

    Args:
        values: ``(h, w)`` of a box, at least 0.
        theta: share of the box's pixels that lie below that value.

    >>> clipped_values(np.array([[0.125, 0.25, 0.5, 1]], np.float32), 0.75).tolist()
    [[0.25, 0.5, 1.0, 1.0]]
    """
    ranked = np.sort(values.ravel())[::-1]
    level = ranked[min(round((1 - theta) * values.size), values.size - 1)]
    divisor = max(float(level), float(np.finfo(np.float32).tiny))
    clipped: FloatMap = np.minimum(np.float64(values) / divisor, 1).astype(np.float32)
    return clipped


def blurred_values(values: FloatMap, box: Box, size: tuple[int, int], sigma: float) -> FloatMap:
    """Blur a box's values with the nothing around them, and stretch them to a maximum of 1.

    The kernel reaches one standard deviation to each side; the photo is mirrored at its rim.

    Args:
        values: ``(h, w)`` of the box.
        box: the box.
        size: height and width of the photo.
        sigma: standard deviation of the blur in pixels; is rounded.
    """
    reach = round(sigma)
    if reach < 1:
        return values
    around = [
        (min(box.y, reach), min(size[0] - box.y - box.height, reach)),
        (min(box.x, reach), min(size[1] - box.x - box.width, reach)),
    ]
    padded = np.pad(values, around)
    blurred = ndimage.gaussian_filter(padded, reach, mode="mirror", truncate=1.0)
    inner = blurred[
        around[0][0] : around[0][0] + box.height, around[1][0] : around[1][0] + box.width
    ]
    peak = float(inner.max())
    stretched: FloatMap = (inner / peak if peak > 0 else inner).astype(np.float32)
    return stretched


def fit_in(photo: Photo, box: Box, refine: Refiner | None, settings: BoxMaskSettings) -> Fit:
    """Return the function that fits a box's values to the photo.

    Args:
        photo: the photo.
        box: the box.
        refine: applied to the values and their complements; with None they stay as they are.
        settings: ``certain`` and ``margin``.
    """
    height, width = photo.shape[:2]
    margin = max(height, width) if settings.margin < 0 else settings.margin
    upper, left = max(box.y - margin, 0), max(box.x - margin, 0)
    cut = photo[upper : box.y + box.height + margin, left : box.x + box.width + margin]
    inner = np.s_[box.y - upper :, box.x - left :][:2]
    rows = slice(inner[0].start, inner[0].start + box.height)
    columns = slice(inner[1].start, inner[1].start + box.width)

    def fit(values: FloatMap) -> BoolMap:
        scores = np.zeros((2, *cut.shape[:2]), np.float32)
        scores[0, rows, columns] = values
        scores[1] = 1 - scores[0]
        fitted = scores if refine is None else refine(cut, scores)
        found: BoolMap = fitted[0, rows, columns] > settings.certain
        return found

    return fit


def object_mask(
    values: FloatMap, box: Box, size: tuple[int, int], theta: float, fit: Fit,
    settings: BoxMaskSettings,
) -> BoolMap:  # fmt: skip
    """Return the pixels of a box that belong to its object.

    A small object of which hardly a pixel is left is found again from a constant in its box, beside
    the pixels that are left.

    Args:
        values: ``(h, w)``, the object's attribution map in the box, in [0, 1]; zeros if the
            detector did not find it.
        box: its box.
        size: height and width of the photo.
        theta: see :func:`clipped_values`.
        fit: fits values to the photo.
        settings: settings of the masks.

    Returns:
        bool ``(h, w)``; all of the box if nothing else is left of an object that was not found.
    """
    nothing = np.zeros(values.shape, np.bool_)
    if not values.any():
        found = _filled(nothing, settings.empty_fills, settings.empty_enough, fit)
        return found if found.mean() > settings.empty_enough else ~nothing
    share = box.width * box.height / (size[0] * size[1])
    sigma = settings.blur[0] + settings.blur[1] * share**0.5
    found = fit(blurred_values(clipped_values(values, theta), box, size, sigma))
    if found.mean() > settings.least or share > settings.small:
        return found
    return _filled(found, settings.fills, settings.enough, fit)


def _filled(certain: BoolMap, fills: Sequence[float], enough: float, fit: Fit) -> BoolMap:
    """Fit constants, with 1 for certain pixels, until enough of the box is left; else the last."""
    found = certain
    for fill in fills:
        found = fit(np.where(certain, 1, fill).astype(np.float32))
        if found.mean() > enough:
            break
    return found


def merged_mask(
    boxes: Sequence[Box],
    foregrounds: Sequence[BoolMap],
    wides: Sequence[BoolMap],
    size: tuple[int, int],
) -> LabelMap:
    """Put the objects of a photo together.

    Pixels of two classes are 255. Objects whose box lies inside another one are then painted over
    the rest, those of smaller boxes last. At the end, what an object's wide mask has beyond its
    foreground is 255.

    Args:
        boxes: Boxes of the objects.
        foregrounds: pixels of each box that belong to its object, ``(h, w)``.
        wides: pixels of each box that may belong to it.
        size: height and width of the photo.

    Returns:
        uint8 ``(H, W)``: classes, 0 background, 255.
    """
    mask = np.zeros(size, np.uint8)
    for box, found in zip(boxes, foregrounds, strict=True):
        part = mask[pixels_in(box)]
        two = found & (part != 0) & (part != box.class_id)
        part[found & (part == 0)] = box.class_id
        part[two] = VOID
    inner = [k for k, box in enumerate(boxes) if any(_inside(box, other) for other in boxes)]
    for k in sorted(inner, key=lambda k: -boxes[k].width * boxes[k].height):
        mask[pixels_in(boxes[k])][foregrounds[k]] = boxes[k].class_id
    for box, found, wide in zip(boxes, foregrounds, wides, strict=True):
        mask[pixels_in(box)][wide & ~found] = VOID
    return mask


def _inside(box: Box, other: Box) -> bool:
    """Tell whether a box lies inside a larger one."""
    return (
        other.x <= box.x
        and other.y <= box.y
        and box.x + box.width <= other.x + other.width
        and box.y + box.height <= other.y + other.height
        and box.width * box.height < other.width * other.height
    )
