"""Training: a segmenter learns from a method's pseudo-masks, or from ground truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sbdata.train.devices import DistributedContext
from sbdata.train.preset import Inference, Preset
from sbdata.train.samples import TrainingImages
from sbdata.train.strategies import Progress, run_strategy


def train_segmenter(
    strategy: str,
    images: TrainingImages,
    preset: Preset,
    out: Path,
    place: DistributedContext,
    *,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a segmenter into ``out/<strategy>``; return what its ``run.json`` says.

    Args:
        strategy: by which it is trained.
        images: photos and masks, checked.
        preset: of the segmenter. How it predicts is no part of the training here.
        out: folder of one method, seed and preset.
        place: device and processes.
        seed: of everything random.
        progress: called with (phase, number of steps done, number of its last step).
    """
    alike = replace(preset, inference=Inference())
    return run_strategy(strategy, images, alike, out, place, seed=seed, progress=progress)
