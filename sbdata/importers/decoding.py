"""Decode an image's maps or masks to one mask of the image's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sbdata.importers.dictionaries import ClassMaps, LayoutError, Maps
from sbdata.importers.pictures import Indices
from sbdata.importers.rules import Rule
from sbdata.importers.sources import Merge
from sbdata.masks import VOID

Map = npt.NDArray[np.float32]
Refine = Callable[[Maps], Maps]
"""Function that refines ``(K, H, W)`` probabilities of one image along the edges of its photo."""

_TINY = 1e-8


@dataclass(frozen=True)
class Fit:
    """Allowed changes to maps and masks that do not have their image's size.

    Attributes:
        crop: Whether to cut larger ones at the right and at the bottom, where methods' code pads
            images.
        resize: Whether to scale them: maps bilinearly, masks to the nearest pixel.
    """

    crop: bool = False
    resize: bool = False


def fitted_maps(maps: ClassMaps, size: tuple[int, int] | None, fit: Fit) -> tuple[ClassMaps, str]:
    """Crop or resize maps to their image's size.

    Args:
        maps: Maps of the image.
        size: Height and width of the image; if None (unknown), the maps keep their size.
        fit: Allowed changes.

    Returns:
        The maps and the change: ``""``, ``cropped`` or ``resized``.

    Raises:
        LayoutError: If the maps have another size and no allowed change fits.
    """
    found: tuple[int, int] = (maps.maps.shape[1], maps.maps.shape[2])
    if not maps.classes and maps.background is None:
        if size is None and found == (0, 0):
            msg = "no map, so the image's size is unknown; give the photos or a set"
            raise LayoutError(msg)
        return ClassMaps((), np.zeros((0, *(size or found)), np.float32)), ""
    how = _how(found, size, fit)
    if how == "" or size is None:
        return maps, ""
    change = _cropped if how == "cropped" else _scaled
    background = None if maps.background is None else change(maps.background, size)
    stack = [change(values, size) for values in maps.maps]
    return ClassMaps(maps.classes, np.array(stack).reshape(-1, *size), background), how


def fitted_mask(mask: Indices, size: tuple[int, int] | None, fit: Fit) -> tuple[Indices, str]:
    """Crop or resize a mask to its image's size; see :func:`fitted_maps` for the arguments.

    Raises:
        LayoutError: If the mask has another size and no allowed change fits.
    """
    how = _how((mask.shape[0], mask.shape[1]), size, fit)
    if how == "" or size is None:
        return mask, ""
    if how == "cropped":
        return _cropped(mask, size), how
    height, width = size
    scaled = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(scaled, np.uint8), how


def _how(found: tuple[int, int], size: tuple[int, int] | None, fit: Fit) -> str:
    if size is None or found == size:
        return ""
    larger = found[0] >= size[0] and found[1] >= size[1]
    if fit.crop and larger:
        return "cropped"
    if fit.resize:
        return "resized"
    remedy = "--crop cuts, --resize scales" if larger else "--resize scales"
    msg = f"{found[1]} x {found[0]} pixels, but its image has {size[1]} x {size[0]}; {remedy} it"
    raise LayoutError(msg)


def _cropped(values: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    return values[: size[0], : size[1]]


def _scaled(values: Map, size: tuple[int, int]) -> Map:
    """Scale one map bilinearly with aligned pixel centres; a map that shrinks is averaged."""
    picture = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR), np.float32)


# --- maps to a mask -------------------------------------------------------------------------------


def mask_of_maps(
    maps: ClassMaps, rule: Rule, saliency: Map | None = None, refine: Refine | None = None
) -> Indices:
    """Return the class, or background, with the largest score at each pixel.

    Background wins a tie with a class; in a tie of two classes the first one in the file wins.

    Args:
        maps: Maps of the image's size.
        rule: Decoding rule, see :class:`sbdata.importers.rules.Rule`.
        saliency: Saliency map, float32 ``(H, W)`` in [0, 1], if the rule needs it.
        refine: Function that refines the scores, see ``Refine``.

    Returns:
        Class numbers, ``(H, W)`` uint8; 255 for pixels that the rule assigns to no class.

    Raises:
        LayoutError: If the rule needs saliency or a background map that is missing.

    >>> maps = ClassMaps((3,), np.array([[[0.1, 0.9]]], np.float32))
    >>> mask_of_maps(maps, Rule("constant", 0.2)).tolist()
    [[0, 3]]
    """
    if rule.needs_saliency and saliency is None:
        msg = "no saliency map, which the background needs; give the maps by --saliency"
        raise LayoutError(msg)
    scores = np.array([_normalised(values, rule.normalise) for values in maps.maps], np.float32)
    scores = scores.reshape(maps.maps.shape)
    scores[scores < rule.floor] = 0
    background = _background(maps, scores, rule, saliency)
    stack = np.concatenate([background[None], scores])
    if refine is not None:
        stack = refine(_shares(stack))
    best = stack.argmax(axis=0)
    mask = np.array([0, *maps.classes], np.uint8)[best]
    ignored = np.zeros(mask.shape, np.bool_)
    if rule.confidence is not None:
        ignored |= _shares(stack).max(axis=0) < rule.confidence
    if rule.conflict is not None:
        strong = (scores > rule.conflict).sum(axis=0)
        if rule.background == "saliency":
            strong = strong + (background > rule.conflict)
        ignored |= strong > rule.most
    if rule.doubt is not None:
        ignored |= (best == 0) & (scores > rule.doubt).any(axis=0)
    if rule.salient is not None and saliency is not None:
        ignored |= (best == 0) & (saliency >= rule.salient)
    found: Indices = np.where(ignored, np.uint8(VOID), mask)
    if rule.sparse is not None and maps.classes:
        foreground = (found > 0) & (found != VOID)
        if foreground.sum() < rule.sparse * found.size:
            found.fill(VOID)
    return found


def _normalised(values: Map, how: str) -> Map:
    if how == "max":
        largest = values.max()
        if largest < 0:  # nothing speaks for the class; a division would turn the signs around
            return values
        return np.asarray(values / (largest + np.float32(_TINY)), np.float32)
    if how == "min-max":
        low = values.min()
        spread = values.max() - low + np.float32(_TINY)
        return np.asarray((values - low) / spread, np.float32)
    return values


def _background(maps: ClassMaps, scores: Maps, rule: Rule, saliency: Map | None) -> Map:
    if rule.background == "map":
        if maps.background is None:
            msg = "no map of the background; give another rule by --background"
            raise LayoutError(msg)
        return maps.background
    shape = scores.shape[1:]
    if rule.background == "power":
        largest = scores.max(axis=0, initial=0).clip(0, 1)
        return np.asarray((1 - largest) ** np.float32(rule.level), np.float32)
    if rule.background == "saliency" and saliency is not None:
        salient = saliency > rule.level if rule.level else saliency
        return (1 - salient.astype(np.float32)).astype(np.float32)
    return np.full(shape, rule.level, np.float32)


def _shares(stack: Maps) -> Maps:
    """Return the scores of each pixel divided by their sum; equal shares if all are 0."""
    positive = stack.clip(0, None)
    total = positive.sum(axis=0)
    equal = np.float32(1 / len(stack))
    return np.where(total > 0, positive / np.where(total > 0, total, 1), equal).astype(np.float32)


# --- masks to a mask ------------------------------------------------------------------------------


def merged(masks: tuple[Indices, ...], merge: Merge) -> Indices:
    """Merge the masks of an image to one: a single mask, or BANA's two by CRF and by retrieval.

    Args:
        masks: One mask, or two.
        merge: Rule for two masks: ``crf`` takes the first, ``ret`` the second; ``agree`` gives 255
            at pixels that differ, as in BANA's noise-aware loss.

    Raises:
        LayoutError: If the two masks have different sizes.
    """
    if len(masks) == 1:
        return masks[0]
    first, second = masks
    if merge != "agree":
        return first if merge == "crf" else second
    if first.shape != second.shape:
        msg = f"masks of {first.shape} and of {second.shape} pixels for one image"
        raise LayoutError(msg)
    return np.where(first == second, first, np.uint8(VOID))


def check_classes(mask: Indices, classes: int) -> None:
    """Check that a mask holds only 0..C and 255.

    Raises:
        LayoutError: If the mask holds other numbers; the message names them.
    """
    present = np.unique(mask)
    wrong = present[(present > classes) & (present != VOID)]
    if wrong.size:
        shown = ", ".join(map(str, wrong[:6].tolist())) + (", ..." if wrong.size > 6 else "")
        msg = f"class numbers {shown}, but only 0..{classes} and {VOID} are allowed"
        raise LayoutError(msg)
