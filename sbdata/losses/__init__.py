"""Losses for segmentation that keep small objects in sight (extra ``train``).

:class:`SizeBalancedCrossEntropy` is ``sb_ce.v1``: this project's own, versioned reading of the
size-balanced cross-entropy that Mun et al. describe without code ("Small Objects Matters in
Weakly-Supervised Semantic Segmentation", WACV 2024). :func:`size_weights` gives its weights of the
pixels, in a data worker or on the device. :class:`ElasticWeightConsolidation` is the paper's
fine-tuning penalty. The others are what one would try instead; :func:`make_loss` knows them all by
name, and all are called alike: ``loss(logits, target, weights)``.
"""

from sbdata.losses.ewc import ElasticWeightConsolidation, estimate_fisher
from sbdata.losses.imbalance import DiceLoss, FocalLoss, LovaszSoftmax
from sbdata.losses.pixel import (
    LOSS,
    BalancedCrossEntropy,
    CrossEntropy,
    SizeBalancedCrossEntropy,
)
from sbdata.losses.registry import LOSSES, make_loss
from sbdata.losses.weights import NORMALIZERS, TAU, propagated_weights, size_weights

__all__ = [
    "LOSS",
    "LOSSES",
    "NORMALIZERS",
    "TAU",
    "BalancedCrossEntropy",
    "CrossEntropy",
    "DiceLoss",
    "ElasticWeightConsolidation",
    "FocalLoss",
    "LovaszSoftmax",
    "SizeBalancedCrossEntropy",
    "estimate_fisher",
    "make_loss",
    "propagated_weights",
    "size_weights",
]
