"""Pyramid: a backbone that returns the feature maps of all depths, and is partly trained.

The heads of IRN and PSA use several depths, a classifier the last. As in the official codes of IRN
and of methods built on it, batch norm keeps the statistics of ImageNet. Here it keeps its scales
too, which those codes train beyond the frozen part.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.train.precision import mixed
from sbdata.train.pretrained import Backbone, load_backbone
from sbdata.train.segmenter import freeze_batch_norm
from sbdata_baselines.settings import NetworkSettings


class Pyramid(nn.Module):
    """Backbone that returns the maps of all its depths and normalises its own input.

    Args:
        backbone: Backbone that computes the maps.
        frozen: Number of depths whose weights are not trained.

    Attributes:
        channels: Numbers of channels of the maps, finest first.
        strides: Strides of the maps in pixels, finest first.

    Raises:
        InputError: if the backbone has fewer depths than ``frozen``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, frozen: int = 0) -> None:
        super().__init__()
        # Channels-last memory: depthwise convolutions are a third faster on a CPU.
        self.backbone = backbone.module.to(memory_format=torch.channels_last)
        depths = backbone.module.feature_info.info
        if not 0 <= frozen <= len(depths):
            msg = f"frozen={frozen}: give 0 to {len(depths)}, the depths of {backbone.name}"
            raise InputError(msg)
        self.channels = tuple(int(depth["num_chs"]) for depth in depths)
        self.strides = tuple(int(depth["reduction"]) for depth in depths)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(backbone.normalisation, name)).reshape(1, 3, 1, 1)
            self.register_buffer(name, values)
        self._maps: dict[int, Tensor] = {}
        for index, depth in enumerate(depths):
            part = self.backbone.get_submodule(depth["module"])
            part.register_forward_hook(self._keep(index))
        if frozen:
            _freeze_through(self.backbone, depths[frozen - 1]["module"])
        freeze_batch_norm(self)

    def train(self, mode: bool = True) -> Pyramid:
        """Set the mode of everything but batch norm, which stays frozen."""
        super().train(mode)
        freeze_batch_norm(self)
        return self

    @mixed
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of all depths, finest first.

        Args:
            images: RGB images, ``(N, 3, H, W)``: uint8, or floats in [0, 1].

        Returns:
            Maps, ``(N, channels[k], h_k, w_k)``; neighbouring cells are ``strides[k]`` pixels
            apart.
        """
        self._maps.clear()
        self.backbone(self.normalised(images).contiguous(memory_format=torch.channels_last))
        maps = [self._maps[index] for index in range(len(self.channels))]
        self._maps.clear()
        return maps

    def cells(self, side: int) -> int:
        """Return the side of the coarsest map of a square; backbones round it up or down.

        Args:
            side: Side of the square in pixels.
        """
        training = self.training
        with torch.no_grad():
            found: int = self.eval()(torch.zeros(1, 3, side, side))[-1].shape[-1]
        self.train(training)
        return found

    def normalised(self, images: Tensor) -> Tensor:
        """Return images normalised for the backbone."""
        values = images if images.is_floating_point() else images.to(self.mean.dtype) / 255
        return (values - self.mean) / self.std

    def _keep(self, index: int) -> Any:
        def keep(module: nn.Module, given: Any, maps: Tensor) -> None:
            self._maps[index] = maps

        return keep


def build_pyramid(settings: NetworkSettings, frozen: int | None = None) -> Pyramid:
    """Load a backbone and its weights.

    Args:
        settings: Backbone settings.
        frozen: Number of depths whose weights are not trained, by default that of ``settings``.

    Raises:
        InputError: see ``sbdata.train.pretrained.load_backbone``.
    """
    backbone = load_backbone(
        settings.backbone, settings.weights, output_stride=settings.output_stride
    )
    return Pyramid(backbone, settings.frozen if frozen is None else frozen)


def _freeze_through(backbone: nn.Module, name: str) -> None:
    """Freeze all parameters up to those of a part; timm registers them in the order of use."""
    names = [key for key, _ in backbone.named_modules()]
    last = max(n for n, key in enumerate(names) if key == name or key.startswith(f"{name}."))
    for key in names[: last + 1]:
        for parameter in backbone.get_submodule(key).parameters(recurse=False):
            parameter.requires_grad_(False)
