"""Decode NumPy arrays and PyTorch tensors in pickles without either library's unpickling code.

Shapes, types and strides are checked against the bytes present, and PyTorch need not be installed.
Formats: ``ndarray.__reduce__`` and ``__setstate__`` of NumPy; ``_rebuild_tensor_v2`` of PyTorch,
with a storage in the format that ``torch.save`` used before its zip files (four pickles, the
storages' keys, then their bytes), which a pickled tensor still contains.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sbdata.importers.pickles import MAX_STEPS, Maker, Name, PickleError, read_pickle

Array = npt.NDArray[Any]

_NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")
_ORDERS = ("<", ">", "|", "=")
_MAGIC = 0x1950A86A20F9469CFC6C  # magic number of torch.save before zip files
_PROTOCOL = 1001
_STORAGES: Mapping[str, str] = {
    "Bool": "b1",
    "Byte": "u1",
    "Char": "i1",
    "Short": "i2",
    "Int": "i4",
    "Long": "i8",
    "Half": "f2",
    "Float": "f4",
    "Double": "f8",
}


def read_arrays(stream: BinaryIO, steps: int = MAX_STEPS) -> Any:
    """Read a pickle of Python values, NumPy arrays and PyTorch tensors.

    Args:
        stream: Stream at the start of the pickle; it is left after the pickle's end.
        steps: Maximum number of instructions.

    Returns:
        The pickle's value; a NumPy array if it is an array. Arrays inside containers are
        :class:`PickledArray`, for :func:`unwrap`; tensors are always NumPy arrays.

    Raises:
        PickleError: If the pickle contains anything else, or is damaged.
    """
    return unwrap(read_pickle(stream, _ADMITTED, steps=steps))


def unwrap(value: Any) -> Any:
    """Return the array or single object in a pickled array; return other values unchanged.

    Raises:
        PickleError: If a pickle created the array but never filled it.
    """
    if not isinstance(value, PickledArray):
        return value
    if not value.filled:
        msg = "a damaged pickle (an array without its values)"
        raise PickleError(msg)
    return value.values


# --- NumPy ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class PickledType:
    """A NumPy type in a pickle: first its kind and size, then its byte order."""

    kind: str
    order: str = "|"

    def build(self, state: Any) -> None:
        """Set the state of a plain type: version and byte order, without fields."""
        plain = isinstance(state, tuple) and len(state) in (8, 9) and state[2:5] == (None,) * 3
        if not plain or state[1] not in _ORDERS:
            msg = f"an array type that is not a plain number ({self.kind})"
            raise PickleError(msg)
        self.order = state[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type; only numbers are supported."""
        if not _NUMBERS.fullmatch(self.kind):
            msg = f"an array of type {self.kind!r}, which is no number"
            raise PickleError(msg)
        return np.dtype(self.order + self.kind)


@dataclass(eq=False)
class PickledArray:
    """A NumPy array in a pickle: first created empty, then filled with its values."""

    values: Any = None
    filled: bool = False

    def build(self, state: Any) -> None:
        """Set the state of an array: version, shape, type, order, and bytes or objects."""
        if self.filled or not isinstance(state, tuple) or len(state) != 5:
            msg = "a damaged pickle (an invalid array state)"
            raise PickleError(msg)
        _, shape, kind, by_column, data = state
        if not isinstance(kind, PickledType):
            msg = "a damaged pickle (an array without a type)"
            raise PickleError(msg)
        if kind.kind in ("O8", "O4", "O"):
            if not isinstance(data, list) or len(data) != 1 or _pixels(shape) != 1:
                msg = "an array of objects instead of one dictionary"
                raise PickleError(msg)
            self.values = unwrap(data[0])
        else:
            self.values = _filled(data, shape, kind.dtype, "F" if by_column else "C")
        self.filled = True


def _filled(data: Any, shape: Any, dtype: np.dtype[Any], order: Any) -> Array:
    raw = data.encode("latin-1") if isinstance(data, str) else data
    count = _pixels(shape)
    if not isinstance(raw, bytes | bytearray) or len(raw) != count * dtype.itemsize:
        held = len(raw) if isinstance(raw, bytes | bytearray) else "no"
        msg = f"an array of {_times(shape)} x {dtype.itemsize} bytes, of which {held} are present"
        raise PickleError(msg)
    found: Array = np.frombuffer(raw, dtype).reshape(shape, order=order)
    return found


def _pixels(shape: Any) -> int:
    """Return the number of values in a shape from a pickle."""
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(_is_count(n) for n in shape):
        msg = "an array with an impossible shape"
        raise PickleError(msg)
    return math.prod(shape)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _times(shape: Any) -> str:
    return " x ".join(map(str, shape)) or "1"


def _new_array(*_: Any) -> PickledArray:
    return PickledArray()


def _new_type(kind: Any, *_: Any) -> PickledType:
    if not isinstance(kind, str) or not (_NUMBERS.fullmatch(kind) or kind in ("O8", "O4", "O")):
        shown = kind[:20] if isinstance(kind, str) else type(kind).__name__
        msg = f"an array of type {shown!r}, which is not a number"
        raise PickleError(msg)
    return PickledType(kind)


def _number(kind: Any, data: Any = b"") -> Any:
    """Return a NumPy scalar as a Python number."""
    if not isinstance(kind, PickledType):
        msg = "a damaged pickle (a number without a type)"
        raise PickleError(msg)
    return _filled(data, (1,), kind.dtype, "C")[0].item()


def _encoded(text: Any, encoding: Any = "") -> bytes:
    """Return the bytes that a pickle of protocol 2 stores as text."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        msg = "a damaged pickle (bytes in an unknown encoding)"
        raise PickleError(msg)
    return text.encode("latin-1")


def _no_bytes(*arguments: Any) -> bytes:
    """Return the bytes of an empty array in a pickle of protocol 2."""
    if arguments:
        msg = "it calls bytes"
        raise PickleError(msg)
    return b""


def _no_hooks(*arguments: Any) -> dict[Any, Any]:
    """Return the dictionary of a tensor's hooks, which is empty."""
    if arguments:
        msg = "a tensor with hooks"
        raise PickleError(msg)
    return {}


# --- PyTorch --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Storage:
    """Flat values, of which tensors are views."""

    values: Array


@dataclass(frozen=True)
class _StorageName:
    """Description of a storage in its pickle; the bytes follow later."""

    key: str
    dtype: np.dtype[Any]
    count: int


def _loaded_storage(data: Any = b"") -> _Storage:
    """Read a storage in the format that ``torch.save`` used before its zip files."""
    if not isinstance(data, bytes | bytearray):
        msg = "a damaged pickle (an invalid tensor storage)"
        raise PickleError(msg)
    stream = io.BytesIO(data)
    if read_pickle(stream, {}) != _MAGIC or read_pickle(stream, {}) != _PROTOCOL:
        msg = "a tensor's storage in an unknown format"
        raise PickleError(msg)
    system = read_pickle(stream, {})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        msg = "a tensor from a machine of the other byte order"
        raise PickleError(msg)
    said = read_pickle(stream, _STORAGE_NAMES, _storage_name)
    if not isinstance(said, _StorageName) or read_pickle(stream, {}) != [said.key]:
        msg = "a tensor's storage in an unknown format"
        raise PickleError(msg)
    length, raw = stream.read(8), stream.read()
    if length != struct.pack("<q", said.count) or len(raw) != said.count * said.dtype.itemsize:
        wanted = f"{said.count} x {said.dtype.itemsize}"
        msg = f"a tensor's storage of {wanted} bytes, of which {len(raw)} are present"
        raise PickleError(msg)
    return _Storage(np.frombuffer(raw, said.dtype))


def _storage_name(said: Any) -> _StorageName:
    """Convert the tuple ``("storage", type, key, location, count, view)``."""
    if not isinstance(said, tuple) or len(said) != 6 or said[0] != "storage":
        msg = "a tensor's storage in an unknown format"
        raise PickleError(msg)
    _, kind, key, _, count, view = said
    known = isinstance(kind, Name) and kind.text in _STORAGE_NAMES
    if not known or not isinstance(key, str) or not _is_count(count) or view is not None:
        msg = "a tensor's storage in an unknown format"
        raise PickleError(msg)
    name = kind.text.rpartition(".")[2].removesuffix("Storage")
    return _StorageName(key, np.dtype("<" + _STORAGES[name]), count)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Array:
    """Return a tensor as an array; it may not have more elements than its storage has values."""
    count = _pixels(size)
    _pixels(stride)  # checks that these are numbers, and not too many
    if not isinstance(storage, _Storage) or not _is_count(offset) or len(size) != len(stride):
        msg = "a damaged pickle (a tensor without its storage)"
        raise PickleError(msg)
    values = storage.values
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and (last >= values.size or count > values.size):
        msg = f"a tensor of {_times(size)} in a storage of {values.size} values"
        raise PickleError(msg)
    if not count:
        return np.empty(size, values.dtype)
    steps = tuple(step * values.itemsize for step in stride)
    view = np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False)
    found: Array = view.copy()
    return found


_STORAGE_NAMES: Mapping[str, Maker | None] = {
    f"{module}.{kind}Storage": None for module in ("torch", "torch.cuda") for kind in _STORAGES
}

_ADMITTED: Mapping[str, Maker | None] = {
    "numpy.ndarray": None,
    "numpy.dtype": _new_type,
    "numpy.core.multiarray._reconstruct": _new_array,
    "numpy._core.multiarray._reconstruct": _new_array,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
    "_codecs.encode": _encoded,
    "__builtin__.bytes": _no_bytes,
    "collections.OrderedDict": _no_hooks,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": _loaded_storage,
}
