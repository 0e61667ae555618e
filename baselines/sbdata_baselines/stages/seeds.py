"""Seeds: the pixels whose class is certain according to the maps; the others are void (255).

There are two rules. IRN compares the maps with two constant background scores; PSA and SEAM use
``(1 - max) ** alpha`` for two alphas. In both, what exceeds the strong background is certain
foreground, and what is below the weak one is certain background.
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
        maps: Maps of the present classes.
        image: Image for ``refine``, uint8 ``(H, W, 3)``.
        foreground: Score that a class must exceed to be a foreground seed.
        background: Score that no class may exceed in a background seed.
        refine: Refinement of both labellings; None leaves them unchanged.
        certainty: Probability of each pixel's label in the input of ``refine``; the other labels
            share the rest.

    Returns:
        Seeds, uint8 ``(H, W)``: a class, 0, or 255 for uncertain pixels.
    """

    def labelled(score: float) -> LabelMap:
        labels = score_stack(maps, score).argmax(axis=0)
        if refine is not None:
            labels = refine(image, _label_stack(labels, len(maps.maps) + 1, certainty)).argmax(0)
        return _numbered(labels, maps)

    strong, weak = labelled(foreground), labelled(background)
    seeds = np.full_like(strong, VOID)
    seeds[weak == 0] = 0
    seeds[strong > 0] = strong[strong > 0]  # refined labellings may disagree: foreground wins
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
        maps: Maps of the present classes.
        image: Image for ``refine``, uint8 ``(H, W, 3)``.
        low: Exponent alpha of the strong background; classes that exceed it are seeds.
        high: Exponent alpha of the weak background; pixels that it wins are background seeds.
        refine: Refinement of the scores, scaled to sum to 1; None leaves them unchanged.

    Returns:
        Seeds, uint8 ``(H, W)``: a class, 0, or 255 for uncertain pixels.
    """
    strong, weak = (
        mask_of(score_stack(maps, alpha_background(maps, alpha)), maps, image, refine)
        for alpha in (low, high)
    )
    seeds = np.where(strong > 0, strong, np.uint8(VOID))
    seeds[weak == 0] = 0  # refined labellings may disagree: background wins
    return seeds


def argmax_mask(maps: ClassMaps, background: float | FloatMap, power: float = 1.0) -> LabelMap:
    """Return each pixel's strongest class, or background if none exceeds it.

    Args:
        maps: Maps of the present classes.
        background: Background score, one for all pixels or a map.
        power: Exponent applied to the maps first.

    Returns:
        Class numbers, uint8 ``(H, W)``; a class that equals the background loses.

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
    """Stack the background's score and the maps, which are raised to a power first.

    Returns:
        Scores, float32 ``(K + 1, H, W)``, background first.
    """
    stack = np.empty((len(maps.maps) + 1, *maps.size), np.float32)
    stack[0] = background
    stack[1:] = maps.maps if power == 1 else maps.maps ** np.float32(power)
    return stack


def mask_of(
    stack: FloatMap, maps: ClassMaps, image: npt.NDArray[np.uint8], refine: Refiner | None
) -> LabelMap:
    """Return the class of each pixel's largest score, after refinement.

    Args:
        stack: Non-negative scores, float32 ``(K + 1, H, W)``, background first.
        maps: Class maps; their classes are those of the rows after the first.
        image: Image for ``refine``, uint8 ``(H, W, 3)``.
        refine: Refinement of the scores, scaled to sum to 1 at each pixel.
    """
    if refine is not None:
        total = stack.sum(axis=0)
        stack = stack / np.maximum(total, np.finfo(np.float32).tiny)
        stack = refine(image, stack)
    return _numbered(stack.argmax(axis=0), maps)


def _label_stack(labels: npt.NDArray[Any], count: int, certainty: float) -> FloatMap:
    """Return probabilities, ``(count, H, W)``, with ``certainty`` for the label of each pixel."""
    if count == 1:
        return np.ones((1, *labels.shape), np.float32)
    chosen = np.arange(count)[:, None, None] == labels
    return np.where(chosen, certainty, (1 - certainty) / (count - 1)).astype(np.float32)


def _numbered(labels: npt.NDArray[Any], maps: ClassMaps) -> LabelMap:
    """Convert row indices of a stack to class numbers."""
    numbers: LabelMap = np.array((0, *maps.classes), np.uint8)[labels]
    return numbers
