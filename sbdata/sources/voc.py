"""PASCAL VOC devkit folders: class and object masks as palette PNGs, lists of image ids.

Masks are used as published: class numbers from ``SegmentationClass``, object numbers from
``SegmentationObject``. 255 in either (VOC's border around objects) is void. Pixels that have a
class but belong to no object are also void, because their instance is unknown; each image with such
pixels is reported. If the devkit's XML annotations are available, an object is *difficult* if the
best-fitting box of its class is marked difficult.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.file_names import AmbiguousNameError, composed, stored
from sbdata.labelmap import check_labelmap
from sbdata.mask_files import VOID, PngError, read_mask
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
from sbdata.storage import inside, is_safe_stem
from sbdata.taxonomy import VOC20, Taxonomy, check_foreground
from sbdata.text_files import read_lines

LICENSE = "PASCAL VOC 2012; images under the Flickr terms of use"
_LISTS = "ImageSets/Segmentation"
_CLASSES, _OBJECTS = "SegmentationClass", "SegmentationObject"
_YEARS = (2012, 2011, 2010, 2009, 2008, 2007)  # of the devkits that have segmentations
_BOX_IOU = 0.5  # an object and a box that overlap less do not match

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class VocSource(PhotoFiles):
    """One split of a VOC devkit folder.

    Attributes:
        name: Name of the source in the recipe.
        split: Name of the list, or ``trainaug``.
        root: Folder that contains ``JPEGImages``.
        ids: Image ids of the split, in the list's order.
        classes: Names of the class numbers 1, 2, ...
    """

    name: str
    split: str
    root: Path
    ids: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def category_names(self) -> Sequence[str]:
        """Return the names of the class numbers."""
        return self.classes

    def chunks(self, images: int) -> Sequence[Chunk]:
        """Divide the list into chunks of at most ``images`` ids."""
        return chunks_of(len(self.ids), images)

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read the masks of one chunk of ids."""
        check_labelmap(self.root, self.classes)
        images: list[AnnotatedImage] = []
        rejections: list[Rejection] = []
        for image_id in self.ids[chunk.start : chunk.stop]:
            image, news = self._read_image(image_id)
            if image is not None:
                images.append(image)
            rejections += news
        return images, rejections

    def members(self) -> Sequence[Member]:
        """List the split's images."""
        root, names = self.root.resolve(), map(_image_name, self.ids)
        return [
            Member(image_id, name, identities_of(root, name))
            for image_id, name in zip(self.ids, names, strict=True)
        ]

    def annotation_files(self) -> list[Path]:
        """Return the existing masks and boxes of the split's images, by image and kind."""
        kinds = (
            ("SegmentationClass", "png"),
            ("SegmentationObject", "png"),
            ("Annotations", "xml"),
        )
        files = []
        for image_id in filter(is_safe_stem, self.ids):
            for folder, suffix in kinds:
                with suppress(AmbiguousNameError):  # such an image is left out
                    files.append(stored(self.root / folder, f"{image_id}.{suffix}"))
        return [file for file in files if file.is_file()]

    def _read_image(self, image_id: str) -> tuple[AnnotatedImage | None, list[Rejection]]:
        def report(reason: str, detail: str, folder: str) -> Rejection:
            return Rejection(self.name, f"{folder}/{image_id}.png", reason, detail, image_id)

        def reject(reason: str, detail: str, folder: str) -> tuple[None, list[Rejection]]:
            return None, [report(reason, detail, folder)]

        if not is_safe_stem(image_id):
            return reject("unsafe_path", f"{quoted(image_id)} is not a plain image id", _LISTS)
        maps: dict[str, npt.NDArray[np.uint8]] = {}
        notes: list[Rejection] = []
        for folder in (_CLASSES, _OBJECTS):
            try:
                path = inside(self.root / folder, f"{image_id}.png")
            except AmbiguousNameError as error:
                return reject("ambiguous_name", str(error), folder)
            except InputError as error:
                return reject("unsafe_path", str(error), folder)
            if not path.is_file():
                return reject("missing_mask", "no such file", folder)
            try:
                if folder == _CLASSES:
                    found = read_mask(path, classes=Taxonomy(self.name, self.classes))
                else:
                    found = read_mask(path, instances=True)
            except PngError as error:
                return reject("mask_unreadable", error.detail, folder)
            if found.by_colour:
                detail = "VOC's colours under other numbers, so the colours determined the numbers"
                notes.append(report("palette_order", detail, folder))
            maps[folder] = found.values
        image, note = self._annotate(image_id, maps[_CLASSES], maps[_OBJECTS])
        return image, notes if note is None else [*notes, note]

    def _annotate(
        self, image_id: str, classes: npt.NDArray[np.uint8], objects: npt.NDArray[np.uint8]
    ) -> tuple[AnnotatedImage | None, Rejection | None]:
        def left_out(reason: str, detail: str) -> Rejection:
            file = f"SegmentationObject/{image_id}.png"
            return Rejection(self.name, file, reason, detail, image_id)

        if classes.shape != objects.shape:
            detail = f"{objects.shape}, the class mask has {classes.shape}"
            return None, left_out("mask_sizes", detail)
        void = (classes == VOID) | (objects == VOID)
        unassigned = (classes > 0) & (objects == 0) & ~void
        note = None
        if unassigned.any():
            detail = f"{unassigned.sum()} pixels of a class belong to no object and become void"
            note = left_out("unassigned_pixels", detail)
            void |= unassigned
        classes, objects = np.where(void, 0, classes), np.where(void, 0, objects)
        if classes.max(initial=0) > len(self.classes):
            return None, left_out("mask_values", f"class {classes.max()} of {len(self.classes)}")
        if ((classes == 0) & (objects > 0)).any():
            return None, left_out("masks_disagree", "pixels of an object that have no class")
        pairs = np.unique(objects[objects > 0].astype(np.int64) * 256 + classes[objects > 0])
        numbers, kinds = pairs // 256, pairs % 256
        if len(set(numbers.tolist())) < len(numbers):
            return None, left_out("object_classes", "an object of more than one class")
        visible = measure_visible(objects, int(numbers.max(initial=0)))
        boxes = self._boxes(image_id)
        annotated = tuple(
            AnnotatedObject(
                annotation_id=str(number),
                category=self.classes[kind - 1],
                rle=visible.rle[number - 1],
                difficult=_is_difficult(
                    self.classes[kind - 1], visible.bbox[number - 1].tolist(), boxes
                ),
            )
            for number, kind in zip(numbers.tolist(), kinds.tolist(), strict=True)
        )
        height, width = classes.shape
        image = AnnotatedImage(
            image_id=image_id,
            source_image_id=image_id,
            file_name=_image_name(image_id),
            width=width,
            height=height,
            objects=annotated,
            license=LICENSE,
            void=encode_mask(void) if void.any() else None,
        )
        return image, note

    def _boxes(self, image_id: str) -> list[tuple[str, Box, bool]]:
        """Return class, box (x, y, width, height) and difficulty of the XML's objects, if any."""
        path = stored(self.root / "Annotations", f"{image_id}.xml")
        if not path.is_file():
            return []
        try:
            tree = ElementTree.parse(path)  # noqa: S314 - expat >= 2.4.1 caps entity expansion
            found = []
            for node in tree.iterfind("object"):
                x0, y0, x1, y1 = (
                    float(node.findtext(f"bndbox/{side}", ""))
                    for side in ("xmin", "ymin", "xmax", "ymax")
                )
                box = (x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1)  # VOC counts from 1, inclusive
                if not all(map(math.isfinite, box)) or min(box[2:]) <= 0:
                    continue  # it fits no object
                name = node.findtext("name", "").strip()
                found.append((name, box, node.findtext("difficult", "0").strip() == "1"))
        except (ElementTree.ParseError, ValueError) as error:
            msg = f"{path}: not a VOC annotation ({error}); restore it from the devkit"
            raise InputError(msg) from error
        return found


def _image_name(image_id: str) -> str:
    return f"JPEGImages/{image_id}.jpg"


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the IoU of two boxes (x, y, width, height)."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(across, 0.0) * max(down, 0.0)
    together = a[2] * a[3] + b[2] * b[3] - shared
    return shared / together if together > 0 else 0.0


def _is_difficult(
    category: str, box: Sequence[float], candidates: Sequence[tuple[str, Box, bool]]
) -> bool:
    """Return True if the best box of the same class fits and is marked difficult."""
    fits = [(_iou(box, other), hard) for name, other, hard in candidates if name == category]
    best, hard = max(fits, default=(0.0, False))
    return hard and best >= _BOX_IOU


def open_voc(spec: SourceSpec, split: str, root: Path | None) -> VocSource:
    """Open one split of a VOC devkit.

    Args:
        spec: Source entry of the recipe; ``options: {classes: [...]}`` names classes other than
            VOC's.
        split: Name of a list in ``ImageSets/Segmentation``. If there is no list ``trainaug``, it is
            derived from SBD's ``train.txt`` and ``val.txt`` in the root's
            ``benchmark_RELEASE/dataset``: VOC train and all of SBD, minus VOC val.
        root: Folder that contains ``JPEGImages``, or a parent folder (``VOCdevkit`` etc.).

    Raises:
        InputError: If the folder or list is missing, the list is empty, or the names of the classes
            are not a list of distinct names.
    """
    check_fixed_layout(spec)
    unknown = sorted(set(spec.options) - {"classes"})
    if unknown:
        msg = f"source {spec.name}: unknown option {quoted(unknown[0])}; valid options: classes"
        raise InputError(msg)
    if root is None:
        msg = (
            f"source {spec.name} needs the VOC2012 devkit (VOCtrainval_11-May-2012.tar from the "
            "PASCAL VOC website): fetch it by `sbdata sources fetch voc`, or give the folder that "
            f"it is unpacked in by --source-root {spec.name}=PATH"
        )
        raise InputError(msg)
    base = _devkit(root, spec.name)
    ids = _ids(base, root, split)
    return VocSource(spec.name, split, base, ids, _classes(spec))


def _classes(spec: SourceSpec) -> tuple[str, ...]:
    given = spec.options.get("classes", VOC20.classes)
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        msg = (
            f"source {spec.name}: the option classes must be a list of names, in the order of the "
            f"numbers 1, 2, ..., not {quoted(given, 60)}"
        )
        raise InputError(msg)
    check_foreground(given, f"source {spec.name}, the option classes")
    return Taxonomy(spec.name, tuple(given)).classes


def train_aug(
    train: Iterable[str], val: Iterable[str], augmented: Iterable[str]
) -> tuple[str, ...]:
    """Return the ids of ``trainaug``, sorted: VOC's train and all of SBD, minus VOC's val.

    SBD was split before VOC 2012 and overlaps its val.

    Args:
        train: Ids of VOC's segmentation list ``train``.
        val: Ids of VOC's segmentation list ``val``.
        augmented: All ids of SBD, its own train and val.

    >>> train_aug(["a", "b"], ["c"], ["b", "c", "d"])
    ('a', 'b', 'd')
    """
    return tuple(sorted((set(train) | set(augmented)) - set(val)))


def devkit_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders that may contain ``JPEGImages``, below what a user calls the VOC devkit.

    VOC 2012 comes first if a folder contains the devkits of several years.
    """
    inner = (place / f"VOC{year}" for year in _YEARS for place in (root, root / "VOCdevkit"))
    return root, *inner


def _devkit(root: Path, name: str) -> Path:
    for base in devkit_folders(root):
        if (base / _LISTS).is_dir():
            return base
    msg = (
        f"{root}: no VOC devkit there ({_LISTS} is missing); give the folder that holds "
        f"JPEGImages by --source-root {name}=PATH"
    )
    raise InputError(msg)


def _ids(base: Path, root: Path, split: str) -> tuple[str, ...]:
    path = base / _LISTS / f"{split}.txt"
    if path.is_file():
        return read_id_list(path, partial(_is_image, base))
    if split == "trainaug" and (sbd := _sbd(base, root)) is not None:
        train, val = (_read_list(base / _LISTS / f"{name}.txt") for name in ("train", "val"))
        augmented = [i for name in ("train", "val") for i in _read_list(sbd / f"{name}.txt")]
        return train_aug(train, val, augmented)
    lists = sorted(p.stem for p in (base / _LISTS).glob("*.txt"))
    msg = f"{path}: no such list; lists there: {', '.join(lists) or 'none'}"
    if split == "trainaug":
        msg += "; `sbdata sources fetch voc sbd` makes it"
    raise InputError(msg)


def _is_image(base: Path, image_id: str) -> bool:
    names = (_image_name(image_id), f"{_CLASSES}/{image_id}.png")
    try:
        return is_safe_stem(image_id) and any(stored(base, name).is_file() for name in names)
    except AmbiguousNameError:  # such an image is left out
        return True


def read_id_list(path: Path, known: Callable[[str], bool] | None = None) -> tuple[str, ...]:
    """Read a list of image ids, one a line; further words of a line are ignored.

    Args:
        path: Text file.
        known: Whether there is an image of an id; if so of a whole line with blanks, that is the
            id.

    Raises:
        InputError: If the list is empty, or has an id twice.
    """
    ids = _read_list(path, known)
    if not ids:
        msg = f"{path}: the list is empty; restore it from its archive"
        raise InputError(msg)
    forms = Counter(map(composed, ids))
    if len(forms) < len(ids):
        twice = next(i for i in ids if forms[composed(i)] > 1)
        msg = f"{path}: {twice} is listed twice; restore it from its archive"
        raise InputError(msg)
    return tuple(ids)


def _sbd(base: Path, root: Path) -> Path | None:
    for folder in (root, base, root.parent):
        lists = folder / "benchmark_RELEASE" / "dataset"
        if (lists / "train.txt").is_file() and (lists / "val.txt").is_file():
            return lists
    return None


def _read_list(path: Path, known: Callable[[str], bool] | None = None) -> list[str]:
    lines = filter(None, map(str.strip, read_lines(path, "image ids")))
    return [line if known and " " in line and known(line) else line.split()[0] for line in lines]
