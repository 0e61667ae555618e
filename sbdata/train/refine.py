"""Refinement: class probabilities that follow the edges of the photo.

A refiner takes one photo and its class probabilities and returns new probabilities. Two refiners,
PAMR and PAR, average each pixel with neighbours of similar colour and need PyTorch alone. The dense
CRF needs the extra ``crf``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from sbdata.errors import InputError
from sbdata.settings import as_plain
from sbdata.train.preset import DILATIONS, REFINERS, CrfParameters

Photo = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]

Refiner = Callable[[Photo, Probabilities], Probabilities]
"""Function ``refine(image, probabilities)``: uint8 RGB ``(H, W, 3)`` and float32 ``(K, H, W)`` in,
float32 ``(K, H, W)`` out; the arguments are not changed."""

_TINY = 1e-8
_STEPS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx)


def make_refiner(
    name: str, device: str | torch.device = "cpu", crf: CrfParameters | None = None
) -> Refiner:
    """Return a refiner by name.

    Args:
        name: ``none`` for the identity; ``pamr`` or ``par`` with their papers' settings; ``crf``
            for the dense CRF.
        device: Device of PAMR and PAR; the CRF runs on the CPU.
        crf: Parameters of the CRF [DeepLab's].

    Raises:
        InputError: for an unknown name, and for ``crf`` if its package is not installed.
    """
    if name == "none":
        return lambda image, probabilities: probabilities
    if name in ("pamr", "par"):
        average = pamr if name == "pamr" else par
        return lambda image, probabilities: _on_arrays(average, image, probabilities, device)
    if name == "crf":
        _dense_crf_package()
        parameters = crf or CrfParameters()
        return lambda image, probabilities: dense_crf(image, probabilities, parameters)
    msg = f"no refiner called {name!r}; choose from {', '.join(REFINERS)}"
    raise InputError(msg)


def describe_refiner(name: str, crf: CrfParameters | None = None) -> str:
    """Return the name of a refiner with all settings that its result depends on.

    >>> describe_refiner("pamr")
    'pamr'
    >>> describe_refiner("crf")[:19]
    'crf(gaussian_xy 1.0'
    """
    if name != "crf":
        return name
    values = as_plain(crf or CrfParameters())
    return f"{name}({', '.join(f'{key} {value}' for key, value in values.items())})"


def _on_arrays(
    average: Callable[[Tensor, Tensor], Tensor],
    image: Photo,
    probabilities: Probabilities,
    device: str | torch.device,
) -> Probabilities:
    with torch.inference_mode():
        photo = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None] / 255
        masks = torch.from_numpy(np.array(probabilities, np.float32)).to(device)[None]
        refined: Probabilities = average(photo, masks)[0].cpu().numpy()
    return refined


# --- averages over neighbours of the same colour --------------------------------------------------


def affinity_weights(images: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Return the weights with which PAMR averages the neighbours of each pixel.

    A pixel has the 8 neighbours of every dilation; beyond the edge of the image its outermost
    pixels repeat. With I the image and s the standard deviation over the 3 x 3 windows of all
    dilations (centres included, unbiased), per channel, the weights are

        softmax over neighbours n of -mean over channels of |I_n - I_0| / (1e-8 + 0.1 s).

    Source: Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels" (CVPR 2020);
    constants from visinf/1-stage-wseg (``models/mods/pamr.py``).

    Args:
        images: Images, float ``(N, 3, H, W)`` in [0, 1].
        dilations: Dilations in pixels.

    Returns:
        Weights, ``(N, 8 * dilations, H, W)``; the weights of a pixel sum to 1.
    """
    spread = _spread(images, dilations, centres=True)
    exponents = [
        -((near - images).abs() / (_TINY + 0.1 * spread)).mean(1)
        for near in _neighbours(images, dilations)
    ]
    return torch.stack(exponents, 1).softmax(1)


def pamr(
    images: Tensor, masks: Tensor, iterations: int = 10, dilations: Sequence[int] = DILATIONS
) -> Tensor:
    """Refine masks by PAMR: repeatedly replace each pixel by the mean of its neighbours.

    The means are weighted by :func:`affinity_weights`, so a constant mask does not change and
    values stay within their range.

    Args:
        images: Images, float ``(N, 3, H, W)`` in [0, 1].
        masks: Masks, ``(N, K, H, W)``.
        iterations: Number of iterations.
        dilations: Dilations in pixels.
    """
    return _averaged(masks, affinity_weights(images, dilations), iterations, dilations)


def position_affinity_weights(images: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Return the weights with which PAR averages the neighbours of each pixel.

    The neighbours are those of :func:`affinity_weights`. With s the standard deviation over the
    neighbours (unbiased, without the centre), d the distances in pixels and t their own standard
    deviation, the weights are

        softmax_n(-mean over channels of (|I_n - I_0| / (0.3 s))^2) + 0.01 softmax_n(-(d / 0.3 t)^2)

    divided by 1.01, so that they sum to 1. The published code omits this divisor; it does not
    change the classes.

    Source: Ru et al., "Learning Affinity from Attention: End-to-End Weakly-Supervised Semantic
    Segmentation with Transformers" (CVPR 2022); constants from rulixiang/afa (``wetr/PAR.py``).

    Args:
        images: Images, float ``(N, 3, H, W)`` in [0, 1].
        dilations: Dilations in pixels.

    Returns:
        Weights, ``(N, 8 * dilations, H, W)``; the weights of a pixel sum to 1.
    """
    spread = _spread(images, dilations, centres=False)
    exponents = [
        -(((near - images).abs() / (spread + _TINY) / 0.3) ** 2).mean(1)
        for near in _neighbours(images, dilations)
    ]
    distances = images.new_tensor([math.hypot(*step) * d for d in dilations for step in _STEPS])
    by_place = (-((distances / (distances.std() + _TINY) / 0.3) ** 2)).softmax(0)
    by_colour = torch.stack(exponents, 1).softmax(1)
    return (by_colour + 0.01 * by_place[None, :, None, None]) / 1.01


def par(
    images: Tensor, masks: Tensor, iterations: int = 10, dilations: Sequence[int] = DILATIONS
) -> Tensor:
    """Refine masks by PAR: :func:`pamr` with the weights of :func:`position_affinity_weights`."""
    return _averaged(masks, position_affinity_weights(images, dilations), iterations, dilations)


def _averaged(masks: Tensor, weights: Tensor, iterations: int, dilations: Sequence[int]) -> Tensor:
    """Average masks with their neighbours, one neighbour of all masks in memory at a time."""
    for _ in range(iterations):
        mean = torch.zeros_like(masks)
        for place, near in enumerate(_neighbours(masks, dilations)):
            mean.addcmul_(near, weights[:, place : place + 1])
        masks = mean
    return masks


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> list[Tensor]:
    """Return views of one padded copy, one per neighbour: by dilation, then by row and column."""
    height, width = maps.shape[-2:]
    rim = max(dilations)
    padded = functional.pad(maps, [rim] * 4, mode="replicate")
    return [
        padded[..., rim + dy * d : rim + dy * d + height, rim + dx * d : rim + dx * d + width]
        for d in dilations
        for dy, dx in _STEPS
    ]


def _spread(images: Tensor, dilations: Sequence[int], *, centres: bool) -> Tensor:
    """Return the unbiased standard deviation over the neighbours of all dilations, per channel."""
    values = _neighbours(images, dilations) + [images] * (len(dilations) if centres else 0)
    mean = torch.zeros_like(images)
    for value in values:
        mean += value
    mean /= len(values)
    variance = torch.zeros_like(images)
    for value in values:
        variance += (value - mean) ** 2
    return (variance / (len(values) - 1)).sqrt()


# --- dense CRF ------------------------------------------------------------------------------------


CRF_PARAMETERS = {
    "label": CrfParameters(3, 3, 50, 5, 10),
    "psa": CrfParameters(3, 3, 80, 13, 10),
    "deeplab": CrfParameters(),
    "bana": CrfParameters(3, 3, 55, 3, 4),
    "mct": CrfParameters(4, 3, 83, 5, 3),
    "bbam": CrfParameters(1, 3, 80, 3, 4),
}
"""CRF parameters by the code they come from: the label CRF of IRN; PSA, also in SEAM and AFA;
deeplab-pytorch; BANA; MCTformer at test time; BBAM."""

_CERTAIN = 1e-5  # smaller probabilities are raised to this, since their logarithm is unbounded


def dense_crf(
    image: Photo,
    probabilities: Probabilities,
    parameters: CrfParameters = CRF_PARAMETERS["deeplab"],
) -> Probabilities:
    """Refine class probabilities by a fully connected CRF.

    Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
    Potentials" (NeurIPS 2011).

    Args:
        image: RGB photo, uint8 ``(H, W, 3)``.
        probabilities: Class probabilities, ``(K, H, W)``, summing to 1 over K.
        parameters: Parameters of the CRF.

    Raises:
        InputError: if the package is not installed.
    """
    package = _dense_crf_package()
    energy = -np.log(np.clip(probabilities, _CERTAIN, 1.0))
    n, height, width = energy.shape
    field = package.DenseCRF2D(width, height, n)
    field.setUnaryEnergy(np.ascontiguousarray(energy.reshape(n, -1), np.float32))
    field.addPairwiseGaussian(sxy=parameters.gaussian_xy, compat=parameters.gaussian_weight)
    field.addPairwiseBilateral(
        sxy=parameters.bilateral_xy,
        srgb=parameters.bilateral_rgb,
        rgbim=np.array(image, np.uint8, order="C"),  # a copy: the CRF needs a writable array
        compat=parameters.bilateral_weight,
    )
    refined = np.array(field.inference(parameters.iterations), np.float32)
    return refined.reshape(n, height, width)


def _dense_crf_package() -> Any:
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        msg = 'the package of the dense CRF is not installed; run pip install "sbdata[crf]"'
        raise InputError(msg) from error
    return densecrf
