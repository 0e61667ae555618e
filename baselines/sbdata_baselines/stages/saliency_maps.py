"""Saliency maps: given maps, or those of a built-in provider, shared by all methods.

Every method that uses saliency begins with :func:`saliency_stage`, so the maps are made once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from sbdata.benchmark.stage import StageContext
from sbdata.masks import VOID, read_index_png
from sbdata.storage import writing
from sbdata_baselines.settings import SaliencySettings
from sbdata_baselines.stages.boundary_prior import boundary_saliency
from sbdata_baselines.stages.maps import FloatMap, file_of
from sbdata_baselines.stages.photos import pending, pixels_of
from sbdata_baselines.stages.saliency import read_saliency, saliency

HIGHEST = VOID - 1
"""Level of the most salient pixels; 255 marks pixels outside the photo."""

Provider = Callable[[npt.NDArray[np.uint8], int], npt.NDArray[np.uint8]]
"""Function from a photo and the length of its longer side after resizing to a map, 0..255."""

_PROVIDERS: dict[str, Provider] = {"boundary": boundary_saliency, "mbd": saliency}


def saliency_maps(task: StageContext, settings: SaliencySettings) -> None:
    """Write ``<image_id>.png`` for each photo: 8-bit grey levels, 0..254.

    Raises:
        InputError: if a given map is missing or cannot be used; the message names it.
    """
    provider = _PROVIDERS[settings.provider]
    for row in pending(task, ".png"):
        if task.weak.saliency is not None:
            found = read_saliency(task.weak.saliency, row.image_id, row.size)
        else:
            found = provider(pixels_of(row), settings.side)
        levels = np.rint(found * (HIGHEST / 255)).astype(np.uint8)
        with writing(file_of(task.folder, row.image_id, ".png")) as temporary:
            Image.fromarray(levels).save(temporary, "PNG")


def read_salience(folder: Path, image_id: str) -> FloatMap:
    """Return a map that :func:`saliency_maps` wrote, float32 ``(H, W)`` in [0, 1]."""
    levels = read_index_png(file_of(folder, image_id, ".png"))
    salience: FloatMap = levels.astype(np.float32) / np.float32(HIGHEST)
    return salience


def salience_of(levels: Tensor) -> Tensor:
    """Return views of maps as floats in [0, 1]; pixels outside the photo are 0.

    Args:
        levels: Integer levels, ``(N, h, w)``; 255 outside the photo.

    >>> salience_of(torch.tensor([[[0, 127, 254, 255]]])).tolist()
    [[[0.0, 0.5, 1.0, 0.0]]]
    """
    return torch.where(levels == VOID, 0, levels).float() / HIGHEST
