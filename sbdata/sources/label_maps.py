"""Datasets that publish one PNG per image with the class and the instance of every pixel.

:class:`LabelMapSource` is the source of all of them; a dataset adds a :class:`LabelMapFormat`.
Pixels of a class that belong to no single object (a group of objects, or a class without instances
such as sky) are a crowd: void in a set that has the class, background in one that has not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.file_names import composed
from sbdata.litter import is_litter
from sbdata.mask_files import VOID, PngError
from sbdata.masks import MAX_INSTANCES, encode_mask, measure_visible
from sbdata.quoting import quoted
from sbdata.recipe import SourceSpec
from sbdata.sources import (
    AnnotatedImage,
    AnnotatedObject,
    Chunk,
    Member,
    PhotoFiles,
    Rejection,
    chunks_of,
)
from sbdata.sources.identity import identities_of
from sbdata.storage import inside, is_safe_stem
from sbdata.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Decoded truth of one image.

    Attributes:
        classes: Class numbers, ``(H, W)`` uint8; 0 is background, 255 void.
        instances: Instance numbers, ``(H, W)`` uint16, from 256 on; 0 is no instance.
        digest: SHA-256 of the file.
    """

    classes: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint16]
    digest: str


@dataclass(frozen=True)
class LabelMapFile:
    """Names of one image's photo and mask, relative to the dataset's root, with slashes."""

    photo: str
    mask: str

    @property
    def image_id(self) -> str:
        """Name of the image: the stem of its photo."""
        return self.photo.rpartition("/")[2].rpartition(".")[0]


@dataclass(frozen=True)
class LabelMapFormat:
    """One dataset of label maps.

    Attributes:
        folder: Name of the folder with a folder of masks for each split.
        wanted: What that folder holds, for messages.
        taxonomy: Classes that the dataset names.
        stuff: Names of the classes that never have instances.
        license: Licence of the photos.
        list_files: Function of the root, the split and its PNGs that names the images' files.
        decode: Function that reads a mask; it raises :class:`PngError`.
    """

    folder: str
    wanted: str
    taxonomy: Taxonomy
    stuff: tuple[str, ...]
    license: str
    list_files: Callable[[Path, str, Iterable[Path]], Iterable[LabelMapFile]]
    decode: Callable[[Path], LabelMap]


@dataclass(frozen=True)
class LabelMapSource(PhotoFiles):
    """One split of a dataset of label maps.

    Attributes:
        name: Name of the source in the recipe.
        split: Name of the split.
        root: Folder that the names of files are relative to.
        format: The dataset.
        files: Files of the images, sorted by id.
    """

    name: str
    split: str
    root: Path
    format: LabelMapFormat
    files: tuple[LabelMapFile, ...]

    def chunks(self, images: int) -> Sequence[Chunk]:
        """Divide the split into chunks of at most ``images`` images."""
        return chunks_of(len(self.files), images)

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read the masks of one chunk."""
        images: list[AnnotatedImage] = []
        rejections: list[Rejection] = []
        for file in self.files[chunk.start : chunk.stop]:
            try:
                images.append(self._annotate(file, self.load(file)))
            except InputError as error:
                reason, detail = "unsafe_path", str(error)
                if isinstance(error, PngError):
                    reason = "mask_values" if error.kind == "values" else "mask_unreadable"
                    detail = error.detail
                rejections.append(Rejection(self.name, file.mask, reason, detail, file.image_id))
        return images, rejections

    def load(self, file: LabelMapFile) -> LabelMap:
        """Read one mask.

        Raises:
            PngError: If it cannot be read, or has numbers that the dataset does not have.
            InputError: If it lies outside the root.
        """
        return self.format.decode(inside(self.root, file.mask))

    def members(self) -> Sequence[Member]:
        """List the split's images."""
        root = self.root.resolve()
        return [
            Member(file.image_id, file.photo, identities_of(root, file.photo))
            for file in self.files
        ]

    def annotation_files(self) -> list[Path]:
        """Return the masks of the split's images."""
        return [self.root / file.mask for file in self.files]

    def _annotate(self, file: LabelMapFile, found: LabelMap) -> AnnotatedImage:
        void = found.classes == VOID
        # Instance numbers are above any class number, so one map holds both.
        of_class = np.where(void, 0, found.classes)
        codes = np.where(found.instances > 0, found.instances, of_class).ravel()
        class_of = np.zeros(1 << 16, np.uint8)
        class_of[codes] = of_class.ravel()
        present = np.flatnonzero(np.bincount(codes, minlength=1 << 16))
        present = present[present > 0]
        height, width = found.classes.shape
        objects = []
        for first in range(0, len(present), MAX_INSTANCES):
            part = present[first : first + MAX_INSTANCES]
            table = np.zeros(1 << 16, np.uint8)
            table[part] = np.arange(1, len(part) + 1)
            drawn = measure_visible(table[codes].reshape(height, width), len(part))
            for code, rle in zip(part.tolist(), drawn.rle, strict=True):
                name, crowd = self.format.taxonomy.name_of(int(class_of[code])), code <= VOID
                objects.append(AnnotatedObject(name if crowd else str(code), name, rle, crowd))
        return AnnotatedImage(
            image_id=file.image_id,
            source_image_id=file.image_id,
            file_name=file.photo,
            width=width,
            height=height,
            objects=tuple(objects),
            license=self.format.license,
            void=encode_mask(void) if void.any() else None,
        )


def open_label_maps(
    spec: SourceSpec, split: str, root: Path | None, dataset: LabelMapFormat
) -> LabelMapSource:
    """Open one split of a dataset.

    Args:
        spec: Source entry of the recipe; it takes no options.
        split: Name of a folder below the dataset's folder of masks.
        root: Folder that holds the folder of masks, the one above it, or the folder of masks.
        dataset: The dataset.

    Raises:
        InputError: If the folder or the split is missing, has no mask, or has two of one image.
    """
    if spec.options:
        msg = f"source {spec.name}: unknown option {quoted(sorted(spec.options)[0])}; it takes none"
        raise InputError(msg)
    folder, wanted = dataset.folder, dataset.wanted
    if root is None:
        msg = (
            f"source {spec.name} needs {wanted}; give the folder that holds {folder} by "
            f"--source-root {spec.name}=PATH"
        )
        raise InputError(msg)
    above = [root.parent] if root.name == folder else []
    places = (place for place in (*above, root, *sorted(root.glob("*"))))
    base = next((place for place in places if (place / folder).is_dir()), None)
    if base is None:
        msg = f"{root}: no folder {folder} in it; give the one that holds {wanted}"
        raise InputError(msg)
    inner = base / folder / split
    if not is_safe_stem(split) or not inner.is_dir():
        there = sorted(path.name for path in (base / folder).iterdir() if path.is_dir())
        msg = f"{base / folder}: no split {quoted(split)}; splits there: {', '.join(there)}"
        raise InputError(msg)
    masks = (path for path in sorted(inner.rglob("*.png")) if not is_litter(path.name))
    files = sorted(dataset.list_files(base, split, masks), key=lambda file: file.image_id)
    if not files:
        msg = f"{inner}: no mask in it; it must hold {wanted}"
        raise InputError(msg)
    for one, other in itertools.pairwise(files):
        if composed(one.image_id) == composed(other.image_id):
            msg = f"{base / other.mask}: a second mask of the image of {one.mask}; keep one"
            raise InputError(msg)
    unsafe = next((file for file in files if not is_safe_stem(file.image_id)), None)
    if unsafe is not None:
        msg = f"{inner}: {quoted(unsafe.image_id)} cannot be an image id; rename the file"
        raise InputError(msg)
    return LabelMapSource(spec.name, split, base, dataset, tuple(files))
