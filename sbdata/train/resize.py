"""Resizing: maps bilinearly, labels by nearest neighbour."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]
"""Height and width."""


def resized(maps: Tensor, size: Sequence[int], *, antialias: bool = False) -> Tensor:
    """Bring ``(N, C, h, w)`` maps to a size, bilinearly; corners are not aligned.

    Args:
        maps: floating-point maps.
        size: height and width. Maps that have it are returned as they are.
        antialias: whether each pixel of a smaller size is a mean over all that it covers.
    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return functional.interpolate(
        maps, size=tuple(size), mode="bilinear", align_corners=False, antialias=antialias
    )


def nearest(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize ``(N, H, W)`` maps to ``(N, h, w)``: each cell takes the pixel under its centre.

    That is how Pillow's ``NEAREST`` samples, by which the released code resizes labels (a centre
    that lies between two pixels takes the later one here; Pillow's rounding decides there).
    ``mode="nearest"`` of PyTorch takes the pixel under the cell's corner, half a cell off.

    >>> nearest(torch.tensor([[[1, 2, 3, 4, 5, 6]]]), (1, 2))
    tensor([[[2, 5]]])
    """
    rows, columns = (
        (torch.arange(new, device=maps.device) * 2 + 1) * old // (2 * new)
        for old, new in zip(maps.shape[-2:], size, strict=True)
    )
    return maps[:, rows[:, None], columns[None, :]]
