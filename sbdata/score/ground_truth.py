"""Ground truth of a score: its images, and a loader for each, whatever it is read from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sbdata.errors import InputError
from sbdata.file_names import FileNames, describe_case
from sbdata.images import PHOTO_SUFFIXES
from sbdata.litter import is_litter
from sbdata.metrics import ImageTruth
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class GroundTruthImage:
    """Ground truth of one image.

    Attributes:
        truth: Maps of the truth.
        digest: SHA-256 of the files it was read from, joined by spaces; empty if it was drawn.
        unassigned: Number of pixels that have a class but no instance; mIoU counts them, IA does
            not.
        void_in_one: Number of pixels that are void in only one of two mask files; they are not
            counted anywhere.
        by_colour: True if the numbers of a mask file were derived from a palette's colours; see
            :func:`sbdata.mask_files.read_mask`.
    """

    truth: ImageTruth
    digest: str = ""
    unassigned: int = 0
    void_in_one: int = 0
    by_colour: bool = False


Loader = Callable[[], GroundTruthImage]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Ground truth that predictions are compared with.

    Attributes:
        name: Name of the set, or of the data used instead of one.
        kind: Kind of truth: ``set``, ``voc``, ``coco``, ``panoptic``, ``cityscapes``, ``ade20k`` or
            ``masks``.
        path: Path that the user gave.
        taxonomy: Classes.
        bins: Size bins.
        synthetic: True if the images are generated.
        image_ids: Ids of the images, sorted.
        sizes: Width and height by image.
        loaders: Function that returns the loaders of the images ``start`` to ``stop``, in order.
            Function and loaders can be pickled.
        logical_hash: Logical hash of the manifest, or None if the files themselves are hashed while
            they are read.
        notes: Sentences that must be shown with the figures.
        photos: Photo by image, for the images that have one.
        left_out: Images of the dataset that cannot be scored; predictions for them are ignored.
        has_background: False if every pixel is of a class or void, so that a 0 in a label map is
            probably a class of another numbering.
    """

    name: str
    kind: str
    path: Path
    taxonomy: Taxonomy
    bins: SizeBins
    synthetic: bool
    image_ids: tuple[str, ...]
    sizes: Mapping[str, tuple[int, int]]
    loaders: Callable[[int, int], Sequence[Loader]]
    logical_hash: str | None = None
    notes: tuple[str, ...] = ()
    photos: Mapping[str, Path] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    has_background: bool = True

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {image_id: place for place, image_id in enumerate(self.image_ids)}

    def load(self, image_id: str) -> GroundTruthImage:
        """Return the truth of one image.

        Raises:
            InputError: If it cannot be read.
        """
        place = self._places[image_id]
        return self.loaders(place, place + 1)[0]()


def bad_truth(path: Path, detail: str) -> InputError:
    """Return the error for a file of the truth that cannot be used."""
    return InputError(f"{path}: unusable ground truth: {detail}; correct or restore the file")


def case_notes(image_ids: Sequence[str]) -> list[str]:
    """Return a sentence if the predictions of two images would be one file on some disks."""
    note = describe_case(image_ids)
    return [note] if note else []


def stuff_notes(stuff: int, classes: int) -> list[str]:
    """Return a sentence if some classes never have instances.

    >>> stuff_notes(0, 20)
    []
    """
    if not stuff:
        return []
    return [
        f"{stuff} of the {classes} classes never have instances (stuff): they count in mIoU, in "
        "region precision and as orphans, and are in no IA"
    ]


def photos_in(folder: Path, image_ids: Sequence[str]) -> dict[str, Path]:
    """Return the photos of the images, for those that the folder has."""
    if not folder.is_dir():
        return {}
    there = dict(_photo_names(folder))
    names = FileNames(there, folder)
    stems = ((image_id, names.find(image_id)) for image_id in image_ids)
    return {image_id: folder / there[stem] for image_id, stem in stems if stem is not None}


def _photo_names(folder: Path) -> Iterator[tuple[str, str]]:
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names only
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        if suffix.lower() in PHOTO_SUFFIXES and not is_litter(name):
            yield stem, name
