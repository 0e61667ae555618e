"""Activation: a trained classifier's maps of the labelled classes, photo by photo.

Zhou et al. (CVPR 2016) with IRN's sum over scales and mirrored images (Ahn et al., CVPR 2019). The
maths is in :mod:`sbdata_baselines.stages.cam`. IRN keeps a second, coarse sum for its walk; here,
that is the mean of the fine sum over the walk's cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sbdata.benchmark.stage import StageContext
from sbdata.weak_labels.weak_set import WeakImage
from sbdata_baselines.settings import ActivationSettings
from sbdata_baselines.stages.cam import MapsOf, class_maps, multi_scale_maps
from sbdata_baselines.stages.classifier import load_classifier
from sbdata_baselines.stages.maps import FloatMap, write_maps
from sbdata_baselines.stages.photos import pending, pixels_of


def summed_maps(
    task: StageContext, settings: ActivationSettings, maps_of: MapsOf
) -> Iterator[tuple[WeakImage, FloatMap]]:
    """Yield each photo without stored maps, with its maps summed over scales and mirror images."""
    for row in pending(task, ".npz"):
        yield (
            row,
            multi_scale_maps(
                maps_of, pixels_of(row), settings.scales, settings.flip, device=task.place.device
            ),
        )


def write_class_maps(task: StageContext, settings: ActivationSettings, maps_of: MapsOf) -> None:
    """Write ``<image_id>.npz`` for each photo: the maps of its classes, each with maximum 1."""
    for row, summed in summed_maps(task, settings, maps_of):
        write_maps(task.folder, row.image_id, class_maps(summed, row.classes))


def activation_maps(task: StageContext, settings: ActivationSettings, classifier: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: a classifier's class maps, each with maximum 1."""
    write_class_maps(task, settings, load_classifier(task, classifier).maps)
