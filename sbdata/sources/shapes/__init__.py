"""Generated source: textured shapes on cluttered 1/f backgrounds, drawn on demand.

Eight classes differ by outline and texture; colour carries no class. There are two splits.
``train`` has sizes with a long tail like those of PASCAL VOC, mostly large, with small shapes often
next to a large one of their class. ``pool`` has every size, for size-balanced sets. Image i of a
split depends only on the seed, the split, i and the image size, and has the same pixels on every
machine. The JPEG bytes depend on the encoder, so an image is identified by the hash of its pixels.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sbdata.errors import InputError
from sbdata.masks import encode_mask
from sbdata.quoting import quoted
from sbdata.recipe import SourceSpec
from sbdata.sources import (
    AnnotatedImage,
    AnnotatedObject,
    Chunk,
    Member,
    Rejection,
    check_fixed_layout,
    chunks_of,
)
from sbdata.sources.shapes.layout import SPLITS, lay_out
from sbdata.sources.shapes.outlines import KIND
from sbdata.sources.shapes.picture import render
from sbdata.taxonomy import SHAPES8

OPTIONS: Mapping[str, int] = {"seed": 0, "train": 1200, "pool": 2000, "size": 320}
"""Options of the source in a recipe and their defaults: seed, images per split, longer side."""

JPEG_QUALITY = 92
_SMALLEST, _LARGEST = 64, 1024  # longer side of an image


@dataclass(frozen=True)
class ShapesSource:
    """One split of the generated shapes; implements ``sbdata.sources.Source``.

    Attributes:
        name: Name of the source in the recipe.
        split: ``train`` or ``pool``.
        count: Number of images in the split.
        seed: Seed of the dataset.
        size: Longer side of an image, in pixels; the shorter side is at least 3/4 of it.
    """

    name: str
    split: str
    count: int
    seed: int = OPTIONS["seed"]
    size: int = OPTIONS["size"]

    @property
    def category_names(self) -> Sequence[str]:
        """Return the kinds of shapes."""
        return SHAPES8.classes

    @property
    def generated(self) -> bool:
        """Return True: images are drawn on demand."""
        return True

    def chunks(self, images: int) -> Sequence[Chunk]:
        """Divide the split into chunks of at most ``images`` images."""
        return chunks_of(self.count, images)

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Lay out the images of one chunk without drawing them; there are no rejections.

        Objects have their whole masks, in drawing order, which is the order of their ids: larger
        ones first, so that drawing them again hides exactly what the picture hides. An image's
        ``sha256`` is not known before it is drawn.
        """
        return [self._annotated(index) for index in range(chunk.start, chunk.stop)], []

    def members(self) -> Sequence[Member]:
        """List the split's images."""
        made_by = f"shapes of seed {self.seed} and size {self.size}:"
        ids = map(self._image_id, range(self.count))
        return [
            Member(image_id, self._file_name(i), (f"{made_by} {image_id}",))
            for i, image_id in enumerate(ids)
        ]

    def image_file(self, file_name: str) -> None:
        """Return None: images are generated."""

    def image_bytes(self, file_name: str) -> bytes:
        """Draw an image and return it as a JPEG.

        Raises:
            InputError: If the split has no image of that name.
        """
        stream = io.BytesIO()
        # Colour at full resolution: textures of 4 pixels would be lost at half the resolution.
        Image.fromarray(self.pixels(file_name)).save(
            stream, format="JPEG", quality=JPEG_QUALITY, subsampling=0
        )
        return stream.getvalue()

    def pixel_sha256(self, file_name: str) -> str:
        """Return the SHA-256 of an image's RGB array before encoding.

        Raises:
            InputError: If the split has no image of that name.
        """
        return hashlib.sha256(self.pixels(file_name).tobytes()).hexdigest()

    def pixels(self, file_name: str) -> npt.NDArray[np.uint8]:
        """Draw an image and return its pixels, ``(H, W, 3)`` uint8 RGB, read-only.

        Raises:
            InputError: If the split has no image of that name.
        """
        return _pixels(self.seed, self.split, self._index(file_name), self.size)

    def _image_id(self, index: int) -> str:
        return f"shapes_{self.split}_{index:06d}"

    def _file_name(self, index: int) -> str:
        return f"{self.split}/{self._image_id(index)}.jpg"

    def _index(self, file_name: str) -> int:
        digits = PurePosixPath(file_name).stem.rpartition("_")[2]
        index = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else -1
        if not 0 <= index < self.count or file_name != self._file_name(index):
            msg = (
                f"{quoted(file_name)} is not an image of shapes {self.split}, which goes from "
                f"{self._file_name(0)} to {self._file_name(self.count - 1)}"
            )
            raise InputError(msg)
        return index

    def _annotated(self, index: int) -> AnnotatedImage:
        layout = lay_out(self.seed, self.split, index, self.size)
        return AnnotatedImage(
            image_id=self._image_id(index),
            source_image_id=self._image_id(index),
            file_name=self._file_name(index),
            width=layout.width,
            height=layout.height,
            objects=tuple(
                AnnotatedObject(str(k), SHAPES8.classes[row[KIND]], encode_mask(mask.T))
                for k, (row, mask) in enumerate(zip(layout.shapes, layout.masks, strict=True), 1)
            ),
            license="CC0-1.0",
            sha256_of="pixels",
        )


def open_shapes(spec: SourceSpec, split: str, root: Path | None) -> ShapesSource:
    """Open one split of the generated shapes.

    Args:
        spec: Source entry of the recipe; its options may set ``seed``, ``train`` and ``pool``
            (images) and ``size`` (longer side of an image, 64 to 1024 pixels).
        split: ``train`` or ``pool``.
        root: Not used, because there are no files.

    Raises:
        InputError: If a split or option is unknown or a value is invalid; the message lists the
            valid ones.
    """
    if split not in SPLITS:
        msg = f"source {spec.name} has no split {quoted(split)}; valid splits: {', '.join(SPLITS)}"
        raise InputError(msg)
    check_fixed_layout(spec)
    options = _checked(spec)
    return ShapesSource(spec.name, split, options[split], options["seed"], options["size"])


def _checked(spec: SourceSpec) -> dict[str, int]:
    options: dict[str, Any] = {**OPTIONS, **spec.options}
    for key, value in options.items():
        if key not in OPTIONS:
            known = ", ".join(OPTIONS)
            msg = f"source {spec.name}: unknown option {quoted(key)}; valid options: {known}"
            raise InputError(msg)
        if isinstance(value, bool) or not isinstance(value, int):
            msg = f"source {spec.name}: option {key} must be a whole number, not {quoted(value)}"
            raise InputError(msg)
    for key, (low, high) in _LIMITS.items():
        if not low <= options[key] <= high:
            msg = f"source {spec.name}: option {key} must be {low} to {high}, not {options[key]}"
            raise InputError(msg)
    return options


_LIMITS = {
    "seed": (0, 2**63 - 1),
    "train": (1, 1_000_000),
    "pool": (1, 1_000_000),
    "size": (_SMALLEST, _LARGEST),
}


@lru_cache(maxsize=16)
def _pixels(seed: int, split: str, index: int, size: int) -> npt.NDArray[np.uint8]:
    """Draw an image; it is cached, because its bytes and then its hash are requested."""
    pixels = render(lay_out(seed, split, index, size))
    pixels.setflags(write=False)
    return pixels
