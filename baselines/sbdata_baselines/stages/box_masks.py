"""Box masks: from the attribution maps of a photo's objects to its pseudo-mask.

Lee et al., "BBAM: Bounding Box Attribution Map for Weakly Supervised Semantic and Instance
Segmentation" (CVPR 2021). Each object gets two masks, by a high and a low threshold: its foreground
and a wide mask. The band between them is 255.
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
"""Function from the values in a box, in [0, 1], to the box's pixels that belong to the object."""


def clipped_values(values: FloatMap, theta: float) -> FloatMap:
    """Divide values by their ``theta`` quantile and clip them at 1.

    Args:
        values: Values in a box, ``(h, w)``, at least 0.
        theta: Fraction of the box's pixels below the divisor.

    >>> clipped_values(np.array([[0.125, 0.25, 0.5, 1]], np.float32), 0.75).tolist()
    [[0.25, 0.5, 1.0, 1.0]]
    """
    ranked = np.sort(values.ravel())[::-1]
    level = ranked[min(round((1 - theta) * values.size), values.size - 1)]
    divisor = max(float(level), float(np.finfo(np.float32).tiny))
    clipped: FloatMap = np.minimum(np.float64(values) / divisor, 1).astype(np.float32)
    return clipped


def blurred_values(values: FloatMap, box: Box, size: tuple[int, int], sigma: float) -> FloatMap:
    """Blur a box's values, with zeros around the box, and scale them to a maximum of 1.

    The kernel reaches one standard deviation to each side; the photo is mirrored at its border.

    Args:
        values: Values in the box, ``(h, w)``.
        box: Box.
        size: Height and width of the photo.
        sigma: Standard deviation of the blur in pixels; it is rounded.
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
        photo: Photo.
        box: Box.
        refine: Refinement of the values and their complements; None leaves them unchanged.
        settings: Settings with ``certain`` and ``margin``.
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

    If hardly a pixel of a small object is left, the mask is computed again from a constant in the
    box, with 1 at the pixels that are left.

    Args:
        values: Attribution map of the object in the box, ``(h, w)`` in [0, 1]; zeros if the
            detector did not find the object.
        box: Box of the object.
        size: Height and width of the photo.
        theta: See :func:`clipped_values`.
        fit: Function that fits values to the photo.
        settings: Settings of the masks.

    Returns:
        Mask, bool ``(h, w)``; the whole box if an object was not found and has too few pixels.
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
    """Return the fit of the first constant that leaves enough of the box, else of the last one.

    Certain pixels have the value 1.
    """
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
    """Combine the objects of a photo into one mask.

    Pixels of two classes become 255. Objects whose box lies inside another box are then painted
    over the rest, smallest boxes last. Finally, pixels of an object's wide mask outside its
    foreground become 255.

    Args:
        boxes: Boxes of the objects.
        foregrounds: Pixels of each box that belong to its object, ``(h, w)``.
        wides: Pixels of each box that may belong to its object.
        size: Height and width of the photo.

    Returns:
        Mask, uint8 ``(H, W)``: a class, 0 for background, or 255.
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
    """Return True if a box lies inside a larger one."""
    return (
        other.x <= box.x
        and other.y <= box.y
        and box.x + box.width <= other.x + other.width
        and box.y + box.height <= other.y + other.height
        and box.width * box.height < other.width * other.height
    )
