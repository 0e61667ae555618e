"""BANA: masks from boxes, by a classifier that knows the background around them.

Oh, Kim and Ham, "Background-Aware Pooling and Noise-Aware Loss for Weakly-Supervised Semantic
Segmentation" (CVPR 2021). A classifier learns from pooled features of boxes; the pooling gives
little weight to cells that look like the background outside the boxes
(:mod:`sbdata_baselines.stages.pooling`). Its activations within the boxes are fitted to the photo
and give a first mask, Y_crf. Prototypes of the regions found this way retrieve a second mask, Y_ret
(:mod:`sbdata_baselines.stages.retrieval`). Labels on which the two agree are considered reliable.
The ``paper`` preset uses the constants of cvlab-yonsei/BANA.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from sbdata.benchmark.stage import StageContext
from sbdata.masks import read_index_png
from sbdata_baselines.methods.bana import ChosenSettings, FittedSettings, PooledSettings
from sbdata_baselines.settings import NoSettings
from sbdata_baselines.stages.boxes import box_views, boxes_of
from sbdata_baselines.stages.classifier import Classifier, classifier_with_background
from sbdata_baselines.stages.maps import file_of
from sbdata_baselines.stages.masks import write_pseudo_mask
from sbdata_baselines.stages.photos import pending, pixels_of
from sbdata_baselines.stages.pooling import region_samples
from sbdata_baselines.stages.refinement import crf_or_refiner
from sbdata_baselines.stages.retrieval import (
    agreement_mask,
    box_scores,
    fitted_mask,
    retrieved_mask,
)
from sbdata_baselines.stages.training import load_network, new_network, train_network

# --- stages ---------------------------------------------------------------------------------------


def train_pooled(task: StageContext, settings: PooledSettings) -> None:
    """Train the classifier on boxes and the background outside them; write ``model.pt``."""
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
        # Use 0 instead of NaN for a batch without samples, which can happen if it is all padding.
        return functional.cross_entropy(logits, classes, reduction="sum") / max(len(classes), 1)

    train_network(task, settings, model, [views], step_loss, backbone=model.pyramid)


def fitted_masks(task: StageContext, settings: FittedSettings, pooled: Path) -> None:
    """Write the mask Y_crf of each photo as ``<image_id>.png``."""
    model = load_network(task, pooled, PooledSettings, classifier_with_background)
    refine = crf_or_refiner(settings.refine, task.place.device)
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
    """Write the mask Y_ret of each photo as ``<image_id>.png``."""
    model = load_network(task, pooled, PooledSettings, classifier_with_background)
    for row in pending(task, ".png"):
        fitted = read_index_png(file_of(crf, row.image_id, ".png"))
        with torch.inference_mode():
            features = _features(task, model, pixels_of(row))
            mask = retrieved_mask(features, model.head.weight.flatten(1), fitted, boxes_of(row))
        write_pseudo_mask(task.folder, row.image_id, mask)


def agreement_masks(task: StageContext, settings: NoSettings, crf: Path, ret: Path) -> None:
    """Write ``<image_id>.png`` for each photo: the class on which both agree, 255 elsewhere."""
    for row in pending(task, ".png"):
        fitted, retrieved = (read_index_png(file_of(f, row.image_id, ".png")) for f in (crf, ret))
        write_pseudo_mask(task.folder, row.image_id, agreement_mask(fitted, retrieved))


def chosen_masks(
    task: StageContext, settings: ChosenSettings, crf: Path, ret: Path, agreement: Path
) -> None:
    """Write the pseudo-mask ``<image_id>.png`` of each photo, a copy of one of the three masks."""
    source = {"crf": crf, "ret": ret, "agreement": agreement}[settings.use]
    for row in pending(task, ".png"):
        mask = read_index_png(file_of(source, row.image_id, ".png"))
        write_pseudo_mask(task.folder, row.image_id, mask)


def _features(task: StageContext, model: Classifier, photo: npt.NDArray[np.uint8]) -> Tensor:
    """Return the last features of a photo, ``(D, h, w)``."""
    image = torch.from_numpy(photo).permute(2, 0, 1)[None].to(task.place.device)
    features: Tensor = model.pyramid(image)[-1][0]
    return features
