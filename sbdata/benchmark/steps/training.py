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
    """Train a segmenter in ``out/<strategy>``; return the content of its ``run.json``.

    Args:
        strategy: Training strategy.
        images: Photos and masks, checked.
        preset: Segmenter's preset. Its prediction settings do not affect the training.
        out: Output folder for one method, seed and preset.
        place: Device and processes.
        seed: Seed of everything random.
        progress: Callback, called with (phase, number of steps done, number of its last step).
    """
    alike = replace(preset, inference=Inference())
    return run_strategy(strategy, images, alike, out, place, seed=seed, progress=progress)
