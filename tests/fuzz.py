"""Mutated bytes of the formats that sbdata reads: an InputError or success, nothing else.

    python -m tests.fuzz --inputs 1000 --seed 0

writes good files of each format, changes their bytes and their values at random, and hands them to
the reader. What ends otherwise is printed with the seed that makes it again, and kept in --keep.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sbdata.errors import InputError
from tests.fuzz_formats import formats

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
            holder[key] = chance.choice(VALUES)
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
    """An input that ended as it must not."""

    format: str
    seed: str
    data: bytes
    error: BaseException


def fuzz(
    folder: Path, inputs: int, seed: int, only: str = "", told: Callable[[str], None] | None = None
) -> list[Found]:
    """Hand mutated files to the readers; return those that ended as they must not.

    Args:
        folder: for files.
        inputs: of each format.
        seed: of the mutations.
        only: the format to try; all by default.
        told: called with a line after each format.
    """
    found: list[Found] = []
    for name, format_ in formats(folder).items():
        if only and name != only:
            continue
        format_.read(format_.good)  # it must be good, or nothing is tried
        refused, began, slowest = 0, time.monotonic(), 0.0
        for number in range(inputs):
            label = f"{seed}:{name}:{number}"
            chance = random.Random(label)
            by_value = format_.values and chance.randrange(2)
            data = (revalued if by_value else mutated)(format_.good, chance)
            begin = time.monotonic()
            try:
                format_.read(data)
            except InputError as error:
                refused += 1
                if len(str(error)) > 4000 or not str(error):
                    found.append(Found(name, label, data, error))
            except Exception as error:
                found.append(Found(name, label, data, error))
            slowest = max(slowest, time.monotonic() - begin)
        if told is not None:
            wrong = sum(one.format == name for one in found)
            told(
                f"{name}: {inputs} inputs, {refused} refused, {inputs - refused - wrong} read, "
                f"{wrong} wrong, {time.monotonic() - began:.1f} s, slowest {slowest:.2f} s"
            )
    return found


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
        last = traceback.extract_tb(one.error.__traceback__)[-1]
        text = str(one.error)[:200]
        print(f"{one.seed}: {type(one.error).__name__}: {text} ({last.filename}:{last.lineno})")
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for one in found:
            (args.keep / one.seed.replace(":", "-")).write_bytes(one.data)
    print(f"{len(found)} inputs ended as they must not")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
