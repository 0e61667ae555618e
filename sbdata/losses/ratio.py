"""Losses that are a quotient of two sums over pixels, so that parts of a batch combine exactly."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from sbdata.losses.inputs import prepared


class PixelRatio(nn.Module, ABC):
    """A sum over pixels, divided by a sum that the logits have no part in.

    Such a loss of a whole batch is the sum of its parts' ``total``, divided by the sum of their
    ``normaliser``, whatever parts the batch is divided into: accumulated ones, or those of several
    processes. Where the normaliser is 0, which means that all is void, the loss is 0.

    Args:
        ignore_index: value of void pixels.
    """

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            logits: ``(N, C + 1, H, W)`` floats; computed with in float32 or wider.
            target: ``(N, H, W)`` class numbers, int64 or uint8.
            weights: ``(N, H, W)`` weights of the pixels, for losses that need them.

        Raises:
            InputError: if the shapes do not belong together.
        """
        logits, target = prepared(logits, target, self.ignore_index)
        total = self.total(logits, target, weights)
        return total / or_one(self.normaliser(target, weights))

    @abstractmethod
    def total(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the sum over the pixels of a batch."""

    @abstractmethod
    def normaliser(self, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return what the sum is divided by, as a float32 number."""


class PixelMean(PixelRatio):
    """A mean over the pixels that are not void."""

    def normaliser(self, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the number of pixels that are not void."""
        del weights
        return (target != self.ignore_index).sum().float()


def or_one(normaliser: Tensor) -> Tensor:
    """Return a normaliser, or 1 if it is 0, so that an empty sum is divided by something."""
    return torch.where(normaliser > 0, normaliser, 1)
