"""BANA: masks from boxes, by a classifier that knows the background around them.

Oh, Kim and Ham, "Background-Aware Pooling and Noise-Aware Loss for Weakly-Supervised Semantic
Segmentation" (CVPR 2021): a classifier learns from the features of boxes, in whose means what looks
like the ground outside them weighs little (:mod:`sbdata_baselines.stages.pooling`). Its activations
within the boxes are fitted to the photo, Y_crf; prototypes of the regions found so retrieve a
second mask, Y_ret (:mod:`sbdata_baselines.stages.retrieval`). Where the two agree the labels are
taken for reliable. Constants of the ``paper`` preset are those of cvlab-yonsei/BANA.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage, StageContext
from sbdata.masks import read_index_png
from sbdata.supervision import BOXES, IMAGE_LABELS
from sbdata.train.preset import CrfParameters
from sbdata.train.refine import Refiner, dense_crf, make_refiner
from sbdata_baselines.controls import NoSettings
from sbdata_baselines.presets import presets_of
from sbdata_baselines.stages.boxes import box_views, boxes_of
from sbdata_baselines.stages.classifier import Classifier, classifier_with_background
from sbdata_baselines.stages.maps import file_of
from sbdata_baselines.stages.masks import write_pseudo_mask
from sbdata_baselines.stages.photos import pending, pixels_of
from sbdata_baselines.stages.pooling import region_samples
from sbdata_baselines.stages.refinement import Refinement, refiner_of
from sbdata_baselines.stages.retrieval import (
    agreement_mask,
    box_scores,
    fitted_mask,
    retrieved_mask,
)
from sbdata_baselines.stages.training import (
    BackboneSettings,
    load_network,
    new_network,
    train_network,
)


@dataclass(frozen=True)
class PooledSettings(BackboneSettings):
    """Settings of the classifier of regions.

    Attributes:
        grid: cells a side into which a view is cut for its prototypes of background.
        parts: a side into which a box is cut; each is a sample of its class.
        least_background: share of a view, below which its boxes are pooled with equal weights.
        visible: share of a box that a view must show to learn from it.
    """

    grid: int = 4
    parts: int = 2
    least_background: float = 0.125
    visible: float = 0.0


@dataclass(frozen=True)
class FittedSettings:
    """Settings of Y_crf.

    Attributes:
        threshold: share of a photo's largest attention to background below which it is taken for 0.
        grid: cells a side into which a photo is cut for its prototypes of background.
        refine: fits the scores to the photo: a dense CRF's parameters, which need the extra
            ``crf``, or one of the ways that all methods share.
    """

    threshold: float = 0.99
    grid: int = 1
    refine: CrfParameters | Refinement = field(default_factory=Refinement)


@dataclass(frozen=True)
class ChosenSettings:
    """Which masks a segmenter learns from.

    Attributes:
        use: ``agreement`` of the two, 255 elsewhere; ``crf``; or ``ret``. All are kept.
    """

    use: Literal["agreement", "crf", "ret"] = "agreement"


@dataclass(frozen=True)
class BanaSettings:
    """Hyperparameters of BANA.

    Attributes:
        pooled: the classifier.
        fitted: its scores, and how they are fitted to the photo.
        masks: which are handed on.
    """

    pooled: PooledSettings
    fitted: FittedSettings
    masks: ChosenSettings = field(default_factory=ChosenSettings)


def build(settings: BanaSettings) -> Stage:
    """Return the last stage."""
    pooled = Stage("pooled", train_pooled, settings.pooled, seconds_per_image=0.3)
    crf = Stage("y-crf", fitted_masks, settings.fitted, (pooled,), seconds_per_image=0.22)
    ret = Stage("y-ret", retrieved_masks, NoSettings(), (pooled, crf), seconds_per_image=0.16)
    both = Stage(
        "agreement", agreement_masks, NoSettings(), (crf, ret), gpus=0.0, seconds_per_image=0.005
    )
    return Stage(
        "masks", chosen_masks, settings.masks, (crf, ret, both), gpus=0.0, seconds_per_image=0.003
    )


# --- stages ---------------------------------------------------------------------------------------


def train_pooled(task: StageContext, settings: PooledSettings) -> None:
    """Train the classifier on boxes and the ground outside them; writes ``model.pt``."""
    model = new_network(task, settings, classifier_with_background)
    views = box_views(task.weak, settings.views, task.seed, settings.visible)

    def step_loss(images: Tensor, boxes: Tensor, background: Tensor) -> Tensor:
        samples, classes = region_samples(
            model.pyramid(images)[-1],
            boxes,
            background,
            settings.grid,
            settings.parts,
            settings.least_background,
        )
        logits = functional.linear(samples, model.head.weight.flatten(1))
        # The mean; of no sample, which a batch of padding alone can have, 0 instead of no number.
        return functional.cross_entropy(logits, classes, reduction="sum") / max(len(classes), 1)

    train_network(task, settings, model, [views], step_loss, backbone=model.pyramid)


def fitted_masks(task: StageContext, settings: FittedSettings, pooled: Path) -> None:
    """Write ``<image_id>.png`` of each photo: Y_crf."""
    model = load_network(task, pooled, PooledSettings, classifier_with_background)
    refine = _refiner(settings.refine, task.place.device)
    for row in pending(task, ".png"):
        boxes, photo = boxes_of(row), pixels_of(row)
        with torch.inference_mode():
            scores = box_scores(
                _features(task, model, photo),
                model.head.weight.flatten(1),
                boxes,
                row.size,
                settings.threshold,
                settings.grid,
            )
        mask = fitted_mask(scores, photo, boxes, refine)
        write_pseudo_mask(task.folder, row.image_id, mask)


def retrieved_masks(task: StageContext, settings: NoSettings, pooled: Path, crf: Path) -> None:
    """Write ``<image_id>.png`` of each photo: Y_ret."""
    model = load_network(task, pooled, PooledSettings, classifier_with_background)
    for row in pending(task, ".png"):
        fitted = read_index_png(file_of(crf, row.image_id, ".png"))
        with torch.inference_mode():
            features = _features(task, model, pixels_of(row))
            mask = retrieved_mask(features, model.head.weight.flatten(1), fitted, boxes_of(row))
        write_pseudo_mask(task.folder, row.image_id, mask)


def agreement_masks(task: StageContext, settings: NoSettings, crf: Path, ret: Path) -> None:
    """Write ``<image_id>.png`` of each photo: the class on which both agree, 255 elsewhere."""
    for row in pending(task, ".png"):
        fitted, retrieved = (read_index_png(file_of(f, row.image_id, ".png")) for f in (crf, ret))
        write_pseudo_mask(task.folder, row.image_id, agreement_mask(fitted, retrieved))


def chosen_masks(
    task: StageContext, settings: ChosenSettings, crf: Path, ret: Path, agreement: Path
) -> None:
    """Write the pseudo-mask ``<image_id>.png`` of each photo, a copy of one of the three."""
    source = {"crf": crf, "ret": ret, "agreement": agreement}[settings.use]
    for row in pending(task, ".png"):
        mask = read_index_png(file_of(source, row.image_id, ".png"))
        write_pseudo_mask(task.folder, row.image_id, mask)


def _features(task: StageContext, model: Classifier, photo: npt.NDArray[np.uint8]) -> Tensor:
    """Return a photo's last features, ``(D, h, w)``."""
    image = torch.from_numpy(photo).permute(2, 0, 1)[None].to(task.place.device)
    features: Tensor = model.pyramid(image)[-1][0]
    return features


def _refiner(settings: CrfParameters | Refinement, device: torch.device) -> Refiner | None:
    if isinstance(settings, Refinement):
        return refiner_of(settings, device)
    make_refiner("crf")  # says what to install
    return partial(dense_crf, parameters=settings)


BASELINE = Baseline(
    name="bana",
    paper=(
        "BANA: Oh, Kim and Ham, Background-Aware Pooling and Noise-Aware Loss for "
        "Weakly-Supervised Semantic Segmentation, CVPR 2021"
    ),
    year=2021,
    settings=BanaSettings,
    presets=presets_of("bana"),
    build=build,
    supervision=(IMAGE_LABELS, BOXES),
    backbone="VGG-16, output stride 8",
    differences=(
        "The noise-aware loss of the segmenter is not used: all methods' segmenters are trained by "
        "the same strategies, or these could not be compared. The default masks are its reliable "
        "set, where Y_crf and Y_ret agree, and 255 elsewhere; masks.use takes either of them.",
        "The classifier is a ResNet-101 instead of a VGG-16 with Caffe's weights; its learning "
        "rate falls by a power of the step instead of to a tenth at step 5,000 of 8,000, and is "
        "ten times as large for new layers, which have no bias.",
        "A box takes of each cell of the features the area that it covers, instead of bilinear "
        "samples, so that a box smaller than a cell is pooled exactly.",
        "Presets smoke and photos have a grid of 2 cells a side instead of 4, PAR instead of the "
        "dense CRF, and take background's scores from 0.8 of the largest on, instead of 0.99.",
        "Photos are resized bilinearly and padded with ImageNet's mean colour, which is no "
        "background.",
    ),
    published={
        "VOC 2012 val / test": (
            "74.6 / 76.1 mIoU with a ResNet-101 DeepLabV2 and the noise-aware loss, ImageNet and "
            "COCO weights"
        ),
    },
)
