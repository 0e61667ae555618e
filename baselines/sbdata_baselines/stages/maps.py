"""Class maps: how strongly each class of an image is present at each pixel; and their files."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.storage import inside, is_safe_stem, writing

FloatMap = npt.NDArray[np.float32]

NORMALISATIONS = ("max", "minmax", "softmax")
MAX_CLASS = 254


@dataclass(frozen=True, eq=False)
class ClassMaps:
    """Maps of the classes that are present in one image.

    Attributes:
        classes: Class numbers from 1, ascending; empty for an image without objects.
        maps: Maps in the order of ``classes``, float32 ``(K, H, W)`` in [0, 1].
        background: Background map, float32 ``(H, W)`` in [0, 1], or None if the method has none.
        normalisation: Normalisation of the maps: ``"max"``, ``"minmax"`` or ``"softmax"``.

    Raises:
        InputError: if the parts do not fit together, or a value lies outside [0, 1].
    """

    classes: tuple[int, ...]
    maps: FloatMap
    background: FloatMap | None = None
    normalisation: str = "max"

    def __post_init__(self) -> None:
        fault = _fault_of(self)
        if fault:
            msg = f"class maps {fault}"
            raise InputError(msg)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.maps.shape[1], self.maps.shape[2]


def _fault_of(maps: ClassMaps) -> str | None:
    """Return what is wrong with class maps, as the end of a sentence, or None."""
    if maps.normalisation not in NORMALISATIONS:
        return f"normalised by {maps.normalisation!r}, not by one of {', '.join(NORMALISATIONS)}"
    if maps.maps.dtype != np.float32 or maps.maps.ndim != 3:
        return f"must be float32 of shape (K, H, W), not {maps.maps.dtype} {maps.maps.shape}"
    if len(maps.classes) != len(maps.maps):
        return f"of {len(maps.classes)} classes hold {len(maps.maps)} maps; give one a class"
    if list(maps.classes) != sorted(set(maps.classes)):
        return f"must be in ascending order of their classes, not {maps.classes}"
    if maps.classes and not 1 <= maps.classes[0] <= maps.classes[-1] <= MAX_CLASS:
        return f"have classes outside 1..{MAX_CLASS}: {maps.classes}"
    if not _is_unit(maps.maps):
        return "hold values outside [0, 1]; normalise them first"
    background = maps.background
    if background is None:
        return None
    if background.dtype != np.float32 or background.shape != maps.size:
        return f"of size {maps.size} have a background of {background.dtype} {background.shape}"
    return None if _is_unit(background) else "have a background with values outside [0, 1]"


def _is_unit(values: npt.NDArray[Any]) -> bool:
    """Return True if all values lie in [0, 1]; False for NaN."""
    return values.size == 0 or bool(values.min() >= 0 and values.max() <= 1)


# --- normalisers ----------------------------------------------------------------------------------


def max_normalised(maps: npt.NDArray[Any], eps: float = 1e-5) -> FloatMap:
    """Divide each map by its largest value, as IRN does; negative values become 0.

    Args:
        maps: Activations, ``(K, H, W)``.
        eps: Constant added to the divisor, so that a map of zeros stays zero.

    >>> max_normalised(np.array([[[0.0, 2.0, 4.0]]]), eps=0).tolist()
    [[[0.0, 0.5, 1.0]]]
    """
    positive = np.maximum(maps, 0, dtype=np.float32)
    peak = positive.max(axis=(1, 2), keepdims=True, initial=0)
    return _divided(positive, peak + np.float32(eps))


def minmax_normalised(maps: npt.NDArray[Any], eps: float = 1e-5) -> FloatMap:
    """Stretch each map from its smallest to its largest value, as SEAM and AMN do.

    Args:
        maps: Activations, ``(K, H, W)``.
        eps: Constant added to the divisor, so that a constant map becomes zeros.

    >>> minmax_normalised(np.array([[[-1.0, 1.0, 3.0]]]), eps=0).tolist()
    [[[0.0, 0.5, 1.0]]]
    """
    values = np.asarray(maps, np.float32)
    if values.size == 0:
        return values
    low = values.min(axis=(1, 2), keepdims=True)
    span = values.max(axis=(1, 2), keepdims=True) - low
    return _divided(values - low, span + np.float32(eps))


def _divided(values: FloatMap, divisor: npt.NDArray[Any]) -> FloatMap:
    """Divide; return 0 where both values and divisor are 0."""
    quotient: FloatMap = values / np.maximum(divisor, np.finfo(np.float32).tiny)
    return quotient


# --- the store ------------------------------------------------------------------------------------


def file_of(folder: Path, image_id: str, suffix: str) -> Path:
    """Return the path of the file that a stage stores for an image.

    Raises:
        InputError: if the id is not a valid file name.
    """
    if not is_safe_stem(image_id):
        msg = f"{image_id!r} cannot name a file in {folder}; use ids without slashes"
        raise InputError(msg)
    return inside(folder, image_id + suffix)


def write_maps(folder: Path, image_id: str, maps: ClassMaps) -> Path:
    """Write ``<image_id>.npz`` atomically, with values as float16 (error at most 2.5e-4).

    Raises:
        InputError: if the id is not a valid file name.
    """
    path = file_of(folder, image_id, ".npz")
    arrays: dict[str, npt.NDArray[Any]] = {
        "classes": np.array(maps.classes, np.uint8),
        "maps": maps.maps.astype(np.float16),
        "normalisation": np.array(maps.normalisation),
    }
    if maps.background is not None:
        arrays["background"] = maps.background.astype(np.float16)
    with writing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    return path


def read_maps(folder: Path, image_id: str) -> ClassMaps:
    """Return the maps that :func:`write_maps` wrote; the values are float32 again.

    Raises:
        InputError: if the file is missing, damaged or not a file of class maps.
    """
    path = file_of(folder, image_id, ".npz")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            background = stored.get("background")
            return ClassMaps(
                classes=tuple(stored["classes"].tolist()),
                maps=stored["maps"].astype(np.float32),
                background=None if background is None else background.astype(np.float32),
                normalisation=str(stored["normalisation"]),
            )
    except FileNotFoundError as error:
        msg = f"{path} does not exist; first run the stage that makes these class maps"
        raise InputError(msg) from error
    except (
        OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError,
        InputError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        msg = f"{path}: not a readable file of class maps ({error}); delete it, then run its stage"
        raise InputError(msg) from error
