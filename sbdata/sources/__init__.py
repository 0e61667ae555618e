"""Sources: public datasets as published, each turned into annotated images.

A source is a frozen dataclass with the methods of :class:`Source`; it is found by name through
:func:`open_source`. It yields :class:`AnnotatedImage` with masks as published; drawing, measuring
and choosing happen later and are the same for all sources.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sbdata.plugins import Registry
from sbdata.recipe import SourceSpec
from sbdata.storage import inside


@dataclass(frozen=True)
class Rejection:
    """One thing that was left out, and why.

    Attributes:
        source: name of the source.
        file: the image or annotation file concerned, relative to the source's root.
        reason: a short slug that rejections are counted by, such as ``polygon_points``.
        detail: what was seen, in words.
        image_id: of the image concerned, empty where there is none.
        annotation_id: of the annotation concerned, empty where there is none.
    """

    source: str
    file: str
    reason: str
    detail: str
    image_id: str = ""
    annotation_id: str = ""


@dataclass(frozen=True)
class AnnotatedObject:
    """One annotation as published: its category by the source's own name, its whole mask as RLE.

    ``rle`` is the COCO compressed run-length code for the image's size. ``crowd`` marks a region
    of many objects that nobody told apart.
    """

    annotation_id: str
    category: str
    rle: bytes
    crowd: bool = False
    difficult: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """One image of a source with everything annotated in it.

    Attributes:
        image_id: the name it will have in a set (file stem, no suffix), unique within the source.
        source_image_id: the source's own id, as text.
        file_name: path of the image relative to the source's root, with slashes.
        width: in pixels, as the annotations say.
        height: in pixels, as the annotations say.
        objects: sorted by annotation id.
        url: where the image can be fetched, or None.
        license: a name or address, or None where the source does not say.
        sha256: of the image file's bytes (or of its pixels, see ``sha256_of``), where known.
        sha256_of: ``"file"``, or ``"pixels"`` for generated images: the SHA-256 of the RGB array
            before encoding, since encoders differ between library versions.
        void: RLE of pixels that belong to no class and are never counted, or None.
        not_exhaustive: categories of which more objects may be there than are annotated.
    """

    image_id: str
    source_image_id: str
    file_name: str
    width: int
    height: int
    objects: tuple[AnnotatedObject, ...]
    url: str | None = None
    license: str | None = None
    sha256: str | None = None
    sha256_of: str = "file"
    void: bytes | None = None
    not_exhaustive: tuple[str, ...] = ()


@dataclass(frozen=True)
class Member:
    """An image of a split without its annotations, as the leakage guard needs it.

    Attributes:
        source_image_id: the source's own id, as text.
        file_name: path of the image relative to the source's root, with slashes.
        identities: what tells which image it is, see :mod:`sbdata.sources.identity`. Without any,
            images of the same format and folder are compared by id.
    """

    source_image_id: str
    file_name: str
    identities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """A bounded number of images to read in one go: positions ``start`` to ``stop`` of a split."""

    start: int
    stop: int


class ImageHolder(Protocol):
    """Whatever has images at hand, or can make them. Implementations are picklable."""

    @property
    def generated(self) -> bool:
        """Tell whether images are made on the spot, at the price of work in Python."""

    def image_file(self, file_name: str) -> Path | None:
        """Return where an image's file lies; None if it is not at hand, or is made on the spot.

        Raises:
            InputError: if ``file_name`` leads outside the holder's root.
        """

    def image_bytes(self, file_name: str) -> bytes | None:
        """Return an image file's bytes, or None where it is not at hand.

        Raises:
            InputError: if ``file_name`` leads outside the holder's root.
        """

    def pixel_sha256(self, file_name: str) -> str | None:
        """Return the SHA-256 of a generated image's RGB array; None for published images."""


def warm_up(holder: ImageHolder, file_name: str) -> None:
    """Make one image if images are generated, so that the code that does it is compiled.

    Compiled code is cached on disk. Without this, every worker process would compile it.
    """
    if holder.generated:
        holder.image_bytes(file_name)


class Source(ImageHolder, Protocol):
    """One split of a dataset."""

    @property
    def name(self) -> str:
        """Return the source's name in the recipe, the ``source`` column of the tables."""

    @property
    def split(self) -> str:
        """Return the split's name as the dataset calls it."""

    def chunks(self, images: int) -> Sequence[Chunk]:
        """Cut the split into chunks of at most ``images`` images, in a fixed order."""

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read the annotations of one chunk; what cannot be used is returned as rejections."""

    def members(self) -> Sequence[Member]:
        """List the split's images without reading annotations."""


@dataclass(frozen=True)
class ImageFolders:
    """Published images in local folders, without their annotations.

    Attributes:
        roots: where an image is looked for, in this order.
    """

    roots: tuple[Path, ...]

    @property
    def generated(self) -> bool:
        """Return False: these are files."""
        return False

    def image_file(self, file_name: str) -> Path | None:
        """Return where a file lies, or None if no root has it."""
        paths = (inside(root, file_name) for root in self.roots)
        return next((path for path in paths if path.is_file()), None)

    def image_bytes(self, file_name: str) -> bytes | None:
        """Return a file's bytes, or None where no root has it."""
        path = self.image_file(file_name)
        return None if path is None else path.read_bytes()

    def pixel_sha256(self, file_name: str) -> str | None:
        """Return None: files are identified by their bytes."""
        return None


Opener = Callable[[SourceSpec, str, Path | None], Source]


def _open_shapes(spec: SourceSpec, split: str, root: Path | None) -> Source:
    from sbdata.sources.shapes import open_shapes

    return open_shapes(spec, split, root)


def _open_voc(spec: SourceSpec, split: str, root: Path | None) -> Source:
    from sbdata.sources.voc import open_voc

    return open_voc(spec, split, root)


def _open_coco(spec: SourceSpec, split: str, root: Path | None) -> Source:
    from sbdata.sources.coco import open_coco

    return open_coco(spec, split, root)


def _open_lvis(spec: SourceSpec, split: str, root: Path | None) -> Source:
    from sbdata.sources.lvis import open_lvis

    return open_lvis(spec, split, root)


FORMATS: Registry[Opener] = Registry(
    "sbdata.sources",
    "source format",
    {"shapes": _open_shapes, "voc": _open_voc, "coco": _open_coco, "lvis": _open_lvis},
    lambda opener: "" if callable(opener) else "is not a function that opens a source",
)
"""Functions that open one split of a source, by the name of its format."""

register_source = FORMATS.register


def open_source(spec: SourceSpec, split: str, root: Path | None) -> Source:
    """Open one split of a source.

    Args:
        spec: from the recipe.
        split: one of ``spec.splits``, or another split of the same dataset.
        root: the dataset's folder, from ``--source-root``; None for generated sources.

    Raises:
        InputError: if the format is unknown or files are missing; the message says which files and
            where they come from.
    """
    return FORMATS.find(spec.reader)(spec, split, root)
