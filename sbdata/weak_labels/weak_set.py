"""Weak labels: the part of a training set that a baseline may use.

A :class:`WeakSet` holds photos, image-level labels and, for the methods that use them, boxes. Its
photos are hard links or copies in a separate folder, so that no path leads from them to a
ground-truth mask.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sbdata.checksums import read_checksums
from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.file_names import stored
from sbdata.layout import IMAGES_FOLDER, image_path
from sbdata.sets import EvaluationSet, check_files
from sbdata.storage import inside, remove_leftovers, sha256_of, writing
from sbdata.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)  # there is one for every object
class Box:
    """A box around an object, in pixels: ``x, y`` is its upper left corner."""

    class_id: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)  # there is one for every image
class WeakImage:
    """One photo and its weak labels.

    Attributes:
        image_id: Id of the photo.
        photo: Path of the photo.
        size: Height and width in pixels.
        classes: Numbers of the classes that are present, sorted; may be empty.
        boxes: Boxes of the objects, or None if boxes are not given.
    """

    image_id: str
    photo: Path
    size: tuple[int, int]
    classes: tuple[int, ...]
    boxes: tuple[Box, ...] | None = None


@dataclass(frozen=True)
class WeakSet:
    """The photos and weak labels that a baseline may use.

    Attributes:
        rows: Photos and labels, sorted by id.
        taxonomy: Classes of the labels.
        saliency: Folder of maps ``<image_id>.png``. If it is None, a method that needs maps uses
            the built-in provider.
        synthetic: Whether the photos are generated.
        photo_hashes: SHA-256 of each row's photo, if known.
        map_hashes: SHA-256 of each row's saliency map, if known.
    """

    rows: tuple[WeakImage, ...]
    taxonomy: Taxonomy
    saliency: Path | None = None
    synthetic: bool = False
    photo_hashes: tuple[str, ...] = ()
    map_hashes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def digest(self) -> str:
        """Return a hash of photos and labels: equal digests mean equal supervision."""
        lines = [
            json.dumps([
                row.image_id,
                of_photo,
                row.classes,
                None if row.boxes is None else [
                    [b.class_id, b.x, b.y, b.width, b.height] for b in row.boxes
                ],
                of_map,
            ])
            for row, of_photo, of_map in zip(
                self.rows, self._photo_hashes, self._map_hashes, strict=True
            )
        ]  # fmt: skip
        return hashlib.sha256("\n".join([*self.taxonomy.classes, *lines]).encode()).hexdigest()

    @cached_property
    def saliency_origin(self) -> str | None:
        """Return the name and hash of the given saliency maps; None if there are none."""
        if self.saliency is None:
            return None
        lines = "\n".join(filter(None, self._map_hashes))
        return f"{self.saliency.name}, SHA-256 {hashlib.sha256(lines.encode()).hexdigest()}"

    @cached_property
    def _photo_hashes(self) -> tuple[str, ...]:
        return self.photo_hashes or tuple(sha256_of(row.photo) for row in self.rows)

    @cached_property
    def _map_hashes(self) -> tuple[str | None, ...]:
        """Return a hash of each row's saliency map; all None if no maps are given."""
        folder = self.saliency
        if folder is None:
            return (None,) * len(self.rows)
        return self.map_hashes or tuple(sha256_of(path) for path in _maps(folder, self.rows))


def _maps(folder: Path, rows: Sequence[WeakImage]) -> list[Path]:
    return [stored(folder, f"{row.image_id}.png") for row in rows]


def weak_set(
    opened: EvaluationSet,
    folder: Path | None,
    *,
    boxes: bool | Mapping[str, Sequence[Box]] = False,
    saliency: Path | None = None,
    labels: Mapping[str, Sequence[int]] | None = None,
    hashes: FileHashes | None = None,
) -> WeakSet:
    """Create the weak labels of a built set, with its photos linked in a separate folder.

    Args:
        opened: Training set.
        folder: Folder for the links to the photos; recreated if it is not complete. If it is None,
            nothing is written, and the hashes of the photos are those of the set's checksums:
            enough to tell supervisions apart by their digest, but not to run a method.
        boxes: Whether to include the manifest's boxes, or a mapping from image id to boxes, whose
            classes then become the labels.
        saliency: Folder of saliency maps.
        labels: Class numbers by image id, for example from a CSV, instead of the manifest's.
        hashes: Known hashes of the files.

    Raises:
        InputError: If labels or boxes are missing, name unknown classes or do not match each other,
            a box reaches outside its image, or a photo is not the file that the set was built with.
    """
    hashes = FileHashes() if hashes is None else hashes
    sums: Mapping[str, str] = {}
    if folder is None:
        sums = read_checksums(opened.root)
    else:
        check_files(opened, [IMAGES_FOLDER], hashes)
        remove_leftovers(folder) if folder.is_dir() else folder.mkdir(parents=True)
    rows, known = [], len(opened.taxonomy)
    for image_id in opened:
        classes = list(opened.labels_of(image_id))
        found, size = None, opened.size_of(image_id)
        if boxes is True:
            found = tuple(Box(*values) for values in opened.boxes_of(image_id))
        elif boxes is not False:
            found = _own_boxes(boxes, image_id, size)
            classes = sorted({box.class_id for box in found})
        if labels is not None:
            if image_id not in labels:
                msg = f"the labels lack image {image_id}; give one line for every image of the set"
                raise InputError(msg)
            classes = _own_labels(labels[image_id], found if boxes is not True else None, image_id)
        if any(not 1 <= c <= known for c in classes):
            msg = f"image {image_id}: a label is not a class of {opened.taxonomy.name}; correct it"
            raise InputError(msg)
        photo = image_path(opened.root, image_id)
        if folder is not None:
            _link(photo, inside(folder, f"{image_id}.jpg"), hashes)
            photo = inside(folder, f"{image_id}.jpg")
        rows.append(WeakImage(image_id, photo, size, tuple(classes), found))
    if not rows:
        msg = f"{opened.root}: the set has no image to learn from; give another set"
        raise InputError(msg)
    synthetic = bool(opened.manifest.meta.get("synthetic", False))
    maps = [] if saliency is None else _maps(saliency, rows)
    return WeakSet(
        tuple(rows),
        opened.taxonomy,
        saliency,
        synthetic,
        tuple(
            sums.get(image_path(Path(), row.image_id).as_posix(), "absent")
            if folder is None
            else hashes.sha256(row.photo)
            for row in rows
        ),
        tuple(hashes.sha256(path) for path in maps),
    )


def _own_boxes(
    boxes: Mapping[str, Sequence[Box]], image_id: str, size: tuple[int, int]
) -> tuple[Box, ...]:
    if image_id not in boxes:
        msg = f"the boxes lack image {image_id}; give those of every image of the set"
        raise InputError(msg)
    for box in boxes[image_id]:
        inside = box.x + box.width <= size[1] and box.y + box.height <= size[0]
        if min(box.x, box.y) < 0 or min(box.width, box.height) < 1 or not inside:
            msg = (
                f"image {image_id}: a box of {box.width} x {box.height} pixels at {box.x}, {box.y} "
                f"does not lie in the image of {size[1]} x {size[0]}; give boxes of this image"
            )
            raise InputError(msg)
    return tuple(boxes[image_id])


def _own_labels(labels: Sequence[int], boxes: tuple[Box, ...] | None, image_id: str) -> list[int]:
    lacking = {box.class_id for box in boxes or ()} - set(labels)
    if lacking:
        msg = f"image {image_id}: class {min(lacking)} has a box but no label; correct one of them"
        raise InputError(msg)
    return sorted(set(labels))


def _link(photo: Path, place: Path, hashes: FileHashes) -> None:
    """Create a hard link or a copy of a photo; a symbolic link would reveal its origin."""
    if not _is_there(photo, place, hashes):
        with writing(place) as temporary:
            try:
                os.link(photo, temporary)
            except OSError:  # another file system
                shutil.copy2(photo, temporary)
    if place.samefile(photo):
        hashes.same(photo, place)


def _is_there(photo: Path, place: Path, hashes: FileHashes) -> bool:
    """Return whether a file exists at a path with the bytes of a photo."""
    if place.is_symlink() or not place.is_file():
        return False
    return place.samefile(photo) or hashes.sha256(place) == hashes.sha256(photo)
