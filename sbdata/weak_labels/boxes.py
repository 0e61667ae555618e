"""Read user-provided boxes: a JSON file in COCO's format, or a folder of VOC's XML annotations."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from sbdata.errors import InputError
from sbdata.quoting import quoted
from sbdata.sources.coco import crowd_flag
from sbdata.sources.json_records import MISSING, find_records, read_records
from sbdata.taxonomy import Taxonomy
from sbdata.weak_labels.voc_files import read_voc_files
from sbdata.weak_labels.weak_set import Box

Boxes = dict[str, tuple[Box, ...]]
"""Boxes by image id, in the file's order; an image without objects has an empty tuple."""

_ARRAYS = ("images", "annotations", "categories")
_SLACK = 0.01  # pixels; tolerance for rounded decimals in files
_BEYOND = 1.0  # pixels; a box that reaches this far outside its image is cut


def read_boxes(path: Path, taxonomy: Taxonomy, image_ids: Collection[str]) -> Boxes:
    """Read the boxes around the objects of some images.

    Args:
        path: JSON file in COCO's format, or folder of ``<image_id>.xml`` in VOC's format. In a JSON
            file an image is identified by the name of its file without the suffix; annotations of
            crowds are ignored, because they do not belong to a single object.
        taxonomy: Classes, identified by their names.
        image_ids: Ids of the images to read; other images are ignored.

    Returns:
        Boxes of the requested images that the file has.

    Raises:
        InputError: If something cannot be read, a class is not in the taxonomy, a box is
            impossible, or an image occurs twice; the message names the file and the object.
    """
    wanted = set(image_ids)
    if path.is_dir():
        return _read_folder(path, taxonomy, wanted)
    if path.is_file():
        return _read_coco(path, taxonomy, wanted)
    msg = f"{path}: no such file; --boxes takes a COCO JSON file or a folder of VOC's XML files"
    raise InputError(msg)


def whole_box(
    class_id: int,
    edges: tuple[float, float, float, float],
    size: tuple[int, int] | None = None,
) -> Box:
    """Return the smallest box of whole pixels around a rectangle.

    An edge up to a hundredth of a pixel beyond a pixel's edge counts as on it. A rectangle without
    width or height gets one pixel.

    Args:
        class_id: Class of the object.
        edges: Left, upper, right and lower edge in pixels, from the image's upper left corner.
        size: Height and width of the image in pixels, if known. A box that reaches at most one
            pixel outside is cut.

    Raises:
        ValueError: If the box is impossible; the text is the end of a sentence.

    >>> whole_box(1, (2.5, 0.0, 4.001, 3.0))
    Box(class_id=1, x=2, y=0, width=2, height=3)
    """
    left, upper, right, lower = edges
    if not all(map(math.isfinite, edges)):
        raise ValueError("has a coordinate that is not a number")
    if right < left or lower < upper:
        raise ValueError("has a negative width or height")
    height, width = size or (math.inf, math.inf)
    if min(left, upper) < -_BEYOND or right > width + _BEYOND or lower > height + _BEYOND:
        raise ValueError(f"reaches outside the image: {left:g}, {upper:g} to {right:g}, {lower:g}")
    x, across = _whole(left, right, width)
    y, down = _whole(upper, lower, height)
    return Box(class_id, x, y, across, down)


def _whole(start: float, stop: float, end: float) -> tuple[int, int]:
    """Return the first whole pixel of an interval within ``0..end``, and the number of pixels."""
    first = int(min(max(math.floor(start + _SLACK), 0), end - 1))
    last = int(min(math.ceil(stop - _SLACK), end))
    return first, max(last - first, 1)


# --- VOC ------------------------------------------------------------------------------------------


def _read_folder(path: Path, taxonomy: Taxonomy, wanted: set[str]) -> Boxes:
    found: Boxes = {}
    for image_id, file, tree in read_voc_files(path, wanted):
        size = _size_of(tree)
        found[image_id] = tuple(
            _voc_box(file, number, node, taxonomy, size)
            for number, node in enumerate(tree.iterfind("object"), start=1)
        )
    return found


def _voc_box(
    file: Path,
    number: int,
    node: ElementTree.Element,
    taxonomy: Taxonomy,
    size: tuple[int, int] | None,
) -> Box:
    name = node.findtext("name", "").strip()
    if name not in taxonomy.classes:
        msg = f"{file}: {quoted(name)} is not a class of {taxonomy.name}; correct the file"
        raise InputError(msg)
    try:
        sides = [node.findtext(f"bndbox/{side}", "") for side in ("xmin", "ymin", "xmax", "ymax")]
        left, upper, right, lower = map(float, sides)
    except ValueError as error:
        msg = f"{file}: object {number} ({name}) has no bndbox of four numbers; correct the file"
        raise InputError(msg) from error
    edges = (left - 1, upper - 1, right, lower)  # VOC counts pixels from 1, the last one included
    try:
        return whole_box(taxonomy.id_of(name), edges, size)
    except ValueError as error:
        msg = f"{file}: the box of object {number} ({name}) {error}; correct the file"
        raise InputError(msg) from error


def _size_of(tree: ElementTree.ElementTree[Any]) -> tuple[int, int] | None:
    """Return the height and width in an annotation, or None if they are missing."""
    texts = [tree.findtext(f"size/{side}", "").strip() for side in ("height", "width")]
    if not all(text.isascii() and text.isdigit() and int(text) > 0 for text in texts):
        return None
    return int(texts[0]), int(texts[1])


# --- COCO -----------------------------------------------------------------------------------------


def _read_coco(path: Path, taxonomy: Taxonomy, wanted: set[str]) -> Boxes:
    found: dict[str, list[Box]] = {}
    for image_id, size, where, record, class_id in _coco_objects(path, taxonomy, wanted, []):
        of_image = found.setdefault(image_id, [])
        if record is not None:
            of_image.append(_coco_box(where, record, class_id, taxonomy, size))
    return {image_id: tuple(boxes) for image_id, boxes in found.items()}


def read_coco_labels(
    path: Path, taxonomy: Taxonomy, wanted: set[str], others: list[str]
) -> dict[str, tuple[int, ...]]:
    """Read the classes of some images from a file in COCO's format; crowds are ignored.

    Args:
        path: JSON file; its annotations need neither masks nor boxes.
        taxonomy: Classes, identified by their names.
        wanted: Ids of the images to read.
        others: List to which the ids of the file's other images are appended.

    Raises:
        InputError: If something cannot be read, a class is not in the taxonomy, or an image occurs
            twice.
    """
    found: dict[str, set[int]] = {}
    for image_id, _, _, record, class_id in _coco_objects(path, taxonomy, wanted, others):
        of_image = found.setdefault(image_id, set())
        if record is not None:
            of_image.add(class_id)
    return {image_id: tuple(sorted(classes)) for image_id, classes in found.items()}


def _coco_objects(
    path: Path, taxonomy: Taxonomy, wanted: set[str], others: list[str]
) -> Iterator[tuple[str, tuple[int, int] | None, str, dict[str, Any] | None, int]]:
    """Yield each wanted image once without an object, then its objects.

    Yields:
        Id and size of the image, name of the annotation for messages, its record and class; None
        and 0 in place of the last two for the image itself.
    """
    given = find_records(path, _ARRAYS)
    absent = next((name for name in _ARRAYS if name not in given), None)
    if absent is not None:
        msg = f"{path}: not a COCO-format file, it has no {absent!r}; write images, annotations "
        raise InputError(f"{msg}and categories")
    names: dict[Any, Any] = {}
    for record in read_records(path, given["categories"].span):
        number = record.get("id")
        if type(number) is not int or number in names:
            msg = f"{path}: its categories need distinct whole numbers as ids, one is "
            raise InputError(f"{msg}{quoted(number, 40)}; correct the file")
        names[number] = record.get("name")
    images: dict[int, tuple[str, tuple[int, int] | None]] = {}
    found: set[str] = set()
    for record in read_records(path, given["images"].span):
        image_id = _image_id(record)
        if image_id is None or image_id not in wanted:
            others += [] if image_id is None else [image_id]
            continue
        number = record.get("id")
        if type(number) is not int:
            msg = f"{path}: the id of image {image_id} must be a whole number, not {number!r:.40}"
            raise InputError(f"{msg}; correct the file")
        if image_id in found or number in images:
            msg = f"{path}: image {image_id} or its id {number} occurs twice; keep one of them"
            raise InputError(msg)
        images[number] = (image_id, _image_size(record))
        found.add(image_id)
        yield image_id, images[number][1], "", None, 0
    annotations = given["annotations"]
    strays = np.flatnonzero(annotations.image_id == MISSING)
    if strays.size:
        (record,) = read_records(path, annotations.span[strays[:1]])
        msg = (
            f"{path}: annotation {record.get('id')!r:.40}: its image_id must be a whole number, "
            f"not {quoted(record.get('image_id'), 40)} ({strays.size:,} such annotations); correct "
            "the file"
        )
        raise InputError(msg)
    lost = np.flatnonzero(~np.isin(annotations.image_id, given["images"].id))
    if lost.size:
        (record,) = read_records(path, annotations.span[lost[:1]])
        msg = (
            f"{path}: annotation {record.get('id')!r:.40}: its image {record['image_id']} is not "
            f"listed ({lost.size:,} such annotations); list the images, or remove the annotations"
        )
        raise InputError(msg)
    own = np.fromiter((i in images for i in annotations.image_id.tolist()), bool)
    for record in read_records(path, annotations.span[own]):
        where = f"{path}: annotation {record.get('id')!r:.40}"
        crowd = crowd_flag(record.get("iscrowd"))
        if crowd is None:
            msg = f"{where}: iscrowd is {quoted(record['iscrowd'], 40)}; it must be 0 or 1"
            raise InputError(msg)
        if crowd:
            continue
        image_id, size = images[record["image_id"]]
        yield image_id, size, where, record, _coco_class(where, record, names, taxonomy)


def _coco_class(
    where: str, record: dict[str, Any], names: dict[Any, Any], taxonomy: Taxonomy
) -> int:
    number = record.get("category_id")
    name = names.get(number) if type(number) is int else None
    if name is None:
        msg = f"{where} has category {number!r:.40}, which the file does not list; correct it"
        raise InputError(msg)
    if name not in taxonomy.classes:
        msg = f"{where}: {name!r:.60} is not a class of {taxonomy.name}; rename or remove it"
        raise InputError(msg)
    return taxonomy.id_of(name)


def _coco_box(
    where: str,
    record: dict[str, Any],
    class_id: int,
    taxonomy: Taxonomy,
    size: tuple[int, int] | None,
) -> Box:
    name = taxonomy.name_of(class_id)
    given = record.get("bbox")
    if (
        not isinstance(given, list)
        or len(given) != 4
        or not all(type(value) in (int, float) for value in given)
    ):
        msg = f"{where} ({name}) has no bbox of four numbers; correct the file"
        raise InputError(msg)
    try:
        x, y, width, height = map(float, given)
        return whole_box(class_id, (x, y, x + width, y + height), size)
    except (ValueError, OverflowError) as error:
        msg = f"{where} ({name}): its bbox {error}; correct the file"
        raise InputError(msg) from error


def _image_id(record: dict[str, Any]) -> str | None:
    """Return the stem of an image's file, which sets use as its id."""
    name = record.get("file_name") or record.get("coco_url")  # LVIS gives only the URL
    return PurePosixPath(name).stem if isinstance(name, str) else None


def _image_size(record: dict[str, Any]) -> tuple[int, int] | None:
    height, width = record.get("height"), record.get("width")
    if type(height) is int and type(width) is int and height > 0 and width > 0:
        return height, width
    return None
