"""Measure what computing dilated depthwise convolutions by their phases saves on a CPU.

    python benchmarks/dilation.py --scale 0.5

Prints, from one run with one thread, the CPU time of (a) the widest dilated convolution of
EfficientNet-Lite0 at output stride 16 and (b) a whole training step of the smoke preset's network,
forward and backward, as PyTorch computes them and by phases. Repetitions alternate; medians.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable

import torch
from losses import alternate
from torch import nn

from sbdata.taxonomy import VOC20
from sbdata.train.checkpoint import new_segmenter
from sbdata.train.dilation import PhasedConv2d, phase_dilated
from sbdata.train.preset import load_preset


def backward_of(model: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    """Return a forward and backward pass."""
    inputs = x.contiguous(memory_format=torch.channels_last).requires_grad_()

    def both() -> None:
        model.zero_grad()
        model(inputs).mean().backward()

    return both


def with_plain_convolutions(model: nn.Module) -> nn.Module:
    """Return a copy of a model that leaves dilated convolutions to PyTorch."""
    plain = copy.deepcopy(model)
    for part in plain.modules():
        if isinstance(part, PhasedConv2d):
            part.__class__ = nn.Conv2d
    return plain


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=float, default=1.0, help="share of 20 repetitions")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    turns = max(3, round(20 * arguments.scale))

    layer = nn.Sequential(nn.Conv2d(1152, 1152, 5, padding=4, dilation=2, groups=1152, bias=False))
    phased = copy.deepcopy(layer)
    phase_dilated(phased)
    maps = torch.randn(8, 1152, 10, 10)
    preset = load_preset("smoke")
    model = new_segmenter(preset.model, VOC20).train().to(memory_format=torch.channels_last)
    size = preset.augmentation.crop
    photos = torch.rand(preset.optimisation.batch_size, 3, size, size)
    plain = with_plain_convolutions(model)
    found = {
        "5 x 5 depthwise, dilation 2, (8, 1152, 10, 10)": alternate(
            backward_of(layer, maps), backward_of(phased, maps), turns
        ),
        f"network, 8 photos of {size} px": alternate(
            backward_of(plain, photos), backward_of(model, photos), turns
        ),
    }
    if arguments.json:
        print(json.dumps({name: {"plain": a, "phases": b} for name, (a, b) in found.items()}))
        return
    print(f"{turns} repetitions, one thread, CPU milliseconds, forward and backward")
    for name, (theirs, ours) in found.items():
        print(f"{name:48} plain {theirs:8.1f}   phases {ours:8.1f}   {theirs / ours:.2f}x")


if __name__ == "__main__":
    main()
