"""Registry of the losses by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from sbdata.errors import InputError
from sbdata.losses.imbalance import DiceLoss, FocalLoss, LovaszSoftmax
from sbdata.losses.pixel import BalancedCrossEntropy, CrossEntropy, SizeBalancedCrossEntropy
from sbdata.plugins import Registry

LOSSES: Registry[Callable[..., nn.Module]] = Registry(
    "sbdata.losses",
    "loss",
    {
        "ce": CrossEntropy,
        "sb": SizeBalancedCrossEntropy,
        "focal": FocalLoss,
        "dice": DiceLoss,
        "lovasz": LovaszSoftmax,
        "balanced-ce": BalancedCrossEntropy,
    },
    lambda make: "" if callable(make) else "is not a class or function that makes a loss",
)
"""Classes of losses by name."""

register_loss = LOSSES.register


def make_loss(name: str, **options: Any) -> nn.Module:
    """Create a loss by its name.

    Args:
        name: Name of the loss, a key of ``LOSSES``.
        options: Options of that loss.

    Raises:
        InputError: If the name or an option is unknown, or the loss refuses a value.

    >>> make_loss("sb", tau=3.0, reduction="pixels").reduction
    'pixels'
    """
    make = LOSSES.find(name)
    known = inspect.signature(make).parameters
    for option in options:
        if option not in known:
            msg = f"loss {name!r} has no option {option!r}; choose from {', '.join(known)}"
            raise InputError(msg)
    return make(**options)
