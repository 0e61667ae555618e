"""Read the number arrays of a structure in a MATLAB 5 file, within limits.

``scipy.io.loadmat`` (1.17.1) ends the process on some damaged files, and makes as many cells as a
header announces. SBD needs only number arrays in one structure, so the elements of the file are
walked here: every length and shape is compared with the bytes that are there, compressed parts are
unpacked up to a limit, and everything else (SBD's cells of boundaries) is passed over.

Format: MathWorks, MAT-File Level 5 File Format: 128 bytes of text, version and byte order, then
elements with a tag of type and length each. A matrix is an element that holds elements: flags,
shape, name and content. A structure's content is the length of a field name, all field names, and
one matrix a field; that of a number array is one element, perhaps of a smaller type than its own.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.limits import MAX_MAT_BYTES
from sbdata.quoting import quoted

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _FIRST_NUMBER, _LAST_NUMBER = 2, 6, 15  # array classes: double is 6, uint64 is 15
_COMPLEX = 0x08  # flag of an array with an imaginary part
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
"""NumPy types of the element types that hold numbers."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_CUT = "a damaged or cut MATLAB file; fetch it again"


class MatError(Exception):
    """MATLAB file that is refused; the text is the end of a sentence with the remedy."""


@dataclass(frozen=True)
class _Element:
    """One element: its type, its content, and the byte order of the file."""

    kind: int
    content: memoryview
    order: str

    def parts(self) -> Iterator[_Element]:
        """Yield the elements that the content consists of."""
        data, place = self.content, 0
        while place < len(data):
            if place + 8 > len(data):
                raise MatError(_CUT)
            kind, length = struct.unpack_from(f"{self.order}2I", data, place)
            start, following = place + 8, place + 8 + length + -length % 8
            if kind >> 16:  # a small element has its length and data within the tag
                kind, length, start, following = kind & 0xFFFF, kind >> 16, place + 4, place + 8
                if length > 4:
                    raise MatError(_CUT)
            if start + length > len(data):
                raise MatError(_CUT)
            yield _Element(kind, data[start : start + length], self.order)
            place = start + length if kind == _COMPRESSED else following

    def numbers(self) -> npt.NDArray[Any]:
        """Return the content as numbers, flat."""
        name = _NUMBERS.get(self.kind)
        if name is None or len(self.content) % int(name[1]):
            raise MatError(_CUT)
        return np.frombuffer(self.content, np.dtype(f"{self.order}{name}"))


@dataclass(frozen=True)
class _Matrix:
    """A matrix, whose content is not read yet."""

    array_class: int
    complex: bool
    shape: tuple[int, ...]
    name: str
    content: tuple[_Element, ...]

    def array(self, field: str) -> npt.NDArray[Any]:
        """Return a real array of numbers, in its shape."""
        if not _FIRST_NUMBER <= self.array_class <= _LAST_NUMBER or self.complex:
            raise MatError(f"its {field} is not an array of real numbers; give the file of SBD")
        flat = self.content[0].numbers() if self.content else np.empty(0, np.uint8)
        if math.prod(self.shape) != flat.size:
            raise MatError(_CUT)
        return flat.reshape(self.shape, order="F")


def read_mat_struct(
    path: Path, variable: str, fields: Collection[str]
) -> dict[str, npt.NDArray[Any]]:
    """Return some fields, arrays of numbers, of a variable that is a structure of size 1 x 1.

    Args:
        path: MATLAB 5 file.
        variable: Name of the variable.
        fields: Names of the fields.

    Raises:
        MatError: If the file cannot be read, is of another kind, or lacks the variable or a field,
            or a field holds something other than real numbers.
    """
    try:
        return _read(path, variable, fields)
    except (OSError, zlib.error, struct.error, StopIteration, ValueError) as error:
        raise MatError(_CUT) from error


def _read(path: Path, variable: str, fields: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    names = []
    for element in _top_elements(path):
        if element.kind != _MATRIX:
            continue
        matrix = _matrix(element)
        if matrix.name == variable:
            found = _fields(matrix, variable)
            lacking = [field for field in fields if field not in found]
            if lacking:
                raise MatError(f"its {variable} has no field {lacking[0]}; give the file of SBD")
            return {field: found[field].array(f"{variable}.{field}") for field in fields}
        names.append(matrix.name)
    held = ", ".join(map(quoted, names[:3])) or "no variable"
    raise MatError(f"holds {held}, not {variable!r}; give the file of SBD")


def _top_elements(path: Path) -> Iterator[_Element]:
    """Yield a file's elements; compressed ones unpacked."""
    size = path.stat().st_size
    if size > MAX_MAT_BYTES:
        raise MatError(f"{size:,} bytes, over the limit of {MAX_MAT_BYTES:,}; give the file of SBD")
    data = path.read_bytes()
    if _HDF5 in data[:1024]:
        raise MatError("a MATLAB 7.3 file (HDF5); give SBD's own, or save it with '-v7'")
    if not data.startswith(b"MATLAB 5.0 MAT-file") or data[126:128] not in (b"IM", b"MI"):
        raise MatError("not a MATLAB 5 file; fetch it again")
    order = "<" if data[126:128] == b"IM" else ">"
    left = MAX_MAT_BYTES
    for element in _Element(0, memoryview(data)[_HEADER_BYTES:], order).parts():
        if element.kind != _COMPRESSED:
            yield element
            continue
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(element.content, left + 1)
        left -= len(unpacked)
        if left < 0:
            raise MatError(f"unfolds to more than {MAX_MAT_BYTES:,} bytes; give the file of SBD")
        if not unpacker.eof:
            raise MatError(_CUT)
        yield from _Element(0, memoryview(unpacked), order).parts()


def _matrix(element: _Element) -> _Matrix:
    if element.kind != _MATRIX:
        raise MatError(_CUT)
    flags, shape, name, *content = element.parts()
    word = int(flags.numbers()[0])
    sizes = tuple(shape.numbers().tolist())
    if min(sizes, default=-1) < 0 or not all(isinstance(size, int) for size in sizes):
        raise MatError(_CUT)
    text = bytes(name.content).decode("ascii")
    return _Matrix(word & 0xFF, bool(word >> 8 & _COMPLEX), sizes, text, tuple(content))


def _fields(matrix: _Matrix, variable: str) -> dict[str, _Matrix]:
    if matrix.array_class != _STRUCT or matrix.shape != (1, 1):
        raise MatError(f"its {variable} is not a structure of size 1 x 1; give the file of SBD")
    length, names, *values = matrix.content
    width, text = int(length.numbers()[0]), bytes(names.content)
    if width < 1 or len(text) != width * len(values):
        raise MatError(_CUT)
    named = [
        text[place : place + width].split(b"\0", 1)[0].decode("ascii")
        for place in range(0, len(text), width)
    ]
    return {name: _matrix(value) for name, value in zip(named, values, strict=True)}
