"""Presets: how a segmenter is trained and predicts, as YAML read into frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sbdata.errors import InputError
from sbdata.settings import as_plain, bundled, from_plain, overridden, read_settings


@dataclass(frozen=True)
class ModelSettings:
    """The network.

    Attributes:
        backbone: a timm model's name.
        weights: ``auto``, ``none`` or a file; see ``sbdata.train.pretrained``.
        output_stride: 8 or 16.
        rates: of the head's atrous convolutions.
        scales: further scales of the input in training and at test (MSC); none by default.
    """

    backbone: str
    weights: str = "auto"
    output_stride: int = 16
    rates: tuple[int, ...] = (6, 12, 18, 24)
    scales: tuple[float, ...] = ()


@dataclass(frozen=True)
class Augmentation:
    """What happens to a training image and, alike, to its mask.

    Attributes:
        crop: side of the square crop in pixels, padded where the scaled image is smaller.
        scales: of which one is drawn per image, relative to the image's own size.
        flip: mirror half of the images.
    """

    crop: int
    scales: tuple[float, ...] = (1.0,)
    flip: bool = True


@dataclass(frozen=True)
class Optimisation:
    """Stochastic gradient descent with the poly schedule, lr · (1 − step / steps)^power.

    Attributes:
        steps: optimiser steps, all phases of a strategy together.
        batch_size: images a step, over all devices and accumulated parts.
        accumulate: parts of a batch that pass through the network one after the other.
        lr: learning rate of the backbone; the head's weights take ``head`` times, its biases
            ``head_bias`` times as much.
        momentum: of SGD.
        weight_decay: of weights, not of biases.
        head: see ``lr``.
        head_bias: see ``lr``.
        poly_power: of the schedule.
        update_every: steps between changes of the learning rate.
        precision: ``32``, or mixed with ``bf16`` or ``fp16``.
        checkpoint_every: steps between checkpoints.
    """

    steps: int
    batch_size: int
    lr: float
    accumulate: int = 1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    head: float = 10.0
    head_bias: float = 20.0
    poly_power: float = 0.9
    update_every: int = 1
    precision: Literal["32", "bf16", "fp16"] = "32"
    checkpoint_every: int = 500


@dataclass(frozen=True)
class FineTuning:
    """The second phase of the strategies that have two.

    Attributes:
        share: of all steps that it takes.
        lr_scale: its first learning rate, relative to the first phase's.
    """

    share: float = 1 / 3
    lr_scale: float = 0.5


@dataclass(frozen=True)
class SizeBalance:
    """The size-balanced loss, ``sb_ce.v1``.

    Attributes:
        tau: largest weight of a pixel.
        normalizer: over which components a component's pixels are weighed.
    """

    tau: float = 5.0
    normalizer: Literal["class", "image"] = "class"


@dataclass(frozen=True)
class Ewc:
    """Elastic weight consolidation.

    Attributes:
        strength: λ of the penalty (λ/2) Σ F_i (θ_i − θ*_i)².
        images: of the training set, augmented, over which the Fisher information is estimated.
        per: gradients of an image's mean loss, or of single pixels' losses.
    """

    strength: float = 1000.0
    images: int = 200
    per: Literal["image", "pixel"] = "image"


@dataclass(frozen=True)
class Inference:
    """How predictions are made.

    Attributes:
        scales: of the image whose probabilities are averaged.
        flip: average those of the mirrored image, too.
        refine: ``none``, ``pamr``, ``par`` or ``crf``.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    refine: str = "none"


@dataclass(frozen=True)
class Preset:
    """How a segmenter is trained and predicts.

    Attributes:
        name: of the preset.
        model: the network.
        augmentation: of the training images.
        optimisation: steps, batches, learning rate.
        fine_tuning: the second phase of two-phase strategies.
        size_balance: the size-balanced loss.
        ewc: elastic weight consolidation.
        inference: how predictions are made.
    """

    name: str
    model: ModelSettings
    augmentation: Augmentation
    optimisation: Optimisation
    fine_tuning: FineTuning = field(default_factory=FineTuning)
    size_balance: SizeBalance = field(default_factory=SizeBalance)
    ewc: Ewc = field(default_factory=Ewc)
    inference: Inference = field(default_factory=Inference)

    def as_dict(self) -> dict[str, Any]:
        """Return the resolved preset as plain JSON-like values."""
        plain = as_plain(self)
        assert isinstance(plain, dict)  # noqa: S101 - for the type checker
        return plain


def bundled_presets() -> list[str]:
    """Return the names of the presets that come with the package."""
    return bundled("presets")


def load_preset(name_or_path: str, overrides: Sequence[str] = ()) -> Preset:
    """Read a bundled preset by name, or a YAML file, and apply overrides.

    Args:
        name_or_path: ``smoke``, or a path ending in ``.yaml`` or ``.yml``.
        overrides: ``key=value`` with dotted keys, such as ``optimisation.steps=100``.

    Raises:
        InputError: for an unknown preset or key, or a value of a wrong type or out of range.
    """
    raw, where = read_settings(name_or_path, "presets", "preset")
    return preset_from_dict(raw, where, overrides)


def preset_from_dict(raw: Any, where: str, overrides: Sequence[str] = ()) -> Preset:
    """Build a preset from plain values and apply overrides.

    Raises:
        InputError: naming ``where`` for unknown keys, wrong types and values out of range.
    """
    preset = from_plain(Preset, overridden(raw, overrides, where, "--option"), where)
    assert isinstance(preset, Preset)  # noqa: S101 - for the type checker
    _check(preset, where)
    return preset


def inference_of(about: Mapping[str, Any]) -> Inference:
    """Return how a trained model's preset predicts, from what its file tells."""
    found = from_plain(Inference, about["preset"]["inference"], "the model")
    assert isinstance(found, Inference)  # noqa: S101 - for the type checker
    return found


def _check(preset: Preset, where: str) -> None:
    model, optimisation, tuning = preset.model, preset.optimisation, preset.fine_tuning
    rules = (
        (model.output_stride in (8, 16), "model.output_stride must be 8 or 16"),
        (min(model.rates, default=0) > 0, "model.rates must be a list of positive numbers"),
        (all(s > 0 for s in model.scales), "model.scales must be positive"),
        (preset.augmentation.crop >= 32, "augmentation.crop must be at least 32"),
        (
            min(preset.augmentation.scales, default=0) > 0,
            "augmentation.scales must be a list of positive numbers",
        ),
        (optimisation.steps >= 1, "optimisation.steps must be at least 1"),
        (optimisation.accumulate >= 1, "optimisation.accumulate must be at least 1"),
        (
            optimisation.batch_size >= 1 and optimisation.batch_size % optimisation.accumulate == 0,
            "optimisation.batch_size must be a positive multiple of optimisation.accumulate",
        ),
        (optimisation.lr > 0, "optimisation.lr must be positive"),
        (
            optimisation.update_every >= 1 and optimisation.checkpoint_every >= 1,
            "optimisation.update_every and checkpoint_every must be at least 1",
        ),
        (0 < tuning.share < 1, "fine_tuning.share must lie between 0 and 1"),
        (tuning.lr_scale > 0, "fine_tuning.lr_scale must be positive"),
        (preset.size_balance.tau >= 1, "size_balance.tau must be at least 1"),
        (preset.ewc.strength >= 0, "ewc.strength must not be negative"),
        (preset.ewc.images >= 1, "ewc.images must be at least 1"),
        (
            min(preset.inference.scales, default=0) > 0,
            "inference.scales must be a list of positive numbers",
        ),
    )
    for holds, rule in rules:
        if not holds:
            msg = f"{where}: {rule}"
            raise InputError(msg)
