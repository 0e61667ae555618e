"""Refinement: which of the ways to fit class scores to a photo a stage takes, and how hard."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch

from sbdata.train.refine import (
    CRF_PARAMETERS,
    DILATIONS,
    Photo,
    Probabilities,
    Refiner,
    dense_crf,
    make_refiner,
    pamr,
    par,
)

_CRFS = {"crf": "deeplab", "label-crf": "label", "psa-crf": "psa"}


@dataclass(frozen=True)
class Refinement:
    """How class scores are fitted to the photo.

    The official codes use dense CRFs, which need the extra ``crf``; PAR is the default here since
    it needs PyTorch alone.

    Attributes:
        name: ``par``, ``pamr``; a dense CRF with the parameters of DeepLab (``crf``), of IRN's
            seeds (``label-crf``) or of PSA (``psa-crf``); or ``none``.
        iterations: of PAR and PAMR.
        dilations: of PAR and PAMR, in pixels.
    """

    name: Literal["par", "pamr", "crf", "label-crf", "psa-crf", "none"] = "par"
    iterations: int = 10
    dilations: tuple[int, ...] = DILATIONS


def refiner_of(settings: Refinement, device: torch.device) -> Refiner | None:
    """Return the function, or None for no refinement.

    Raises:
        InputError: for a CRF where its package is not installed.
    """
    if settings.name == "none":
        return None
    if settings.name in _CRFS:
        make_refiner("crf")  # says what to install
        return partial(dense_crf, parameters=CRF_PARAMETERS[_CRFS[settings.name]])
    average = par if settings.name == "par" else pamr

    def refine(image: Photo, probabilities: Probabilities) -> Probabilities:
        with torch.inference_mode():
            photo = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None] / 255
            scores = torch.from_numpy(np.array(probabilities, np.float32)).to(device)[None]
            refined = average(photo, scores, settings.iterations, settings.dilations)
            result: Probabilities = refined[0].cpu().numpy()
        return result

    return refine
