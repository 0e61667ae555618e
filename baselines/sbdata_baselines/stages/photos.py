"""Photos: one by one for inference, and as random views for training.

A view is a resized, mirrored and cut photo with the image-level labels of the whole photo, as IRN
(Ahn et al., CVPR 2019) trains its classifier. If a stage learns from seeds, they are cut with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torchvision.transforms import functional as colours

from sbdata.benchmark.stage import StageContext
from sbdata.masks import read_index_png
from sbdata.storage import remove_leftovers
from sbdata.train.augment import View, cut_mask
from sbdata.train.photos import read_photo
from sbdata.train.views import Alter, Arrays, Shuffled, Views
from sbdata.weak_labels.weak_set import WeakImage, WeakSet
from sbdata_baselines.settings import ViewSettings
from sbdata_baselines.stages.maps import file_of


@dataclass(frozen=True)
class LabelTarget:
    """Target of a view: the photo's labels, and the same view of its seeds, if any.

    Attributes:
        n_classes: Number of classes, without background.
        seeds: Folder of class maps that are cut with the photos.
    """

    n_classes: int
    seeds: Path | None = None

    def __call__(self, row: WeakImage, view: View) -> Arrays:
        """Return labels, float32 ``(C,)`` of 0 and 1, and seeds, if any, uint8 ``(S, S)``."""
        labels = one_hot(row.classes, self.n_classes)
        if self.seeds is None:
            return (labels,)
        return labels, cut_mask(read_index_png(file_of(self.seeds, row.image_id, ".png")), view)


def weak_views(
    weak: WeakSet,
    settings: ViewSettings,
    seed: int,
    *,
    stream: int = 0,
    seeds: Path | None = None,
    alter: Alter[WeakImage] | None = None,
) -> Views[WeakImage]:
    """Return all views of one run.

    Args:
        weak: Photos, each seen once per epoch, in an order drawn anew for every epoch.
        settings: Settings of the views.
        seed: Seed of order and views.
        stream: Number of the random stream; separates what one run draws for two purposes.
        seeds: Folder of class maps that are cut with the photos.
        alter: Function that changes a photo and its classes before it is cut.
    """
    target = LabelTarget(len(weak.taxonomy), seeds)
    return Views(Shuffled(weak.rows, seed, stream), settings, target, seed, stream, alter)


def one_hot(classes: tuple[int, ...], n_classes: int) -> npt.NDArray[np.float32]:
    """Return a vector with 1 for the classes that are present and 0 for the others.

    >>> one_hot((1, 3), 4).tolist()
    [1.0, 0.0, 1.0, 0.0]
    """
    labels = np.zeros(n_classes, np.float32)
    labels[[c - 1 for c in classes]] = 1
    return labels


def pending(task: StageContext, suffix: str) -> Iterator[WeakImage]:
    """Yield the photos whose file a stage has not written yet, and report progress."""
    task.folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(task.folder)
    for done, row in enumerate(task.weak.rows, start=1):
        if not file_of(task.folder, row.image_id, suffix).is_file():
            yield row
        task.progress(done, len(task.weak))


def pixels_of(row: WeakImage) -> npt.NDArray[np.uint8]:
    """Return a photo, uint8 RGB ``(H, W, 3)``."""
    return np.array(read_photo(row.photo))  # a copy: the dense CRF needs a writable array


def jittered(
    photo: Image.Image, jitter: tuple[float, ...], rng: np.random.Generator
) -> Image.Image:
    """Jitter the colours, with the four changes in a fixed order (torchvision's is random)."""
    brightness, contrast, saturation, hue = jitter
    photo = colours.adjust_brightness(photo, rng.uniform(1 - brightness, 1 + brightness))
    photo = colours.adjust_contrast(photo, rng.uniform(1 - contrast, 1 + contrast))
    photo = colours.adjust_saturation(photo, rng.uniform(1 - saturation, 1 + saturation))
    changed: Image.Image = colours.adjust_hue(photo, rng.uniform(-hue, hue))
    return changed
