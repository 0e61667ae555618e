"""Hashes of imported masks, which do not depend on how their files are compressed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def mask_digest(mask: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 of a mask's size and pixels, however its file is compressed."""
    header = f"{mask.shape[0]} {mask.shape[1]} ".encode()
    return hashlib.sha256(header + np.ascontiguousarray(mask).tobytes()).hexdigest()


def digest_of(digests: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 over names and hashes, whatever order they come in."""
    lines = sorted(f"{name} {digest}\n" for name, digest in digests)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
