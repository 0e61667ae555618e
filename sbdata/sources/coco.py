"""COCO-format annotation files: MS COCO's own, and any file of the same shape.

The file is never parsed whole. ``json_records`` finds where each record lies; the index built from
that, sorted by image, is all that stays in memory, and a chunk of images parses only its own
records.

An image with even one unusable annotation of a wanted class is rejected: if an object cannot be
drawn, the correct pixels of every method would count as wrong.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.file_names import composed
from sbdata.limits import image_size_problem
from sbdata.masks import MaskError, as_rle, outlines_to_rles
from sbdata.printable import printable
from sbdata.quoting import has_controls, quoted
from sbdata.recipe import SourceSpec
from sbdata.sources import (
    AnnotatedImage,
    AnnotatedObject,
    Chunk,
    Member,
    PhotoFiles,
    Rejection,
    chunks_of,
)
from sbdata.sources.identity import coco_image, identities_of
from sbdata.sources.json_records import (
    MISSING,
    Record,
    Records,
    find_records,
    parse_records,
    read_records,
)
from sbdata.storage import is_safe_name, is_safe_stem, unsafe_reason
from sbdata.taxonomy import CLASS_MAPS, COCO80, COCO_IDS

_ARRAYS = ("images", "annotations", "categories", "licenses")
_KNOWN_SPLIT = re.compile(r"(?:train|val)(2014|2017)")
_FIRST_IMAGE, _LAST_IMAGE = 9, 581_929  # ids in COCO's training and validation splits
_LAST_STUFF = 183  # from 92 on, COCO's category ids are those of stuff

COCO_CATEGORIES = dict(zip(COCO_IDS, COCO80.classes, strict=True))
"""Names of COCO's 80 categories of objects by their ids."""


@dataclass(frozen=True)
class Flaw:
    """Why an image cannot be used: slug of the reason, description, and annotation concerned."""

    reason: str
    detail: str
    annotation_id: str = ""


class _Unusable(Exception):  # noqa: N818 - carries a flaw out of nested checks; not an error
    def __init__(self, reason: str, detail: str, annotation_id: int | str = "") -> None:
        super().__init__(reason)
        self.flaw = Flaw(reason, detail, str(annotation_id))


@dataclass(frozen=True, eq=False)
class Index:
    """Byte positions of the records of each image in an annotation file.

    Positions count the images by ascending id.

    Attributes:
        image_id: Ids of the images, int64, ascending.
        image_span: Start and stop of each image's record in bytes, int64 ``(n, 2)``.
        first: First annotation of each image, int64 ``(n + 1,)``; image i has the annotations
            ``first[i]`` to ``first[i + 1]``.
        annotation_id: Ids of the annotations, int64, ascending within each image.
        annotation_span: Start and stop of each annotation in bytes, int64 ``(m, 2)``.
        flaws: Flaws of images that are unusable independent of their records, by position.
    """

    image_id: npt.NDArray[np.int64]
    image_span: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    annotation_id: npt.NDArray[np.int64]
    annotation_span: npt.NDArray[np.int64]
    flaws: Mapping[int, Flaw]

    def __len__(self) -> int:
        return len(self.image_id)


@dataclass(frozen=True)
class PhotoNames:
    """Rule by which image records name their files, relative to the source's root.

    Attributes:
        folder: Folder that ``file_name`` is relative to, or None to take the URL's last folder.
        from_url: True to take the name from ``coco_url`` if there is one.
    """

    folder: str | None
    from_url: bool = False

    def of(self, record: Record) -> str | None:
        """Return the path of a record's image, not yet checked for safety; None without one."""
        url, name, folder = record.get("coco_url"), record.get("file_name"), self.folder or ""
        if self.from_url and isinstance(url, str) and url:
            *folders, name = url.split("/")
            if self.folder is None and folders:
                folder = folders[-1]
        if not isinstance(name, str) or not name:
            return None
        # Joined as text: an absolute name must stay visible to the check that refuses it.
        return f"{folder}/{name}" if folder and folder != "." and name[0] != "/" else name


@dataclass(frozen=True, eq=False)
class CocoSource(PhotoFiles):
    """One annotation file of a COCO-format dataset and its images.

    Attributes:
        name: Name of the source in the recipe.
        split: Name of the split in the dataset.
        root: Folder that image names are relative to.
        file: Annotation file.
        photos: Rule by which image records name their files.
        categories: Names by category id.
        licenses: Name or URL by license id.
        index: Byte positions of each image's records in the file.
        strays: Annotations that belong to no image.
    """

    name: str
    split: str
    root: Path
    file: Path
    photos: PhotoNames
    categories: Mapping[int, str]
    licenses: Mapping[int, str]
    index: Index
    strays: tuple[Rejection, ...]

    @property
    def category_names(self) -> Sequence[str]:
        """Return the names of the file's categories."""
        return tuple(self.categories.values())

    def chunks(self, images: int) -> Sequence[Chunk]:
        """Cut the images, by ascending id, into chunks of at most ``images``."""
        return chunks_of(len(self.index), images)

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read the annotations of one chunk; annotations of no image come with the first one."""
        images, rejections = self.read_at(range(chunk.start, chunk.stop))
        return images, [*self.strays, *rejections] if chunk.start == 0 else rejections

    def read_at(self, positions: Sequence[int]) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read the annotations of the images at some positions of the index."""
        images: list[AnnotatedImage] = []
        rejections: list[Rejection] = []
        index = self.index
        own = [slice(index.first[i], index.first[i + 1]) for i in positions]
        with self.file.open("rb") as stream:
            records = parse_records(stream.fileno(), self.file, index.image_span[positions])
            spans = np.concatenate([index.annotation_span[part] for part in own])
            annotations = iter(parse_records(stream.fileno(), self.file, spans))
        for position, part, record in zip(positions, own, records, strict=True):
            ids = index.annotation_id[part].tolist()
            of_image = list(islice(annotations, len(ids)))
            try:
                if position in index.flaws:
                    flaw = index.flaws[position]
                    raise _Unusable(flaw.reason, flaw.detail, flaw.annotation_id)
                images.append(self._image(str(index.image_id[position]), record, of_image, ids))
            except _Unusable as unusable:
                rejections.append(self._rejection(record, unusable.flaw))
        return images, rejections

    def position(self, source_image_id: str) -> int | None:
        """Return the position of the image with that id, or None where the file lacks it."""
        if not re.fullmatch(r"-?\d{1,19}", source_image_id, re.ASCII):
            return None
        if abs(int(source_image_id)) > np.iinfo(np.int64).max:
            return None
        found = int(np.searchsorted(self.index.image_id, int(source_image_id)))
        if found < len(self.index) and self.index.image_id[found] == int(source_image_id):
            return found
        return None

    def annotation_files(self) -> list[Path]:
        """Return the annotation file."""
        return [self.file]

    def members(self) -> Sequence[Member]:
        """List the images by ascending id; those whose names are unsafe to follow are left out."""
        members = []
        root = self.root.resolve()
        published = _KNOWN_SPLIT.fullmatch(self.split) is not None and self._has_coco_ids()
        records = read_records(self.file, self.index.image_span)
        for image_id, record in zip(self.index.image_id.tolist(), records, strict=True):
            file_name = self.photos.of(record)
            if file_name is not None and is_safe_name(file_name):
                found = identities_of(root, file_name, _web_address(record))
                if published and _ends_in(file_name, image_id):
                    found = (coco_image(image_id), *found)  # renamed without the zeros
                members.append(Member(str(image_id), file_name, found))
        return members

    def _has_coco_ids(self) -> bool:
        """Return False if the ids of images or categories cannot be those of COCO's own files.

        Datasets of users have splits called ``train2017``, too, and number their images from 1.
        """
        images, things = self.index.image_id, COCO_CATEGORIES
        return bool(
            images[0] >= _FIRST_IMAGE
            and images[-1] <= _LAST_IMAGE
            and all(
                things.get(number) == name if number <= max(things) else number <= _LAST_STUFF
                for number, name in self.categories.items()
            )
        )

    def _image(
        self,
        source_image_id: str,
        record: Record,
        annotations: Sequence[Record],
        ids: Sequence[int],
    ) -> AnnotatedImage:
        file_name = self.photos.of(record)
        if file_name is None:
            raise _Unusable("no_file_name", "the image record names no file")
        image_id = PurePosixPath(file_name).stem
        if reason := unsafe_reason(file_name):
            raise _Unusable("unsafe_path", f"{quoted(file_name)} is not followed: {reason}")
        if not is_safe_stem(image_id):
            raise _Unusable(
                "unsafe_path", f"{quoted(file_name, 400)} is not followed: no plain name"
            )
        width, height = _size_of(record, file_name)
        url = _web_address(record)
        if url is not None and has_controls(url):
            raise _Unusable("bad_url", f"{quoted(url)} holds control characters")
        codes = _run_length_codes(annotations, ids, height, width)
        return AnnotatedImage(
            image_id=image_id,
            source_image_id=source_image_id,
            file_name=file_name,
            width=width,
            height=height,
            objects=tuple(
                AnnotatedObject(
                    annotation_id=str(annotation_id),
                    category=self._category(annotation, annotation_id),
                    rle=code,
                    crowd=_is_crowd(annotation, annotation_id),
                )
                for annotation_id, annotation, code in zip(ids, annotations, codes, strict=True)
            ),
            void=_void(record, height, width),
            url=url,
            license=self.licenses.get(_number(record.get("license"))),
            not_exhaustive=self._not_exhaustive(record),
        )

    def _category(self, annotation: Record, annotation_id: int) -> str:
        number = annotation.get("category_id")
        name = self.categories.get(_number(number))
        if name is None:
            detail = f"category id {quoted(number, 40)}, not in the file"
            raise _Unusable("unknown_category", detail, annotation_id)
        return name

    def _not_exhaustive(self, record: Record) -> tuple[str, ...]:
        """Return LVIS's list of categories with unannotated objects; COCO records have none."""
        ids = record.get("not_exhaustive_category_ids")
        if not isinstance(ids, list):
            return ()
        names = (self.categories.get(_number(i)) for i in ids)
        return tuple(sorted(name for name in names if name is not None))

    def _rejection(self, record: Record, flaw: Flaw) -> Rejection:
        file_name = self.photos.of(record) or ""
        safe = is_safe_name(file_name)
        return Rejection(
            source=self.name,
            file=file_name if safe else _relative(self.file, self.root),
            reason=flaw.reason,
            detail=flaw.detail,
            image_id=PurePosixPath(file_name).stem if safe else "",
            annotation_id=flaw.annotation_id,
        )


# --- masks of one image ---------------------------------------------------------------------------


def _run_length_codes(
    annotations: Sequence[Record], ids: Sequence[int], height: int, width: int
) -> list[bytes]:
    """Return the mask of each annotation; polygons of all of them are drawn in one call."""
    codes: dict[int, bytes] = {}
    outlines: dict[int, list[list[float]]] = {}
    for annotation_id, annotation in zip(ids, annotations, strict=True):
        segmentation = annotation.get("segmentation")
        try:
            if segmentation and isinstance(segmentation, dict):
                codes[annotation_id] = _given_code(segmentation, height, width)
            elif segmentation and isinstance(segmentation, list):
                _check_points(segmentation)
                outlines[annotation_id] = segmentation
            else:
                raise _Unusable("empty_segmentation", f"segmentation is {quoted(segmentation, 60)}")
        except _Unusable as unusable:
            raise _Unusable(unusable.flaw.reason, unusable.flaw.detail, annotation_id) from None
    if outlines:
        points = _checked_points(outlines, height, width)
        parts = [len(part) for polygons in outlines.values() for part in polygons]
        objects = [len(polygons) for polygons in outlines.values()]
        drawn = outlines_to_rles(points, parts, objects, height, width)
        codes.update(zip(outlines, drawn, strict=True))
    return [codes[annotation_id] for annotation_id in ids]


def _given_code(segmentation: Record, height: int, width: int) -> bytes:
    """Return a run-length coded mask after making sure that it covers the image exactly."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise _Unusable("rle_size", f"size {quoted(size, 40)} in an image of {height} x {width}")
    try:
        return as_rle(counts, height, width)
    except MaskError as error:
        raise _Unusable("rle_size", str(error)) from error


def _void(record: Record, height: int, width: int) -> bytes | None:
    """Return the void of an image, which only sbdata's own exports record."""
    given = record.get("sbdata_void")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise _Unusable("rle_size", f"sbdata_void is {quoted(given, 60)}")
    return _given_code(given, height, width)


def _check_points(segmentation: list[Any]) -> None:
    for part in segmentation:
        if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
            count = len(part) / 2 if isinstance(part, list) else 0
            raise _Unusable("polygon_points", f"a polygon of {count:g} points, but 3 are needed")


def _checked_points(
    outlines: Mapping[int, list[list[float]]], height: int, width: int
) -> npt.NDArray[np.float64]:
    """Return all coordinates, after making sure that no point is over a pixel off the image."""
    values = list(chain.from_iterable(chain.from_iterable(outlines.values())))
    try:
        points = np.array(values)
    except (ValueError, OverflowError):
        points = np.array([None])
    if points.ndim != 1 or points.dtype.kind not in "iuf":
        for annotation_id, parts in outlines.items():
            if not all(type(value) in (int, float) for part in parts for value in part):
                detail = "a coordinate that is not a number"
                raise _Unusable("polygon_not_finite", detail, annotation_id)
        # Whole numbers beyond 64 bits; they become large floats here.
        try:
            points = np.array([float(value) for value in values])
        except OverflowError:
            owner = next(i for i, parts in outlines.items() if _has_huge(parts))
            detail = "a coordinate beyond any number of pixels"
            raise _Unusable("polygon_not_finite", detail, owner) from None
    points = points.astype(np.float64, copy=False)
    x, y = points[0::2], points[1::2]
    good = (x >= -1) & (x <= width + 1) & (y >= -1) & (y <= height + 1)  # false for NaN
    if not good.all():
        at = int(np.argmin(good))
        finite = bool(np.isfinite(x[at]) and np.isfinite(y[at]))
        raise _Unusable(
            "polygon_outside" if finite else "polygon_not_finite",
            f"the point {x[at]:g}, {y[at]:g} in an image of {width} x {height}",
            _owner(outlines, at),
        )
    return points


def _owner(outlines: Mapping[int, list[list[float]]], point: int) -> int:
    """Return the annotation that the n-th point of all of them belongs to."""
    for annotation_id, parts in outlines.items():
        point -= sum(map(len, parts)) // 2
        if point < 0:
            return annotation_id
    raise AssertionError


def _has_huge(parts: Sequence[Sequence[float]]) -> bool:
    return any(abs(value) > 1e300 for part in parts for value in part)


def _size_of(record: Record, file_name: str) -> tuple[int, int]:
    """Return an image's width and height, within the limits on images."""
    width, height = record.get("width"), record.get("height")
    if type(width) is not int or type(height) is not int:
        problem = "both must be whole numbers, without quotes"
    else:
        problem = image_size_problem(width, height, file_name)
        if not problem:
            return width, height
    seen = f"width {quoted(width, 40)}, height {quoted(height, 40)}"
    raise _Unusable("bad_size", f"{seen}: {problem}")


_CROWD = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True, None: False}


def _is_crowd(annotation: Record, annotation_id: int) -> bool:
    given = annotation.get("iscrowd")
    found = crowd_flag(given)
    if found is None:
        detail = f"iscrowd is {quoted(given, 40)}; it must be 0 or 1"
        raise _Unusable("bad_iscrowd", detail, annotation_id)
    return found


def crowd_flag(given: Any) -> bool | None:
    """Return whether ``iscrowd`` marks a crowd region: 0 or 1, also as text, or true or false.

    >>> crowd_flag(1), crowd_flag("0"), crowd_flag(None), crowd_flag("maybe")
    (True, False, False, None)
    """
    if type(given) is int and given in _CROWD:  # as COCO writes it
        return _CROWD[given]
    key = given.strip().lower() if isinstance(given, str) else given
    return _CROWD.get(key) if isinstance(key, int | float | str | None) else None


def _web_address(record: Record) -> str | None:
    url = record.get("coco_url") or record.get("url")
    return url if isinstance(url, str) and url.startswith(("http://", "https://")) else None


def _ends_in(file_name: str, image_id: int) -> bool:
    """Return whether the number at the end of a file's stem is the image's id."""
    digits = re.search(r"\d{1,18}$", PurePosixPath(file_name).stem)
    return digits is not None and digits[0].isascii() and int(digits[0]) == image_id


def _number(value: Any) -> int:
    return value if type(value) is int else MISSING


# --- opening --------------------------------------------------------------------------------------


def open_coco(spec: SourceSpec, split: str, root: Path | None) -> CocoSource:
    """Open one split of COCO, or of a dataset in COCO's format.

    Args:
        spec: Source entry of the recipe. By default the annotations are
            ``annotations/instances_{split}.json`` and the images in ``{split}/``. Only categories
            of its ``class_map`` are read.
        split: ``train2014``, ``val2014``, ``train2017``, ``val2017``, or any other that the
            recipe's layout has.
        root: Folder with both.

    Raises:
        InputError: If the annotation file is missing, not in COCO's format, or without images.
    """
    root = needed_root(spec, root, "COCO's annotations and images")
    file = coco_file(spec, split, root)
    photos = PhotoNames((spec.images or "{split}").replace("{split}", split))
    return open_annotations(spec, split, root, file, photos)


def coco_file(spec: SourceSpec, split: str, root: Path) -> Path:
    """Return the annotation file of one split.

    Raises:
        InputError: if it is missing; the message says where it comes from.
    """
    file = root / (spec.annotations or "annotations/instances_{split}.json").replace(
        "{split}", split
    )
    if not file.is_file():
        raise InputError(_missing_file(spec, split, file))
    return file


def _missing_file(spec: SourceSpec, split: str, file: Path) -> str:
    hint = f"give its folder by --source-root {spec.name}=PATH, or another split by --set"
    year = _KNOWN_SPLIT.fullmatch(split)
    if spec.annotations is not None:
        return f"{file}: no such file, but the recipe names it as annotations; {hint}"
    if year is None:
        splits = "train2014, val2014, train2017 and val2017"
        return f"{file}: no such file; COCO has instances of {splits}; {hint}"
    archive = f"annotations_trainval{year[1]}.zip"
    source = "coco" if year[1] == "2017" else f"coco-{year[1]}"
    return (
        f"{file}: no such file; it is in {archive} from the download page of COCO's website "
        f"(cocodataset.org), which `sbdata sources fetch {source}` gets; {hint}"
    )


def needed_root(spec: SourceSpec, root: Path | None, what: str) -> Path:
    """Return the dataset's folder.

    Raises:
        InputError: if none was given.
    """
    if root is None:
        msg = (
            f"source {spec.name} needs {what}: fetch them by `sbdata sources fetch {spec.reader}`, "
            f"or give their folder by --source-root {spec.name}=PATH"
        )
        raise InputError(msg)
    return root


def open_annotations(
    spec: SourceSpec, split: str, root: Path, file: Path, photos: PhotoNames
) -> CocoSource:
    """Index an annotation file in COCO's format.

    Args:
        spec: Source entry of the recipe; categories missing from its class map are not indexed.
        split: Name of the split in the dataset.
        root: Folder that image names are relative to.
        file: Annotation file.
        photos: Rule by which image records name their files.

    Raises:
        InputError: If the file cannot be read, is not in COCO's format, or lists no images.
    """
    if spec.options:
        msg = f"source {spec.name}: unknown option {quoted(sorted(spec.options)[0])}; it takes none"
        raise InputError(msg)
    found = find_records(file, _ARRAYS)
    missing = [key for key in _ARRAYS[:3] if key not in found]
    if missing:
        msg = f"{file}: not a COCO-format instance file, it has no {missing[0]!r} array"
        raise InputError(msg)
    if not len(found["images"]):
        msg = f"{file}: the split is empty, it lists no images; give another one by --set"
        raise InputError(msg)
    for key in ("images", "annotations"):
        nameless = np.flatnonzero(found[key].id == MISSING)
        if nameless.size:
            record = next(read_records(file, found[key].span[nameless[:1]]))
            msg = (
                f"{file}: not a COCO-format file, the record at byte "
                f"{found[key].span[nameless[0], 0]} of its {key} {_id_problem(record, 'id')}"
            )
            raise InputError(msg)
    categories = _categories(file, found["categories"])
    index, strays = _index(
        found["images"], found["annotations"], categories, _wanted(spec), file, photos
    )
    _check_owners(file, strays)
    return CocoSource(
        name=spec.name,
        split=split,
        root=root,
        file=file,
        photos=photos,
        categories=categories,
        licenses=_licenses(file, found.get("licenses")),
        index=index,
        strays=tuple(_strays(spec.name, _relative(file, root), strays)),
    )


def _id_problem(record: Record, key: str) -> str:
    """Return what is wrong with an id that is not a 64-bit integer, in words."""
    if key not in record:
        return f"has no integer {key}, nor any other"
    given = record[key]
    rule = "which is not an integer"
    if isinstance(given, str):
        rule = "a text; write whole numbers, without quotes"
    elif isinstance(given, float) and abs(given) < 2**63:
        rule = "a number with a point; write whole numbers, without one"
    elif isinstance(given, int | float) and not isinstance(given, bool):
        rule = "too large: at most 63 bits, 19 digits, are read"
    return f"has no integer {key} but {quoted(given, 40)}, {rule}"


def _strays(source: str, relative: str, strays: npt.NDArray[np.int64]) -> Iterator[Rejection]:
    """Yield a rejection for each annotation that belongs to no listed image.

    Args:
        source: Name of the source.
        relative: Path of the annotation file in the source.
        strays: One row per annotation: its id, its image's id, start and stop of its record.
    """
    for annotation_id, image_id in strays[:, :2].tolist():
        detail = f"the annotation belongs to image {image_id}, which is not listed"
        yield Rejection(source, relative, "unknown_image", detail, "", str(annotation_id))


def _check_owners(file: Path, strays: npt.NDArray[np.int64]) -> None:
    """Refuse a file with an object of an unknown image, which would be scored without it.

    Raises:
        InputError: if the image id of an annotation is not an integer.
    """
    ownerless = strays[strays[:, 1] == MISSING]
    if len(ownerless):
        record = next(read_records(file, ownerless[:1, 2:]))
        msg = (
            f"{file}: not a COCO-format file, annotation {ownerless[0, 0]} "
            f"{_id_problem(record, 'image_id')} ({len(ownerless):,} such annotations); correct it"
        )
        raise InputError(msg)


def _relative(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name


def _wanted(spec: SourceSpec) -> frozenset[str] | None:
    """Return the names in the recipe's class map; None if it takes a taxonomy's own names."""
    if isinstance(spec.class_map, str):
        named = CLASS_MAPS.get(spec.class_map)
        return None if named is None else frozenset(named)
    return None if spec.class_map is None else frozenset(spec.class_map)


def _categories(file: Path, found: Records) -> dict[int, str]:
    categories: dict[int, str] = {}
    for record in read_records(file, found.span):
        number, name = record.get("id"), record.get("name")
        if (
            type(number) is not int
            or abs(number) >= 2**63
            or not isinstance(name, str)
            or number in categories
        ):
            msg = (
                f"{file}: not a COCO-format file, its categories need distinct integer ids and "
                f"names, one is {quoted(record, 80)}"
            )
            raise InputError(msg)
        if has_controls(name):
            msg = f"{file}: the category name {quoted(name)} holds control characters; rename it"
            raise InputError(msg)
        categories[number] = name
    return categories


def _licenses(file: Path, found: Records | None) -> dict[int, str]:
    if found is None:
        return {}
    records = read_records(file, found.span)
    named = ((_number(r.get("id")), r.get("name") or r.get("url")) for r in records)
    return {
        number: printable(text) if has_controls(text) else text
        for number, text in named
        if isinstance(text, str) and number != MISSING  # images without a licence have this number
    }


def _index(
    images: Records,
    annotations: Records,
    categories: Mapping[int, str],
    wanted: frozenset[str] | None,
    file: Path,
    photos: PhotoNames,
) -> tuple[Index, npt.NDArray[np.int64]]:
    """Group annotations by image; return the index, and those of no image, see ``_strays``."""
    by_id = np.argsort(images.id, kind="stable")
    image_id = images.id[by_id]
    image_span = images.span[by_id]

    known = np.array(sorted(categories), np.int64)
    used = np.array(
        sorted(i for i, name in categories.items() if wanted is None or name in wanted), np.int64
    )
    strange = ~np.isin(annotations.category_id, known)
    kept = np.flatnonzero(strange | np.isin(annotations.category_id, used))
    owner_id = annotations.image_id[kept]
    position = np.minimum(np.searchsorted(image_id, owner_id), len(image_id) - 1)
    listed = image_id[position] == owner_id
    stray = kept[~listed]
    strays = np.column_stack([annotations.id[stray], owner_id[~listed], annotations.span[stray]])
    kept, position = kept[listed], position[listed]
    order = np.lexsort((annotations.id[kept], position))
    kept, position = kept[order], position[order]
    annotation_id = annotations.id[kept]

    flaws: dict[int, Flaw] = {}
    for i in _repeated(annotation_id)[::-1].tolist():
        flaws[int(position[i])] = Flaw(
            "duplicate_annotation_id", "given to more than one", str(annotation_id[i])
        )
    for i, name in _same_names(file, image_span, photos).items():
        flaws[i] = Flaw(
            "duplicate_file_name", f"more than one image would be called {quoted(name)}"
        )
    for i in _repeated(image_id).tolist():
        flaws[i] = Flaw("duplicate_image_id", f"id {image_id[i]} is given to more than one image")
    index = Index(
        image_id=image_id,
        image_span=image_span,
        first=np.searchsorted(position, np.arange(len(image_id) + 1)),
        annotation_id=annotation_id,
        annotation_span=annotations.span[kept],
        flaws=flaws,
    )
    return index, strays


def _repeated(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the places of values that occur more than once."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[group] > 1)


def _same_names(
    file: Path, image_span: npt.NDArray[np.int64], photos: PhotoNames
) -> dict[int, str]:
    """Return the positions of images whose file stems are not unique, with the stem.

    Stems that differ only in how letters with marks are composed count as the same.
    Stems are compared by a 64-bit digest, so that a million of them stay small.
    """
    digests = np.empty(len(image_span), np.uint64)
    for i, record in enumerate(read_records(file, image_span)):
        # A record without a name is refused for that; here it only must not equal another.
        stem = composed(PurePosixPath(photos.of(record) or f"\0{i}").stem)
        digest = hashlib.blake2b(stem.encode(errors="surrogatepass"), digest_size=8).digest()
        digests[i] = int.from_bytes(digest, "little")
    places = _repeated(digests)
    records = read_records(file, image_span[places])
    return {
        int(i): PurePosixPath(photos.of(record) or "").stem
        for i, record in zip(places, records, strict=True)
    }
