"""Measure what size weights and the size-balanced loss cost beside a training step.

    python benchmarks/losses.py --scale 0.5

Prints, from one run with one thread, (a) the size weights of ten 321 x 321 masks against one small
training step, and (b) the size-balanced loss, weights given, against plain cross-entropy, both
forward and backward. The repetitions of both sides alternate, and the smallest CPU seconds are
compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import harness
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from sbdata.losses import SizeBalancedCrossEntropy, size_weights
from sbdata.taxonomy import SHAPES8
from sbdata.train.checkpoint import new_segmenter
from sbdata.train.preset import load_preset

BATCH, SIDE, CHANNELS = 10, 321, 21


def voc_like_masks(n: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Draw masks like pseudo-masks on VOC.

    One to six ellipses of one to three classes, ringed by void, with frayed borders and specks.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    masks = np.zeros((n, SIDE, SIDE), np.uint8)
    for mask in masks:
        classes = rng.choice(np.arange(1, CHANNELS), rng.integers(1, 4), replace=False)
        for _ in range(rng.integers(1, 7)):
            y, x = rng.uniform(0, SIDE, 2)
            height, width = np.exp(rng.uniform(np.log(8), np.log(140), 2))
            fray = 0.15 * np.kron(rng.random((108, 108)), np.ones((3, 3)))[:SIDE, :SIDE]
            far = np.hypot((rows - y) / height, (columns - x) / width) + fray
            mask[far < 1 + 3 / min(height, width)] = 255
            mask[far < 1] = rng.choice(classes)
        specks = np.kron(rng.random((108, 108)), np.ones((3, 3)))[:SIDE, :SIDE] < 0.002
        mask[specks] = rng.choice(classes)
    return masks


def outlines_of(of_class: npt.NDArray[np.bool_]) -> int:
    """Count the outlines of one class, inner ones too."""
    found, _ = cv2.findContours(of_class.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    return len(found)


def training_step() -> Callable[[], object]:
    """Return a forward and backward pass of the smoke preset's network, without its loss."""
    preset = load_preset("smoke")
    model = new_segmenter(preset.model, SHAPES8).train().to(memory_format=torch.channels_last)
    size = preset.augmentation.crop
    images = torch.rand(preset.optimisation.batch_size, 3, size, size)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        model.zero_grad()
        functional.interpolate(model(images), (size, size), mode="bilinear").mean().backward()

    return step


def loss_pass(loss: Callable[..., Any], *given: Any) -> Callable[[], object]:
    """Return forward and backward of a loss on logits of a VOC batch."""
    logits = torch.randn(BATCH, CHANNELS, SIDE, SIDE, requires_grad=True)

    def both() -> None:
        logits.grad = None
        loss(logits, *given).backward()

    return both


def main() -> None:
    """Parse the command line, measure and print."""
    options = harness.parser(__doc__, quick=0.2, repeat=20).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    turns = max(3, round(options.repeat * options.scale))
    masks = voc_like_masks(BATCH)
    target, weights = torch.from_numpy(masks).long(), torch.from_numpy(size_weights(masks))
    pairs: list[tuple[dict[str, Callable[[], object]], float]] = [
        (
            {
                "training step, 8 of 160 px": training_step(),
                "size weights, 10 of 321 px": lambda: size_weights(masks),
            },
            0.1,
        ),
        (
            {
                "cross-entropy": loss_pass(
                    lambda x, y: functional.cross_entropy(x, y, ignore_index=255), target
                ),
                "size-balanced loss": loss_pass(SizeBalancedCrossEntropy(), target, weights),
            },
            1.1,
        ),
    ]
    figures, ratios = [], {}
    for sides, bar in pairs:
        against, ours = harness.alternate(sides, turns, {"cross-entropy": "torch"})
        figures += [against, ours]
        ratios[f"{ours.name} / {against.name}"] = {
            "ratio": ours.cpu_seconds / against.cpu_seconds,
            "bar": bar,
        }
    outlines = [sum(map(outlines_of, (m == c for c in range(1, CHANNELS)))) for m in masks]
    print(f"outlines in the masks: {outlines}")
    harness.report(options, figures, ratios=ratios, outlines=outlines)
    for name, found in ratios.items():
        print(f"{name}: {found['ratio']:.4f} (bar {found['bar']})")


if __name__ == "__main__":
    main()
