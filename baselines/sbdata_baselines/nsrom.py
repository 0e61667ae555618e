"""NS-ROM: objects in non-salient regions are mined instead of trained as background.

Yao et al., "Non-Salient Region Object Mining for Weakly Supervised Semantic Segmentation" (CVPR
2021). The maps of a classifier with global reasoning (:mod:`sbdata_baselines.stages.reasoning`) are
accumulated while it is trained (:mod:`sbdata_baselines.stages.accumulation`); a second network
learns them. Together with saliency they give labels in which potential objects in non-salient
regions are 255 (:mod:`sbdata_baselines.stages.potential`). A segmenter is trained on these labels,
and its predictions are the labels of the second round. The ``paper`` preset uses the constants of
NUST-Machine-Intelligence-Laboratory/nsrom.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from sbdata.benchmark.stage import StageContext
from sbdata.masks import VOID, LabelMap, read_index_png
from sbdata.train.predict import predict_image
from sbdata.train.resize import nearest
from sbdata.train.segmenter import Segmenter, build_segmenter, training_outputs
from sbdata_baselines.methods.nsrom import (
    AccumulatingSettings,
    FirstLabelSettings,
    PredictionSettings,
    ReasoningSettings,
    RoundSettings,
    SecondLabelSettings,
    SideSettings,
)
from sbdata_baselines.settings import NoSettings
from sbdata_baselines.stages.accumulation import Accumulator, integral_loss, visits_of
from sbdata_baselines.stages.cam import MapsOf
from sbdata_baselines.stages.convolutions import ConvolvedClassifier
from sbdata_baselines.stages.maps import (
    ClassMaps,
    FloatMap,
    file_of,
    max_normalised,
    minmax_normalised,
    read_maps,
    write_maps,
)
from sbdata_baselines.stages.masks import write_pseudo_mask
from sbdata_baselines.stages.photos import pending, pixels_of, weak_views
from sbdata_baselines.stages.potential import second_labels, without_potential_objects
from sbdata_baselines.stages.pyramid import build_pyramid
from sbdata_baselines.stages.reasoning import GlobalReasoning
from sbdata_baselines.stages.refinement import refiner_of
from sbdata_baselines.stages.saliency_maps import read_salience
from sbdata_baselines.stages.salient_scores import scored_labels, without_sparse
from sbdata_baselines.stages.square import MapTarget, seen_at_sides, views_with_maps
from sbdata_baselines.stages.training import load_network, new_network, train_network

# --- the networks ---------------------------------------------------------------------------------


class AccumulatingClassifier(nn.Module):
    """The first classifier, with its accumulated maps of all photos.

    Args:
        settings: Settings of the network.
        n_classes: Number of classes C, without background.
        counts: Number of classes of each photo.
    """

    def __init__(
        self, settings: AccumulatingSettings, n_classes: int, counts: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.classifier = reasoning_classifier(settings, n_classes)
        cells = self.classifier.pyramid.cells(settings.views.side)
        self.accumulator = Accumulator(counts, (cells, cells))


def reasoning_classifier(settings: ReasoningSettings, n_classes: int) -> ConvolvedClassifier:
    """Build the first classifier: ReLU between the convolutions and after the reasoning."""
    reasoning = GlobalReasoning(settings.width, settings.nodes, settings.states)
    activations = [nn.ReLU(), nn.ReLU(), nn.Identity()]
    last = nn.Sequential(reasoning, nn.ReLU())
    pyramid = build_pyramid(settings.network)
    return ConvolvedClassifier(pyramid, n_classes, settings.width, activations, last)


def integral_network(settings: ReasoningSettings, n_classes: int) -> ConvolvedClassifier:
    """Build the second network: ReLU only before the reasoning."""
    reasoning = GlobalReasoning(settings.width, settings.nodes, settings.states)
    activations = [nn.ReLU(), nn.ReLU(), nn.ReLU()]
    pyramid = build_pyramid(settings.network)
    return ConvolvedClassifier(pyramid, n_classes, settings.width, activations, reasoning)


def round_loss(model: Segmenter, images: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy summed over all outputs; it is 0 if all labels are 255.

    Args:
        model: Network in training mode.
        images: Images, ``(N, 3, S, S)``.
        labels: Class numbers, ``(N, S, S)``; 0 background, 255 void.
    """
    losses = []
    for logits in training_outputs(model, images):
        target = nearest(labels.long(), logits.shape[-2:])
        total = functional.cross_entropy(logits, target, ignore_index=VOID, reduction="sum")
        losses.append(total / (target != VOID).sum().clamp(min=1))
    return torch.stack(losses).sum()


# --- maps and labels ------------------------------------------------------------------------------


def whole_maps(
    maps_of: MapsOf,
    image: np.ndarray[Any, np.dtype[np.uint8]],
    classes: tuple[int, ...],
    side: int,
    device: str | torch.device,
) -> ClassMaps:
    """Return the maps of a photo that is resized to a square, rounded to 255 levels.

    The maps are resized to the photo's size by bicubic interpolation.

    Args:
        maps_of: Network.
        image: Photo, uint8 ``(H, W, 3)``.
        classes: Numbers of the classes that are present, from 1.
        side: Side of the square.
        device: Device of the images given to ``maps_of``.
    """
    maps = np.zeros((len(classes), *image.shape[:2]), np.float32)
    if not classes:
        return ClassMaps(classes, maps)
    (activations,) = seen_at_sides(maps_of, image, (side,), device)
    coarse = max_normalised(activations[[c - 1 for c in classes]].cpu().numpy())
    for number, values in enumerate(np.rint(255 * coarse).astype(np.uint8)):
        size = (image.shape[1], image.shape[0])
        maps[number] = Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)
    maps /= np.float32(255)
    return ClassMaps(classes, maps)


def first_round_labels(
    maps: ClassMaps, earlier: ClassMaps, salience: FloatMap, settings: FirstLabelSettings
) -> LabelMap:
    """Return the labels of the first round.

    Args:
        maps: Maps of the integral network.
        earlier: Maps of the first classifier.
        salience: Saliency map, ``(H, W)`` in [0, 1].
        settings: Settings of the labels.

    Returns:
        Labels, uint8 ``(H, W)``; 0 background, 255 void.
    """
    if not maps.classes:
        return np.zeros(salience.shape, np.uint8)
    labels = scored_labels(
        ClassMaps(maps.classes, minmax_normalised(maps.maps)),
        1 - salience,
        floor=settings.floor,
        conflict=settings.conflict,
        most=1,
        unlabelled=salience >= settings.salient,
        doubt=settings.doubt,
    )
    if settings.potential:
        labels = without_potential_objects(labels, earlier, settings.spare)
    return without_sparse(labels, settings.least)


# --- stages ---------------------------------------------------------------------------------------


def train_accumulating(task: StageContext, settings: AccumulatingSettings) -> None:
    """Train the first classifier; ``model.pt`` holds the accumulated maps as well."""
    model = new_network(task, settings, partial(_accumulating, task))
    last = settings.schedule.epochs - 1

    def step_loss(images: Tensor, labels: Tensor, numbers: Tensor, epochs: Tensor) -> Tensor:
        activations = model.classifier.maps(images)
        model.accumulator.keep(
            activations,
            labels,
            numbers,
            epochs,
            first=settings.first,
            last=last,
            least=settings.least,
        )
        return functional.multilabel_soft_margin_loss(activations.mean(dim=(2, 3)), labels)

    views = visits_of(task.weak, settings.views, task.seed)
    train_network(task, settings, model, [views], step_loss, backbone=model.classifier.pyramid)


def accumulated_maps(task: StageContext, settings: NoSettings, accumulating: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: its accumulated maps, at the network's stride."""
    model = _load_accumulating(task, accumulating)
    numbers = {row.image_id: number for number, row in enumerate(task.weak.rows)}
    for row in pending(task, ".npz"):
        found = model.accumulator.maps_of(numbers[row.image_id], row.classes)
        write_maps(task.folder, row.image_id, found)


def earlier_maps(task: StageContext, settings: SideSettings, accumulating: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: the first classifier's maps, with maximum 1."""
    _write_whole_maps(task, settings, _load_accumulating(task, accumulating).classifier)


def train_integral(task: StageContext, settings: ReasoningSettings, accumulated: Path) -> None:
    """Train the second network on the accumulated maps; write ``model.pt``."""
    model = new_network(task, settings, integral_network)
    target = MapTarget(len(task.weak.taxonomy), accumulated)
    views = views_with_maps(task.weak, settings.views, task.seed, target)

    def step_loss(images: Tensor, levels: Tensor) -> Tensor:
        return integral_loss(model.maps(images), levels)

    train_network(task, settings, model, [views], step_loss, backbone=model.pyramid)


def integral_maps(task: StageContext, settings: SideSettings, integral: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: the second network's maps, with maximum 1."""
    _write_whole_maps(
        task, settings, load_network(task, integral, ReasoningSettings, integral_network)
    )


def first_labels(
    task: StageContext, settings: FirstLabelSettings, maps: Path, earlier: Path, saliency: Path
) -> None:
    """Write the labels of the first round as ``<image_id>.png`` for each photo."""
    for row in pending(task, ".png"):
        labels = first_round_labels(
            read_maps(maps, row.image_id),
            read_maps(earlier, row.image_id),
            read_salience(saliency, row.image_id),
            settings,
        )
        write_pseudo_mask(task.folder, row.image_id, labels)


def train_first_segmenter(task: StageContext, settings: RoundSettings, labels: Path) -> None:
    """Train the first segmenter on the labels of the first round; write ``model.pt``."""
    model = new_network(task, settings, _segmenter)
    views = weak_views(task.weak, settings.views, task.seed, seeds=labels)

    def step_loss(images: Tensor, image_labels: Tensor, pixels: Tensor) -> Tensor:
        return round_loss(model, images, pixels)

    train_network(task, settings, model, [views], step_loss, backbone=model.backbone)


def first_predictions(task: StageContext, settings: PredictionSettings, segmenter: Path) -> None:
    """Write the first segmenter's class map ``<image_id>.png`` of each photo."""
    model = load_network(task, segmenter, RoundSettings, _segmenter)
    refine = refiner_of(settings.refine, task.place.device)
    for row in pending(task, ".png"):
        photo = pixels_of(row)
        found = predict_image(
            model, photo, scales=settings.scales, flip=settings.flip, device=task.place.device
        )
        if settings.labelled:
            absent = sorted(set(range(1, len(found))) - set(row.classes))
            found[absent] = 0
            found = found / np.maximum(found.sum(axis=0), np.finfo(np.float32).tiny)
        if refine is not None:
            found = refine(photo, found)
        write_pseudo_mask(task.folder, row.image_id, found.argmax(axis=0).astype(np.uint8))


def second_round_masks(
    task: StageContext, settings: SecondLabelSettings, predicted: Path, labels: Path, saliency: Path
) -> None:
    """Write the pseudo-mask ``<image_id>.png`` of each photo: the labels of the second round."""
    for row in pending(task, ".png"):
        found, first = (
            read_index_png(file_of(folder, row.image_id, ".png")) for folder in (predicted, labels)
        )
        salient = read_salience(saliency, row.image_id) > settings.salient
        mask = second_labels(found, first, salient, row.classes, settings.reach, settings.least)
        write_pseudo_mask(task.folder, row.image_id, mask)


def _accumulating(
    task: StageContext, settings: AccumulatingSettings, n_classes: int
) -> AccumulatingClassifier:
    counts = tuple(len(row.classes) for row in task.weak.rows)
    return AccumulatingClassifier(settings, n_classes, counts)


def _load_accumulating(task: StageContext, folder: Path) -> AccumulatingClassifier:
    return load_network(task, folder, AccumulatingSettings, partial(_accumulating, task))


def _segmenter(settings: RoundSettings, n_classes: int) -> Segmenter:
    model = settings.model
    return build_segmenter(
        model.backbone,
        n_classes=n_classes,
        weights=model.weights,
        output_stride=model.output_stride,
        rates=model.rates,
        scales=model.scales,
    )


def _write_whole_maps(
    task: StageContext, settings: SideSettings, model: ConvolvedClassifier
) -> None:
    for row in pending(task, ".npz"):
        found = whole_maps(
            model.maps, pixels_of(row), row.classes, settings.side, task.place.device
        )
        write_maps(task.folder, row.image_id, found)
