"""NS-ROM: its settings, its steps, and what a result says of it.

The steps themselves are in :mod:`sbdata_baselines.nsrom`.
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
        network: settings of the backbone.
        views: settings of the views of photos, which must show all of them and not be mirrored.
        optimiser: settings of the optimiser.
        schedule: Duration of the training.
        width: channels of the three convolutions before the maps.
        nodes: nodes of the graph.
        states: numbers that a node holds.

    Raises:
        InputError: if views are cut or mirrored, so that maps do not lie on their photos.
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
            msg = "views: maps are kept of whole photos; let crop equal side, and flip be false"
            raise InputError(msg)


@dataclass(frozen=True)
class AccumulatingSettings(ReasoningSettings):
    """Settings of the first classifier, whose maps are accumulated while it is trained.

    Attributes:
        first: epoch from which maps are kept, counted from 0.
        least: probability of a class from which its map is kept.
    """

    first: int = 1
    least: float = 0.1


@dataclass(frozen=True)
class SideSettings:
    """Settings of reading maps out of a network.

    Attributes:
        side: side of the square to which a photo is resized.
    """

    side: int = 256


@dataclass(frozen=True)
class FirstLabelSettings:
    """Labels of the first round, from maps and saliency.

    Attributes:
        salient: saliency from which on a pixel without a class is 255.
        floor: class scores below this are 0.
        conflict: scores above this are strong; a pixel with two of them is 255.
        doubt: class score above which a pixel of background is 255.
        potential: whether background is 255 that an earlier map takes for an object.
        spare: value above which an earlier map's pixels tell the threshold of a class that no
            pixel was given.
        least: share of the photo that must have a class, else all of it is 255. It drops photos of
            small objects; 0 keeps them.
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
    """Settings of the segmenter that learns the first labels.

    Attributes:
        model: settings of the network.
        views: settings of the views of photos and labels.
        optimiser: settings of the optimiser.
        schedule: Duration of the training.
    """

    model: ModelSettings
    views: ViewSettings
    optimiser: Sgd
    schedule: Schedule


@dataclass(frozen=True)
class PredictionSettings:
    """Settings of the first segmenter's predictions of the training photos.

    Attributes:
        scales: scales of the photo.
        flip: whether the mirrored photo is seen as well.
        labelled: whether classes that a photo is not labelled with are left out.
        refine: fits the probabilities to the photo.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    labelled: bool = False
    refine: Refinement = field(default_factory=lambda: Refinement("none"))


@dataclass(frozen=True)
class SecondLabelSettings:
    """Labels of the second round, the pseudo-masks.

    Attributes:
        reach: side in pixels of the square by which what was found is dilated; beyond it pixels of
            photos with several classes are 255.
        least: share of the photo that must have a class, else all of it is 255; 0 keeps all.
    """

    reach: int = 30
    least: float = 0.01


@dataclass(frozen=True)
class NsromSettings:
    """Hyperparameters of NS-ROM.

    Attributes:
        saliency: Settings of the saliency maps that are made if none are given.
        accumulating: settings of the first classifier.
        earlier: settings of its maps after the last epoch.
        integral: settings of the network that learns the accumulated maps.
        activation: settings of that network's maps.
        labels: settings of the first labels.
        segmenter: settings of the segmenter that learns them.
        prediction: settings of its predictions.
        masks: settings of the pseudo-masks.
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
    """Return the last stage."""
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
        (predicted, labels),
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
        "Saliency maps are those that are given, else an unlearned prior's, which is far weaker "
        "than the official PoolNet-like ones.",
        "The first segmenter starts from ImageNet's weights by default, not from COCO's; its views "
        "have any scale from 0.5 to 1.5, not one of five, and its biases learn as fast as their "
        "weights. The second segmenter is that of the benchmark, under each strategy.",
        "Biases of the classifiers learn at the rate of their weights, not at twice that.",
        "How new weights of the convolutions start, that the batch norm of the reasoning unit "
        "starts from a scale of 1 and its 1 x 1 convolutions have biases, that accumulated maps "
        "are kept with 8 bits, that the second round dilates the first labels with their 255, "
        "and that only labelled classes count as foreground in its 1 %, are guesses.",
        "A photo without classes stays background; the official training list has none.",
        "In presets smoke and photos, classes that a photo is not labelled with are left out of "
        "the first segmenter's predictions, and PAR takes the place of the dense CRF.",
    ),
    published={
        "VOC 2012 val / test": (
            "68.3 / 68.5 mIoU with a ResNet-101 DeepLabV2, ImageNet weights; 70.4 / 70.2 with "
            "those of ImageNet and COCO"
        ),
    },
)
