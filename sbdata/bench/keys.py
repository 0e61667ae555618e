"""Keys: hashes of settings, inputs and code, under which the bench keeps what it made."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import sbdata
from sbdata.storage import sha256_of


def hash_of(parts: Any) -> str:
    """Return 16 hex digits for plain values; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@lru_cache(maxsize=16)
def code_of_rooms(*rooms: str, only: tuple[str, ...] = (), but: tuple[str, ...] = ()) -> str:
    """Return a hash of the source of some of sbdata's folders.

    Args:
        rooms: names of folders.
        only: names of files that count; all by default.
        but: names of files that do not.
    """
    root = Path(str(sbdata.__file__)).parent
    files = sorted({file for room in rooms for file in (root / room).rglob("*.py")})
    lines = [
        f"{file.relative_to(root).as_posix()} {sha256_of(file)}"
        for file in files
        if file.name not in but and (not only or file.name in only)
    ]
    text = "\n".join([sbdata.__version__, *lines])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
