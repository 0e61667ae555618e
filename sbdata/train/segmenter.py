"""Segmentation network: a backbone with DeepLabV2's head and multi-scale inputs.

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
from sbdata.train.precision import mixed
from sbdata.train.preset import RATES
from sbdata.train.pretrained import Backbone, load_backbone
from sbdata.train.resize import Size, resized
from sbdata.train.weights import DEFAULT_BACKBONE

MAX_CLASSES = 254

Loss = Any
"""Function ``loss(logits, target, weights=None)``: logits ``(N, C + 1, H, W)``, int64 classes
``(N, H, W)`` with 255 for void, pixel weights ``(N, H, W)``. See ``sbdata.losses``."""


class Labels(NamedTuple):
    """Labels with which one output of a network is compared.

    Attributes:
        target: Class numbers, ``(N, H, W)``; 255 is void.
        weights: Size weights of the target, float32 ``(N, H, W)``, if the loss needs them.
    """

    target: Tensor
    weights: Tensor | None = None


def labels_by_size(tensors: Iterable[Tensor]) -> dict[Size, Labels]:
    """Return the labels of a batch by their size.

    Args:
        tensors: Class numbers, uint8 ``(N, H, W)``, each followed by its weights if there are any.
    """
    found: dict[Size, Labels] = {}
    for tensor in tensors:
        size = (tensor.shape[-2], tensor.shape[-1])
        weighs = tensor.is_floating_point()
        found[size] = Labels(found[size].target, tensor) if weighs else Labels(tensor.long())
    return found


class AtrousHead(nn.Module):
    """Atrous convolutions with several dilation rates, summed (DeepLabV2's ASPP).

    Weights are drawn from N(0, 0.01) by the global generator (``torch.manual_seed``), biases are 0.

    Args:
        channels: Number of channels of the features.
        n_outputs: Number of classes, with the background.
        rates: Dilations of the 3 x 3 convolutions, in cells of the feature map.

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
    """Backbone with an atrous head that normalises its own input.

    Batch norm is always frozen: its statistics and scales stay as loaded, even after ``train()``.
    In the backbone, only the convolution weights are trained.

    Args:
        backbone: Feature network.
        n_classes: Number of foreground classes C.
        rates: Dilation rates of the head.
        scales: Further scales of the input (DeepLabV2's MSC: 0.5 and 0.75); none by default.

    Attributes:
        n_classes: Number of foreground classes C.
        scales: Further scales of the input.
        stride: Stride of the logits, in pixels.
        provenance: Sentence on the source of the backbone's weights.
        pretrained: True if the backbone's weights were loaded.
        caffe: True if the backbone is the network of Caffe/MSRA weights.

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
            if parameter.ndim <= 1:  # biases and scales of norms are frozen, as in DeepLab
                parameter.requires_grad_(False)
        freeze_batch_norm(self)

    def train(self, mode: bool = True) -> Segmenter:
        """Set the mode of everything but batch norm, which stays frozen."""
        super().train(mode)
        freeze_batch_norm(self)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits at the features' stride.

        With ``scales``, in evaluation mode, they are the maximum over all scales.

        Args:
            images: RGB images, ``(N, 3, H, W)``: uint8, or floats in [0, 1].

        Returns:
            Logits, ``(N, C + 1, h, w)``.
        """
        if self.scales and not self.training:
            return self.forward_scales(images)[-1]
        return self._logits(self._normalised(images))

    def forward_scales(self, images: Tensor) -> list[Tensor]:
        """Return the logits at scale 1, at each further scale, and their pixel-wise maximum.

        Each output has the size of its scale; for the maximum, all are resized bilinearly to the
        first. Without ``scales`` the list holds only the logits at scale 1.
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

    @mixed
    def _logits(self, normalised: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(normalised)[-1])
        return logits


def freeze_batch_norm(module: nn.Module) -> None:
    """Set every batch norm of a module to evaluation mode and stop training its parameters."""
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
        backbone: Name of a timm model.
        n_classes: Number of foreground classes C.
        weights: ``auto``, ``none`` or a file.
        output_stride: Output stride, 8 or 16.
        rates: Dilation rates of the head.
        scales: Further scales of the input.

    Raises:
        InputError: for a backbone, weights or a number that cannot be used.
    """
    features = load_backbone(backbone, weights, output_stride=output_stride)
    return Segmenter(features, n_classes, rates, scales)


def parameter_groups(
    model: Segmenter, lr: float, weight_decay: float, head: float = 10, head_bias: float = 20
) -> list[dict[str, Any]]:
    """Return DeepLab's three groups of trained parameters, for an optimiser.

    Args:
        model: Segmenter to train.
        lr: Learning rate of the backbone's convolutions.
        weight_decay: Weight decay of all but the head's biases, which have none.
        head: Factor on ``lr`` for the head's weights.
        head_bias: Factor on ``lr`` for the head's biases.

    Returns:
        Dicts with ``name``, ``params``, ``lr``, ``weight_decay``, the rate ``peak`` given to a
        schedule, and ``lr_mult``, the factor on the schedule's result.
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
    """Return the logits for which a loss is computed.

    Without multi-scale inputs they are resized bilinearly to the images, so that every pixel of a
    small object counts. With them there is one output per scale and one for their maximum, each at
    its own small size, as in DeepLabV2's training.

    Args:
        model: Segmenter in training mode.
        images: Images, ``(N, 3, H, W)``.
    """
    if not model.scales:
        return [resized(model(images), images.shape[-2:])]
    return model.forward_scales(images)


def output_sizes(model: Segmenter, crop: int) -> tuple[Size, ...]:
    """Return the sizes of :func:`training_outputs` for square images, without running the model.

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
        model: Segmenter in training mode.
        images: Images, ``(N, 3, H, W)``.
        labels: Labels for each output size, as given by :func:`output_sizes`.
        loss: Loss function, called as ``loss(logits, target, weights)``.
        normalisers: Normaliser of the whole batch for each size, for a part of a larger batch, with
            a ``PixelRatio`` as the loss. The values of the parts then add up to that of the batch.
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
