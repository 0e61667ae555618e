"""Presets: settings of a segmenter's training and prediction, from YAML to frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sbdata.errors import InputError
from sbdata.limits import MAX_CROP, MAX_SCALE
from sbdata.settings import as_plain, bundled, from_plain, overridden, read_settings

RATES = (6, 12, 18, 24)
"""Dilations of the atrous head."""

Precision = Literal["auto", "32", "bf16", "fp16"]
"""Precision of a training; see ``sbdata.train.precision``."""

REFINERS = ("none", "pamr", "par", "crf")
"""Names of the refinements of predictions; see ``sbdata.train.refine``."""

DILATIONS = (1, 2, 4, 8, 12, 24)
"""Distances, in pixels, of the neighbours that PAMR and PAR compare."""


@dataclass(frozen=True)
class ModelSettings:
    """Settings of the segmentation network.

    Attributes:
        backbone: Name of a timm model.
        weights: ``auto``, ``none`` or a file; see ``sbdata.train.pretrained``.
        output_stride: Output stride, 8 or 16.
        rates: Dilation rates of the head's atrous convolutions.
        scales: Further scales of the input in training and at test time (MSC); none by default.
    """

    backbone: str
    weights: str = "auto"
    output_stride: int = 16
    rates: tuple[int, ...] = RATES
    scales: tuple[float, ...] = ()


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image and, in the same way, of its mask.

    Attributes:
        crop: Side of the square crop in pixels; padded if the scaled image is smaller.
        scales: Scales relative to the image's own size, of which one is drawn per image.
        flip: True to mirror half of the images.
    """

    crop: int
    scales: tuple[float, ...] = (1.0,)
    flip: bool = True


@dataclass(frozen=True)
class Optimisation:
    """Stochastic gradient descent with the poly schedule, lr · (1 − step / steps)^power.

    Attributes:
        steps: Number of optimiser steps; the same for every strategy.
        batch_size: Images per step, over all devices and accumulated parts.
        accumulate: Number of parts of a batch that pass through the network one after the other.
        lr: Learning rate of the backbone.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of weights; biases have none.
        head: Factor on ``lr`` for the head's weights.
        head_bias: Factor on ``lr`` for the head's biases.
        poly_power: Power of the schedule.
        update_every: Steps between changes of the learning rate.
        precision: Precision of the network: float32 (``32``), mixed with ``bf16`` or ``fp16``, or
            ``auto``: ``bf16`` on GPUs that support it in hardware, else ``32``.
        checkpoint_every: Steps between checkpoints.
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
    precision: Precision = "auto"
    checkpoint_every: int = 500


@dataclass(frozen=True)
class SizeBalance:
    """Settings of the size-balanced loss, ``sb_ce.v2``; see ``sbdata.losses.size_weights``.

    Attributes:
        tau: Largest weight of a pixel.
        normalizer: Reference for the size of a region: the foreground of the image, or its own
            class.
        regions: Type of the regions: filled outlines, or connected components.
        reduction: Divisor of the loss: the sum of the weights, or the number of pixels.
    """

    tau: float = 5.0
    normalizer: Literal["image", "class"] = "image"
    regions: Literal["outlines", "components"] = "outlines"
    reduction: Literal["weighted", "pixels"] = "weighted"


@dataclass(frozen=True)
class Ewc:
    """Settings of elastic weight consolidation after the switch.

    Attributes:
        strength: Strength λ of the penalty λ Σ F_i (θ_i − θ*_i)².
        fisher: ``moving``: the moving average of squared gradients over all steps before the
            switch; ``sampled``: the mean of squared gradients of single images at the switch.
        scale: ``minmax`` scales the Fisher to 0..1 within each tensor; ``none`` does not.
        images: Number of augmented training images for ``sampled``.
    """

    strength: float = 500.0
    fisher: Literal["moving", "sampled"] = "moving"
    scale: Literal["minmax", "none"] = "minmax"
    images: int = 200


@dataclass(frozen=True)
class CrfParameters:
    """Parameters of a fully connected CRF with a Gaussian and a bilateral term.

    The defaults are those of DeepLab, in deeplab-pytorch and in the released code of Mun et al.

    Attributes:
        gaussian_xy: Standard deviation of the Gaussian term, in pixels.
        gaussian_weight: Weight of the Gaussian term.
        bilateral_xy: Standard deviation of the bilateral term in space, in pixels.
        bilateral_rgb: Standard deviation of the bilateral term in colour, in steps of 0..255.
        bilateral_weight: Weight of the bilateral term.
        iterations: Number of mean-field iterations.
    """

    gaussian_xy: float = 1.0
    gaussian_weight: float = 3.0
    bilateral_xy: float = 67.0
    bilateral_rgb: float = 3.0
    bilateral_weight: float = 4.0
    iterations: int = 10


@dataclass(frozen=True)
class Inference:
    """Settings of a segmenter's predictions.

    Attributes:
        scales: Scales of the image whose probabilities are averaged.
        flip: True to average with the mirrored image too.
        refine: Refinement: ``none``, ``pamr``, ``par`` or ``crf``.
        crf: Parameters of the CRF, for ``refine: crf``.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    refine: str = "none"
    crf: CrfParameters = field(default_factory=CrfParameters)


@dataclass(frozen=True)
class Preset:
    """Settings of a segmenter's training and predictions.

    Attributes:
        name: Name of the preset.
        model: Network settings.
        augmentation: Augmentation of the training images.
        optimisation: Steps, batches, learning rate.
        switch: Fraction of the steps after which a two-phase strategy changes its loss.
        size_balance: Settings of the size-balanced loss.
        ewc: Settings of elastic weight consolidation.
        inference: Prediction settings.
    """

    name: str
    model: ModelSettings
    augmentation: Augmentation
    optimisation: Optimisation
    switch: float = 0.5
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
        name_or_path: Preset name such as ``smoke``, or a path ending in ``.yaml`` or ``.yml``.
        overrides: Changes as ``key=value`` with dotted keys, such as ``optimisation.steps=100``.

    Raises:
        InputError: for an unknown preset or key, or a value of a wrong type or out of range.
    """
    raw, where = read_settings(name_or_path, "presets", "preset")
    return preset_from_dict(raw, where, overrides)


def preset_from_dict(raw: Any, where: str, overrides: Sequence[str] = ()) -> Preset:
    """Build a preset from plain values and apply overrides.

    Raises:
        InputError: for unknown keys, wrong types and values out of range; the message names
            ``where``.
    """
    preset = from_plain(Preset, overridden(raw, overrides, where, "--option"), where)
    assert isinstance(preset, Preset)  # noqa: S101 - for the type checker
    _check(preset, where)
    return preset


def inference_of(about: Mapping[str, Any]) -> Inference:
    """Return the prediction settings of a trained model, from its file's description."""
    preset = about.get("preset") if isinstance(about, dict) else None
    if not isinstance(preset, dict) or "inference" not in preset:
        msg = "the model's file (model.pt) has no prediction settings; give another model"
        raise InputError(msg)
    found = from_plain(Inference, preset["inference"], "the model (model.pt): about.preset")
    assert isinstance(found, Inference)  # noqa: S101 - for the type checker
    if not _are_scales(found.scales):
        msg = f"the model (model.pt): scales must be positive numbers, {MAX_SCALE:g} at most"
        raise InputError(msg)
    return found


def _are_scales(scales: Sequence[float]) -> bool:
    """Return True if there is at least one scale and images may be scaled by all of them."""
    return bool(scales) and all(0 < scale <= MAX_SCALE for scale in scales)


def _check(preset: Preset, where: str) -> None:
    model, optimisation, crf = preset.model, preset.optimisation, preset.inference.crf
    rules = (
        (model.output_stride in (8, 16), "model.output_stride must be 8 or 16"),
        (min(model.rates, default=0) > 0, "model.rates must be a list of positive numbers"),
        (
            not model.scales or _are_scales(model.scales),
            f"model.scales must be positive, and {MAX_SCALE:g} at most",
        ),
        (max(model.rates, default=0) <= MAX_CROP, f"model.rates must be at most {MAX_CROP:,}"),
        (
            32 <= preset.augmentation.crop <= MAX_CROP,
            f"augmentation.crop must be at least 32, and at most {MAX_CROP:,}",
        ),
        (
            _are_scales(preset.augmentation.scales),
            f"augmentation.scales must be a list of positive numbers, {MAX_SCALE:g} at most",
        ),
        (optimisation.steps >= 1, "optimisation.steps must be at least 1"),
        (optimisation.accumulate >= 1, "optimisation.accumulate must be at least 1"),
        (
            optimisation.batch_size >= 1 and optimisation.batch_size % optimisation.accumulate == 0,
            "optimisation.batch_size must be a positive multiple of optimisation.accumulate",
        ),
        (optimisation.lr > 0, "optimisation.lr must be positive"),
        (0 <= optimisation.momentum < 1, "optimisation.momentum must lie in 0..1, below 1"),
        (
            min(optimisation.weight_decay, optimisation.head, optimisation.head_bias) >= 0,
            "optimisation.weight_decay, head and head_bias must not be negative",
        ),
        (optimisation.poly_power >= 0, "optimisation.poly_power must not be negative"),
        (
            optimisation.update_every >= 1 and optimisation.checkpoint_every >= 1,
            "optimisation.update_every and checkpoint_every must be at least 1",
        ),
        (0 < preset.switch < 1, "switch must lie between 0 and 1"),
        (preset.size_balance.tau >= 1, "size_balance.tau must be at least 1"),
        (preset.ewc.strength >= 0, "ewc.strength must not be negative"),
        (preset.ewc.images >= 1, "ewc.images must be at least 1"),
        (
            _are_scales(preset.inference.scales),
            f"inference.scales must be a list of positive numbers, {MAX_SCALE:g} at most",
        ),
        (
            preset.inference.refine in REFINERS,
            f"inference.refine must be one of {', '.join(REFINERS)}",
        ),
        (
            min(crf.gaussian_xy, crf.bilateral_xy, crf.bilateral_rgb) > 0,
            "inference.crf: standard deviations must be positive",
        ),
        (
            min(crf.gaussian_weight, crf.bilateral_weight, crf.iterations) >= 0,
            "inference.crf: weights and iterations must not be negative",
        ),
    )
    for holds, rule in rules:
        if not holds:
            msg = f"{where}: {rule}"
            raise InputError(msg)
