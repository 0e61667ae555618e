"""Losses that are a ratio of two sums over pixels, so that parts of a batch combine exactly."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from sbdata.losses.inputs import prepared


class PixelRatio(nn.Module, ABC):
    """A sum over pixels, divided by a sum that does not depend on the logits.

    The loss of a whole batch is the sum of its parts' ``total``, divided by the sum of their
    ``normaliser``. This holds for any division of the batch, such as accumulated parts or those of
    several processes. If the normaliser is 0 (all pixels are void), the loss is 0.

    Args:
        ignore_index: Value of void pixels.
    """

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            logits: Logits ``(N, C + 1, H, W)``, floats; the computation uses float32 or wider.
            target: Class numbers ``(N, H, W)``, int64 or uint8.
            weights: Weights of the pixels, ``(N, H, W)``, for losses that need them.

        Raises:
            InputError: If the shapes do not match.
        """
        logits, target = prepared(logits, target, self.ignore_index)
        total = self.total(logits, target, weights)
        return total / or_one(self.normaliser(target, weights))

    @abstractmethod
    def total(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the sum over the pixels of a batch."""

    @abstractmethod
    def normaliser(self, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the divisor of the sum as a float32 tensor."""


class PixelMean(PixelRatio):
    """A mean over the pixels that are not void."""

    def normaliser(self, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the number of pixels that are not void."""
        del weights
        return (target != self.ignore_index).sum().float()


def or_one(normaliser: Tensor) -> Tensor:
    """Return a normaliser, or 1 if it is 0, to avoid dividing by 0."""
    return torch.where(normaliser > 0, normaliser, 1)
