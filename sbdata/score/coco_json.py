"""Ids of images and categories in COCO's JSON files, resolved to images and classes of a truth."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec

from sbdata.errors import InputError
from sbdata.json_files import decode_json
from sbdata.quoting import has_controls, quoted
from sbdata.taxonomy import Taxonomy, describe_unmatched, own_or_coco_map

_NUMBER = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{1,18})", re.ASCII)


class Category(msgspec.Struct, frozen=True, gc=False):
    """Category of a COCO-format file; ``isthing`` only in panoptic ones."""

    id: int
    name: str
    isthing: int | bool | None = None


class Image(msgspec.Struct, frozen=True, gc=False):
    """Image of a COCO-format file."""

    id: int | str
    file_name: str
    width: int = 0
    height: int = 0

    @property
    def name(self) -> str:
        """Id of the image in sbdata: its own if that is a text, else the stem of its file."""
        return self.id if isinstance(self.id, str) else PurePosixPath(self.file_name).stem


class _Lists(msgspec.Struct):
    categories: list[Category]
    images: list[Image] = []


class CocoIds(NamedTuple):
    """What ids of images and categories mean.

    Attributes:
        file: File that tells the ids.
        classes: Class number by category id, 0 for a category that is no class.
        images: Name of the image by image id.
        unclear: Names that more than one image has, or an image whose id another one has, each with
            the reason.
        lacking: Sentence on the classes without a category; empty if each has one.
    """

    file: Path
    classes: Mapping[int, int]
    images: Mapping[int | str, str]
    unclear: Mapping[str, str] = {}
    lacking: str = ""


def coco_ids(
    file: Path, categories: Iterable[Category], images: Iterable[Image], taxonomy: Taxonomy
) -> CocoIds:
    """Return what the ids of categories and images in a COCO-format file mean.

    Raises:
        InputError: As for :func:`class_numbers`.
    """
    names: dict[int | str, str] = {}
    ids: dict[str, int | str] = {}
    unclear: dict[str, str] = {}
    for image in images:
        name, former = image.name, names.setdefault(image.id, image.name)
        if former != name:
            unclear |= dict.fromkeys(
                (former, name),
                f"id {quoted(image.id)} is given to {quoted(former)} and {quoted(name)}",
            )
        elif ids.setdefault(name, image.id) != image.id:
            unclear[name] = (
                f"images {quoted(ids[name])} and {quoted(image.id)} are both called {quoted(name)}"
            )
    categories = list(categories)
    unmatched = own_or_coco_map(taxonomy).unmatched(category.name for category in categories)
    lacking = describe_unmatched(unmatched, file.name)
    return CocoIds(file, class_numbers(file, categories, taxonomy), names, unclear, lacking)


def read_coco_ids(file: Path, taxonomy: Taxonomy) -> CocoIds:
    """Read what the ids of images and categories in a COCO-format file mean.

    Raises:
        InputError: If the file has no categories, or none of them is a class.
    """
    found = decode_json(file, _Lists, "give a COCO-format file with categories, and images")
    return coco_ids(file, found.categories, found.images, taxonomy)


def class_numbers(file: Path, categories: Iterable[Category], taxonomy: Taxonomy) -> dict[int, int]:
    """Return the class number of each category by its name, 0 for a category that is no class.

    VOC's classes go by their own names and by COCO's.

    Raises:
        InputError: If an id is given twice, a name has control characters, or none is a class.
    """
    names: dict[int, str] = {}
    for category in categories:
        if category.id in names or has_controls(category.name):
            msg = f"{file}: category {category.id}, {quoted(category.name)}, is given twice or has"
            raise InputError(f"{msg} control characters in its name; correct it")
        names[category.id] = category.name
    known = own_or_coco_map(taxonomy)
    found = {number: known.class_of(name) or 0 for number, name in names.items()}
    if not any(found.values()):
        msg = f"{file}: none of its categories is a class of {taxonomy.name}; names must be equal"
        raise InputError(msg)
    return found


def image_finder(
    names: Sequence[str], images: Mapping[int | str, str]
) -> Callable[[int | str], str | None]:
    """Return the function that finds the image that an id means; None for none, or for several.

    Args:
        names: Ids of all images in sbdata.
        images: Image by id, from the file that tells the ids. If it is empty, a text is an image's
            id or file name, and a number the one image whose id is that number, leading zeros and
            ``COCO_val2014_`` aside. A text that is the name of one image and the number of another
            means none of them.
    """
    known, numbered = frozenset(names), dict[int | str, str | None]()
    for name in names:
        if number := _NUMBER.fullmatch(name):
            key = int(number[1])
            numbered[key] = None if key in numbered else name

    def find(image_id: int | str) -> str | None:
        if image_id in images:
            return images[image_id] if images[image_id] in known else None
        if isinstance(image_id, int):
            return None if images else numbered.get(image_id)
        stem = PurePosixPath(image_id).stem
        named = image_id if image_id in known else stem if stem in known else None
        if not re.fullmatch(r"\d{1,18}", image_id, re.ASCII):
            return named
        numbers: Mapping[int | str, str | None] = images or numbered
        other = numbers.get(int(image_id))
        if named is not None and other is not None and other != named:
            return None  # which of the two is meant is not known
        return named or find(int(image_id))

    return find
