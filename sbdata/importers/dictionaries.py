"""Read dictionaries of activation maps in ``.npy`` files, as the methods' own code saves them.

Two families are known. One has class numbers under ``keys`` and a stack of maps; the name of the
stack, and whether the numbers include background, distinguish the layouts. The other has the class
numbers as keys with one map each; only many files together show whether 0 is background or the
first class (:mod:`sbdata.importers.layouts`).
"""

from __future__ import annotations

import hashlib
import io
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.importers.arrays import Array, read_arrays, unwrap
from sbdata.importers.pickles import MAX_STEPS, PickleError
from sbdata.limits import MAX_MAPS_BYTES

Maps = npt.NDArray[np.float32]

KEYS_HIGH_RES = "keys-high-res"
KEYS_BACKGROUND = "keys-background"
PADDED_KEYS = "padded-keys"
KEYS_ATTENTION = "keys-attention"
KEYS_ONLY = "keys-only"
CLASS_DICTIONARY = "class-dictionary"
CRF_DICTIONARY = "crf-dictionary"
NUMBERED = "numbered"
"""Name for both kinds of dictionaries with numbers as keys; other files decide which it is."""

DICTIONARIES: Mapping[str, str] = {
    KEYS_HIGH_RES: "keys, and one map for each in high_res or cam (IRN, CDA, AdvCAM, RIB, ReCAM)",
    KEYS_BACKGROUND: "keys, and one map more than keys, the first for background (AMN)",
    PADDED_KEYS: "keys from 1 behind a 0, and a map for each but that (PuzzleCAM)",
    KEYS_ATTENTION: "keys, and one map for each in attn_highres (CLIP-ES)",
    KEYS_ONLY: "keys without any, as RIB saves for images without objects",
    CLASS_DICTIONARY: "one map a class, under its number from 0 (SEAM, EPS, EDAM, MCTformer, L2G)",
    CRF_DICTIONARY: "one map a class under its number from 1, and background under 0 (PSA's CRF)",
}

_STACKS = ("high_res", "hr_cam", "rw", "attn_highres", "cam")  # the finest first
_PADDED_STACKS = ("hr_cam", "rw", "cam")
_FEW = 6


class LayoutError(Exception):
    """Error for a file with none of the known layouts; the text describes its content."""


@dataclass(frozen=True)
class ClassMaps:
    """Scores of some classes over an image.

    Attributes:
        classes: Numbers of the classes, 1..C.
        maps: Maps, float32 ``(K, h, w)``, one per class. The shape is ``(0, 0, 0)`` if a file names
            no class, since the size of its image is then unknown.
        background: Background map, float32 ``(h, w)``, if the file has one.
    """

    classes: tuple[int, ...]
    maps: Maps
    background: Maps | None = None


NOTHING: Maps = np.empty((0, 0, 0), np.float32)


# NumPy parses the header as a Python literal, with Python's tokenizer.
_BROKEN_HEADER = (
    ValueError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
)


def read_dictionary(path: Path, steps: int = MAX_STEPS) -> tuple[Mapping[str | int, Any], str]:
    """Read the dictionary in a ``.npy`` file without running any code in it.

    Args:
        path: Path of the file.
        steps: Maximum number of instructions in its pickle.

    Returns:
        A mapping of names or numbers to arrays, lists and numbers, and the SHA-256 of the file.

    Raises:
        LayoutError: If the file holds something else, is damaged, or needs more than arrays.
    """
    size = path.stat().st_size
    if size > MAX_MAPS_BYTES:
        msg = f"a file of {size:,} bytes; activation maps of one image are below {MAX_MAPS_BYTES:,}"
        raise LayoutError(msg)
    data = path.read_bytes()
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(stream)
    except _BROKEN_HEADER as error:
        msg = "not a NumPy file (.npy), or one of an unknown version"
        raise LayoutError(msg) from error
    if not dtype.hasobject:
        msg = f"an array of {_about(np.empty(0, dtype), shape)}, not a dictionary"
        raise LayoutError(msg)
    if shape != () or dtype != np.dtype(object):
        msg = "an array of objects, not a dictionary"
        raise LayoutError(msg)
    try:
        found = read_arrays(stream, steps)
        if stream.read(1):
            msg = "a pickle with more bytes after it"
            raise PickleError(msg)
        if not isinstance(found, dict):
            msg = f"{describe(found)}, not a dictionary"
            raise LayoutError(msg)
        return {key: unwrap(value) for key, value in found.items()}, hashlib.sha256(
            data
        ).hexdigest()
    except PickleError as error:
        msg = (
            f"a pickle that is refused: {error}; files of maps consist of numbers, NumPy arrays "
            "and PyTorch tensors. Nothing of it was run: do not open it with numpy.load"
        )
        raise LayoutError(msg) from error


# --- which layout ---------------------------------------------------------------------------------


def layout_of(found: Mapping[str | int, Any]) -> str:
    """Return the layout of a dictionary: a key of ``DICTIONARIES``, or ``NUMBERED``.

    Raises:
        LayoutError: If the dictionary has none of these layouts; the message names its content.
    """
    numbers = [key for key in found if isinstance(key, int) and not isinstance(key, bool)]
    if len(numbers) == len(found):
        _check(all(_is_map(value, 2) for value in found.values()), found)
        return NUMBERED
    _check("keys" in found and not numbers, found)
    keys = _keys(found)
    name = next((name for name in _STACKS if name in found), None)
    if name is None:
        _check(set(found) == {"keys"} and not keys, found)
        return KEYS_ONLY
    _check(_is_map(found[name], 3), found)
    more = len(found[name]) - len(keys)
    if more == -1 and name in _PADDED_STACKS and keys[0] == 0:
        return PADDED_KEYS
    if more == 0 and name == "attn_highres":
        return KEYS_ATTENTION
    if more == 0 and name in ("high_res", "cam"):
        return KEYS_HIGH_RES
    _check(more == 1 and name in ("high_res", "cam"), found)
    return KEYS_BACKGROUND


def _check(fits: bool, found: Mapping[str | int, Any]) -> None:
    if not fits:
        msg = f"{describe(found)}; give dictionaries with " + "; ".join(DICTIONARIES.values())
        raise LayoutError(msg)


def _is_map(value: Any, dimensions: int) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == dimensions and value.dtype.kind in "fiu"


def _keys(found: Mapping[str | int, Any]) -> tuple[int, ...]:
    """Return the class numbers under ``keys``, which is a list, an array or a tensor."""
    keys = found["keys"]
    if isinstance(keys, np.ndarray):
        whole = keys.dtype.kind in "iuf" and bool(
            (np.isfinite(keys) & (keys == keys.round())).all()
        )
        _check(keys.ndim == 1, found)
        if keys.size and not whole:
            msg = f"{describe(found)}: class numbers under 'keys' that are not whole numbers"
            raise LayoutError(msg)
        return tuple(int(key) for key in keys.tolist())
    plain = isinstance(keys, list | tuple) and all(type(key) is int for key in keys)
    _check(plain, found)
    return tuple(keys)


def describe(value: Any) -> str:
    """Return a short description of a pickle's value."""
    if isinstance(value, dict):
        shown = [f"{_name(key)} ({describe_inner(inner)})" for key, inner in _first(value.items())]
        more = ", ..." if len(value) > _FEW else ""
        return f"a dictionary with {', '.join(shown) or 'nothing in it'}{more}"
    return describe_inner(value)


def describe_inner(value: Any) -> str:
    """Return a short description of a value, without its content."""
    if isinstance(value, np.ndarray):
        return _about(value, value.shape)
    if isinstance(value, dict | list | tuple):
        kind = {dict: "dictionary", list: "list", tuple: "tuple"}[type(value)]
        return f"{kind} of {len(value)}"
    return type(value).__name__


def _about(array: Array, shape: tuple[int, ...]) -> str:
    return f"{array.dtype} {' x '.join(map(str, shape))}".strip()


def _first(items: Any) -> list[Any]:
    return [item for _, item in zip(range(_FEW), items, strict=False)]


def _name(key: Any) -> str:
    text = repr(key) if isinstance(key, str) else str(key)
    return text if len(text) <= 40 else f"{text[:40]}..."


# --- what the maps are ----------------------------------------------------------------------------


def maps_of(found: Mapping[str | int, Any], layout: str, classes: int) -> ClassMaps:
    """Return the maps of a dictionary.

    Args:
        found: Dictionary from :func:`read_dictionary`.
        layout: Layout of the dictionary.
        classes: Number of classes, background not counted.

    Raises:
        LayoutError: If the dictionary has another layout, names an unknown class or one class
            twice, or holds values that are not finite.
    """
    seen = layout_of(found)
    numbered = layout in (CLASS_DICTIONARY, CRF_DICTIONARY)
    if (numbered and seen != NUMBERED) or (not numbered and seen not in (layout, KEYS_ONLY)):
        msg = f"{describe(found)}, while the other files are of the layout {layout}"
        raise LayoutError(msg)
    if seen == KEYS_ONLY or not found:
        return ClassMaps((), NOTHING)
    if numbered:
        return _numbered_maps(found, layout, classes)
    stack = next(found[name] for name in _STACKS if name in found)
    keys = _keys(found)
    if layout == PADDED_KEYS:
        return ClassMaps(_classes(keys[1:], 0, classes), _finite(stack))
    numbers = _classes(keys, 1, classes)
    if layout == KEYS_BACKGROUND:
        maps = _finite(stack)
        return ClassMaps(numbers, maps[1:], maps[0])
    return ClassMaps(numbers, _finite(stack))


def _numbered_maps(found: Mapping[Any, Any], layout: str, classes: int) -> ClassMaps:
    keys = sorted(found)
    if len({found[key].shape for key in keys}) > 1:
        msg = f"{describe(found)}: maps of different sizes"
        raise LayoutError(msg)
    maps = _finite(np.stack([found[key] for key in keys]))
    if layout == CLASS_DICTIONARY:
        return ClassMaps(_classes(keys, 1, classes), maps)
    if keys[0] != 0:
        msg = f"{describe(found)}: no background under 0, as the other files have"
        raise LayoutError(msg)
    return ClassMaps(_classes(keys[1:], 0, classes), maps[1:], maps[0])


def _classes(keys: Sequence[int], start: int, classes: int) -> tuple[int, ...]:
    """Return the class numbers 1..C for the numbers in a file, which count from 0 or from 1.

    Args:
        keys: Numbers in the file.
        start: Offset added to them: 1 if they count from 0, 0 if they count from 1.
        classes: Number of classes, C.
    """
    numbers = tuple(key + start for key in keys)
    wrong = [key for key, number in zip(keys, numbers, strict=True) if not 1 <= number <= classes]
    if wrong or len(set(numbers)) < len(numbers):
        said = f"{1 - start}..{classes - start}"
        shown = ", ".join(str(key)[:20] for key in (wrong or keys)[:_FEW])
        msg = f"class numbers {shown}, but each of {said} may occur only once"
        raise LayoutError(msg)
    return numbers


def _finite(maps: Array) -> Maps:
    if 0 in maps.shape[-2:]:
        msg = f"maps without pixels ({_about(maps, maps.shape)})"
        raise LayoutError(msg)
    values = np.asarray(maps, np.float32)
    if not np.isfinite(values).all():
        msg = "maps with values that are not finite"
        raise LayoutError(msg)
    return values
