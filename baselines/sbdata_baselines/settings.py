"""Settings of the shared stages; nothing here needs PyTorch, so that methods can be planned."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image

from sbdata.errors import InputError
from sbdata.train import schedules
from sbdata.train.augment import View, draw_view
from sbdata.train.preset import DILATIONS, Augmentation
from sbdata.train.weights import DEFAULT_BACKBONE

SCALES = (1.0, 0.5, 1.5, 2.0)
"""Scales of a photo whose maps are summed, as in IRN's code."""


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent, lr · (1 − step / steps)^poly_power.

    The official codes of IRN, PSA, SEAM and those built on them pass the weight decay where SGD
    takes its momentum: they train with a momentum of 1e-4 or 5e-4, and 0.9 is only the power of the
    schedule. Presets called ``paper`` give that effective momentum; with one of 0.9, divide the
    learning rate by about 10.

    Attributes:
        lr: learning rate of the backbone.
        momentum: momentum of SGD.
        nesterov: whether the momentum is Nesterov's.
        poly_power: power of the schedule.
        head: multiplies ``lr`` for new layers.
        weight_decay: weight decay of all that is trained.
    """

    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    poly_power: float = 0.9
    head: float = 10.0
    weight_decay: float = 1e-4

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the schedule of the learning rate."""
        return schedules.PolySchedule(steps, self.poly_power)


@dataclass(frozen=True)
class Adam:
    """Adam with constant learning rates.

    Attributes:
        lr: learning rate of the backbone.
        head: multiplies ``lr`` for new layers.
        weight_decay: weight decay of all that is trained.
    """

    lr: float
    head: float = 20.0
    weight_decay: float = 1e-4

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the schedule of the learning rate."""
        return schedules.constant


@dataclass(frozen=True)
class SteppedSgd(Sgd):
    """Stochastic gradient descent whose rate falls to a tenth at some epochs.

    Attributes:
        milestones: epochs after which the rate is a tenth of what it was; ``poly_power`` is unused.
    """

    milestones: tuple[int, ...] = ()

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the schedule of the learning rate."""
        return schedules.StepSchedule(steps, epochs, self.milestones)


@dataclass(frozen=True)
class SteppedAdam(Adam):
    """Adam whose rates fall to a tenth at some epochs.

    Attributes:
        milestones: epochs after which a rate is a tenth of what it was.
    """

    milestones: tuple[int, ...] = ()

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the schedule of the learning rate."""
        return schedules.StepSchedule(steps, epochs, self.milestones)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay and a rate that rises, then falls along half a cosine.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), with the warm-up of
    DeiT (Touvron et al., ICML 2021): vision transformers are trained so.

    Attributes:
        lr: learning rate at the top of the cosine.
        weight_decay: weight decay of weights; biases, norms and whatever a model names have none.
        warm_up: epochs in which the rate rises linearly.
        first: rate at the start of the warm-up.
        last: rate at the end of the cosine.

    Raises:
        InputError: for values that cannot be.
    """

    lr: float
    weight_decay: float = 0.05
    warm_up: int = 0
    first: float = 1e-6
    last: float = 1e-5

    def __post_init__(self) -> None:
        if min(self.lr, self.first, self.last) <= 0 or min(self.weight_decay, self.warm_up) < 0:
            msg = "optimiser: rates must be above 0, weight_decay and warm_up not below it"
            raise InputError(msg)

    def schedule(self, steps: int, epochs: int) -> schedules.Schedule:
        """Return the schedule of the learning rate."""
        return schedules.CosineSchedule(steps, epochs, self.warm_up, self.first, self.last)


@dataclass(frozen=True)
class Schedule:
    """How long a stage learns.

    Attributes:
        epochs: times that each photo is seen.
        batch_size: photos a step.
        checkpoint_every: steps between checkpoints.

    Raises:
        InputError: for values that cannot be.
    """

    epochs: int
    batch_size: int
    checkpoint_every: int = 50

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.checkpoint_every) < 1:
            msg = "schedule: epochs, batch_size and checkpoint_every must be at least 1"
            raise InputError(msg)

    def steps(self, images: int) -> int:
        """Return the steps in which that many images are seen in every epoch."""
        return math.ceil(self.epochs * images / self.batch_size)


@dataclass(frozen=True)
class NetworkSettings:
    """A backbone.

    Attributes:
        backbone: a timm model's name.
        weights: ``auto``, ``none`` or a file; see ``sbdata.train.pretrained``.
        output_stride: 8 or 16.
        frozen: depths, from the image on, whose weights stay as they are: 1 the stem, 3 all up to
            stride 8, 5 all.
    """

    backbone: str = DEFAULT_BACKBONE
    weights: str = "auto"
    output_stride: int = 16
    frozen: int = 3


@dataclass(frozen=True)
class TransformerSettings:
    """A vision transformer of timm, which reads the photo's patches.

    Attributes:
        model: timm's name of a plain one with a class token, such as DeiT.
        weights: ``auto``, what timm fetches from its hub; ``none``, random numbers; or a file.
        drop_path: share of the samples that pass by the last block in training; grows from 0.
    """

    model: str = "deit_small_patch16_224.fb_in1k"
    weights: str = "auto"
    drop_path: float = 0.1


@dataclass(frozen=True)
class HybridSettings:
    """A small transformer from random numbers, which reads the last features of a backbone.

    Attributes:
        network: the backbone; ``frozen`` at all depths, it is a fixed reader of patches.
        width: of a token.
        depth: how many blocks.
        heads: of the attention.
        drop_path: see :class:`TransformerSettings`.
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
    """How views are drawn; the crop of :class:`sbdata.train.views.Views`.

    Attributes:
        crop: side of the square view; a photo that is smaller lies somewhere in it, on grey.
        long_side: ``[low, high]``, between which the photo's long side is drawn before the cut.
        rescale: ``[low, high]``, between which a factor of the photo's own size is drawn, instead.
        flip: whether half of the views are mirrored.
        jitter: largest changes of brightness, contrast, saturation and hue; none by default.

    Raises:
        InputError: for values that cannot be.
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
        """Draw a view of a photo, and change the photo's colours."""
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
    """How views of photos are drawn that are resized to a square, whatever their shape.

    Attributes:
        side: side of the square in pixels.
        crop: side of the square that is cut out of it; ``side`` to see all of the photo.
        flip: whether half of the views are mirrored.
        jitter: largest changes of brightness, contrast, saturation and hue; none by default.

    Raises:
        InputError: for values that cannot be.
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
    """Settings that stages have in common which train a network on a backbone.

    Attributes:
        network: settings of the backbone.
        views: settings of the views of photos, and of what goes with them.
        optimiser: settings of the optimiser.
        schedule: how long the network is trained.
    """

    network: NetworkSettings
    views: ViewSettings
    optimiser: Sgd
    schedule: Schedule


@dataclass(frozen=True)
class Distortion:
    """How photos are changed.

    Attributes:
        policy: of RandAugment, as timm writes it.
        erase: probability that a rectangle is replaced by noise.
        area: smallest and largest share of the photo that a view shows.
    """

    policy: str = "rand-m9-mstd0.5-inc1"
    erase: float = 0.25
    area: tuple[float, ...] = (0.08, 1.0)


@dataclass(frozen=True)
class Refinement:
    """How class scores are fitted to the photo.

    The official codes use dense CRFs, which need the extra ``crf``; PAR is the default here since
    it needs PyTorch alone.

    Attributes:
        name: ``par``, ``pamr``; a dense CRF with the parameters of DeepLab (``crf``), of IRN's
            seeds (``label-crf``) or of PSA (``psa-crf``); or ``none``.
        iterations: of PAR and PAMR.
        dilations: of PAR and PAMR, in pixels.
    """

    name: Literal["par", "pamr", "crf", "label-crf", "psa-crf", "none"] = "par"
    iterations: int = 10
    dilations: tuple[int, ...] = DILATIONS


@dataclass(frozen=True)
class ClassifierSettings(BackboneSettings):
    """Settings of a classifier and its training."""


@dataclass(frozen=True)
class ActivationSettings:
    """How maps are read out of a network.

    Attributes:
        scales: scales of the photo, whose maps are summed.
        flip: whether those of the mirrored photo are added.
    """

    scales: tuple[float, ...] = SCALES
    flip: bool = True


@dataclass(frozen=True)
class SeedSettings:
    """IRN's seeds, from two constant background scores.

    Attributes:
        foreground: score that a class must exceed to be sure.
        background: score that no class may exceed where background is sure.
        refine: fits either labelling to the photo.
        certainty: probability of a label before that.
    """

    foreground: float = 0.30
    background: float = 0.05
    refine: Refinement = field(default_factory=Refinement)
    certainty: float = 0.7


@dataclass(frozen=True)
class AlphaSeedSettings:
    """PSA's seeds, from two powers of ``1 - max``.

    Attributes:
        low: power at which a class that wins is sure.
        high: power at which background that wins is sure.
        refine: fits the scores to the photo.
    """

    low: float = 4.0
    high: float = 24.0
    refine: Refinement = field(default_factory=Refinement)


@dataclass(frozen=True)
class MaskSettings:
    """Pseudo-masks: each pixel's strongest class, or background.

    Attributes:
        background: its score at every pixel; None takes the background map that the maps bring.
        refine: fits the scores to the photo.
    """

    background: float | None
    refine: Refinement = field(default_factory=lambda: Refinement("none"))


@dataclass(frozen=True)
class BoundarySettings(BackboneSettings):
    """Settings of the boundary head; the backbone is not trained, whatever ``frozen`` says.

    Attributes:
        radius: in cells of the edge map; pairs nearer than this are compared.
    """

    radius: int = 10


@dataclass(frozen=True)
class WalkSettings:
    """Settings of the walk over the edge map's cells.

    Attributes:
        radius: in cells.
        beta: exponent of the affinities.
        steps: of the walk; IRN's eight squarings are 256.
        power: to which the maps are raised before.
        flip: take the mean of the edges of the photo and of its mirror image.
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
        radius: in cells of the features; pairs nearer than this are compared, and walked over.
        widths: to which the three depths are brought.
    """

    radius: int = 5
    widths: tuple[int, ...] = (64, 128, 256)


@dataclass(frozen=True)
class PairwiseWalkSettings:
    """Settings of the walk over the features' cells; its radius is that of the training.

    Attributes:
        beta: exponent of the affinities.
        steps: of the walk; PSA's six squarings are 64.
        background_power: of ``1 - max``, the background map that walks along.
    """

    beta: float = 8.0
    steps: int = 64
    background_power: float = 6.0


@dataclass(frozen=True)
class SaliencySettings:
    """How maps are made where none are given.

    Neither provider has learned anything: each looks for what differs from the image's border.

    Attributes:
        provider: ``boundary``, the boundary connectivity of superpixels; or ``mbd``, the minimum
            barrier distance of pixels.
        side: to which a photo's longer side is reduced for the work, in pixels.
    """

    provider: Literal["boundary", "mbd"] = "boundary"
    side: int = 300


@dataclass(frozen=True)
class Climb:
    """The ascent at one scale.

    Attributes:
        scale: of the photo.
        steps: whose attributions are summed; the first is of the photo as it is.
        weight: of the sum among those of all scales.
    """

    scale: float
    steps: int
    weight: float = 1.0


@dataclass(frozen=True)
class ClimbSettings:
    """Settings of the ascent.

    Attributes:
        climbs: one a scale.
        flip: climb with the mirrored photo at the same time; their attributions are summed.
        step: the largest change of any value in one step. Pixels count in standard deviations, as
            the backbone sees them. The paper has 0.008, its code 0.08.
        restraint: lambda, the weight of the change of what stands out.
        salient: tau; what exceeds this share of the attribution's peak stands out.
        first: name of the backbone's part whose input is changed, in units of that input's
            standard deviation; empty for the photo itself. See ``splitting.split``.

    Raises:
        InputError: for values that cannot be.
    """

    climbs: tuple[Climb, ...]
    flip: bool = True
    step: float = 0.08
    restraint: float = 7.0
    salient: float = 0.5
    first: str = ""

    def __post_init__(self) -> None:
        if not self.climbs or any(c.steps < 1 or c.scale <= 0 for c in self.climbs):
            msg = "climbs: give at least one, each with a scale above 0 and at least 1 step"
            raise InputError(msg)


@dataclass(frozen=True)
class BottleneckSettings:
    """Settings of the information-bottleneck steps.

    Attributes:
        optimiser: settings of the optimiser, which begins anew with every photo.
        views: of the other photos.
        scales: of the photo, whose maps are summed; the first one's tell when it is filled.
        learned: those of them that the loss sees.
        flip: the mirrored photo, too.
        steps: at most; the first maps are those of the classifier as it is.
        others: photos without a class of this one, in each step.
        discriminative: activations from this share of their map's maximum on do not count.
        stop: no step follows one in which the photo's own sum of means is larger.
        bright: share of its map's maximum from which on a pixel is filled.
        filled: share of such pixels beyond which the maps are given up.
        first: name of the backbone's first part that is trained, as far as the classifier's was;
            empty for all parts. See ``splitting.split``.
        pool: views of other photos that are drawn once, for all photos; 0 draws new ones in each
            step.

    Raises:
        InputError: for values that cannot be.
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
            msg = "learned: give at least one scale, from among scales, which are all above 0"
        elif self.steps < 1 or min(self.others, self.pool) < 0:
            msg = "steps must be at least 1, others and pool at least 0"
        else:
            return
        raise InputError(msg)


@dataclass(frozen=True)
class BankSettings:
    """Which objects are taken.

    Attributes:
        ratio: ``[low, high]``, in which the object's share of its photo must lie. The official
            [0.1, 0.7] leaves small objects out.

    Raises:
        InputError: for another range.
    """

    ratio: tuple[float, ...] = (0.1, 0.7)

    def __post_init__(self) -> None:
        if len(self.ratio) != 2 or not 0 <= self.ratio[0] <= self.ratio[1] <= 1:
            msg = f"bank.ratio must be [low, high] in 0..1, not {list(self.ratio)}"
            raise InputError(msg)


@dataclass(frozen=True)
class PasteSettings:
    """How objects are pasted.

    Attributes:
        max_side: largest share of the photo's height and width that an object takes.
        rotate: largest angle, in degrees to either side.
    """

    max_side: float = 0.7
    rotate: float = 90.0


@dataclass(frozen=True)
class NoSettings:
    """There is nothing to set."""
