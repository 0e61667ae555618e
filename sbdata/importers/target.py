"""Targets: the images that masks are imported for, with their known labels, photos and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sbdata.errors import InputError
from sbdata.importers.names import ImageNames
from sbdata.quoting import quoted
from sbdata.sets import EvaluationSet, open_set
from sbdata.storage import is_safe_stem
from sbdata.taxonomy import Taxonomy
from sbdata.text_files import read_lines
from sbdata.train.photos import open_photo, photos_of


@dataclass(frozen=True)
class Target:
    """The images that masks are imported for.

    Attributes:
        title: Title used in messages.
        image_ids: Image ids, sorted.
        taxonomy: Classes of the masks.
        opened: Set of the images, or None for a list.
        photos: Photos of a list's images by id, if their folder was given.
    """

    title: str
    image_ids: tuple[str, ...]
    taxonomy: Taxonomy
    opened: EvaluationSet | None = None
    photos: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def names(self) -> ImageNames:
        """Lookup of the ids by any spelling."""
        return ImageNames(self.image_ids)

    @cached_property
    def _labels(self) -> Mapping[str, frozenset[int]]:
        if self.opened is None:
            return {}
        labels = self.opened.manifest.images["labels"].to_pylist()
        return {i: frozenset(said) for i, said in zip(self.opened, labels, strict=True)}

    def labels_of(self, image_id: str) -> frozenset[int] | None:
        """Return the classes in an image, or None if they are unknown."""
        return self._labels.get(image_id)

    def photo_of(self, image_id: str) -> Path | None:
        """Return the path of an image's photo, or None if there is none."""
        if self.opened is not None:
            return self.opened.image_path(image_id)
        return self.photos.get(image_id)

    def size_of(self, image_id: str) -> tuple[int, int] | None:
        """Return an image's height and width in pixels, or None if they are unknown.

        Raises:
            InputError: If the photo cannot be read; the message names it.
        """
        if self.opened is not None:
            return self.opened.size_of(image_id)
        photo = self.photos.get(image_id)
        if photo is None:
            return None
        with open_photo(photo) as image:
            return image.size[1], image.size[0]


def target_of_set(root: Path) -> Target:
    """Return the images of a built set as a target, with sizes, labels and ground truth.

    Raises:
        InputError: If the folder is not a set.
    """
    opened = open_set(root)
    if not len(opened):
        msg = f"{root}: the set has no image"
        raise InputError(msg)
    return Target(opened.name, opened.image_ids, opened.taxonomy, opened)


def target_of_list(path: Path, taxonomy: Taxonomy, photos: Path | None = None) -> Target:
    """Return the images listed in a text file as a target, one image per line.

    Args:
        path: Path of the file. The first word of each line is used, and the stem if it is a path:
            ``2007_000032`` and ``/JPEGImages/2007_000032.jpg /Masks/2007_000032.png`` are both
            valid.
        taxonomy: Classes of the masks.
        photos: Folder of the photos, which give the sizes.

    Raises:
        InputError: If a line is not an id or an id occurs twice (the message names file and line),
            or a photo is missing (the message names it).
    """
    lines = read_lines(path, "image ids")
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        image_id = Path(line.split()[0]).name.removesuffix(".jpg").removesuffix(".png")
        if not is_safe_stem(image_id):
            msg = f"{path}, line {number}: {quoted(image_id)} is not an image id"
            raise InputError(msg)
        if image_id in found:
            msg = f"{path}, line {number}: image {image_id} is already in line {found[image_id]}"
            raise InputError(f"{msg}; keep one of them")
        found[image_id] = number
    if not found:
        msg = f"{path}: an empty list; give one image id per line"
        raise InputError(msg)
    of_image: dict[str, Path] = {}
    if photos is not None:
        there = photos_of(photos, found)
        absent = [image_id for image_id, photo in there.items() if photo is None]
        if absent:
            msg = f"{photos}: no photo of {absent[0]} ({len(absent):,} of {len(found):,} lack one)"
            raise InputError(msg)
        of_image = {image_id: photo for image_id, photo in there.items() if photo is not None}
    return Target(path.name, tuple(sorted(found)), taxonomy, photos=of_image)
