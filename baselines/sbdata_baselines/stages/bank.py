"""Bank: objects cut out of pseudo-masks, and their pasting into other photos.

Su et al., "Context Decoupling Augmentation for Weakly Supervised Semantic Segmentation" (ICCV
2021), with the constants of its code for VOC.

Differences from the official code: objects are pasted before the photo is resized and cut, not
after; an object is not pasted if its rotation leaves no pixel.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from sbdata.benchmark.stage import StageContext
from sbdata.images import open_image
from sbdata.masks import VOID, LabelMap, read_index_png
from sbdata.storage import write_bytes, write_text
from sbdata.weak_labels.weak_set import WeakImage
from sbdata_baselines.settings import BankSettings, PasteSettings
from sbdata_baselines.stages.maps import file_of
from sbdata_baselines.stages.photos import pixels_of

_INDEX = "bank.json"


def object_bank(task: StageContext, settings: BankSettings, masks: Path) -> None:
    """Cut the objects out of all pseudo-masks.

    Write ``<image_id>.png``, RGBA with the object opaque, for each photo that yields one, and
    ``bank.json`` with the ids of each class.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    index: dict[int, list[str]] = {}
    for done, row in enumerate(task.weak.rows, start=1):
        mask = read_index_png(file_of(masks, row.image_id, ".png"))
        class_id = only_class(mask, settings.ratio)
        if class_id is not None:
            thing = cut_out(pixels_of(row), mask == class_id)
            stream = io.BytesIO()
            Image.fromarray(thing).save(stream, "PNG")
            write_bytes(file_of(task.folder, row.image_id, ".png"), stream.getvalue())
            index.setdefault(class_id, []).append(row.image_id)
        task.progress(done, len(task.weak))
    write_text(task.folder / _INDEX, json.dumps({str(k): v for k, v in sorted(index.items())}))


def only_class(mask: LabelMap, ratio: tuple[float, ...]) -> int | None:
    """Return a mask's only class, or None if it has several or its pixel fraction is out of range.

    >>> only_class(np.array([[0, 3], [0, 3]], np.uint8), (0.1, 0.7))
    3
    >>> only_class(np.array([[0, 3], [1, 3]], np.uint8), (0.1, 0.7))
    """
    classes = np.setdiff1d(mask, (0, VOID))
    if len(classes) != 1:
        return None
    share = float((mask == classes[0]).mean())
    return int(classes[0]) if ratio[0] <= share <= ratio[1] else None


def cut_out(photo: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return the tight crop of an object, uint8 RGBA ``(h, w, 4)``, opaque on the object."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    alpha = np.where(inside[box], np.uint8(255), np.uint8(0))
    return np.concatenate([photo[box], alpha[:, :, None]], axis=2)


@dataclass(frozen=True)
class Paster:
    """Function that pastes an object of a class missing from a photo; an ``Alter`` of views.

    Attributes:
        folder: Folder of the objects.
        index: Object ids by class.
        settings: Settings for pasting.
    """

    folder: Path
    index: tuple[tuple[int, tuple[str, ...]], ...]
    settings: PasteSettings

    def __call__(
        self, photo: Image.Image, row: WeakImage, rng: np.random.Generator
    ) -> tuple[Image.Image, WeakImage]:
        """Return a photo with one more object, and its row; both unchanged if none fits."""
        absent = [entry for entry in self.index if entry[0] not in row.classes]
        if not absent:
            return photo, row
        class_id, ids = absent[rng.integers(len(absent))]
        path = file_of(self.folder, ids[rng.integers(len(ids))], ".png")
        with open_image(path, ["PNG"]) as stored:
            thing = turned(stored.convert("RGBA"), rng.uniform(-1, 1) * self.settings.rotate)
        thing = shrunk(thing, photo.size, self.settings.max_side)
        left = int(rng.integers(photo.width - thing.width + 1))
        top = int(rng.integers(photo.height - thing.height + 1))
        if not np.asarray(thing)[..., 3].any():
            return photo, row
        pasted = pasted_at(np.asarray(photo), np.asarray(thing), top, left)
        classes = tuple(sorted((*row.classes, class_id)))
        return Image.fromarray(pasted), replace(row, classes=classes)


def load_paster(folder: Path, settings: PasteSettings) -> Paster:
    """Return a paster of the objects that :func:`object_bank` wrote."""
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    return Paster(folder, tuple((int(k), tuple(ids)) for k, ids in index.items()), settings)


def turned(thing: Image.Image, degrees: float) -> Image.Image:
    """Rotate an RGBA object and enlarge its canvas to fit."""
    colours = thing.convert("RGB").rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    alpha = thing.getchannel("A").rotate(degrees, Image.Resampling.NEAREST, expand=True)
    colours.putalpha(alpha)
    return colours


def shrunk(thing: Image.Image, size: tuple[int, int], share: float) -> Image.Image:
    """Shrink an RGBA object, if necessary, to a fraction of a photo's width and height."""
    scale = min(1.0, size[0] * share / thing.width, size[1] * share / thing.height)
    width, height = (max(1, int(side * scale)) for side in thing.size)
    if (width, height) == thing.size:
        return thing
    colours = thing.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    alpha = thing.getchannel("A").resize((width, height), Image.Resampling.NEAREST)
    colours.putalpha(alpha)
    return colours


def pasted_at(
    photo: npt.NDArray[np.uint8], thing: npt.NDArray[np.uint8], top: int, left: int
) -> npt.NDArray[np.uint8]:
    """Return a photo with an object pasted; pixels outside the object do not change.

    Args:
        photo: Photo, uint8 ``(H, W, 3)``.
        thing: Object, uint8 RGBA ``(h, w, 4)``; every pixel with alpha above 0 is pasted.
        top: Row of the object's upper left corner.
        left: Column of the object's upper left corner.
    """
    result: npt.NDArray[np.uint8] = photo.copy()
    under = result[top : top + thing.shape[0], left : left + thing.shape[1]]
    inside = thing[..., 3] > 0
    under[inside] = thing[inside][:, :3]
    return result
