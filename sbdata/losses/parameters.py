"""Parameters by their names in the unwrapped model.

A wrapper such as DistributedDataParallel, which puts ``module.`` before every name, makes no
difference here. Names that do not match always raise an error.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sbdata.errors import InputError

_WRAPPERS = ("module", "_orig_mod")  # names of the inner model in DataParallel and torch.compile


def bare(model: nn.Module) -> nn.Module:
    """Return the model inside DistributedDataParallel, DataParallel or torch.compile.

    >>> inner = nn.Linear(1, 1)
    >>> bare(nn.DataParallel(inner)) is inner
    True
    """
    while not list(model.parameters(recurse=False)):
        children = dict(model.named_children())
        if len(children) != 1 or next(iter(children)) not in _WRAPPERS:
            break
        (model,) = children.values()
    return model


def trainable_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by name."""
    return {name: p for name, p in bare(model).named_parameters() if p.requires_grad}


def check_match(has: Mapping[str, Tensor], needs: Mapping[str, Tensor], what: str) -> None:
    """Raise an error unless every needed name is present with the same shape."""
    for name, value in needs.items():
        if name not in has:
            msg = (
                f"{name!r} is not in {what}; estimate the Fisher and set the anchor on this "
                "model, with the same parts frozen"
            )
            raise InputError(msg)
        if has[name].shape != value.shape:
            msg = (
                f"{name!r} has shape {tuple(has[name].shape)} in {what}, not "
                f"{tuple(value.shape)}; estimate the Fisher on this model"
            )
            raise InputError(msg)


def check_values(fisher: Mapping[str, Tensor]) -> None:
    """Raise an error unless all values of a Fisher are finite and at least 0."""
    for name, value in fisher.items():
        if not bool((torch.isfinite(value) & (value >= 0)).all()):
            msg = (
                f"the Fisher of {name!r} holds values that are negative or not finite; check that "
                "the model's loss is finite on every image"
            )
            raise InputError(msg)
