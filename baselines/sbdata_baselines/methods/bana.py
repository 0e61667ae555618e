"""BANA: settings, stages and method metadata.

The stages are implemented in :mod:`sbdata_baselines.bana`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata.supervision import BOXES, IMAGE_LABELS
from sbdata.train.preset import CrfParameters
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import BackboneSettings, NoSettings, Refinement


@dataclass(frozen=True)
class PooledSettings(BackboneSettings):
    """Settings of the classifier of regions.

    Attributes:
        grid: Number of cells per side into which a view is divided for background prototypes.
        parts: Number of parts per side into which a box is divided; each is a sample of its class.
        least_background: Fraction of background in a view below which its boxes are pooled with
            equal weights.
        visible: Fraction of a box that a view must show to learn from it.
    """

    grid: int = 4
    parts: int = 2
    least_background: float = 0.125
    visible: float = 0.0


@dataclass(frozen=True)
class FittedSettings:
    """Settings of BANA's first masks, Y_crf.

    Attributes:
        threshold: Fraction of a photo's largest background attention below which attention is set
            to 0.
        grid: Number of cells per side into which a photo is divided for background prototypes.
        refine: Refinement that fits the scores to the photo: parameters of a dense CRF, which needs
            the extra ``crf``, or a refinement that all methods share.
    """

    threshold: float = 0.99
    grid: int = 1
    refine: CrfParameters | Refinement = field(default_factory=Refinement)


@dataclass(frozen=True)
class ChosenSettings:
    """Choice of the masks that a segmenter learns from.

    Attributes:
        use: ``agreement`` of the two masks, 255 elsewhere; ``crf``; or ``ret``. All three are kept.
    """

    use: Literal["agreement", "crf", "ret"] = "agreement"


@dataclass(frozen=True)
class BanaSettings:
    """Hyperparameters of BANA.

    Attributes:
        pooled: Settings of the classifier of regions.
        fitted: Settings of its scores and of their refinement.
        masks: Choice of the pseudo-masks.
    """

    pooled: PooledSettings
    fitted: FittedSettings
    masks: ChosenSettings = field(default_factory=ChosenSettings)


def build(settings: BanaSettings) -> Stage:
    """Return the last stage of BANA."""
    pooled = Stage(
        "pooled", "sbdata_baselines.bana:train_pooled", settings.pooled, seconds_per_image=0.3
    )
    crf = Stage(
        "y-crf",
        "sbdata_baselines.bana:fitted_masks",
        settings.fitted,
        (pooled,),
        seconds_per_image=0.22,
    )
    ret = Stage(
        "y-ret",
        "sbdata_baselines.bana:retrieved_masks",
        NoSettings(),
        (pooled, crf),
        seconds_per_image=0.16,
    )
    both = Stage(
        "agreement",
        "sbdata_baselines.bana:agreement_masks",
        NoSettings(),
        (crf, ret),
        gpus=0.0,
        seconds_per_image=0.005,
    )
    return Stage(
        "masks",
        "sbdata_baselines.bana:chosen_masks",
        settings.masks,
        (crf, ret, both),
        gpus=0.0,
        seconds_per_image=0.003,
    )


BASELINE = Baseline(
    name="bana",
    paper=(
        "BANA: Oh, Kim and Ham, Background-Aware Pooling and Noise-Aware Loss for "
        "Weakly-Supervised Semantic Segmentation, CVPR 2021"
    ),
    year=2021,
    settings=BanaSettings,
    presets=presets_of("bana"),
    build=build,
    supervision=(IMAGE_LABELS, BOXES),
    backbone="VGG-16, output stride 8",
    of_paper=True,
    differences=(
        "The noise-aware loss of the segmenter is not used: all methods' segmenters are trained by "
        "the same strategies, so that these can be compared. The default masks are its reliable "
        "set, where Y_crf and Y_ret agree, and 255 elsewhere; masks.use chooses one of the two.",
        "The classifier is a ResNet-101 instead of a VGG-16 with Caffe's weights; its learning "
        "rate falls by a power of the step instead of to a tenth at step 5,000 of 8,000, and is "
        "ten times as large for new layers, which have no bias.",
        "Each feature cell is weighted by the area that a box covers of it, instead of bilinear "
        "samples, so that a box smaller than a cell is pooled exactly.",
        "Presets smoke and photos have a grid of 2 cells per side instead of 4, PAR instead of the "
        "dense CRF, and use background scores from 0.8 of the largest on, instead of 0.99.",
        "Photos are resized bilinearly and padded with ImageNet's mean colour, which does not "
        "count as background.",
    ),
    published={
        "VOC 2012 val / test": (
            "74.6 / 76.1 mIoU with a ResNet-101 DeepLabV2 and the noise-aware loss, ImageNet and "
            "COCO weights"
        ),
    },
)
