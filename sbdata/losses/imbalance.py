"""Losses that are commonly tried against imbalance, as segmentation-models-pytorch computes them.

They are imported when a loss is made, since that package takes seconds to load. Each is wrapped so
that it is called as the other losses are, computes in float32 whatever autocast made of the logits,
and gives 0 with zero gradients for a batch that is void altogether.
"""

from __future__ import annotations

from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.losses.inputs import prepared
from sbdata.losses.ratio import PixelMean

_MODE = "multiclass"


class FocalLoss(PixelMean):
    """Focal loss, one class against the rest: mean over non-void pixels and over classes.

    ``-(1 - p)^gamma log p`` of sigmoid probabilities (Lin et al., "Focal Loss for Dense Object
    Detection", ICCV 2017, eq. 5). The library's own mean over no pixels would be NaN, so the sum is
    taken and divided here.

    Args:
        gamma: 0 or at least 1. Between them the gradient of a pixel that is certain is no number.
        alpha: weight of the class against the rest, which weighs ``1 - alpha``; None for neither.
        ignore_index: the value of void.

    Raises:
        InputError: if gamma is out of range.
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
    that the batch does not hold counts 0 in a mean over all C + 1 classes.

    Args:
        ignore_index: the value of void.
    """

    needs_weights: bool = False

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        from segmentation_models_pytorch import losses

        self.soft = losses.DiceLoss(_MODE, ignore_index=ignore_index)

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch; arguments as for ``CrossEntropy``, weights are not used."""
        del weights
        logits, target = prepared(logits, target, self.ignore_index)
        return self.soft(logits, target)


class LovaszSoftmax(nn.Module):
    """Lovász-Softmax over the batch: extends one minus IoU, mean over the classes present.

    Berman, Triki and Blaschko, "The Lovász-Softmax loss" (CVPR 2018).

    Args:
        ignore_index: the value of void.
    """

    needs_weights: bool = False

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        from segmentation_models_pytorch import losses

        self.sorted = losses.LovaszLoss(_MODE, per_image=False, ignore_index=ignore_index)

    def forward(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch; arguments as for ``CrossEntropy``, weights are not used.

        The library returns an empty tensor for pixels that are all void, hence the sum; and it
        mixes float32 into wider numbers, hence float32.
        """
        del weights
        logits, target = prepared(logits, target, self.ignore_index)
        return self.sorted(logits.float(), target).sum()
