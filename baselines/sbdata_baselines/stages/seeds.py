"""Seeds: the pixels whose class the maps are sure of; the others are void (255).

Two rules are in use. IRN compares the maps with two constant background scores, PSA and SEAM with
``(1 - max) ** alpha`` for two alphas. In both, what wins against the strong background is sure
foreground, and what loses to the weak one is sure background.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.masks import VOID, LabelMap
from sbdata.train.refine import Refiner
from sbdata_baselines.stages.maps import ClassMaps, FloatMap


def confident_seeds(
    maps: ClassMaps,
    image: npt.NDArray[np.uint8],
    foreground: float = 0.30,
    background: float = 0.05,
    refine: Refiner | None = None,
    certainty: float = 0.7,
) -> LabelMap:
    """Return IRN's seeds from two constant background scores.

    Args:
        maps: of the present classes.
        image: uint8 ``(H, W, 3)``, for ``refine``.
        foreground: score that a class must exceed to be sure.
        background: score that no class may exceed where background is sure.
        refine: is applied to either labelling; None leaves them as they are.
        certainty: probability that a label is given when it is handed to ``refine``; the other
            labels share the rest.

    Returns:
        uint8 ``(H, W)``: a class, 0, or 255 between the two.
    """

    def labelled(score: float) -> LabelMap:
        labels = score_stack(maps, score).argmax(axis=0)
        if refine is not None:
            labels = refine(image, _label_stack(labels, len(maps.maps) + 1, certainty)).argmax(0)
        return _numbered(labels, maps)

    strong, weak = labelled(foreground), labelled(background)
    seeds = np.full_like(strong, VOID)
    seeds[weak == 0] = 0
    seeds[strong > 0] = strong[strong > 0]  # refinement may disagree; foreground then stands
    return seeds


def alpha_seeds(
    maps: ClassMaps,
    image: npt.NDArray[np.uint8],
    low: float = 4,
    high: float = 24,
    refine: Refiner | None = None,
) -> LabelMap:
    """Return the seeds of PSA and SEAM, from two alphas.

    Args:
        maps: of the present classes.
        image: uint8 ``(H, W, 3)``, for ``refine``.
        low: alpha of the strong background; classes that win are sure.
        high: alpha of the weak one; background that wins is sure.
        refine: is applied to the scores, scaled to sum to 1; None leaves them as they are.

    Returns:
        uint8 ``(H, W)``: a class, 0, or 255 between the two.
    """
    strong, weak = (
        mask_of(score_stack(maps, alpha_background(maps, alpha)), maps, image, refine)
        for alpha in (low, high)
    )
    seeds = np.where(strong > 0, strong, np.uint8(VOID))
    seeds[weak == 0] = 0  # refinement may disagree; background then stands
    return seeds


def argmax_mask(maps: ClassMaps, background: float | FloatMap, power: float = 1.0) -> LabelMap:
    """Give each pixel its strongest class, or background where none exceeds it.

    Args:
        maps: of the present classes.
        background: one score for all pixels, or a map of them.
        power: to which the maps are raised first.

    Returns:
        uint8 ``(H, W)`` class numbers; a class that equals the background loses.

    >>> maps = ClassMaps((3, 7), np.array([[[0.9, 0.2, 0.1]], [[0.5, 0.6, 0.25]]], np.float32))
    >>> argmax_mask(maps, background=0.25).tolist()
    [[3, 7, 0]]
    """
    return _numbered(score_stack(maps, background, power).argmax(axis=0), maps)


def alpha_background(maps: ClassMaps, alpha: float) -> FloatMap:
    """Return PSA's background score ``(1 - max over the classes) ** alpha``, float32 ``(H, W)``."""
    score: FloatMap = (1 - maps.maps.max(axis=0, initial=0)) ** np.float32(alpha)
    return score


def score_stack(maps: ClassMaps, background: float | FloatMap, power: float = 1.0) -> FloatMap:
    """Put the background's score before the maps, which are raised to a power first.

    Returns:
        float32 ``(K + 1, H, W)``.
    """
    stack = np.empty((len(maps.maps) + 1, *maps.size), np.float32)
    stack[0] = background
    stack[1:] = maps.maps if power == 1 else maps.maps ** np.float32(power)
    return stack


def mask_of(
    stack: FloatMap, maps: ClassMaps, image: npt.NDArray[np.uint8], refine: Refiner | None
) -> LabelMap:
    """Give each pixel the class of its largest score, after refinement.

    Args:
        stack: float32 ``(K + 1, H, W)`` scores, not negative, background first.
        maps: whose classes the rows after the first are.
        image: uint8 ``(H, W, 3)``, for ``refine``.
        refine: is applied to the scores, scaled to sum to 1 at each pixel.
    """
    if refine is not None:
        total = stack.sum(axis=0)
        stack = stack / np.maximum(total, np.finfo(np.float32).tiny)
        stack = refine(image, stack)
    return _numbered(stack.argmax(axis=0), maps)


def _label_stack(labels: npt.NDArray[Any], count: int, certainty: float) -> FloatMap:
    """Return probabilities ``(count, H, W)``, ``certainty`` for the label of each pixel."""
    if count == 1:
        return np.ones((1, *labels.shape), np.float32)
    chosen = np.arange(count)[:, None, None] == labels
    return np.where(chosen, certainty, (1 - certainty) / (count - 1)).astype(np.float32)


def _numbered(labels: npt.NDArray[Any], maps: ClassMaps) -> LabelMap:
    """Turn rows of a stack into class numbers."""
    numbers: LabelMap = np.array((0, *maps.classes), np.uint8)[labels]
    return numbers
