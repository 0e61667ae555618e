"""Augmentation: one random view of an image, and the same view of its mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from sbdata.masks import VOID
from sbdata.train.preset import Augmentation

_GREY = (124, 116, 104)  # the mean colour of ImageNet


@dataclass(frozen=True)
class View:
    """Square region of an image that the network sees.

    Attributes:
        box: Left, upper, right, lower edge in pixels of the image; may extend beyond it.
        crop: Side in pixels of the square to which the box is resized.
        flip: True if the view is mirrored afterwards.
    """

    box: tuple[float, float, float, float]
    crop: int
    flip: bool


def draw_view(size: tuple[int, int], settings: Augmentation, rng: np.random.Generator) -> View:
    """Draw a random view: scale, position and mirroring.

    If the scaled image is smaller than the crop, it is kept whole, at a random place in the crop.

    Args:
        size: Width and height of the image in pixels.
        settings: Crop, scales and flip.
        rng: Random generator; always four draws, whatever the settings.
    """
    scale = settings.scales[rng.integers(len(settings.scales))]
    edges = []
    for side, chance in zip(size, rng.random(2), strict=True):
        free = side * scale - settings.crop  # negative: room around the image
        edges.append(round(chance * free) / scale)
    flip = bool(rng.random() < 0.5) and settings.flip
    left, upper = edges
    reach = settings.crop / scale
    return View((left, upper, left + reach, upper + reach), settings.crop, flip)


def cut_image(image: Image.Image, view: View) -> npt.NDArray[np.uint8]:
    """Return the view of a photo, uint8 ``(crop, crop, 3)``, mean grey outside the image."""
    return _cut(image, view, Image.Resampling.BILINEAR, Image.new("RGB", (view.crop,) * 2, _GREY))


def cut_mask(mask: npt.NDArray[np.uint8], view: View) -> npt.NDArray[np.uint8]:
    """Return the view of a class map, uint8 ``(crop, crop)``, nearest pixels, void outside."""
    ground = Image.new("L", (view.crop,) * 2, VOID)
    return _cut(Image.fromarray(mask), view, Image.Resampling.NEAREST, ground)


def _cut(
    picture: Image.Image, view: View, resampling: Image.Resampling, ground: Image.Image
) -> npt.NDArray[np.uint8]:
    left, upper, right, lower = view.box
    scale = view.crop / (right - left)
    inner = (max(left, 0), max(upper, 0), min(right, picture.width), min(lower, picture.height))
    # Only the part inside the image is resampled; its position in the crop is in whole pixels.
    start = (round((inner[0] - left) * scale), round((inner[1] - upper) * scale))
    end = (round((inner[2] - left) * scale), round((inner[3] - upper) * scale))
    size = (max(end[0] - start[0], 1), max(end[1] - start[1], 1))
    in_pixels = all(float(edge).is_integer() for edge in inner)
    if in_pixels and size[0] == inner[2] - inner[0] and size[1] == inner[3] - inner[1]:
        ground.paste(picture.crop(inner), start)  # the pixels of a resizing
    else:
        ground.paste(picture.resize(size, resampling, box=inner), start)
    if view.flip:
        ground = ground.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(ground)
