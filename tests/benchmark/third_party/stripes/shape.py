"""What a photo's header says."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def width_of(photo: Path) -> int:
    """Return a photo's width in pixels."""
    with Image.open(photo) as image:
        return image.width
