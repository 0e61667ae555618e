"""Retrieval: masks within boxes, by scores fitted to the photo and by prototypes of those.

Oh, Kim and Ham, "Background-Aware Pooling and Noise-Aware Loss for Weakly-Supervised Semantic
Segmentation" (CVPR 2021). Features count at the photo's size, to which they are brought bilinearly.
All of them would take gigabytes there; but with the matrices of rows and columns R and C, by which
a map f becomes R f C', sums and lengths of the features follow from the small maps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from sbdata.masks import VOID, LabelMap
from sbdata.train.refine import Refiner
from sbdata.train.resize import resized
from sbdata.weak_labels.weak_set import Box
from sbdata_baselines.stages.boxes import pixels_in, regions_of
from sbdata_baselines.stages.maps import FloatMap
from sbdata_baselines.stages.pooling import background_attention, background_prototypes, shares_of

# --- scores, and the masks fitted from them -------------------------------------------------------


def box_scores(
    features: Tensor,
    weights: Tensor,
    boxes: tuple[Box, ...],
    size: tuple[int, int],
    threshold: float = 0.99,
    grid: int = 1,
) -> FloatMap:
    """Return probabilities of background and of the classes that have a box.

    Outside all boxes everything is background. Inside, a class's score is the positive part of its
    activation divided by its largest value in the box, background's is the attention to background,
    or 0 where that is below ``threshold`` of its largest value; their softmax is the probability.

    Args:
        features: ``(D, h, w)``.
        weights: ``(C + 1, D)`` of the classifier, background first.
        boxes: of the photo.
        size: height and width of the photo.
        threshold: share of the largest attention.
        grid: cells of background a side.

    Returns:
        float32 ``(K + 1, H, W)``, background first, then the classes in ascending order.
    """
    if not boxes:
        return np.ones((1, *size), np.float32)
    classes, regions = regions_of(boxes, size)
    inside = regions.any(axis=0)
    scores = np.zeros((len(classes) + 1, *size), np.float32)
    attention = _attention(features, weights[0], torch.from_numpy(~inside), grid)
    seen = resized(attention[None, None], size)[0, 0].cpu().numpy()
    scores[0] = np.where(seen >= threshold * seen.max(), seen, 0)
    activations = torch.einsum("kd,dhw->khw", weights[list(classes)], features)
    positive = resized(activations[None], size)[0].relu().cpu().numpy()
    for box in boxes:
        place = (classes.index(box.class_id), *pixels_in(box))
        peak = max(positive[place].max(), np.finfo(np.float32).tiny)
        row = scores[1:][place]
        np.maximum(row, positive[place] / peak, out=row)  # boxes of one class may overlap
    powers = np.exp(scores)
    probabilities: FloatMap = powers / powers.sum(axis=0)
    probabilities[0, ~inside], probabilities[1:, ~inside] = 1, 0
    return probabilities


def fitted_mask(
    probabilities: FloatMap,
    photo: npt.NDArray[np.uint8],
    boxes: tuple[Box, ...],
    refine: Refiner | None,
) -> LabelMap:
    """Return Y_crf: each pixel's likeliest class once the scores were fitted to the photo.

    Args:
        probabilities: of :func:`box_scores`.
        photo: uint8 ``(H, W, 3)``.
        boxes: of the photo; no class goes beyond its own.
        refine: fits the scores to the photo; None leaves them as they are.

    Returns:
        uint8 ``(H, W)`` class numbers.
    """
    if not boxes:
        return np.zeros(photo.shape[:2], np.uint8)
    classes, regions = regions_of(boxes, photo.shape[:2])
    found = probabilities if refine is None else refine(photo, probabilities)
    best = np.concatenate([found[:1], np.where(regions, found[1:], 0)]).argmax(axis=0)
    return _numbered(best, classes)


def _attention(features: Tensor, weight: Tensor, outside: Tensor, grid: int) -> Tensor:
    """Return the attention to background, ``(h, w)``.

    Where boxes leave no background, the classifier's weight of background is its prototype.
    """
    size = (features.shape[-2], features.shape[-1])
    shares = shares_of(outside[None].to(features.device), size)
    prototypes, valid = background_prototypes(features[None], shares, grid)
    if not bool(valid.any()):
        prototypes, valid = weight[None, None], valid.new_ones(1, 1)
    return background_attention(features[None], prototypes, valid)[0]


# --- retrieval ------------------------------------------------------------------------------------


def retrieved_mask(
    features: Tensor, weights: Tensor, fitted: LabelMap, boxes: tuple[Box, ...]
) -> LabelMap:
    """Return Y_ret: the class of whose prototype each pixel's features are most alike.

    A prototype is the mean direction of the features where ``fitted`` has the class;
    of a class that is nowhere, the classifier's weight.

    Args:
        features: ``(D, h, w)``.
        weights: ``(C + 1, D)`` of the classifier, background first.
        fitted: uint8 ``(H, W)``, Y_crf.
        boxes: of the photo; no class goes beyond its own.

    Returns:
        uint8 ``(H, W)`` class numbers.
    """
    classes, regions = regions_of(boxes, fitted.shape)
    numbers = np.array((0, *classes), np.uint8)
    places = torch.from_numpy(fitted == numbers[:, None, None]).to(features.device)
    prototypes = mean_directions(features, places)
    absent = ~places.flatten(1).any(dim=1)
    prototypes[absent] = weights[numbers.tolist()][absent]
    likeness = cosines(features, prototypes, fitted.shape).cpu().numpy()
    likeness[1:][~regions] = -np.inf
    return _numbered(likeness.argmax(axis=0), classes)


def mean_directions(features: Tensor, places: Tensor) -> Tensor:
    """Return the means of the features, each divided by its length, over some places.

    Args:
        features: ``(D, h, w)``, which are brought to the size of the places.
        places: bool ``(K, H, W)``.

    Returns:
        ``(K, D)``; 0 for no place.
    """
    size = (places.shape[-2], places.shape[-1])
    weights = places / _lengths(features, size)
    weights = weights / places.flatten(1).sum(dim=1).clamp(min=1)[:, None, None]
    rows, columns = _matrices(features, size)
    return torch.einsum("kij,dij->kd", rows.T @ weights @ columns, features)


def cosines(features: Tensor, vectors: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the cosine of each vector and the features at each pixel.

    Args:
        features: ``(D, h, w)``, which are brought to ``size``.
        vectors: ``(K, D)``.
        size: height and width.

    Returns:
        ``(K, H, W)``.
    """
    units = functional.normalize(vectors, dim=1)
    along = torch.einsum("kd,dhw->khw", units, features)  # enlarging commutes with it
    return resized(along[None], size)[0] / _lengths(features, size)


def agreement_mask(fitted: LabelMap, retrieved: LabelMap) -> LabelMap:
    """Return the class where two masks have the same, and 255 elsewhere.

    >>> agreement_mask(np.array([[0, 3]], np.uint8), np.array([[0, 0]], np.uint8)).tolist()
    [[0, 255]]
    """
    return np.where(fitted == retrieved, fitted, np.uint8(VOID))


def _lengths(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the length of the features at each pixel, ``(H, W)``, never 0."""
    rows, columns = _matrices(features, size)
    tall = torch.einsum("yi,dij->ydj", rows, features)
    products = tall.transpose(1, 2) @ tall  # of each two columns of the small map
    squares = torch.einsum("yjx,xj->yx", products @ columns.T, columns)
    return squares.clamp(min=torch.finfo(features.dtype).tiny).sqrt()


def _matrices(features: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return R ``(H, h)`` and C ``(W, w)``, which enlarge a map f bilinearly: R f C'."""
    rows, columns = (
        functional.interpolate(torch.eye(old)[None], new, mode="linear", align_corners=False)[0].T
        for old, new in zip(features.shape[-2:], size, strict=True)
    )
    return rows.to(features), columns.to(features)


def _numbered(rows: npt.NDArray[np.intp], classes: tuple[int, ...]) -> LabelMap:
    """Turn rows of a stack, background first, into class numbers."""
    numbers: LabelMap = np.array((0, *classes), np.uint8)[rows]
    return numbers
