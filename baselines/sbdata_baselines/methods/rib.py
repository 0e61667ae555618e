"""RIB: IRN on maps of a classifier that is trained again on each photo, without a last activation.

Lee, Choi, Mok and Yoon, "Reducing Information Bottleneck for Weakly Supervised Semantic
Segmentation" (NeurIPS 2021). The maps are those of :mod:`sbdata_baselines.stages.bottleneck`; then
IRN follows. The ``paper`` preset uses the constants of jbeomlee93/RIB for VOC.
"""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata_baselines.methods.cam import classifier_stage
from sbdata_baselines.methods.irn import refined_stage
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import (
    BottleneckSettings,
    BoundarySettings,
    ClassifierSettings,
    MaskSettings,
    SeedSettings,
    WalkSettings,
)


@dataclass(frozen=True)
class RibSettings:
    """Hyperparameters of RIB.

    Attributes:
        classifier: Classifier and training settings.
        bottleneck: Settings of the training on each photo and of its maps.
        seeds: Thresholds of confident seeds.
        boundary: Training settings of the edge map.
        walk: Settings of the random walk.
        masks: Pseudo-mask threshold and refinement.
    """

    classifier: ClassifierSettings
    bottleneck: BottleneckSettings
    seeds: SeedSettings
    boundary: BoundarySettings
    walk: WalkSettings
    masks: MaskSettings


def build(settings: RibSettings) -> Stage:
    """Return the last stage of RIB."""
    trained = classifier_stage(settings.classifier)
    maps = Stage(
        "bottleneck-maps",
        "sbdata_baselines.stages.bottleneck:bottleneck_maps",
        settings.bottleneck,
        (trained,),
        seconds_per_image=0.55,
    )
    return refined_stage(maps, settings.seeds, settings.boundary, settings.walk, settings.masks)


BASELINE = Baseline(
    name="rib",
    paper=(
        "RIB: Lee, Choi, Mok and Yoon, Reducing Information Bottleneck for Weakly Supervised "
        "Semantic Segmentation, NeurIPS 2021"
    ),
    year=2021,
    settings=RibSettings,
    presets=presets_of("rib"),
    build=build,
    backbone="ResNet-50, output stride 16",
    of_paper=True,
    differences=(
        "As irn, whose classifier it uses.",
        "Maps that fill the photo end the steps and are not summed; the official code sums those "
        "of its first scale.",
        "Presets smoke and photos train the backbone's last part and the head, at one scale, in 4 "
        "steps, with 4 other photos out of 64.",
    ),
)
