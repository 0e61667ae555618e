"""Labels at the sizes of a network's outputs, and the weights of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Size = tuple[int, int]
"""Height and width."""


class Labels(NamedTuple):
    """What one output of a network is compared with.

    Attributes:
        target: ``(N, H, W)`` class numbers, 255 for void.
        weights: ``(N, H, W)`` float32 size weights of the target, if the loss needs them.
    """

    target: Tensor
    weights: Tensor | None = None


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
