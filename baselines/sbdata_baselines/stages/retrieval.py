"""Retrieval: masks within boxes, by fitted scores and by prototypes of the fitted regions.

Oh, Kim and Ham, "Background-Aware Pooling and Noise-Aware Loss for Weakly-Supervised Semantic
Segmentation" (CVPR 2021). Features are used at the photo's size, enlarged bilinearly. All of them
together would take gigabytes. But a map f is enlarged to R f C' by matrices of rows and columns, R
and C, so sums and lengths of the features follow from the small maps.
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
    activation divided by its largest value in the box. The background's score is the attention to
    background, or 0 below ``threshold`` of its largest value. The softmax of the scores is the
    probability.

    Args:
        features: Features, ``(D, h, w)``.
        weights: Weights of the classifier, ``(C + 1, D)``, background first.
        boxes: Boxes of the photo.
        size: Height and width of the photo.
        threshold: Fraction of the largest attention.
        grid: Number of background cells per side.

    Returns:
        Probabilities, float32 ``(K + 1, H, W)``: background first, then the classes in ascending
        order.
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
    """Return Y_crf: each pixel's most probable class after the scores were fitted to the photo.

    Args:
        probabilities: Probabilities from :func:`box_scores`.
        photo: Photo, uint8 ``(H, W, 3)``.
        boxes: Boxes of the photo; each class stays inside its own boxes.
        refine: Refinement that fits the scores to the photo; None leaves them unchanged.

    Returns:
        Class numbers, uint8 ``(H, W)``.
    """
    if not boxes:
        return np.zeros(photo.shape[:2], np.uint8)
    classes, regions = regions_of(boxes, photo.shape[:2])
    found = probabilities if refine is None else refine(photo, probabilities)
    best = np.concatenate([found[:1], np.where(regions, found[1:], 0)]).argmax(axis=0)
    return _numbered(best, classes)


def _attention(features: Tensor, weight: Tensor, outside: Tensor, grid: int) -> Tensor:
    """Return the attention to background, ``(h, w)``.

    If boxes leave no background, the classifier's background weight is the prototype.
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
    """Return Y_ret: the class whose prototype is most similar to each pixel's features.

    A prototype is the mean direction of the features over the pixels that ``fitted`` assigns to the
    class, or the classifier's weight if there are none.

    Args:
        features: Features, ``(D, h, w)``.
        weights: Weights of the classifier, ``(C + 1, D)``, background first.
        fitted: Mask Y_crf, uint8 ``(H, W)``.
        boxes: Boxes of the photo; each class stays inside its own boxes.

    Returns:
        Class numbers, uint8 ``(H, W)``.
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
    """Return the means over regions of the features, each divided by its length.

    Args:
        features: Features, ``(D, h, w)``; enlarged to the size of the regions.
        places: Regions, bool ``(K, H, W)``.

    Returns:
        Mean directions, ``(K, D)``; 0 for an empty region.
    """
    size = (places.shape[-2], places.shape[-1])
    weights = places / _lengths(features, size)
    weights = weights / places.flatten(1).sum(dim=1).clamp(min=1)[:, None, None]
    rows, columns = _matrices(features, size)
    return torch.einsum("kij,dij->kd", rows.T @ weights @ columns, features)


def cosines(features: Tensor, vectors: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the cosine similarity of each vector and the features at each pixel.

    Args:
        features: Features, ``(D, h, w)``; enlarged to ``size``.
        vectors: Vectors, ``(K, D)``.
        size: Height and width of the result.

    Returns:
        Cosines, ``(K, H, W)``.
    """
    units = functional.normalize(vectors, dim=1)
    along = torch.einsum("kd,dhw->khw", units, features)  # enlarging commutes with it
    return resized(along[None], size)[0] / _lengths(features, size)


def agreement_mask(fitted: LabelMap, retrieved: LabelMap) -> LabelMap:
    """Return the class where two masks agree, and 255 elsewhere.

    >>> agreement_mask(np.array([[0, 3]], np.uint8), np.array([[0, 0]], np.uint8)).tolist()
    [[0, 255]]
    """
    return np.where(fitted == retrieved, fitted, np.uint8(VOID))


def _lengths(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the length of the features at each pixel, ``(H, W)``, always above 0."""
    rows, columns = _matrices(features, size)
    tall = torch.einsum("yi,dij->ydj", rows, features)
    products = tall.transpose(1, 2) @ tall  # of every two columns of the small map
    squares = torch.einsum("yjx,xj->yx", products @ columns.T, columns)
    return squares.clamp(min=torch.finfo(features.dtype).tiny).sqrt()


def _matrices(features: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return R ``(H, h)`` and C ``(W, w)``; R f C' enlarges a map f bilinearly."""
    rows, columns = (
        functional.interpolate(torch.eye(old)[None], new, mode="linear", align_corners=False)[0].T
        for old, new in zip(features.shape[-2:], size, strict=True)
    )
    return rows.to(features), columns.to(features)


def _numbered(rows: npt.NDArray[np.intp], classes: tuple[int, ...]) -> LabelMap:
    """Convert row indices of a stack, background first, to class numbers."""
    numbers: LabelMap = np.array((0, *classes), np.uint8)[rows]
    return numbers
