"""Perturbation: a mask over a photo, as small as can be, under which a detector says the same.

Lee et al., "BBAM: Bounding Box Attribution Map for Weakly Supervised Semantic and Instance
Segmentation" (CVPR 2021): a mask M of few cells begins as the boxes that the detector finds from
jittered copies of an object's box. What it hides becomes the mean colour. It minimises

    mean over proposals of (1/2 mean |d - d'| + 1/2 |p - p'|) + area * sum |M| + smooth * V(M)

with p and d the detector's probability of the class and the four deltas of its box, p' and d' the
same of the masked photo, and V the sum of the cubed differences between neighbouring cells.
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
"""From images ``(N, 3, S, S)`` in [0, 1] and the proposals of each, ``(P_n, 4)``, to probabilities
``(P, C + 1)`` and deltas ``(P, C + 1, 4)``."""


@dataclass(frozen=True, eq=False)
class Kept:
    """The proposals of one object, and what the detector says of them on the photo as it is.

    Attributes:
        class_id: Class of the object.
        proposals: ``(P, 4)``; left, upper, right, lower edge in pixels.
        boxes: ``(P, 4)``; the boxes regressed from them.
        probabilities: ``(P,)``; of the class.
        deltas: ``(P, 4)``; of the class.
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
        box: box of the object.
        size: height and width of the photo.
        settings: settings of the perturbation; with a context of 0 the whole photo is taken.
    """
    if settings.context:
        scale = min(settings.side / (settings.context * max(box.width, box.height)), settings.zoom)
        crop = settings.side
        reach = crop / scale
        left, upper = box.x + (box.width - reach) / 2, box.y + (box.height - reach) / 2
    else:
        crop = round(max(size) * settings.side / min(size))
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
    """Draw boxes around a box: each edge is moved by up to ``shift`` of the side's length.

    Args:
        edges: left, upper, right, lower edge of the box.
        limits: the same of the photo, to which the boxes are cut.
        count: number of boxes.
        shift: largest shift, below 0.5.
        rng: source of chance.

    Returns:
        float32 ``(count, 4)``.
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
    """Keep the proposals that the detector takes for the object.

    Those whose most probable class is the object's, and whose regressed box has an IoU with the
    object's box above the first of ``overlaps``; with fewer, above the next one. There may be none.

    Args:
        class_id: class of the object.
        edges: ``(4,)``, its box.
        proposals: ``(P, 4)``.
        boxes: ``(P, 4)``, regressed for the class.
        probabilities: ``(P, C + 1)``.
        deltas: ``(P, C + 1, 4)``.
        settings: ``overlaps``, ``plenty`` and ``keep``.
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
    """Return the cells a side of a mask over a square.

    Args:
        crop: side of the square in pixels.
        share: share of the photo that the object's box has.
        grid: see :class:`PerturbationSettings`.

    >>> cells_of(800, 0.25, (16, 48))
    20
    """
    cell = grid[0] + grid[1] * math.sqrt(share)
    return max(round(crop / cell), 2)


def first_mask(boxes: Tensor, crop: int, cells: int) -> Tensor:
    """Return the mask ``(cells, cells)`` that is 1 in the union of boxes and 0 elsewhere.

    The cells of its rim lie on the rim of the square. A box between all of them has the nearest.

    Args:
        boxes: ``(P, 4)``: left, upper, right, lower edge in pixels.
        crop: side of the square in pixels.
        cells: cells a side of the mask.
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
    """Return a mask ``(h, w)`` at every pixel of a square, ``(crop, crop)``; corners are kept."""
    size = (crop, crop)
    return functional.interpolate(mask[None, None], size, mode="bilinear", align_corners=True)[0, 0]


def masked(images: Tensor, masks: Tensor, mean: Tensor) -> Tensor:
    """Return images whose hidden parts have the mean colour.

    Args:
        images: ``(N, 3, S, S)``.
        masks: ``(N, S, S)``, 1 where the image is seen.
        mean: ``(1, 3, 1, 1)``, the colour that is 0 for the network.
    """
    return mean + (images - mean) * masks[:, None]


def kept_distance(probabilities: Tensor, deltas: Tensor, kept: Kept) -> Tensor:
    """Return how far the detector's answers are from those for the photo as it is.

    The mean over proposals of half the mean absolute difference of the four deltas and half the
    absolute difference of the probability.

    Args:
        probabilities: ``(P,)``, of the object's class.
        deltas: ``(P, 4)``, of the object's class.
        kept: the proposals, at least one.
    """
    of_boxes = (deltas - kept.deltas).abs().mean(1)
    of_class = (probabilities - kept.probabilities).abs()
    return (of_boxes + of_class).mean() / 2


def roughness(mask: Tensor) -> Tensor:
    """Return the sum of cubed absolute differences between neighbours; each diagonal counts twice.

    Args:
        mask: ``(h, w)``.
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
        read: answers of the detector.
        images: ``(N, 3, S, S)``, floats in [0, 1].
        mean: see :func:`masked`.
        kept: proposals of the object of each image, at least one.
        masks: the mask that each begins with, ``(h_n, w_n)``.
        settings: learning rate, steps and weights.

    Returns:
        The masks, of the same sizes.
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
    """Return what a mask minimises: distance of the answers, its sum and its roughness.

    Args:
        probabilities: ``(P,)``, of the object's class, for the masked photo.
        deltas: ``(P, 4)``, of the object's class, for the masked photo.
        kept: the proposals.
        mask: ``(h, w)``.
        settings: ``area`` and ``smooth``.
    """
    distance = kept_distance(probabilities, deltas, kept)
    return distance + settings.area * mask.abs().sum() + settings.smooth * roughness(mask)
