"""Decode the HTTP content coding of a downloaded file once the download is complete."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from sbdata.fetch.retries import RefusedError

MAX_GROWTH = 200
"""Maximum ratio of decoded to coded size for a file of unknown size; JSON reaches about 20."""

_BLOCK = 2**18
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def undo_coding(
    source: Path, target: Path, coding: str, *, size: int | None, between: Callable[[], None]
) -> None:
    """Decode a coded HTTP body and write the file it contains.

    Args:
        source: Path of the body as it was sent.
        target: Path of the decoded file; overwritten if it exists.
        coding: ``gzip`` or ``deflate`` (RFC 9110, section 8.4.1; the latter means zlib).
        size: Known size of the file in bytes, or None.
        between: Callback run after each block; it may raise.

    Raises:
        RefusedError: If the coding is another one, the body is damaged or truncated, or it decodes
            to more than ``size`` bytes (if ``size`` is None: ``MAX_GROWTH`` times its own size).
    """
    if coding not in _WINDOWS:
        raise RefusedError(f"sends the content coding {coding}, which is not supported")
    limit = size if size is not None else MAX_GROWTH * source.stat().st_size
    written = 0
    with source.open("rb") as coded, target.open("wb") as plain:
        for block in _plain_blocks(coded, coding):
            written += plain.write(block)
            if written > limit:
                raise RefusedError(f"decodes to more than {limit:,} bytes")
            between()


def _plain_blocks(coded: BinaryIO, coding: str) -> Iterator[bytes]:
    decoder = zlib.decompressobj(_WINDOWS[coding])
    while True:
        data = decoder.unconsumed_tail or coded.read(_BLOCK)
        if not data:
            raise RefusedError(f"its {coding} data is truncated")
        try:
            yield decoder.decompress(data, _BLOCK)
        except zlib.error as error:
            raise RefusedError(f"its {coding} data is damaged ({error})") from error
        if decoder.eof:
            rest = decoder.unused_data or coded.read(_BLOCK)
            if coding != "gzip" or not rest:
                return
            coded.seek(-len(rest), 1)  # several gzip members in a row make up one file
            decoder = zlib.decompressobj(_WINDOWS[coding])
