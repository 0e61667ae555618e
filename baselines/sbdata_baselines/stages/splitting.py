"""Splitting: a classifier cut in two, so that its first parts run once and its last parts often.

Methods that use gradient ascent, or train again, for each photo run the network many times. With
the whole network as the head they match their papers; with a later cut they cost a fraction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata_baselines.stages.classifier import Classifier

_PROBE = 64  # side of the random images on which a cut network is tested


class Head(nn.Module):
    """Last parts of a backbone and the classifier's head; they share the classifier's weights.

    Args:
        parts: Parts to run in sequence.
        conv: Convolution, 1 x 1, to one map per class.
    """

    def __init__(self, parts: Sequence[nn.Module], conv: nn.Conv2d) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.conv = conv

    def forward(self, values: Tensor) -> Tensor:
        """Return the activations of the backbone's output, ``(N, C, h, w)``."""
        for part in self.parts:
            found = part(values)
            values = found[-1] if isinstance(found, list) else found  # a whole backbone: a list
        activations: Tensor = self.conv(values)
        return activations


class Backbone(nn.Module):
    """Classifier up to the cut: the normalisation of the photo, and the first parts.

    Args:
        model: Classifier.
        parts: Parts to run in sequence; may be empty.
    """

    def __init__(self, model: Classifier, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.pyramid = model.pyramid
        self.parts = list(parts)  # a plain list: the pyramid registers the parts

    def forward(self, images: Tensor) -> Tensor:
        """Return the head's input, without gradients.

        Args:
            images: RGB images, ``(N, 3, H, W)``: uint8, or floats in [0, 1].
        """
        with torch.no_grad():
            values = self.pyramid.normalised(images).contiguous(memory_format=torch.channels_last)
            for part in self.parts:
                values = part(values)
        return values


class SplitClassifier(NamedTuple):
    """Classifier in two parts; its maps are ``head(backbone(images))``."""

    backbone: Backbone
    head: Head


def split(model: Classifier, first: str = "") -> SplitClassifier:
    """Cut a classifier in two.

    Args:
        model: Classifier in evaluation mode.
        first: Name of the backbone part that the head begins with: ``layer4`` of a ResNet,
            ``blocks.6`` of an EfficientNet. If empty, the head includes the whole backbone, and the
            part before it only normalises the photo.

    Raises:
        InputError: if the name is unknown, or the backbone's parts do not simply follow each other.
    """
    if not first:
        return SplitClassifier(Backbone(model, ()), Head([model.pyramid.backbone], model.head))
    parts = _chain(model)
    if first not in parts:
        msg = f"first: the backbone has no part {first!r}; choose from {', '.join(parts)}"
        raise InputError(msg)
    place = list(parts).index(first)
    modules = list(parts.values())
    found = SplitClassifier(Backbone(model, modules[:place]), Head(modules[place:], model.head))
    if not _is_whole(found, model):
        msg = f"first={first!r}: this backbone cannot be split, as its parts branch; leave it empty"
        raise InputError(msg)
    return found


def _chain(model: Classifier) -> dict[str, nn.Module]:
    """Return the parts of a backbone by name; sequences with a depth are split into members."""
    backbone = model.pyramid.backbone
    depths = [str(depth["module"]) for depth in backbone.feature_info.info]
    parts: dict[str, nn.Module] = {}
    for name, child in backbone.named_children():
        if any(depth.startswith(f"{name}.") for depth in depths):
            parts |= {f"{name}.{number}": part for number, part in child.named_children()}
        else:
            parts[name] = child
    return parts


def _is_whole(parts: SplitClassifier, model: Classifier) -> bool:
    """Return True if both parts together equal the classifier, tested on random images."""
    noise = torch.Generator().manual_seed(0)
    weight = model.head.weight
    image = torch.rand(1, 3, _PROBE, _PROBE, generator=noise).to(weight.device)
    try:
        with torch.no_grad():
            wanted, found = model.maps(image), parts.head(parts.backbone(image))
    except (RuntimeError, TypeError, AttributeError, NotImplementedError):
        return False
    return found.shape == wanted.shape and bool(torch.allclose(found, wanted, 1e-3, 1e-4))
