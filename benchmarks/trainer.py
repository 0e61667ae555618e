"""Measure what the training loop costs over a bare PyTorch loop, and its parts over a step.

    python benchmarks/trainer.py --scale 0.5

Both sides take the same steps on the same views: generated images, the smoke preset's network, crop
and batch, the size-balanced loss. The bare loop has no log, no checkpoint, no check for non-finite
values; views are cut by the same code on both sides. The sides alternate; the script reports the
ratio of their smallest CPU seconds, model construction included, with one thread. Bar: 1.03.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import harness
import numpy as np
import torch
from PIL import Image

from sbdata.losses.registry import make_loss
from sbdata.masks import write_index_png
from sbdata.taxonomy import SHAPES8
from sbdata.train.checkpoint import new_segmenter
from sbdata.train.devices import DistributedContext
from sbdata.train.phase import Phase, run_phase
from sbdata.train.preset import Preset, load_preset
from sbdata.train.samples import TrainingImages, images_of_folders, views_of
from sbdata.train.segmenter import (
    labels_by_size,
    output_sizes,
    parameter_groups,
    segmenter_loss,
)
from sbdata.train.views import batches, in_steps

BAR = 1.03
_STEPS = 40


def pictures(root: Path) -> TrainingImages:
    """Write 32 noisy photos with rectangles of some classes."""
    rng = np.random.default_rng(0)
    for number in range(32):
        mask = np.zeros((280, 320), np.uint8)
        for _ in range(4):
            y, x, h, w = rng.integers(0, 200, 2).tolist() + rng.integers(10, 90, 2).tolist()
            mask[y : y + h, x : x + w] = rng.integers(1, 9)
        photo = rng.integers(0, 255, (*mask.shape, 3), dtype=np.uint8)
        (root / "photos").mkdir(exist_ok=True)
        Image.fromarray(photo).save(root / "photos" / f"{number:02}.jpg")
        write_index_png(root / "masks" / f"{number:02}.png", mask)
    return images_of_folders(root / "photos", root / "masks", SHAPES8)


def bare(images: TrainingImages, preset: Preset, steps: int) -> float:
    """Train by the shortest loop that does the same steps; return the loop's CPU seconds."""
    settings = preset.optimisation
    torch.manual_seed(0)
    model = new_segmenter(preset.model, images.taxonomy).train()
    model.to(memory_format=torch.channels_last)
    groups = parameter_groups(model, settings.lr, settings.weight_decay)
    optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    loss = make_loss("sb")
    sizes = output_sizes(model, preset.augmentation.crop)
    views = views_of(images, preset.augmentation, 0, balance=preset.size_balance, sizes=sizes)
    feed = batches([views], in_steps(range(steps), settings.batch_size))
    began = time.process_time()
    for step, (photos, *labels) in enumerate(feed):
        for group in optimizer.param_groups:
            rate = settings.lr * (1 - step / steps) ** settings.poly_power
            group["lr"] = rate * group["lr_mult"]
        optimizer.zero_grad()
        segmenter_loss(model, photos, labels_by_size(labels), loss).backward()
        optimizer.step()
    return time.process_time() - began


def ours(images: TrainingImages, preset: Preset, steps: int, folder: Path) -> None:
    """Train by the project's loop."""
    torch.manual_seed(0)
    model = new_segmenter(preset.model, images.taxonomy).to(memory_format=torch.channels_last)
    phase = Phase("sb", 0, steps, 0, preset)
    run_phase(model, images, phase, folder, DistributedContext(torch.device("cpu")), identity={})


def main() -> None:
    options = harness.parser(__doc__, quick=0.125, repeat=6).parse_args()
    torch.set_num_threads(1)
    steps = max(5, round(_STEPS * options.scale))
    preset = load_preset("smoke")
    preset = replace(preset, optimisation=replace(preset.optimisation, steps=steps))
    with tempfile.TemporaryDirectory() as folder:
        images = pictures(Path(folder))
        runs = (Path(folder) / f"run{k}" for k in count())
        figures = harness.alternate(
            {
                "training loop": lambda: ours(images, preset, steps, next(runs)),
                "bare PyTorch loop": lambda: bare(images, preset, steps),
            },
            options.repeat,
            {"bare PyTorch loop": "torch"},
        )
    ratio = figures[0].cpu_seconds / figures[1].cpu_seconds
    harness.report(options, figures, steps=steps, ratio=ratio, bar=BAR)
    print(f"training loop over a bare one, {steps} steps: {ratio:.3f}x (bar {BAR})")


if __name__ == "__main__":
    main()
