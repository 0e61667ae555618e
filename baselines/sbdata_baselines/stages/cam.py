"""Class activation maps over several scales and the mirrored image.

Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR 2016); the sums over
scales and mirrored images are those of IRN (Ahn et al., CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from sbdata.errors import InputError
from sbdata.train.resize import resized
from sbdata_baselines.settings import SCALES
from sbdata_baselines.stages.maps import ClassMaps, FloatMap, max_normalised

MapsOf = Callable[[Tensor], Tensor]
"""Function from images, float32 RGB ``(N, 3, h, w)`` in [0, 1], to class maps ``(N, C, h', w')``.

It includes the network's own colour normalisation.
"""


def multi_scale_maps(
    maps_of: MapsOf,
    image: npt.NDArray[np.uint8],
    scales: Sequence[float] = SCALES,
    flip: bool = True,
    size: tuple[int, int] | None = None,
    device: str | torch.device = "cpu",
    rectify: bool = True,
) -> FloatMap:
    """Sum the positive activations of an image over scales and over its mirror image.

    Args:
        maps_of: Network; it runs without gradients unless it enables them itself.
        image: Image, uint8 ``(H, W, 3)``.
        scales: Factors by which the image is resized (bicubic) before each run.
        flip: True to run on the mirrored image too and mirror its maps back.
        size: Height and width of the maps, by default those of the image.
        device: Device of the images given to ``maps_of``.
        rectify: True to replace negative activations by 0; AMN sums logits unchanged.

    Returns:
        Sums before normalisation, float32 ``(C, H, W)``.

    Raises:
        InputError: if the image has another shape or type, or there is no scale.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        msg = f"an image must be uint8 of shape (H, W, 3), not {image.dtype} {image.shape}"
        raise InputError(msg)
    if not scales or min(scales) <= 0:
        msg = f"scales must be positive and at least one, not {tuple(scales)}"
        raise InputError(msg)
    size = size or (image.shape[0], image.shape[1])
    by_scale = []
    with torch.no_grad():
        for scale in scales:
            batch = _batch(_rescaled(image, scale), flip, device)
            maps = maps_of(batch).float()
            if rectify:
                maps = maps.relu()
            if flip:
                maps = maps[:1] + maps[1:].flip(-1)
            by_scale.append(resized(maps, size))
    total: FloatMap = torch.stack(by_scale).sum(0)[0].cpu().numpy()
    return total


def class_maps(activations: npt.NDArray[Any], present: Iterable[int]) -> ClassMaps:
    """Return the maps of an image's labelled classes, each divided by its largest value.

    Args:
        activations: Activations, ``(C, H, W)``; class c is in row c - 1.
        present: Class numbers, from 1.

    Raises:
        InputError: if a class has no row.
    """
    classes = tuple(sorted(set(present)))
    if classes and not 1 <= classes[0] <= classes[-1] <= len(activations):
        msg = f"classes {classes} are not all in 1..{len(activations)}, the available maps"
        raise InputError(msg)
    rows = [number - 1 for number in classes]
    return ClassMaps(classes, max_normalised(activations[rows]))


def _rescaled(image: npt.NDArray[np.uint8], scale: float) -> npt.NDArray[np.uint8]:
    if scale == 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def _batch(image: npt.NDArray[np.uint8], flip: bool, device: str | torch.device) -> Tensor:
    one = torch.tensor(image).to(device).permute(2, 0, 1)[None].float() / 255
    return torch.cat([one, one.flip(-1)]) if flip else one
