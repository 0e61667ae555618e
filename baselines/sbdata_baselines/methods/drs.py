"""DRS: settings, stages and method metadata.

The stages are implemented in :mod:`sbdata_baselines.drs`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata.errors import InputError
from sbdata.supervision import IMAGE_LABELS, SALIENCY
from sbdata_baselines.methods.eps import saliency_stage
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import (
    NetworkSettings,
    SaliencySettings,
    Schedule,
    SquareViewSettings,
    SteppedAdam,
    SteppedSgd,
)


@dataclass(frozen=True)
class SuppressedSettings:
    """Settings of the classifier whose activations are suppressed.

    Attributes:
        network: Backbone settings.
        views: Settings of the views of photos.
        optimiser: Optimiser settings.
        schedule: Training length.
        width: Number of channels of the three convolutions before the maps.
        delta: Fraction of each channel's maximum that activations may reach; 0 learns it (the
            learnable form).
        suppressed: Number of depths of the backbone, from the end, whose activations are
            suppressed, too; those of the three convolutions always are. A VGG has 5.
    """

    network: NetworkSettings
    views: SquareViewSettings
    optimiser: SteppedSgd
    schedule: Schedule
    width: int = 512
    delta: float = 0.0
    suppressed: int = 5


@dataclass(frozen=True)
class SidesSettings:
    """Settings for computing maps with a network.

    Attributes:
        sides: Sides of the squares to which a photo is resized; a map takes the largest of its
            values over all sides.

    Raises:
        InputError: if there is no side, or one is below 16.
    """

    sides: tuple[int, ...] = (256, 320, 384)

    def __post_init__(self) -> None:
        if not self.sides or min(self.sides) < 16:
            msg = f"sides must be one or more numbers of at least 16, not {list(self.sides)}"
            raise InputError(msg)


@dataclass(frozen=True)
class RefiningSettings:
    """Settings of the network that learns to predict the maps of the first one.

    Attributes:
        network: Backbone settings.
        views: Settings of the views of photos and maps, which must show the whole photo.
        optimiser: Optimiser settings.
        schedule: Training length.
        width: Number of channels of the three convolutions before the maps.

    Raises:
        InputError: if views are crops.
    """

    network: NetworkSettings
    views: SquareViewSettings
    optimiser: SteppedAdam
    schedule: Schedule
    width: int = 512

    def __post_init__(self) -> None:
        if self.views.crop != self.views.side:
            msg = "views: the refinement network needs whole photos; set crop to the value of side"
            raise InputError(msg)


@dataclass(frozen=True)
class BinarySaliencySettings:
    """Settings of pseudo-masks from maps and a thresholded saliency map.

    Attributes:
        salient: Saliency above which a pixel is salient; otherwise its background score is 1.
        floor: Threshold alpha; class scores below it are set to 0.
        conflict: Threshold above which a score is strong.
        most: Largest number of strong scores of a pixel; with more it is 255.
        doubt: True to mark salient pixels without a class as 255.
    """

    salient: float
    floor: float = 0.2
    conflict: float = 0.9
    most: int = 2
    doubt: bool = True


@dataclass(frozen=True)
class DrsSettings:
    """Hyperparameters of DRS.

    Attributes:
        saliency: Settings of the saliency maps that are computed if none are given.
        suppressed: Settings of the classifier.
        activation: Settings of its maps.
        refining: Settings of the refinement network.
        refined: Settings of that network's maps.
        masks: Settings of the pseudo-masks.
    """

    saliency: SaliencySettings
    suppressed: SuppressedSettings
    activation: SidesSettings
    refining: RefiningSettings
    refined: SidesSettings
    masks: BinarySaliencySettings


def build(settings: DrsSettings) -> Stage:
    """Return the last stage of DRS."""
    trained = Stage(
        "suppressed",
        "sbdata_baselines.drs:train_suppressed",
        settings.suppressed,
        seconds_per_image=0.5,
    )
    maps = Stage(
        "suppressed-maps",
        "sbdata_baselines.drs:suppressed_maps",
        settings.activation,
        (trained,),
        seconds_per_image=0.1,
    )
    refining = Stage(
        "refining",
        "sbdata_baselines.drs:train_refining",
        settings.refining,
        (maps,),
        seconds_per_image=0.6,
    )
    refined = Stage(
        "refined-maps",
        "sbdata_baselines.drs:refined_maps",
        settings.refined,
        (refining,),
        seconds_per_image=0.1,
    )
    return Stage(
        "masks",
        "sbdata_baselines.drs:binary_saliency_masks",
        settings.masks,
        (refined, saliency_stage(settings.saliency)),
        gpus=0.0,
        seconds_per_image=0.02,
    )


BASELINE = Baseline(
    name="drs",
    paper=(
        "DRS: Kim, Han and Kim, Discriminative Region Suppression for Weakly-Supervised Semantic "
        "Segmentation, AAAI 2021"
    ),
    year=2021,
    settings=DrsSettings,
    presets=presets_of("drs"),
    build=build,
    supervision=(IMAGE_LABELS, SALIENCY),
    backbone="VGG-16, output stride 8",
    of_paper=True,
    differences=(
        "Unless saliency maps are given, they come from a prior without learning, which is far "
        "weaker than the official ones.",
        "Both networks are those of their last epoch; the official code keeps the epoch whose "
        "pseudo-masks fit the ground truth of the training images best.",
        "Biases have the learning rate of their weights, not twice that.",
        "Initial weights of the head: the official code has a standard deviation of sqrt(2 / "
        "classes) for the classifier's convolution to the maps, here 0.01, and of 0.01 for all "
        "four convolutions of the refinement network, here for the last one only.",
        "Maps are resized to the photo before they are compared between sizes, without aligning "
        "their corners, and the refined ones are clipped at 1.",
        "Presets smoke and photos suppress only the three convolutions of the head, because the "
        "activations of an EfficientNet are bounded and not suited to it.",
    ),
    published={
        "VOC 2012 val / test": (
            "71.2 / 71.4 mIoU with a ResNet-101 DeepLabV2, ImageNet and COCO weights; the official "
            "page's rerun 69.4, with CRF 70.4"
        ),
    },
)
