"""Where the elements of a large JSON file's arrays lie, found without building Python objects.

COCO's annotation files are one JSON object whose arrays hold up to a million objects; parsed whole
they take gigabytes. Here one pass over the bytes, block by block, notes for each element of the
wanted top-level arrays where it starts and stops, and the values of a few integer fields, so that
a reader can fetch and parse just the elements it needs. Any key order and white space will do;
strings may hold escapes and brackets. The pass checks what it relies on (brackets, and the grammar
outside the elements); an element's own text is checked when it is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.quoting import quoted
from sbdata.text_files import BYTE_ORDER_MARK, other_kind

MISSING = np.iinfo(np.int64).min
"""The value of a field that an element lacks, or has as something other than an integer."""

_TENTH = np.int64(922_337_203_685_477_580)  # of 2**63
_BLOCK = 1 << 20
_LONGEST_NAME = 64
_DEEPEST = 256

# What the scanner expects next.
_FILE, _FIRST_KEY, _KEY, _COLON, _VALUE, _SCALAR, _AFTER_VALUE, _END = range(8)
_FIRST_ELEMENT, _ELEMENT, _AFTER_ELEMENT = range(8, 11)
_FIELD_NAME, _FIELD_VALUE, _SKIP = range(11, 14)

# Where it keeps what it must remember from one block to the next.
_MODE, _DEPTH, _IN_STRING, _ESCAPED, _NAME_SIZE, _ARRAY, _START = range(7)
_FIELD, _DIGITS, _NEGATIVE, _NUMBER, _RETURN_DEPTH, _RETURN_MODE = range(7, 13)
_STATE_SIZE = 13

# What can be wrong; 0 is nothing.
_UNEXPECTED, _MISMATCHED, _TOO_DEEP, _NOT_AN_ARRAY, _NOT_AN_OBJECT = range(1, 6)


@dataclass(frozen=True, eq=False)
class Spans:
    """The elements of one array, in the file's order.

    Attributes:
        start: int64 byte offsets of each element's opening brace.
        stop: int64 byte offsets just behind its closing brace.
        fields: int64 values by field name, ``MISSING`` where an element has no such integer.
    """

    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    fields: Mapping[str, npt.NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.start)


def find_spans(path: Path, arrays: Sequence[str], fields: Sequence[str]) -> dict[str, Spans]:
    """Find the objects in some top-level arrays of a JSON file.

    The file is read once, in blocks of 1 MiB.

    Args:
        path: of a JSON file with an object at its top.
        arrays: keys of the wanted arrays of objects, written without escapes.
        fields: keys of integer fields of those objects to read on the way.

    Returns:
        The spans of each wanted array that the file has.

    Raises:
        InputError: if the file cannot be read, is not JSON, ends early, or holds something else
            than an array of objects under a wanted key.
    """
    state = np.zeros(_STATE_SIZE, np.int64)
    state[_ARRAY], state[_FIELD] = -1, -1
    stack = np.zeros(_DEEPEST, np.uint8)
    name = np.zeros(_LONGEST_NAME, np.uint8)
    matters = np.zeros(256, np.bool_)
    matters[np.frombuffer(b'"[]{}', np.uint8)] = True
    seen = np.zeros(len(arrays), np.int64)
    array_names, field_names = _text_table(arrays), _text_table(fields)
    current = np.empty(len(fields), np.int64)
    # An element and its comma take three bytes at least, so a block never fills these.
    most = _BLOCK // 3 + 2
    which = np.empty(most, np.int64)
    spans = np.empty((most, 2), np.int64)
    values = np.empty((most, len(fields)), np.int64)
    found: list[tuple[npt.NDArray[np.int64], ...]] = []
    position = 0
    try:
        with path.open("rb", buffering=0) as stream:
            while block := stream.read(_BLOCK):
                data = np.frombuffer(block, np.uint8)
                if position == 0 and (kind := other_kind(block[:8])):
                    msg = f"{path}: not a JSON file but {kind}"
                    raise InputError(msg)
                if position == 0 and block.startswith(BYTE_ORDER_MARK):
                    data = data[3:]
                    position = 3
                count, problem, at = _scan_block(
                    data, position, state, stack, name, matters, seen, array_names, field_names,
                    current, which, spans, values,
                )  # fmt: skip
                if problem:
                    raise _not_usable(path, int(problem), position + int(at), int(data[at]))
                if count:
                    parts = (which[:count], spans[:count], values[:count])
                    found.append(tuple(part.copy() for part in parts))
                position += len(data)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        raise InputError(msg) from error
    if state[_MODE] != _END:
        what = "is empty" if state[_MODE] == _FILE else f"ends in the middle, at byte {position}"
        msg = f"{path}: not a complete JSON file, it {what}; download or write it again"
        raise InputError(msg)
    twice = [key for key, times in zip(arrays, seen, strict=True) if times > 1]
    if twice:
        msg = f"{path}: the key {quoted(twice[0])} is given twice; keep one"
        raise InputError(msg)
    return _by_array(found, {key: i for i, key in enumerate(arrays) if seen[i]}, fields)


def _by_array(
    found: Sequence[tuple[npt.NDArray[np.int64], ...]],
    present: Mapping[str, int],
    fields: Sequence[str],
) -> dict[str, Spans]:
    result = {}
    for key, number in present.items():
        parts = [
            (spans[which == number], values[which == number]) for which, spans, values in found
        ]
        spans = np.concatenate([p[0] for p in parts] or [np.empty((0, 2), np.int64)])
        values = np.concatenate([p[1] for p in parts] or [np.empty((0, len(fields)), np.int64)])
        result[key] = Spans(
            np.ascontiguousarray(spans[:, 0]),
            np.ascontiguousarray(spans[:, 1]),
            {field: np.ascontiguousarray(values[:, i]) for i, field in enumerate(fields)},
        )
    return result


def _not_usable(path: Path, problem: int, at: int, byte: int) -> InputError:
    seen = repr(chr(byte)) if 32 <= byte < 127 else f"byte {byte:#04x}"
    if problem == _NOT_AN_ARRAY:
        return InputError(
            f"{path}: not a COCO-format file, what starts at byte {at} must be an array of objects"
        )
    if problem == _NOT_AN_OBJECT:
        return InputError(
            f"{path}: not a COCO-format file, the array element at byte {at} is not an object"
        )
    what = {
        _UNEXPECTED: f"{seen} at byte {at} is not expected there",
        _MISMATCHED: f"the bracket {seen} at byte {at} closes another kind of bracket",
        _TOO_DEEP: f"brackets nest deeper than {_DEEPEST} at byte {at}",
    }[problem]
    return InputError(f"{path}: not valid JSON, {what}; download or write it again")


def _text_table(texts: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return one row a text: its length, then its bytes."""
    table = np.zeros((len(texts), _LONGEST_NAME + 1), np.uint8)
    for row, text in zip(table, texts, strict=True):
        encoded = text.encode()
        row[0] = len(encoded)
        row[1 : 1 + len(encoded)] = np.frombuffer(encoded, np.uint8)
    return table


@numba.njit(cache=True)
def _find_text(name, size, table):
    """Return the row of ``table`` that holds the first ``size`` bytes of ``name``, or -1."""
    for row in range(table.shape[0]):
        if table[row, 0] == size:
            same = True
            for i in range(size):
                if table[row, 1 + i] != name[i]:
                    same = False
                    break
            if same:
                return row
    return -1


@numba.njit(cache=True)
def _scan_block(
    data, offset, state, stack, name, matters, seen, array_names, field_names, current,
    which, spans, values,
):  # fmt: skip
    """Go on scanning where the last block stopped; return elements found, problem, its place."""
    quote, backslash = np.uint8(34), np.uint8(92)
    open_brace, close_brace = np.uint8(123), np.uint8(125)
    open_bracket, close_bracket = np.uint8(91), np.uint8(93)
    comma, colon, minus = np.uint8(44), np.uint8(58), np.uint8(45)

    mode, depth = state[_MODE], state[_DEPTH]
    in_string, escaped = state[_IN_STRING], state[_ESCAPED]
    count, problem, i = 0, 0, 0
    while i < data.size:
        byte = data[i]

        if in_string:
            if escaped:
                escaped = 0
                i += 1
                continue
            keep = mode in (_KEY, _FIELD_NAME)
            while byte != quote and byte != backslash:
                # A name longer than the buffer cannot be one that is looked for.
                if keep and state[_NAME_SIZE] < _LONGEST_NAME:
                    name[state[_NAME_SIZE]] = byte
                    state[_NAME_SIZE] += 1
                i += 1
                if i == data.size:
                    break
                byte = data[i]
            if i == data.size:
                break
            if byte == backslash:
                escaped = 1
                state[_NAME_SIZE] = _LONGEST_NAME  # nor can one with escapes
            else:
                in_string = 0
                if mode == _KEY:
                    state[_ARRAY] = _find_text(name, state[_NAME_SIZE], array_names)
                    mode = _COLON
                elif mode == _FIELD_NAME:
                    state[_FIELD] = _find_text(name, state[_NAME_SIZE], field_names)
            i += 1
            continue

        if mode == _SKIP:
            # Nothing matters here but strings and brackets: this is where most bytes are.
            while not matters[byte]:
                i += 1
                if i == data.size:
                    break
                byte = data[i]
            if i == data.size:
                break
            if byte == quote:
                in_string = 1
            elif byte in (open_brace, open_bracket):
                if depth == _DEEPEST:
                    problem = _TOO_DEEP
                    break
                stack[depth] = byte + 2  # its closing bracket
                depth += 1
            else:
                depth -= 1
                if stack[depth] != byte:
                    problem = _MISMATCHED
                    break
                if depth == state[_RETURN_DEPTH]:
                    mode = state[_RETURN_MODE]
            i += 1
            continue

        if byte == 32 or byte == 10 or byte == 13 or byte == 9:
            if mode == _SCALAR:
                mode = _AFTER_VALUE
            elif mode == _FIELD_VALUE and state[_DIGITS] > 0:
                state[_DIGITS] = -state[_DIGITS]  # the number is over
            i += 1
            continue

        if mode in (_FIELD_NAME, _FIELD_VALUE):  # depth 3, inside an element
            if byte == quote:
                in_string = 1
                state[_NAME_SIZE] = 0
                state[_DIGITS] = -99
            elif byte == colon:
                mode = _FIELD_VALUE
                state[_DIGITS], state[_NEGATIVE], state[_NUMBER] = 0, 0, 0
            elif byte in (comma, close_brace):
                digits = abs(state[_DIGITS])
                if mode == _FIELD_VALUE and state[_FIELD] >= 0:
                    number = -state[_NUMBER] if state[_NEGATIVE] else state[_NUMBER]
                    current[state[_FIELD]] = number if 0 < digits <= 19 else MISSING
                state[_FIELD] = -1
                mode = _FIELD_NAME
                if byte == close_brace:
                    depth -= 1
                    which[count] = state[_ARRAY]
                    spans[count, 0], spans[count, 1] = state[_START], offset + i + 1
                    values[count] = current
                    count += 1
                    mode = _AFTER_ELEMENT
            elif byte in (open_brace, open_bracket):
                stack[depth] = byte + 2
                depth += 1
                state[_DIGITS] = -99
                state[_RETURN_DEPTH], state[_RETURN_MODE] = depth - 1, mode
                mode = _SKIP
            elif byte == close_bracket:
                problem = _MISMATCHED
                break
            elif (
                48 <= byte <= 57
                and 0 <= state[_DIGITS] < 19
                and (state[_NUMBER] < _TENTH or (state[_NUMBER] == _TENTH and byte <= 55))
            ):  # at most 2**63 - 1
                state[_NUMBER] = state[_NUMBER] * 10 + np.int64(byte - 48)
                state[_DIGITS] += 1
            elif byte == minus and state[_DIGITS] == 0 and not state[_NEGATIVE]:
                state[_NEGATIVE] = 1
            else:
                state[_DIGITS] = -99  # a fraction, an exponent, true, null: no integer
        elif mode == _AFTER_ELEMENT and byte == comma:
            mode = _ELEMENT
        elif mode in (_AFTER_ELEMENT, _FIRST_ELEMENT) and byte == close_bracket:
            depth -= 1
            mode = _AFTER_VALUE
        elif mode in (_ELEMENT, _FIRST_ELEMENT):
            if byte != open_brace:
                problem = _NOT_AN_OBJECT
                break
            stack[depth] = close_brace
            depth += 1
            state[_START], state[_FIELD] = offset + i, -1
            current[:] = MISSING
            mode = _FIELD_NAME
        elif mode == _FILE and byte == open_brace:
            stack[0] = close_brace
            depth = 1
            mode = _FIRST_KEY
        elif mode in (_FIRST_KEY, _KEY) and byte == quote:
            in_string = 1
            state[_NAME_SIZE] = 0
            mode = _KEY
        elif mode == _COLON and byte == colon:
            mode = _VALUE
            if state[_ARRAY] >= 0:
                seen[state[_ARRAY]] += 1
        elif mode == _VALUE:
            wanted = state[_ARRAY] >= 0
            if wanted and byte != open_bracket:
                problem = _NOT_AN_ARRAY
                break
            if byte in (open_brace, open_bracket):
                stack[depth] = byte + 2
                depth += 1
                state[_RETURN_DEPTH], state[_RETURN_MODE] = 1, _AFTER_VALUE
                mode = _FIRST_ELEMENT if wanted else _SKIP
            elif byte == quote:
                in_string = 1
                mode = _AFTER_VALUE
            elif byte == minus or 48 <= byte <= 57 or 97 <= byte <= 122:
                mode = _SCALAR
            else:
                problem = _UNEXPECTED
                break
        elif mode in (_AFTER_VALUE, _SCALAR) and byte == comma:
            mode = _KEY
        elif mode in (_AFTER_VALUE, _SCALAR, _FIRST_KEY) and byte == close_brace:
            depth = 0
            mode = _END
        elif mode == _SCALAR and (
            48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122
            or byte == 43 or byte == minus or byte == 46
        ):  # fmt: skip
            pass  # digits, letters, signs and points
        else:
            problem = _UNEXPECTED
            break
        i += 1
    state[_MODE], state[_DEPTH] = mode, depth
    state[_IN_STRING], state[_ESCAPED] = in_string, escaped
    return count, problem, i
