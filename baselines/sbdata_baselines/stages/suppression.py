"""Suppression: an activation with clipped peaks, so that less discriminative regions count as well.

Kim, Han and Kim, "Discriminative Region Suppression for Weakly-Supervised Semantic Segmentation"
(DRS, AAAI 2021), section 3: of each channel's activations ``y`` none may exceed ``k max(y)``, where
``k`` is a constant (non-learnable form) or ``sigmoid(W mean(y))`` (learnable form); maximum and
mean are taken over the pixels of the photo. ``W`` is initialised from N(0, 0.01), so that all ``k``
are near one half. Details that the paper leaves open follow qjadud1994/DRS.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sbdata.errors import InputError

_SIDE = 64  # side of the image from which the numbers of channels are computed


class Suppression(nn.Module):
    """An activation function followed by suppression.

    Args:
        channels: Number of channels.
        delta: Fraction of a channel's maximum at which its values are clipped, above 0 and at most
            1; 0 learns it for each channel and photo.
        activation: Function whose output is suppressed, ReLU by default.

    Attributes:
        controller: ``W`` of the learnable form, or None.

    Raises:
        InputError: if delta lies outside 0..1.
    """

    def __init__(
        self, channels: int, delta: float = 0.0, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        if not 0 <= delta <= 1:
            msg = f"delta must lie in 0..1, not {delta}"
            raise InputError(msg)
        self.delta = delta
        self.activation = nn.ReLU() if activation is None else activation
        self.controller = None if delta else nn.Linear(channels, channels, bias=False)
        if self.controller is not None:
            nn.init.normal_(self.controller.weight, std=0.01)

    def forward(self, values: Tensor) -> Tensor:
        """Return the suppressed activations.

        Args:
            values: Values, ``(N, C, h, w)``.

        >>> Suppression(1, 0.5)(torch.tensor([[[[-1.0, 1.0, 4.0]]]])).tolist()
        [[[[0.0, 1.0, 2.0]]]]
        """
        active = self.activation(values)
        share: Tensor | float = self.delta
        if self.controller is not None:
            share = self.controller(active.mean(dim=(2, 3))).sigmoid()[:, :, None, None]
        return torch.minimum(active, share * active.amax(dim=(2, 3), keepdim=True))


def suppress_last(backbone: nn.Module, depths: int, delta: float = 0.0) -> None:
    """Replace the rectified activations in the last depths of a backbone by suppressed ones.

    Args:
        backbone: Network of timm that returns features.
        depths: Number of its depths, counted from the end; 0 for none.
        delta: See :class:`Suppression`.

    Raises:
        InputError: if there are fewer depths, or no rectified activation in them.
    """
    ends = [str(depth["module"]) for depth in backbone.feature_info.info]
    if not 0 <= depths <= len(ends):
        msg = f"suppressed={depths} exceeds the {len(ends)} depths of the backbone"
        raise InputError(msg)
    if not depths:
        return
    parts = dict(backbone.named_modules())
    start = 0
    if depths < len(ends):
        before = ends[-depths - 1]
        within = (key == before or key.startswith(f"{before}.") for key in parts)
        start = max(place for place, inside in enumerate(within) if inside) + 1
    chosen = [k for k in list(parts)[start:] if isinstance(parts[k], (nn.ReLU, nn.ReLU6))]
    if not chosen:
        msg = "the backbone's last depths have no ReLU to suppress; set suppressed to 0"
        raise InputError(msg)
    for key, channels in _channels(backbone, {key: parts[key] for key in chosen}).items():
        activation = nn.ReLU6() if isinstance(parts[key], nn.ReLU6) else nn.ReLU()
        parent, _, name = key.rpartition(".")
        setattr(backbone.get_submodule(parent), name, Suppression(channels, delta, activation))


def _channels(backbone: nn.Module, parts: dict[str, nn.Module]) -> dict[str, int]:
    """Return the number of input channels of parts of a network."""
    found: dict[str, int] = {}
    hooks = [
        part.register_forward_pre_hook(
            lambda _, given, key=key: found.__setitem__(key, int(given[0].shape[1]))
        )
        for key, part in parts.items()
    ]
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        backbone(torch.zeros(1, 3, _SIDE, _SIDE))
    backbone.train(was_training)
    for hook in hooks:
        hook.remove()
    return {key: found[key] for key in parts if key in found}
