"""Overlay of finer masks on a source: COCO defines the objects, LVIS has better masks of some.

Only masks change. The objects of an image, their categories, crowds and void come from the base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from sbdata.errors import InputError
from sbdata.sources import AnnotatedImage, AnnotatedObject, Chunk, Member, Rejection, Source
from sbdata.sources.files import files_of
from sbdata.taxonomy import ClassMap


@runtime_checkable
class ByImageId(Protocol):
    """Interface that the finer source of an overlay must have in addition to :class:`Source`."""

    def position(self, source_image_id: str) -> int | None:
        """Return the position of an image, or None if the source does not have it."""

    def read_at(self, positions: Sequence[int]) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read the annotations of the images at some positions."""


@dataclass(frozen=True, eq=False)
class OverlaidSource:
    """Source whose masks are replaced by another's for the objects that both annotate.

    Objects are matched one to one within a class, so that the sum of the IoU over the pairs is
    largest; pairs below ``min_iou`` are excluded. A replaced object keeps its category. Its
    annotation id becomes that of the finer object, prefixed with the name of the finer source, as
    in ``lvis:1268``.

    Attributes:
        base: Source that defines the objects.
        finer: Splits of the source with finer masks; the first that has an image is used.
        base_map: Map from the base's categories to classes; objects without a class keep their
            mask.
        finer_map: Map from the finer source's categories to the same classes.
        min_iou: Smallest IoU of two masks of the same object.

    Raises:
        InputError: If a finer source cannot find images by their id.
    """

    base: Source
    finer: Sequence[Source]
    base_map: ClassMap
    finer_map: ClassMap
    min_iou: float

    def __post_init__(self) -> None:
        for finer in self.finer:
            if not isinstance(finer, ByImageId):
                msg = f"{finer.name} cannot be an overlay: only COCO-format and LVIS sources can"
                raise InputError(msg)

    @property
    def name(self) -> str:
        """Return the base's name."""
        return self.base.name

    @property
    def split(self) -> str:
        """Return the base's split."""
        return self.base.split

    @property
    def generated(self) -> bool:
        """Return True if the base generates its images."""
        return self.base.generated

    def chunks(self, images: int) -> Sequence[Chunk]:
        """Divide the base into chunks of at most ``images`` images."""
        return self.base.chunks(images)

    def members(self) -> Sequence[Member]:
        """List the base's images."""
        return self.base.members()

    def annotation_files(self) -> list[Path] | None:
        """Return the annotation files of all sources; None if one of them does not name them."""
        files = [files_of(source) for source in (self.base, *self.finer)]
        return None if None in files else [file for of_one in files for file in of_one or ()]

    def image_file(self, file_name: str) -> Path | None:
        """Return the path of an image file of the base, or None."""
        return self.base.image_file(file_name)

    def image_bytes(self, file_name: str) -> bytes | None:
        """Return the bytes of an image file of the base, or None."""
        return self.base.image_bytes(file_name)

    def pixel_sha256(self, file_name: str) -> str | None:
        """Return the SHA-256 of a generated image's RGB array; None for published images."""
        return self.base.pixel_sha256(file_name)

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read one chunk of the base and insert finer masks.

        An image whose finer annotations are unusable keeps its masks; a rejection
        ``overlay_skipped`` records this.
        """
        images, rejections = self.base.read(chunk)
        overlaid = {image.source_image_id: image for image in images}
        skipped: list[Rejection] = []
        waiting = set(overlaid)
        for finer in self.finer:
            assert isinstance(finer, ByImageId)  # noqa: S101 - checked when opened
            places = {i: finer.position(i) for i in sorted(waiting)}
            found = sorted((place, i) for i, place in places.items() if place is not None)
            waiting -= {i for _, i in found}
            for place, source_image_id in found:
                answers, problems = finer.read_at([place])
                image = overlaid[source_image_id]
                if problems:
                    skipped += [_skipped(image, finer.name, problem) for problem in problems]
                elif (answers[0].height, answers[0].width) != (image.height, image.width):
                    skipped.append(_skipped(image, finer.name, _other_size(image, answers[0])))
                else:
                    overlaid[source_image_id] = self._overlay(image, answers[0], finer.name)
        skipped.sort(key=lambda r: r.image_id)
        return list(overlaid.values()), [*rejections, *skipped]

    def _overlay(
        self, image: AnnotatedImage, finer: AnnotatedImage, finer_name: str
    ) -> AnnotatedImage:
        objects = list(image.objects)
        ours = _by_class(image.objects, self.base_map)
        theirs = _by_class(finer.objects, self.finer_map)
        for class_id in sorted(set(ours) & set(theirs)):
            coarse, fine = ours[class_id], theirs[class_id]
            overlap = _overlaps(
                [image.objects[k] for k in coarse], [finer.objects[k] for k in fine], image
            )
            # Pairs below the threshold must not keep other objects from matching.
            overlap[overlap < self.min_iou] = 0
            for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
                if overlap[row, column] > 0:
                    better = finer.objects[fine[column]]
                    objects[coarse[row]] = replace(
                        objects[coarse[row]],
                        rle=better.rle,
                        annotation_id=f"{finer_name}:{better.annotation_id}",
                    )
        return replace(image, objects=tuple(objects))


def _by_class(objects: Sequence[AnnotatedObject], mapping: ClassMap) -> dict[int, list[int]]:
    """Return the positions of the single objects of each class."""
    places: dict[int, list[int]] = {}
    for k, annotated in enumerate(objects):
        class_id = mapping.class_of(annotated.category)
        if class_id is not None and not annotated.crowd:
            places.setdefault(class_id, []).append(k)
    return places


def _overlaps(
    ours: Sequence[AnnotatedObject], theirs: Sequence[AnnotatedObject], image: AnnotatedImage
) -> npt.NDArray[np.float64]:
    """Return the IoU of every pair of masks, ``(ours, theirs)`` float64."""
    size = [image.height, image.width]
    codes = [[{"size": size, "counts": o.rle} for o in objects] for objects in (ours, theirs)]
    return np.array(coco_mask.iou(codes[0], codes[1], [0] * len(theirs)), np.float64)


def _other_size(image: AnnotatedImage, finer: AnnotatedImage) -> Rejection:
    detail = f"{finer.width} x {finer.height}, but the base has {image.width} x {image.height}"
    return Rejection("", image.file_name, "other_size", detail)


def _skipped(image: AnnotatedImage, finer_name: str, problem: Rejection) -> Rejection:
    return Rejection(
        source=finer_name,
        file=problem.file,
        reason="overlay_skipped",
        detail=f"{problem.reason}: {problem.detail}; the image keeps its own masks",
        image_id=image.image_id,
        annotation_id=problem.annotation_id,
    )
