"""COCO panoptic format: a JSON file of segments, and one RGB PNG of segment ids per image.

The id of a pixel's segment is red + 256 green + 65536 blue; 0 is no segment. As truth, a segment of
a thing category is an instance; one of a stuff category has its class but is no instance; a crowd
of a class is void, as in COCO's instances files; and 0 is void. A category outside the classes is
background. A PNG must have exactly the segments that the file lists, as panopticapi demands.

Source: Kirillov et al., Panoptic Segmentation, CVPR 2019; github.com/cocodataset/panopticapi.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.json_files import decode_json
from sbdata.limits import image_size_problem
from sbdata.mask_files import RGB, VOID, PngError, check_size, read_header, read_png
from sbdata.metrics import ImageTruth
from sbdata.plurals import count
from sbdata.quoting import has_controls, quoted
from sbdata.score.coco_json import Category, Image, class_numbers
from sbdata.score.ground_truth import (
    GroundTruth,
    GroundTruthImage,
    Loader,
    bad_truth,
    case_notes,
    photos_in,
    stuff_notes,
)
from sbdata.sizes import SizeBins
from sbdata.storage import inside, is_safe_stem
from sbdata.taxonomy import Taxonomy, named_taxonomy

REMEDY = "give a JSON file of COCO's panoptic format"


class Segment(msgspec.Struct, frozen=True, gc=False):
    """One segment of an image; its id has the three bytes of a colour, and 0 is none."""

    id: Annotated[int, msgspec.Meta(ge=1, lt=1 << 24)]
    category_id: int
    iscrowd: int | bool = 0


class Annotation(msgspec.Struct, frozen=True):
    """Segments of one image, and the name of its PNG."""

    image_id: int | str
    file_name: str
    segments_info: list[Segment]


class PanopticFile(msgspec.Struct):
    """Content of a panoptic JSON file."""

    annotations: list[Annotation]
    images: list[Image] = []
    categories: list[Category] = []


def find_segments(file: Path, annotations: Sequence[Annotation], given: Path | None = None) -> Path:
    """Return the folder of PNGs: the given one, the one named like the file, or the file's parent.

    Raises:
        InputError: If it lacks the PNG of the first annotation, or there is no annotation.
    """
    places = [given] if given is not None else [file.with_suffix(""), file.parent]
    for place in places if annotations else ():
        with suppress(OSError):  # a name that is too long
            if place.is_dir() and inside(place, annotations[0].file_name).is_file():
                return place
    what = f"PNGs, such as {quoted(annotations[0].file_name)}," if annotations else "annotations"
    msg = f"{file}: no {what} in {' or '.join(map(str, places))}; put them there"
    raise InputError(f"{msg}, or give the folder of a truth's PNGs by --instance-masks")


def read_segments(
    folder: Path, annotation: Annotation, size: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], str]:
    """Return for each pixel 0, or 1 + the index of its segment in the annotation; and the SHA-256.

    Raises:
        PngError: If the PNG has another size or kind of pixels, or other segments than listed.
        InputError: If its name leads out of the folder.
    """
    if has_controls(annotation.file_name):
        msg = f"{folder}: a PNG cannot be called {quoted(annotation.file_name)}; correct the JSON"
        raise InputError(msg)
    path = inside(folder, annotation.file_name)
    header = read_header(path)
    check_size(path, header, size)
    if (header.colour, header.depth) != (RGB, 8):
        raise PngError(path, "mode", f"{header.words}; segment ids are written as 8-bit RGB")
    png = read_png(path, header)
    codes = png.pixels.astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], np.int32)
    ids = np.array([0, *(segment.id for segment in annotation.segments_info)], np.int64)
    order = np.argsort(ids, kind="stable")
    index = order[np.minimum(np.searchsorted(ids[order], codes), ids.size - 1)]
    wrong = ids[index] != codes
    unused = np.bincount(index.ravel(), minlength=ids.size)[1:] == 0  # a repeated id, too
    problem = ""
    if wrong.any():
        y, x = (int(k) for k in np.argwhere(wrong)[0])
        problem = f"segment {codes[y, x]} at x = {x}, y = {y} is not in its segments_info"
    elif unused.any():
        problem = (
            f"segment {ids[1:][unused][0]} of its segments_info has no pixel, or is there twice"
        )
    if problem:
        raise PngError(path, "values", f"{problem}; JSON and PNG must belong together")
    return index, png.digest


# --- as truth -------------------------------------------------------------------------------------


def truth_from_panoptic(
    file: Path,
    taxonomy: str | None = None,
    *,
    bins: SizeBins,
    segments: Path | None = None,
    photos: Path | None = None,
) -> GroundTruth:
    """Return the truth of a panoptic file.

    Args:
        file: JSON file.
        taxonomy: Name of a known taxonomy, or a text file; by default, or ``own``, the file's
            categories in the order of their ids.
        bins: Size bins.
        segments: Folder of the PNGs; by default the one named like the file, or the file's parent.
        photos: Folder of the photos, if any.

    Raises:
        InputError: If the file cannot be used, or its PNGs are not found.
    """
    found = decode_json(file, PanopticFile, REMEDY)
    categories = sorted(found.categories, key=lambda category: category.id)
    if not categories or any(category.isthing is None for category in categories):
        msg = f"{file}: categories with isthing are needed to tell things from stuff; add them"
        raise InputError(msg)
    if taxonomy is not None and taxonomy != "own":
        classes = named_taxonomy(taxonomy)
    else:
        try:
            classes = Taxonomy("own", tuple(category.name for category in categories))
        except InputError as error:
            msg = f"{file}: its categories cannot be classes: {error}"
            raise InputError(msg) from error
    numbers = class_numbers(file, categories, classes)
    folder = find_segments(file, found.annotations, segments)
    images = {image.id: image for image in found.images}
    given = Counter(image.id for image in found.images)
    paired: dict[str, tuple[Image, Annotation]] = {}
    for annotation in found.annotations:
        image = images.get(annotation.image_id)
        if image is None:
            problem = "no such image is listed"
        elif given[image.id] > 1:
            problem = "that id is given to more than one image"
        elif not is_safe_stem(image.name) or image.name in paired:
            problem = f"{quoted(image.name)} is no plain name, or that of another image, too"
        else:
            problem = image_size_problem(image.width, image.height, ".png")
            paired[image.name] = (image, annotation)
        unknown = {segment.category_id for segment in annotation.segments_info} - numbers.keys()
        if problem or unknown:
            problem = problem or f"category {min(unknown)} is not listed"
            msg = (
                f"{file}: annotation of image {quoted(annotation.image_id)}: {problem}; correct it"
            )
            raise InputError(msg)
    ids = tuple(sorted(paired))
    bare = frozenset(image.name for image in found.images) - set(ids)
    note = f"{count(len(bare), 'image')} of {file.name} left out, without annotation"
    sizes = {image_id: (paired[image_id][0].width, paired[image_id][0].height) for image_id in ids}
    annotations = tuple(paired[image_id][1] for image_id in ids)
    things = frozenset(category.id for category in categories if category.isthing)
    stuff = sum(numbers[category.id] > 0 for category in categories if not category.isthing)
    return GroundTruth(
        name=file.stem,
        kind="panoptic",
        path=file,
        taxonomy=classes,
        bins=bins,
        synthetic=False,
        image_ids=ids,
        sizes=sizes,
        loaders=partial(_loaders, _Reader(folder, annotations, sizes, numbers, things), ids),
        notes=(*stuff_notes(stuff, len(classes)), *case_notes(ids), *([note] if bare else [])),
        photos=photos_in(photos, ids) if photos else {},
        left_out=bare,
        has_background=not all(numbers.values()),
    )


@dataclass(frozen=True)
class _Reader:
    folder: Path
    annotations: tuple[Annotation, ...]
    sizes: Mapping[str, tuple[int, int]]
    numbers: Mapping[int, int]
    things: frozenset[int]

    def load(self, place: int, image_id: str) -> GroundTruthImage:
        annotation = self.annotations[place]
        try:
            index, digest = read_segments(self.folder, annotation, self.sizes[image_id])
        except PngError as error:
            raise bad_truth(Path(error.path), error.detail) from error
        classes, objects = [VOID], [0]
        for segment in annotation.segments_info:
            number = self.numbers[segment.category_id]
            classes.append(VOID if segment.iscrowd and number else number)
            single = number and segment.category_id in self.things and not segment.iscrowd
            objects.append(max(objects) + 1 if single else 0)
        numbers, ids = np.array(classes, np.uint8), np.array(objects, np.uint16)
        class_map, instance_map = numbers[index], ids[index]
        # What a category is, class and thing or stuff, is said elsewhere in the file.
        meant = msgspec.json.encode([annotation, classes, objects])
        record = hashlib.sha256(meant).hexdigest()
        unassigned = (instance_map == 0) & (class_map > 0) & (class_map != VOID)
        return GroundTruthImage(
            ImageTruth(class_map, instance_map, ids[ids > 0].astype(np.int32), numbers[ids > 0]),
            f"{digest} {record}",
            int(np.count_nonzero(unassigned)),
        )


def _loaders(reader: _Reader, ids: Sequence[str], start: int, stop: int) -> list[Loader]:
    return [partial(reader.load, place, ids[place]) for place in range(start, stop)]
