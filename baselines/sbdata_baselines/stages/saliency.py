"""Saliency: what stands out from the image's border, without learning; or maps from a folder.

Zhang et al., "Minimum Barrier Salient Object Detection at 80 FPS" (ICCV 2015), without its
preference for the image's centre. A pixel is salient if every path from the border to it crosses a
large range of colours. This is a prior, not a detector: objects that touch the border, or are much
smaller than the largest one, are often missed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from sbdata.errors import InputError
from sbdata.images import DAMAGE, open_image
from sbdata_baselines.stages.colours import lab, reduced
from sbdata_baselines.stages.maps import FloatMap, file_of

_STRIP = 0.1  # width of the border with background colours, as a fraction of a side
_COLOUR_NOISE = 1.0  # smallest variance of a border, in Lab units squared
_STEEPNESS = 10.0  # steepness of the contrast curve


def saliency(
    image: npt.NDArray[np.uint8],
    side: int = 300,
    backgroundness: bool = True,
    smoothing: float = 20.0,
) -> npt.NDArray[np.uint8]:
    """Return how much each pixel stands out from the border, 0..255.

    Args:
        image: RGB image, uint8 ``(H, W, 3)``.
        side: Length of the longer side after resizing, in pixels.
        backgroundness: True to add the distance from the border's colours, which finds objects that
            touch one side.
        smoothing: Factor on the square root of the mean saliency: spots narrower than the product,
            in pixels of the reduced image, are flattened; 0 for none.

    Returns:
        Saliency, uint8 ``(H, W)``. The most salient pixel is near 255, however small its contrast;
        an image of one colour gives zeros.

    Raises:
        InputError: if the image has another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        msg = f"an image must be uint8 of shape (H, W, 3), not {image.dtype} {image.shape}"
        raise InputError(msg)
    colours = lab(reduced(image, side))
    salient = _stretched(sum_of_barriers(colours))
    if backgroundness:
        salient = _stretched(salient + _stretched(border_contrast(colours)))
    if smoothing:
        salient = _stretched(_smoothed(salient, smoothing * float(np.sqrt(salient.mean()))))
    salient = _contrasted(salient)
    height, width = image.shape[:2]
    full = Image.fromarray(salient).resize((width, height), Image.Resampling.BILINEAR)
    levels: npt.NDArray[np.uint8] = np.rint(255 * np.asarray(full).clip(0, 1)).astype(np.uint8)
    return levels


def read_saliency(folder: Path, image_id: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Read ``<image_id>.png``, an 8-bit grey saliency map that another method made.

    Args:
        folder: Folder of the maps.
        image_id: Id of the image.
        size: Height and width of the image.

    Returns:
        Saliency, uint8 ``(H, W)``; 255 is most salient.

    Raises:
        InputError: if the file is missing, not an 8-bit grey PNG, or of another size.
    """
    path = file_of(folder, image_id, ".png")
    try:
        with open_image(path, ["PNG"]) as image:
            if image.mode != "L":
                msg = (
                    f"{path}: a saliency map must be an 8-bit grey PNG, but this one has mode "
                    f"{image.mode}; convert it"
                )
                raise InputError(msg)
            values = np.array(image)
    except FileNotFoundError as error:
        msg = f"{path} does not exist; give a saliency map for each image"
        raise InputError(msg) from error
    except DAMAGE as error:
        msg = f"{path}: not a readable PNG ({error}); fetch or make it again"
        raise InputError(msg) from error
    if values.shape != size:
        msg = (
            f"{path}: {values.shape[1]} x {values.shape[0]} pixels, but its image has "
            f"{size[1]} x {size[0]}; resize the map"
        )
        raise InputError(msg)
    return values


# --- cues -----------------------------------------------------------------------------------------


def sum_of_barriers(colours: FloatMap) -> FloatMap:
    """Return the minimum barrier distance from the border, summed over the channels.

    Args:
        colours: Colours, float32 ``(H, W, 3)``.

    Returns:
        Distances in units of the colours, float32 ``(H, W)``.
    """
    total = np.zeros(colours.shape[:2], np.float32)
    for channel in range(colours.shape[2]):
        total += barrier_distance(np.ascontiguousarray(colours[:, :, channel]), 3)
    return total


def border_contrast(colours: FloatMap) -> FloatMap:
    """Return how much each pixel differs from the colours of the image's four borders.

    The difference to each border is the Mahalanobis distance, divided by its largest value. The
    largest of the four is left out, since the object may cover that border.

    Args:
        colours: Lab colours, float32 ``(H, W, 3)``.

    Returns:
        Differences, float32 ``(H, W)`` in [0, 3].
    """
    height, width = colours.shape[:2]
    rows, columns = max(1, round(_STRIP * height)), max(1, round(_STRIP * width))
    sides = (colours[:rows], colours[-rows:], colours[:, :columns], colours[:, -columns:])
    unlike = np.empty((4, height, width), np.float32)
    for place, strip in enumerate(sides):
        sample = strip.reshape(-1, 3).astype(np.float64)
        centred = sample - sample.mean(axis=0)
        spread = centred.T @ centred / len(sample) + _COLOUR_NOISE * np.eye(3)
        apart = colours - sample.mean(axis=0)
        squared = np.einsum("yxc,cd,yxd->yx", apart, np.linalg.inv(spread), apart)
        unlike[place] = _stretched(np.sqrt(np.maximum(squared, 0)))
    contrast: FloatMap = unlike.sum(axis=0) - unlike.max(axis=0)
    return contrast


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def barrier_distance(plane: FloatMap, passes: int) -> FloatMap:
    """Return approximately the smallest range of values on any path from the border to each pixel.

    FastMBD (algorithm 1 of the paper): raster scans, forwards and backwards in turn, in which a
    pixel takes the better of two neighbours' paths. The value is the range of a real path, so it is
    never below the true minimum.
    """
    height, width = plane.shape
    distance = np.full((height, width), np.inf, np.float32)
    distance[0], distance[-1], distance[:, 0], distance[:, -1] = 0, 0, 0, 0
    high, low = plane.copy(), plane.copy()  # largest and smallest value on the path found so far
    for turn in range(passes):
        step = 1 if turn % 2 == 0 else -1
        for row in range(1, height - 1):
            y = row if step == 1 else height - 1 - row
            for column in range(1, width - 1):
                x = column if step == 1 else width - 1 - column
                value = plane[y, x]
                for v, u in ((y - step, x), (y, x - step)):
                    top, bottom = max(high[v, u], value), min(low[v, u], value)
                    if top - bottom < distance[y, x]:
                        distance[y, x] = top - bottom
                        high[y, x], low[y, x] = top, bottom
    return distance


# --- before and after -----------------------------------------------------------------------------


def _stretched(values: npt.NDArray[Any]) -> FloatMap:
    """Divide by the largest value; zeros stay zeros."""
    peak = float(values.max())
    scaled = values / peak if peak > 0 else np.zeros_like(values)
    return scaled.astype(np.float32, copy=False)


def _contrasted(values: FloatMap) -> FloatMap:
    """Increase contrast around one half by a logistic curve that keeps 0 and 1."""
    ends = 1 / (1 + np.exp(_STEEPNESS / 2)), 1 / (1 + np.exp(-_STEEPNESS / 2))
    curve = 1 / (1 + np.exp(-_STEEPNESS * (values - 0.5)))
    contrasted: FloatMap = ((curve - ends[0]) / (ends[1] - ends[0])).astype(np.float32)
    return contrasted


def _smoothed(values: FloatMap, width: float) -> FloatMap:
    """Flatten bright, then dark spots narrower than a width; the edges of others stay sharp."""
    size = round(width)
    if size < 2:
        return values
    bright = _reconstructed(ndimage.grey_erosion(values, (size, size)), values)
    turned = 1 - bright
    flat: FloatMap = 1 - _reconstructed(ndimage.grey_erosion(turned, (size, size)), turned)
    return flat


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _reconstructed(marker: FloatMap, mask: FloatMap) -> FloatMap:
    """Grow a marker to its neighbours, never above the mask, until it no longer changes."""
    height, width = mask.shape
    grown = np.minimum(marker, mask)
    changed = True
    while changed:
        changed = False
        for step in (1, -1):
            for row in range(height):
                y = row if step == 1 else height - 1 - row
                for column in range(width):
                    x = column if step == 1 else width - 1 - column
                    value = grown[y, x]
                    if 0 <= y - step < height:
                        value = max(value, grown[y - step, x])
                    if 0 <= x - step < width:
                        value = max(value, grown[y, x - step])
                    value = min(value, mask[y, x])
                    if value > grown[y, x]:
                        grown[y, x] = value
                        changed = True
    return grown
