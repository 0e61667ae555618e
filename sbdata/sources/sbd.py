"""Semantic Boundaries Dataset (SBD): class and object masks in MATLAB files.

Masks are used as published: object numbers from ``inst/ID.mat`` (structure ``GTinst``), each with
the class that its ``Categories`` name, and class numbers from ``cls/ID.mat`` (``GTcls``). SBD has
no ring of void around its objects. A pixel is void only if the two files disagree about its class;
each image with such pixels is reported. Numbers of classes are VOC's.

Source: Hariharan, Arbelaez, Bourdev, Maji, Malik, Semantic Contours from Inverse Detectors, ICCV
2011; the archive ``benchmark.tgz``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.file_names import AmbiguousNameError, stored
from sbdata.masks import encode_mask, measure_visible
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
from sbdata.sources.mat_files import MatError, read_mat_struct
from sbdata.sources.voc import read_id_list
from sbdata.storage import inside, is_safe_stem
from sbdata.taxonomy import VOC20

LICENSE = "none stated by SBD; images are VOC 2011's, under the Flickr terms of use"
_FILES = (("cls", "GTcls", ("Segmentation",)), ("inst", "GTinst", ("Segmentation", "Categories")))
_INNER = ("", "dataset", "benchmark_RELEASE/dataset")


@dataclass(frozen=True)
class SbdSource(PhotoFiles):
    """One list of SBD.

    Attributes:
        name: Name of the source in the recipe.
        split: Name of the list, such as ``train``.
        root: Folder that contains ``cls`` and ``inst``.
        ids: Image ids, in the list's order.
    """

    name: str
    split: str
    root: Path
    ids: tuple[str, ...]

    @property
    def category_names(self) -> Sequence[str]:
        """Return VOC's classes."""
        return VOC20.classes

    def chunks(self, images: int) -> Sequence[Chunk]:
        """Divide the list into chunks of at most ``images`` ids."""
        return chunks_of(len(self.ids), images)

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read the masks of one chunk of ids."""
        images: list[AnnotatedImage] = []
        rejections: list[Rejection] = []
        for image_id in self.ids[chunk.start : chunk.stop]:
            image, note = self._read_image(image_id)
            images += [] if image is None else [image]
            rejections += [] if note is None else [note]
        return images, rejections

    def members(self) -> Sequence[Member]:
        """List the split's images."""
        root = self.root.resolve()
        names = [_image_name(image_id) for image_id in self.ids]
        return [
            Member(image_id, name, identities_of(root, name))
            for image_id, name in zip(self.ids, names, strict=True)
        ]

    def annotation_files(self) -> list[Path]:
        """Return the existing mask files of the split's images, by image and kind."""
        files = []
        for image_id in filter(is_safe_stem, self.ids):
            for folder, _, _ in _FILES:
                with suppress(AmbiguousNameError):  # such an image is left out
                    files.append(stored(self.root / folder, f"{image_id}.mat"))
        return [file for file in files if file.is_file()]

    def _read_image(self, image_id: str) -> tuple[AnnotatedImage | None, Rejection | None]:
        def report(reason: str, detail: str, folder: str) -> Rejection:
            return Rejection(self.name, f"{folder}/{image_id}.mat", reason, detail, image_id)

        if not is_safe_stem(image_id):
            detail = f"{quoted(image_id)} is not a plain image id"
            return None, Rejection(self.name, f"{self.split}.txt", "unsafe_path", detail, image_id)
        found: dict[str, npt.NDArray[Any]] = {}
        for folder, variable, fields in _FILES:
            try:
                path = inside(self.root / folder, f"{image_id}.mat")
            except InputError as error:
                ambiguous = isinstance(error, AmbiguousNameError)
                reason = "ambiguous_name" if ambiguous else "unsafe_path"
                return None, report(reason, str(error), folder)
            if not path.is_file():
                return None, report("missing_mask", "no such file", folder)
            try:
                read = read_mat_struct(path, variable, fields)
                found |= {f"{folder} {field}": array for field, array in read.items()}
            except MatError as error:
                return None, report("mask_unreadable", str(error), folder)
        try:
            image, differing = _annotate(image_id, *found.values())
        except MatError as error:
            return None, report("mask_values", str(error), "inst")
        if not differing:
            return image, None
        detail = f"{differing} pixels whose class is another in cls than in inst become void"
        return image, report("maps_disagree", detail, "inst")


def _annotate(
    image_id: str,
    classes: npt.NDArray[Any],
    objects: npt.NDArray[Any],
    categories: npt.NDArray[Any],
) -> tuple[AnnotatedImage, int]:
    """Return an image's objects, and the number of pixels about whose class the files disagree.

    Args:
        image_id: Id of the image.
        classes: Class numbers, 2-d.
        objects: Object numbers from 1, of the same shape.
        categories: Class of each object, in the order of the numbers.

    Raises:
        MatError: If an array has another shape or numbers than SBD's.
    """
    for name, array in (("cls", classes), ("inst", objects)):
        if array.ndim != 2 or array.dtype != np.uint8 or not array.size:
            what = f"{array.dtype} of {' x '.join(map(str, array.shape))}"
            raise MatError(f"the Segmentation of {name} is {what}, not uint8 height x width")
    if classes.shape != objects.shape:
        (h, w), (height, width) = classes.shape, objects.shape
        raise MatError(f"{width} x {height} pixels, but the class mask has {w} x {h}")
    if classes.max() > len(VOC20):
        raise MatError(f"class {classes.max()} in cls, but VOC has {len(VOC20)}")
    kinds = categories.ravel()
    known = np.isin(kinds, np.arange(1, len(VOC20) + 1))
    if objects.max() > len(kinds) or not known.all():
        raise MatError(
            f"{objects.max()} objects, whose Categories are {len(kinds)} numbers of "
            f"1..{len(VOC20)}{'' if known.all() else ', and others'}"
        )
    by_object = np.array([0, *kinds.astype(np.int64)], np.uint8)[objects]
    void = by_object != classes
    agreed = np.where(void, 0, objects)
    visible = measure_visible(agreed, int(agreed.max()))
    height, width = classes.shape
    image = AnnotatedImage(
        image_id=image_id,
        source_image_id=image_id,
        file_name=_image_name(image_id),
        width=width,
        height=height,
        objects=tuple(
            AnnotatedObject(str(n), VOC20.name_of(int(kinds[n - 1])), visible.rle[n - 1])
            for n in np.unique(agreed[agreed > 0]).tolist()
        ),
        license=LICENSE,
        void=encode_mask(void) if void.any() else None,
    )
    return image, int(void.sum())


def _image_name(image_id: str) -> str:
    return f"img/{image_id}.jpg"


def sbd_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders that may contain ``cls`` and ``inst``, below what a user calls SBD."""
    return tuple(root / inner for inner in _INNER)


def open_sbd(spec: SourceSpec, split: str, root: Path | None) -> SbdSource:
    """Open one list of SBD.

    Args:
        spec: Source entry of the recipe; it takes no options.
        split: Name of a list beside ``cls`` and ``inst``: ``train`` or ``val`` of SBD's own.
        root: Folder that SBD's archive is unpacked in, or ``benchmark_RELEASE/dataset`` in it.

    Raises:
        InputError: If the folder or list is missing, or the list is empty.
    """
    check_fixed_layout(spec)
    if spec.options:
        msg = f"source {spec.name}: unknown option {quoted(sorted(spec.options)[0])}; it takes none"
        raise InputError(msg)
    if root is None:
        msg = (
            f"source {spec.name} needs the masks of SBD (benchmark.tgz): fetch them by `sbdata "
            "sources fetch sbd`, or give the folder that it is unpacked in by --source-root "
            f"{spec.name}=PATH"
        )
        raise InputError(msg)
    places = (place for place in sbd_folders(root) if all((place / f).is_dir() for f, *_ in _FILES))
    base = next(places, None)
    if base is None:
        msg = (
            f"{root}: no SBD there (the folders cls and inst are missing); give the folder that "
            f"holds benchmark_RELEASE by --source-root {spec.name}=PATH"
        )
        raise InputError(msg)
    path = base / f"{split}.txt"
    if not is_safe_stem(split) or not path.is_file():
        lists = sorted(p.stem for p in base.glob("*.txt"))
        msg = f"{path}: no such list; lists there: {', '.join(lists) or 'none'}"
        raise InputError(msg)
    return SbdSource(spec.name, split, base, read_id_list(path))
