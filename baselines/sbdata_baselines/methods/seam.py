"""SEAM: its settings, its steps, and what a result says of it.

The steps themselves are in :mod:`sbdata_baselines.seam`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
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
    """Network and loss settings.

    Attributes:
        down: scale of the second view of a pair, relative to the first.
        lowest: share of pixels that the refined maps are pressed down on.
        highest: share of differences between plain and refined maps that count.
        width: of the features that are compared in the PCM.
        dropout: of the last features' channels.
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
        equivariant: the network.
        activation: its maps.
        seeds: where they are sure.
        pairwise: PSA's network.
        walk: along its affinities.
        masks: of the walked maps, which bring their background.
    """

    equivariant: EquivariantSettings
    activation: ActivationSettings
    seeds: AlphaSeedSettings
    pairwise: PairwiseSettings
    walk: PairwiseWalkSettings
    masks: MaskSettings


def build(settings: SeamSettings) -> Stage:
    """Return the last stage."""
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
    seeds = Stage(
        "seeds",
        "sbdata_baselines.stages.labels:alpha_seed_labels",
        settings.seeds,
        (maps,),
        seconds_per_image=0.03,
    )
    pairs = Stage(
        "pairwise",
        "sbdata_baselines.stages.pairwise:train_pairwise",
        settings.pairwise,
        (seeds,),
        seconds_per_image=0.16,
    )
    walked = Stage(
        "walk",
        "sbdata_baselines.stages.pairwise:walk_pairwise",
        settings.walk,
        (maps, pairs),
        seconds_per_image=0.12,
    )
    return Stage(
        "masks",
        "sbdata_baselines.stages.labels:pseudo_masks",
        settings.masks,
        (walked,),
        gpus=0.0,
        seconds_per_image=0.01,
    )


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
