"""Predictions in one COCO JSON file: results with run-length codes, or panoptic segments.

Results are a list of ``{image_id, category_id, segmentation: {size, counts}, score}``. The masks of
an image are drawn over one another into its class map by ascending score, the highest on top; masks
of equal score, or all masks if none has a score, in the file's order, the last one on top. Segments
of categories outside the classes are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from sbdata.errors import InputError
from sbdata.json_files import decode_json
from sbdata.mask_files import MaskFile, PngError, read_at_most
from sbdata.masks import MaskError, as_rle, by_rows, draw_masks
from sbdata.plurals import count
from sbdata.quoting import quoted
from sbdata.score.coco_json import coco_ids, image_finder, read_coco_ids
from sbdata.score.inputs import PredictionIndex, Problem
from sbdata.score.panoptic import REMEDY, PanopticFile, find_segments, read_segments
from sbdata.storage import inside, sha256_of
from sbdata.taxonomy import Taxonomy

_RESULTS = "give a list of results with image_id, category_id and {size, counts} as segmentation"


class _Code(msgspec.Struct, frozen=True, gc=False):
    size: tuple[int, int]
    counts: str | list[int]


class _Result(msgspec.Struct, frozen=True, gc=False):
    image_id: int | str
    category_id: int
    segmentation: _Code
    score: float | None = None


def list_json(
    file: Path,
    image_ids: Sequence[str],
    taxonomy: Taxonomy,
    *,
    ids_file: Path | None = None,
    truth_file: Path | None = None,
    allow_missing: bool = False,
    left_out: Collection[str] = (),
) -> PredictionIndex:
    """Compare the images in a JSON file with the images to be scored.

    Args:
        file: JSON file.
        image_ids: Ids of the images of the truth.
        taxonomy: Classes of the truth.
        ids_file: COCO-format file that defines the ids of images and categories, if given.
        truth_file: COCO-format file of the truth, which defines them if ``ids_file`` is None and
            ``file`` does not list categories itself.
        allow_missing: True if a missing image is not a problem.
        left_out: Ids of images of the dataset that the truth had to leave out.

    Raises:
        InputError: If the file is neither kind, a category is unknown, no file defines them, or the
            file that does has two images of one name or id.
    """
    read_map: Callable[..., MaskFile]
    items: Iterable[tuple[int | str, Iterable[int], Any]]
    ids, notes, folder = None, [], None
    place = ids_file or truth_file
    if read_at_most(file, 512).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        results = decode_json(file, list[_Result], _RESULTS)
        scores = [result.score for result in results if result.score is not None]
        if 0 < len(scores) < len(results):
            msg = f"{file}: {len(scores)} of {len(results)} results have a score, which says what"
            raise InputError(f"{msg} is on top; give all of them one, or none")
        order = "in the file's order, the last one on top"
        if scores:
            order = f"by score, {min(scores):g} to {max(scores):g}, the highest on top"
        notes.append(f"masks drawn {order}")
        items = ((r.image_id, (r.category_id,), r) for r in results)
        read_map = partial(_draw, file, sha256_of(file))
    else:
        found = decode_json(file, PanopticFile, f"{_RESULTS}, or {REMEDY}")
        if found.categories and ids_file is None:
            ids = coco_ids(file, found.categories, found.images, taxonomy)
        items = (
            (a.image_id, (s.category_id for s in a.segments_info), a) for a in found.annotations
        )
        folder = find_segments(file, found.annotations)
        read_map = partial(_decode, file, folder)
    if ids is None:
        if place is None:
            msg = f"{file}: nothing tells which classes its category ids are; give a COCO-format"
            raise InputError(f"{msg} file with them by --coco-ids, such as training annotations")
        ids = read_coco_ids(place, taxonomy)
    if (unclear := next((name for name in image_ids if name in ids.unclear), None)) is not None:
        msg = f"{ids.file}: {ids.unclear[unclear]}, so predictions may be of either; correct it, or"
        raise InputError(f"{msg} give another file by --coco-ids")
    by_image: dict[str, list[tuple[int, Any]]] = {}
    stray, foreign = dict[int | str, None](), 0
    find = image_finder((*image_ids, *left_out), ids.images)
    for number, (image_id, categories, item) in enumerate(items):
        for category in categories:
            if category not in ids.classes:
                msg = f"{file}: entry {number} has category_id {category}, which {ids.file} does"
                raise InputError(f"{msg} not list; give the file that does by --coco-ids")
            foreign += not ids.classes[category]
        if (name := find(image_id)) is None:
            stray[image_id] = None
        else:
            by_image.setdefault(name, []).append((number, item))
    if ids.lacking and ids.file != truth_file:  # whose classes lack the same, as its note says
        notes.append(ids.lacking)
    if foreign:
        notes.append(f"{count(foreign, 'segment')} left out, of categories that are no class")
    missing = tuple(sorted(set(image_ids) - by_image.keys()))
    if len(missing) == len(image_ids):
        msg = f"{file}: no prediction for any of the {len(image_ids)} images; give another file"
        raise InputError(f"{msg}, or the one that tells its image ids by --coco-ids")
    extra = "no image of the set; leave it out, or tell the ids by --coco-ids"
    lost = "no segment of it; if nothing was found there, add --allow-missing"
    seen = [("extra", f"image_id {quoted(image_id)}: {extra}") for image_id in stray]
    if not allow_missing:
        seen += [("missing", f"image {image_id}: {lost}") for image_id in missing]
    return PredictionIndex(
        file,
        frozenset(by_image.keys() & set(image_ids)),
        missing,
        tuple(sorted(by_image.keys() & set(left_out))),
        tuple(Problem(file.name, kind, detail, str(file)) for kind, detail in seen),
        read_map=partial(read_map, by_image, ids.classes),
        file_of=None if folder is None else partial(_png_of, folder, by_image),
        notes=tuple(notes),
        identity=f"{sha256_of(file)} {sha256_of(ids.file)}",
    )


def _draw(
    file: Path,
    digest: str,
    by_image: Mapping[str, Sequence[tuple[int, _Result]]],
    classes: Mapping[int, int],
    image_id: str,
    size: tuple[int, int],
) -> MaskFile:
    """Draw the class map of an image from its results."""
    width, height = size
    codes, drawn, former = [], [], dict[Any, int]()
    for number, result in sorted(by_image[image_id], key=lambda pair: pair[1].score or 0.0):
        where, code = f"image {image_id}, entry {number}", result.segmentation
        if code.size != (height, width):
            seen = f"size {list(code.size)}, its image has {[height, width]} (height, width)"
            raise PngError(file, "size", f"{where}: {seen}")
        try:
            rle = as_rle(code.counts, height, width)
        except MaskError as error:
            raise PngError(file, "unreadable", f"{where}: {error}") from error
        first = former.setdefault((result.category_id, result.score, rle), number)
        if first != number:
            raise PngError(file, "duplicate", f"{where}: the same as entry {first}; keep one")
        if classes[result.category_id]:
            codes.append(rle)
            drawn.append(classes[result.category_id])
    return MaskFile(by_rows(draw_masks(codes, height, width, labels=drawn)), digest)


def _png_of(folder: Path, by_image: Mapping[str, Sequence[tuple[int, Any]]], image_id: str) -> Path:
    """Return the PNG of an image of a panoptic file."""
    return inside(folder, by_image[image_id][0][1].file_name)


def _decode(
    file: Path,
    folder: Path,
    by_image: Mapping[str, Sequence[tuple[int, Any]]],
    classes: Mapping[int, int],
    image_id: str,
    size: tuple[int, int],
) -> MaskFile:
    """Read the class map of an image from its panoptic PNG."""
    (_, annotation), *others = by_image[image_id]
    if others:
        raise PngError(file, "duplicate", f"image {image_id}: two annotations; keep one")
    index, digest = read_segments(folder, annotation, size)
    numbers = [classes[segment.category_id] for segment in annotation.segments_info]
    return MaskFile(np.array([0, *numbers], np.uint8)[index], digest)
