"""SEAM: settings, stages and method metadata.

The stages are implemented in :mod:`sbdata_baselines.seam`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata_baselines.methods.cam import masks_stage
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import (
    ActivationSettings,
    AlphaSeedSettings,
    BackboneSettings,
    MaskSettings,
    PairwiseSettings,
    PairwiseWalkSettings,
)


@dataclass(frozen=True)
class EquivariantSettings(BackboneSettings):
    """Network and loss settings of SEAM.

    Attributes:
        down: Scale of the second view of a pair, relative to the first.
        lowest: Fraction of pixels on which the refined maps are pushed down.
        highest: Fraction of the differences between plain and refined maps that count.
        width: Number of channels of the features that the PCM compares.
        dropout: Dropout probability of the last features' channels.
    """

    down: float = 0.3
    lowest: float = 0.25
    highest: float = 0.2
    width: int = 192
    dropout: float = 0.5


@dataclass(frozen=True)
class SeamSettings:
    """Hyperparameters of SEAM.

    Attributes:
        equivariant: Network and loss settings.
        activation: Settings of the refined maps.
        seeds: Settings of PSA's seeds.
        pairwise: Settings of PSA's affinity network.
        walk: Settings of the random walk along its affinities.
        masks: Pseudo-mask settings for the maps after the walk, which include a background map.
    """

    equivariant: EquivariantSettings
    activation: ActivationSettings
    seeds: AlphaSeedSettings
    pairwise: PairwiseSettings
    walk: PairwiseWalkSettings
    masks: MaskSettings


def build(settings: SeamSettings) -> Stage:
    """Return the last stage of SEAM."""
    trained = Stage(
        "equivariant",
        "sbdata_baselines.seam:train_equivariant",
        settings.equivariant,
        seconds_per_image=0.5,
    )
    maps = Stage(
        "equivariant-maps",
        "sbdata_baselines.seam:equivariant_maps",
        settings.activation,
        (trained,),
        seconds_per_image=0.2,
    )
    return pairwise_masks(
        maps, settings.seeds, settings.pairwise, settings.walk, settings.masks, 0.16
    )


def pairwise_masks(
    maps: Stage,
    seeds: AlphaSeedSettings,
    pairwise: PairwiseSettings,
    walk: PairwiseWalkSettings,
    masks: MaskSettings,
    train_seconds: float,
) -> Stage:
    """Return the last stage: seeds of maps, a pairwise affinity network, its walk, masks.

    Args:
        maps: Stage of the class maps.
        seeds: Settings of the seeds.
        pairwise: Settings of the affinity network.
        walk: Settings of the random walk.
        masks: Settings of the pseudo-masks.
        train_seconds: Seconds of its training per image, for the plan's estimate.
    """
    found = Stage(
        "seeds",
        "sbdata_baselines.stages.labels:alpha_seed_labels",
        seeds,
        (maps,),
        seconds_per_image=0.03,
    )
    pairs = Stage(
        "pairwise",
        "sbdata_baselines.stages.pairwise:train_pairwise",
        pairwise,
        (found,),
        seconds_per_image=train_seconds,
    )
    walked = Stage(
        "walk",
        "sbdata_baselines.stages.pairwise:walk_pairwise",
        walk,
        (maps, pairs),
        seconds_per_image=0.12,
    )
    return masks_stage(walked, masks, gpus=0.0, seconds=0.01)


BASELINE = Baseline(
    name="seam",
    paper=(
        "SEAM: Wang et al., Self-supervised Equivariant Attention Mechanism for Weakly Supervised "
        "Semantic Segmentation, CVPR 2020"
    ),
    year=2020,
    settings=SeamSettings,
    presets=presets_of("seam"),
    build=build,
    backbone="ResNet-38d (Wide ResNet), output stride 8",
    differences=(
        "The backbone is a ResNet-101: weights of ResNet-38d come in MXNet's format only.",
        "The small view of presets smoke and photos is 0.5 times the large one: 0.3 of 160 pixels "
        "leaves three cells.",
        "No dense CRF follows the walk.",
    ),
    published={
        "VOC 2012 val / test": "64.5 / 65.7 mIoU with a ResNet-38 DeepLabV1, ImageNet weights",
    },
)
