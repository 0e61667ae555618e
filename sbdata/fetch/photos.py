"""Photos: which bytes a set takes for an image, and the hash that near duplicates share.

A set holds JPEG files as they were published, byte for byte, because encoding them again would
change pixels. An image in another format is therefore refused and not converted.
"""

from __future__ import annotations

import io
import struct
from typing import Literal

import imagehash
from PIL import Image, UnidentifiedImageError

# Recognised, so that a refusal can name them; only the first is ever decoded.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
_ACCEPTED = ("JPEG", "MPO")  # MPO: a JPEG with further pictures behind the first, as phones write
_DAMAGE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


PhotoReason = Literal["unreadable_image", "image_format", "image_size"]


class PhotoError(Exception):
    """Bytes that cannot serve as an image; ``reason`` is the slug that rejections are counted by.

    The slugs are ``unreadable_image`` (truncated, not an image, a decompression bomb),
    ``image_format`` and ``image_size``.
    """

    def __init__(self, reason: PhotoReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: PhotoReason = reason
        self.detail = detail


def open_photo(data: bytes, size: tuple[int, int] | None = None) -> Image.Image:
    """Read a JPEG file's header.

    Args:
        data: the file's bytes.
        size: the width and height it must have, if any. The orientation tag is ignored, as
            annotations do.

    Raises:
        PhotoError: with the reason.
    """
    if not data:
        raise PhotoError("unreadable_image", "an empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise PhotoError("unreadable_image", _what_else(data)) from None
    except _DAMAGE as error:
        raise PhotoError("unreadable_image", str(error)) from error
    if image.format not in _ACCEPTED:
        detail = f"a {image.format} file; a set holds JPEG files, convert it before building"
        raise PhotoError("image_format", detail)
    if size is not None and image.size != size:
        detail = f"{image.width} x {image.height} pixels, annotated as {size[0]} x {size[1]}"
        raise PhotoError("image_size", detail)
    return image


def decode_photo(data: bytes, size: tuple[int, int] | None = None) -> Image.Image:
    """Decode a JPEG file wholly, so that truncation is found.

    The size is compared before anything is decoded: a small file that unfolds into a huge image is
    refused for the price of its header. Arguments and errors as :func:`open_photo`.
    """
    image = open_photo(data, size)
    try:
        image.load()
    except _DAMAGE as error:
        raise PhotoError("unreadable_image", str(error)) from error
    return image


def perceptual_hash(image: Image.Image) -> str:
    """Return the 64-bit perceptual hash of an image as 16 hex digits (``imagehash.phash``).

    It compares the lowest 8 x 8 frequencies of the grey image, reduced to 32 x 32 pixels, with
    their median; copies that were resized, recompressed or brightened differ in few bits.
    """
    return str(imagehash.phash(image))


def _what_else(data: bytes) -> str:
    begin = data[:512].lstrip().lower()
    if begin.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "a web page, not an image"
    return "not an image file"
