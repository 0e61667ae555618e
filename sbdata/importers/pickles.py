"""Read pickles without executing code.

A pickle is a program for a small stack machine, and Python's own reader lets it import and call
anything it names. The published ``.npy`` files do not need that: they are dictionaries of arrays.
This reader supports the instructions that such files contain. A global that is not allowed, or an
instruction that creates objects of other classes, raises an error before anything is created.
Allowed names are not imported either: they are mapped to functions of this package.
"""

from __future__ import annotations

import codecs
import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, runtime_checkable

from sbdata.printable import printable

MAX_STEPS = 20_000
"""Maximum instructions of one pickle. A dictionary of 80 maps has about 2,500."""

_SHOWN = 120  # maximum characters shown of a text from a file
_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING",
    "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleError(Exception):
    """Error for a pickle that is damaged or needs more than is allowed; the text gives details."""


@runtime_checkable
class Buildable(Protocol):
    """A value that a pickle creates in two steps: first the object, then its state."""

    def build(self, state: Any) -> None:
        """Set the state from a pickle.

        Raises:
            PickleError: If the state is not valid for this kind of value.
        """


Maker = Callable[..., Any]
"""Function that creates a value from a pickle's arguments, which are unchecked."""


@dataclass(frozen=True)
class Name:
    """An allowed global that a pickle names; it is not imported."""

    text: str


@dataclass
class _Machine:
    """The state of reading one pickle."""

    admitted: Mapping[str, Maker | None]
    resolve: Callable[[Any], Any] | None
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            msg = "a damaged pickle (a mark where a value belongs)"
            raise PickleError(msg)
        return value

    def pop_many(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def pop_to_mark(self) -> list[Any]:
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]


def read_pickle(
    stream: BinaryIO,
    admitted: Mapping[str, Maker | None],
    resolve: Callable[[Any], Any] | None = None,
    *,
    steps: int = MAX_STEPS,
) -> Any:
    """Read one pickle of literals, lists, tuples, dictionaries and allowed globals.

    Args:
        stream: Stream at the start of the pickle; it is left after the pickle's end.
        admitted: Allowed globals, as ``module.name``, with the function that creates a value from
            the arguments that follow; None for globals that are never called.
        resolve: Function that returns the object of a persistent id, if such ids may occur.
        steps: Maximum number of instructions.

    Returns:
        Python's built-in values, and those of the functions in ``admitted``.

    Raises:
        PickleError: If the pickle needs anything else (the message names it) or is damaged (the
            message says where).

    >>> import io, pickle
    >>> read_pickle(io.BytesIO(pickle.dumps({"keys": [1, 2]})), {})
    {'keys': [1, 2]}
    >>> read_pickle(io.BytesIO(pickle.dumps(print)), {})
    Traceback (most recent call last):
    sbdata.importers.pickles.PickleError: it asks for builtins.print
    """
    machine = _Machine(admitted, resolve)
    try:
        for step, (name, argument) in enumerate(_instructions(stream)):
            if step == steps:
                msg = f"a pickle of more than {steps:,} instructions"
                raise PickleError(msg)
            if name == "STOP":
                value = machine.pop()
                if not machine.stack:
                    return value
                break
            _perform(name, argument, machine)
    except (LookupError, TypeError, ValueError, ArithmeticError, struct.error) as error:
        msg = f"a damaged pickle ({_short(str(error))})"
        raise PickleError(msg) from error
    msg = "a damaged pickle (it ends with values left over)"
    raise PickleError(msg)


def _instructions(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Yield the instructions of a pickle with their arguments, as ``pickletools.genops`` does.

    ``genops`` refuses Python 2 strings, which hold an array's bytes; here they are read as Latin-1.
    """
    while True:
        code = stream.read(1)
        if not code:
            msg = "it ends without its last instruction"
            raise ValueError(msg)
        opcode = _OPCODES.get(code.decode("latin-1"))
        if opcode is None:
            msg = f"an unknown instruction, {code!r}"
            raise ValueError(msg)
        if opcode.name == "STRING":
            yield opcode.name, _quoted_line(stream)
        else:
            yield opcode.name, None if opcode.arg is None else opcode.arg.reader(stream)


def _quoted_line(stream: BinaryIO) -> str:
    line = stream.readline()
    text = line.rstrip(b"\n").strip()
    if not line.endswith(b"\n") or len(text) < 2 or text[:1] not in b"\"'" or text[:1] != text[-1:]:
        msg = "a text without its quotes"
        raise ValueError(msg)
    decoded: bytes = codecs.escape_decode(text[1:-1])[0]
    return decoded.decode("latin-1")


def _perform(name: str, argument: Any, machine: _Machine) -> None:
    """Perform one instruction; ``pickletools`` in the standard library documents them."""
    stack, memo = machine.stack, machine.memo
    if name in _LITERALS:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name == "MARK":
        stack.append(_MARK)
    elif name == "MEMOIZE":
        memo[len(memo)] = _top(stack)
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[argument] = _top(stack)
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name in _TUPLES:
        stack.append(machine.pop_many(_TUPLES[name]))
    elif name == "TUPLE":
        stack.append(tuple(machine.pop_to_mark()))
    elif name in ("EMPTY_LIST", "EMPTY_DICT"):
        stack.append([] if name == "EMPTY_LIST" else {})
    elif name == "LIST":
        stack.append(machine.pop_to_mark())
    elif name == "DICT":
        stack.append(_filled({}, machine.pop_to_mark()))
    elif name in ("APPEND", "APPENDS"):
        values = [machine.pop()] if name == "APPEND" else machine.pop_to_mark()
        _top(stack, list).extend(values)
    elif name in ("SETITEM", "SETITEMS"):
        pairs = machine.pop_many(2) if name == "SETITEM" else machine.pop_to_mark()
        _filled(_top(stack, dict), pairs)
    elif name == "POP":
        stack.pop()
    elif name == "POP_MARK":
        machine.pop_to_mark()
    elif name == "DUP":
        stack.append(_top(stack))
    elif name == "GLOBAL":
        stack.append(_named(argument.replace(" ", "."), machine))
    elif name == "STACK_GLOBAL":
        stack.append(_named(".".join(map(_text, machine.pop_many(2))), machine))
    elif name == "REDUCE":
        called, arguments = machine.pop_many(2)
        stack.append(_called(called, arguments, machine))
    elif name == "BUILD":
        state = machine.pop()
        target = _top(stack)
        if not isinstance(target, Buildable):
            msg = f"it sets the state of a {type(target).__name__}"
            raise PickleError(msg)
        target.build(state)
    elif name == "BINPERSID" and machine.resolve is not None:
        stack.append(machine.resolve(machine.pop()))
    elif name not in ("PROTO", "FRAME"):
        msg = f"it holds the instruction {name}, which no dictionary of arrays needs"
        raise PickleError(msg)


def _top(stack: list[Any], kind: type[Any] = object) -> Any:
    value = stack[-1]
    if value is _MARK or not isinstance(value, kind):
        msg = f"a damaged pickle (no {kind.__name__} where one belongs)"
        raise PickleError(msg)
    return value


def _filled(target: dict[Any, Any], pairs: list[Any] | tuple[Any, ...]) -> dict[Any, Any]:
    """Add alternating keys and values to a dictionary; only numbers and strings may be keys.

    Nested tuples that each hold the next one twice would take exponential time to hash.
    """
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, str | int):
            msg = f"a dictionary with a {type(key).__name__} as a key"
            raise PickleError(msg)
        target[key] = value
    return target


def _text(value: Any) -> str:
    if not isinstance(value, str):
        msg = "a damaged pickle (a global without a name)"
        raise PickleError(msg)
    return value


def _named(text: str, machine: _Machine) -> Name:
    if text not in machine.admitted:
        msg = f"it asks for {_short(text)}"
        raise PickleError(msg)
    return Name(text)


def _called(name: Any, arguments: Any, machine: _Machine) -> Any:
    if not isinstance(name, Name) or not isinstance(arguments, tuple):
        msg = f"it calls a {type(name).__name__}"
        raise PickleError(msg)
    maker = machine.admitted[name.text]
    if maker is None:
        msg = f"it calls {name.text}"
        raise PickleError(msg)
    return maker(*arguments)


def _short(text: str) -> str:
    """Return a text from a file in a form to show: printable, and not too long."""
    plain = printable(text[: _SHOWN + 1])
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}..."
