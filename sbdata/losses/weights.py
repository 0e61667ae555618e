"""Size weights of ``sb_ce.v1``: how much more a pixel of a small component counts.

On one (pseudo-)mask let component k be a region of one class that is connected by 8 neighbours,
with S_k pixels. Its pixels weigh ``min(tau, sum_j S_j / S_k)``, where j runs over the components of
the same class in that mask (normalizer ``"class"``, version 1) or over all foreground components
(``"image"``). Background weighs 1 and void 0.

The quotient is taken in float64 and then rounded to float32, on every path, so that the host and
the device give the same bits.
"""

from __future__ import annotations

from typing import Any, overload

import cc3d
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sbdata.errors import InputError
from sbdata.losses.components import component_roots

TAU = 5.0
NORMALIZERS = ("class", "image")
_VALUES = 256  # of a class map: background, classes and void


@overload
def size_weights(
    masks: npt.NDArray[Any],
    *,
    tau: float = ...,
    normalizer: str = ...,
    ignore_index: int = ...,
) -> npt.NDArray[np.float32]: ...


@overload
def size_weights(
    masks: Tensor,
    *,
    tau: float = ...,
    normalizer: str = ...,
    ignore_index: int = ...,
) -> Tensor: ...


def size_weights(
    masks: npt.NDArray[Any] | Tensor,
    *,
    tau: float = TAU,
    normalizer: str = "class",
    ignore_index: int = 255,
) -> npt.NDArray[np.float32] | Tensor:
    """Weigh the pixels of class maps by the sizes of their components.

    Arrays are meant for data workers. A tensor on a CUDA device goes through
    :func:`propagated_weights` and stays there; any other tensor takes the arrays' way.

    Args:
        masks: ``(H, W)`` or ``(N, H, W)`` integers: 0 background, 1..254 classes, void.
        tau: no weight is larger; ``math.inf`` for no limit.
        normalizer: ``"class"`` or ``"image"``: whose pixels are set against a component's.
        ignore_index: the value of void.

    Returns:
        float32 of the same shape, kind and device.

    Raises:
        InputError: if an option is out of range, or a mask has another shape, is not of integers
            or holds values outside 0..255.

    >>> size_weights(np.array([[1, 0, 1, 1, 1, 255, 2]]))
    array([[4.       , 1.       , 1.3333334, 1.3333334, 1.3333334, 0.       ,
            1.       ]], dtype=float32)
    """
    check_options(tau, normalizer, ignore_index)
    if isinstance(masks, Tensor):
        if masks.is_cuda:
            return propagated_weights(
                masks, tau=tau, normalizer=normalizer, ignore_index=ignore_index
            )
        found = size_weights(
            masks.detach().cpu().numpy(), tau=tau, normalizer=normalizer, ignore_index=ignore_index
        )
        return torch.from_numpy(found).to(masks.device)
    _check_shape(masks.shape)
    batch = _as_bytes(masks).reshape(-1, *masks.shape[-2:])
    weights = np.empty(batch.shape, np.float32)
    for mask, out in zip(batch, weights, strict=True):
        _weigh(mask, out, tau, normalizer, ignore_index)
    return weights.reshape(masks.shape)


def propagated_weights(
    masks: Tensor,
    *,
    tau: float = TAU,
    normalizer: str = "class",
    ignore_index: int = 255,
) -> Tensor:
    """Weigh as :func:`size_weights` does, by tensor operations only, to the same bits.

    Nothing is copied to the host and nothing waits for the device: the operations depend on the
    shape alone. Values outside 0..255 can therefore not be refused; do not pass any.

    Args:
        masks: ``(H, W)`` or ``(N, H, W)`` integers on any device.
        tau: as for :func:`size_weights`.
        normalizer: likewise.
        ignore_index: likewise.

    Returns:
        float32 of the same shape on the same device.

    Raises:
        InputError: if an option is out of range, or the masks have another shape or are floats.
    """
    check_options(tau, normalizer, ignore_index)
    _check_shape(masks.shape)
    if masks.is_floating_point() or masks.is_complex():
        raise _not_integers(str(masks.dtype))
    batch = masks.reshape(-1, *masks.shape[-2:]).long()
    void = batch == ignore_index
    classes = batch.masked_fill(void, 0)
    root = component_roots(classes)
    ones = torch.ones_like(root)
    sizes = torch.zeros_like(root).scatter_add_(0, root, ones).gather(0, root)
    images = torch.arange(len(batch), device=batch.device).view(-1, 1, 1)
    # The components of a class hold its pixels, so these are counted and not the components.
    kinds = classes if normalizer == "class" else (classes > 0).long()
    kinds = (kinds + _VALUES * images).view(-1)
    counts = torch.zeros(_VALUES * len(batch), dtype=torch.int64, device=batch.device)
    totals = counts.scatter_add_(0, kinds, ones).gather(0, kinds)
    weights = (totals.double() / sizes.double()).clamp(max=tau).float().view(batch.shape)
    weights = weights.masked_fill(classes == 0, 1.0).masked_fill(void, 0.0)
    return weights.view(masks.shape)


def check_options(tau: float, normalizer: str, ignore_index: int) -> None:
    """Refuse options that no mask can be weighed with.

    Raises:
        InputError: naming the option.
    """
    if not tau >= 1:  # also where it is not a number
        msg = f"tau must be at least 1, not {tau}; a weight is never below 1"
        raise InputError(msg)
    if normalizer not in NORMALIZERS:
        msg = f"normalizer must be one of {', '.join(NORMALIZERS)}, not {normalizer!r}"
        raise InputError(msg)
    if not 0 < ignore_index < _VALUES:
        msg = f"ignore_index must lie in 1..{_VALUES - 1}, not {ignore_index}; 0 is background"
        raise InputError(msg)


def _weigh(
    mask: npt.NDArray[np.uint8],
    out: npt.NDArray[np.float32],
    tau: float,
    normalizer: str,
    ignore_index: int,
) -> None:
    """Write the weights of one ``(H, W)`` mask."""
    void = mask == ignore_index
    classes = np.where(void, np.uint8(0), mask)
    labels, n = cc3d.connected_components(classes, connectivity=8, return_N=True)
    sizes = np.bincount(labels.reshape(-1), minlength=n + 1)[1:]
    class_of = np.empty(n + 1, np.uint8)
    class_of[labels] = classes  # every pixel of a component writes the same
    if normalizer == "class":
        totals = np.bincount(class_of[1:], weights=sizes, minlength=_VALUES)[class_of[1:]]
    else:
        totals = np.full(n, sizes.sum(), np.float64)
    by_label = np.ones(n + 1, np.float32)
    by_label[1:] = np.minimum(totals / sizes, tau)
    np.take(by_label, labels, out=out)
    out[void] = 0


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) not in (2, 3) or not all(shape[-2:]):
        msg = f"masks must be (H, W) or (N, H, W) and not empty, not {tuple(shape)}"
        raise InputError(msg)


def _as_bytes(masks: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if masks.dtype == np.uint8:
        return masks
    if masks.dtype.kind not in "iu":
        raise _not_integers(str(masks.dtype))
    if masks.size and not (masks.min() >= 0 and masks.max() < _VALUES):
        msg = (
            f"masks hold values from {masks.min()} to {masks.max()}; background, classes and void "
            f"lie in 0..{_VALUES - 1}"
        )
        raise InputError(msg)
    return masks.astype(np.uint8)


def _not_integers(kind: str) -> InputError:
    return InputError(f"masks must hold integers, not {kind}; pass class numbers")
