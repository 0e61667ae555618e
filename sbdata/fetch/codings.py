"""Undoing what a server did to a file on its way, after the file has come wholly."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from sbdata.fetch.retries import RefusedError

MAX_GROWTH = 200
"""How many times its coded size a file of unknown size may have; JSON comes to about 20."""

_BLOCK = 2**18
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def undo_coding(
    source: Path, target: Path, coding: str, *, size: int | None, between: Callable[[], None]
) -> None:
    """Write the file that a coded body stands for.

    Args:
        source: the body, as it was sent.
        target: the file; written over.
        coding: ``gzip`` or ``deflate`` (RFC 9110, section 8.4.1; the latter means zlib).
        size: that the file is known to have, or None.
        between: called after each block; may raise.

    Raises:
        RefusedError: for another coding, a damaged or cut body, one that unfolds into more than
            ``size`` bytes or, where that is not known, into ``MAX_GROWTH`` times its own.
    """
    if coding not in _WINDOWS:
        raise RefusedError(f"sends the file coded as {coding}, which is not understood")
    limit = size if size is not None else MAX_GROWTH * source.stat().st_size
    written = 0
    with source.open("rb") as coded, target.open("wb") as plain:
        for block in _plain_blocks(coded, coding):
            written += plain.write(block)
            if written > limit:
                raise RefusedError(f"unfolds into more than {limit:,} bytes")
            between()


def _plain_blocks(coded: BinaryIO, coding: str) -> Iterator[bytes]:
    decoder = zlib.decompressobj(_WINDOWS[coding])
    while True:
        data = decoder.unconsumed_tail or coded.read(_BLOCK)
        if not data:
            raise RefusedError(f"its {coding} coding ends too early")
        try:
            yield decoder.decompress(data, _BLOCK)
        except zlib.error as error:
            raise RefusedError(f"its {coding} coding is damaged ({error})") from error
        if decoder.eof:
            rest = decoder.unused_data or coded.read(_BLOCK)
            if coding != "gzip" or not rest:
                return
            coded.seek(-len(rest), 1)  # gzip members may follow each other; they are one file
            decoder = zlib.decompressobj(_WINDOWS[coding])
