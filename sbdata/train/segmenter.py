"""The segmentation network: a backbone and DeepLabV2's head, with its multi-scale inputs.

Source: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs" (TPAMI 2018), with the settings of
kazuto1011/deeplab-pytorch (``configs/voc12.yaml``, ``main.py``), on which weakly-supervised
methods are commonly compared.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.train.preset import RATES
from sbdata.train.pretrained import Backbone, load_backbone
from sbdata.train.resize import Size, resized
from sbdata.train.weights import DEFAULT_BACKBONE

MAX_CLASSES = 254

Loss = Any
"""``loss(logits, target, weights=None)``: ``(N, C + 1, H, W)`` logits, ``(N, H, W)`` int64 classes
with 255 for void, ``(N, H, W)`` pixel weights. See ``sbdata.losses``."""


class Labels(NamedTuple):
    """What one output of a network is compared with.

    Attributes:
        target: ``(N, H, W)`` class numbers, 255 for void.
        weights: ``(N, H, W)`` float32 size weights of the target, if the loss needs them.
    """

    target: Tensor
    weights: Tensor | None = None


def labels_by_size(tensors: Iterable[Tensor]) -> dict[Size, Labels]:
    """Sort the labels of a batch by their size.

    Args:
        tensors: ``(N, H, W)`` uint8 class numbers, each followed by its weights if there are any.
    """
    found: dict[Size, Labels] = {}
    for tensor in tensors:
        size = (tensor.shape[-2], tensor.shape[-1])
        weighs = tensor.is_floating_point()
        found[size] = Labels(found[size].target, tensor) if weighs else Labels(tensor.long())
    return found


class AtrousHead(nn.Module):
    """Atrous convolutions of several rates, summed (DeepLabV2's ASPP).

    Weights are drawn from N(0, 0.01) by the global generator (``torch.manual_seed``), biases are 0.

    Args:
        channels: of the features.
        n_outputs: classes with the background.
        rates: dilations of the 3 x 3 convolutions, in cells of the feature map.

    Raises:
        InputError: if there is no rate or one is below 1.
    """

    def __init__(self, channels: int, n_outputs: int, rates: Sequence[int] = RATES) -> None:
        super().__init__()
        if not rates or min(rates) < 1:
            msg = f"the head needs one or more rates of at least 1, not {list(rates)}"
            raise InputError(msg)
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, n_outputs, 3, padding=rate, dilation=rate) for rate in rates
        )
        for branch in self.branches:
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, channels, h, w)`` features to ``(N, n_outputs, h, w)`` logits."""
        logits = self.branches[0](features)
        for branch in self.branches[1:]:
            logits = logits + branch(features)
        return logits


class Segmenter(nn.Module):
    """A backbone with an atrous head; it normalises its input itself.

    Batch norm is frozen always: its statistics and its scales stay as they were loaded, also after
    ``train()``. Of the backbone the convolution weights alone are trained.

    Args:
        backbone: of the features.
        n_classes: foreground classes, C.
        rates: of the head.
        scales: further scales of the input (DeepLabV2's MSC: 0.5 and 0.75); none by default.

    Attributes:
        n_classes: C.
        scales: as given.
        stride: of the logits, in pixels.
        provenance: where the backbone's weights are from, one sentence.
        pretrained: whether it has any.
        caffe: whether the backbone is the network of Caffe/MSRA weights.

    Raises:
        InputError: for a number of classes outside 1..254 or a scale that is not above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        n_classes: int,
        rates: Sequence[int] = RATES,
        scales: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if not 1 <= n_classes <= MAX_CLASSES:
            msg = f"the number of classes must lie in 1..{MAX_CLASSES}, not {n_classes}"
            raise InputError(msg)
        if not all(scale > 0 for scale in scales):
            msg = f"scales of the input must be above 0, not {list(scales)}"
            raise InputError(msg)
        self.n_classes, self.scales, self.stride = n_classes, tuple(scales), backbone.stride
        self.provenance, self.pretrained = backbone.provenance, backbone.pretrained
        self.caffe, self.backbone = backbone.caffe, backbone.module
        self.head = AtrousHead(backbone.channels, n_classes + 1, rates)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(backbone.normalisation, name)).reshape(1, 3, 1, 1)
            self.register_buffer(name, values)
        for parameter in self.backbone.parameters():
            if parameter.ndim <= 1:  # biases and the scales of norms: as DeepLab leaves them
                parameter.requires_grad_(False)
        freeze_batch_norm(self)

    def train(self, mode: bool = True) -> Segmenter:
        """Switch everything but batch norm, which stays frozen."""
        super().train(mode)
        freeze_batch_norm(self)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits at the features' stride.

        With ``scales``, and in evaluation mode, they are the maximum over all scales.

        Args:
            images: ``(N, 3, H, W)`` RGB, uint8, or floats in [0, 1].

        Returns:
            ``(N, C + 1, h, w)``.
        """
        if self.scales and not self.training:
            return self.forward_scales(images)[-1]
        return self._logits(self._normalised(images))

    def forward_scales(self, images: Tensor) -> list[Tensor]:
        """Return the logits at scale 1, at each further scale, and their pixel-wise maximum.

        Each has the size its scale gives; for the maximum they are resized bilinearly to the first.
        Without ``scales`` the list holds the logits at scale 1 alone.
        """
        whole = self._normalised(images)
        height, width = whole.shape[-2:]
        logits = [self._logits(whole)]
        for scale in self.scales:
            size = (max(1, int(height * scale)), max(1, int(width * scale)))
            logits.append(self._logits(resized(whole, size)))
        if self.scales:
            largest = logits[0]
            for other in logits[1:]:
                largest = torch.maximum(largest, resized(other, logits[0].shape[-2:]))
            logits.append(largest)
        return logits

    def _normalised(self, images: Tensor) -> Tensor:
        values = images if images.is_floating_point() else images.to(self.mean.dtype) / 255
        return (values - self.mean) / self.std

    def _logits(self, normalised: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(normalised)[-1])
        return logits


def freeze_batch_norm(module: nn.Module) -> None:
    """Keep every batch norm of a module in evaluation mode, and its parameters from training."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
            for parameter in part.parameters(recurse=False):
                parameter.requires_grad_(False)


def build_segmenter(
    backbone: str = DEFAULT_BACKBONE,
    *,
    n_classes: int,
    weights: str = "auto",
    output_stride: int = 16,
    rates: Sequence[int] = RATES,
    scales: Sequence[float] = (),
) -> Segmenter:
    """Build a network by name; see :func:`sbdata.train.pretrained.load_backbone` for the weights.

    Args:
        backbone: timm's name.
        n_classes: foreground classes, C.
        weights: ``auto``, ``none`` or a file.
        output_stride: 8 or 16.
        rates: of the head.
        scales: further scales of the input.

    Raises:
        InputError: for a backbone, weights or a number that cannot be used.
    """
    features = load_backbone(backbone, weights, output_stride=output_stride)
    return Segmenter(features, n_classes, rates, scales)


def parameter_groups(
    model: Segmenter, lr: float, weight_decay: float, head: float = 10, head_bias: float = 20
) -> list[dict[str, Any]]:
    """Return what an optimiser is given: DeepLab's three groups of the trained parameters.

    Args:
        model: whose parameters are grouped.
        lr: of the backbone's convolutions.
        weight_decay: of all but the head's biases, which have none.
        head: multiplies the learning rate of the head's weights.
        head_bias: multiplies that of its biases.

    Returns:
        Dicts with ``name``, ``params``, ``lr``, ``weight_decay``, the rate ``peak`` that a
        schedule takes, and ``lr_mult``, by which its result is multiplied.
    """
    trained = [p for p in model.backbone.parameters() if p.requires_grad]
    weights = [p for p in model.head.parameters() if p.requires_grad and p.ndim > 1]
    biases = [p for p in model.head.parameters() if p.requires_grad and p.ndim <= 1]
    return [
        {"name": name, "params": params, "lr": lr * times, "weight_decay": decay}
        | {"peak": lr, "lr_mult": times}
        for name, params, times, decay in (
            ("backbone", trained, 1, weight_decay),
            ("head weights", weights, head, weight_decay),
            ("head biases", biases, head_bias, 0.0),
        )
    ]


def training_outputs(model: Segmenter, images: Tensor) -> list[Tensor]:
    """Return the logits that a loss is taken of.

    Without multi-scale inputs they are resized bilinearly to the images, so that every pixel of a
    small object counts. With them there is one output for each scale and one for their maximum,
    each at its own small size, as DeepLabV2 trains.

    Args:
        model: in training mode.
        images: ``(N, 3, H, W)``.
    """
    if not model.scales:
        return [resized(model(images), images.shape[-2:])]
    return model.forward_scales(images)


def output_sizes(model: Segmenter, crop: int) -> tuple[Size, ...]:
    """Return the sizes of :func:`training_outputs` for square images of a side; computes nothing.

    >>> backbone = load_backbone("resnet18", "none", output_stride=8)
    >>> output_sizes(Segmenter(backbone, 2, scales=(0.5, 0.75)), 321)
    ((41, 41), (20, 20), (30, 30), (41, 41))
    """
    shapes_only = copy.deepcopy(model).to("meta")
    with torch.no_grad():
        outputs = training_outputs(shapes_only, torch.empty(1, 3, crop, crop, device="meta"))
    return tuple((logits.shape[-2], logits.shape[-1]) for logits in outputs)


def segmenter_loss(
    model: Segmenter,
    images: Tensor,
    labels: Mapping[Size, Labels],
    loss: Loss,
    normalisers: Mapping[Size, Tensor] | None = None,
) -> Tensor:
    """Return the loss of a batch, summed over the outputs of the network.

    Args:
        model: in training mode.
        images: ``(N, 3, H, W)``.
        labels: for each size of an output, as :func:`output_sizes` tells them.
        loss: called as ``loss(logits, target, weights)``.
        normalisers: for a part of a larger batch: the normaliser of the whole batch for each size,
            with a ``PixelRatio`` as the loss. The values of the parts then add up to that of the
            batch.
    """
    parts = []
    for logits in training_outputs(model, images):
        size = (logits.shape[-2], logits.shape[-1])
        target, weights = labels[size]
        if normalisers is None:
            parts.append(loss(logits, target, weights))
        else:
            parts.append(loss.total(logits, target, weights) / normalisers[size])
    return torch.stack(parts).sum()
