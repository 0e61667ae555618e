"""Ground truth from several formats: sets, VOC devkits, COCO files, label maps, folders of masks.

A :class:`GroundTruth` lists its images before any of them is read, and provides a loader for each.
Sets and COCO files are drawn from run-length codes: this is faster than decoding a PNG, and the
scored masks are then exactly those that the manifest's hash identifies. Devkits and folders are
read from PNGs.
"""

from __future__ import annotations

import mmap
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sbdata.drawn_rows import DrawnRow, draw_image, drawn_rows
from sbdata.errors import InputError
from sbdata.file_names import FileNames, composed, stored
from sbdata.labelmap import check_labelmap
from sbdata.layout import CLASSES_FOLDER, IMAGES_FOLDER, OBJECTS_FOLDER
from sbdata.litter import is_litter
from sbdata.manifest import (
    Manifest,
    check_has_masks,
    make_manifest,
)
from sbdata.mask_files import VOID, MaskFile, PngError, read_header, read_mask
from sbdata.metrics import ImageTruth, truth_from_components, truth_from_maps
from sbdata.plurals import count
from sbdata.quoting import quoted
from sbdata.score.ground_truth import GroundTruth as GroundTruth
from sbdata.score.ground_truth import GroundTruthImage as GroundTruthImage
from sbdata.score.ground_truth import Loader as Loader
from sbdata.score.ground_truth import bad_truth, case_notes, photos_in
from sbdata.sets import manifest_of
from sbdata.sizes import SizeBins
from sbdata.storage import is_safe_stem
from sbdata.taxonomy import (
    Taxonomy,
    class_map,
    describe_unmatched,
    list_unmatched,
    named_taxonomy,
    own_or_coco_map,
)
from sbdata.text_files import BYTE_ORDER_MARK

if TYPE_CHECKING:
    from sbdata.sources.coco import CocoSource

_DEFAULT_BINS = SizeBins()
_DRAWN_OF_IMAGES = ["image_id", "width", "height", "void_rle"]
_FEW = 5  # names in a note
_START = 64  # first bytes that reveal a list
_PANOPTIC = b'"segments_info"'
_KEY = re.compile(rb'"segments_info"|"segmentation"')
_DRAWN = ["image_id", "instance_id", "class_id", "rle"]


# --- drawn from a manifest ------------------------------------------------------------------------


def truth_from_set(root: Path) -> GroundTruth:
    """Return the truth of a built set, or of a folder that contains only its manifest.

    Args:
        root: Folder of the set. Its mask images are not read: the manifest draws the same masks.

    Raises:
        InputError: If the folder is not a set, or its manifest was edited.
    """
    manifest = manifest_of(root)
    check_has_masks(manifest, root, "scoring")
    pa.default_memory_pool().release_unused()  # memory that reading needed temporarily
    photos = photos_in(root / IMAGES_FOLDER, manifest.images["image_id"].to_pylist())
    return _drawn_truth(
        manifest, "set", root, bool(manifest.meta.get("synthetic", False)), photos=photos
    )


def truth_from_coco(
    file: Path,
    taxonomy: str | None = None,
    *,
    bins: SizeBins = _DEFAULT_BINS,
    segments: Path | None = None,
    photos: Path | None = None,
    workers: int = 1,
) -> GroundTruth:
    """Return the truth of a COCO-format file; images are identified by their file's stem.

    Objects of an instances file are drawn as in a set: larger ones first, smaller ones on top;
    crowds of the classes are void. For a panoptic file see :mod:`sbdata.score.panoptic`.

    Args:
        file: Instances file or panoptic file.
        taxonomy: ``coco80``, the default for instances; ``voc20``, by VOC's and COCO's names of its
            classes; ``own``, the default for a panoptic file, for the file's categories in the
            order of their ids; or the name of another known taxonomy.
        bins: Size bins.
        segments: Folder of the PNGs of a panoptic file; by default that of the file's name.
        photos: Folder of the photos; if None, the folder next to ``annotations`` that is named like
            the file's split.
        workers: Number of processes that draw.

    Raises:
        InputError: If the file cannot be used, or has none of the taxonomy's classes.
    """
    # Only this truth needs the sources, which take a while to import.
    from sbdata.recipe import SourceSpec
    from sbdata.sources.coco import PhotoNames, open_annotations
    from sbdata.sources.rejections import describe_rejections
    from sbdata.sources.scan import scan_source

    if not file.is_file():
        msg = f"{file}: no such file; give an instances JSON in COCO's format"
        raise InputError(msg)
    if _is_panoptic(file):
        from sbdata.score.panoptic import truth_from_panoptic

        return truth_from_panoptic(file, taxonomy, bins=bins, segments=segments, photos=photos)
    if segments is not None:
        msg = f"{file}: an instances file, which has no PNGs of segments; leave out {segments}"
        raise InputError(msg)
    asked, taxonomy = taxonomy, taxonomy or "coco80"
    split = file.stem.removeprefix("instances_")
    root = file.parent.parent if file.parent.name == "annotations" else file.parent

    def source_of(names: Mapping[str, str] | None) -> CocoSource:
        spec = SourceSpec("coco", (split,), class_map=names)
        return open_annotations(spec, split, root, file, PhotoNames(None))

    if taxonomy == "own":
        source = source_of(None)
        try:
            classes = Taxonomy("own", tuple(name for _, name in sorted(source.categories.items())))
        except InputError as error:
            msg = f"{file}: its categories cannot be classes: {error}"
            raise InputError(msg) from error
        mapping = class_map(classes, None)
    else:
        classes = named_taxonomy(taxonomy)
        mapping = own_or_coco_map(classes)
        source = source_of(dict(mapping.names))
    lacking = mapping.unmatched(source.categories.values())
    if len(lacking) == len(classes):
        msg = (
            f"{file}: none of its categories is in taxonomy {taxonomy}, such as "
            f"{list_unmatched(lacking)}; choose another one by --taxonomy, such as own for the "
            "file's categories"
        )
        raise InputError(msg)
    with TemporaryDirectory(prefix="sbdata-") as folder:
        scan = scan_source(source, mapping, bins, split, Path(folder), workers=workers)
        images, instances, rejections = scan.images(), scan.instances(), scan.rejections()
    if not images.num_rows:
        left = describe_rejections(rejections)
        msg = f"{file}: no image to score: {left}; correct the annotations"
        raise InputError(msg)
    manifest = make_manifest(f"coco-{split}", images, instances, classes, bins, {})
    ids = manifest.images["image_id"].to_pylist()
    known = set(ids)
    left_out = frozenset(r.image_id for r in rejections if r.image_id and r.image_id not in known)
    notes = []
    if left_out:
        reasons = describe_rejections([r for r in rejections if r.image_id in left_out])
        notes.append(f"{count(len(left_out), 'image')} of {file.name} cannot be scored: {reasons}")
    lost = [r for r in rejections if r.reason == "unknown_image"]
    if lost:
        notes.append(
            f"{count(len(lost), 'annotation')} of {file.name} belong to no image that is listed, "
            f"and {'its object is' if len(lost) == 1 else 'their objects are'} in no score; of "
            f"annotation {lost[0].annotation_id}: {lost[0].detail}"
        )
    hidden = sum(r.reason == "hidden" for r in rejections)
    if hidden:
        notes.append(
            f"{count(hidden, 'object')} left out, wholly hidden by smaller ones or without pixels"
        )
    if lacking:
        notes.append(describe_unmatched(lacking, file.name))
    strange = [n for n in source.categories.values() if mapping.class_of(n) is None]
    if strange and asked is None:
        named = ", ".join(map(quoted, strange[:_FEW])) + (", ..." if len(strange) > _FEW else "")
        notes.append(
            f"{taxonomy} lacks {count(len(strange), 'category', 'categories')} of {file.name} "
            f"({named}), whose objects are background; --taxonomy own takes all of the file's"
        )
    place = photos or next((p for p in (root / split, root / "images") if p.is_dir()), None)
    return _drawn_truth(
        manifest,
        "coco",
        file,
        synthetic=False,
        photos=photos_in(place, ids) if place else {},
        notes=tuple(notes),
        left_out=left_out,
    )


def _is_panoptic(file: Path) -> bool:
    """Return whether a JSON file has segments, and not masks, by the key that it has first.

    Raises:
        InputError: If it is a list, such as results.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(_START)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                found = _KEY.search(data)
                panoptic = found is not None and found[0] == _PANOPTIC
    except (OSError, ValueError):  # unreadable or empty, as the reader of annotations will say
        return False
    if start.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"["):
        msg = (
            f"{file}: a list, such as COCO results with run-length codes, not annotations; give an "
            "instances file (results are predictions: give them as PRED)"
        )
        raise InputError(msg)
    return panoptic


def _drawn_truth(
    manifest: Manifest,
    kind: str,
    path: Path,
    synthetic: bool,
    *,
    photos: Mapping[str, Path],
    notes: tuple[str, ...] = (),
    left_out: frozenset[str] = frozenset(),
) -> GroundTruth:
    images = manifest.images
    ids = tuple(images["image_id"].to_pylist())
    if not ids:
        msg = f"{path}: no image to score"
        raise InputError(msg)
    pairs = zip(images["width"].to_pylist(), images["height"].to_pylist(), strict=True)
    # Only what is drawn is kept: the tables of a large set take more memory than all its scores.
    drawn = Manifest(
        images.select(_DRAWN_OF_IMAGES), manifest.instances.select(_DRAWN), manifest.meta
    )
    counts = Counter(manifest.instances["image_id"].to_pylist())
    first = np.cumsum([0, *(counts[image_id] for image_id in ids)])
    return GroundTruth(
        name=manifest.name,
        kind=kind,
        path=path,
        taxonomy=manifest.taxonomy,
        bins=manifest.bins,
        synthetic=synthetic,
        image_ids=ids,
        sizes=dict(zip(ids, pairs, strict=True)),
        loaders=partial(_drawn_loaders, drawn, first),
        logical_hash=manifest.logical_hash,
        notes=(*notes, *case_notes(ids)),
        photos=photos,
        left_out=left_out,
    )


def _drawn_loaders(
    manifest: Manifest, first: npt.NDArray[np.int64], start: int, stop: int
) -> list[Loader]:
    """Return loaders of some images; only their rows are turned into Python values."""
    begin, end = int(first[start]), int(first[stop])
    part = Manifest(
        manifest.images.slice(start, stop - start),
        manifest.instances.slice(begin, end - begin),
        manifest.meta,
    )
    return [partial(_load_drawn, row) for row in drawn_rows(part)]


def _load_drawn(row: DrawnRow) -> GroundTruthImage:
    classes, objects = draw_image(row)
    ids = np.asarray(row.instance_ids, np.int32)
    return GroundTruthImage(ImageTruth(classes, objects, ids, np.asarray(row.class_ids, np.uint8)))


# --- read from PNGs -------------------------------------------------------------------------------


def truth_from_voc(
    devkit: Path, split: str = "val", *, bins: SizeBins = _DEFAULT_BINS
) -> GroundTruth:
    """Return the truth of one split of a VOC devkit.

    Args:
        devkit: Folder that contains ``JPEGImages``, or a parent folder.
        split: Name of a list in ``ImageSets/Segmentation``.
        bins: Size bins.

    Raises:
        InputError: If the devkit lacks the list, or a mask of an image in it, or says that it has
            other classes than VOC's.
    """
    from sbdata.recipe import SourceSpec
    from sbdata.sources.voc import open_voc

    if not devkit.is_dir():
        msg = f"{devkit}: no such folder; give the folder of the VOC devkit"
        raise InputError(msg)
    source = open_voc(SourceSpec("voc", (split,)), split, devkit)
    check_labelmap(source.root, source.classes)
    ids = sorted(source.ids)
    unsafe = [image_id for image_id in ids if not is_safe_stem(image_id)]
    if unsafe:
        msg = (
            f"{devkit}: list {split} has {quoted(unsafe[0])}, which cannot name a file; restore it"
        )
        raise InputError(msg)
    return _masks_truth(
        f"voc-{split}",
        "voc",
        devkit,
        ids,
        source.root / CLASSES_FOLDER,
        source.root / OBJECTS_FOLDER,
        Taxonomy("voc20", source.classes),
        bins,
        photos=photos_in(source.root / IMAGES_FOLDER, ids),
    )


def truth_from_masks(
    class_masks: Path,
    instance_masks: Path | None,
    taxonomy: str = "voc20",
    *,
    bins: SizeBins = _DEFAULT_BINS,
    photos: Path | None = None,
) -> GroundTruth:
    """Return the truth of a folder of class masks and, optionally, one of instance masks.

    Args:
        class_masks: Folder of ``<image_id>.png`` with 0 background, 1..C classes, 255 void.
        instance_masks: Folder of files of the same names with instance numbers, 8-bit (255 is void)
            or 16-bit grey. If None, each connected component of a class is an instance; the notes
            say so.
        taxonomy: Name of a known taxonomy, or a text file with one class name per line.
        bins: Size bins.
        photos: Folder of the photos, if any.

    Raises:
        InputError: If a folder is missing or empty, the two contain different names, or a header is
            not that of a mask.
    """
    ids = _mask_names(class_masks)
    notes: tuple[str, ...] = ()
    if instance_masks is None:
        notes = (
            "the truth has no instance masks: each 8-connected component of a class counts as one "
            "instance, so touching objects are one and divided objects several; do not compare "
            "these values with those on annotated instances",
        )
    else:
        forms = set(map(composed, ids))
        differing = sorted(forms ^ set(map(composed, _mask_names(instance_masks))))
        if differing:
            holder, lacks = class_masks, instance_masks
            if differing[0] not in forms:
                holder, lacks = lacks, holder
            msg = (
                f"{lacks}: no {differing[0]}.png, which {holder} has ({len(differing)} such names "
                "in all); both folders must hold the same images"
            )
            raise InputError(msg)
    return _masks_truth(
        class_masks.resolve().name,
        "masks",
        class_masks,
        ids,
        class_masks,
        instance_masks,
        named_taxonomy(taxonomy),
        bins,
        photos=photos_in(photos, ids) if photos else {},
        notes=notes,
    )


def _masks_truth(
    name: str,
    kind: str,
    path: Path,
    ids: Sequence[str],
    class_folder: Path,
    instance_folder: Path | None,
    taxonomy: Taxonomy,
    bins: SizeBins,
    *,
    photos: Mapping[str, Path],
    notes: tuple[str, ...] = (),
) -> GroundTruth:
    sizes = {}
    for image_id in ids:
        file = class_folder / f"{image_id}.png"
        try:
            header = read_header(file)
        except PngError as error:
            raise bad_truth(file, error.detail) from error
        sizes[image_id] = (header.width, header.height)
    reader = _MaskReader(class_folder, instance_folder, taxonomy)
    return GroundTruth(
        name=name,
        kind=kind,
        path=path,
        taxonomy=taxonomy,
        bins=bins,
        synthetic=False,
        image_ids=tuple(ids),
        sizes=sizes,
        loaders=partial(_mask_loaders, reader, tuple(ids)),
        notes=(*notes, *case_notes(ids)),
        photos=photos,
    )


@dataclass(frozen=True)
class _MaskReader:
    """Folders of masks and the values that the masks may contain."""

    class_folder: Path
    instance_folder: Path | None
    taxonomy: Taxonomy

    def load(self, image_id: str) -> GroundTruthImage:
        """Read the truth of one image."""
        file = self.class_folder / f"{image_id}.png"
        found = _read_mask(file, self.taxonomy)
        classes, by_colour = found.values, found.by_colour
        highest = int(np.where(classes == VOID, 0, classes).max())
        if highest > len(self.taxonomy):
            raise bad_truth(
                file, f"class {highest}, but {self.taxonomy.name} has 0..{len(self.taxonomy)}"
            )
        if self.instance_folder is None:
            return GroundTruthImage(
                truth_from_components(classes), found.digest, by_colour=by_colour
            )
        file = stored(self.instance_folder, f"{image_id}.png")
        further = _read_mask(file, self.taxonomy, instances=True)
        instances = further.values
        if instances.shape != classes.shape:
            seen = f"{instances.shape[1]} x {instances.shape[0]} pixels"
            wanted = f"but its class mask has {classes.shape[1]} x {classes.shape[0]}"
            raise bad_truth(file, f"{seen}, {wanted}")
        try:
            truth = truth_from_maps(classes, instances)
        except InputError as error:
            raise bad_truth(file, str(error)) from error
        void = classes == VOID
        unassigned = np.count_nonzero((instances == 0) & (classes > 0) & ~void)
        # A 16-bit map has no number for void, so an instance that overlaps void is a contradiction.
        other = instances == VOID if instances.dtype == np.uint8 else void & (instances == 0)
        return GroundTruthImage(
            truth,
            f"{found.digest} {further.digest}",
            int(unassigned),
            int(np.count_nonzero(void != other)),
            by_colour or further.by_colour,
        )


def _mask_loaders(reader: _MaskReader, ids: tuple[str, ...], start: int, stop: int) -> list[Loader]:
    return [partial(reader.load, image_id) for image_id in ids[start:stop]]


def _read_mask(path: Path, classes: Taxonomy, *, instances: bool = False) -> MaskFile:
    try:
        return read_mask(path, classes=classes, instances=instances, sixteen_bits=instances)
    except PngError as error:
        raise bad_truth(path, error.detail) from error


def _mask_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        msg = f"{folder}: no such folder; give a folder with one PNG mask per image"
        raise InputError(msg)
    stems = sorted(
        path.stem for path in folder.iterdir() if path.suffix == ".png" and not is_litter(path.name)
    )
    if not stems:
        msg = f"{folder}: no PNG in it; give the folder with one mask per image"
        raise InputError(msg)
    names = FileNames(stems, folder)
    odd = [stem for stem in stems if names.find(stem) and not is_safe_stem(stem)]
    if odd:
        msg = f"{folder}: {quoted(odd[0])} cannot be an image id; rename the file"
        raise InputError(msg)
    return stems
