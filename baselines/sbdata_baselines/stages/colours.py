"""Colours: photos made smaller, and a colour space with perceptual distances."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from sbdata_baselines.stages.maps import FloatMap

_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # linear sRGB, IEC 61966-2-1


def lab(image: npt.NDArray[np.uint8]) -> FloatMap:
    """Return CIE L*a*b* (white point D65) of sRGB colours.

    Args:
        image: Image, uint8 ``(H, W, 3)``.

    Returns:
        Lab colours, float32 ``(H, W, 3)``; L in [0, 100].

    >>> lab(np.full((1, 1, 3), 255, np.uint8)).round(2).tolist()
    [[[100.0, 0.0, 0.0]]]
    """
    value = image / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ (_TO_XYZ / _TO_XYZ.sum(axis=1, keepdims=True)).T  # white becomes 1, 1, 1
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, 2, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=2).astype(np.float32)


def reduced(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Return an image whose longer side is at most ``side`` pixels (bilinear)."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
