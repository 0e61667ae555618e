"""Records of a large JSON file's arrays: where each lies, and the records at some places.

COCO's annotation files are one JSON object whose arrays hold up to a million records; parsed whole
they take gigabytes. msgspec checks the whole text without building its values, so that only the
bytes of a record and its ids are noted here; a reader fetches and parses the records it needs.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from sbdata.errors import InputError
from sbdata.quoting import quoted
from sbdata.text_files import BYTE_ORDER_MARK, other_kind

Record = dict[str, Any]
_Buffer = mmap.mmap | bytes | bytearray

MISSING = np.iinfo(np.int64).min
"""The value of an id that a record lacks, or has as something else than an integer of 63 bits."""

_LARGEST = 2**63 - 1
_DEEPEST = 256
_OPENING, _CLOSING = np.frombuffer(b"[{", np.uint8), np.frombuffer(b"]}", np.uint8)
_BLOCK = 1 << 20
_BATCH = 1024  # records parsed in one go
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_HALF = re.compile(
    rb"\\(?:u[dD][89a-fA-F][0-9a-fA-F]{2}|.)", re.DOTALL
)  # of a character; or another escape
# What Python's json reads and msgspec refuses: no numbers, and lone halves of characters.
_LENIENT = re.compile(rb"NaN|Infinity|\\u[dD][89a-fA-F]")
_NO_NUMBER = re.compile(_STRING.pattern + rb"|NaN|-?Infinity", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Records:
    """The records of one array, in the file's order.

    Attributes:
        span: int64 ``(n, 2)``, where the bytes of each record start and stop.
        id: int64, ``MISSING`` where a record has no such integer, as in the next two.
        image_id: int64.
        category_id: int64.
    """

    span: npt.NDArray[np.int64]
    id: npt.NDArray[np.int64]
    image_id: npt.NDArray[np.int64]
    category_id: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.span)


_Id = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]


class _Ids(msgspec.Struct):
    """The ids of a record; msgspec passes over its other values."""

    id: _Id = MISSING
    image_id: _Id = MISSING
    category_id: _Id = MISSING


class _Key:
    """A key of the file's object; it equals no other, so that one given twice is seen twice."""

    def __init__(self, text: str) -> None:
        self.text = text


_TOP = msgspec.json.Decoder(dict[_Key, msgspec.Raw], dec_hook=lambda _, text: _Key(text))
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_RECORD = msgspec.json.Decoder(_Ids)


def find_records(path: Path, arrays: Sequence[str]) -> dict[str, Records]:
    """Find the records in some arrays of a JSON file.

    Args:
        path: JSON file with an object at its top.
        arrays: Keys of the wanted arrays of records.

    Returns:
        The records of each wanted array that the file has.

    Raises:
        InputError: if the file cannot be read, is not JSON, ends early, or holds something else
            than an array of objects under a wanted key.
    """
    try:
        with path.open("rb") as stream:
            begin = stream.read(8)
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if begin else b""
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        raise InputError(msg) from error
    if kind := other_kind(begin):
        msg = f"{path}: not a JSON file but {kind}"
        raise InputError(msg)
    try:
        try:
            return _find(path, data, arrays)
        except msgspec.DecodeError:
            if not _LENIENT.search(data):
                raise
            return _find(path, _plain_copy(data), arrays)
    except msgspec.ValidationError as error:
        msg = f"{path}: not a COCO-format file, no object with arrays is at its top"
        raise InputError(msg) from error
    except msgspec.DecodeError as error:
        raise _not_json(path, data, str(error)) from error
    except RecursionError as error:
        raise _too_deep(path) from error


def parse_records(descriptor: int, path: Path, span: npt.NDArray[np.int64]) -> list[Record]:
    """Read and parse the records at some places of an open file.

    Args:
        descriptor: Descriptor of the open file.
        path: Path of the file, for messages.
        span: Start and stop of each record, in bytes, ``(N, 2)`` int64.

    Raises:
        InputError: naming the place of a record that is broken.
    """
    texts = [os.pread(descriptor, stop - start, start) for start, stop in span.tolist()]
    try:
        records: list[Record] = orjson.loads(b"[" + b",".join(texts) + b"]")
    except orjson.JSONDecodeError:  # one of them is broken, or has NaN, which some writers emit
        starts = span[:, 0].tolist()
        return [_parse_leniently(t, path, start) for t, start in zip(texts, starts, strict=True)]
    return records


def read_records(path: Path, span: npt.NDArray[np.int64]) -> Iterator[Record]:
    """Read and parse the records at any number of places of a file, a batch at a time."""
    with path.open("rb") as stream:
        for i in range(0, len(span), _BATCH):
            yield from parse_records(stream.fileno(), path, span[i : i + _BATCH])


def _parse_leniently(text: bytes, path: Path, start: int) -> Record:
    try:
        record: Record = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not valid JSON in the record at byte {start}; download or write it again"
        raise InputError(msg) from error
    return record


def _find(path: Path, data: _Buffer, arrays: Sequence[str]) -> dict[str, Records]:
    text = memoryview(data)
    values: dict[str, msgspec.Raw] = {}
    for key, value in _TOP.decode(text[_mark(data) :]).items():
        if key.text not in arrays:
            if _depth(bytes(value)) >= _DEEPEST:
                raise _too_deep(path)
        elif key.text in values:
            msg = f"{path}: the key {quoted(key.text)} is given twice; keep one"
            raise InputError(msg)
        else:
            values[key.text] = value
    return {key: _records(path, data, values[key]) for key in arrays if key in values}


def _records(path: Path, data: _Buffer, array: msgspec.Raw) -> Records:
    start = at = _address(array) - _address(data)
    if bytes(memoryview(array)[:1]) != b"[":
        what = f"what starts at byte {at} must be an array of objects"
        msg = f"{path}: not a COCO-format file, {what}"
        raise InputError(msg)
    texts = _LIST.decode(array)
    table = np.empty((len(texts), 5), np.int64)
    for i, raw in enumerate(texts):
        text = bytes(raw)
        if text[:1] != b"{":
            at = start + _address(raw) - _address(array)
            what = f"the array element at byte {at} is not an object"
            msg = f"{path}: not a COCO-format file, {what}"
            raise InputError(msg)
        if _depth(text) > _DEEPEST - 2:
            raise _too_deep(path)
        at = data.find(b"{", at)  # between records there are white space and a comma
        table[i] = (at, at + len(text), *_ids(text))
        at += len(text)
    return Records(*(np.ascontiguousarray(c) for c in (table[:, :2], *table.T[2:])))


def _ids(text: bytes) -> tuple[int, int, int]:
    try:
        ids = _RECORD.decode(text)
    except msgspec.DecodeError:  # one of them is no such integer
        try:
            record = json.loads(text)
        except ValueError:  # whoever parses it will say where
            record = {}
        a, b, c = (_id(record.get(key)) for key in ("id", "image_id", "category_id"))
        return a, b, c
    return ids.id, ids.image_id, ids.category_id


def _id(value: Any) -> int:
    return value if type(value) is int and abs(value) <= _LARGEST else MISSING


def _mark(data: _Buffer) -> int:
    return 3 if data[:3] == BYTE_ORDER_MARK else 0


def _address(data: Any) -> int:
    """Return the place in memory of the bytes of a buffer."""
    return int(np.frombuffer(data, np.uint8).ctypes.data)


def _depth(text: bytes) -> int:
    """Return how deep the brackets of a JSON text nest, or 0 if there are too few to matter."""
    if text.count(b"[") + text.count(b"{") < _DEEPEST - 2:
        return 0
    bare = np.frombuffer(_STRING.sub(b"", text), np.uint8)
    depth = deepest = 0
    for i in range(0, len(bare), _BLOCK):
        block = bare[i : i + _BLOCK]
        steps = np.isin(block, _OPENING).astype(np.int64) - np.isin(block, _CLOSING)
        depths = depth + np.cumsum(steps)
        depth, deepest = int(depths[-1]), max(deepest, int(depths.max()))
    return deepest


def _plain_copy(data: _Buffer) -> bytearray:
    """Return a text of the same length with other values where msgspec is stricter than json."""
    plain = bytearray(data)
    for found in _NO_NUMBER.finditer(data):
        token = found[0]
        if token[:1] != b'"':
            plain[found.start() : found.end()] = b"0." + b"0" * (len(token) - 2)
        elif b"\\" in token:
            token = _HALF.sub(lambda m: b"\\u0000" if len(m[0]) == 6 else m[0], token)
            plain[found.start() : found.end()] = token
    return plain


def _not_json(path: Path, data: _Buffer, reason: str) -> InputError:
    """Return the error for a text that msgspec does not take, with the byte where it went wrong."""
    place = re.search(r" \(byte (\d+)\)$", reason)
    behind = "trailing characters" in reason  # whose place is that of the second one
    at = int(place[1]) + _mark(data) - behind if place else 0
    if "truncated" in reason or at >= len(data):
        blank = not re.compile(rb"\S").search(data, _mark(data))
        what = "is empty" if blank else f"ends in the middle, at byte {len(data)}"
        return InputError(
            f"{path}: not a complete JSON file, it {what}; download or write it again"
        )
    told = reason.removesuffix(place[0]) if place else reason
    told = told.removeprefix("JSON is malformed: ")
    told = f"{told} at byte {at}" if place else told
    return InputError(f"{path}: not valid JSON, {told}; download or write it again")


def _too_deep(path: Path) -> InputError:
    what = f"brackets nest deeper than {_DEEPEST}"
    return InputError(f"{path}: not valid JSON, {what}; download or write it again")
