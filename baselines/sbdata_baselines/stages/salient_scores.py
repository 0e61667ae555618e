"""Salient scores: pseudo-masks from class maps and saliency, with uncertain pixels as 255.

DRS and NS-ROM make their labels so: the background's score is 1 minus the saliency, low class
scores are set to 0, and pixels on which maps and saliency disagree become 255.
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
    """Return each pixel's strongest class, background, or 255 if maps and saliency disagree.

    Args:
        maps: Maps of the present classes.
        background: Score of the background, ``(H, W)``; it wins a tie.
        floor: Value below which class scores are set to 0.
        conflict: Value above which the score of a class, or of the background, is strong.
        most: Number of strong scores that a pixel may have; with more it becomes 255.
        unlabelled: Pixels whose background becomes 255, ``(H, W)``.
        doubt: Class score above which background becomes 255 too; None for no such limit.

    Returns:
        Labels, uint8 ``(H, W)``.
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
    """Return labels, or 255 everywhere if less than a fraction of the pixels has a class.

    Args:
        labels: Labels, uint8 ``(H, W)``.
        least: Smallest fraction; 0 keeps all labels.

    >>> without_sparse(np.array([[1, 0], [0, 255]], np.uint8), 0.3).tolist()
    [[255, 255], [255, 255]]
    """
    seen = float(np.mean((labels != 0) & (labels != VOID)))
    return np.full_like(labels, VOID) if seen < least else labels
