"""Attribution: photos that are changed, step by step, to show more of a class.

Lee, Kim and Yoon, "Anti-Adversarially Manipulated Attributions for Weakly and Semi-Supervised
Semantic Segmentation" (AdvCAM, CVPR 2021). For each class of a photo, gradient ascent raises its
score and lowers the scores of the other classes, while attributions that are already salient are
held constant. The attributions of all steps are summed. Details that the paper leaves open follow
the code of jbeomlee93/AdvCAM (``obtain_CAM_masking.py``, ``gradCAM.py``).

Differences from the official code: Grad-CAM's weights are computed in closed form, which saves one
of two backward passes (:func:`attribution`); the last step, whose result is not used, is omitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sbdata.benchmark.stage import StageContext
from sbdata_baselines.settings import ClimbSettings
from sbdata_baselines.stages.cam import multi_scale_maps
from sbdata_baselines.stages.classifier import load_classifier
from sbdata_baselines.stages.maps import ClassMaps, FloatMap, max_normalised, write_maps
from sbdata_baselines.stages.photos import pending, pixels_of
from sbdata_baselines.stages.splitting import Head, SplitClassifier, split

_TINY = 1e-12


class Ascent(NamedTuple):
    """State of a gradient ascent before its next step.

    Attributes:
        values: Photo and its mirror image, or their features, ``(N, D, H, W)``.
        attribution: Attribution of the class whose score is raised, ``(N, h, w)``.
        objective: Objective that the next step raises.
    """

    values: Tensor
    attribution: Tensor
    objective: Tensor


def attribution(activations: Tensor, positive: int) -> Tensor:
    """Return AdvCAM's Grad-CAM: the positive activations times a fraction per image.

    AdvCAM's weights of the features F are, for each image, the sum over pixels of the gradients of
    ``sum over pixels of relu(Z)``, divided by the number of positive gradients of the batch. If
    ``Z = w · F`` comes from a 1 x 1 convolution, a gradient is w at the n pixels at which Z is
    positive and 0 elsewhere. So the weights are ``w n / (sum of n over the batch * number of
    positive w)`` and the attribution is ``relu(Z)`` times that fraction. The gradient treats the
    fraction as a constant, as in the official code.

    Args:
        activations: Activations Z of one class, ``(N, h, w)``.
        positive: Number of the head's positive weights of that class.

    Returns:
        Attributions, ``(N, h, w)``.
    """
    pixels = (activations > 0).sum(dim=(1, 2))
    share = pixels / (pixels.sum() * positive + _TINY)
    return activations.relu() * share[:, None, None]


def both_ways(maps: Tensor, flip: bool) -> Tensor:
    """Add the second of ``(2, h, w)`` maps, mirrored back, to the first; return ``(h, w)``."""
    return maps[0] + maps[1].flip(-1) if flip else maps[0]


def objective(
    activations: Tensor, row: int, found: Tensor, start: Tensor, settings: ClimbSettings
) -> Tensor:
    """Return ``sum over images (y_c - sum of the other y_k) - lambda * sum |R - R_0| M``.

    ``y`` is the mean over pixels of the positive activations; M is 1 where R exceeds ``salient``
    times its maximum.

    Args:
        activations: Activations, ``(N, C, h, w)``.
        row: Index of the class c among the activations.
        found: Attribution R of this step, ``(h, w)``.
        start: Attribution R_0 of the first step, ``(h, w)``.
        settings: Settings with lambda and tau.
    """
    scores = activations.relu().mean(dim=(2, 3))
    stands_out = found.detach() > settings.salient * found.detach().max()
    held = ((found - start).abs() * stands_out).sum()
    return 2 * scores[:, row].sum() - scores.sum() - settings.restraint * held


def climbing(
    head: Head, values: Tensor, row: int, settings: ClimbSettings, unit: float = 1.0
) -> Iterator[Ascent]:
    """Yield the states of an endless gradient ascent from ``values``; each request takes one step.

    All values stay within the range that the initial values span.

    Args:
        head: Head of a classifier; its weights need no gradients.
        values: Initial values, ``(N, D, H, W)``.
        row: Index of the class in the head's output.
        settings: Settings of the ascent.
        unit: Unit of ``settings.step``.
    """
    positive = int((head.conv.weight[row] > 0).sum())
    start: Tensor | None = None
    while True:
        values = values.detach().requires_grad_()
        with torch.enable_grad():
            activations = head(values)
            shown = attribution(activations[:, row], positive)
            found = both_ways(shown, settings.flip)
            start = found.detach() if start is None else start
            goal = objective(activations, row, found, start, settings)
        yield Ascent(values.detach(), shown.detach(), goal.detach())
        (gradient,) = torch.autograd.grad(goal, values)
        values = values.detach()
        change = settings.step * unit * gradient / (gradient.abs().max() + _TINY)
        values = (values + change).clamp(values.min(), values.max())


def climbed_maps(
    images: Tensor, parts: SplitClassifier, rows: Sequence[int], steps: int, settings: ClimbSettings
) -> Tensor:
    """Return the attributions of some classes, each summed over its own gradient ascent.

    Args:
        images: Photo and, with ``settings.flip``, its mirror image, ``(N, 3, H, W)``.
        parts: Parts of a classifier.
        rows: Indices of the classes in the head's output.
        steps: Number of steps of one ascent.
        settings: Settings of the ascents.

    Returns:
        Attributions, ``(N, classes, h, w)``.
    """
    values = parts.backbone(images)
    unit = float(values.std()) if settings.first else 1.0
    sums = []
    for row in rows:
        moments = islice(climbing(parts.head, values, row, settings, unit), steps)
        sums.append(torch.stack([moment.attribution for moment in moments]).sum(dim=0))
    return torch.stack(sums, dim=1)


def adversarial_maps(task: StageContext, settings: ClimbSettings, classifier: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: AdvCAM's class maps, each with maximum 1."""
    model = load_classifier(task, classifier)
    model.requires_grad_(False)
    parts = split(model, settings.first)
    for row in pending(task, ".npz"):
        photo, rows = pixels_of(row), [c - 1 for c in row.classes]
        total: FloatMap = np.zeros((len(rows), *photo.shape[:2]), np.float32)
        for climb in settings.climbs if rows else ():
            maps_of = partial(
                climbed_maps, parts=parts, rows=rows, steps=climb.steps, settings=settings
            )
            total += np.float32(climb.weight) * multi_scale_maps(
                maps_of, photo, (climb.scale,), settings.flip, device=task.place.device
            )
        write_maps(task.folder, row.image_id, ClassMaps(row.classes, max_normalised(total)))
