"""Cost model: durations of tasks and the space that they take, from measured speeds of networks.

Speeds are those of ``results/steps.json``, measured by ``benchmarks/steps.py`` on one CPU core.
The work of a network is counted in pixels, those of all views, scales and epochs. The cost of a
stage of a method is its measured cost in the preset ``smoke``, times the ratio of the work of its
settings to that of ``smoke``. Such an estimate distinguishes hours from weeks; it may be wrong by
a factor of three.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sbdata.benchmark.stage import Stage
from sbdata.benchmark.tasks import Resources
from sbdata.settings import as_plain
from sbdata.train.preset import Preset
from sbdata.train.registry import find_strategy

BASIS = "measured steps, one CPU core"
"""Basis of the estimates, in words."""


@dataclass(frozen=True)
class Speed:
    """Speed of a segmentation network on one CPU core.

    Attributes:
        train: Seconds per million pixels of training views.
        predict: Seconds per million pixels of predicted photos.
        parameters: Number of parameters.
    """

    train: float
    predict: float
    parameters: int


SPEEDS: Mapping[tuple[str, int], Speed] = {
    ("tf_efficientnet_lite0", 16): Speed(4.102, 1.097, 3_062_564),
    ("resnet50", 16): Speed(17.741, 4.333, 24_171_620),
    ("resnet101", 16): Speed(25.838, 6.214, 43_163_748),
    ("resnet101", 8): Speed(80.172, 23.551, 43_163_748),
    ("vgg16", 8): Speed(58.389, 12.336, 14_880_612),
}
"""Speeds by backbone and output stride: those of ``results/steps.json``."""

CRF = 11.481
"""Seconds of the CRF per million pixels of a photo, from ``results/steps.json``; on the CPU."""

GPU = 200.0
"""Speed of a GPU over one CPU core: a guess, from tens of TFLOP/s against some 100 GFLOP/s, until
``benchmarks/gpu.py`` is run on a GPU."""

SCORE = 0.02
"""Seconds to score an image of the generated shapes."""

COMPARE = 1.0
"""Seconds to compare two strategies on a set by the bootstrap."""

_OTHER = ("resnet50", 16)  # network that stands for those that were not measured
_SMOKE = ("tf_efficientnet_lite0", 16)
_SMOKE_PIXELS = 320 * 280 / 1e6  # mean size of the generated shapes, in million pixels
_FISHER = 1.5  # cost of one image of EWC's sampled Fisher information, in training views


def speed_of(backbone: str, stride: int) -> Speed:
    """Return the speed of a network; that of ResNet-50 if it was not measured.

    A backbone that was measured at another stride has its speed there.
    """
    name = backbone.partition(".")[0]
    found = SPEEDS.get((name, stride))
    same = [speed for (other, _), speed in SPEEDS.items() if other == name]
    return found or (same[0] if same else SPEEDS[_OTHER])


def gpu_seconds(resources: Resources) -> float:
    """Return the estimated seconds that a task holds a GPU; 0 for a task without one."""
    if not resources.gpus:
        return 0.0
    return resources.on_cpu + (resources.seconds - resources.on_cpu) / GPU


def cpu_seconds(resources: Resources) -> float:
    """Return the estimated seconds on one core; 0 for a task that uses a GPU."""
    return 0.0 if resources.gpus else resources.seconds


# --- segmenters -----------------------------------------------------------------------------------


def training_seconds(preset: Preset, strategy: str, *, shared: bool) -> float:
    """Return the duration of a training.

    Args:
        preset: Preset of the segmenter.
        strategy: Name of the strategy.
        shared: True if another strategy has run the phase before the switch.
    """
    chosen, steps = find_strategy(strategy), preset.optimisation.steps
    share = 1.0 - preset.switch if shared else 1.0
    views = share * steps * preset.optimisation.batch_size
    if chosen.consolidated and preset.ewc.fisher == "sampled":
        views += preset.ewc.images * _FISHER
    speed = speed_of(preset.model.backbone, preset.model.output_stride)
    return speed.train * views * _scales(preset) * preset.augmentation.crop**2 / 1e6


def prediction_seconds(preset: Preset, images: int, pixels: float) -> tuple[float, float]:
    """Return the duration of the prediction of a set, and the part of it that stays on the CPU.

    Args:
        preset: Preset of the segmenter.
        images: Number of images.
        pixels: Their mean size, in million pixels.
    """
    views = sum(s * s for s in preset.inference.scales) * (2 if preset.inference.flip else 1)
    speed = speed_of(preset.model.backbone, preset.model.output_stride)
    refined = CRF * pixels * images if preset.inference.refine == "crf" else 0.0
    return speed.predict * views * _scales(preset) * images * pixels + refined, refined


def scoring_seconds(images: int, pixels: float) -> float:
    """Return the duration of the score of a set of ``images`` of ``pixels`` million pixels each."""
    return SCORE * images * pixels / _SMOKE_PIXELS


def _scales(preset: Preset) -> float:
    return 1.0 + sum(s * s for s in preset.model.scales)


# --- stages of methods ----------------------------------------------------------------------------


def stage_seconds(
    stage: Stage, reference: Stage | None, images: int, pixels: float
) -> tuple[float, float]:
    """Return the duration of a stage, and the part of it that stays on the CPU.

    Args:
        stage: Stage with its settings.
        reference: The same stage with the settings of the preset ``smoke``; None if there is none.
        images: Number of images.
        pixels: Their mean size, in million pixels.
    """
    known = _work(reference, _SMOKE_PIXELS) if reference is not None else 0.0
    factor = _work(stage, pixels) / known if known else pixels / _SMOKE_PIXELS
    refine = as_plain(stage.settings).get("refine") or {}
    named = refine.get("name", "") if isinstance(refine, Mapping) else str(refine)
    refined = CRF * pixels * images if named.endswith("crf") else 0.0
    return stage.seconds_per_image * images * factor + refined, refined


def _work(stage: Stage, pixels: float) -> float:
    """Return the work of a stage per image, in seconds of its network, or else in pixels.

    Settings are known by the names that the methods share: ``network`` or ``model``, ``views``,
    ``schedule``, ``scales`` and ``steps``.
    """
    settings = as_plain(stage.settings)
    speed = next(_networks(stage), None)
    schedule, views = settings.get("schedule"), settings.get("views")
    if speed is not None and isinstance(schedule, Mapping) and isinstance(views, Mapping):
        crop = float(views.get("crop", 0)) ** 2 / 1e6
        return speed.train * crop * float(schedule.get("epochs", 1)) * _seen(settings.get("model"))
    work = pixels if speed is None or not stage.gpus else speed.predict * pixels
    return work * _seen(settings, alone=True) * _steps(settings)


def _networks(stage: Stage) -> Iterator[Speed]:
    """Yield the speeds of the networks of a stage and, after it, of those that it builds on."""
    settings = as_plain(stage.settings)
    for name in ("network", "model"):
        found = settings.get(name)
        if isinstance(found, Mapping) and "backbone" in found:
            yield speed_of(str(found["backbone"]), int(found.get("output_stride", 16)))
    for former in stage.after:
        yield from _networks(former)


def _seen(settings: Any, *, alone: bool = False) -> float:
    """Return how often each pixel of a photo is processed at the scales of some settings."""
    if not isinstance(settings, Mapping):
        return 1.0
    scales = settings.get("scales")
    numbers = [s for s in scales if isinstance(s, int | float)] if isinstance(scales, list) else []
    if not numbers:
        return 1.0
    area = sum(float(s) ** 2 for s in numbers) + (0.0 if alone else 1.0)
    return area * (2.0 if settings.get("flip") else 1.0)


def _steps(settings: Mapping[str, Any]) -> float:
    """Return the number of steps that some settings take on each photo, weighted by their area."""
    total = 0.0
    for value in settings.values():
        if isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            total += sum(float(v.get("steps", 0)) * float(v.get("scale", 1)) ** 2 for v in value)
    steps = settings.get("steps")
    return total or (float(steps) if isinstance(steps, int | float) and steps else 1.0)


# --- space ----------------------------------------------------------------------------------------

# Measured with `sbdata bench --method bbam --method cam` on 600 generated images, preset smoke:
# masks take 26,000 to 32,000 and maps 0.6 to 1.2 million bytes per million pixels, score tables 190
# bytes per image. A training stores its weights; the phase before the switch stores three times as
# much: weights, momentum and Fisher information.
_MASK, _MAPS, _TABLE = 30_000.0, 1_200_000.0, 200.0
_MASKS = ("labels", "masks", "seeds")  # names of the stages that write masks and no maps
_FIRST_PHASE = 3  # times the size of a network
_WEIGHT = 4  # bytes of a number


def space_of_training(preset: Preset, *, shared: bool) -> float:
    """Return the bytes that a training stores, with its first phase unless that is shared."""
    speed = speed_of(preset.model.backbone, preset.model.output_stride)
    return float((1 if shared else 1 + _FIRST_PHASE) * _WEIGHT * speed.parameters)


def space_of_stage(stage: Stage, images: int, pixels: float) -> float:
    """Return the bytes that a stage stores: a network, or masks or maps of each image."""
    speed = next(_networks(stage), None)
    if speed is not None and "schedule" in as_plain(stage.settings):
        return float(_WEIGHT * speed.parameters)
    return (_MASK if stage.name in _MASKS else _MAPS) * images * pixels


def space_of_masks(images: int, pixels: float) -> float:
    """Return the bytes of the masks of a set."""
    return _MASK * images * pixels


def space_of_score(images: int) -> float:
    """Return the bytes of the score tables of a set."""
    return _TABLE * images
