"""Open a built evaluation set from disk.

>>> opened = open_set(Path("data/shapes-b"))  # doctest: +SKIP
>>> for image_id in opened:  # doctest: +SKIP
...     truth = opened.class_map(image_id)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sbdata.checksums import read_checksums
from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.layout import (
    CLASSES_FOLDER,
    IMAGES_FOLDER,
    OBJECTS_FOLDER,
    class_path,
    image_path,
    object_path,
)
from sbdata.manifest import (
    IMAGES_FILE,
    INSTANCES_FILE,
    Manifest,
    check_has_masks,
    is_manifest,
    read_manifest,
)
from sbdata.mask_files import MaskFile, read_mask
from sbdata.masks import LabelMap, MaskError
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

if TYPE_CHECKING:
    from sbdata.train.set_dataset import SetDataset

_TORCH_DATASET = "sbdata.train.set_dataset"


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """A set on disk: its manifest, and access to its images and masks.

    Iteration yields the image ids in sorted order. Masks are read from the PNG files, as other code
    reads them; ``sbdata.curate.verify`` checks that they equal the masks drawn from the manifest.

    Attributes:
        root: Folder of the set.
        manifest: Manifest, with its two tables and their header.
    """

    root: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Name of the set."""
        return self.manifest.name

    @property
    def taxonomy(self) -> Taxonomy:
        """Classes of the set."""
        return self.manifest.taxonomy

    @property
    def bins(self) -> SizeBins:
        """Size bins that the set was built with."""
        return self.manifest.bins

    @property
    def logical_hash(self) -> str:
        """Hash that identifies the set."""
        return self.manifest.logical_hash

    @property
    def labels_only(self) -> bool:
        """Whether the set has labels, and perhaps boxes, but no masks."""
        return self.manifest.labels_only

    @cached_property
    def image_ids(self) -> tuple[str, ...]:
        """Ids of all images, sorted."""
        return tuple(self.manifest.images["image_id"].to_pylist())

    @cached_property
    def _sizes(self) -> Mapping[str, tuple[int, int]]:
        images = self.manifest.images
        columns = (images[name].to_pylist() for name in ("height", "width"))
        return dict(zip(self.image_ids, zip(*columns, strict=True), strict=True))

    @cached_property
    def _places(self) -> Mapping[str, tuple[int, int]]:
        """First row and number of rows of each image in the instances table."""
        owners = enumerate(self.manifest.instances["image_id"].to_pylist())
        places = {}
        for image_id, rows in groupby(owners, key=lambda pair: pair[1]):
            first, *further = (row for row, _ in rows)
            places[image_id] = (first, 1 + len(further))
        return places

    def __len__(self) -> int:
        return len(self.image_ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.image_ids)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._sizes

    def size_of(self, image_id: str) -> tuple[int, int]:
        """Return an image's height and width in pixels."""
        self._check_id(image_id)
        return self._sizes[image_id]

    def image_path(self, image_id: str) -> Path:
        """Return the path of an image's JPEG file."""
        self._check_id(image_id)
        return image_path(self.root, image_id)

    def class_map(self, image_id: str) -> LabelMap:
        """Return the ``(H, W)`` uint8 map of class numbers; 0 is background and 255 void.

        Raises:
            InputError: If the id is unknown, or the PNG cannot be read or has another size.
        """
        check_has_masks(self.manifest, self.root, "a class map")
        size = self.size_of(image_id)
        found = read_mask(class_path(self.root, image_id), classes=self.taxonomy)
        return self._of_size(found, class_path(self.root, image_id), size)

    def instance_map(self, image_id: str) -> LabelMap:
        """Return the ``(H, W)`` uint8 map of instance numbers; 0 is background and 255 void.

        The numbers are the ``instance_id`` of :meth:`instances_of`.

        Raises:
            InputError: If the id is unknown, or the PNG cannot be read or has another size.
        """
        check_has_masks(self.manifest, self.root, "an instance map")
        size = self.size_of(image_id)
        found = read_mask(object_path(self.root, image_id), instances=True)
        return self._of_size(found, object_path(self.root, image_id), size)

    def instances_of(self, image_id: str) -> pa.Table:
        """Return the rows of ``instances.parquet`` of one image, sorted by instance_id."""
        rows = self.rows_of(image_id)
        return self.manifest.instances.slice(rows.start, rows.stop - rows.start)

    def rows_of(self, image_id: str) -> slice:
        """Return the rows of ``instances.parquet`` of one image as a slice, for use in loops.

        Slicing a column that is already an array is a hundred times as fast as slicing the table.
        """
        self._check_id(image_id)
        start, length = self._places.get(image_id, (0, 0))
        return slice(start, start + length)

    @cached_property
    def _weak_rows(self) -> Mapping[str, Mapping[str, Any]]:
        rows = self.manifest.images.select(["labels", "boxes"]).to_pylist()
        return dict(zip(self.image_ids, rows, strict=True))

    @cached_property
    def _box_columns(self) -> tuple[np.ndarray, ...]:
        """Class and box of all instances; slicing an array is far faster than slicing the table."""
        names = ("class_id", "bbox_x", "bbox_y", "bbox_w", "bbox_h")
        return tuple(self.manifest.instances[name].to_numpy() for name in names)

    def labels_of(self, image_id: str) -> tuple[int, ...]:
        """Return the class numbers in an image, sorted: its image-level labels."""
        if self.labels_only:
            self._check_id(image_id)
            return tuple(self._weak_rows[image_id]["labels"])
        return tuple(sorted(set(self._box_columns[0][self.rows_of(image_id)].tolist())))

    def boxes_of(self, image_id: str) -> list[tuple[int, int, int, int, int]]:
        """Return class number, x, y, width and height of each object's box.

        Raises:
            InputError: If the set has labels only, without boxes.
        """
        if not self.labels_only:
            rows = self.rows_of(image_id)
            return list(zip(*(c[rows].tolist() for c in self._box_columns), strict=True))
        self._check_id(image_id)
        boxes = self._weak_rows[image_id]["boxes"]
        if boxes is None:
            msg = (
                f"{self.root}: the set has labels only, without boxes; give boxes by --boxes, or "
                "build the set with the option boxes"
            )
            raise InputError(msg)
        return [tuple(box.values()) for box in boxes]

    def as_torch(self, transform: Callable[[dict[str, Any]], Any] | None = None) -> SetDataset:
        """Return the set as a map-style PyTorch ``Dataset``, for a ``DataLoader``.

        Each item is a dict that transforms of ``torchvision.transforms.v2`` take:

        - ``image``: ``tv_tensors.Image``, ``(3, H, W)`` uint8; an EXIF orientation is ignored, as
          the masks do.
        - ``image_id``: str.
        - ``labels``: float32 ``(C,)``, 1 for each class in the image.
        - ``class_map``: ``tv_tensors.Mask``, ``(H, W)`` uint8; 0 background, 1..C, 255 void.
        - ``instance_map``: ``tv_tensors.Mask``, ``(H, W)`` uint8; 0 no instance, 255 void.
        - ``instance_ids``, ``class_ids``: int64 ``(n,)``, number and class of each instance of the
          whole image, whatever a transform cuts away.

        A set with labels only has the first three. The photos and masks are compared once, here,
        with the checksums of the set. Items can be read by worker processes, and a transform must
        be picklable where these are not forked.

        Args:
            transform: Function of the dict; what it returns is the item.

        Raises:
            InputError: If PyTorch or torchvision is not installed, or a photo or mask is not the
                file that the set was built with.
        """
        # By name, because no task depends on the source of this dataset (see sbdata.fingerprints).
        try:
            module = import_module(_TORCH_DATASET)
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "torchvision"):
                raise
            msg = f"{error.name} is not installed; run: pip install 'sbdata[torch]'"
            raise InputError(msg) from error
        found: SetDataset = module.SetDataset(self, transform)
        return found

    def _of_size(self, found: MaskFile, path: Path, size: tuple[int, int]) -> LabelMap:
        height, width = found.values.shape
        if (height, width) != size:
            msg = (
                f"{path}: {width} x {height} pixels, but its image has {size[1]} x {size[0]}; run "
                f"'sbdata dataset verify {self.root}'"
            )
            raise MaskError(msg)
        return np.array(found.values, np.uint8)

    def _check_id(self, image_id: str) -> None:
        if image_id not in self._sizes:
            msg = f"{self.root}: the set has no image called {image_id!r}"
            raise InputError(msg)


def open_set(root: str | os.PathLike[str]) -> EvaluationSet:
    """Open a set written by ``sbdata dataset build``.

    The manifest is read and checked by its logical hash. The image and mask files are not checked;
    code that trains or scores with them calls :func:`check_files` first.

    Raises:
        InputError: If the folder is not a set (the message says what to run), or, as
            ManifestError, if its manifest is damaged.
    """
    root = Path(root)
    if not root.is_dir():
        msg = f"{root}: no such folder; build a set by 'sbdata dataset build'"
        raise InputError(msg)
    if not is_manifest(root):
        raise _not_a_set(root)
    manifest = read_manifest(root)
    masks = () if manifest.labels_only else (CLASSES_FOLDER, OBJECTS_FOLDER)
    folders = (IMAGES_FOLDER, *masks)
    absent = [folder for folder in folders if not (root / folder).is_dir()]
    if absent:
        msg = (
            f"{root}: only a manifest, without {' and '.join(absent)}; build the set from it by "
            "'sbdata dataset build' and open that"
        )
        raise InputError(msg)
    return EvaluationSet(root, manifest)


def manifest_of(root: Path) -> Manifest:
    """Return the manifest of a set, or of a folder that contains only a manifest.

    Raises:
        InputError: If the folder is neither, or the manifest was edited.
    """
    return read_manifest(root) if is_manifest(root) else open_set(root).manifest


_PATHS = {IMAGES_FOLDER: image_path, CLASSES_FOLDER: class_path, OBJECTS_FOLDER: object_path}


def check_files(
    opened: EvaluationSet, folders: Collection[str], hashes: FileHashes | None = None
) -> None:
    """Check that photos or masks of a set are still the files that it was built with.

    Args:
        opened: Set to check.
        folders: Folder names from :mod:`sbdata.layout`; in each, the file of every image is
            compared with the set's checksums.
        hashes: Known hashes of the files.

    Raises:
        InputError: If a file was altered or is missing; the message names it.
    """
    hashes = FileHashes() if hashes is None else hashes
    sums = read_checksums(opened.root)
    here = Path()
    for folder in folders:
        names = [_PATHS[folder](here, image_id).as_posix() for image_id in opened.image_ids]
        altered = [name for name in names if not _is_as_built(opened.root, name, sums, hashes)]
        if altered:
            there = (opened.root / altered[0]).is_file()
            what = "not the file that the set was built with" if there else "no such file"
            msg = (
                f"{opened.root / altered[0]}: {what} ({len(altered):,} of {len(names):,} are not "
                f"as built); 'sbdata dataset verify {opened.root}' lists all, and building the set "
                "again restores them"
            )
            raise InputError(msg)


def _is_as_built(root: Path, name: str, sums: Mapping[str, str], hashes: FileHashes) -> bool:
    try:
        return hashes.sha256(root / name) == sums.get(name)
    except OSError:
        return False


def _not_a_set(root: Path) -> InputError:
    inner = sorted(path for path in root.iterdir() if path.is_dir() and is_manifest(path))
    if inner:
        return InputError(f"{root}: not a set, but {inner[0]} is; give that folder")
    if not any(root.iterdir()):
        return InputError(f"{root}: an empty folder; build a set there by 'sbdata dataset build'")
    return InputError(
        f"{root}: not a set: {IMAGES_FILE} and {INSTANCES_FILE} are missing; build one by "
        "'sbdata dataset build'"
    )
