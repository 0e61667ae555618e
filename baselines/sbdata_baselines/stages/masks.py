"""Pseudo masks: what the segmentation network is trained on."""

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
        folder: is made if need be.
        image_id: a safe file name.
        mask: uint8 ``(H, W)``: classes, 0 background, 255 void.

    Raises:
        InputError: if the id cannot be a file's name or the mask is something else.
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
    """Give each pixel its class after the scores were fitted to the image.

    Args:
        maps: of the present classes.
        image: uint8 ``(H, W, 3)``.
        refine: is applied to the scores, scaled to sum to 1 at each pixel; with None the result
            is ``seeds.argmax_mask``.
        background: one score for all pixels, or a map of them.
        power: to which the maps are raised first.

    Returns:
        uint8 ``(H, W)`` class numbers.

    Raises:
        InputError: if image and maps differ in size.
    """
    if image.shape[:2] != maps.size:
        msg = f"the image has size {image.shape[:2]} and its maps {maps.size}; resize the maps"
        raise InputError(msg)
    return mask_of(score_stack(maps, background, power), maps, image, refine)
