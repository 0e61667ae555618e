"""CAM, the control: a classifier's activation maps, thresholded.

Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR 2016), with the
classifier, the scales and the threshold of IRN's code (Ahn et al., CVPR 2019), which evaluates its
maps in this way. The value of a method is what it improves over these pseudo-masks.
"""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import ActivationSettings, ClassifierSettings, MaskSettings


@dataclass(frozen=True)
class CamSettings:
    """Settings of the CAM baseline.

    Attributes:
        classifier: Classifier and training settings.
        activation: Settings of the activation maps.
        masks: Pseudo-mask threshold, and the refinement if any.
    """

    classifier: ClassifierSettings
    activation: ActivationSettings
    masks: MaskSettings


def build(settings: CamSettings) -> Stage:
    """Return the last stage of CAM."""
    maps = activation_stage(classifier_stage(settings.classifier), settings.activation)
    return masks_stage(maps, settings.masks, gpus=1.0, seconds=0.1)


def classifier_stage(settings: ClassifierSettings) -> Stage:
    """Return the stage that trains a plain classifier, which several methods begin with."""
    return Stage(
        "classifier",
        "sbdata_baselines.stages.classifier:train_classifier",
        settings,
        seconds_per_image=0.39,
    )


def activation_stage(trained: Stage, settings: ActivationSettings) -> Stage:
    """Return the stage of the maps of a trained classifier."""
    return Stage(
        "maps",
        "sbdata_baselines.stages.activation:activation_maps",
        settings,
        (trained,),
        seconds_per_image=0.17,
    )


def masks_stage(maps: Stage, settings: MaskSettings, *, gpus: float, seconds: float) -> Stage:
    """Return the last stage of several methods, the pseudo-masks of maps.

    Args:
        maps: Stage of the maps.
        settings: Pseudo-mask threshold and refinement.
        gpus: Number of GPUs, which only a refinement uses.
        seconds: Seconds per image, for the plan's estimate.
    """
    return Stage(
        "masks",
        "sbdata_baselines.stages.labels:pseudo_masks",
        settings,
        (maps,),
        gpus=gpus,
        seconds_per_image=seconds,
    )


BASELINE = Baseline(
    name="cam",
    paper="CAM: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016",
    year=2016,
    settings=CamSettings,
    presets=presets_of("cam"),
    build=build,
    backbone="ResNet-50, output stride 16",
    differences=(
        "Maps, scales and threshold are those of IRN's code, the common starting point today.",
        "Photos are resized bilinearly and padded with ImageNet's mean colour.",
    ),
    published={"CAM on VOC 2012 train (IRN's code)": "48.3 mIoU, threshold 0.15"},
)
