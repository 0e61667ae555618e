"""Fast dilated depthwise convolutions on a CPU, computed phase by phase.

A convolution with dilation ``d`` never mixes pixels whose rows or columns differ modulo ``d``. It
is an ordinary convolution on each of the ``d * d`` phases of the map (the "a trous" identity of
Holschneider et al., "A real-time algorithm for signal analysis with the help of the wavelet
transform", 1989; TensorFlow calls it space-to-batch). PyTorch's CPU kernels have a fast depthwise
convolution without dilation only. At output stride 16 the dilated ones took a third of a training
step of EfficientNet-Lite0; the phases make them several times as fast (``benchmarks/dilation.py``
measures both).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class PhasedConv2d(nn.Conv2d):
    """``nn.Conv2d`` that computes its phases as a batch if the input is on the CPU.

    Parameters and their names are those of ``nn.Conv2d``; so are the results, up to rounding.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)``; other devices use their own fast dilated kernels."""
        if input.device.type != "cpu":
            return super().forward(input)
        d = self.dilation[0]
        n, channels, height, width = input.shape
        rows, columns = -(-height // d), -(-width // d)
        padded = functional.pad(input, (0, columns * d - width, 0, rows * d - height))
        phases = (
            padded.permute(0, 2, 3, 1)  # channels_last memory order: views, one copy
            .reshape(n, rows, d, columns, d, channels)
            .permute(2, 4, 0, 1, 3, 5)
            .reshape(d * d * n, rows, columns, channels)
            .permute(0, 3, 1, 2)
        )
        side = int(self.padding[0]) // d
        found = functional.conv2d(phases, self.weight, self.bias, padding=side, groups=channels)
        whole = (
            found.permute(0, 2, 3, 1)
            .reshape(d, d, n, rows, columns, channels)
            .permute(2, 3, 0, 4, 1, 5)
            .reshape(n, rows * d, columns * d, channels)
            .permute(0, 3, 1, 2)
        )
        return whole[:, :, :height, :width]


def phase_dilated(module: nn.Module) -> None:
    """Replace the dilated depthwise convolutions inside a module and keep their parameters."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if _is_dilated_depthwise(child):
                phased = PhasedConv2d(
                    child.in_channels,
                    child.out_channels,
                    child.kernel_size,
                    padding=child.padding,
                    dilation=child.dilation,
                    groups=child.groups,
                    bias=child.bias is not None,
                    device="meta",
                )
                phased.weight, phased.bias = child.weight, child.bias
                phased.train(child.training)
                setattr(parent, name, phased)


def _is_dilated_depthwise(module: nn.Module) -> bool:
    if type(module) is not nn.Conv2d or isinstance(module.padding, str):
        return False
    kernel, dilation, padding = module.kernel_size, module.dilation, module.padding
    return bool(
        module.groups == module.in_channels == module.out_channels
        and module.stride == (1, 1)
        and dilation[0] == dilation[1] > 1
        and kernel[0] == kernel[1]
        and kernel[0] % 2 == 1
        and padding == (dilation[0] * (kernel[0] // 2),) * 2
        and module.padding_mode == "zeros"
    )
