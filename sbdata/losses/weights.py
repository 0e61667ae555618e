"""Size weights of ``sb_ce.v2``, which give pixels of small regions a larger weight.

Let F be the number of foreground pixels of one (pseudo-)mask, all classes together. OpenCV finds
the outlines of each class. The pixels inside an outline have the weight
``min(tau, F / number of those pixels)``. Outlines are painted one over the other: classes in
ascending order, a component before its holes and a hole before the components inside it, and among
several of one kind the last in scan order first. All other pixels have weight 1, void has weight 0.

Three consequences are part of the definition, since the released code trains with them. The area of
a region includes its holes, so a weight can be below 1. The outline of a hole is filled too, which
gives the pixels in it, background included, the weight of the hole's area. And that outline lies on
the region, so the region's pixels 4-adjacent to the hole get this weight as well.

The quotient is computed in float64 and then rounded to float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sbdata.errors import InputError

TAU = 5.0
NORMALIZERS = ("image", "class")
REGIONS = ("outlines", "components")
_VALUES = 256  # possible values of a class map: background, classes and void

_Bool = npt.NDArray[np.bool_]
_Region = tuple[tuple[slice, slice], _Bool]
"""Window of the mask, and the mask of the region's pixels inside the window."""


@overload
def size_weights(
    masks: npt.NDArray[Any],
    *,
    tau: float = ...,
    normalizer: str = ...,
    regions: str = ...,
    ignore_index: int = ...,
) -> npt.NDArray[np.float32]: ...


@overload
def size_weights(
    masks: Tensor,
    *,
    tau: float = ...,
    normalizer: str = ...,
    regions: str = ...,
    ignore_index: int = ...,
) -> Tensor: ...


def size_weights(
    masks: npt.NDArray[Any] | Tensor,
    *,
    tau: float = TAU,
    normalizer: str = "image",
    regions: str = "outlines",
    ignore_index: int = 255,
) -> npt.NDArray[np.float32] | Tensor:
    """Return weights for the pixels of class maps by the sizes of their regions.

    Arrays are meant for data workers. A tensor is copied to the CPU, and its weights are copied
    back.

    Args:
        masks: Integers ``(H, W)`` or ``(N, H, W)``: 0 background, 1..254 classes, void.
        tau: Largest weight; ``math.inf`` for no limit.
        normalizer: Number that is divided by the size of a region: ``"image"`` (version 2) is the
            number of all foreground pixels, ``"class"`` that of the region's class.
        regions: Kind of regions: ``"outlines"`` (version 2), or ``"components"``, the 8-connected
            components of each class with their own pixels only.
        ignore_index: Value of void pixels.

    Returns:
        float32 weights of the same shape and kind, on the same device.

    Raises:
        InputError: If an option is out of range, or a mask has another shape, another type than
            integers, or values outside 0..255.

    >>> size_weights(np.array([[1, 0, 1, 1, 1, 255, 2]]))
    array([[5.       , 1.       , 1.6666666, 1.6666666, 1.6666666, 0.       ,
            5.       ]], dtype=float32)
    """
    check_options(tau, normalizer, regions, ignore_index)
    if isinstance(masks, Tensor):
        found = size_weights(
            masks.detach().cpu().numpy(),
            tau=tau,
            normalizer=normalizer,
            regions=regions,
            ignore_index=ignore_index,
        )
        return torch.from_numpy(found).to(masks.device)
    _check_shape(masks.shape)
    batch = _as_bytes(masks).reshape(-1, *masks.shape[-2:])
    weights = np.ones(batch.shape, np.float32)
    regions_of = _outlines if regions == "outlines" else _components
    for mask, out in zip(batch, weights, strict=True):
        counts = np.bincount(mask.reshape(-1), minlength=_VALUES)
        counts[[0, ignore_index]] = 0
        for class_id in counts.nonzero()[0]:
            total = counts.sum() if normalizer == "image" else counts[class_id]
            for window, inside in regions_of(mask == class_id):
                out[window][inside] = min(tau, total / np.count_nonzero(inside))
        out[mask == ignore_index] = 0
    return weights.reshape(masks.shape)


def check_options(tau: float, normalizer: str, regions: str, ignore_index: int) -> None:
    """Check the options of :func:`size_weights`.

    Raises:
        InputError: If an option is not valid; the message names it and its valid values.
    """
    if not tau >= 1:  # also refuses NaN
        msg = f"tau must be at least 1, not {tau}"
        raise InputError(msg)
    for name, value, valid in (
        ("normalizer", normalizer, NORMALIZERS),
        ("regions", regions, REGIONS),
    ):
        if value not in valid:
            msg = f"{name} must be one of {', '.join(valid)}, not {value!r}"
            raise InputError(msg)
    if not 0 < ignore_index < _VALUES:
        msg = f"ignore_index must lie in 1..{_VALUES - 1}, not {ignore_index}; 0 is background"
        raise InputError(msg)


# --- regions of one class -------------------------------------------------------------------------


def _outlines(of_class: _Bool) -> Iterator[_Region]:
    """Yield the region inside each outline, outer ones before inner ones, in OpenCV's order."""
    outlines, _ = cv2.findContours(
        of_class.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE
    )
    for outline in outlines:
        left, upper, width, height = cv2.boundingRect(outline)
        inside = np.zeros((height, width), np.uint8)
        cv2.drawContours(inside, [outline], 0, 1, cv2.FILLED, offset=(-left, -upper))
        yield _window(left, upper, width, height), inside.astype(np.bool_)


def _components(of_class: _Bool) -> Iterator[_Region]:
    """Yield the 8-connected components as regions."""
    n, labels, statistics, _ = cv2.connectedComponentsWithStats(of_class.astype(np.uint8))
    for label in range(1, n):
        left, upper, width, height, _ = statistics[label].tolist()
        window = _window(left, upper, width, height)
        yield window, labels[window] == label


def _window(left: int, upper: int, width: int, height: int) -> tuple[slice, slice]:
    return slice(upper, upper + height), slice(left, left + width)


# --- input ----------------------------------------------------------------------------------------


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) not in (2, 3) or not all(shape[-2:]):
        msg = f"masks must be (H, W) or (N, H, W) and not empty, not {tuple(shape)}"
        raise InputError(msg)


def _as_bytes(masks: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if masks.dtype == np.uint8:
        return masks
    if masks.dtype.kind not in "iu":
        msg = f"masks must hold integers, not {masks.dtype}; pass class numbers"
        raise InputError(msg)
    if masks.size and not (masks.min() >= 0 and masks.max() < _VALUES):
        msg = (
            f"masks hold values from {masks.min()} to {masks.max()}; background, classes and void "
            f"lie in 0..{_VALUES - 1}"
        )
        raise InputError(msg)
    return masks.astype(np.uint8)
