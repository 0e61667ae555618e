"""Near duplicates: find images of a set that a training split also contains.

Images are compared by the Hamming distance of their 64-bit perceptual hashes. A training split is
hashed once. The hashes can be cached in a file by the SHA-256 of the image, so that a cached hash
never belongs to other bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import imagehash
import numpy as np
import numpy.typing as npt
import orjson
import PIL

from sbdata.errors import InputError
from sbdata.fetch.photos import perceptual_hash
from sbdata.images import DAMAGE, open_image
from sbdata.parallel import Progress, run_each
from sbdata.sources import Member, Source
from sbdata.storage import write_bytes

BITS = 64
_PAIRS = 2**22  # compared at once: 32 MiB of XOR
_COLUMNS = 2**14


@dataclass(frozen=True)
class MemberHashes:
    """Perceptual hashes of a split's images.

    Attributes:
        hashes: Perceptual hash (16 hex digits) by source image id, for the images available
            locally.
        unreadable: Number of images that are available but cannot be decoded.
    """

    hashes: Mapping[str, str]
    unreadable: int


def hash_members(
    source: Source,
    members: Sequence[Member],
    *,
    workers: int = 1,
    processes: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> MemberHashes:
    """Hash the images of a training split that are available locally.

    Args:
        source: Source of the images; ``image_bytes`` is called for each.
        members: Images of the split.
        workers: Number of threads or processes.
        processes: True to use processes, for a source that generates its images.
        cache: File of known hashes, which is read and updated; a damaged one is recreated.
        progress: Callback, called with (done, total).
    """
    known = _read_cache(cache)
    # Processes hash again: otherwise, the whole cache would be sent with each member.
    lookup = {} if processes else known
    found = run_each(
        partial(_hash_member, source, lookup),
        members,
        workers=workers,
        processes=processes,
        progress=progress,
    )
    fresh = {sha256: phash for sha256, phash in found if sha256 and phash is not None}
    if cache is not None and fresh.keys() - known.keys():
        _write_cache(cache, {**known, **fresh})
    hashes = {
        member.source_image_id: phash
        for member, (_, phash) in zip(members, found, strict=True)
        if phash is not None
    }
    unreadable = sum(bool(sha256) and phash is None for sha256, phash in found)
    return MemberHashes(hashes, unreadable)


def _hash_member(
    source: Source, known: Mapping[str, str], member: Member
) -> tuple[str, str | None]:
    """Return the SHA-256 of the bytes (empty if absent) and their hash (None if unreadable)."""
    try:
        data = source.image_bytes(member.file_name)
    except (InputError, OSError):
        data = None
    if data is None:
        return "", None
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 in known:
        return sha256, known[sha256]
    try:
        with open_image(io.BytesIO(data)) as image:  # a training split may have PNGs
            return sha256, perceptual_hash(image)
    except DAMAGE:
        return sha256, None


def near_duplicates(
    hashes: Mapping[str, str], training_hashes: Mapping[str, str], bits: int
) -> dict[str, str]:
    """Find the images that have a near duplicate among the training images.

    Args:
        hashes: Perceptual hash (16 hex digits) by image id.
        training_hashes: Perceptual hash by image id of the training split.
        bits: Largest Hamming distance that counts as a near duplicate.

    Returns:
        Id of the nearest training image by image id, only for images that have a near duplicate, in
        sorted order. Ties go to the first training id in sorted order.

    Raises:
        InputError: If a hash is not 16 hex digits.

    >>> near_duplicates({"a": "00000000000000ff", "b": "f" * 16}, {"x": "00000000000000fe"}, 4)
    {'a': 'x'}
    """
    ids, training_ids = sorted(hashes), sorted(training_hashes)
    if not ids or not training_ids:
        return {}
    left = _as_integers([hashes[i] for i in ids])
    right = _as_integers([training_hashes[i] for i in training_ids])
    best = np.full(len(ids), BITS + 1, np.uint8)
    nearest = np.zeros(len(ids), np.int64)
    columns = min(len(right), _COLUMNS)
    rows = max(1, _PAIRS // columns)
    for row in range(0, len(left), rows):
        part = slice(row, row + rows)
        for column in range(0, len(right), columns):
            distance = _bit_count(left[part, None] ^ right[None, column : column + columns])
            place = distance.argmin(axis=1)  # the first of equal ones
            smallest = np.take_along_axis(distance, place[:, None], axis=1)[:, 0]
            closer = smallest < best[part]
            nearest[part][closer] = place[closer] + column
            best[part][closer] = smallest[closer]
    return {ids[i]: training_ids[nearest[i]] for i in np.flatnonzero(best <= bits)}


def _as_integers(hashes: Sequence[str]) -> npt.NDArray[np.uint64]:
    try:
        data = bytes.fromhex("".join(hashes))
        if any(len(text) != BITS // 4 for text in hashes):
            raise ValueError
    except ValueError:
        msg = "a perceptual hash is not 16 hex digits; build the manifest again"
        raise InputError(msg) from None
    return np.frombuffer(data, np.uint64)  # byte order does not affect the distance


def _bit_count(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Count the bits set in each value."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.bitwise_count(values)
    return _bit_count_by_sums(values)


def _bit_count_by_sums(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Count the bits set in each value by adding neighbours: pairs, then fours, eights, ..."""
    counts = values
    for step in range(6):
        shift = np.uint64(1 << step)
        ones = np.uint64((2**64 - 1) // (2 ** (1 << step) + 1))  # 0101..., 0011..., 00001111...
        counts = (counts & ones) + ((counts >> shift) & ones)
    return counts.astype(np.uint8)


# --- the hash cache ------------------------------------------------------------------------------


def _made_with() -> str:
    return f"phash64 imagehash {imagehash.__version__} pillow {PIL.__version__}"


def _read_cache(cache: Path | None) -> Mapping[str, str]:
    """Return SHA-256 -> hash; empty if the file is absent, damaged or of other libraries."""
    if cache is None or not cache.is_file():
        return {}
    try:
        stored = orjson.loads(cache.read_bytes())
        hashes = {str(key): str(value) for key, value in stored["hashes"].items()}
        _as_integers(list(hashes.values()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, InputError):
        return {}
    return hashes if stored.get("made_with") == _made_with() else {}


def _write_cache(cache: Path, hashes: Mapping[str, str]) -> None:
    content = {"made_with": _made_with(), "hashes": hashes}
    write_bytes(cache, orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))
