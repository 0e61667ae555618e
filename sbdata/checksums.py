"""``checksums.txt``: the SHA-256 of every file of a set when it was built."""

from __future__ import annotations

import re
from pathlib import Path

from sbdata.errors import InputError
from sbdata.storage import is_safe_name

CHECKSUMS_FILE = "checksums.txt"

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def read_checksums(root: Path) -> dict[str, str]:
    """Return the recorded SHA-256 of each file by its path in the set.

    Raises:
        InputError: If the file is missing or a line is not ``<sha256>  <path>``.
    """
    path = root / CHECKSUMS_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read ({error}); build the set again"
        raise InputError(msg) from error
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None or not is_safe_name(match[2]):
            msg = f"{path}: line {number} is not '<sha256>  <path in the set>'; build the set again"
            raise InputError(msg)
        sums[match[2]] = match[1]
    return sums
