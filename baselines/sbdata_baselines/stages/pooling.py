"""Pooling: the features of a box without those of the background inside it.

Oh, Kim and Ham, "Background-Aware Pooling and Noise-Aware Loss for Weakly-Supervised Semantic
Segmentation" (CVPR 2021). The background outside all boxes gives prototypes. Cells of a box that
look like them get little weight in the mean of the box's features. Here, features are constant
within a cell, and each cell is weighted by the area that the box covers, so a box smaller than a
cell has features too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-6  # smallest weight, so that a box with only background has features


def region_samples(
    features: Tensor,
    boxes: Tensor,
    background: Tensor,
    grid: int = 4,
    parts: int = 2,
    least_background: float = 0.125,
) -> tuple[Tensor, Tensor]:
    """Return training samples of the region classifier: features, and the class of each.

    Each box gives ``parts ** 2`` samples of its class; each grid cell that has background gives one
    sample of background. The boxes of an image with too little background are pooled with equal
    weights; its background still gives samples.

    Args:
        features: Features, ``(N, D, h, w)``.
        boxes: Boxes, ``(N, B, 5)``: class, left, upper, right, lower edge in pixels; class 0 is no
            box.
        background: Background, ``(N, H, W)``; 1 outside all boxes.
        grid: Number of background cells per side.
        parts: Number of parts of a box per side.
        least_background: Smallest fraction of an image that must be background to weight its boxes.

    Returns:
        Features, ``(M, D)``, and classes, int64 ``(M,)``.
    """
    size = (features.shape[-2], features.shape[-1])
    prototypes, valid = background_prototypes(features, shares_of(background, size), grid)
    trusted = background.float().mean(dim=(1, 2)) >= least_background
    attention = background_attention(features, prototypes, valid & trusted[:, None])
    scale = boxes.new_tensor([
        new / old for new, old in zip(size, background.shape[-2:], strict=True)
    ])  # fmt: skip
    areas = part_areas(boxes[..., 1:] * scale.flip(0).repeat(2), size, parts)
    objects = pooled_parts(features, areas, attention)
    classes = boxes[..., 0].long().repeat_interleave(parts**2, dim=1)
    samples = torch.cat([objects[classes > 0], prototypes[valid]])
    return samples, torch.cat([classes[classes > 0], classes.new_zeros(int(valid.sum()))])


def shares_of(background: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the fraction of background in each cell of a map.

    Args:
        background: Background, ``(N, H, W)``; 1 outside all boxes.
        size: Height and width of the map.

    Returns:
        Fractions, float32 ``(N, h, w)`` in [0, 1].
    """
    return functional.adaptive_avg_pool2d(background[:, None].float(), size)[:, 0]


def background_prototypes(features: Tensor, shares: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Return the mean background features of each cell of a regular grid.

    Args:
        features: Features, ``(N, D, h, w)``.
        shares: Background fractions, ``(N, h, w)``.
        grid: Number of cells per side; a map that it does not divide is padded with zero weight.

    Returns:
        Prototypes, ``(N, grid ** 2, D)``, and bool ``(N, grid ** 2)``, True if the cell has
        background.
    """
    sums = _grid_sums(features * shares[:, None], grid)
    area = _grid_sums(shares[:, None], grid)
    means = sums / area.clamp(min=torch.finfo(area.dtype).tiny)
    return means.flatten(2).transpose(1, 2), area.flatten(1) > 0


def background_attention(features: Tensor, prototypes: Tensor, valid: Tensor) -> Tensor:
    """Return how similar each position is to the background.

    It is the mean over the valid prototypes of the positive part of the cosine similarity.

    Args:
        features: Features, ``(N, D, h, w)``.
        prototypes: Background prototypes, ``(N, J, D)``.
        valid: Validity of the prototypes, bool ``(N, J)``; with none valid, the attention is 0.

    Returns:
        Attention, ``(N, h, w)`` in [0, 1].
    """
    directions = functional.normalize(features.flatten(2), dim=1)
    likeness = (functional.normalize(prototypes, dim=2) @ directions).relu() * valid[:, :, None]
    mean = likeness.sum(dim=1) / valid.sum(dim=1, keepdim=True).clamp(min=1)
    return mean.clamp(max=1).unflatten(1, features.shape[-2:])


def pooled_parts(features: Tensor, areas: Tensor, attention: Tensor) -> Tensor:
    """Return the means of features, weighted by area and by ``1 - attention``.

    Args:
        features: Features, ``(N, D, h, w)``.
        areas: Area of each cell that a region covers, ``(N, R, h * w)``.
        attention: Attention to background, ``(N, h, w)``.

    Returns:
        Means, ``(N, R, D)``; 0 for a region without area.
    """
    weights = areas * (1 - attention).clamp(min=_TINY).flatten(1)[:, None]
    weights = weights / weights.sum(dim=2, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    return weights @ features.flatten(2).transpose(1, 2)


def part_areas(boxes: Tensor, size: tuple[int, int], parts: int) -> Tensor:
    """Return the area that each part of each box covers of each cell of a map.

    Args:
        boxes: Boxes, ``(N, B, 4)``: left, upper, right, lower edge in cells.
        size: Height and width of the map.
        parts: Number of parts per side into which a box is divided.

    Returns:
        Areas, ``(N, B * parts ** 2, h * w)``; the parts of a box follow each other row by row.

    >>> part_areas(torch.tensor([[[0.5, 0.0, 2.0, 1.0]]]), (1, 3), 1).tolist()
    [[[0.5, 1.0, 0.0]]]
    """
    left, upper, right, lower = boxes.unbind(-1)
    rows = _lengths(upper, lower, size[0], parts)[:, :, :, None, :, None]
    columns = _lengths(left, right, size[1], parts)[:, :, None, :, None, :]
    return (rows * columns).flatten(4).flatten(1, 3)


def _lengths(start: Tensor, stop: Tensor, count: int, parts: int) -> Tensor:
    """Return the lengths that parts of intervals cover of unit cells, ``(N, B, parts, count)``."""
    steps = torch.arange(parts + 1, device=start.device) / parts
    edges = start[..., None] + (stop - start)[..., None] * steps
    cells = torch.arange(count, device=start.device)
    shared = torch.minimum(edges[..., 1:, None], cells + 1) - torch.maximum(
        edges[..., :-1, None], cells
    )
    return shared.clamp(min=0)


def _grid_sums(maps: Tensor, grid: int) -> Tensor:
    """Sum ``(N, D, h, w)`` maps over the cells of a grid; return ``(N, D, grid, grid)``."""
    height, width = maps.shape[-2:]
    padded = functional.pad(maps, (0, -width % grid, 0, -height % grid))
    return padded.unflatten(3, (grid, -1)).unflatten(2, (grid, -1)).sum(dim=(3, 5))
