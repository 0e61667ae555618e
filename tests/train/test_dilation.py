"""The phases of a dilated depthwise convolution, against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sbdata.train.dilation import PhasedConv2d, phase_dilated
from sbdata.train.pretrained import load_backbone


def depthwise(kernel: int, dilation: int, *, bias: bool = False) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(6, 6, kernel, padding=padding, dilation=dilation, groups=6, bias=bias).double()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [(10, 10), (7, 12), (1, 3), (13, 5)])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 2), (5, 2), (3, 4), (5, 3)])
def test_values_and_gradients_are_those_of_the_plain_convolution(
    kernel: int, dilation: int, size: tuple[int, int], channels_last: bool
) -> None:
    torch.manual_seed(0)
    plain = depthwise(kernel, dilation, bias=True)
    phased = nn.Sequential(plain)
    phase_dilated(phased)
    assert type(phased[0]) is PhasedConv2d
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    weights = torch.randn(2, 6, *size, dtype=torch.float64)

    found = []
    for layer in (plain, phased):
        inputs = x.clone().requires_grad_()
        plain.zero_grad()
        output = layer(inputs)
        (output * weights).sum().backward()
        gradients = [p.grad.clone() for p in plain.parameters() if p.grad is not None]
        assert len(gradients) == 2
        found.append((output, inputs.grad, *gradients))
    for theirs, ours in zip(*found, strict=True):
        assert torch.allclose(theirs, ours, atol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 6, 3, padding=2, dilation=2),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6, stride=2),
        nn.Conv2d(6, 6, 3, padding=1, dilation=2, groups=6),
        nn.Conv2d(6, 6, 3, padding="same", dilation=2, groups=6),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6, padding_mode="reflect"),
    ],
)
def test_other_convolutions_stay(layer: nn.Conv2d) -> None:
    whole = nn.Sequential(layer)
    phase_dilated(whole)
    assert whole[0] is layer


def test_a_backbone_keeps_its_names_and_its_features() -> None:
    import timm

    ours = load_backbone("tf_efficientnet_lite0", "none", output_stride=16).module.eval()
    theirs = timm.create_model(
        "tf_efficientnet_lite0",
        pretrained=False,
        features_only=True,
        out_indices=(-1,),
        output_stride=16,
    ).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert sum(isinstance(part, PhasedConv2d) for part in ours.modules()) == 4
    theirs.load_state_dict(ours.state_dict())
    photos = torch.rand(1, 3, 80, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(ours(photos)[0], theirs(photos)[0], rtol=1e-4, atol=1e-4)
