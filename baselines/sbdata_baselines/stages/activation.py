"""Activation: a trained classifier's maps of the labelled classes, photo by photo.

Zhou et al. (CVPR 2016) with IRN's sum over scales and mirrored images (Ahn et al., CVPR 2019); the
maths is in :mod:`sbdata_baselines.stages.cam`. IRN keeps a second, coarse sum for its walk, which
is the mean of the fine one over the walk's cells here.
"""

from __future__ import annotations

from pathlib import Path

from sbdata.benchmark.stage import StageContext
from sbdata_baselines.settings import ActivationSettings
from sbdata_baselines.stages.cam import class_maps, multi_scale_maps
from sbdata_baselines.stages.classifier import load_classifier
from sbdata_baselines.stages.maps import write_maps
from sbdata_baselines.stages.photos import pending, pixels_of


def activation_maps(task: StageContext, settings: ActivationSettings, classifier: Path) -> None:
    """Write ``<image_id>.npz`` of each photo: the maps of its classes, each with maximum 1."""
    model = load_classifier(task, classifier)
    for row in pending(task, ".npz"):
        summed = multi_scale_maps(
            model.maps, pixels_of(row), settings.scales, settings.flip, device=task.place.device
        )
        write_maps(task.folder, row.image_id, class_maps(summed, row.classes))
