"""Segmentation losses that give weight to small objects, and common alternatives (extra ``train``).

:class:`SizeBalancedCrossEntropy` is ``sb_ce.v2``: the size-balanced cross-entropy of Mun et al.,
"Small Objects Matters in Weakly-Supervised Semantic Segmentation" (WACV 2024), as the authors'
released code computes it. :func:`size_weights` computes its pixel weights, in a data worker.
:class:`ElasticWeightConsolidation` is the paper's penalty for the second half of the training. The
other losses are common alternatives. :func:`sbdata.losses.registry.make_loss` creates each by name,
and all are called in the same way: ``loss(logits, target, weights)``.
"""

from sbdata.losses.ewc import ElasticWeightConsolidation
from sbdata.losses.pixel import CrossEntropy, SizeBalancedCrossEntropy
from sbdata.losses.ratio import PixelMean
from sbdata.losses.registry import register_loss
from sbdata.losses.weights import size_weights

__all__ = [
    "CrossEntropy",
    "ElasticWeightConsolidation",
    "PixelMean",
    "SizeBalancedCrossEntropy",
    "register_loss",
    "size_weights",
]
