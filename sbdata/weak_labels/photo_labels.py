"""Source format ``labels``: photos and image-level labels, perhaps boxes, without masks.

The format is an entry point of sbdata itself: it uses the readers of this package for ``--labels``
and ``--boxes``, which the package ``sources`` must not import.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sbdata.errors import InputError
from sbdata.images import DAMAGE, open_image
from sbdata.quoting import quoted
from sbdata.recipe import SourceSpec
from sbdata.sources import (
    AnnotatedBox,
    AnnotatedImage,
    Chunk,
    Member,
    PhotoFiles,
    Rejection,
    chunks_of,
)
from sbdata.sources.identity import identities_of
from sbdata.sources.voc import read_id_list
from sbdata.storage import inside, is_safe_stem
from sbdata.taxonomy import Taxonomy, check_foreground, named_taxonomy
from sbdata.train.photos import photos_in, photos_of
from sbdata.weak_labels.boxes import Boxes, read_boxes
from sbdata.weak_labels.labels import Labels, read_labels
from sbdata.weak_labels.weak_set import Box

OPTIONS = ("boxes", "classes", "list")


@dataclass(frozen=True, eq=False)
class LabelledPhotos(PhotoFiles):
    """Photos of a folder with image-level labels.

    Attributes:
        name: Name of the source in the recipe.
        split: Name of the split.
        root: Folder that file names are relative to.
        photos: Photo of each image with labels, relative to the root, by image id.
        unlabelled: Photos without labels, relative to the root.
        classes: Classes of the labels.
        labels: Class numbers by image id.
        boxes: Boxes by image id, or None.
    """

    name: str
    split: str
    root: Path
    photos: Mapping[str, str]
    unlabelled: tuple[str, ...]
    classes: Taxonomy
    labels: Labels
    boxes: Boxes | None

    @property
    def category_names(self) -> Sequence[str]:
        """Return the classes of the labels."""
        return self.classes.classes

    def chunks(self, images: int) -> Sequence[Chunk]:
        """Divide the images into chunks of at most ``images``."""
        return chunks_of(len(self.photos), images)

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read the sizes of one chunk of photos; photos without labels come with the first one."""
        images: list[AnnotatedImage] = []
        rejections = []
        if chunk.start == 0:
            rejections = [
                Rejection(self.name, file, "no_labels", "no labels are given", Path(file).stem)
                for file in self.unlabelled
            ]
        for image_id in list(self.photos)[chunk.start : chunk.stop]:
            file = self.photos[image_id]
            try:
                with open_image(self.root / file) as photo:
                    width, height = photo.size
            except DAMAGE as error:
                detail = f"not a readable photo ({error!s:.80})"
                rejections.append(Rejection(self.name, file, "unreadable_image", detail, image_id))
                continue
            images.append(self._image(image_id, file, width, height))
        return images, rejections

    def members(self) -> Sequence[Member]:
        """List the photos with labels."""
        root = self.root.resolve()
        return [
            Member(image_id, file, identities_of(root, file))
            for image_id, file in self.photos.items()
        ]

    def _image(self, image_id: str, file: str, width: int, height: int) -> AnnotatedImage:
        boxes = None if self.boxes is None else self.boxes[image_id]
        for box in boxes or ():
            if box.x + box.width > width or box.y + box.height > height:
                msg = (
                    f"source {self.name}: image {image_id}: a box of {box.width} x {box.height} "
                    f"pixels at {box.x}, {box.y} does not lie in the photo of {width} x {height}; "
                    "give boxes of this photo"
                )
                raise InputError(msg)
        labels = self.labels[image_id]
        lacking = {box.class_id for box in boxes or ()} - set(labels)
        if lacking:
            msg = (
                f"source {self.name}: image {image_id}: {self.classes.name_of(min(lacking))} has a "
                "box but no label; correct one of the two files"
            )
            raise InputError(msg)
        return AnnotatedImage(
            image_id=image_id,
            source_image_id=image_id,
            file_name=file,
            width=width,
            height=height,
            objects=(),
            labels=tuple(self.classes.name_of(c) for c in labels),
            boxes=None if boxes is None else tuple(map(self._annotated, boxes)),
        )

    def _annotated(self, box: Box) -> AnnotatedBox:
        name = self.classes.name_of(box.class_id)
        return AnnotatedBox(name, box.x, box.y, box.width, box.height)


def open_labels(spec: SourceSpec, split: str, root: Path | None) -> LabelledPhotos:
    """Open photos with image-level labels.

    Args:
        spec: Source entry of the recipe. ``annotations`` is the file of labels (see
            :func:`~sbdata.weak_labels.labels.read_labels`) and ``images`` the folder of the photos,
            ``JPEGImages`` by default. Options: ``boxes``, a file or folder of boxes (see
            :func:`~sbdata.weak_labels.boxes.read_boxes`); ``list``, a text file of the image ids to
            take; ``classes``, a list of class names or the name of a known taxonomy, if the files
            use others than the set. Paths are relative to the root and may contain ``{split}``;
            photos must lie within it.
        split: Name of the split.
        root: Folder of the photos and labels.

    Raises:
        InputError: If an option is unknown; a file is missing or wrong; labels are given for a
            photo that is not there; or an image of the list has no photo or no labels.
    """
    unknown = sorted(set(spec.options) - set(OPTIONS))
    if unknown:
        msg = (
            f"source {spec.name}: unknown option {quoted(unknown[0])}; valid options: "
            f"{', '.join(OPTIONS)}"
        )
        raise InputError(msg)
    if root is None:
        msg = (
            f"source {spec.name} needs photos and labels: give their folder by --source-root "
            f"{spec.name}=PATH"
        )
        raise InputError(msg)
    if spec.annotations is None:
        msg = f"source {spec.name}: annotations must name the file of labels"
        raise InputError(msg)
    taxonomy = _classes(spec)
    labels_file = _path(root, spec.annotations, split)
    folder = spec.images if spec.images is not None else "JPEGImages"
    photos = inside(root, folder.replace("{split}", split))
    listed = spec.options.get("list")
    others: list[str] = []
    if listed is None:
        there: dict[str, Path] = photos_in(photos)
    else:
        known = photos_in(photos)
        ids = read_id_list(_path(root, _text(spec, "list"), split), known.__contains__)
        there = _listed(photos, ids)
    odd = next((image_id for image_id in there if not is_safe_stem(image_id)), None)
    if odd is not None:
        msg = f"{photos}: {quoted(odd)} is not a plain image id; rename the photo"
        raise InputError(msg)
    labels = read_labels(labels_file, taxonomy, there, others=others)
    if listed is None and others:
        _refuse(
            f"{labels_file}: has labels of images without a photo in {photos}",
            others,
            "add the photos, or name the images to take by the option list",
        )
    lacking = [image_id for image_id in there if image_id not in labels]
    if listed is not None and lacking:
        _refuse(f"{labels_file}: has no labels of listed images", lacking, "add them")
    if not labels:
        msg = f"{labels_file}: has no labels for any of the {len(there):,} photos in {photos}"
        raise InputError(f"{msg}; write the photos' names without suffix as image ids")
    boxes = None
    if "boxes" in spec.options:
        boxes_file = _path(root, _text(spec, "boxes"), split)
        boxes = read_boxes(boxes_file, taxonomy, labels)
        unboxed = [image_id for image_id in labels if image_id not in boxes]
        if unboxed:
            what = "add every image, including those without objects"
            _refuse(f"{boxes_file}: has no boxes of images with labels", unboxed, what)
    files = {image_id: path.relative_to(root).as_posix() for image_id, path in there.items()}
    return LabelledPhotos(
        spec.name,
        split,
        root,
        {image_id: files[image_id] for image_id in sorted(labels)},
        tuple(files[image_id] for image_id in lacking),
        taxonomy,
        labels,
        boxes,
    )


def _classes(spec: SourceSpec) -> Taxonomy:
    given = spec.options.get("classes")
    if isinstance(given, str):
        return named_taxonomy(given)
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        msg = f"source {spec.name}: the option classes must be a list of names or a taxonomy's name"
        raise InputError(msg)
    check_foreground(given, f"source {spec.name}, the classes")
    return Taxonomy(spec.name, tuple(given))


def _text(spec: SourceSpec, option: str) -> str:
    given: Any = spec.options[option]
    if not isinstance(given, str) or not given:
        msg = f"source {spec.name}: the option {option} must be a path, not {quoted(given, 40)}"
        raise InputError(msg)
    return given


def _path(root: Path, name: str, split: str) -> Path:
    return root / name.replace("{split}", split)


def _listed(folder: Path, image_ids: Collection[str]) -> dict[str, Path]:
    found = photos_of(folder, sorted(image_ids))
    absent = [image_id for image_id, path in found.items() if path is None]
    if absent:
        _refuse(f"{folder}: has no photo of listed images", absent, "add them, or shorten the list")
    return {image_id: path for image_id, path in found.items() if path is not None}


def _refuse(what: str, image_ids: Sequence[str], remedy: str) -> None:
    named = ", ".join(map(quoted, image_ids[:3]))
    more = f" and {len(image_ids) - 3:,} more" if len(image_ids) > 3 else ""
    msg = f"{what} ({named}{more}); {remedy}"
    raise InputError(msg)
