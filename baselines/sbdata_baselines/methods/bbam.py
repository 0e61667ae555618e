"""BBAM: settings, stages and method metadata.

The stages are implemented in :mod:`sbdata_baselines.bbam`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata.errors import InputError
from sbdata.supervision import BOXES, IMAGE_LABELS
from sbdata.train.preset import CrfParameters
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import BackboneSettings, NoSettings, Refinement


@dataclass(frozen=True)
class DetectorSettings(BackboneSettings):
    """Settings of the detector and its training.

    Attributes:
        width: Channels of the feature pyramid.
        hidden: Channels of the box head's two layers.
        samples: Proposals of each view that the box head learns from, at most a quarter of them
            positive.
        proposals: Origin of these proposals: ``network``, a region proposal network that is
            trained at the same time (Faster R-CNN); or ``drawn``, random boxes (Fast R-CNN).
        drawn: Number of random boxes around each object.
        random: Number of random boxes anywhere in a view.
        visible: Share of a box that a view must show to learn from it.
    """

    width: int = 256
    hidden: int = 1024
    samples: int = 512
    proposals: Literal["network", "drawn"] = "network"
    drawn: int = 32
    random: int = 64
    visible: float = 0.0


@dataclass(frozen=True)
class PerturbationSettings:
    """Settings of the masks that are optimised against the detector.

    Attributes:
        side: Short side to which a photo is resized; or, with ``context``, side of the square
            window around an object.
        longest: Largest long side of a photo; a longer photo gets a smaller short side. Unused with
            ``context``.
        context: Side of the window, in longer sides of the box; 0 takes the whole photo.
        zoom: Largest enlargement of a window.
        drawn: Number of proposals drawn around a box.
        shift: Largest shift of each of their edges, as a share of the box's side.
        overlaps: IoUs that a proposal's regressed box must exceed to be kept, in the order in
            which they are tried.
        plenty: Number of kept proposals above which no lower overlap is tried.
        keep: Largest number of proposals that are kept.
        grid: Two numbers a and b; the side of a mask's cell in pixels is a + b · sqrt(the box's
            share of the photo).
        lr: Learning rate of Adam.
        steps: Number of steps.
        area: Weight of the sum of a mask.
        smooth: Weight of the sum of cubed differences between neighbouring cells.
        batch: Number of objects that are optimised at once; the masks do not depend on it.

    Raises:
        InputError: for impossible values.
    """

    side: int = 800
    longest: int = 1333
    context: float = 0.0
    zoom: float = 2.0
    drawn: int = 1000
    shift: float = 0.3
    overlaps: tuple[float, ...] = (0.9, 0.85, 0.8)
    plenty: int = 100
    keep: int = 100
    grid: tuple[float, ...] = (16.0, 48.0)
    lr: float = 0.02
    steps: int = 300
    area: float = 0.007
    smooth: float = 1e-4
    batch: int = 1

    def __post_init__(self) -> None:
        counts = (self.side, self.longest, self.steps + 1, self.drawn, self.keep, self.batch)
        if min(counts) < 1:
            msg = (
                "perturbation: side, longest, drawn, keep and batch must be at least 1, and steps "
                "at least 0"
            )
        elif len(self.grid) != 2 or self.grid[0] <= 0 or self.grid[1] < 0:
            msg = "perturbation: grid must be two numbers, the first above 0, the second at least 0"
        elif not self.overlaps or (self.context and self.context < 1) or self.zoom <= 0:
            msg = "perturbation: overlaps need a value, zoom must be above 0, context 0 or >= 1"
        else:
            return
        raise InputError(msg)


@dataclass(frozen=True)
class BoxMaskSettings:
    """Settings of the binary masks of the objects.

    Attributes:
        foreground: Theta of an object's foreground: all but this share of its box's pixels are
            certain before the blur.
        wide: Theta of the wide mask; its pixels outside the foreground become 255.
        blur: Two numbers a and b; the standard deviation of the blur in pixels is a + b · sqrt(the
            box's share of the photo).
        certain: Probability that a pixel must exceed to belong to the object.
        least: Share of its box below which the mask of a small object is replaced.
        small: Largest share of the photo for the box of a small object.
        fills: Values that replace the map inside a small object's box, in the order in which they
            are tried.
        enough: Share of its box that a replaced mask must exceed; else the next value is tried.
        empty_fills: Values that replace a map of zeros.
        empty_enough: Share of its box that such a mask must exceed; if none does, the whole box is
            the mask.
        refine: Refinement that fits a map to the photo: parameters of a dense CRF, which needs the
            extra ``crf``, or a refinement that all methods share.
        margin: Margin around a box, in pixels, that the refinement uses; -1 for the whole photo.
    """

    foreground: float = 0.85
    wide: float = 0.2
    blur: tuple[float, ...] = (16.0, 48.0)
    certain: float = 0.9
    least: float = 0.2
    small: float = 0.1
    fills: tuple[float, ...] = (0.7, 0.8, 0.9, 0.95, 0.96)
    enough: float = 1 / 3
    empty_fills: tuple[float, ...] = (0.7, 0.8, 0.9, 0.95)
    empty_enough: float = 0.2
    refine: CrfParameters | Refinement = field(default_factory=Refinement)
    margin: int = -1


@dataclass(frozen=True)
class BbamSettings:
    """Hyperparameters of BBAM.

    Attributes:
        detector: Settings of the detector.
        perturbation: Settings of the optimised masks.
        objects: Settings of the objects' binary masks.
    """

    detector: DetectorSettings
    perturbation: PerturbationSettings = field(default_factory=PerturbationSettings)
    objects: BoxMaskSettings = field(default_factory=BoxMaskSettings)


def build(settings: BbamSettings) -> Stage:
    """Return the last stage of BBAM."""
    detector = Stage(
        "detector",
        "sbdata_baselines.stages.detector:train_detector",
        settings.detector,
        seconds_per_image=0.17,
    )
    attributions = Stage(
        "attributions",
        "sbdata_baselines.bbam:attribution_maps",
        settings.perturbation,
        (detector,),
        seconds_per_image=0.7,
    )
    objects = Stage(
        "objects",
        "sbdata_baselines.bbam:object_masks",
        settings.objects,
        (attributions,),
        gpus=0.0,
        seconds_per_image=0.08,
    )
    return Stage(
        "masks",
        "sbdata_baselines.bbam:merged_masks",
        NoSettings(),
        (objects,),
        gpus=0.0,
        seconds_per_image=0.003,
    )


BASELINE = Baseline(
    name="bbam",
    paper=(
        "BBAM: Lee, Yi, Shin and Yoon, BBAM: Bounding Box Attribution Map for Weakly Supervised "
        "Semantic and Instance Segmentation, CVPR 2021"
    ),
    year=2021,
    settings=BbamSettings,
    presets=presets_of("bbam"),
    build=build,
    of_paper=True,
    supervision=(IMAGE_LABELS, BOXES),
    backbone="ResNet-101 with a feature pyramid (Faster R-CNN)",
    differences=(
        "No MCG proposals: the official code can combine the masks of larger objects with them; "
        "they come from a learned edge detector and were not available here.",
        "The detector is assembled from torchvision's parts instead of maskrcnn-benchmark's. Its "
        "backbone keeps stride 16 with dilation, so that the feature pyramid has strides 4, 8 and "
        "16, and anchors on a pooled map of stride 32; all batch norm is frozen.",
        "The detector's learning rate falls by a power of the step instead of to a tenth at steps "
        "12,000 and 16,000 of 18,000, without warm-up; its views are square.",
        "If no proposal of an object is kept and the CRF empties its filled box, its mask is the "
        "whole box; in the official code it has none, which shifts the lists of masks by one.",
        "Masks are stored as float16 numbers instead of JPEGs, and an object's mask never extends "
        "beyond its box.",
        "Presets smoke and photos train a Fast R-CNN on random boxes around the objects, without a "
        "proposal network. They optimise a mask in a window around each object instead of the "
        "whole photo, in fewer and larger steps, and use PAR instead of the dense CRF; their "
        "grids, blurs, overlaps and thresholds are guesses.",
    ),
    published={
        "VOC 2012 val / test": (
            "73.7 / 73.7 mIoU with a ResNet-101 DeepLabV2, ImageNet weights, and MCG proposals"
        ),
    },
)
