"""JSON files that may be damaged: read whole, or refused with a one-sentence error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from sbdata.errors import InputError


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
        return orjson.loads(path.read_bytes())
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error}); {remedy}"
        raise InputError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path}: not a readable JSON file ({error}); {remedy}"
        raise InputError(msg) from error
