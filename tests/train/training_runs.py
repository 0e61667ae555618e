"""Trainings of tiny segmenters for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sbdata.train.checkpoint import new_segmenter
from sbdata.train.devices import DistributedContext
from sbdata.train.phase import Phase, run_phase
from sbdata.train.preset import Preset
from sbdata.train.samples import TrainingImages
from sbdata.train.segmenter import (
    Segmenter,
)
from tests.train.training_sets import TWO

CPU = DistributedContext(torch.device("cpu"))


def phase_of(preset: Preset, loss: str = "ce", seed: int = 0) -> Phase:
    return Phase(loss, 0, preset.optimisation.steps, seed, preset)


def fresh(preset: Preset) -> Segmenter:
    torch.manual_seed(0)
    return new_segmenter(preset.model, TWO)


def trained(
    images: TrainingImages,
    folder: Path,
    preset: Preset,
    loss: str = "ce",
    place: DistributedContext = CPU,
    **more: Any,
) -> dict[str, Tensor]:
    model = fresh(preset)
    run_phase(model, images, phase_of(preset, loss), folder, place, identity={"of": "test"}, **more)
    return model.state_dict()


def largest_gap(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[k].double() - second[k].double()).abs().max()) for k in first)
