"""Segmentation losses that give weight to small objects, and common alternatives (extra ``train``).

:class:`SizeBalancedCrossEntropy` is ``sb_ce.v2``: the size-balanced cross-entropy of Mun et al.,
"Small Objects Matters in Weakly-Supervised Semantic Segmentation" (WACV 2024), as the authors'
released code computes it. :func:`size_weights` computes its pixel weights, in a data worker.
:class:`ElasticWeightConsolidation` is the paper's penalty for the second half of the training. The
other losses are common alternatives. :func:`make_loss` creates each by name, and all are called in
the same way: ``loss(logits, target, weights)``.
"""

from sbdata.losses.ewc import ElasticWeightConsolidation
from sbdata.losses.fisher import MovingFisher, estimate_fisher, scaled_fisher
from sbdata.losses.imbalance import DiceLoss, FocalLoss, LovaszSoftmax
from sbdata.losses.pixel import (
    LOSS,
    REDUCTIONS,
    BalancedCrossEntropy,
    CrossEntropy,
    SizeBalancedCrossEntropy,
)
from sbdata.losses.ratio import PixelMean, PixelRatio
from sbdata.losses.registry import LOSSES, make_loss, register_loss
from sbdata.losses.weights import NORMALIZERS, REGIONS, TAU, size_weights

__all__ = [
    "LOSS",
    "LOSSES",
    "NORMALIZERS",
    "REDUCTIONS",
    "REGIONS",
    "TAU",
    "BalancedCrossEntropy",
    "CrossEntropy",
    "DiceLoss",
    "ElasticWeightConsolidation",
    "FocalLoss",
    "LovaszSoftmax",
    "MovingFisher",
    "PixelMean",
    "PixelRatio",
    "SizeBalancedCrossEntropy",
    "estimate_fisher",
    "make_loss",
    "register_loss",
    "scaled_fisher",
    "size_weights",
]
