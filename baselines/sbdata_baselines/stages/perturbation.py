"""Perturbation: the smallest mask of a photo with which a detector's output hardly changes.

Lee et al., "BBAM: Bounding Box Attribution Map for Weakly Supervised Semantic and Instance
Segmentation" (CVPR 2021): a coarse mask M is initialised with the boxes that the detector predicts
from jittered copies of an object's box. Hidden pixels have the mean colour. M minimises

    mean over proposals of (1/2 mean |d - d'| + 1/2 |p - p'|) + area * sum |M| + smooth * V(M)

with p and d the detector's probability of the class and the four deltas of its box, p' and d' the
same for the masked photo, and V the sum of the cubed differences between neighbouring cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

from sbdata.train.augment import View
from sbdata.weak_labels.weak_set import Box
from sbdata_baselines.methods.bbam import PerturbationSettings

Read = Callable[[Tensor, list[Tensor]], tuple[Tensor, Tensor]]
"""Function from images, ``(N, 3, S, S)`` in [0, 1], and the proposals of each, ``(P_n, 4)``, to
probabilities, ``(P, C + 1)``, and deltas, ``(P, C + 1, 4)``."""


@dataclass(frozen=True, eq=False)
class Kept:
    """Proposals of one object, and the detector's output for them on the unmasked photo.

    Attributes:
        class_id: Class of the object.
        proposals: Proposals, ``(P, 4)``: left, upper, right, lower edge in pixels.
        boxes: Boxes regressed from the proposals, ``(P, 4)``.
        probabilities: Probabilities of the class, ``(P,)``.
        deltas: Deltas of the class, ``(P, 4)``.
    """

    class_id: int
    proposals: Tensor
    boxes: Tensor
    probabilities: Tensor
    deltas: Tensor


# --- windows and proposals ------------------------------------------------------------------------


def window_of(box: Box, size: tuple[int, int], settings: PerturbationSettings) -> View:
    """Return the square part of a photo in which an object's mask is optimised.

    Args:
        box: Box of the object.
        size: Height and width of the photo.
        settings: Settings of the perturbation; a context of 0 selects the whole photo.
    """
    if settings.context:
        scale = min(settings.side / (settings.context * max(box.width, box.height)), settings.zoom)
        crop = settings.side
        reach = crop / scale
        left, upper = box.x + (box.width - reach) / 2, box.y + (box.height - reach) / 2
    else:
        crop = min(round(max(size) * settings.side / min(size)), settings.longest)
        reach = float(max(size))
        left, upper = 0.0, 0.0
    return View((left, upper, left + reach, upper + reach), crop, flip=False)


def jittered_boxes(
    edges: npt.NDArray[np.float64],
    limits: npt.NDArray[np.float64],
    count: int,
    shift: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Draw boxes around a box; each edge is moved by up to ``shift`` of the side's length.

    Args:
        edges: Left, upper, right, lower edge of the box.
        limits: Edges of the photo, to which the boxes are clipped.
        count: Number of boxes.
        shift: Largest shift, below 0.5.
        rng: Random generator.

    Returns:
        Boxes, float32 ``(count, 4)``.
    """
    sides = np.tile(edges[2:] - edges[:2], 2)
    moved = edges + rng.uniform(-shift, shift, (count, 4)) * sides
    found: npt.NDArray[np.float32] = np.clip(
        moved, np.tile(limits[:2], 2), np.tile(limits[2:], 2)
    ).astype(np.float32)
    return found


def kept_proposals(
    class_id: int,
    edges: Tensor,
    proposals: Tensor,
    boxes: Tensor,
    probabilities: Tensor,
    deltas: Tensor,
    settings: PerturbationSettings,
) -> Kept:
    """Return the proposals with which the detector finds the object.

    Their most probable class is the object's, and the IoU of their regressed box and the object's
    box exceeds the first value of ``overlaps``, or the next one if there are too few. There may be
    none.

    Args:
        class_id: Class of the object.
        edges: Box of the object, ``(4,)``.
        proposals: Proposals, ``(P, 4)``.
        boxes: Boxes regressed for the class, ``(P, 4)``.
        probabilities: Probabilities, ``(P, C + 1)``.
        deltas: Deltas, ``(P, C + 1, 4)``.
        settings: Settings with ``overlaps``, ``plenty`` and ``keep``.
    """
    right = probabilities.argmax(1) == class_id
    overlap = box_iou(edges[None], boxes)[0]
    found = torch.zeros(0, dtype=torch.long, device=proposals.device)
    for least in settings.overlaps:
        found = torch.nonzero(right & (overlap > least))[:, 0]
        if len(found) > settings.plenty:
            break
    found = found[: settings.keep]
    return Kept(
        class_id,
        proposals[found],
        boxes[found],
        probabilities[found, class_id],
        deltas[found, class_id],
    )


# --- masks ----------------------------------------------------------------------------------------


def cells_of(crop: int, share: float, grid: Sequence[float]) -> int:
    """Return the number of cells per side of the mask of a square.

    Args:
        crop: Side of the square in pixels.
        share: Fraction of the photo that the object's box covers.
        grid: See :class:`PerturbationSettings`.

    >>> cells_of(800, 0.25, (16, 48))
    20
    """
    cell = grid[0] + grid[1] * math.sqrt(share)
    return max(round(crop / cell), 2)


def first_mask(boxes: Tensor, crop: int, cells: int) -> Tensor:
    """Return the mask, ``(cells, cells)``, that is 1 in the union of boxes and 0 elsewhere.

    The outer cells lie on the border of the square. A box between cells gets the nearest cell.

    Args:
        boxes: Boxes, ``(P, 4)``: left, upper, right, lower edge in pixels.
        crop: Side of the square in pixels.
        cells: Number of cells per side of the mask.
    """
    places = torch.linspace(0, crop - 1, cells).to(boxes)
    inside = []
    for low, high in ((boxes[:, 1], boxes[:, 3]), (boxes[:, 0], boxes[:, 2])):
        held = (places >= low[:, None]) & (places <= high[:, None] - 1)
        nearest = (places - ((low + high - 1) / 2)[:, None]).abs().argmin(1)
        held[torch.arange(len(boxes), device=boxes.device), nearest] = True
        inside.append(held)
    rows, columns = inside
    return (rows[:, :, None] & columns[:, None, :]).any(0).float()


def enlarged(mask: Tensor, crop: int) -> Tensor:
    """Enlarge a mask, ``(h, w)``, to a square, ``(crop, crop)``, with aligned corners."""
    size = (crop, crop)
    return functional.interpolate(mask[None, None], size, mode="bilinear", align_corners=True)[0, 0]


def masked(images: Tensor, masks: Tensor, mean: Tensor) -> Tensor:
    """Return images whose hidden parts have the mean colour.

    Args:
        images: Images, ``(N, 3, S, S)``.
        masks: Masks, ``(N, S, S)``; 1 where the image is visible.
        mean: Colour that the network normalises to 0, ``(1, 3, 1, 1)``.
    """
    return mean + (images - mean) * masks[:, None]


def kept_distance(probabilities: Tensor, deltas: Tensor, kept: Kept) -> Tensor:
    """Return the distance of the detector's output from that for the unmasked photo.

    It is the mean over proposals of half the mean absolute difference of the four deltas plus half
    the absolute difference of the probability.

    Args:
        probabilities: Probabilities of the object's class, ``(P,)``.
        deltas: Deltas of the object's class, ``(P, 4)``.
        kept: Proposals, at least one.
    """
    of_boxes = (deltas - kept.deltas).abs().mean(1)
    of_class = (probabilities - kept.probabilities).abs()
    return (of_boxes + of_class).mean() / 2


def roughness(mask: Tensor) -> Tensor:
    """Return the sum of cubed absolute differences between neighbours; each diagonal counts twice.

    Args:
        mask: Mask, ``(h, w)``.
    """
    down = mask[1:] - mask[:-1]
    across = mask[:, 1:] - mask[:, :-1]
    falling = mask[1:, 1:] - mask[:-1, :-1]
    rising = mask[1:, :-1] - mask[:-1, 1:]
    once, twice = (down, across), (falling, rising)
    total = sum(((d.abs() ** 3).sum() for d in once), mask.new_zeros(()))
    return total + 2 * sum(((d.abs() ** 3).sum() for d in twice), mask.new_zeros(()))


def optimised_masks(
    read: Read,
    images: Tensor,
    mean: Tensor,
    kept: Sequence[Kept],
    masks: Sequence[Tensor],
    settings: PerturbationSettings,
) -> list[Tensor]:
    """Minimise the objective of several masks at once, by Adam; each stays in [0, 1].

    Args:
        read: Function that returns the detector's output.
        images: Images, ``(N, 3, S, S)``, floats in [0, 1].
        mean: See :func:`masked`.
        kept: Proposals of the object of each image, at least one.
        masks: Initial masks, ``(h_n, w_n)``.
        settings: Learning rate, steps and weights.

    Returns:
        Masks of the same sizes.
    """
    found = [mask.clone().requires_grad_() for mask in masks]
    optimiser = torch.optim.Adam(found, lr=settings.lr)
    counts = [len(one.proposals) for one in kept]
    proposals = [one.proposals for one in kept]
    for _ in range(settings.steps):
        with torch.enable_grad():
            shown = torch.stack([enlarged(mask, images.shape[-1]) for mask in found])
            answers = read(masked(images, shown, mean), proposals)
            total = images.new_zeros(())
            parts = (answer.split(counts) for answer in answers)
            for one, mask, probabilities, deltas in zip(kept, found, *parts, strict=True):
                total = total + objective(
                    probabilities[:, one.class_id], deltas[:, one.class_id], one, mask, settings
                )
            gradients = torch.autograd.grad(total, found)
        for mask, gradient in zip(found, gradients, strict=True):
            mask.grad = gradient
        optimiser.step()
        with torch.no_grad():
            for mask in found:
                mask.clamp_(0, 1)
    return [mask.detach() for mask in found]


def objective(
    probabilities: Tensor, deltas: Tensor, kept: Kept, mask: Tensor, settings: PerturbationSettings
) -> Tensor:
    """Return the objective of a mask: distance of the output, its sum and its roughness.

    Args:
        probabilities: Probabilities of the object's class for the masked photo, ``(P,)``.
        deltas: Deltas of the object's class for the masked photo, ``(P, 4)``.
        kept: Proposals.
        mask: Mask, ``(h, w)``.
        settings: Settings with ``area`` and ``smooth``.
    """
    distance = kept_distance(probabilities, deltas, kept)
    return distance + settings.area * mask.abs().sum() + settings.smooth * roughness(mask)
