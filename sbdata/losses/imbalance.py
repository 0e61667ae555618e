"""Common losses against class imbalance, as segmentation-models-pytorch computes them.

That package is imported when a loss is created, since it takes seconds to load. Each loss is
wrapped so that it is called like the other losses, computes in float32 even under autocast, and
gives 0 with zero gradients for a batch that is all void.
"""

from __future__ import annotations

from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.losses.inputs import prepared
from sbdata.losses.ratio import PixelMean

_MODE = "multiclass"


class FocalLoss(PixelMean):
    """Focal loss, each class against the rest: mean over non-void pixels and over classes.

    It is ``-(1 - p)^gamma log p`` of sigmoid probabilities (Lin et al., "Focal Loss for Dense
    Object Detection", ICCV 2017, eq. 5). The library's own mean over no pixels would be NaN, so
    the library's sum is divided here.

    Args:
        gamma: Focusing exponent, 0 or at least 1. Between 0 and 1, the gradient of a pixel with
            certain prediction is NaN.
        alpha: Weight of the class against the rest, which has weight ``1 - alpha``; None for no
            weights.
        ignore_index: Value of void pixels.

    Raises:
        InputError: If gamma is out of range.
    """

    needs_weights: bool = False

    def __init__(
        self, gamma: float = 2.0, alpha: float | None = None, ignore_index: int = 255
    ) -> None:
        super().__init__(ignore_index)
        if not (gamma == 0 or gamma >= 1):
            msg = f"gamma must be 0 or at least 1, not {gamma}"
            raise InputError(msg)
        from segmentation_models_pytorch import losses

        self.summed = losses.FocalLoss(
            _MODE, alpha=alpha, gamma=gamma, ignore_index=ignore_index, reduction="sum"
        )

    def total(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the sum over pixels and classes."""
        del weights
        logits, target = prepared(logits, target, self.ignore_index)
        total: Tensor = self.summed(logits, target)
        return total


class DiceLoss(nn.Module):
    """One minus the soft Dice of each class over the batch's non-void pixels, mean over classes.

    Milletari, Navab and Ahmadi, "V-Net" (3DV 2016), for several classes. As in the library, a class
    that is absent from the batch counts 0 in a mean over all C + 1 classes.

    Args:
        ignore_index: Value of void pixels.
    """

    needs_weights: bool = False

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        from segmentation_models_pytorch import losses

        self.soft = losses.DiceLoss(_MODE, ignore_index=ignore_index)

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch. The arguments match ``CrossEntropy``; weights are unused."""
        del weights
        logits, target = prepared(logits, target, self.ignore_index)
        return self.soft(logits, target)


class LovaszSoftmax(nn.Module):
    """Lovász-Softmax loss over the batch: an extension of one minus IoU, mean over classes present.

    Berman, Triki and Blaschko, "The Lovász-Softmax loss" (CVPR 2018).

    Args:
        ignore_index: Value of void pixels.
    """

    needs_weights: bool = False

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        from segmentation_models_pytorch import losses

        self.sorted = losses.LovaszLoss(_MODE, per_image=False, ignore_index=ignore_index)

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch. The arguments match ``CrossEntropy``; weights are unused.

        The sum is needed because the library returns an empty tensor if all pixels are void, and
        float32 because the library mixes float32 into wider types.
        """
        del weights
        logits, target = prepared(logits, target, self.ignore_index)
        return self.sorted(logits.float(), target).sum()
