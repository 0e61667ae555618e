"""Photos: one by one for inference, and as random views for training.

A view is a resized, mirrored and cut photo with the labels of the whole, as IRN (Ahn et al., CVPR
2019) trains its classifier, and, where a stage learns from seeds, the same view of them. View ``p``
of a run is a function of the seed and ``p`` alone, so a run that was killed goes on with the view
that it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as colours

from sbdata.benchmark.stage import StageContext
from sbdata.errors import InputError
from sbdata.machine import starting_workers
from sbdata.masks import read_index_png
from sbdata.storage import remove_leftovers
from sbdata.train.augment import View, cut_image, cut_mask, draw_view
from sbdata.train.photos import read_photo
from sbdata.train.preset import Augmentation
from sbdata.weak_labels.weak_set import WeakImage, WeakSet
from sbdata_baselines.settings import ViewSettings
from sbdata_baselines.stages.maps import file_of

Alter = Callable[
    [Image.Image, tuple[int, ...], np.random.Generator], tuple[Image.Image, tuple[int, ...]]
]
"""From a photo, its classes and a source of chance to another photo and its classes; it must be
picklable, for workers."""

Batch = tuple[Tensor, ...]
"""Images ``(N, 3, S, S)`` uint8, labels ``(N, C)`` float32 of 0 and 1, and, where there are any,
seeds ``(N, S, S)`` uint8."""


@dataclass(frozen=True)
class WeakViews(Dataset[tuple[npt.NDArray[Any], ...]]):
    """All views of one run.

    Attributes:
        weak: photos, each seen once an epoch, in an order drawn anew for every epoch.
        settings: of the views.
        seed: of order and views.
        stream: tells apart what one run draws for two purposes.
        seeds: a folder of class maps that are cut with the photos.
        alter: changes a photo and its classes before it is cut.
    """

    weak: WeakSet
    settings: ViewSettings
    seed: int
    stream: int = 0
    seeds: Path | None = None
    alter: Alter | None = None

    def __getitem__(self, position: int) -> tuple[npt.NDArray[Any], ...]:
        epoch, place = divmod(position, len(self.weak))
        row = self.weak.rows[_order((self.seed, self.stream, 0, epoch), len(self.weak))[place]]
        rng = np.random.default_rng((self.seed, self.stream, 1, position))
        photo, classes = read_photo(row.photo), row.classes
        if self.alter is not None:
            photo, classes = self.alter(photo, classes, rng)
        view = drawn(photo.size, self.settings, rng)
        pixels = cut_image(_jittered(photo, self.settings, rng), view)
        labels = one_hot(classes, len(self.weak.taxonomy))
        if self.seeds is None:
            return pixels, labels
        return (
            pixels,
            labels,
            cut_mask(read_index_png(file_of(self.seeds, row.image_id, ".png")), view),
        )


@lru_cache(maxsize=4)  # the running epoch and the next, of two streams
def _order(key: tuple[int, ...], n: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(key).permutation(n)


def drawn(size: tuple[int, int], settings: ViewSettings, rng: np.random.Generator) -> View:
    """Draw a view of a photo.

    Args:
        size: its width and height.
        settings: of the views.
        rng: the source of chance.
    """
    scale = 1.0
    if settings.long_side:
        low, high = settings.long_side
        scale = int(rng.integers(low, high + 1)) / max(size)
    elif settings.rescale:
        scale = float(rng.uniform(settings.rescale[0], settings.rescale[1]))
    return draw_view(size, Augmentation(settings.crop, (scale,), settings.flip), rng)


def one_hot(classes: tuple[int, ...], n_classes: int) -> npt.NDArray[np.float32]:
    """Return a vector with 1 for the classes that are present.

    >>> one_hot((1, 3), 4).tolist()
    [1.0, 0.0, 1.0, 0.0]
    """
    labels = np.zeros(n_classes, np.float32)
    labels[[c - 1 for c in classes]] = 1
    return labels


def batches(views: WeakViews, size: int, steps: range, workers: int = 0) -> Iterator[Batch]:
    """Give the batches of some steps: step ``s`` has the views from ``s * size`` on.

    Args:
        views: of the run.
        size: of a batch.
        steps: which to give.
        workers: processes that cut views ahead; 0 cuts them in this one.

    Raises:
        InputError: naming the file that cannot be read.
    """
    loader: DataLoader[Any] = DataLoader(
        views,
        batch_sampler=[range(step * size, (step + 1) * size) for step in steps],
        num_workers=workers,
        collate_fn=_collate,
        generator=torch.Generator(),  # else it would draw from the one that a run is resumed with
        multiprocessing_context="spawn" if workers else None,
    )
    with starting_workers():
        batches = iter(loader)
    try:
        yield from batches
    except InputError as error:  # a worker's error arrives with the worker's traceback in front
        raise InputError(str(error).strip().rpartition("InputError: ")[2]) from error


def pending(task: StageContext, suffix: str) -> Iterator[WeakImage]:
    """Give the photos whose file a stage has not written yet, and tell of the progress."""
    task.folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(task.folder)
    for done, row in enumerate(task.weak.rows, start=1):
        if not file_of(task.folder, row.image_id, suffix).is_file():
            yield row
        task.progress(done, len(task.weak))


def pixels_of(row: WeakImage) -> npt.NDArray[np.uint8]:
    """Return a photo, ``(H, W, 3)`` uint8 RGB."""
    return np.array(read_photo(row.photo))  # a copy: the dense CRF takes none that is read-only


def _jittered(photo: Image.Image, settings: ViewSettings, rng: np.random.Generator) -> Image.Image:
    """Change the colours, in a fixed order of the four changes (torchvision's is random)."""
    if not settings.jitter:
        return photo
    brightness, contrast, saturation, hue = settings.jitter
    photo = colours.adjust_brightness(photo, rng.uniform(1 - brightness, 1 + brightness))
    photo = colours.adjust_contrast(photo, rng.uniform(1 - contrast, 1 + contrast))
    photo = colours.adjust_saturation(photo, rng.uniform(1 - saturation, 1 + saturation))
    changed: Image.Image = colours.adjust_hue(photo, rng.uniform(-hue, hue))
    return changed


def _collate(views: list[tuple[npt.NDArray[Any], ...]]) -> Batch:
    pixels, *rest = (torch.from_numpy(np.stack(column)) for column in zip(*views, strict=True))
    return pixels.permute(0, 3, 1, 2), *rest
