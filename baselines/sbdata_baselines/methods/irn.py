"""IRN: activation maps spread by a random walk that stops at learned edges.

Ahn, Cho and Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations"
(CVPR 2019). Classifier and maps are those of :mod:`sbdata_baselines.methods.cam`. Seeds are taken
where the maps are confident. A boundary head learns from them which neighbours belong together. A
random walk follows its edges, then a threshold. The ``paper`` preset uses the constants of
``run_sample.py`` in jiwoon-ahn/irn.
"""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata_baselines.methods.cam import activation_stage, classifier_stage, masks_stage
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import (
    ActivationSettings,
    BoundarySettings,
    ClassifierSettings,
    MaskSettings,
    SeedSettings,
    WalkSettings,
)


@dataclass(frozen=True)
class IrnSettings:
    """Hyperparameters of IRN.

    Attributes:
        classifier: Classifier and training settings.
        activation: Settings of the activation maps.
        seeds: Thresholds of confident seeds.
        boundary: Training settings of the edge map.
        walk: Settings of the random walk.
        masks: Pseudo-mask threshold and refinement.
    """

    classifier: ClassifierSettings
    activation: ActivationSettings
    seeds: SeedSettings
    boundary: BoundarySettings
    walk: WalkSettings
    masks: MaskSettings


def build(settings: IrnSettings) -> Stage:
    """Return the last stage of IRN."""
    maps = activation_stage(classifier_stage(settings.classifier), settings.activation)
    return refined_stage(maps, settings.seeds, settings.boundary, settings.walk, settings.masks)


def seeds_stage(maps: Stage, settings: SeedSettings) -> Stage:
    """Return the stage that makes seeds from the maps of a stage."""
    return Stage(
        "seeds",
        "sbdata_baselines.stages.labels:seed_labels",
        settings,
        (maps,),
        seconds_per_image=0.03,
    )


def refined_stage(
    maps: Stage,
    seeds: SeedSettings,
    boundary: BoundarySettings,
    walk: WalkSettings,
    masks: MaskSettings,
) -> Stage:
    """Return the last stage of all methods that end with IRN's walk.

    Args:
        maps: Stage of the maps that are spread.
        seeds: Thresholds of the seeds from which the edges are learned.
        boundary: Training settings of the edge map.
        walk: Settings of the random walk.
        masks: Pseudo-mask threshold and refinement.
    """
    edges = Stage(
        "boundary",
        "sbdata_baselines.stages.boundary:train_boundary",
        boundary,
        (seeds_stage(maps, seeds),),
        seconds_per_image=0.12,
    )
    walked = Stage(
        "walk",
        "sbdata_baselines.stages.boundary:walk_maps",
        walk,
        (maps, edges),
        seconds_per_image=0.16,
    )
    return masks_stage(walked, masks, gpus=0.0, seconds=0.01)


BASELINE = Baseline(
    name="irn",
    paper=(
        "IRN: Ahn, Cho and Kwak, Weakly Supervised Learning of Instance Segmentation with "
        "Inter-pixel Relations, CVPR 2019"
    ),
    year=2019,
    settings=IrnSettings,
    presets=presets_of("irn"),
    build=build,
    backbone="ResNet-50, output stride 16",
    of_paper=True,
    differences=(
        "The displacement branch is left out: it only separates instances.",
        "The walk multiplies by a sparse matrix 256 times instead of squaring a dense one 8 times.",
        "Scales of batch norm are not trained.",
        "Photos are resized bilinearly and padded with ImageNet's mean colour.",
    ),
    published={
        "pseudo-masks on VOC 2012 train": "66.5 mIoU",
        "VOC 2012 val / test": "63.5 / 64.8 mIoU with a ResNet-50 DeepLabV2, ImageNet weights",
    },
)
