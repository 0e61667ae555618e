"""Settings of the shared stages; this module does not need PyTorch, so methods plan without it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image

from sbdata.errors import InputError
from sbdata.train import schedules
from sbdata.train.augment import View, draw_view
from sbdata.train.preset import DILATIONS, Augmentation, Precision
from sbdata.train.weights import DEFAULT_BACKBONE

SCALES = (1.0, 0.5, 1.5, 2.0)
"""Scales of a photo whose maps are summed, as in IRN's code."""


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent with learning rate lr · (1 − step / steps)^poly_power.

    The official codes of IRN, PSA, SEAM and those built on them pass the weight decay in place of
    SGD's momentum: they train with a momentum of 1e-4 or 5e-4, and 0.9 is only the power of the
    schedule. Presets called ``paper`` use that effective momentum; with a momentum of 0.9, divide
    the learning rate by about 10.

    Attributes:
        lr: Learning rate of the backbone.
        momentum: Momentum.
        nesterov: True for Nesterov momentum.
        poly_power: Power of the schedule.
        head: Factor on ``lr`` for new layers.
        weight_decay: Weight decay of all trained parameters.

    Raises:
        InputError: for impossible values.
    """

    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    poly_power: float = 0.9
    head: float = 10.0
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        if min(self.lr, self.poly_power, self.head, self.weight_decay) < 0:
            msg = "optimiser: lr, poly_power, head and weight_decay must not be negative"
        elif not 0 <= self.momentum < 1 or (self.nesterov and not self.momentum):
            msg = "optimiser: momentum must lie in 0..1, below 1, and above 0 for nesterov"
        else:
            return
        raise InputError(msg)

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the learning-rate schedule."""
        return schedules.PolySchedule(steps, self.poly_power)


@dataclass(frozen=True)
class Adam:
    """Adam with constant learning rates.

    Attributes:
        lr: Learning rate of the backbone.
        head: Factor on ``lr`` for new layers.
        weight_decay: Weight decay of all trained parameters.

    Raises:
        InputError: for impossible values.
    """

    lr: float
    head: float = 20.0
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        if min(self.lr, self.head, self.weight_decay) < 0:
            msg = "optimiser: lr, head and weight_decay must not be negative"
            raise InputError(msg)

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the learning-rate schedule."""
        return schedules.constant


@dataclass(frozen=True)
class SteppedSgd(Sgd):
    """Stochastic gradient descent whose rate falls to a tenth at some epochs.

    Attributes:
        milestones: Epochs after which the rate is divided by ten; ``poly_power`` is unused.
    """

    milestones: tuple[int, ...] = ()

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the schedule of the learning rate."""
        return schedules.StepSchedule(steps, epochs, self.milestones)


@dataclass(frozen=True)
class SteppedAdam(Adam):
    """Adam whose rates fall to a tenth at some epochs.

    Attributes:
        milestones: Epochs after which the rates are divided by ten.
    """

    milestones: tuple[int, ...] = ()

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the schedule of the learning rate."""
        return schedules.StepSchedule(steps, epochs, self.milestones)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay, linear warm-up and cosine decay of the learning rate.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), with the warm-up of
    DeiT (Touvron et al., ICML 2021), as usual for vision transformers.

    Attributes:
        lr: Learning rate at the top of the cosine.
        weight_decay: Weight decay of weights; not applied to biases, norms and parameters that a
            model names.
        warm_up: Number of epochs in which the rate rises linearly.
        first: Learning rate at the start of the warm-up.
        last: Learning rate at the end of the cosine.

    Raises:
        InputError: for impossible values.
    """

    lr: float
    weight_decay: float = 0.05
    warm_up: int = 0
    first: float = 1e-6
    last: float = 1e-5

    def __post_init__(self) -> None:
        if min(self.lr, self.first, self.last) <= 0 or min(self.weight_decay, self.warm_up) < 0:
            msg = "optimiser: rates must be above 0, weight_decay and warm_up at least 0"
            raise InputError(msg)

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the learning-rate schedule."""
        return schedules.CosineSchedule(steps, epochs, self.warm_up, self.first, self.last)


@dataclass(frozen=True)
class Schedule:
    """Training length of a stage.

    Attributes:
        epochs: Number of times that each photo is seen.
        batch_size: Photos per step.
        checkpoint_every: Steps between checkpoints.
        precision: Precision of the backbone, as in a segmenter's preset.

    Raises:
        InputError: for impossible values.
    """

    epochs: int
    batch_size: int
    checkpoint_every: int = 50
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.checkpoint_every) < 1:
            msg = "schedule: epochs, batch_size and checkpoint_every must be at least 1"
            raise InputError(msg)

    def steps(self, images: int) -> int:
        """Return the number of steps in which every image is seen once per epoch."""
        return math.ceil(self.epochs * images / self.batch_size)


@dataclass(frozen=True)
class NetworkSettings:
    """Backbone settings.

    Attributes:
        backbone: Name of a timm model.
        weights: ``auto``, ``none`` or a file; see ``sbdata.train.pretrained``.
        output_stride: Output stride, 8 or 16.
        frozen: Number of depths, counted from the image, whose weights are not trained: 1 is the
            stem, 3 all up to stride 8, 5 all.
    """

    backbone: str = DEFAULT_BACKBONE
    weights: str = "auto"
    output_stride: int = 16
    frozen: int = 3


@dataclass(frozen=True)
class TransformerSettings:
    """Settings of a timm vision transformer that reads the photo's patches.

    Attributes:
        model: timm's name of a plain transformer with a class token, such as DeiT.
        weights: ``auto``, timm's download from its hub; ``none``, random weights; or a file.
        drop_path: Fraction of training samples that skip the last block; rises from 0 over the
            blocks.
    """

    model: str = "deit_small_patch16_224.fb_in1k"
    weights: str = "auto"
    drop_path: float = 0.1


@dataclass(frozen=True)
class HybridSettings:
    """Settings of a small transformer with random initial weights on the features of a backbone.

    Attributes:
        network: Backbone settings; with all depths ``frozen`` it is a fixed feature extractor.
        width: Width of a token.
        depth: Number of blocks.
        heads: Number of attention heads.
        drop_path: Fraction of training samples that skip the last block; rises from 0 over the
            blocks.
    """

    network: NetworkSettings
    width: int = 192
    depth: int = 4
    heads: int = 3
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads) < 1 or self.width % self.heads:
            msg = f"width must be a multiple of the heads, not {self.width} for {self.heads}"
            raise InputError(msg)


@dataclass(frozen=True)
class ViewSettings:
    """Settings of random views; see :class:`sbdata.train.views.Views` for the crop.

    Attributes:
        crop: Side of the square view; a smaller photo is placed somewhere in it, on grey.
        long_side: Range ``[low, high]`` from which the photo's long side is drawn before the crop.
        rescale: Range ``[low, high]`` from which a factor on the photo's own size is drawn instead.
        flip: True to mirror half of the views.
        jitter: Largest changes of brightness, contrast, saturation and hue; none by default.

    Raises:
        InputError: for impossible values.
    """

    crop: int
    long_side: tuple[int, ...] = ()
    rescale: tuple[float, ...] = ()
    flip: bool = True
    jitter: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        ranges = [limits for limits in (self.long_side, self.rescale) if limits]
        if self.crop < 16:
            msg = f"views: crop must be at least 16, not {self.crop}"
        elif any(len(r) != 2 or not 0 < r[0] <= r[1] for r in ranges) or len(ranges) > 1:
            msg = "views: give long_side or rescale, not both, as [low, high] above 0"
        elif len(self.jitter) not in (0, 4) or any(not 0 <= j <= 0.5 for j in self.jitter):
            msg = "views: jitter must be four numbers in 0..0.5"
        else:
            return
        raise InputError(msg)

    def __call__(self, photo: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, View]:
        """Draw a view of a photo and jitter the photo's colours."""
        from sbdata_baselines.stages.photos import jittered  # PyTorch, which nothing else needs

        scale = 1.0
        if self.long_side:
            low, high = self.long_side
            scale = int(rng.integers(low, high + 1)) / max(photo.size)
        elif self.rescale:
            scale = float(rng.uniform(self.rescale[0], self.rescale[1]))
        view = draw_view(photo.size, Augmentation(self.crop, (scale,), self.flip), rng)
        return (jittered(photo, self.jitter, rng) if self.jitter else photo), view


@dataclass(frozen=True)
class SquareViewSettings:
    """Settings of views of photos that are resized to a square, whatever their shape.

    Attributes:
        side: Side of the square in pixels.
        crop: Side of the square crop of it; equal to ``side`` for the whole photo.
        flip: True to mirror half of the views.
        jitter: Largest changes of brightness, contrast, saturation and hue; none by default.

    Raises:
        InputError: for impossible values.
    """

    side: int
    crop: int
    flip: bool = True
    jitter: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 16 <= self.crop <= self.side:
            msg = f"views: crop must lie in 16..side, not {self.crop} of {self.side}"
        elif len(self.jitter) not in (0, 4) or any(not 0 <= j <= 0.5 for j in self.jitter):
            msg = "views: jitter must be four numbers in 0..0.5"
        else:
            return
        raise InputError(msg)

    def __call__(self, photo: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, View]:
        """Resize a photo, change its colours, and draw a view of the square."""
        from sbdata_baselines.stages.photos import jittered  # PyTorch, which nothing else needs

        square = photo.resize((self.side, self.side), Image.Resampling.BILINEAR)
        view = draw_view(square.size, Augmentation(self.crop, (1.0,), self.flip), rng)
        return (jittered(square, self.jitter, rng) if self.jitter else square), view


@dataclass(frozen=True)
class BackboneSettings:
    """Settings shared by stages that train a network on a backbone.

    Attributes:
        network: Backbone settings.
        views: Settings of the views of photos and of the targets cut with them.
        optimiser: Optimiser settings.
        schedule: Training length.
    """

    network: NetworkSettings
    views: ViewSettings
    optimiser: Sgd
    schedule: Schedule


@dataclass(frozen=True)
class Distortion:
    """Settings of random photo distortions.

    Attributes:
        policy: RandAugment policy, as timm writes it.
        erase: Probability that a rectangle is replaced by noise.
        area: Smallest and largest fraction of the photo that a view shows.
    """

    policy: str = "rand-m9-mstd0.5-inc1"
    erase: float = 0.25
    area: tuple[float, ...] = (0.08, 1.0)


@dataclass(frozen=True)
class Refinement:
    """Settings of the refinement that fits class scores to the photo.

    The official codes use dense CRFs, which need the extra ``crf``. PAR is the default here because
    it needs PyTorch alone.

    Attributes:
        name: ``par``, ``pamr``; a dense CRF with the parameters of DeepLab (``crf``), of IRN's
            seeds (``label-crf``) or of PSA (``psa-crf``); or ``none``.
        iterations: Number of PAR or PAMR iterations.
        dilations: Dilations of PAR or PAMR, in pixels.
    """

    name: Literal["par", "pamr", "crf", "label-crf", "psa-crf", "none"] = "par"
    iterations: int = 10
    dilations: tuple[int, ...] = DILATIONS


@dataclass(frozen=True)
class ClassifierSettings(BackboneSettings):
    """Settings of a classifier and its training."""


@dataclass(frozen=True)
class ActivationSettings:
    """Settings for computing maps with a network.

    Attributes:
        scales: Scales of the photo whose maps are summed.
        flip: True to add the maps of the mirrored photo.
    """

    scales: tuple[float, ...] = SCALES
    flip: bool = True


@dataclass(frozen=True)
class SeedSettings:
    """Settings of IRN's seeds, from two constant background scores.

    Attributes:
        foreground: Score that a class must exceed to be a foreground seed.
        background: Score that no class may exceed in a background seed.
        refine: Refinement that fits both labellings to the photo.
        certainty: Probability of a label before the refinement.
    """

    foreground: float = 0.30
    background: float = 0.05
    refine: Refinement = field(default_factory=Refinement)
    certainty: float = 0.7


@dataclass(frozen=True)
class AlphaSeedSettings:
    """Settings of PSA's seeds, from two powers of ``1 - max``.

    Attributes:
        low: Power at which a class that beats the background becomes a seed.
        high: Power at which a background that beats the classes becomes a seed.
        refine: Refinement that fits the scores to the photo.
    """

    low: float = 4.0
    high: float = 24.0
    refine: Refinement = field(default_factory=Refinement)


@dataclass(frozen=True)
class MaskSettings:
    """Settings of pseudo-masks: each pixel's strongest class, or background.

    Attributes:
        background: Constant background score; None uses the background map stored with the maps.
        refine: Refinement that fits the scores to the photo.
    """

    background: float | None
    refine: Refinement = field(default_factory=lambda: Refinement("none"))


@dataclass(frozen=True)
class BoundarySettings(BackboneSettings):
    """Settings of the boundary head; the backbone is never trained, whatever ``frozen`` says.

    Attributes:
        radius: Distance below which pairs of cells of the edge map are compared, in cells.
    """

    radius: int = 10


@dataclass(frozen=True)
class WalkSettings:
    """Settings of the random walk over the cells of the edge map.

    Attributes:
        radius: Radius of the neighbourhood, in cells.
        beta: Exponent of the affinities.
        steps: Number of steps of the walk; IRN's eight squarings are 256.
        power: Exponent applied to the maps before the walk.
        flip: True to average the logits of the edges of the photo and of its mirror image.
    """

    radius: int = 5
    beta: float = 10.0
    steps: int = 256
    power: float = 1.0
    flip: bool = True


@dataclass(frozen=True)
class PairwiseSettings(BackboneSettings):
    """Settings of the affinity network.

    Attributes:
        radius: Distance below which pairs of feature cells are compared and walked over, in cells.
        widths: Numbers of channels to which the three depths are projected.
    """

    radius: int = 5
    widths: tuple[int, ...] = (64, 128, 256)


@dataclass(frozen=True)
class PairwiseWalkSettings:
    """Settings of the random walk over the feature cells; its radius is that of the training.

    Attributes:
        beta: Exponent of the affinities.
        steps: Number of steps of the walk; PSA's six squarings are 64.
        background_power: Power of ``1 - max``, the background map that is propagated with the
            classes.
    """

    beta: float = 8.0
    steps: int = 64
    background_power: float = 6.0


@dataclass(frozen=True)
class SaliencySettings:
    """Settings of the saliency maps that are computed if none are given.

    Neither provider is trained: each looks for what differs from the image's border.

    Attributes:
        provider: ``boundary``, the boundary connectivity of superpixels; or ``mbd``, the minimum
            barrier distance of pixels.
        side: Length of the photo's longer side after resizing, in pixels.
    """

    provider: Literal["boundary", "mbd"] = "boundary"
    side: int = 300


@dataclass(frozen=True)
class Climb:
    """Gradient ascent at one scale.

    Attributes:
        scale: Scale of the photo.
        steps: Number of steps whose attributions are summed; the first uses the unchanged photo.
        weight: Weight of this scale in the sum over all scales.
    """

    scale: float
    steps: int
    weight: float = 1.0


@dataclass(frozen=True)
class ClimbSettings:
    """Settings of the gradient ascent.

    Attributes:
        climbs: Settings of the ascent, one per scale.
        flip: True to ascend with the mirrored photo too; both attributions are summed.
        step: Largest change of any value in one step. Pixels count in standard deviations, as the
            backbone sees them. The paper has 0.008, its code 0.08.
        restraint: Weight lambda of the penalty on changes in salient regions.
        salient: Threshold tau; a pixel is salient if its attribution exceeds this fraction of the
            peak.
        first: Name of the backbone part whose input is changed, in units of that input's standard
            deviation; empty for the photo itself. See ``splitting.split``.

    Raises:
        InputError: for impossible values.
    """

    climbs: tuple[Climb, ...]
    flip: bool = True
    step: float = 0.08
    restraint: float = 7.0
    salient: float = 0.5
    first: str = ""

    def __post_init__(self) -> None:
        if not self.climbs or any(c.steps < 1 or c.scale <= 0 for c in self.climbs):
            msg = (
                "climbs must have at least one entry, each with a scale above 0 and at least 1 step"
            )
            raise InputError(msg)


@dataclass(frozen=True)
class BottleneckSettings:
    """Settings of the information-bottleneck steps.

    Attributes:
        optimiser: Optimiser settings; the optimiser starts anew with every photo.
        views: Settings of the views of the other photos.
        scales: Scales of the photo whose maps are summed; the first decides if the photo is filled.
        learned: Subset of the scales that the loss uses.
        flip: True to use the mirrored photo too.
        steps: Largest number of steps; the first maps are those of the unchanged classifier.
        others: Number of photos per step that share no class with this photo.
        discriminative: Fraction of the map's maximum from which on activations do not count.
        stop: Sum of the photo's own means above which no further step follows.
        bright: Fraction of the map's maximum from which on a pixel counts as filled.
        filled: Fraction of filled pixels above which the maps are discarded.
        first: Name of the first backbone part that is trained, as far as the classifier's was;
            empty for all parts. See ``splitting.split``.
        pool: Number of views of other photos that are drawn once, for all photos; 0 draws new ones
            in each step.

    Raises:
        InputError: for impossible values.
    """

    optimiser: Sgd
    views: ViewSettings
    scales: tuple[float, ...] = SCALES
    learned: tuple[float, ...] = (1.0, 1.5, 2.0)
    flip: bool = True
    steps: int = 10
    others: int = 20
    discriminative: float = 0.4
    stop: float = 600.0
    bright: float = 0.3
    filled: float = 0.7
    first: str = ""
    pool: int = 0

    def __post_init__(self) -> None:
        if not self.learned or min(self.scales) <= 0 or not set(self.learned) <= set(self.scales):
            msg = "learned must be at least one of scales, which must all be above 0"
        elif self.steps < 1 or min(self.others, self.pool) < 0:
            msg = "steps must be at least 1, others and pool at least 0"
        else:
            return
        raise InputError(msg)


@dataclass(frozen=True)
class BankSettings:
    """Settings of the object bank.

    Attributes:
        ratio: Range ``[low, high]`` of the fraction of the photo that an object covers. The
            official [0.1, 0.7] leaves small objects out.

    Raises:
        InputError: for an invalid range.
    """

    ratio: tuple[float, ...] = (0.1, 0.7)

    def __post_init__(self) -> None:
        if len(self.ratio) != 2 or not 0 <= self.ratio[0] <= self.ratio[1] <= 1:
            msg = f"bank.ratio must be [low, high] in 0..1, not {list(self.ratio)}"
            raise InputError(msg)


@dataclass(frozen=True)
class PasteSettings:
    """Settings for pasting objects.

    Attributes:
        max_side: Largest fraction of the photo's height and width that an object takes.
        rotate: Largest rotation angle, in degrees to either side.
    """

    max_side: float = 0.7
    rotate: float = 90.0


@dataclass(frozen=True)
class NoSettings:
    """Settings of a stage that has none."""
