"""Pseudo-masks: the masks on which the segmentation network is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.masks import LabelMap, write_index_png
from sbdata.train.refine import Refiner
from sbdata_baselines.stages.maps import ClassMaps, FloatMap, file_of
from sbdata_baselines.stages.seeds import mask_of, score_stack


def write_pseudo_mask(folder: Path, image_id: str, mask: LabelMap) -> Path:
    """Write ``<image_id>.png`` in VOC's palette, atomically.

    Args:
        folder: Output folder; created if necessary.
        image_id: Image id, a safe file name.
        mask: Classes, uint8 ``(H, W)``; 0 is background, 255 void.

    Raises:
        InputError: if the id is not a valid file name, or the mask has another shape or type.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2 or mask.size == 0:
        msg = f"{image_id}: a mask must be uint8 of shape (H, W), not {mask.dtype} {mask.shape}"
        raise InputError(msg)
    path = file_of(folder, image_id, ".png")
    write_index_png(path, mask)
    return path


def refined_mask(
    maps: ClassMaps,
    image: npt.NDArray[np.uint8],
    refine: Refiner | None,
    background: float | FloatMap,
    power: float = 1.0,
) -> LabelMap:
    """Return each pixel's class after the scores were fitted to the image.

    Args:
        maps: Maps of the present classes.
        image: Image, uint8 ``(H, W, 3)``.
        refine: Refinement of the scores, scaled to sum to 1 at each pixel; with None the result is
            ``seeds.argmax_mask``.
        background: Background score, one for all pixels or a map.
        power: Exponent applied to the maps first.

    Returns:
        Class numbers, uint8 ``(H, W)``.

    Raises:
        InputError: if image and maps differ in size.
    """
    if image.shape[:2] != maps.size:
        msg = f"the image has size {image.shape[:2]} and its maps {maps.size}; resize the maps"
        raise InputError(msg)
    return mask_of(score_stack(maps, background, power), maps, image, refine)
