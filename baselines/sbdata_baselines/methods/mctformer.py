"""MCTformer: settings, stages and method metadata.

The stages are implemented in :mod:`sbdata_baselines.mctformer`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata.errors import InputError
from sbdata_baselines.methods.seam import pairwise_masks
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import (
    ActivationSettings,
    AdamW,
    AlphaSeedSettings,
    Distortion,
    HybridSettings,
    MaskSettings,
    PairwiseSettings,
    PairwiseWalkSettings,
    Schedule,
    TransformerSettings,
    ViewSettings,
)


@dataclass(frozen=True)
class TokenSettings:
    """Network and training settings of MCTformer.

    Attributes:
        transformer: Settings of a timm transformer, or of a small one on a backbone's features.
        views: Settings of the views of photos.
        optimiser: Optimiser settings.
        schedule: Training length.
        distortion: Distortion of the photos before views are cropped; it draws the scale, so the
            views have none.

    Raises:
        InputError: for impossible values.
    """

    transformer: TransformerSettings | HybridSettings
    views: ViewSettings
    optimiser: AdamW
    schedule: Schedule
    distortion: Distortion | None = None

    def __post_init__(self) -> None:
        if self.distortion is not None and (self.views.long_side or self.views.rescale):
            msg = "views: the distortion draws the scale; leave out long_side and rescale"
            raise InputError(msg)


@dataclass(frozen=True)
class TokenMapSettings(ActivationSettings):
    """Settings for computing MCTformer's maps.

    Attributes:
        scales: Scales of the photo whose maps are summed.
        flip: True to add the maps of the mirrored photo.
        last_layers: Number of last layers whose class-token attention is used.
        refine: True to refine the maps by the patches' affinity.

    Raises:
        InputError: if ``last_layers`` is below 1.
    """

    scales: tuple[float, ...] = (1.0,)
    last_layers: int = 3
    refine: bool = True

    def __post_init__(self) -> None:
        if self.last_layers < 1:
            msg = f"last_layers must be at least 1, not {self.last_layers}"
            raise InputError(msg)


@dataclass(frozen=True)
class MctFormerSettings:
    """Hyperparameters of MCTformer.

    Attributes:
        tokens: Network and training settings.
        maps: Settings for computing the maps.
        seeds: Settings of PSA's seeds.
        pairwise: Settings of PSA's affinity network.
        walk: Settings of the random walk along its affinities. With ``background_power`` 0 the
            background map is 1 everywhere and stays so, and nothing is rescaled.
        masks: Pseudo-mask settings for the maps after the walk; the official background is one
            constant score, before and after the walk.
    """

    tokens: TokenSettings
    maps: TokenMapSettings
    seeds: AlphaSeedSettings
    pairwise: PairwiseSettings
    walk: PairwiseWalkSettings
    masks: MaskSettings


def build(settings: MctFormerSettings) -> Stage:
    """Return the last stage of MCTformer."""
    trained = Stage(
        "tokens", "sbdata_baselines.mctformer:train_tokens", settings.tokens, seconds_per_image=0.24
    )
    maps = Stage(
        "token-maps",
        "sbdata_baselines.mctformer:token_maps",
        settings.maps,
        (trained,),
        seconds_per_image=0.11,
    )
    return pairwise_masks(
        maps, settings.seeds, settings.pairwise, settings.walk, settings.masks, 0.11
    )


def variant_of(settings: MctFormerSettings) -> str:
    """Return ``hybrid`` if the network is not the paper's transformer."""
    return "hybrid" if isinstance(settings.tokens.transformer, HybridSettings) else ""


BASELINE = Baseline(
    name="mctformer",
    paper=(
        "MCTformer: Xu et al., Multi-class Token Transformer for Weakly Supervised Semantic "
        "Segmentation, CVPR 2022"
    ),
    year=2022,
    settings=MctFormerSettings,
    presets=presets_of("mctformer"),
    build=build,
    backbone="DeiT-S, patches of 16 pixels; ResNet-38d for PSA",
    differences=(
        "In smoke and photos the network is a hybrid, not the paper's: four randomly initialised "
        "transformer blocks on an EfficientNet's features, because no package has the weights of "
        "a vision transformer; it shows that the method runs, not how good it is.",
        "Presets smoke and photos leave out the refinement by the patches' affinity, which would "
        "spoil the maps: without pretraining, patches do not attend to similar patches.",
        "PSA's backbone is a ResNet-101: weights of ResNet-38d come in MXNet's format only.",
        "Photos are resized to whole patches; the official code cuts off incomplete ones and "
        "stretches the maps over them.",
        "The learning rate changes with each step instead of each epoch, and training has full "
        "precision.",
        "The noise of random erasing is clipped to the range of valid colours.",
        "The score 0.39 of the background in the preset paper is the official one, which was "
        "chosen on ground truth; so was 0.2 in the others, on 120 generated training photos.",
    ),
    variant=variant_of,
    published={
        "VOC 2012 train, maps / pseudo-masks": "61.7 / 69.1 mIoU",
        "VOC 2012 val / test": "71.9 / 71.6 mIoU with a ResNet-38 DeepLabV1, ImageNet weights",
    },
)
