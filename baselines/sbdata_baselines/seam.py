"""SEAM: maps that stay the same when the photo is scaled.

Wang et al., "Self-supervised Equivariant Attention Mechanism for Weakly Supervised Semantic
Segmentation" (CVPR 2020). A classifier with a background channel sees each view at two scales. Its
plain maps, and its maps averaged over pixels with similar features (pixel correlation module, PCM,
section 3.3), must agree between the scales (equivariant regularisation, equations 4 to 8). PSA's
walk follows. The ``paper`` preset uses the constants of YudeWang/SEAM.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from sbdata.benchmark.stage import StageContext
from sbdata.train.resize import resized
from sbdata_baselines.methods.seam import EquivariantSettings
from sbdata_baselines.settings import (
    ActivationSettings,
)
from sbdata_baselines.stages.activation import summed_maps
from sbdata_baselines.stages.maps import ClassMaps, minmax_normalised, write_maps
from sbdata_baselines.stages.photos import weak_views
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid
from sbdata_baselines.stages.training import load_network, new_network, train_network

_TINY = 1e-5


# --- the network ----------------------------------------------------------------------------------


class EquivariantNetwork(nn.Module):
    """Classifier with a background channel and the pixel correlation module (PCM).

    Args:
        pyramid: Backbone; the PCM compares its second and third depth from the end.
        n_classes: Number of classes C, without background.
        width: Number of channels of the compared features.
        dropout: Dropout probability of the last features' channels.
    """

    def __init__(self, pyramid: Pyramid, n_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(pyramid.channels[-1], n_classes + 1, 1, bias=False)
        self.fine = nn.Conv2d(pyramid.channels[-3], 64, 1, bias=False)
        self.coarse = nn.Conv2d(pyramid.channels[-2], 128, 1, bias=False)
        self.join = nn.Conv2d(3 + 64 + 128, width, 1, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the plain activations and the refined maps, both ``(N, C + 1, h, w)``.

        Args:
            images: Images, ``(N, 3, H, W)``.
        """
        depths = self.pyramid(images)
        activations = self.head(self.dropout(depths[-1]))
        size = tuple(activations.shape[-2:])
        seen = [
            resized(self.pyramid.normalised(images), size),
            resized(self.fine(depths[-3].detach()).relu(), size),
            resized(self.coarse(depths[-2].detach()).relu(), size),
        ]
        features = self.join(torch.cat(seen, dim=1))
        return activations, correlated(strongest_classes(activations.detach()), features)

    def refined_classes(self, images: Tensor) -> Tensor:
        """Return the refined maps of the classes, without background."""
        refined: Tensor = self(images)[1][:, 1:]
        return refined


def correlated(maps: Tensor, features: Tensor) -> Tensor:
    """Average maps over pixels with similar features, as SEAM's PCM does: ``maps @ A``.

    ``A`` is ``relu(cosine similarity of the features)``, with each column divided by its sum.

    Args:
        maps: Maps, ``(N, K, h, w)``.
        features: Features, ``(N, D, h, w)``.
    """
    links = correlation(features)
    return (maps.flatten(2) @ links).view_as(maps)


def correlation(features: Tensor) -> Tensor:
    """Return the matrix ``A`` of :func:`correlated`, ``(N, h w, h w)``; its columns sum to 1."""
    unit = functional.normalize(features.flatten(2), dim=1)
    likeness = (unit.transpose(1, 2) @ unit).relu()
    return likeness / likeness.sum(dim=1, keepdim=True).clamp(min=_TINY)


def scaled_to_peak(maps: Tensor) -> Tensor:
    """Return the positive part of each map, divided by its maximum."""
    positive = maps.relu()
    return positive / (positive.amax(dim=(2, 3), keepdim=True) + _TINY)


def strongest_classes(activations: Tensor) -> Tensor:
    """Return maps with maximum 1 that keep each pixel's strongest class; background is the rest.

    Args:
        activations: Activations, ``(N, C + 1, h, w)``, background first; the background is ignored.

    Returns:
        Maps of the same shape; background is 1 minus the strongest class.
    """
    classes = scaled_to_peak(activations)[:, 1:]
    strongest = classes.amax(dim=1, keepdim=True)
    return torch.cat([1 - strongest, classes * (classes == strongest)], dim=1)


# --- the losses -----------------------------------------------------------------------------------


def seam_loss(
    network: EquivariantNetwork, images: Tensor, labels: Tensor, settings: EquivariantSettings
) -> Tensor:
    """Return the sum of SEAM's losses, each with weight 1.

    Args:
        network: Network in training mode.
        images: Images, ``(N, 3, S, S)``: uint8, or floats in [0, 1].
        labels: Image labels, ``(N, C)`` of 0 and 1.
        settings: Scale of the second view and the loss fractions.
    """
    whole = images if images.is_floating_point() else images.float() / 255
    side = max(int(whole.shape[-1] * settings.down), 1)
    pairs = [network(whole), network(resized(whole, (side, side)))]
    present = functional.pad(labels, (1, 0), value=1.0)[:, :, None, None]  # background always is
    size = tuple(pairs[1][0].shape[-2:])
    classification = torch.stack([
        functional.multilabel_soft_margin_loss(plain[:, 1:].mean(dim=(2, 3)), labels)
        + lowest_mean(refined[:, 1:] * present[:, 1:], settings.lowest)
        for plain, refined in pairs
    ]).mean()  # fmt: skip
    plain1, plain2 = (resized(scaled_to_peak(p), size) * present for p, _ in pairs)
    refined1, refined2 = (resized(scaled_to_peak(r), size) * present for _, r in pairs)
    return (
        classification
        + equivariance_loss(plain1, plain2)
        + cross_loss(plain2, refined1, settings.highest)
        + cross_loss(plain1, refined2, settings.highest)
    )


def equivariance_loss(first: Tensor, second: Tensor) -> Tensor:
    """Return L_ER: the mean difference of the class maps of two scales, resized to one size."""
    return (first[:, 1:] - second[:, 1:]).abs().mean()


def cross_loss(plain: Tensor, refined: Tensor, share: float) -> Tensor:
    """Return one half of L_ECR: the mean of the largest differences of one scale's refined maps.

    Differences are taken to the other scale's plain maps, which keep only each pixel's strongest
    entry and receive no gradient.

    Args:
        plain: Plain maps, ``(N, C + 1, h, w)`` with maximum 1; the background is replaced by 1
            minus the strongest class.
        refined: Refined maps of the same shape.
        share: Fraction of all differences that count.
    """
    classes = plain.detach()[:, 1:]
    target = torch.cat([1 - classes.amax(dim=1, keepdim=True), classes], dim=1)
    target = target * (target == target.amax(dim=1, keepdim=True))
    differences = (target - refined).abs().flatten(1)
    count = max(int(differences.shape[1] * share), 1)
    return differences.topk(count, dim=1).values.mean()


def lowest_mean(maps: Tensor, share: float) -> Tensor:
    """Return the mean over the pixels of each image whose strongest map value is lowest.

    Args:
        maps: Maps, ``(N, C, h, w)``.
        share: Fraction of the pixels that count.
    """
    strongest = maps.amax(dim=1).flatten(1)
    count = max(int(strongest.shape[1] * share), 1)
    return strongest.topk(count, dim=1, largest=False).values.relu().mean()


# --- stages ---------------------------------------------------------------------------------------


def train_equivariant(task: StageContext, settings: EquivariantSettings) -> None:
    """Train the network on the photos and their labels; write ``model.pt``."""
    model = new_network(task, settings, _network)
    train_network(
        task,
        settings,
        model,
        [weak_views(task.weak, settings.views, task.seed)],
        lambda images, labels: seam_loss(model, images, labels, settings),
        backbone=model.pyramid,
    )


def equivariant_maps(task: StageContext, settings: ActivationSettings, equivariant: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: the refined class maps, stretched to [0, 1]."""
    model = load_network(task, equivariant, EquivariantSettings, _network)
    for row, summed in summed_maps(task, settings, model.refined_classes):
        maps = minmax_normalised(summed[[c - 1 for c in row.classes]])
        write_maps(task.folder, row.image_id, ClassMaps(row.classes, maps, normalisation="minmax"))


def _network(settings: EquivariantSettings, n_classes: int) -> EquivariantNetwork:
    pyramid = build_pyramid(settings.network)
    return EquivariantNetwork(pyramid, n_classes, settings.width, settings.dropout)
