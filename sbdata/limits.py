"""Limits on the sizes of untrusted input, checked before anything is allocated."""

from __future__ import annotations

MAX_PIXELS = 89_478_485
"""Largest number of pixels of an image; Pillow warns when it opens larger ones."""

MAX_JPEG_SIDE = 65_535
"""Longest side of a JPEG file, in pixels, limited by the format."""

MAX_SIDE = 1_000_000
"""Longest side of an image in another format, in pixels; working memory grows with the side, too.
"""

MAX_TEXT_BYTES = 16 * 2**20
"""Largest size of settings files and lists, in bytes."""

MAX_YAML_DEPTH = 40
"""Largest nesting depth of a YAML file."""

MAX_YAML_VALUES = 50_000
"""Largest number of values in a YAML file, including those that its aliases stand for."""

MAX_MAPS_BYTES = 1 << 30
"""Largest size of a file of an image's activation maps, or of labels, in bytes."""

MAX_MAT_BYTES = 256 * 2**20
"""Largest size of a MATLAB file in bytes, and of its decompressed content."""

MAX_CROP = 4096
"""Longest side of a training crop, in pixels."""

MAX_SCALE = 16.0
"""Largest factor by which an image is enlarged in training and inference."""

MAX_SEED = 2**62
"""Largest seed of a run: PyTorch and the records of runs take whole numbers of 63 bits."""

MAX_TABLE_BYTES = 256 * 2**20
"""Memory in bytes up to which any Parquet file is read, however small the file is."""

MAX_TABLE_GROWTH = 64
"""Largest ratio of the memory that a Parquet file takes to its size, above that limit."""

_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")


def image_size_problem(width: int, height: int, file_name: str = ".jpg") -> str:
    """Return why an image size is not allowed, or an empty text if it is.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        file_name: Name of the image file; its suffix determines the format.

    >>> image_size_problem(640, 480)
    ''
    >>> image_size_problem(3_000_000, 1, "a.jpg")
    'a JPEG file has sides of at most 65,535 pixels'
    """
    if width < 1 or height < 1:
        return "both sides must be at least 1 pixel"
    jpeg = file_name.lower().endswith(_JPEG_SUFFIXES)
    if max(width, height) > (MAX_JPEG_SIDE if jpeg else MAX_SIDE):
        if jpeg:
            return f"a JPEG file has sides of at most {MAX_JPEG_SIDE:,} pixels"
        return f"sides of at most {MAX_SIDE:,} pixels are read"
    if width * height > MAX_PIXELS:
        return f"at most {MAX_PIXELS:,} pixels are read"
    return ""


def table_size_problem(taken: int, size: int) -> str:
    """Return why a table is too large to be read, or an empty text if it is not.

    Args:
        taken: Memory that its rows take, in bytes.
        size: Size of the file in bytes.

    >>> table_size_problem(10**6, 100)
    ''
    >>> table_size_problem(10**12, 10**6)
    'its 1,000,000 bytes would take an implausible 1,000,000,000,000 bytes in memory'
    """
    if taken <= max(MAX_TABLE_BYTES, MAX_TABLE_GROWTH * size):
        return ""
    return f"its {size:,} bytes would take an implausible {taken:,} bytes in memory"
