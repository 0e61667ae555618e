"""AMN: maps from a network that classifies pixels, conditioned on the image's labels.

Lee, Kim and Shim, "Threshold Matters in WSSS: Manipulating the Activation for the Robust and
Accurate Segmentation Model Against Thresholds" (CVPR 2022). IRN's seeds supervise a segmentation
network whose features are weighted by the image's labels (label conditioning). Its loss is a
balanced cross entropy with smoothed labels (section 3.2). Its probabilities, stretched to [0, 1],
are the maps of a second IRN. The ``paper`` preset uses the constants of gaviotas/AMN.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from sbdata.benchmark.stage import StageContext
from sbdata.masks import VOID, LabelMap, read_index_png
from sbdata.train.resize import nearest
from sbdata.train.segmenter import AtrousHead
from sbdata_baselines.methods.amn import PixelSettings
from sbdata_baselines.settings import (
    ActivationSettings,
)
from sbdata_baselines.stages.cam import multi_scale_maps
from sbdata_baselines.stages.maps import ClassMaps, FloatMap, file_of, minmax_normalised, write_maps
from sbdata_baselines.stages.photos import one_hot, pending, pixels_of, weak_views
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid
from sbdata_baselines.stages.training import load_network, new_network, train_network

# --- the network and its loss ---------------------------------------------------------------------


class ConditionedSegmenter(nn.Module):
    """A segmentation network whose features are multiplied by a function of the image's labels.

    Args:
        pyramid: Backbone.
        n_classes: Number of classes C, without background.
        rates: Dilation rates of the head's atrous convolutions, whose outputs are summed.
        dropout: Dropout probability of the features.
    """

    def __init__(
        self, pyramid: Pyramid, n_classes: int, rates: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.condition = nn.Linear(n_classes, pyramid.channels[-1])
        self.dropout = nn.Dropout(dropout)
        self.head = AtrousHead(pyramid.channels[-1], n_classes + 1, rates)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return logits, background first.

        Args:
            images: Images, ``(N, 3, H, W)``.
            labels: Image labels, ``(N, C)`` of 0 and 1.

        Returns:
            Logits, ``(N, C + 1, h, w)``.
        """
        features = conditioned(self.pyramid(images)[-1], self.condition(labels))
        logits: Tensor = self.head(self.dropout(features))
        return logits


def conditioned(features: Tensor, factors: Tensor) -> Tensor:
    """Multiply each channel of ``(N, D, h, w)`` features by its factor, ``(N, D)``."""
    return features * factors[:, :, None, None]


def balanced_cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.4) -> Tensor:
    """Return half the mean background plus half the mean foreground loss, with smoothed labels.

    A pixel's target is ``1 - smoothing`` for its class and ``smoothing / (K - 1)`` for each other
    class. Void pixels are ignored. A group without pixels contributes 0.

    Args:
        logits: Logits, ``(N, K, h, w)``, background first.
        target: Integer classes, ``(N, h, w)``; 0 is background, 255 void.
        smoothing: Label smoothing epsilon.
    """
    losses = -(smoothed(target, logits.shape[1], smoothing) * logits.log_softmax(dim=1)).sum(dim=1)
    groups = (target == 0, (target != 0) & (target != VOID))
    means = [(losses * group).sum() / group.sum().clamp(min=1) for group in groups]
    return torch.stack(means).mean()


def smoothed(target: Tensor, count: int, smoothing: float) -> Tensor:
    """Return target probabilities, ``(N, count, h, w)``, with sum 1; void counts as background."""
    known = torch.where(target == VOID, 0, target).long()
    chosen = functional.one_hot(known, count).movedim(-1, 1)
    other = smoothing / (count - 1)
    return chosen * (1 - smoothing - other) + other


# --- stages ---------------------------------------------------------------------------------------


def train_pixels(task: StageContext, settings: PixelSettings, seeds: Path) -> None:
    """Train the network on the seeds; write ``model.pt``."""
    model = new_network(task, settings, _network)
    views = weak_views(task.weak, settings.views, task.seed, seeds=seeds)

    def step_loss(images: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:
        logits = model(images, labels)
        target = nearest(seeds.long(), logits.shape[-2:])
        return balanced_cross_entropy(logits, target, settings.smoothing)

    train_network(task, settings, model, [views], step_loss, backbone=model.pyramid)


def pixel_maps(task: StageContext, settings: ActivationSettings, pixels: Path, seeds: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: the maps of its classes."""
    model = load_network(task, pixels, PixelSettings, _network)
    for row in pending(task, ".npz"):
        labels = torch.from_numpy(one_hot(row.classes, len(task.weak.taxonomy)))
        labels = labels.to(task.place.device)

        def logits_of(images: Tensor, labels: Tensor = labels) -> Tensor:
            logits: Tensor = model(images, labels.expand(len(images), -1))
            return logits

        summed = multi_scale_maps(
            logits_of,
            pixels_of(row),
            settings.scales,
            settings.flip,
            device=task.place.device,
            rectify=False,
        )
        mean: FloatMap = summed / np.float32(len(settings.scales) * (2 if settings.flip else 1))
        seed = read_index_png(file_of(seeds, row.image_id, ".png"))
        write_maps(task.folder, row.image_id, stretched_maps(mean, row.classes, seed))


def stretched_maps(logits: FloatMap, classes: tuple[int, ...], seed: LabelMap) -> ClassMaps:
    """Return the probabilities of the present classes, each stretched to [0, 1].

    Pixels that the seed marks as background keep their probabilities. The official code also writes
    a background map; it is omitted here, because seeds and walk compare with constants.

    Args:
        logits: Logits, ``(C + 1, H, W)``, background first.
        classes: Classes that are present.
        seed: Seed labels, uint8 ``(H, W)``.
    """
    # Absent classes stay in the denominator, as in the official code.
    probabilities = _softmax(logits)[list(classes)]
    stretched = np.where(seed == 0, probabilities, minmax_normalised(probabilities))
    return ClassMaps(classes, stretched.astype(np.float32), normalisation="minmax")


def _softmax(logits: npt.NDArray[np.float32]) -> FloatMap:
    powers = np.exp(logits - logits.max(axis=0))
    probabilities: FloatMap = powers / powers.sum(axis=0)
    return probabilities


def _network(settings: PixelSettings, n_classes: int) -> ConditionedSegmenter:
    pyramid = build_pyramid(settings.network)
    return ConditionedSegmenter(pyramid, n_classes, settings.rates, settings.dropout)
