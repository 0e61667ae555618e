"""EPS: settings, stages and method metadata.

The stages are implemented in :mod:`sbdata_baselines.eps`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata.supervision import IMAGE_LABELS, SALIENCY
from sbdata_baselines.methods.cam import masks_stage
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import (
    ActivationSettings,
    BackboneSettings,
    MaskSettings,
    SaliencySettings,
)


@dataclass(frozen=True)
class SalientSettings(BackboneSettings):
    """Network and loss settings of EPS.

    Attributes:
        overlap: Threshold tau: fraction of a class's confident pixels that must be salient for its
            map to count as foreground.
        blend: Weight lambda of the foreground maps; the background has weight 1 - lambda.
    """

    overlap: float = 0.4
    blend: float = 0.5


@dataclass(frozen=True)
class EpsSettings:
    """Hyperparameters of EPS.

    Attributes:
        saliency: Settings of the saliency maps that are computed if none are given.
        salient: Network and loss settings.
        activation: Settings of the activation maps.
        masks: Pseudo-mask threshold and refinement.
    """

    saliency: SaliencySettings
    salient: SalientSettings
    activation: ActivationSettings
    masks: MaskSettings


def saliency_stage(settings: SaliencySettings) -> Stage:
    """Return the stage of the saliency maps, which several methods share."""
    return Stage(
        "saliency",
        "sbdata_baselines.stages.saliency_maps:saliency_maps",
        settings,
        gpus=0.0,
        seconds_per_image=0.1,
    )


def build(settings: EpsSettings) -> Stage:
    """Return the last stage of EPS."""
    saliency = saliency_stage(settings.saliency)
    trained = Stage(
        "salient",
        "sbdata_baselines.eps:train_salient",
        settings.salient,
        (saliency,),
        seconds_per_image=0.4,
    )
    maps = Stage(
        "salient-maps",
        "sbdata_baselines.eps:salient_maps",
        settings.activation,
        (trained,),
        seconds_per_image=0.17,
    )
    return masks_stage(maps, settings.masks, gpus=1.0, seconds=0.1)


BASELINE = Baseline(
    name="eps",
    paper=(
        "EPS: Lee et al., Railroad is not a Train: Saliency as Pseudo-pixel Supervision for Weakly "
        "Supervised Semantic Segmentation, CVPR 2021"
    ),
    year=2021,
    settings=EpsSettings,
    presets=presets_of("eps"),
    build=build,
    supervision=(IMAGE_LABELS, SALIENCY),
    backbone="ResNet-38d (Wide ResNet), output stride 8",
    of_paper=True,
    differences=(
        "Unless saliency maps are given, they come from a prior without learning, which is far "
        "weaker than the official PFAN.",
        "The backbone is a ResNet-101: weights of ResNet-38d come in MXNet's format only.",
        "The masks have no dense CRF, as in the official code; the paper's results with one need "
        "masks.refine.name=crf.",
        "Photos are resized bilinearly and padded with ImageNet's mean colour.",
    ),
    published={
        "maps on VOC 2012 train, without / with saliency": "47.05 / 69.22 mIoU",
        "VOC 2012 val": "70.9 mIoU with a ResNet-101 DeepLabV2",
    },
)
