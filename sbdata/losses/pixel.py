"""Cross-entropy in three ways: plain, balanced by kind of pixel, and balanced by object size."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.losses.inputs import prepared
from sbdata.losses.weights import TAU, check_options, size_weights

LOSS = "sb_ce.v1"


class CrossEntropy(nn.Module):
    """Mean cross-entropy over the pixels that are not void; 0 where all are.

    ``torch.nn.CrossEntropyLoss`` gives NaN for a batch that is void altogether; otherwise the two
    are equal.

    Args:
        ignore_index: the value of void.

    Attributes:
        needs_weights: whether size weights change the value.
        averages_pixels: whether the value is a mean over the non-void pixels, so that batches
            combine by their numbers of such pixels.

    >>> import torch
    >>> loss = CrossEntropy()
    >>> loss(torch.zeros(1, 4, 1, 2), torch.tensor([[[3, 255]]]))  # log 4
    tensor(1.3863)
    """

    needs_weights: bool = False
    averages_pixels: bool = True

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            logits: ``(N, C + 1, H, W)`` floats; computed with in float32 or wider.
            target: ``(N, H, W)`` class numbers, int64 or uint8.
            weights: not used; every loss is called alike.

        Raises:
            InputError: if the shapes do not belong together.
        """
        del weights
        logits, target = prepared(logits, target)
        total = F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="sum")
        return total / _at_least_one(target != self.ignore_index)


class BalancedCrossEntropy(nn.Module):
    """Mean over the background's pixels plus mean over the foreground's, halved.

    Where one kind is absent it is the mean over the other. The means are taken over the batch. As
    in the training of DeepLab on CLIMS pseudo-masks (github.com/CVI-SZU/CLIMS,
    segmentation/deeplabv2), where the backbone starts from ImageNet.

    Args:
        ignore_index: the value of void.
    """

    needs_weights: bool = False
    averages_pixels: bool = False

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch; arguments as for :class:`CrossEntropy`."""
        del weights
        logits, target = prepared(logits, target)
        each = F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="none")
        background = target == 0
        foreground = (target != self.ignore_index) & ~background
        means = [
            (each * kind).sum() / _at_least_one(kind) for kind in (background, foreground)
        ]  # of an absent kind: 0
        kinds = background.any().long() + foreground.any().long()
        return sum(means) / kinds.clamp(min=1)


class SizeBalancedCrossEntropy(nn.Module):
    """``sb_ce.v1``: cross-entropy whose pixels weigh more the smaller their component is.

    Sum of weight times cross-entropy, over the number of pixels that are not void. The weights are
    those of :func:`~sbdata.losses.weights.size_weights`; with one component a class they are all 1
    and the value is that of :class:`CrossEntropy`. This is our own reading of the size-balanced
    cross-entropy of Mun et al., "Small Objects Matters in Weakly-Supervised Semantic Segmentation"
    (WACV 2024, arXiv 2309.14117), which comes without code.

    Args:
        tau: no weight is larger.
        normalizer: ``"class"`` (version 1) or ``"image"``.
        ignore_index: the value of void, in 1..255.

    Raises:
        InputError: if an option is out of range.

    >>> import torch
    >>> logits, target = torch.zeros(1, 2, 1, 4), torch.tensor([[[1, 0, 1, 1]]])
    >>> loss = SizeBalancedCrossEntropy()(logits, target)
    >>> loss / CrossEntropy()(logits, target)  # (3 + 1 + 3/2 + 3/2) / 4
    tensor(1.7500)
    """

    needs_weights: bool = True
    averages_pixels: bool = True

    def __init__(
        self, tau: float = TAU, normalizer: str = "class", ignore_index: int = 255
    ) -> None:
        super().__init__()
        check_options(tau, normalizer, ignore_index)
        self.tau, self.normalizer, self.ignore_index = tau, normalizer, ignore_index

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            logits: ``(N, C + 1, H, W)`` floats; computed with in float32 or wider.
            target: ``(N, H, W)`` class numbers, int64 or uint8.
            weights: ``(N, H, W)`` size weights of the target; None to compute them here, with the
                options of this loss.

        Raises:
            InputError: if the shapes do not belong together.
        """
        if weights is None:
            weights = self.weigh(target)
        elif weights.shape != target.shape:
            msg = (
                f"weights {tuple(weights.shape)} and target {tuple(target.shape)} have different "
                "shapes; cut and flip them together"
            )
            raise InputError(msg)
        logits, target = prepared(logits, target)
        each = F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="none")
        total = (each * weights.to(each.dtype)).sum()
        return total / _at_least_one(target != self.ignore_index)

    def weigh(self, target: Tensor) -> Tensor:
        """Return the size weights of ``(N, H, W)`` class numbers, with this loss's options."""
        found: Tensor = size_weights(
            target, tau=self.tau, normalizer=self.normalizer, ignore_index=self.ignore_index
        )
        return found

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        return f"tau={self.tau}, normalizer={self.normalizer!r}, ignore_index={self.ignore_index}"


def _at_least_one(counted: Tensor) -> Tensor:
    """Return how many are True, or 1 so that an empty sum is divided by something."""
    return counted.sum().clamp(min=1)
