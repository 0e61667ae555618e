"""NS-ROM: settings, stages and method metadata.

The stages are implemented in :mod:`sbdata_baselines.nsrom`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata.errors import InputError
from sbdata.supervision import IMAGE_LABELS, SALIENCY
from sbdata.train.preset import ModelSettings
from sbdata_baselines.methods.eps import saliency_stage
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import (
    NetworkSettings,
    NoSettings,
    Refinement,
    SaliencySettings,
    Schedule,
    Sgd,
    SquareViewSettings,
    SteppedSgd,
    ViewSettings,
)


@dataclass(frozen=True)
class ReasoningSettings:
    """Settings of a classifier with global reasoning.

    Attributes:
        network: Backbone settings.
        views: Settings of the views of photos, which must show the whole photo, not mirrored.
        optimiser: Optimiser settings.
        schedule: Training length.
        width: Number of channels of the three convolutions before the maps.
        nodes: Number of nodes of the graph.
        states: Number of values of a node.

    Raises:
        InputError: if views are crops or mirrored, because maps would then not match their photos.
    """

    network: NetworkSettings
    views: SquareViewSettings
    optimiser: SteppedSgd
    schedule: Schedule
    width: int = 512
    nodes: int = 64
    states: int = 128

    def __post_init__(self) -> None:
        if self.views.crop != self.views.side or self.views.flip:
            msg = "views: maps of whole photos are stored; crop must equal side, without flip"
            raise InputError(msg)


@dataclass(frozen=True)
class AccumulatingSettings(ReasoningSettings):
    """Settings of the first classifier, whose maps are accumulated while it is trained.

    Attributes:
        first: First epoch whose maps are kept, counted from 0.
        least: Smallest probability of a class whose map is kept.
    """

    first: int = 1
    least: float = 0.1


@dataclass(frozen=True)
class SideSettings:
    """Settings for computing maps with a network.

    Attributes:
        side: Side of the square to which a photo is resized.
    """

    side: int = 256


@dataclass(frozen=True)
class FirstLabelSettings:
    """Settings of the labels of the first round, from maps and saliency.

    Attributes:
        salient: Saliency from which on a pixel without a class is 255.
        floor: Class scores below this value are set to 0.
        conflict: Threshold above which a score is strong; a pixel with two strong scores is 255.
        doubt: Class score above which a background pixel is 255.
        potential: True to mark background as 255 if an earlier map shows an object there.
        spare: Value above which pixels of an earlier map determine the threshold of a class that
            no pixel has, or only pixels at which that map is 0.
        least: Fraction of the photo that must have a class; otherwise all of it is 255. This drops
            photos of small objects; 0 keeps them.
    """

    salient: float
    floor: float = 0.3
    conflict: float = 0.9
    doubt: float = 0.8
    potential: bool = True
    spare: float = 0.3
    least: float = 0.01


@dataclass(frozen=True)
class RoundSettings:
    """Settings of the segmenter that is trained on the first labels.

    Attributes:
        model: Network settings.
        views: Settings of the views of photos and labels.
        optimiser: Optimiser settings.
        schedule: Training length.
    """

    model: ModelSettings
    views: ViewSettings
    optimiser: Sgd
    schedule: Schedule


@dataclass(frozen=True)
class PredictionSettings:
    """Settings of the first segmenter's predictions of the training photos.

    Attributes:
        scales: Scales of the photo.
        flip: True to use the mirrored photo too.
        labelled: True to leave out classes that are not among the photo's labels.
        refine: Refinement that fits the probabilities to the photo.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    labelled: bool = False
    refine: Refinement = field(default_factory=lambda: Refinement("none"))


@dataclass(frozen=True)
class SecondLabelSettings:
    """Settings of the labels of the second round, the pseudo-masks.

    Attributes:
        reach: Side in pixels of the square by which labelled and salient pixels are dilated; in
            photos with several classes, pixels farther away are 255.
        salient: Saliency above which a pixel is salient. The official code has 0, for maps that are
            0 in the background; those of the built-in providers hardly ever are.
        least: Fraction of the photo that must have a class; otherwise all of it is 255. 0 keeps
            all photos.
    """

    reach: int = 30
    salient: float = 0.0
    least: float = 0.01


@dataclass(frozen=True)
class NsromSettings:
    """Hyperparameters of NS-ROM.

    Attributes:
        saliency: Settings of the saliency maps that are computed if none are given.
        accumulating: Settings of the first classifier.
        earlier: Settings of its maps after the last epoch.
        integral: Settings of the network that learns the accumulated maps.
        activation: Settings of that network's maps.
        labels: Settings of the first labels.
        segmenter: Settings of the segmenter that is trained on them.
        prediction: Settings of its predictions.
        masks: Settings of the pseudo-masks.
    """

    saliency: SaliencySettings
    accumulating: AccumulatingSettings
    earlier: SideSettings
    integral: ReasoningSettings
    activation: SideSettings
    labels: FirstLabelSettings
    segmenter: RoundSettings
    prediction: PredictionSettings
    masks: SecondLabelSettings


def build(settings: NsromSettings) -> Stage:
    """Return the last stage of NS-ROM."""
    code = "sbdata_baselines.nsrom:"
    saliency = saliency_stage(settings.saliency)
    accumulating = Stage(
        "accumulating",
        f"{code}train_accumulating",
        settings.accumulating,
        seconds_per_image=0.5,
    )
    accumulated = Stage(
        "accumulated-maps",
        f"{code}accumulated_maps",
        NoSettings(),
        (accumulating,),
        gpus=0.0,
        seconds_per_image=0.01,
    )
    earlier = Stage(
        "earlier-maps",
        f"{code}earlier_maps",
        settings.earlier,
        (accumulating,),
        seconds_per_image=0.05,
    )
    integral = Stage(
        "integral",
        f"{code}train_integral",
        settings.integral,
        (accumulated,),
        seconds_per_image=0.5,
    )
    maps = Stage(
        "integral-maps",
        f"{code}integral_maps",
        settings.activation,
        (integral,),
        seconds_per_image=0.05,
    )
    labels = Stage(
        "first-labels",
        f"{code}first_labels",
        settings.labels,
        (maps, earlier, saliency),
        gpus=0.0,
        seconds_per_image=0.03,
    )
    segmenter = Stage(
        "first-segmenter",
        f"{code}train_first_segmenter",
        settings.segmenter,
        (labels,),
        seconds_per_image=0.3,
    )
    predicted = Stage(
        "first-predictions",
        f"{code}first_predictions",
        settings.prediction,
        (segmenter,),
        seconds_per_image=0.1,
    )
    return Stage(
        "masks",
        f"{code}second_round_masks",
        settings.masks,
        (predicted, labels, saliency),
        gpus=0.0,
        seconds_per_image=0.02,
    )


BASELINE = Baseline(
    name="nsrom",
    paper=(
        "NS-ROM: Yao et al., Non-Salient Region Object Mining for Weakly Supervised Semantic "
        "Segmentation, CVPR 2021"
    ),
    year=2021,
    settings=NsromSettings,
    presets=presets_of("nsrom"),
    build=build,
    supervision=(IMAGE_LABELS, SALIENCY),
    backbone="VGG-16, output stride 8",
    of_paper=True,
    differences=(
        "Unless saliency maps are given, they come from a prior without learning, which is far "
        "weaker than the official PoolNet-like ones.",
        "The first segmenter starts from ImageNet weights by default, not from COCO weights; its "
        "views have any scale from 0.5 to 1.5, not one of five, and its biases have the learning "
        "rate of their weights. The second segmenter is that of the benchmark, for each strategy.",
        "Biases of the classifiers have the learning rate of their weights, not twice that.",
        "Initial weights of the head: the official code has a standard deviation of sqrt(2 / "
        "classes) for the first network's convolution to the maps, here 0.01, and PyTorch's "
        "defaults for all of the second network's.",
        "A photo without classes stays background; the official training list has none.",
        "In presets smoke and photos, classes that are not among a photo's labels are left out of "
        "the first segmenter's predictions, and PAR replaces the dense CRF.",
    ),
    published={
        "VOC 2012 val / test": (
            "68.3 / 68.5 mIoU with a ResNet-101 DeepLabV2, ImageNet weights; 70.4 / 70.2 with "
            "those of ImageNet and COCO"
        ),
    },
)
