"""Splitting: a classifier cut in two, so that its first parts run once and its last ones often.

Methods that climb, or train anew, for each photo run the network many times. With all of it as the
head they are what their papers describe; cut later, they cost a fraction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata_baselines.stages.classifier import Classifier

_PROBE = 64  # side of the noise that a cut network is tried on


class Head(nn.Module):
    """The last parts of a backbone, and the head; they share their weights with the classifier.

    Args:
        parts: that follow each other.
        conv: a 1 x 1 convolution to one map a class.
    """

    def __init__(self, parts: Sequence[nn.Module], conv: nn.Conv2d) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.conv = conv

    def forward(self, values: Tensor) -> Tensor:
        """Return the activations ``(N, C, h, w)`` of what the backbone gave."""
        for part in self.parts:
            found = part(values)
            values = found[-1] if isinstance(found, list) else found  # a whole backbone's is one
        activations: Tensor = self.conv(values)
        return activations


class Backbone(nn.Module):
    """The classifier up to the cut: the normalisation of the photo, and the first parts.

    Args:
        model: the classifier.
        parts: that follow each other; may be none.
    """

    def __init__(self, model: Classifier, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.pyramid = model.pyramid
        self.parts = list(parts)  # of the pyramid, which registers them

    def forward(self, images: Tensor) -> Tensor:
        """Return what the head is given, without gradients.

        Args:
            images: ``(N, 3, H, W)`` RGB, uint8, or floats in [0, 1].
        """
        with torch.no_grad():
            values = self.pyramid.normalised(images).contiguous(memory_format=torch.channels_last)
            for part in self.parts:
                values = part(values)
        return values


class SplitClassifier(NamedTuple):
    """A classifier in two, ``head(backbone(images))`` of which are its maps."""

    backbone: Backbone
    head: Head


def split(model: Classifier, first: str = "") -> SplitClassifier:
    """Cut a classifier.

    Args:
        model: in evaluation mode.
        first: name of the backbone's part that the head begins with: ``layer4`` of a ResNet,
            ``blocks.6`` of an EfficientNet. With none, that is the whole backbone, and what
            comes before just normalises the photo.

    Raises:
        InputError: for an unknown name, or a backbone whose parts do not simply follow each other.
    """
    if not first:
        return SplitClassifier(Backbone(model, ()), Head([model.pyramid.backbone], model.head))
    parts = _chain(model)
    if first not in parts:
        msg = f"the backbone has no part {first!r} to begin with; it has {', '.join(parts)}"
        raise InputError(msg)
    place = list(parts).index(first)
    modules = list(parts.values())
    found = SplitClassifier(Backbone(model, modules[:place]), Head(modules[place:], model.head))
    if not _is_whole(found, model):
        msg = f"the parts of this backbone do not follow each other; leave first={first!r} empty"
        raise InputError(msg)
    return found


def _chain(model: Classifier) -> dict[str, nn.Module]:
    """Return the parts of a backbone by name; a sequence that holds a depth gives its members."""
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
    """Tell, by noise, whether both parts together are the classifier."""
    noise = torch.Generator().manual_seed(0)
    weight = model.head.weight
    image = torch.rand(1, 3, _PROBE, _PROBE, generator=noise).to(weight.device)
    try:
        with torch.no_grad():
            wanted, found = model.maps(image), parts.head(parts.backbone(image))
    except (RuntimeError, TypeError, AttributeError, NotImplementedError):
        return False
    return found.shape == wanted.shape and bool(torch.allclose(found, wanted, 1e-3, 1e-4))
