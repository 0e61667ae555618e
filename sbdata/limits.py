"""Limits on what files of others may ask for, compared before anything is allocated."""

from __future__ import annotations

MAX_PIXELS = 89_478_485
"""Larger images are refused, as Pillow refuses to open them without a warning."""

MAX_JPEG_SIDE = 65_535
"""The longest side that a JPEG file can state."""

MAX_SIDE = 1_000_000
"""The longest side of an image in another format; working memory grows with the side, too."""

MAX_TEXT_BYTES = 16 * 2**20
"""Larger settings files and lists are refused."""

MAX_YAML_DEPTH = 40
"""Levels that a YAML file may nest."""

MAX_YAML_VALUES = 50_000
"""Values of a YAML file, counting those that its aliases stand for."""

MAX_MAPS_BYTES = 1 << 30
"""Larger files of an image's activation maps, or of labels, are refused."""

MAX_CROP = 4096
"""The longest side of a training crop, in pixels."""

MAX_SCALE = 16.0
"""The largest factor that an image is enlarged by in training and inference."""

MAX_TABLE_BYTES = 256 * 2**20
"""A Parquet file whose rows take no more memory is read, however small the file is."""

MAX_TABLE_GROWTH = 64
"""How many times its own size a larger Parquet file may take in memory."""

_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")


def image_size_problem(width: int, height: int, file_name: str = ".jpg") -> str:
    """Return why no image has such a size, or an empty text if one may have it.

    Args:
        width: in pixels.
        height: in pixels.
        file_name: of the image; its suffix tells the format.

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
    """Return why a table is not read, or an empty text if it is.

    Args:
        taken: bytes that its rows take in memory.
        size: of the file in bytes.

    >>> table_size_problem(10**6, 100)
    ''
    >>> table_size_problem(10**12, 10**6)
    'its 1,000,000 bytes would take 1,000,000,000,000 in memory, as no such table does'
    """
    if taken <= max(MAX_TABLE_BYTES, MAX_TABLE_GROWTH * size):
        return ""
    return f"its {size:,} bytes would take {taken:,} in memory, as no such table does"
