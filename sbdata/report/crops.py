"""Crops of objects: the photo around each, its outline, and the pixels predicted there.

Crops are cut image by image, which is the order of the photos, and shown in the order of the
objects' areas. In between they are kept in files, so that memory does not grow with the set.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
from PIL import Image

from sbdata.drawing.mask_paths import Mask, contour_path
from sbdata.drawn_rows import DrawnRow, draw_image
from sbdata.errors import InputError
from sbdata.file_names import stored
from sbdata.images import DAMAGE, open_image
from sbdata.layout import image_path
from sbdata.mask_files import PngError
from sbdata.masks import VOID, LabelMap
from sbdata.score.inputs import PredictionFormat, read_prediction

SIDE = 160
"""Longest side of a stored crop in pixels; a crop of at most this side keeps the photo's pixels."""

LEAST_SIDE = 64
"""Smallest side of the square around an object, in pixels of the photo."""

PATHS_BEFORE = 5
"""Index, in a crop's line, of the first folder's predicted pixels."""

_MARGIN = 0.75  # margin on each side of an object, as a fraction of its box's longer side
_QUALITY = 75


@dataclass(frozen=True)
class Predictions:
    """Folder of predictions whose pixels are drawn.

    Attributes:
        folder: Folder of ``<image_id>.png``.
        contract: Format in which they were scored.
        missing: Ids of images without a prediction.
    """

    folder: Path
    contract: PredictionFormat
    missing: frozenset[str]


@dataclass(frozen=True)
class CropTask:
    """Settings that all images share.

    Attributes:
        root: Folder of the set.
        predictions: Folders of predictions, in the order of the scores; None for one that is gone.
        spool: Folder for the crops' files.
    """

    root: Path
    predictions: tuple[Predictions | None, ...]
    spool: Path


@dataclass(frozen=True)
class CutImages:
    """Crops of some images, in one file.

    Attributes:
        file: File with one line of JSON for each object, see :func:`cut_images`.
        ends: Offsets at which the lines end.
        digests: For each folder of predictions, the lines of its hash.
        problems: For each folder of predictions, the first problem; empty if there is none.
    """

    file: Path
    ends: tuple[int, ...]
    digests: tuple[str, ...]
    problems: tuple[str, ...]


def cut_images(task: CropTask, numbered: tuple[int, Sequence[DrawnRow]]) -> CutImages:
    """Cut the objects of some images and write their crops to a file.

    A line is ``[JPEG in base64, width, height, outline, others, predicted...]``: the outline of the
    object, the other objects of its class, and, for each folder of predictions, the pixels that are
    predicted as its class, all as SVG paths in pixels of the crop. Void is left out of the latter.
    A path is null if the folder has a problem.

    Args:
        task: Settings.
        numbered: Number of the file, and the images.

    Raises:
        InputError: If a photo cannot be read or has another size than in the manifest.
    """
    number, rows = numbered
    problems = [""] * len(task.predictions)
    digests: list[list[str]] = [[] for _ in task.predictions]
    ends, at = [], 0
    file = task.spool / f"{number:06}"
    with file.open("wb") as stream:
        for row in rows:
            guesses = []
            for k, predictions in enumerate(task.predictions):
                guess, digest, problem = _prediction(predictions, row)
                guesses.append(guess)
                digests[k].append(digest)
                problems[k] = problems[k] or problem
            if row.instance_ids:
                for line in _cut_image(task.root, row, guesses):
                    at += stream.write(line)
                    ends.append(at)
    return CutImages(file, tuple(ends), tuple(map("".join, digests)), tuple(problems))


def _prediction(predictions: Predictions | None, row: DrawnRow) -> tuple[LabelMap | None, str, str]:
    """Return the predicted classes of an image, its line of the folder's hash, and the problem."""
    if predictions is None:
        return None, "", ""
    if row.image_id in predictions.missing:
        return np.zeros((row.height, row.width), np.uint8), "", ""
    path = stored(predictions.folder, f"{row.image_id}.png")
    try:
        guess, digest = read_prediction(path, (row.width, row.height), predictions.contract)
    except PngError as error:
        return None, "", f"{path.name}: {error.detail}"
    return guess, f"{digest}  {row.image_id}.png\n", ""


def _cut_image(root: Path, row: DrawnRow, guesses: Sequence[LabelMap | None]) -> list[bytes]:
    classes, instances = draw_image(row)
    lines = []
    with open_photo(root, row.image_id, (row.width, row.height)) as photo:
        for instance_id, class_id in zip(row.instance_ids, row.class_ids, strict=True):
            own = instances == instance_id
            if not own.any():
                msg = f"image {row.image_id}: no instance {instance_id}; build the set again"
                raise InputError(msg)
            ys, xs = crop_around(own)
            jpeg, size = _thumbnail(photo.crop((xs.start, ys.start, xs.stop, ys.stop)))
            of_class = classes[ys, xs] == class_id
            masks = [own[ys, xs], of_class & ~own[ys, xs]]
            paths: list[str | None] = [contour_path(_shrunk(mask, size)) for mask in masks]
            for guess in guesses:
                if guess is None:
                    paths.append(None)
                    continue
                counted = (guess[ys, xs] == class_id) & (classes[ys, xs] != VOID)
                paths.append(contour_path(_shrunk(counted, size)))
            lines.append(orjson.dumps([base64.b64encode(jpeg).decode(), *size, *paths]))
    return lines


def open_photo(root: Path, image_id: str, size: tuple[int, int]) -> Image.Image:
    """Return a photo of a set as RGB.

    Args:
        root: Folder of the set.
        image_id: Id of the photo.
        size: Its width and height in the manifest.

    Raises:
        InputError: If the photo cannot be read or has another size.
    """
    path = image_path(root, image_id)
    remedy = f"run 'sbdata dataset verify {root}'"
    try:
        with open_image(stored(path.parent, path.name)) as image:
            if image.size == size:
                return image.convert("RGB")
            width, height = image.size
    except DAMAGE as error:
        what = "no such file" if not path.exists() else "a photo that cannot be read"
        msg = f"{path}: {what}; {remedy}"
        raise InputError(msg) from error
    msg = f"{path}: {width} x {height} pixels, not {size[0]} x {size[1]} as in the set; {remedy}"
    raise InputError(msg)


def _thumbnail(crop: Image.Image) -> tuple[bytes, tuple[int, int]]:
    """Return a crop as a JPEG file, and its width and height."""
    whole = max(crop.size) <= SIDE
    crop.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    # Chroma subsampling would be visible in crops that keep the photo's pixels.
    crop.save(stream, format="JPEG", quality=_QUALITY, subsampling=0 if whole else 2)
    return stream.getvalue(), crop.size


def _shrunk(mask: Mask, size: tuple[int, int]) -> Mask:
    """Return a mask in a smaller width and height: true where it covers at least half of a pixel.

    A mask so thin that nothing would be left is true wherever it covers anything.
    """
    if size == (mask.shape[1], mask.shape[0]) or not mask.any():
        return mask
    covered = np.asarray(
        Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX)
    )
    half: Mask = covered >= 0.5
    return half if half.any() else covered > 0


def crop_around(
    mask: npt.NDArray[np.bool_], margin: float = _MARGIN, least: int = LEAST_SIDE
) -> tuple[slice, slice]:
    """Return the rows and columns of a square around an object, shifted to lie in the image.

    Args:
        mask: Object in its image, bool ``(H, W)`` with at least one true pixel.
        margin: Margin on each side, as a fraction of the longer side of the object's box.
        least: Smallest side of the square in pixels.
    """
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = max(int(ys[-1] - ys[0]), int(xs[-1] - xs[0])) + 1
    side = max(least, math.ceil(box * (1 + 2 * margin)))
    return (
        _window(int(ys[0]), int(ys[-1]), side, mask.shape[0]),
        _window(int(xs[0]), int(xs[-1]), side, mask.shape[1]),
    )


def _window(first: int, last: int, side: int, length: int) -> slice:
    side = min(side, length)
    start = max(0, min((first + last + 1 - side) // 2, length - side))
    return slice(start, start + side)
