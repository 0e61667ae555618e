"""Precision of a training: its networks may compute in 16 bits, everything else in float32.

A forward pass that is marked by :func:`mixed` is autocast within :func:`networks_in` and returns
float32. So losses and their sums, resizing, gradients, the Fisher information, the penalty of EWC
and predictions have full precision with every setting. Parameters are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from sbdata.train.preset import Precision

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CURRENT: ContextVar[tuple[str, torch.dtype] | None] = ContextVar("precision", default=None)
_WITH_BFLOAT16 = (8, 0)  # compute capability of Ampere, the first NVIDIA GPUs with bfloat16

F = TypeVar("F", bound=Callable[..., Any])


def precision_on(device: torch.device, wanted: Precision) -> Precision:
    """Return the precision in which a training computes on a device.

    Args:
        device: Compute device.
        wanted: Precision of the settings. ``auto`` is ``bf16`` on NVIDIA GPUs that support
            bfloat16 in hardware, and ``32`` everywhere else.
    """
    if wanted != "auto":
        return wanted
    if device.type != "cuda":
        return "32"
    return "bf16" if torch.cuda.get_device_capability(device) >= _WITH_BFLOAT16 else "32"


@contextmanager
def networks_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Let marked forward passes compute in a precision, until the context ends.

    Args:
        precision: Precision, as :func:`precision_on` gives it.
        device: Compute device.
    """
    dtype = _DTYPES.get(precision)
    token = _CURRENT.set(None if dtype is None else (device.type, dtype))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def mixed(forward: F) -> F:
    """Mark a function from tensors to one tensor or several as the forward pass of a network.

    >>> layer = mixed(torch.nn.Linear(4, 4))
    >>> with networks_in("bf16", torch.device("cpu")):
    ...     layer(torch.ones(1, 4)).dtype
    torch.float32
    """

    @wraps(forward)
    def computed(*args: Any, **kwargs: Any) -> Any:
        current = _CURRENT.get()
        if current is None:
            return forward(*args, **kwargs)
        with torch.autocast(*current):
            found = forward(*args, **kwargs)
        return found.float() if isinstance(found, Tensor) else [each.float() for each in found]

    return cast("F", computed)
