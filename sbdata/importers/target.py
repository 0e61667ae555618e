"""Targets: the images that imported masks are for, with what is known of each."""

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
    """Some images that masks are for.

    Attributes:
        title: how messages call them.
        image_ids: sorted.
        taxonomy: of the classes.
        opened: the set, where they are one's.
        photos: of images of a list, by id, where their folder was given.
    """

    title: str
    image_ids: tuple[str, ...]
    taxonomy: Taxonomy
    opened: EvaluationSet | None = None
    photos: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def names(self) -> ImageNames:
        """Return the ids by any spelling."""
        return ImageNames(self.image_ids)

    @cached_property
    def _labels(self) -> Mapping[str, frozenset[int]]:
        if self.opened is None:
            return {}
        labels = self.opened.manifest.images["labels"].to_pylist()
        return {i: frozenset(said) for i, said in zip(self.opened, labels, strict=True)}

    def labels_of(self, image_id: str) -> frozenset[int] | None:
        """Return the classes in an image, where they are known."""
        return self._labels.get(image_id)

    def photo_of(self, image_id: str) -> Path | None:
        """Return an image's photo, where it is at hand."""
        if self.opened is not None:
            return self.opened.image_path(image_id)
        return self.photos.get(image_id)

    def size_of(self, image_id: str) -> tuple[int, int] | None:
        """Return an image's height and width in pixels, where they are known.

        Raises:
            InputError: naming the photo, if it cannot be read.
        """
        if self.opened is not None:
            return self.opened.size_of(image_id)
        photo = self.photos.get(image_id)
        if photo is None:
            return None
        with open_photo(photo) as image:
            return image.size[1], image.size[0]


def target_of_set(root: Path) -> Target:
    """Take the images of a built set, with their sizes, labels and ground truth.

    Raises:
        InputError: if the folder is no set.
    """
    opened = open_set(root)
    if not len(opened):
        msg = f"{root}: the set has no image"
        raise InputError(msg)
    return Target(opened.name, opened.image_ids, opened.taxonomy, opened)


def target_of_list(path: Path, taxonomy: Taxonomy, photos: Path | None = None) -> Target:
    """Take the images of a text file, one a line.

    Args:
        path: of the file. Of each line the first word counts, and of a path its stem: both
            ``2007_000032`` and ``/JPEGImages/2007_000032.jpg /Masks/2007_000032.png`` will do.
        taxonomy: of the masks.
        photos: folder of the images, which tells their sizes.

    Raises:
        InputError: naming file and line, for one that is no id or comes twice; or the photo that is
            missing.
    """
    lines = read_lines(path, "image ids")
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        image_id = Path(line.split()[0]).name.removesuffix(".jpg").removesuffix(".png")
        if not is_safe_stem(image_id):
            msg = f"{path}, line {number}: {quoted(image_id)} is no image id"
            raise InputError(msg)
        if image_id in found:
            msg = f"{path}, line {number}: image {image_id} was in line {found[image_id]} already"
            raise InputError(f"{msg}; keep one of them")
        found[image_id] = number
    if not found:
        msg = f"{path}: an empty list; give one image id a line"
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
