"""Check and convert the inputs of all losses: logits and class numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from sbdata.errors import InputError


def prepared(logits: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return logits converted to at least float32, even under autocast, and an int64 target.

    Class numbers are checked only on the CPU: on a GPU every call would have to wait for the
    device. The masks of ``sbdata train`` are checked before they get there.

    Args:
        logits: Logits ``(N, C + 1, H, W)``.
        target: Class numbers ``(N, H, W)``.
        ignore_index: Value of void pixels.

    Raises:
        InputError: If the shapes do not match, or the target holds a fraction or a class that
            the logits lack.
    """
    if logits.dim() != 4 or target.shape != (len(logits), *logits.shape[2:]):
        msg = (
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} do not match; pass "
            "(N, C + 1, H, W) and (N, H, W), resized to the same height and width"
        )
        raise InputError(msg)
    outputs = logits.shape[1]
    if target.device.type == "cpu" and target.numel():
        if target.is_floating_point() and not (target == target.trunc()).all():
            part = target[target != target.trunc()].reshape(-1)[0]
            msg = (
                f"the target holds {float(part):g}, which is not a class number; pass whole "
                "numbers, not scores or labels that were scaled by interpolation"
            )
            raise InputError(msg)
        strange = target[((target < 0) | (target >= outputs)) & (target != ignore_index)]
        if strange.numel():
            msg = (
                f"the target holds class {int(strange.reshape(-1)[0])}, but the logits have "
                f"{outputs} classes, 0..{outputs - 1} ({ignore_index} is void); build the network "
                "for all classes or correct the masks"
            )
            raise InputError(msg)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)), target.long()
