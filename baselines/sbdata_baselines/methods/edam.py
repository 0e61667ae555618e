"""EDAM: settings, stages and method metadata.

The stages are implemented in :mod:`sbdata_baselines.edam`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata.errors import InputError
from sbdata.supervision import IMAGE_LABELS, SALIENCY
from sbdata_baselines.methods.eps import saliency_stage
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import (
    ActivationSettings,
    BackboneSettings,
    Refinement,
    SaliencySettings,
)


@dataclass(frozen=True)
class AttentionSettings(BackboneSettings):
    """Settings of EDAM's network; the transformer is trained at the backbone's learning rate.

    ``schedule.batch_size`` photos are half as many pairs.

    Attributes:
        width: Width of a token.
        heads: Number of attention heads.
        expansion: Width of the transformer's hidden layer, in token widths.
        dropout: Dropout probability of the transformer.
        shared: True for one transformer with a class embedding for all classes; False for one per
            class.
        negatives: Number of classes absent from both photos that are predicted too, drawn anew each
            time; None for all.

    Raises:
        InputError: for impossible values.
    """

    width: int = 128
    heads: int = 2
    expansion: int = 4
    dropout: float = 0.1
    shared: bool = False
    negatives: int | None = None

    def __post_init__(self) -> None:
        if self.schedule.batch_size % 2:
            size = self.schedule.batch_size
            msg = f"schedule: batch_size must be even, since photos come in pairs, not {size}"
        elif self.heads < 1 or self.width % (2 * self.heads):
            msg = f"width must be a multiple of twice the heads, not {self.width} for {self.heads}"
        elif self.negatives is not None and self.negatives < 0:
            msg = f"negatives must be 0 or more, not {self.negatives}"
        else:
            return
        raise InputError(msg)


@dataclass(frozen=True)
class SalientMaskSettings:
    """Settings of pseudo-masks from class masks and saliency.

    Attributes:
        theta: Saliency up to which a pixel is background.
        lowest: Threshold alpha below which a class mask is ignored, even on salient pixels.
        highest: Threshold beta above which a class mask counts on any pixel.
        refine: Refinement of the masks before the thresholds; the background score is 1 minus the
            largest class score.
    """

    theta: float
    lowest: float = 1e-6
    highest: float = 0.99999
    refine: Refinement = field(default_factory=lambda: Refinement("none"))


@dataclass(frozen=True)
class EdamSettings:
    """Hyperparameters of EDAM.

    Attributes:
        saliency: Settings of the saliency maps that are computed if none are given.
        attention: Network and training settings.
        activation: Settings of the class masks.
        masks: Thresholds and refinement of the pseudo-masks.
    """

    saliency: SaliencySettings
    attention: AttentionSettings
    activation: ActivationSettings
    masks: SalientMaskSettings


def build(settings: EdamSettings) -> Stage:
    """Return the last stage of EDAM."""
    trained = Stage(
        "attention",
        "sbdata_baselines.edam:train_attention",
        settings.attention,
        seconds_per_image=0.45,
    )
    maps = Stage(
        "attention-maps",
        "sbdata_baselines.edam:attention_maps",
        settings.activation,
        (trained,),
        seconds_per_image=0.17,
    )
    saliency = saliency_stage(settings.saliency)
    return Stage(
        "masks",
        "sbdata_baselines.edam:salient_pseudo_masks",
        settings.masks,
        (maps, saliency),
        seconds_per_image=0.1,
    )


BASELINE = Baseline(
    name="edam",
    paper=(
        "EDAM: Wu et al., Embedded Discriminative Attention Mechanism for Weakly Supervised "
        "Semantic Segmentation, CVPR 2021"
    ),
    year=2021,
    settings=EdamSettings,
    presets=presets_of("edam"),
    build=build,
    supervision=(IMAGE_LABELS, SALIENCY),
    backbone="ResNet-38d (Wide ResNet), output stride 8",
    of_paper=True,
    differences=(
        "Unless saliency maps are given, they come from a prior without learning, which is far "
        "weaker than the official PoolNet.",
        "The backbone is a ResNet-101: weights of ResNet-38d come in MXNet's format only.",
        "The saliency rule is applied to the result of the CRF; the official code applies it to a "
        "variable that its CRF branch does not use.",
        "Pairs are drawn at each step, not read from the authors' list.",
        "The learning rate has no warm-up, and the CRF runs its usual ten iterations, not three.",
        "Presets smoke and photos share one transformer among the classes and predict three absent "
        "classes per pair, not all.",
    ),
    published={
        "VOC 2012 train, masks / with CRF / with CRF and saliency": "52.83 / 58.61 / 68.11 mIoU",
        "VOC 2012 val": "70.96 mIoU with a ResNet-101 DeepLabV2 pretrained on COCO, and CRF",
    },
)
