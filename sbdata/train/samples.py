"""Training samples: photos with their masks, checked once, cut anew for every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.file_names import stored
from sbdata.fingerprints import content_of
from sbdata.images import orientation_of
from sbdata.layout import CLASSES_FOLDER, IMAGES_FOLDER
from sbdata.losses.weights import size_weights
from sbdata.machine import starting_workers
from sbdata.mask_files import VOID, MaskFile, PngError, read_mask
from sbdata.sets import check_files, open_set
from sbdata.taxonomy import Taxonomy
from sbdata.train.augment import cut_image, cut_mask, draw_view
from sbdata.train.labels import Labels, Size, nearest
from sbdata.train.photos import open_photo, photos_in, photos_of, read_photo
from sbdata.train.preset import Augmentation, SizeBalance

Progress = Callable[[int, int], None]


class Batch(NamedTuple):
    """What a training step is computed from.

    Attributes:
        images: ``(N, 3, H, W)`` uint8.
        labels: uint8 class numbers, and weights, for each size of an output of the network.
    """

    images: Tensor
    labels: dict[Size, Labels]


@dataclass(frozen=True)
class TrainingImage:
    """One photo and the mask it is trained on."""

    image_id: str
    photo: Path
    mask: Path


@dataclass(frozen=True)
class TrainingImages:
    """What a segmenter is trained on.

    Attributes:
        rows: photos and masks, sorted by id.
        taxonomy: of the masks.
        source: where they come from, for the result.
        synthetic: whether the photos are generated.
        hashes: what is known of the files' content.
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
        """Return a hash of the ids and the masks' bytes."""
        return content_of({row.image_id: self.hashes.sha256(row.mask) for row in self.rows})

    @cached_property
    def photos_digest(self) -> str:
        """Return a hash of the ids and the photos' bytes."""
        return content_of({row.image_id: self.hashes.sha256(row.photo) for row in self.rows})


def images_of_set(
    root: Path, masks: Path | None = None, hashes: FileHashes | None = None
) -> TrainingImages:
    """Take the photos of a built set, with its own masks or a folder of others.

    Args:
        root: the set.
        masks: pseudo-masks, ``<image_id>.png``; the set's ground truth by default.
        hashes: what is known of the files' content.

    Raises:
        InputError: if the folder is no set, a photo, or a mask of its own, is not the file that it
            was built with, or photos lack a mask.
    """
    opened = open_set(root)
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
    """Take the photos of a folder that have a mask in another.

    Args:
        photos: ``<image_id>.jpg``, ``.jpeg`` or ``.png``.
        masks: ``<image_id>.png``, class numbers.
        taxonomy: of the masks.
        ids: to take; by default every photo, each of which must then have a mask.

    Raises:
        InputError: if a folder is none or holds no photos, or a photo or mask is missing.
    """
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
        msg = "there are no images to train on"
        raise InputError(msg)
    rows = tuple(
        TrainingImage(image_id, photos[image_id], stored(folder, f"{image_id}.png"))
        for image_id in sorted(photos)
    )
    absent = [row for row in rows if not row.mask.is_file()]
    if absent:
        msg = f"{absent[0].mask}: no such mask ({len(absent)} of {len(rows)} are missing); {remedy}"
        raise InputError(msg)
    return rows


def check_images(images: TrainingImages, progress: Progress | None = None) -> tuple[str, ...]:
    """Look at every mask and at every photo's header before a long run begins.

    Returns:
        Sentences that must be said beside the run: of masks that were decoded by colour, that hold
        nothing to learn from, and of photos that are shown turned.

    Raises:
        InputError: naming the file, for one that cannot be read, a mask of another size than its
            photo, and class numbers that the taxonomy does not have; also if there is no pixel to
            learn from in any mask.
    """
    by_colour: list[str] = []
    void: list[str] = []
    turned: list[str] = []
    no_class = True
    for done, row in enumerate(images.rows, start=1):
        found = _read_mask(row.mask, images)
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
            f"{folder}: nothing to learn from, since every pixel of the {len(images):,} masks is "
            f"{VOID} (void); give masks with class numbers"
        )
        raise InputError(msg)
    notes = []
    if by_colour:
        notes.append(
            "masks read by colour, since their palettes have VOC's colours under other numbers: "
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
            f"photos with an EXIF orientation tag: {_some(turned)}; viewers show them turned, but "
            "the tag is ignored here, so their masks must be of the pixels as stored"
        )
    return tuple(notes)


def _some(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1:,} more" if len(names) > 1 else names[0]


def _read_mask(path: Path, images: TrainingImages) -> MaskFile:
    """Read a mask whose numbers a network for the images' taxonomy can learn.

    Raises:
        InputError: if it cannot be read, or has other numbers.
    """
    taxonomy = images.taxonomy
    try:
        found = read_mask(path, classes=taxonomy)
    except PngError as error:  # in a worker process only a plain error keeps its sentence
        raise InputError(str(error)) from error
    values = found.values
    known = (values <= len(taxonomy)) | (values == VOID)
    if not known.all():
        of_set = "set" in images.source
        remedy = "map them to the set's classes" if of_set else "give the masks' own --taxonomy"
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
            f" as stored (the photo has EXIF orientation {orientation} and is shown turned; turn "
            "its pixels and remove the tag)"
        )
    return InputError(msg)


# --- the stream of views --------------------------------------------------------------------------


_Labels = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]


@dataclass(frozen=True)
class Views(Dataset[tuple[npt.NDArray[np.uint8], dict[Size, _Labels]]]):
    """All views of one run: view ``p`` is a function of the seed and ``p`` alone.

    That is why any number of workers and processes sees the same views, and a run that was killed
    goes on with the view that it would have seen.

    Attributes:
        images: to draw from, each once an epoch, in an order drawn anew for every epoch.
        augmentation: of image and mask.
        seed: of order and views.
        stream: another one gives other views, in another order.
        balance: settings of the size weights that go with the labels, or None for no weights.
        sizes: of the network's outputs, to which the labels are brought by nearest neighbour; by
            default that of the view. Weights are those of the labels at that size.
    """

    images: TrainingImages
    augmentation: Augmentation
    seed: int
    stream: int = 0
    balance: SizeBalance | None = None
    sizes: tuple[Size, ...] = ()

    def __getitem__(self, position: int) -> tuple[npt.NDArray[np.uint8], dict[Size, _Labels]]:
        row = self.images.rows[self.row_at(position)]
        rng = np.random.default_rng((self.seed, self.stream, 1, position))
        photo, mask = read_photo(row.photo), _read_mask(row.mask, self.images).values
        view = draw_view(photo.size, self.augmentation, rng)
        target = np.array(cut_mask(mask, view))  # Pillow's own memory is read-only
        sizes = self.sizes or (target.shape,)
        return cut_image(photo, view), {size: self._labels(target, size) for size in sizes}

    def _labels(self, target: npt.NDArray[np.uint8], size: Size) -> _Labels:
        """Return a target at the size of an output, and the weights of what is left of it."""
        if target.shape != size:
            target = nearest(torch.from_numpy(target)[None], size)[0].numpy()
        balance = self.balance
        if balance is None:
            return target, None
        weights = size_weights(
            target, tau=balance.tau, normalizer=balance.normalizer, regions=balance.regions
        )
        return target, weights

    def row_at(self, position: int) -> int:
        """Return the row that a view is of."""
        epoch, place = divmod(position, len(self.images))
        return int(_order((self.seed, self.stream, 0, epoch), len(self.images))[place])


@lru_cache(maxsize=2)  # the running epoch and, within a batch, the next
def _order(key: tuple[int, ...], n: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(key).permutation(n)


def view_batches(
    views: Views, batches: Sequence[Sequence[int]], workers: int = 0, pin_memory: bool = False
) -> Iterator[Batch]:
    """Give the batches of views at the given positions.

    Args:
        views: of the run.
        batches: positions of each batch.
        workers: processes that cut views ahead; 0 cuts them in this one.
        pin_memory: for faster copies to a GPU.

    Raises:
        InputError: naming the file that cannot be read.
    """
    loader: DataLoader[Any] = DataLoader(
        views,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else it would draw from the one that a run is resumed with
        multiprocessing_context="spawn" if workers else None,
    )
    with starting_workers():
        drawn = iter(loader)
    try:
        yield from drawn
    except InputError as error:  # a worker's error arrives with the worker's traceback in front
        raise InputError(str(error).strip().rpartition("InputError: ")[2]) from error


def _collate(views: list[tuple[npt.NDArray[np.uint8], dict[Size, _Labels]]]) -> Batch:
    images = torch.from_numpy(np.stack([pixels for pixels, _ in views]))
    labels = {
        size: Labels(*(_stacked([view[size][part] for _, view in views]) for part in (0, 1)))
        for size in views[0][1]
    }
    return Batch(images.permute(0, 3, 1, 2), labels)  # channels last in memory, as they lie


def _stacked(maps: list[Any]) -> Any:
    return None if maps[0] is None else torch.from_numpy(np.stack(maps))
