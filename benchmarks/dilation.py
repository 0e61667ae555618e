"""Measure what computing dilated depthwise convolutions by their phases saves on a CPU.

    python benchmarks/dilation.py --scale 0.5

Prints, from one run with one thread, the CPU time of (a) the widest dilated convolution of
EfficientNet-Lite0 at output stride 16 and (b) a whole training step of the smoke preset's network,
forward and backward, as PyTorch computes them and by phases. Repetitions alternate; minima.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import harness
import torch
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
    options = harness.parser(__doc__, quick=0.2, repeat=20).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    turns = max(3, round(options.repeat * options.scale))

    layer = nn.Sequential(nn.Conv2d(1152, 1152, 5, padding=4, dilation=2, groups=1152, bias=False))
    phased = copy.deepcopy(layer)
    phase_dilated(phased)
    maps = torch.randn(8, 1152, 10, 10)
    preset = load_preset("smoke")
    model = new_segmenter(preset.model, VOC20).train().to(memory_format=torch.channels_last)
    size = preset.augmentation.crop
    photos = torch.rand(preset.optimisation.batch_size, 3, size, size)
    plain = with_plain_convolutions(model)
    pairs = {
        "5 x 5 depthwise, dilation 2": (backward_of(layer, maps), backward_of(phased, maps)),
        f"network, 8 photos of {size} px": (backward_of(plain, photos), backward_of(model, photos)),
    }
    figures, ratios = [], {}
    for name, (theirs, ours) in pairs.items():
        sides = {f"{name}, plain": theirs, f"{name}, phases": ours}
        figures += harness.alternate(sides, turns, {f"{name}, plain": "torch"})
        ratios[name] = figures[-2].cpu_seconds / figures[-1].cpu_seconds
    harness.report(options, figures, ratios=ratios)
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f}x as fast by phases")


if __name__ == "__main__":
    main()
