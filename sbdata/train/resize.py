"""Resizing: maps bilinearly, labels by nearest neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]
"""Height and width."""


def resized(maps: Tensor, size: Sequence[int], *, antialias: bool = False) -> Tensor:
    """Resize ``(N, C, h, w)`` maps bilinearly; corners are not aligned.

    Args:
        maps: Floating-point maps.
        size: Height and width. Maps of this size are returned unchanged.
        antialias: True if each pixel of a smaller result is a mean over all pixels that it covers.
    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return functional.interpolate(
        maps, size=tuple(size), mode="bilinear", align_corners=False, antialias=antialias
    )


def nearest(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize ``(N, H, W)`` maps to ``(N, h, w)``: each cell takes the pixel under its centre.

    Pillow's ``NEAREST``, with which the released code resizes labels, samples in the same way. If a
    centre lies between two pixels, the later one is taken here; in Pillow, its rounding decides.
    PyTorch's ``mode="nearest"`` takes the pixel under the cell's corner, half a cell off.

    >>> nearest(torch.tensor([[[1, 2, 3, 4, 5, 6]]]), (1, 2))
    tensor([[[2, 5]]])
    """
    rows, columns = (
        _centres(old, new, maps.device) for old, new in zip(maps.shape[-2:], size, strict=True)
    )
    return maps[:, rows[:, None], columns[None, :]]


@lru_cache(maxsize=64)  # finding them takes longer than reading the pixels of a small map
def _centres(old: int, new: int, device: torch.device) -> Tensor:
    return (torch.arange(new, device=device) * 2 + 1) * old // (2 * new)
