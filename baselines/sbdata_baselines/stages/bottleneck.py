"""Bottleneck: a classifier that is trained again, for a few steps, on each photo.

Lee, Choi, Mok and Yoon, "Reducing Information Bottleneck for Weakly Supervised Semantic
Segmentation" (RIB, NeurIPS 2021). The sigmoid or softmax of the last layer keeps only what a
classifier needs. So the loss of these steps has none: it raises the mean of the activations that
are not discriminative, for the photo and for others that share no class with it. The maps of all
steps are summed. Details that the paper leaves open follow the code of jbeomlee93/RIB
(``obtain_RIB_CAM.py``).

Differences from the official code: maps that fill the photo end the steps and are not summed,
whereas the code sums those of its first scale; photos without labels are never among the others;
the last step, whose result is not used, is omitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from sbdata.benchmark.stage import StageContext
from sbdata.train.resize import resized
from sbdata.train.views import batches, in_steps
from sbdata.weak_labels.weak_set import WeakImage
from sbdata_baselines.settings import BottleneckSettings
from sbdata_baselines.stages.classifier import load_classifier
from sbdata_baselines.stages.maps import ClassMaps, FloatMap, max_normalised, write_maps
from sbdata_baselines.stages.photos import pending, pixels_of, weak_views
from sbdata_baselines.stages.splitting import Head, SplitClassifier, split
from sbdata_baselines.stages.training import new_optimiser

Others = tuple[Tensor, Tensor]
"""Backbone output of other photos, and their labels ``(n, C)``."""

_EPS = 1e-5


def quiet_means(activations: Tensor, discriminative: float) -> Tensor:
    """Return RIB's global non-discriminative region pooling, ``(N, C)``.

    It is the mean over all pixels; pixels that reach the given fraction of the map's maximum count
    as 0.

    Args:
        activations: Activations, ``(N, C, h, w)``.
        discriminative: Fraction of the maximum.
    """
    values = activations.detach()
    quiet = values / values.amax(dim=(2, 3), keepdim=True) < discriminative
    return (activations * quiet).mean(dim=(2, 3))


def filled_share(maps: Tensor, bright: float) -> float:
    """Return the fraction of pixels at which some map exceeds a fraction of its own maximum.

    Args:
        maps: Non-negative maps, ``(K, h, w)``.
        bright: Fraction of the maximum.
    """
    peaks = maps.amax(dim=(1, 2), keepdim=True)
    return float((maps / (peaks + _EPS) > bright).any(dim=0).float().mean())


def reduced_maps(
    parts: SplitClassifier,
    inputs: Sequence[Tensor],
    rows: Sequence[int],
    feed: Iterator[Others],
    settings: BottleneckSettings,
) -> list[Tensor]:
    """Train a classifier on a photo and sum its maps over the steps; then restore its weights.

    Args:
        parts: Parts of the classifier; the head's parameters that require gradients are trained.
        inputs: Backbone output for each scale, ``(N, D, h, w)``.
        rows: Indices of the photo's classes in the head's output.
        feed: Iterator of other photos, one item per step.
        settings: Settings of the steps.

    Returns:
        Summed maps of each scale, ``(1, classes, h, w)``.
    """
    with restored(p for p in parts.head.parameters() if p.requires_grad):
        optimiser = new_optimiser(settings.optimiser, parts.head, parts.head.parts)
        schedule = settings.optimiser.schedule(settings.steps, 1)
        sums: list[Tensor] = []
        for step in range(settings.steps):
            activations = [
                _activations(parts.head, values, rows, scale in settings.learned)
                for scale, values in zip(settings.scales, inputs, strict=True)
            ]
            maps = [_read(found, settings.flip) for found in activations]
            if step and filled_share(maps[0][0], settings.bright) > settings.filled:
                break
            sums = [a + b for a, b in zip(sums, maps, strict=True)] if sums else maps
            own = torch.stack([
                quiet_means(found, settings.discriminative).sum()
                for scale, found in zip(settings.scales, activations, strict=True)
                if scale in settings.learned
            ]).sum()  # fmt: skip
            if step + 1 == settings.steps or abs(float(own.detach())) > settings.stop:
                break
            for group in optimiser.param_groups:
                group["lr"] = schedule(step, group["peak"])
            others = _of_others(parts.head, *next(feed), settings.discriminative)
            optimiser.zero_grad(set_to_none=True)
            (-own - others).backward()
            optimiser.step()
    return sums


@contextmanager
def restored(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Restore the current values of parameters at the end of the context."""
    kept = [(parameter, parameter.detach().clone()) for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in kept:
                parameter.copy_(value)
                parameter.grad = None


def _activations(head: Head, values: Tensor, rows: Sequence[int], learn: bool) -> Tensor:
    with torch.set_grad_enabled(learn):
        found: Tensor = head(values)[:, list(rows)]
    return found


def _read(activations: Tensor, flip: bool) -> Tensor:
    maps = activations.detach().relu()
    return maps[:1] + maps[1:].flip(-1) if flip else maps


def _of_others(head: Head, values: Tensor, labels: Tensor, discriminative: float) -> Tensor:
    if not len(values):
        return labels.sum()  # the sum of an empty tensor: 0
    return (quiet_means(head(values), discriminative) * labels).sum()


# --- other photos ---------------------------------------------------------------------------------


def disjoint(rows: Sequence[WeakImage], classes: tuple[int, ...]) -> tuple[WeakImage, ...]:
    """Return the photos that have labels, but none of the given classes."""
    return tuple(row for row in rows if row.classes and not set(row.classes) & set(classes))


def fresh_others(
    task: StageContext, settings: BottleneckSettings, backbone: nn.Module
) -> Callable[[int], Iterator[Others]]:
    """Return a function from a photo's index to new views of other photos for each step."""

    def feed(number: int) -> Iterator[Others]:
        rows = disjoint(task.weak.rows, task.weak.rows[number].classes)
        if not rows or not settings.others:
            return repeat(_nobody(task))
        others = replace(task.weak, rows=rows)
        views = weak_views(others, settings.views, task.seed, stream=number)
        drawn = batches([views], in_steps(range(settings.steps), settings.others))
        return (_on_device(task, backbone, images, labels) for images, labels in drawn)

    return feed


def pooled_others(
    task: StageContext, settings: BottleneckSettings, backbone: nn.Module
) -> Callable[[int], Iterator[Others]]:
    """Draw views once; return a function from a photo's index to an iterator of some of them."""
    rows = tuple(row for row in task.weak.rows if row.classes)
    views = weak_views(replace(task.weak, rows=rows), settings.views, task.seed)
    each = ([position] for position in range(min(settings.pool, len(rows))))
    pool = [_on_device(task, backbone, images, labels) for images, labels in batches([views], each)]

    def feed(number: int) -> Iterator[Others]:
        own = [c - 1 for c in task.weak.rows[number].classes]
        fit = [place for place, (_, labels) in enumerate(pool) if not labels[0, own].any()]
        rng = np.random.default_rng((task.seed, number))
        while True:
            chosen = [pool[place] for place in rng.permutation(fit)[: settings.others]]
            if not chosen:
                yield _nobody(task)
                continue
            values, labels = (torch.cat(column) for column in zip(*chosen, strict=True))
            yield values, labels

    return feed


def _on_device(task: StageContext, backbone: nn.Module, images: Tensor, labels: Tensor) -> Others:
    return backbone(images.to(task.place.device)), labels.to(task.place.device)


def _nobody(task: StageContext) -> Others:
    nothing = torch.zeros(0, len(task.weak.taxonomy), device=task.place.device)
    return nothing, nothing


# --- the stage ------------------------------------------------------------------------------------


def bottleneck_maps(task: StageContext, settings: BottleneckSettings, classifier: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: RIB's class maps, each with maximum 1."""
    parts = split(load_classifier(task, classifier), settings.first)
    others = pooled_others if settings.pool else fresh_others
    feed = others(task, settings, parts.backbone)
    numbers = {row.image_id: number for number, row in enumerate(task.weak.rows)}
    for row in pending(task, ".npz"):
        photo, rows = pixels_of(row), [c - 1 for c in row.classes]
        total: FloatMap = np.zeros((len(rows), *photo.shape[:2]), np.float32)
        if rows:
            inputs = [
                parts.backbone(scaled(photo, scale, settings.flip).to(task.place.device))
                for scale in settings.scales
            ]
            for maps in reduced_maps(parts, inputs, rows, feed(numbers[row.image_id]), settings):
                large = resized(maps, photo.shape[:2])
                total += large[0].cpu().numpy()
        write_maps(task.folder, row.image_id, ClassMaps(row.classes, max_normalised(total)))


def scaled(photo: npt.NDArray[np.uint8], scale: float, flip: bool) -> Tensor:
    """Return a resized (bicubic) photo and, with ``flip``, its mirror image, ``(N, 3, h, w)``."""
    if scale != 1:
        height, width = (max(1, round(side * scale)) for side in photo.shape[:2])
        photo = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC))
    image = torch.from_numpy(photo).permute(2, 0, 1)[None]
    return torch.cat([image, image.flip(-1)]) if flip else image
