"""AMN: settings, stages and method metadata.

The stages are implemented in :mod:`sbdata_baselines.amn`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata.train.preset import RATES
from sbdata_baselines.methods.cam import activation_stage, classifier_stage
from sbdata_baselines.methods.irn import IrnSettings, refined_stage, seeds_stage
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import (
    Adam,
    NetworkSettings,
    Schedule,
    SeedSettings,
    ViewSettings,
    WalkSettings,
)


@dataclass(frozen=True)
class PixelSettings:
    """Settings of the network that classifies pixels.

    Attributes:
        network: Backbone settings.
        views: Settings of the views of photos and seeds.
        optimiser: Optimiser settings.
        schedule: Training length.
        rates: Dilation rates of the head's atrous convolutions.
        dropout: Dropout probability of the features.
        smoothing: Fraction of a pixel's probability that is given to the other classes.
    """

    network: NetworkSettings
    views: ViewSettings
    optimiser: Adam
    schedule: Schedule
    rates: tuple[int, ...] = RATES
    dropout: float = 0.1
    smoothing: float = 0.4


@dataclass(frozen=True)
class AmnSettings:
    """Hyperparameters of AMN.

    Attributes:
        irn: IRN settings of the first seeds, the boundary head and the pseudo-masks.
        pixels: Settings of the network that classifies pixels.
        seeds: Thresholds of the seeds from that network's maps.
        walk: Settings of the random walk of that network's maps.
    """

    irn: IrnSettings
    pixels: PixelSettings
    seeds: SeedSettings
    walk: WalkSettings


def build(settings: AmnSettings) -> Stage:
    """Return the last stage of AMN."""
    irn = settings.irn
    trained = classifier_stage(irn.classifier)
    first = seeds_stage(activation_stage(trained, irn.activation), irn.seeds)
    pixels = Stage(
        "pixels",
        "sbdata_baselines.amn:train_pixels",
        settings.pixels,
        (first,),
        seconds_per_image=0.45,
    )
    maps = Stage(
        "pixel-maps",
        "sbdata_baselines.amn:pixel_maps",
        irn.activation,
        (pixels, first),
        seconds_per_image=0.19,
    )
    return refined_stage(maps, settings.seeds, irn.boundary, settings.walk, irn.masks)


BASELINE = Baseline(
    name="amn",
    paper=(
        "AMN: Lee, Kim and Shim, Threshold Matters in WSSS: Manipulating the Activation for the "
        "Robust and Accurate Segmentation Model Against Thresholds, CVPR 2022"
    ),
    year=2022,
    settings=AmnSettings,
    presets=presets_of("amn"),
    build=build,
    backbone="ResNet-50, output stride 16",
    differences=(
        "As irn; and seeds compare the network's maps with constants, without its own background "
        "map.",
        "The last epoch is kept, as in the official code, which scores every epoch on the truth.",
    ),
)
