"""What every loss is called with: logits and class numbers that belong together."""

from __future__ import annotations

import torch
from torch import Tensor

from sbdata.errors import InputError


def prepared(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits of at least float32, whatever autocast made of them, and an int64 target.

    Args:
        logits: ``(N, C + 1, H, W)``.
        target: ``(N, H, W)`` class numbers.

    Raises:
        InputError: if the shapes do not belong together.
    """
    if logits.dim() != 4 or target.shape != (len(logits), *logits.shape[2:]):
        msg = (
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} do not belong "
            "together; pass (N, C + 1, H, W) and (N, H, W), resized to one another beforehand"
        )
        raise InputError(msg)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)), target.long()
