"""Training samples: photos with their masks, checked once, and the views cut from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.file_names import stored
from sbdata.fingerprints import content_of
from sbdata.images import orientation_of
from sbdata.layout import CLASSES_FOLDER, IMAGES_FOLDER
from sbdata.losses.weights import size_weights
from sbdata.manifest import check_has_masks
from sbdata.mask_classes import check_classes
from sbdata.mask_files import VOID, MaskFile, PngError, read_mask
from sbdata.sets import check_files, open_set
from sbdata.taxonomy import Taxonomy
from sbdata.train.augment import View, cut_mask, draw_view
from sbdata.train.photos import open_photo, photos_in, photos_of
from sbdata.train.preset import Augmentation, SizeBalance
from sbdata.train.resize import Size, nearest
from sbdata.train.views import Arrays, Shuffled, Views

Progress = Callable[[int, int], None]

_OF_SET, _OF_FOLDER = "map them to the set's classes", "give the masks' own --taxonomy"


@dataclass(frozen=True)
class TrainingImage:
    """Photo and the mask on which the segmenter is trained."""

    image_id: str
    photo: Path
    mask: Path


@dataclass(frozen=True)
class TrainingImages:
    """Training images of a segmenter.

    Attributes:
        rows: Photos and masks, sorted by id.
        taxonomy: Taxonomy of the masks.
        source: Source of photos and masks, for the result.
        synthetic: True if the photos are generated.
        hashes: Known hashes of the files.
    """

    rows: tuple[TrainingImage, ...]
    taxonomy: Taxonomy
    source: Mapping[str, Any]
    synthetic: bool = False
    hashes: FileHashes = field(default_factory=FileHashes, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def masks_digest(self) -> str:
        """SHA-256 of the ids and the masks' bytes."""
        return content_of({row.image_id: self.hashes.sha256(row.mask) for row in self.rows})

    @cached_property
    def photos_digest(self) -> str:
        """SHA-256 of the ids and the photos' bytes."""
        return content_of({row.image_id: self.hashes.sha256(row.photo) for row in self.rows})


def images_of_set(
    root: Path, masks: Path | None = None, hashes: FileHashes | None = None
) -> TrainingImages:
    """Return the photos of a built dataset, with its own masks or those of a folder.

    Args:
        root: Folder of the dataset.
        masks: Folder of pseudo-masks, ``<image_id>.png``; by default the dataset's ground truth.
        hashes: Known hashes of the files.

    Raises:
        InputError: if the folder is not a dataset, if a photo or a mask of the dataset is not the
            file with which it was built, if photos lack a mask, or if masks of sbdata were made for
            other classes.
    """
    opened = open_set(root)
    if masks is None:
        check_has_masks(opened.manifest, root, "training on ground truth")
    else:
        check_classes(masks, opened.taxonomy, reader="the set", remedy=_OF_SET)
    hashes = FileHashes() if hashes is None else hashes
    check_files(opened, (IMAGES_FOLDER, *((CLASSES_FOLDER,) if masks is None else ())), hashes)
    folder = masks or root / CLASSES_FOLDER
    photos = {image_id: opened.image_path(image_id) for image_id in opened.image_ids}
    source = {
        "set": opened.name,
        "logical_hash": opened.logical_hash,
        "masks": "ground truth" if masks is None else str(masks),
    }
    synthetic = bool(opened.manifest.meta.get("synthetic", False))
    rows = _with_masks(photos, folder, "write one for every image of the set")
    return TrainingImages(rows, opened.taxonomy, source, synthetic, hashes)


def images_of_folders(
    photos: Path, masks: Path, taxonomy: Taxonomy, ids: Sequence[str] | None = None
) -> TrainingImages:
    """Return the photos of a folder, with their masks in another folder.

    Args:
        photos: Folder of ``<image_id>.jpg``, ``.jpeg`` or ``.png`` files.
        masks: Folder of ``<image_id>.png`` files with class numbers.
        taxonomy: Taxonomy of the masks.
        ids: Ids of the images to use; by default every photo, each of which must then have a mask.

    Raises:
        InputError: if a folder does not exist or holds no photos, a photo or mask is missing, or
            masks of sbdata were made for other classes.
    """
    check_classes(masks, taxonomy, reader=taxonomy.name, remedy=_OF_FOLDER)
    wanted = sorted(photos_in(photos) if ids is None else set(ids))
    found = photos_of(photos, wanted)
    chosen = {image_id: photo for image_id, photo in found.items() if photo is not None}
    absent = [image_id for image_id in wanted if image_id not in chosen]
    if absent:
        msg = f"{photos}: no photo called {absent[0]} ({len(absent)} of {len(wanted)} are missing)"
        raise InputError(msg)
    source = {"images": str(photos), "masks": str(masks)}
    remedy = "write one for every image, or name the ids that have one by --ids"
    return TrainingImages(_with_masks(chosen, masks, remedy), taxonomy, source)


def _with_masks(photos: Mapping[str, Path], folder: Path, remedy: str) -> tuple[TrainingImage, ...]:
    if not folder.is_dir():
        msg = f"{folder}: no such folder; --masks takes a folder of <image_id>.png"
        raise InputError(msg)
    if not photos:
        msg = "there are no images to train on; give a set, or a list of ids, with images"
        raise InputError(msg)
    rows = tuple(
        TrainingImage(image_id, photos[image_id], stored(folder, f"{image_id}.png"))
        for image_id in sorted(photos)
    )
    absent = [row for row in rows if not row.mask.is_file()]
    if absent:
        msg = f"{absent[0].mask}: no such mask ({len(absent)} of {len(rows)} are missing); {remedy}"
        raise InputError(msg)
    if rows[0].photo.samefile(rows[0].mask):
        msg = f"{rows[0].photo}: is the photo and its mask; give two folders"
        raise InputError(msg)
    return rows


def check_images(images: TrainingImages, progress: Progress | None = None) -> tuple[str, ...]:
    """Check every mask and every photo's header before a long run begins.

    Returns:
        Notes to print with the run: on masks that were decoded by colour, on masks with nothing to
        learn from, and on photos that viewers show rotated.

    Raises:
        InputError: if a file cannot be read, a mask differs in size from its photo or has class
            numbers that the taxonomy does not have (the message names the file), or if no mask has
            a pixel to learn from.
    """
    by_colour: list[str] = []
    void: list[str] = []
    turned: list[str] = []
    no_class = True
    for done, row in enumerate(images.rows, start=1):
        found = _read_mask(row.mask, images.taxonomy, of_set="set" in images.source)
        with open_photo(row.photo) as photo:
            size, orientation = photo.size, orientation_of(photo)
        if found.values.shape != (size[1], size[0]):
            raise _other_size(row, found, size, orientation)
        used = np.flatnonzero(np.bincount(found.values.ravel(), minlength=256))
        no_class = no_class and not ((used > 0) & (used != VOID)).any()
        if found.by_colour:
            by_colour.append(row.mask.name)
        if used.tolist() == [VOID]:
            void.append(row.mask.name)
        if orientation != 1:
            turned.append(row.photo.name)
        if progress:
            progress(done, len(images))
    folder = images.rows[0].mask.parent
    if len(void) == len(images):
        msg = (
            f"{folder}: nothing to learn from, because every pixel of the {len(images):,} masks is "
            f"{VOID} (void); give masks with class numbers"
        )
        raise InputError(msg)
    notes = []
    if by_colour:
        notes.append(
            "masks read by colour, because their palettes have VOC's colours at other indices: "
            f"{_some(by_colour)} in {folder}"
        )
    if void:
        notes.append(
            f"masks without a pixel to learn from, only {VOID} (void): {_some(void)} in {folder}"
        )
    if no_class:
        notes.append(f"no mask in {folder} holds a class: all pixels are background or void")
    if turned:
        notes.append(
            f"photos with an EXIF orientation tag: {_some(turned)}; viewers show them rotated, but "
            "the tag is ignored here, so their masks must refer to the pixels as stored"
        )
    return tuple(notes)


def _some(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1:,} more" if len(names) > 1 else names[0]


def _read_mask(path: Path, taxonomy: Taxonomy, *, of_set: bool) -> MaskFile:
    """Read a mask and check that a network for a taxonomy can learn its numbers.

    Args:
        path: Path of the mask.
        taxonomy: Classes of the network.
        of_set: Whether the images are a dataset's; the message then refers to the dataset's
            classes.

    Raises:
        InputError: if it cannot be read, or has other numbers.
    """
    try:
        found = read_mask(path, classes=taxonomy)
    except PngError as error:  # only a plain error keeps its message across worker processes
        raise InputError(str(error)) from error
    values = found.values
    known = (values <= len(taxonomy)) | (values == VOID)
    if not known.all():
        remedy = _OF_SET if of_set else _OF_FOLDER
        msg = (
            f"{path}: class number {values[~known].min()}, but {taxonomy.name} has "
            f"0..{len(taxonomy)} and {VOID} for void; {remedy}"
        )
        raise InputError(msg)
    return found


def _other_size(
    row: TrainingImage, found: MaskFile, size: tuple[int, int], orientation: int
) -> InputError:
    height, width = found.values.shape
    msg = (
        f"{row.mask}: {width} x {height} pixels, but {row.photo.name} has {size[0]} x {size[1]}; "
        "a mask must have its image's size"
    )
    if orientation > 4 and (width, height) == size[::-1]:
        msg += (
            f" as stored (the photo has EXIF orientation {orientation} and is shown rotated; "
            "rotate its pixels and remove the tag)"
        )
    return InputError(msg)


# --- views ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaskTarget:
    """Labels of a view: its mask at the size of each network output, with size weights.

    Attributes:
        taxonomy: Taxonomy of the masks.
        of_set: Whether the images are a dataset's.
        balance: Settings of the weights that follow each array of labels, or None for no weights.
        sizes: Sizes of the outputs, to which the labels are resized by nearest neighbour; by
            default that of the view. Weights are computed from the labels at that size.
    """

    taxonomy: Taxonomy
    of_set: bool
    balance: SizeBalance | None = None
    sizes: tuple[Size, ...] = ()

    def __call__(self, row: TrainingImage, view: View) -> Arrays:
        """Return uint8 labels, and float32 weights if there are any, for each size."""
        whole = np.array(
            cut_mask(_read_mask(row.mask, self.taxonomy, of_set=self.of_set).values, view)
        )
        found: list[npt.NDArray[Any]] = []
        for size in dict.fromkeys(self.sizes or (whole.shape,)):
            target = whole
            if target.shape != size:
                target = nearest(torch.from_numpy(target)[None], size)[0].numpy()
            found.append(target)
            balance = self.balance
            if balance is not None:
                weights = size_weights(
                    target, tau=balance.tau, normalizer=balance.normalizer, regions=balance.regions
                )
                found.append(weights)
        return tuple(found)


def views_of(
    images: TrainingImages,
    augmentation: Augmentation,
    seed: int,
    *,
    stream: int = 0,
    balance: SizeBalance | None = None,
    sizes: tuple[Size, ...] = (),
) -> Views[TrainingImage]:
    """Return the views of a run.

    Args:
        images: Images to draw from, each once per epoch, in an order drawn anew for every epoch.
        augmentation: Crop, scales and flip of image and mask.
        seed: Seed of order and views.
        stream: Number of the random stream; another number gives other views, in another order.
        balance: Settings of the weights that follow each array of labels, or None for no weights.
        sizes: Sizes of the outputs, to which the labels are resized; by default that of the view.
    """
    return Views(
        Shuffled(images.rows, seed, stream),
        partial(_cropped, settings=augmentation),
        MaskTarget(images.taxonomy, "set" in images.source, balance, sizes),
        seed,
        stream,
    )


def _cropped(
    photo: Image.Image, rng: np.random.Generator, settings: Augmentation
) -> tuple[Image.Image, View]:
    return photo, draw_view(photo.size, settings, rng)
