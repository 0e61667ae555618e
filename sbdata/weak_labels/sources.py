"""Sources of weak labels: the training set's manifest, or files of the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.images import DAMAGE, open_image
from sbdata.sets import EvaluationSet
from sbdata.storage import sha256_of
from sbdata.weak_labels.boxes import read_boxes
from sbdata.weak_labels.labels import read_labels
from sbdata.weak_labels.weak_set import WeakSet, weak_set


@dataclass(frozen=True)
class WeakSources:
    """Origin of the weak labels that a method uses.

    Attributes:
        with_boxes: Whether it uses boxes.
        labels: File of image-level labels; None for the set's own.
        boxes: File or folder of boxes; None for the set's own.
        saliency: Folder of saliency maps; None if it uses none, or makes them itself.
    """

    with_boxes: bool = False
    labels: str | None = None
    boxes: str | None = None
    saliency: str | None = None

    def read(
        self, opened: EvaluationSet, folder: Path | None, hashes: FileHashes | None = None
    ) -> WeakSet:
        """Return the weak labels of a training set.

        Args:
            opened: Training set.
            folder: Folder to link its photos in; None only to tell supervisions apart, see
                :func:`~sbdata.weak_labels.weak_set.weak_set`.
            hashes: Known hashes of the files.

        Raises:
            InputError: naming a file or folder that does not cover every image, or whose content
                is wrong.
        """
        labels, saliency = None, self.saliency and Path(self.saliency)
        boxes: Any = self.with_boxes
        if self.labels is not None:
            labels = read_labels(Path(self.labels), opened.taxonomy, opened.image_ids)
            _check_all(labels, opened, self.labels, "labels", "one line for every image")
        if self.with_boxes and self.boxes is not None:
            boxes = read_boxes(Path(self.boxes), opened.taxonomy, opened.image_ids)
            what = "every image in it, including those without objects"
            _check_all(boxes, opened, self.boxes, "boxes", what)
        if saliency:
            lacking = next((i for i in opened if not (saliency / f"{i}.png").is_file()), None)
            if lacking is not None:
                msg = f"{saliency}: no {lacking}.png; --saliency needs a map of every image"
                raise InputError(msg)
            _check_levels(saliency, opened.image_ids)
        return weak_set(
            opened, folder, boxes=boxes, saliency=saliency or None, labels=labels, hashes=hashes
        )

    def describe(self) -> str:
        """Return the origin of the labels, and of user-provided boxes, for a result."""
        said = "manifest" if self.labels is None else _labels_origin(Path(self.labels))
        if self.boxes is None or not self.with_boxes:
            return said
        path = Path(self.boxes)
        own = f"boxes of {'COCO JSON' if path.is_file() else 'VOC XML'} {path.name}{_hash(path)}"
        return own if self.labels is None else f"{said}; {own}"


def _check_levels(saliency: Path, image_ids: Sequence[str]) -> None:
    """Refuse saliency maps of 0 and 1, of which each pixel would count as hardly salient.

    Maps are read until one has a larger value, which is mostly the first. Those that cannot be read
    are refused where a method uses them.
    """
    largest = 0
    for image_id in image_ids:
        with suppress(*DAMAGE), open_image(saliency / f"{image_id}.png", ["PNG"]) as image:
            largest = max(largest, int(np.asarray(image.convert("L")).max()))
        if largest > 1:
            return
    if largest == 1:
        msg = (
            f"{saliency}: its maps hold only 0 and 1, but 255 is the most salient; multiply them "
            "by 255"
        )
        raise InputError(msg)


def _labels_origin(path: Path) -> str:
    if not path.is_file():
        return f"VOC XML {path.name}"
    kind = path.suffix.lower().removeprefix(".")
    return f"{kind if kind in ('npy', 'txt', 'json') else 'csv'} {path.name}{_hash(path)}"


def _hash(path: Path) -> str:
    return f", SHA-256 {sha256_of(path)}" if path.is_file() else ""


def _check_all(
    found: Mapping[str, Any], opened: EvaluationSet, path: str, what: str, wanted: str
) -> None:
    absent = [image_id for image_id in opened if image_id not in found]
    if absent:
        msg = (
            f"{path}: has no {what} of image {absent[0]} ({len(absent)} of {len(opened)} images "
            f"lack them); give {wanted}"
        )
        raise InputError(msg)
