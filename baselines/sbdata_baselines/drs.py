"""DRS: maps of a classifier whose strongest activations are suppressed, on salient pixels.

Kim, Han and Kim, "Discriminative Region Suppression for Weakly-Supervised Semantic Segmentation"
(AAAI 2021). In the classifier, the suppression of :mod:`sbdata_baselines.stages.suppression`
replaces every ReLU, so that its maps spread over whole objects (section 3). A second network learns
to predict those maps from the photo (localization map refinement, section 4). Saliency determines
the background. The ``paper`` preset uses the constants of qjadud1994/DRS.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from sbdata.benchmark.stage import StageContext
from sbdata.masks import LabelMap
from sbdata.train.pretrained import load_backbone
from sbdata.train.resize import resized
from sbdata_baselines.methods.drs import (
    BinarySaliencySettings,
    RefiningSettings,
    SidesSettings,
    SuppressedSettings,
)
from sbdata_baselines.stages.convolutions import CONVOLUTIONS, ConvolvedClassifier, rectifiers
from sbdata_baselines.stages.maps import ClassMaps, FloatMap, read_maps, write_maps
from sbdata_baselines.stages.masks import write_pseudo_mask
from sbdata_baselines.stages.photos import pending, pixels_of
from sbdata_baselines.stages.pyramid import Pyramid, build_pyramid
from sbdata_baselines.stages.saliency_maps import read_salience
from sbdata_baselines.stages.salient_scores import scored_labels
from sbdata_baselines.stages.square import (
    MapTarget,
    square_views,
    strongest_maps,
    views_with_maps,
)
from sbdata_baselines.stages.suppression import Suppression, suppress_last
from sbdata_baselines.stages.training import load_network, new_network, train_network

# --- the networks ---------------------------------------------------------------------------------


def suppressed_classifier(settings: SuppressedSettings, n_classes: int) -> ConvolvedClassifier:
    """Build the classifier; new weights are drawn with torch's global generator."""
    network = settings.network
    backbone = load_backbone(network.backbone, network.weights, output_stride=network.output_stride)
    suppress_last(backbone.module, settings.suppressed, settings.delta)
    activations = [Suppression(settings.width, settings.delta) for _ in range(CONVOLUTIONS)]
    pyramid = Pyramid(backbone, network.frozen)
    return ConvolvedClassifier(pyramid, n_classes, settings.width, activations)


def refining_network(settings: RefiningSettings, n_classes: int) -> ConvolvedClassifier:
    """Build the network that learns to predict the maps; it has no suppression."""
    pyramid = build_pyramid(settings.network)
    return ConvolvedClassifier(pyramid, n_classes, settings.width, rectifiers())


def pretrained_part(model: ConvolvedClassifier) -> nn.Module:
    """Return the pretrained part: the backbone without its suppression."""
    new = {
        id(parameter)
        for part in model.modules()
        if isinstance(part, Suppression)
        for parameter in part.parameters()
    }
    return nn.ParameterList(p for p in model.pyramid.parameters() if id(p) not in new)


def refining_loss(maps: Tensor, levels: Tensor) -> Tensor:
    """Return the mean squared difference of maps from their targets, over all classes.

    Args:
        maps: Activations, ``(N, C, h, w)``, resized bilinearly to the targets.
        levels: Targets, uint8 ``(N, C, H, W)``; 255 stands for 1.
    """
    return functional.mse_loss(resized(maps, levels.shape[-2:]), levels.to(maps.dtype) / 255)


# --- pseudo-masks ---------------------------------------------------------------------------------


def binary_saliency_mask(
    maps: ClassMaps, salience: FloatMap, settings: BinarySaliencySettings
) -> LabelMap:
    """Assign salient pixels their strongest class, others background, and uncertain ones 255.

    Args:
        maps: Maps of the present classes.
        salience: Saliency map, ``(H, W)`` in [0, 1].
        settings: Settings of the pseudo-masks.

    Returns:
        Mask, uint8 ``(H, W)``.
    """
    salient = salience > settings.salient
    background = np.where(salient, np.float32(0), np.float32(1))
    doubted = salient if settings.doubt and maps.classes else np.zeros_like(salient)
    return scored_labels(
        maps,
        background,
        floor=settings.floor,
        conflict=settings.conflict,
        most=settings.most,
        unlabelled=doubted,
    )


# --- stages ---------------------------------------------------------------------------------------


def train_suppressed(task: StageContext, settings: SuppressedSettings) -> None:
    """Train the classifier on the photos and their labels; write ``model.pt``."""
    model = new_network(task, settings, suppressed_classifier)
    views = square_views(task.weak, settings.views, task.seed)

    def step_loss(images: Tensor, labels: Tensor) -> Tensor:
        return functional.multilabel_soft_margin_loss(model(images), labels)

    train_network(task, settings, model, [views], step_loss, backbone=pretrained_part(model))


def suppressed_maps(task: StageContext, settings: SidesSettings, suppressed: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: the maps of its classes, each with maximum 1."""
    model = load_network(task, suppressed, SuppressedSettings, suppressed_classifier)
    _write_maps(task, settings, model, normalise=True)


def train_refining(task: StageContext, settings: RefiningSettings, maps: Path) -> None:
    """Train the refinement network on the photos and their maps; write ``model.pt``."""
    model = new_network(task, settings, refining_network)
    target = MapTarget(len(task.weak.taxonomy), maps, settings.views.side, strongest=True)
    views = views_with_maps(task.weak, settings.views, task.seed, target)

    def step_loss(images: Tensor, levels: Tensor) -> Tensor:
        return refining_loss(model.maps(images), levels)

    train_network(task, settings, model, [views], step_loss, backbone=model.pyramid)


def refined_maps(task: StageContext, settings: SidesSettings, refining: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: the refined maps of its classes."""
    model = load_network(task, refining, RefiningSettings, refining_network)
    _write_maps(task, settings, model, normalise=False)


def binary_saliency_masks(
    task: StageContext, settings: BinarySaliencySettings, maps: Path, saliency: Path
) -> None:
    """Write the pseudo-mask ``<image_id>.png`` of each photo."""
    for row in pending(task, ".png"):
        found, salience = read_maps(maps, row.image_id), read_salience(saliency, row.image_id)
        write_pseudo_mask(
            task.folder, row.image_id, binary_saliency_mask(found, salience, settings)
        )


def _write_maps(
    task: StageContext, settings: SidesSettings, model: ConvolvedClassifier, *, normalise: bool
) -> None:
    for row in pending(task, ".npz"):
        found = strongest_maps(
            model.maps,
            pixels_of(row),
            row.classes,
            settings.sides,
            task.place.device,
            normalise=normalise,
        )
        write_maps(task.folder, row.image_id, found)
