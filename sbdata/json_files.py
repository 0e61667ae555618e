"""JSON files that may be damaged: read whole, or refused with a one-sentence error.

A byte order mark, which some editors and shells write, is passed over.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import orjson

from sbdata.errors import InputError
from sbdata.text_files import BYTE_ORDER_MARK

T = TypeVar("T")


def read_json(path: Path, remedy: str) -> Any:
    """Return the values of a JSON file.

    Args:
        path: Path of the file.
        remedy: Advice for an unreadable file, for the message.

    Raises:
        InputError: If the file is missing, not JSON, not UTF-8, or nested too deeply; the message
            names it.
    """
    try:
        return orjson.loads(path.read_bytes().removeprefix(BYTE_ORDER_MARK))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error}); {remedy}"
        raise InputError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not a readable JSON file ({error}); {remedy}"
        raise InputError(msg) from error


def decode_json(path: Path, kind: type[T], remedy: str) -> T:
    """Return a JSON file's values as a type that msgspec checks; other keys are passed over.

    Args:
        path: Path of the file.
        kind: Type of the values.
        remedy: Advice for a file of another shape, for the message.

    Raises:
        InputError: If the file cannot be read, is not JSON, or has other types; the message says
            where.
    """
    import msgspec  # 20 ms, which commands that read no such file need not wait

    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(BYTE_ORDER_MARK), type=kind)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error}); check path and permissions"
        raise InputError(msg) from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        msg = f"{path}: not such a JSON file ({error}); {remedy}"
        raise InputError(msg) from error
