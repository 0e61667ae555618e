"""Datasets that publish one PNG per image with the class and the instance of every pixel.

A dataset is a :class:`LabelMapFormat`. Pixels of a class that belong to no single object (a group
of objects, or a class without instances such as sky) are a crowd: void in a set that has the class,
background in one that has not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
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
    check_fixed_layout,
    chunks_of,
)
from sbdata.sources.identity import identities_of
from sbdata.storage import inside, is_safe_stem
from sbdata.taxonomy import Taxonomy

_NUMBERS = 1 << 16


class LabelMap(NamedTuple):
    """Truth of one image.

    Attributes:
        classes: Class numbers, ``(H, W)`` uint8; 0 is background, 255 void.
        instances: Instance numbers, ``(H, W)`` uint16, from 256 on; 0 is no instance.
        digest: SHA-256 of the file.
    """

    classes: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint16]
    digest: str


@dataclass(frozen=True)
class LabelMapFormat:
    """One dataset of label maps.

    Attributes:
        name: Name of the dataset, and of its source format.
        folder: Name of the folder with a folder of masks for each split.
        taxonomy: Classes that the dataset names.
        stuff: Number of classes that never have instances.
        has_background: False if every pixel is of a class or void.
        license: Licence of annotations and photos.
        photo_of: Function of the root, the split and a PNG that names the photo of the mask,
            relative to the root; None for a PNG that is no such mask.
        decode: Function that reads a mask; it raises :class:`PngError`.
    """

    name: str
    folder: str
    taxonomy: Taxonomy
    stuff: int
    has_background: bool
    license: str
    photo_of: Callable[[Path, str, Path], str | None]
    decode: Callable[[Path], LabelMap]


@dataclass(frozen=True, eq=False)
class LabelMapSource(PhotoFiles):
    """One split of a dataset of label maps.

    Attributes:
        name: Name of the source in the recipe.
        split: Name of the split.
        root: Folder that the names of files are relative to.
        format: The dataset.
        files: Mask and photo by image id, sorted, relative to the root, with slashes.
    """

    name: str
    split: str
    root: Path
    format: LabelMapFormat
    files: Mapping[str, tuple[str, str]]

    @property
    def category_names(self) -> Sequence[str]:
        """Return the classes of the dataset."""
        return self.format.taxonomy.classes

    def chunks(self, images: int) -> Sequence[Chunk]:
        """Divide the split into chunks of at most ``images`` images."""
        return chunks_of(len(self.files), images)

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read the masks of one chunk."""
        images: list[AnnotatedImage] = []
        rejections: list[Rejection] = []
        for image_id in islice(self.files, chunk.start, chunk.stop):
            try:
                images.append(self._annotate(image_id, self.load(image_id)))
            except InputError as error:
                reason, detail = "unsafe_path", str(error)
                if isinstance(error, PngError):
                    reason = "mask_values" if error.kind == "values" else "mask_unreadable"
                    detail = error.detail
                mask, _ = self.files[image_id]
                rejections.append(Rejection(self.name, mask, reason, detail, image_id))
        return images, rejections

    def load(self, image_id: str) -> LabelMap:
        """Read one mask.

        Raises:
            PngError: If it cannot be read, or has numbers that the dataset does not have.
            InputError: If it lies outside the root.
        """
        return self.format.decode(inside(self.root, self.files[image_id][0]))

    def members(self) -> Sequence[Member]:
        """List the split's images."""
        root = self.root.resolve()
        return [
            Member(image_id, photo, identities_of(root, photo))
            for image_id, (_, photo) in self.files.items()
        ]

    def annotation_files(self) -> list[Path]:
        """Return the masks of the split's images."""
        return [self.root / mask for mask, _ in self.files.values()]

    def _annotate(self, image_id: str, found: LabelMap) -> AnnotatedImage:
        (height, width), void = found.classes.shape, found.classes == VOID
        # Instance numbers are above any class number, so one map holds both.
        of_class = np.where(void, 0, found.classes)
        codes = np.where(found.instances > 0, found.instances, of_class).ravel()
        class_of = np.zeros(_NUMBERS, np.uint8)
        class_of[codes] = of_class.ravel()
        present = np.flatnonzero(np.bincount(codes, minlength=_NUMBERS)[1:]) + 1
        objects = []
        for first in range(0, len(present), MAX_INSTANCES):
            part = present[first : first + MAX_INSTANCES]
            table = np.zeros(_NUMBERS, np.uint8)
            table[part] = np.arange(1, len(part) + 1)
            drawn = measure_visible(table[codes].reshape(height, width), len(part))
            for code, rle in zip(part.tolist(), drawn.rle, strict=True):
                name, crowd = self.format.taxonomy.name_of(int(class_of[code])), code <= VOID
                objects.append(AnnotatedObject(name if crowd else str(code), name, rle, crowd))
        return AnnotatedImage(
            image_id=image_id,
            source_image_id=image_id,
            file_name=self.files[image_id][1],
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
    check_fixed_layout(spec)
    folder = dataset.folder
    if spec.options or root is None:
        problem = f"give the folder that holds {folder} by --source-root {spec.name}=PATH"
        if spec.options:
            problem = f"unknown option {quoted(sorted(spec.options)[0])}; it takes none"
        msg = f"source {spec.name}: {problem}"
        raise InputError(msg)
    places: Iterable[Path] = (root.parent,) if root.name == folder else (root, *root.glob("*"))
    base = next((place for place in sorted(places) if (place / folder).is_dir()), None)
    if base is None:
        msg = f"{root}: no folder {folder} in it; give the folder of {dataset.name} that holds it"
        raise InputError(msg)
    if not is_safe_stem(split) or not (base / folder / split).is_dir():
        there = sorted(path.name for path in (base / folder).iterdir() if path.is_dir())
        msg = f"{base / folder}: no split {quoted(split)}; splits there: {', '.join(there)}"
        raise InputError(msg)
    files: dict[str, tuple[str, str]] = {}
    for path in sorted((base / folder / split).rglob("*.png")):
        photo = None if is_litter(path.name) else dataset.photo_of(base, split, path)
        if photo is None:
            continue
        mask, image_id = path.relative_to(base).as_posix(), Path(photo).stem
        if image_id in files or not (is_safe_stem(image_id) and mask.isprintable()):
            problem = "not a plain name"
            if image_id in files:
                problem = f"a second mask of the image of {files[image_id][0]}"
            msg = f"{base}: {quoted(mask, 400)}: {problem}; rename or remove it"
            raise InputError(msg)
        files[image_id] = (mask, photo)
    if not files:
        msg = f"{base / folder / split}: no mask of {dataset.name} in it; restore it"
        raise InputError(msg)
    return LabelMapSource(spec.name, split, base, dataset, dict(sorted(files.items())))
