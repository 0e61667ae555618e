"""Finer masks laid over a source: COCO says which objects are there, LVIS draws some better.

Only masks change. Which objects an image has, their categories, crowds and void stay the base's.
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
from sbdata.taxonomy import ClassMap


@runtime_checkable
class ByImageId(Protocol):
    """What a source must offer beside :class:`Source` to be laid over another."""

    def position(self, source_image_id: str) -> int | None:
        """Return the position of an image, or None where the source lacks it."""

    def read_at(self, positions: Sequence[int]) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read the annotations of the images at some positions."""


@dataclass(frozen=True, eq=False)
class OverlaidSource:
    """A source whose masks are replaced by another's where both outline the same object.

    Objects match within a class and one to one, so that the IoU summed over the pairs is largest,
    pairs below ``min_iou`` left out. A replaced object keeps its category; its annotation id
    becomes the finer one with the finer source's name before it, as ``lvis:1268``.

    Attributes:
        base: says which objects are there.
        finer: splits of the source with finer masks; the first that has an image is used.
        base_map: the base's categories to classes; objects without a class keep their mask.
        finer_map: the finer source's categories to the same classes.
        min_iou: of two masks of one object.

    Raises:
        InputError: if a finer source cannot find images by their id.
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
        """Return what the base says."""
        return self.base.generated

    def chunks(self, images: int) -> Sequence[Chunk]:
        """Cut the base into chunks."""
        return self.base.chunks(images)

    def members(self) -> Sequence[Member]:
        """List the base's images."""
        return self.base.members()

    def image_file(self, file_name: str) -> Path | None:
        """Return where an image file of the base lies."""
        return self.base.image_file(file_name)

    def image_bytes(self, file_name: str) -> bytes | None:
        """Return an image file of the base."""
        return self.base.image_bytes(file_name)

    def pixel_sha256(self, file_name: str) -> str | None:
        """Return what the base says."""
        return self.base.pixel_sha256(file_name)

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        """Read one chunk of the base and put finer masks in.

        An image whose finer annotations cannot be used keeps its masks; a rejection
        ``overlay_skipped`` says so.
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
            # Pairs that cannot replace must not keep others from matching.
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
    """Return the places of the single objects of each class."""
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
    detail = f"{finer.width} x {finer.height}, the base has {image.width} x {image.height}"
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
