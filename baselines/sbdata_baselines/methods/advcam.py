"""AdvCAM: IRN on maps of photos that were changed to show more of their classes.

Lee, Kim and Yoon, "Anti-Adversarially Manipulated Attributions for Weakly and Semi-Supervised
Semantic Segmentation" (CVPR 2021). The maps are those of
:mod:`sbdata_baselines.stages.attribution`, from a classifier that is not trained again; then IRN
follows. The ``paper`` preset uses the constants of jbeomlee93/AdvCAM.
"""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata_baselines.methods.cam import classifier_stage
from sbdata_baselines.methods.irn import refined_stage
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import (
    BoundarySettings,
    ClassifierSettings,
    ClimbSettings,
    MaskSettings,
    SeedSettings,
    WalkSettings,
)


@dataclass(frozen=True)
class AdvCamSettings:
    """Hyperparameters of AdvCAM.

    Attributes:
        classifier: Classifier and training settings.
        climb: Settings of the gradient ascent that gives the maps.
        seeds: Thresholds of confident seeds.
        boundary: Training settings of the edge map.
        walk: Settings of the random walk.
        masks: Pseudo-mask threshold and refinement.
    """

    classifier: ClassifierSettings
    climb: ClimbSettings
    seeds: SeedSettings
    boundary: BoundarySettings
    walk: WalkSettings
    masks: MaskSettings


def build(settings: AdvCamSettings) -> Stage:
    """Return the last stage of AdvCAM."""
    trained = classifier_stage(settings.classifier)
    maps = Stage(
        "adversarial-maps",
        "sbdata_baselines.stages.attribution:adversarial_maps",
        settings.climb,
        (trained,),
        seconds_per_image=0.56,
    )
    return refined_stage(maps, settings.seeds, settings.boundary, settings.walk, settings.masks)


BASELINE = Baseline(
    name="advcam",
    paper=(
        "AdvCAM: Lee, Kim and Yoon, Anti-Adversarially Manipulated Attributions for Weakly and "
        "Semi-Supervised Semantic Segmentation, CVPR 2021"
    ),
    year=2021,
    settings=AdvCamSettings,
    presets=presets_of("advcam"),
    build=build,
    backbone="ResNet-50, output stride 16",
    of_paper=True,
    differences=(
        "As irn, whose classifier it uses; the official one is trained below stride 8, too.",
        "A step of 0.08, as in the official code; the paper has 0.008.",
        "Grad-CAM's weights are computed in closed form, which is the same for this classifier.",
        "The official code intends to count the half scale's 13 steps twice, but its factor also "
        "applies to the other scales, so all steps count the same, as in the preset paper.",
        "The official threshold of the maps is searched on the ground truth of the training set; "
        "nothing is searched here.",
        "Presets smoke and photos change the input of the backbone's last part, not pixels, at one "
        "scale and in 8 steps.",
    ),
    published={
        "maps / pseudo-masks on VOC 2012 train": "55.6 / 69.9 mIoU",
        "VOC 2012 val / test": "68.1 / 68.0 mIoU with a ResNet-101 DeepLabV2, ImageNet weights",
    },
)
