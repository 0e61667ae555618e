"""Photos: the files that a set accepts as images, and a hash that near duplicates share.

A set holds JPEG files exactly as they were published, because encoding them again would change
pixels. An image in another format is therefore refused and not converted.
"""

from __future__ import annotations

import io
from typing import Literal

import imagehash
from PIL import Image, UnidentifiedImageError

from sbdata.images import DAMAGE, kind_of_file, open_image, orientation_of, turned_how

# MPO: a JPEG with further pictures after the first, as written by phones. The formats in _NAMED
# are only named in messages.
_ACCEPTED = ("JPEG", "MPO")
_NAMED = ("GIF", "WebP", "BMP", "TIFF", "PostScript", "PDF")

PhotoReason = Literal["unreadable_image", "image_format", "image_size"]


class PhotoError(Exception):
    """Error for bytes that cannot serve as an image; rejections are counted by ``reason``.

    ``reason`` is ``unreadable_image`` (truncated, not an image, a decompression bomb),
    ``image_format`` or ``image_size``.
    """

    def __init__(self, reason: PhotoReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: PhotoReason = reason
        self.detail = detail


def open_photo(data: bytes, size: tuple[int, int] | None = None) -> Image.Image:
    """Read a JPEG file's header.

    Args:
        data: Bytes of the file.
        size: Required width and height in pixels, if any. The orientation tag is ignored, because
            annotations ignore it.

    Raises:
        PhotoError: If the bytes are not a JPEG file of that size; it holds the reason.
    """
    if not data:
        raise PhotoError("unreadable_image", "an empty file")
    try:
        image = open_image(io.BytesIO(data))
    except UnidentifiedImageError:
        raise _of_another_kind(data) from None
    except DAMAGE as error:
        raise PhotoError("unreadable_image", str(error)) from error
    if image.format not in _ACCEPTED:
        raise _wrong_format(f"a {image.format} file")
    if size is not None and image.size != size:
        detail = f"{image.width} x {image.height} pixels, but annotated as {size[0]} x {size[1]}"
        orientation = orientation_of(image)
        if orientation >= 5 and image.size == size[::-1]:
            detail += (
                f": its EXIF orientation tag shows it {turned_how(orientation)}, as it was "
                "annotated; save the photo as it is shown, without the tag"
            )
        raise PhotoError("image_size", detail)
    return image


def decode_photo(data: bytes, size: tuple[int, int] | None = None) -> Image.Image:
    """Decode a JPEG file completely, so that truncation is detected.

    The size is compared before anything is decoded, so a small file with a huge image is refused
    after its header is read.

    Args:
        data: Bytes of the file.
        size: Required width and height in pixels, if any, see :func:`open_photo`.

    Raises:
        PhotoError: If the bytes are not a JPEG file of that size, or do not decode.
    """
    image = open_photo(data, size)
    try:
        image.load()
    except DAMAGE as error:
        raise PhotoError("unreadable_image", str(error)) from error
    return image


def perceptual_hash(image: Image.Image) -> str:
    """Return the 64-bit perceptual hash of an image as 16 hex digits (``imagehash.phash``).

    It compares the lowest 8 x 8 frequencies of the grey image, reduced to 32 x 32 pixels, with
    their median; copies that were resized, recompressed or brightened differ in few bits.
    """
    return str(imagehash.phash(image))


def _wrong_format(kind: str) -> PhotoError:
    return PhotoError("image_format", f"{kind}; a set holds JPEG files, so convert it first")


def _of_another_kind(data: bytes) -> PhotoError:
    kind = kind_of_file(data)
    if any(name in kind for name in _NAMED):
        return _wrong_format(kind)
    what = "not an image file" if kind == "something else" else f"{kind}, not an image"
    return PhotoError("unreadable_image", what)
