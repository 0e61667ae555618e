"""Sources: public datasets as published, read as annotated images.

A source is a frozen dataclass with the methods of :class:`Source`; :func:`open_source` creates it
by the name of its format. It yields :class:`AnnotatedImage` with masks as published. Drawing,
measuring and selection happen later and are the same for all sources.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from sbdata.errors import InputError
from sbdata.plugins import Registry
from sbdata.quoting import quoted
from sbdata.recipe import SourceSpec
from sbdata.storage import inside


@dataclass(frozen=True)
class Rejection:
    """One item that was left out, and the reason.

    Attributes:
        source: Name of the source.
        file: Image or annotation file concerned, relative to the source's root.
        reason: Short slug by which rejections are counted, such as ``polygon_points``.
        detail: Description of the problem, in words.
        image_id: Id of the image concerned; empty if there is none.
        annotation_id: Id of the annotation concerned; empty if there is none.
    """

    source: str
    file: str
    reason: str
    detail: str
    image_id: str = ""
    annotation_id: str = ""


@dataclass(frozen=True)
class AnnotatedObject:
    """One annotation as published: category name in the source and whole mask as RLE.

    ``rle`` is the COCO compressed run-length code for the image's size. ``crowd`` marks a region of
    many objects that are not annotated separately.
    """

    annotation_id: str
    category: str
    rle: bytes
    crowd: bool = False
    difficult: bool = False


@dataclass(frozen=True)
class AnnotatedBox:
    """Box of one object in whole pixels, without a mask; ``x, y`` is its upper left corner."""

    category: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class AnnotatedImage:
    """One image of a source with all its annotations.

    Attributes:
        image_id: Name of the image in a set (file stem, no suffix), unique within the source.
        source_image_id: Id in the source, as text.
        file_name: Path of the image relative to the source's root, with slashes.
        width: Width in pixels, according to the annotations.
        height: Height in pixels, according to the annotations.
        objects: Annotated objects, sorted by annotation id.
        url: URL of the image, or None.
        license: Name or URL of the licence; None if the source does not state it.
        sha256: SHA-256 of the image file's bytes (or of its pixels, see ``sha256_of``), if known.
        sha256_of: Hashed content: ``"file"``, or ``"pixels"`` for generated images. The latter is
            the SHA-256 of the RGB array before encoding, because encoders differ between library
            versions.
        void: RLE of pixels that belong to no class and are never counted, or None.
        not_exhaustive: Categories that may have more objects in the image than are annotated.
        labels: Categories in an image that has labels only; None for an image with masks.
        boxes: Boxes in an image that has labels only; None if there are none at hand.
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
    labels: tuple[str, ...] | None = None
    boxes: tuple[AnnotatedBox, ...] | None = None


@dataclass(frozen=True)
class Member:
    """Image of a split without its annotations, as the leakage guard needs it.

    Attributes:
        source_image_id: Id in the source, as text.
        file_name: Path of the image relative to the source's root, with slashes.
        identities: Identities of the image, see :mod:`sbdata.sources.identity`. If there are none,
            images of the same format and folder are compared by id.
    """

    source_image_id: str
    file_name: str
    identities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """Limited number of images to read at once: positions ``start`` to ``stop`` of a split."""

    start: int
    stop: int


class ImageHolder(Protocol):
    """Interface of objects that hold images locally or can generate them; they are picklable."""

    @property
    def generated(self) -> bool:
        """Return True if images are generated on demand, by Python code that takes time."""

    def image_file(self, file_name: str) -> Path | None:
        """Return the path of an image's file; None if it is not available locally or is generated.

        Raises:
            InputError: If ``file_name`` points outside the holder's root.
        """

    def image_bytes(self, file_name: str) -> bytes | None:
        """Return an image file's bytes, or None if it is not available locally.

        Raises:
            InputError: If ``file_name`` points outside the holder's root.
        """

    def pixel_sha256(self, file_name: str) -> str | None:
        """Return the SHA-256 of a generated image's RGB array; None for published images."""


def warm_up(holder: ImageHolder, file_name: str) -> None:
    """Generate one image, if images are generated, so that the generating code is compiled.

    Compiled code is cached on disk. Without this call, every worker process would compile it.
    """
    if holder.generated:
        holder.image_bytes(file_name)


class Source(ImageHolder, Protocol):
    """Interface of one split of a dataset."""

    @property
    def name(self) -> str:
        """Return the source's name in the recipe, the ``source`` column of the tables."""

    @property
    def split(self) -> str:
        """Return the split's name in the dataset."""

    def chunks(self, images: int) -> Sequence[Chunk]:
        """Divide the split into chunks of at most ``images`` images, in a fixed order."""

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read the annotations of one chunk; unusable items are returned as rejections."""

    def members(self) -> Sequence[Member]:
        """List the split's images without reading annotations."""


@runtime_checkable
class NamesCategories(Protocol):
    """Interface of sources that know the names of all their categories before they are read."""

    @property
    def category_names(self) -> Sequence[str]:
        """Return the names of the categories, by the source's own spelling."""


@runtime_checkable
class NamesAnnotationFiles(Protocol):
    """Interface of sources that know the files that their annotations are read from."""

    def annotation_files(self) -> Sequence[Path] | None:
        """Return the files, in an order that depends only on their names; None if unknown."""


def check_fixed_layout(spec: SourceSpec) -> None:
    """Check that a recipe does not name files or folders of a format whose layout is fixed.

    Raises:
        InputError: If it does, because they would not be read.
    """
    for key in ("annotations", "images"):
        given = getattr(spec, key)
        if given is not None:
            msg = (
                f"source {spec.name}: {key} is {quoted(given)}, but the folders of the format "
                f"{spec.reader} have fixed names; leave it out, and name the folder as published"
            )
            raise InputError(msg)


def chunks_of(count: int, images: int) -> list[Chunk]:
    """Divide ``count`` images into chunks of at most ``images``.

    >>> chunks_of(5, 2)
    [Chunk(start=0, stop=2), Chunk(start=2, stop=4), Chunk(start=4, stop=5)]
    """
    return [Chunk(i, min(i + images, count)) for i in range(0, count, images)]


class PhotoFiles:
    """The part of :class:`ImageHolder` that all published photos share: files below ``root``."""

    root: Path

    @property
    def generated(self) -> bool:
        """Return False: the images are files."""
        return False

    def image_file(self, file_name: str) -> Path | None:
        """Return the path of a photo, or None if the folder does not have it."""
        path = inside(self.root, file_name)
        return path if path.is_file() else None

    def image_bytes(self, file_name: str) -> bytes | None:
        """Return a photo's bytes, or None if it is not available locally."""
        path = self.image_file(file_name)
        return None if path is None else path.read_bytes()

    def pixel_sha256(self, file_name: str) -> str | None:
        """Return None: photos are identified by their file's bytes."""
        return None


@dataclass(frozen=True)
class ImageFolders(PhotoFiles):
    """Published images in local folders, without their annotations.

    Attributes:
        roots: Folders to search for an image, in this order.
    """

    roots: tuple[Path, ...]

    def image_file(self, file_name: str) -> Path | None:
        """Return the path of a file, or None if no root has it."""
        paths = (inside(root, file_name) for root in self.roots)
        return next((path for path in paths if path.is_file()), None)


Opener = Callable[[SourceSpec, str, Path | None], Source]


def _open_shapes(spec: SourceSpec, split: str, root: Path | None) -> Source:
    from sbdata.sources.shapes import open_shapes

    return open_shapes(spec, split, root)


def _open_voc(spec: SourceSpec, split: str, root: Path | None) -> Source:
    from sbdata.sources.voc import open_voc

    return open_voc(spec, split, root)


def _open_sbd(spec: SourceSpec, split: str, root: Path | None) -> Source:
    from sbdata.sources.sbd import open_sbd

    return open_sbd(spec, split, root)


def _open_coco(spec: SourceSpec, split: str, root: Path | None) -> Source:
    from sbdata.sources.coco import open_coco

    return open_coco(spec, split, root)


def _open_lvis(spec: SourceSpec, split: str, root: Path | None) -> Source:
    from sbdata.sources.lvis import open_lvis

    return open_lvis(spec, split, root)


def _open_cityscapes(spec: SourceSpec, split: str, root: Path | None) -> Source:
    from sbdata.sources.cityscapes import CITYSCAPES
    from sbdata.sources.label_maps import open_label_maps

    return open_label_maps(spec, split, root, CITYSCAPES)


def _open_ade20k(spec: SourceSpec, split: str, root: Path | None) -> Source:
    from sbdata.sources.ade20k import ADE20K
    from sbdata.sources.label_maps import open_label_maps

    return open_label_maps(spec, split, root, ADE20K)


FORMATS: Registry[Opener] = Registry(
    "sbdata.sources",
    "source format",
    {
        "shapes": _open_shapes,
        "voc": _open_voc,
        "sbd": _open_sbd,
        "coco": _open_coco,
        "lvis": _open_lvis,
        "cityscapes": _open_cityscapes,
        "ade20k": _open_ade20k,
    },
    lambda opener: "" if callable(opener) else "is not a function that opens a source",
)
"""Functions that open one split of a source, by the name of its format."""

register_source = FORMATS.register


def open_source(spec: SourceSpec, split: str, root: Path | None) -> Source:
    """Open one split of a source.

    Args:
        spec: Source entry of the recipe.
        split: One of ``spec.splits``, or another split of the same dataset.
        root: Folder of the dataset, from ``--source-root``; None for generated sources.

    Raises:
        InputError: If the format is unknown or files are missing; the message names the files and
            where to get them.
    """
    return FORMATS.find(spec.reader)(spec, split, root)
