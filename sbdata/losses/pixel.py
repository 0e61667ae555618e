"""Cross-entropy: plain, balanced by foreground and background, and ``sb_ce.v2``, balanced by size.

All are called as ``loss(logits, target, weights=None)``.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.losses.inputs import prepared
from sbdata.losses.ratio import PixelMean, PixelRatio, or_one
from sbdata.losses.weights import TAU, check_options, size_weights

LOSS = "sb_ce.v2"
REDUCTIONS = ("weighted", "pixels")


class CrossEntropy(PixelMean):
    """Mean cross-entropy over the pixels that are not void; 0 if all are void.

    ``torch.nn.CrossEntropyLoss`` gives NaN for a batch that is all void; otherwise the two are
    equal.

    Args:
        ignore_index: Value of void pixels.

    Attributes:
        needs_weights: Whether size weights change the value.

    >>> import torch
    >>> loss = CrossEntropy()
    >>> loss(torch.zeros(1, 4, 1, 2), torch.tensor([[[3, 255]]]))  # log 4
    tensor(1.3863)
    """

    needs_weights: bool = False

    def total(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the sum of the cross-entropy."""
        del weights
        logits, target = prepared(logits, target, self.ignore_index)
        return F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="sum")


class BalancedCrossEntropy(nn.Module):
    """Average of the mean cross-entropy over background pixels and that over foreground pixels.

    If one of the two is absent, the loss is the mean over the other. The means are taken over the
    batch. The training of DeepLab on CLIMS pseudo-masks uses this loss (github.com/CVI-SZU/CLIMS,
    segmentation/deeplabv2, with a backbone that starts from ImageNet).

    Args:
        ignore_index: Value of void pixels.
    """

    needs_weights: bool = False

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch; see :class:`CrossEntropy` for the arguments."""
        del weights
        logits, target = prepared(logits, target, self.ignore_index)
        each = F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="none")
        background = target == 0
        foreground = (target != self.ignore_index) & ~background
        means = [(each * kind).sum() / or_one(kind.sum()) for kind in (background, foreground)]
        kinds = background.any().long() + foreground.any().long()
        return sum(means) / kinds.clamp(min=1)


class SizeBalancedCrossEntropy(PixelRatio):
    """``sb_ce.v2``: weighted mean cross-entropy that gives pixels of small regions more weight.

    The loss is the sum of weight times cross-entropy, divided by the sum of the weights, both over
    the pixels that are not void. The weights are those of
    :func:`~sbdata.losses.weights.size_weights`. If each image has one region without holes, they
    are all 1, and the value is that of :class:`CrossEntropy`.

    This is the loss of Mun et al., "Small Objects Matters in Weakly-Supervised Semantic
    Segmentation" (WACV 2024), as the authors' released code computes it
    (github.com/Cheolhyun-Mun/wsss_small_object_matters, commit 629dd2c), with two differences: a
    batch that is all void gives 0 instead of NaN, and pixels whose cross-entropy is exactly 0 in
    float32 stay in the sum of the weights.

    Args:
        tau: Largest weight.
        normalizer: Numerator of the weights, ``"image"`` (version 2) or ``"class"``; see
            ``size_weights``.
        regions: Kind of regions, ``"outlines"`` (version 2) or ``"components"``; see
            ``size_weights``.
        reduction: Divisor of the sum: ``"weighted"`` (version 2) divides by the sum of the weights,
            ``"pixels"`` by the number of pixels that are not void.
        ignore_index: Value of void pixels, in 1..255.

    Raises:
        InputError: If an option is out of range.

    >>> import torch
    >>> logits = torch.zeros(1, 2, 1, 4)
    >>> logits[0, 1, 0, 0] = 2  # the first pixel, a region of one among three, is right
    >>> loss = SizeBalancedCrossEntropy()(logits, torch.tensor([[[1, 0, 1, 1]]]))
    >>> loss  # (3 * 0.1269 + (1 + 3/2 + 3/2) * 0.6931) / (3 + 1 + 3/2 + 3/2)
    tensor(0.4505)
    """

    needs_weights: bool = True

    def __init__(
        self,
        tau: float = TAU,
        normalizer: str = "image",
        regions: str = "outlines",
        reduction: str = "weighted",
        ignore_index: int = 255,
    ) -> None:
        super().__init__(ignore_index)
        check_options(tau, normalizer, regions, ignore_index)
        if reduction not in REDUCTIONS:
            msg = f"reduction must be one of {', '.join(REDUCTIONS)}, not {reduction!r}"
            raise InputError(msg)
        self.tau, self.normalizer, self.regions = tau, normalizer, regions
        self.reduction = reduction

    def total(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the sum of weight times cross-entropy.

        Args:
            logits: Logits ``(N, C + 1, H, W)``, floats; the computation uses float32 or wider.
            target: Class numbers ``(N, H, W)``, int64 or uint8.
            weights: Size weights of the target, ``(N, H, W)``; None to compute them here with the
                options of this loss.

        Raises:
            InputError: If the shapes do not match.
        """
        logits, target = prepared(logits, target, self.ignore_index)
        weights = self._weights(target, weights)
        each = F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="none")
        return (each * weights.to(each.dtype)).sum()

    def normaliser(self, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the sum of the weights, or the number, of the pixels that are not void."""
        known = target != self.ignore_index
        if self.reduction == "pixels":
            return known.sum().float()
        return (self._weights(target, weights) * known).sum()

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch; see :meth:`total` for the arguments."""
        return super().forward(logits, target, self._weights(target, weights))

    def weigh(self, target: Tensor) -> Tensor:
        """Return the size weights of class numbers ``(N, H, W)``, with this loss's options."""
        found: Tensor = size_weights(
            target,
            tau=self.tau,
            normalizer=self.normalizer,
            regions=self.regions,
            ignore_index=self.ignore_index,
        )
        return found

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        names = ("tau", "normalizer", "regions", "reduction", "ignore_index")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def _weights(self, target: Tensor, weights: Tensor | None) -> Tensor:
        if weights is None:
            return self.weigh(target)
        if weights.shape != target.shape:
            msg = (
                f"weights {tuple(weights.shape)} and target {tuple(target.shape)} have different "
                "shapes; cut and flip them together"
            )
            raise InputError(msg)
        return weights
