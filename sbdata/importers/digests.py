"""Hashes of imported masks that do not depend on the compression of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def mask_digest(mask: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 of a mask's size and pixels, independent of the file's compression."""
    header = f"{mask.shape[0]} {mask.shape[1]} ".encode()
    return hashlib.sha256(header + np.ascontiguousarray(mask).tobytes()).hexdigest()


def digest_of(digests: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 over names and hashes, independent of their order."""
    lines = sorted(f"{name} {digest}\n" for name, digest in digests)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
