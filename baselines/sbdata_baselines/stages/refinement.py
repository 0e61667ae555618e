"""Refinement: the function that fits class scores to a photo, chosen by the settings."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from sbdata.train.preset import CrfParameters
from sbdata.train.refine import (
    CRF_PARAMETERS,
    Photo,
    Probabilities,
    Refiner,
    dense_crf,
    make_refiner,
    pamr,
    par,
)
from sbdata_baselines.settings import Refinement

_CRFS = {"crf": "deeplab", "label-crf": "label", "psa-crf": "psa"}


def refiner_of(settings: Refinement, device: torch.device) -> Refiner | None:
    """Return the refinement function, or None for no refinement.

    Raises:
        InputError: if a CRF is chosen and its package is not installed.
    """
    if settings.name == "none":
        return None
    if settings.name in _CRFS:
        make_refiner("crf")  # raises an error that names the package to install
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


def crf_or_refiner(settings: CrfParameters | Refinement, device: torch.device) -> Refiner | None:
    """Return the refinement function of CRF parameters or of a refinement; None for no refinement.

    Raises:
        InputError: if a CRF is chosen and its package is not installed.
    """
    if isinstance(settings, Refinement):
        return refiner_of(settings, device)
    make_refiner("crf")  # raises an error that names the package to install
    return partial(dense_crf, parameters=settings)
