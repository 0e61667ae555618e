"""Salient scores: pseudo-masks whose background is what does not stand out, with doubt as 255.

The labels of DRS and of NS-ROM: background's score is 1 less the saliency, weak maps count for
nothing, and pixels that the cues disagree on teach nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sbdata.masks import VOID, LabelMap
from sbdata_baselines.stages.maps import ClassMaps, FloatMap
from sbdata_baselines.stages.seeds import argmax_mask, score_stack


def scored_labels(
    maps: ClassMaps,
    background: FloatMap,
    *,
    floor: float,
    conflict: float,
    most: int,
    unlabelled: npt.NDArray[np.bool_],
    doubt: float | None = None,
) -> LabelMap:
    """Give each pixel its strongest class, background, or 255 if the cues disagree.

    Args:
        maps: Maps of the present classes.
        background: score of the background, ``(H, W)``; it wins a tie.
        floor: class scores below this are 0.
        conflict: score above which a class, or the background, is strong.
        most: strong scores that a pixel may have; with more it is 255.
        unlabelled: ``(H, W)``, where background is not believed: it becomes 255.
        doubt: class score above which background is not believed, either; None for none.

    Returns:
        uint8 ``(H, W)``.
    """
    scores = np.where(maps.maps < floor, np.float32(0), maps.maps)
    strong = ClassMaps(maps.classes, scores)
    labels = argmax_mask(strong, background)
    doubted = unlabelled
    if doubt is not None:
        doubted = doubted | (scores > doubt).any(axis=0)
    torn = (score_stack(strong, background) > conflict).sum(axis=0) > most
    void: LabelMap = np.where(torn | ((labels == 0) & doubted), np.uint8(VOID), labels)
    return void


def without_sparse(labels: LabelMap, least: float) -> LabelMap:
    """Return labels, or 255 everywhere if less than a share of the pixels has a class.

    Args:
        labels: uint8 ``(H, W)``.
        least: the share; 0 keeps all labels.

    >>> without_sparse(np.array([[1, 0], [0, 255]], np.uint8), 0.3).tolist()
    [[255, 255], [255, 255]]
    """
    seen = float(np.mean((labels != 0) & (labels != VOID)))
    return np.full_like(labels, VOID) if seen < least else labels
