"""Mutated bytes of the formats that sbdata reads: an InputError or success, nothing else.

    python -m tests.fuzz --inputs 1000 --seed 0

writes good files of each format, changes their bytes and their values at random, and hands them to
the reader. What ends otherwise is printed with the seed that makes it again, and kept in --keep.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sbdata.errors import InputError
from tests.fuzz_formats import Format, formats

TOKENS = [
    b"NaN", b"Infinity", b"-1", b"1e400", b"1.0", b"0", b"18446744073709551616", b"9" * 5000,
    b"null", b"true", b'"0"', b'""', b"[]", b"{}", b"[" * 3000, b'{"a":' * 300, b'"\\ud800"',
    b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\x1b[31m", b"\\", b"../", b"&a [*a]", b"<<", b": ",
    b"!!binary x", b"2020-13-45", b"0x", b"\xc3", b"\xed\xa0\x80", b"-", b"\n", b"\r\n", b"\t",
    b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"<object>", b"&lt;", b"]]>",
]  # fmt: skip
"""What is put into a file, beside random bytes."""

VALUES = [
    None, True, False, 0, -1, 1.5, 2**31, 2**63, 10**400, float("nan"), float("inf"), "", "0", "x",
    "\ud800", "../x", "a\x1b[31m", "é", [], [[]], [1], ["x"], {}, {"a": 1}, {"counts": "0"}, 1e308,
]  # fmt: skip
"""What a value of a JSON file is replaced by."""


def mutated(good: bytes, chance: random.Random) -> bytes:
    """Return the bytes of a good file after one to six changes."""
    data = bytearray(good)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1 and data:
            data[at % len(data)] = chance.randrange(256)
        elif kind == 2:
            del data[at : at + chance.randint(1, 20)]
        elif kind == 3:
            data[at:at] = chance.choice(TOKENS)
        elif kind == 4:
            token = chance.choice(TOKENS)
            data[at : at + len(token)] = token
        elif kind == 5:
            data[at:at] = data[at : at + chance.randint(1, 60)]
        else:
            del data[at:]
    return bytes(data)


def revalued(good: bytes, chance: random.Random) -> bytes:
    """Return a JSON file of which one to three values are others, or gone."""
    tree = json.loads(good)
    for _ in range(chance.randint(1, 3)):
        places = [*_places(tree)]
        holder, key = chance.choice(places)
        if chance.randrange(5) == 0:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(chance.choice(VALUES))
        if not isinstance(tree, dict | list) or not tree:
            break
    return json.dumps(tree).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list) and value[key]:
            yield from _places(value[key])


# --- running --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """An input that ended as it must not.

    Attributes:
        format: Name of the format.
        seed: Seed of the input, see :func:`input_of`.
        data: Bytes of the input.
        error: What it ended with, and where.
    """

    format: str
    seed: str
    data: bytes
    error: str


def input_of(label: str, format_: Format) -> bytes:
    """Return the input of a label ``SEED:FORMAT:NUMBER``."""
    chance = random.Random(label)
    by_value = format_.values and chance.randrange(2)
    return (revalued if by_value else mutated)(format_.good, chance)


def fuzz(
    folder: Path, inputs: int, seed: int, only: str = "", told: Callable[[str], None] | None = None
) -> list[Found]:
    """Hand mutated files to the readers; return those that ended as they must not.

    The readers run in forks, so that one that ends its process is found as well.

    Args:
        folder: Folder for the files.
        inputs: Number of inputs of each format.
        seed: Seed of the mutations.
        only: The format to try; all by default.
        told: Is called with a line after each format.
    """
    found: list[Found] = []
    for name, format_ in formats(folder).items():
        if only and name != only:
            continue
        format_.read(format_.good)  # it must be good, or nothing is tried
        refused, began, slowest, number, wrong = 0, time.monotonic(), 0.0, 0, 0
        while number < inputs:
            labels = [f"{seed}:{name}:{n}" for n in range(number, inputs)]
            for label, error, seconds in _in_a_fork(labels, format_):
                number += 1
                slowest = max(slowest, seconds)
                refused += error == ""
                if error:
                    wrong += 1
                    found.append(Found(name, label, input_of(label, format_), error))
        if told is not None:
            told(
                f"{name}: {inputs} inputs, {refused} refused, {inputs - refused - wrong} read, "
                f"{wrong} wrong, {time.monotonic() - began:.1f} s, slowest {slowest:.2f} s"
            )
    return found


def _in_a_fork(labels: Sequence[str], format_: Format) -> Iterator[tuple[str, str | None, float]]:
    """Read inputs in a child process, until it ends.

    Yields:
        Label, error and seconds of each input: None if it was read, an empty text if it was
        refused as it should. The last one may be the input that ended the process.
    """
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(source)
        with os.fdopen(sink, "w", buffering=1) as stream:
            for label in labels:
                begin = time.monotonic()
                error = _read(input_of(label, format_), format_)
                stream.write(json.dumps([error, time.monotonic() - begin]) + "\n")
        os._exit(0)
    os.close(sink)
    answered = 0
    with os.fdopen(source) as stream:
        for line in stream:
            yield (labels[answered], *json.loads(line))
            answered += 1
    _, status = os.waitpid(child, 0)
    if answered < len(labels):
        yield labels[answered], f"the process ended with status {status}", 0.0


def _read(data: bytes, format_: Format) -> str | None:
    try:
        format_.read(data)
    except InputError as error:
        return "" if 0 < len(str(error)) <= 4000 else f"a message of {len(str(error))} characters"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({last.filename}:{last.lineno})"
    return None


def _told(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000, help="of each format [1000]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one format")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that ended wrong")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        found = fuzz(Path(folder), args.inputs, args.seed, args.only, _told)
    for one in found[:20]:
        print(f"{one.seed}: {one.error}")
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for one in found:
            (args.keep / one.seed.replace(":", "-")).write_bytes(one.data)
    print(f"{len(found)} inputs ended as they must not")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
