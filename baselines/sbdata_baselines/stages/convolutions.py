"""Convolutions: the head with which DRS and NS-ROM replace the linear layers of a VGG.

It has three 3 x 3 convolutions, each with an activation, and a 1 x 1 convolution to the maps, whose
spatial means are the classes' logits. New weights are initialised as by He et al. (ICCV 2015) for
ReLU, those of the 1 x 1 convolution with a standard deviation of 0.01; biases are 0. The papers do
not state the initialisation; how their codes differ is in the methods' ``differences``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sbdata.train.precision import mixed
from sbdata_baselines.stages.pyramid import Pyramid

CONVOLUTIONS = 3


class ConvolvedClassifier(nn.Module):
    """Backbone, three convolutions, and a map for each class.

    Args:
        pyramid: Backbone.
        n_classes: Number of classes C, without background.
        width: Number of channels of the convolutions.
        activations: Module after each convolution, in order.
        last: Module before the convolution to the maps; none by default.
    """

    def __init__(
        self,
        pyramid: Pyramid,
        n_classes: int,
        width: int,
        activations: Sequence[nn.Module],
        last: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.pyramid = pyramid
        layers: list[nn.Module] = []
        channels = pyramid.channels[-1]
        for activation in activations:
            layers += [nn.Conv2d(channels, width, 3, padding=1), activation]
            channels = width
        self.convolutions = nn.Sequential(*layers)
        self.last = nn.Identity() if last is None else last
        self.head = nn.Conv2d(channels, n_classes, 1)
        for part in self.convolutions:
            if isinstance(part, nn.Conv2d) and part.bias is not None:
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                nn.init.zeros_(part.bias)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def maps(self, images: Tensor) -> Tensor:
        """Return the activations, ``(N, C, h, w)``, including negative ones."""
        features = self.last(self._convolved(self.pyramid(images)[-1]))
        activations: Tensor = self.head(features)
        return activations

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, ``(N, C)``."""
        return self.maps(images).mean(dim=(2, 3))

    @mixed
    def _convolved(self, features: Tensor) -> Tensor:
        convolved: Tensor = self.convolutions(features)
        return convolved


def rectifiers() -> list[nn.Module]:
    """Return a plain ReLU for each convolution."""
    return [nn.ReLU() for _ in range(CONVOLUTIONS)]
