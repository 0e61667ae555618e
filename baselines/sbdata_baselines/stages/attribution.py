"""Attribution: photos that are changed, step by step, to show more of a class.

Lee, Kim and Yoon, "Anti-Adversarially Manipulated Attributions for Weakly and Semi-Supervised
Semantic Segmentation" (AdvCAM, CVPR 2021). For each class of a photo, gradient ascent raises its
score and lowers the other classes'; what already stands out is held where it is. The attributions
of all steps are summed. Facts of the code, where the paper leaves them open, are those
of jbeomlee93/AdvCAM (``obtain_CAM_masking.py``, ``gradCAM.py``).

Differences from the official code: Grad-CAM's weights are computed in closed form, which saves one
of two backward passes (:func:`attribution`); the last step, whose outcome nobody sees, is left out.
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
    """A moment of a climb.

    Attributes:
        values: ``(N, D, H, W)``: the photo and its mirror image, or features of theirs.
        attribution: ``(N, h, w)``, of the class that is climbed to.
        objective: that the next step raises.
    """

    values: Tensor
    attribution: Tensor
    objective: Tensor


def attribution(activations: Tensor, positive: int) -> Tensor:
    """Return Grad-CAM as AdvCAM weighs it: the positive activations times a share of each image.

    AdvCAM's weights of the features F are, image by image, the sum over pixels of the gradients of
    ``sum over pixels of relu(Z)``, divided by the number of positive gradients of the batch. Where
    ``Z = w · F`` comes from a 1 x 1 convolution, a gradient is w at the n pixels at which Z is
    positive and 0 elsewhere, so the weights are ``w n / (sum of n over the batch * number of
    positive w)`` and the attribution is ``relu(Z)`` times that fraction. It is a constant to the
    gradient, as in the code.

    Args:
        activations: ``(N, h, w)``, Z of one class.
        positive: number of the head's weights of that class that are above 0.

    Returns:
        ``(N, h, w)``.
    """
    pixels = (activations > 0).sum(dim=(1, 2))
    share = pixels / (pixels.sum() * positive + _TINY)
    return activations.relu() * share[:, None, None]


def both_ways(maps: Tensor, flip: bool) -> Tensor:
    """Add the second of ``(2, h, w)`` maps, mirrored back, to the first; ``(h, w)``."""
    return maps[0] + maps[1].flip(-1) if flip else maps[0]


def objective(
    activations: Tensor, row: int, found: Tensor, start: Tensor, settings: ClimbSettings
) -> Tensor:
    """Return ``sum over images (y_c - sum of the other y_k) - lambda * sum |R - R_0| M``.

    ``y`` is the mean over pixels of the positive activations, M is 1 where R exceeds ``salient``
    times its maximum.

    Args:
        activations: ``(N, C, h, w)``.
        row: of the class c among them.
        found: R, ``(h, w)``, of this step.
        start: R_0, of the first.
        settings: lambda and tau.
    """
    scores = activations.relu().mean(dim=(2, 3))
    stands_out = found.detach() > settings.salient * found.detach().max()
    held = ((found - start).abs() * stands_out).sum()
    return 2 * scores[:, row].sum() - scores.sum() - settings.restraint * held


def climbing(
    head: Head, values: Tensor, row: int, settings: ClimbSettings, unit: float = 1.0
) -> Iterator[Ascent]:
    """Climb for ever, from ``values`` on; a step is taken when the next moment is asked for.

    No value leaves the range that all of them span.

    Args:
        head: of a classifier; its weights need no gradients.
        values: ``(N, D, H, W)``.
        row: of the class among the head's.
        settings: of the climb.
        unit: in which ``settings.step`` is meant.
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
    """Return the attributions of some classes, each summed over a climb of its own.

    Args:
        images: ``(N, 3, H, W)``, a photo and, with ``settings.flip``, its mirror image.
        parts: of a classifier.
        rows: of the classes among the head's.
        steps: of a climb.
        settings: of the climbs.

    Returns:
        ``(N, classes, h, w)``.
    """
    values = parts.backbone(images)
    unit = float(values.std()) if settings.first else 1.0
    sums = []
    for row in rows:
        moments = islice(climbing(parts.head, values, row, settings, unit), steps)
        sums.append(torch.stack([moment.attribution for moment in moments]).sum(dim=0))
    return torch.stack(sums, dim=1)


def adversarial_maps(task: StageContext, settings: ClimbSettings, classifier: Path) -> None:
    """Write ``<image_id>.npz`` of each photo: the maps of its classes, each with maximum 1."""
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
