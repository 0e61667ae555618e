"""A method of somebody else's package: one stripe of every image has its first class."""

from __future__ import annotations

from dataclasses import dataclass

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from stripes.marks import marks
from stripes.masks import masks


@dataclass(frozen=True)
class Marks:
    """Where the stripe begins, as a share of the width."""

    start: float = 0.2


@dataclass(frozen=True)
class Masks:
    """How wide it is."""

    share: float = 0.4


@dataclass(frozen=True)
class Settings:
    """Settings of the method."""

    marks: Marks = Marks()
    masks: Masks = Masks()


def build(settings: Settings) -> Stage:
    """Return the last stage."""
    first = Stage("marks", marks, settings.marks, gpus=0.0, seconds_per_image=0.5)
    return Stage("masks", masks, settings.masks, (first,), gpus=0.0, seconds_per_image=0.25)


BASELINE = Baseline(
    name="stripes",
    paper="Nobody et al., Stripes, 2026",
    year=2026,
    settings=Settings,
    presets={"smoke": {}, "wide": {"masks": {"share": 0.8}}},
    build=build,
)
