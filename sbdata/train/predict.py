"""Prediction: photos in, class maps out, at each photo's own size."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from sbdata.errors import InputError
from sbdata.masks import write_index_png
from sbdata.storage import is_safe_stem, remove_leftovers, write_text
from sbdata.train.photos import read_photo
from sbdata.train.pretrained import digest_of
from sbdata.train.refine import Photo, Probabilities, Refiner

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` after every image."""

MAX_CLASSES = 254
_MADE_BY = ".made-by.json"


def predict_image(
    model: nn.Module,
    image: Photo,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    device: str | torch.device = "cpu",
) -> Probabilities:
    """Return the class probabilities of one photo, at its own size.

    The photo is seen at each scale, and mirrored as well if asked; each time the logits are resized
    bilinearly to the photo's size and turned into probabilities, and those are averaged. Nothing is
    padded or cropped.

    Args:
        model: ``(1, 3, h, w)`` uint8 or floats in [0, 1] to ``(1, C + 1, h', w')`` logits. It is
            moved to the device, and left in the mode it was in.
        image: ``(H, W, 3)`` uint8 RGB.
        scales: of the photo, above 0.
        flip: whether to average with the mirrored photo.
        device: to compute on.

    Returns:
        ``(C + 1, H, W)`` float32.

    Raises:
        InputError: if there is no scale or one is not above 0.
    """
    _check_scales(scales)
    with _ready(model, device):
        found = _probabilities(model, image, scales, flip, torch.device(device))
        probabilities: Probabilities = found.cpu().numpy()
    return probabilities


def predict_folder(
    model: nn.Module,
    images: Sequence[tuple[str, Path]],
    out: Path,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    refine: Refiner | None = None,
    refined_by: str = "",
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
    overwrite: bool = False,
) -> int:
    """Write the class map of each photo as a palette PNG, ``<image_id>.png``.

    Files that are there already are kept, so a run that was stopped goes on where it was; every
    file is written whole or not at all. The folder remembers, in ``.made-by.json``, by which model
    and how its files were made; those of another are never mixed in.

    Args:
        model: as of :func:`predict_image`.
        images: ids and paths of JPEG or PNG photos; taken in the order of their ids.
        out: folder, made if need be.
        scales: as of :func:`predict_image`.
        flip: as of :func:`predict_image`.
        refine: applied to the probabilities before the most probable class is taken.
        refined_by: its name, by which the folder remembers it.
        device: to compute on.
        progress: called after every image, kept ones too.
        overwrite: whether to predict again what is there.

    Returns:
        How many files were written.

    Raises:
        InputError: for a photo that cannot be read, an id that cannot be a file's name or comes
            twice, a scale that is not above 0, a model of more than 254 classes or whose values
            are not finite, or a folder whose files were made otherwise.
    """
    _check_scales(scales)
    _check_ids([image_id for image_id, _ in images])
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    made_by = {
        "model": digest_of(model),
        "scales": list(scales),
        "flip": flip,
        "refine": refined_by or ("none" if refine is None else "unnamed"),
    }
    _claim(out, made_by, overwrite)
    written = 0
    with _ready(model, device):
        for done, (image_id, path) in enumerate(sorted(images), start=1):
            target = out / f"{image_id}.png"
            if overwrite or not target.exists():
                photo = np.array(read_photo(path))
                found = _probabilities(model, photo, scales, flip, torch.device(device))
                if not torch.isfinite(found).all():
                    msg = (
                        f"{path}: the model gives values that are not finite (NaN) for this photo, "
                        "as one does that diverged in training; predict with another model"
                    )
                    raise InputError(msg)
                if len(found) - 1 > MAX_CLASSES:
                    msg = (
                        f"the model has {len(found) - 1} classes and a class map holds at most "
                        f"{MAX_CLASSES}; predict with a model of fewer classes"
                    )
                    raise InputError(msg)
                write_index_png(target, _class_map(photo, found, refine))
                written += 1
            if progress is not None:
                progress(done, len(images))
    return written


def _claim(out: Path, made_by: dict[str, Any], overwrite: bool) -> None:
    """Write down how a folder's files are made, unless it holds some that were made otherwise."""
    note = out / _MADE_BY
    kept = sorted(path.name for path in out.glob("*.png"))
    if kept and not overwrite:
        former = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        other = [key for key in made_by if former.get(key) != made_by[key]]
        if other:
            msg = (
                f"{out}: holds predictions made with another {' and '.join(other)}, such as "
                f"{kept[0]}; choose another folder, or overwrite them"
            )
            raise InputError(msg)
    write_text(note, json.dumps(made_by) + "\n")


def _class_map(photo: Photo, found: Tensor, refine: Refiner | None) -> npt.NDArray[np.uint8]:
    probabilities: Probabilities = found.cpu().numpy()
    if refine is not None:
        probabilities = refine(photo, probabilities)
    classes: npt.NDArray[np.uint8] = probabilities.argmax(0).astype(np.uint8)
    return classes


def _probabilities(
    model: nn.Module,
    image: Photo,
    scales: Sequence[float],
    flip: bool,
    device: torch.device,
) -> Tensor:
    height, width = image.shape[:2]
    # a copy, since photos of other libraries may be read-only
    whole = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None] / 255
    total: Tensor | float = 0.0
    for scale in scales:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        seen = _resized(whole, size, antialias=scale < 1)
        for mirrored in (False, True) if flip else (False,):
            view = seen.flip(-1) if mirrored else seen
            if device.type == "cpu":
                view = view.contiguous(memory_format=torch.channels_last)
            logits = _resized(model(view).float(), (height, width), antialias=False)
            logits = logits.flip(-1) if mirrored else logits
            total = total + logits.softmax(1)
    mean: Tensor = total / (len(scales) * (2 if flip else 1))
    return mean[0]


def _resized(maps: Tensor, size: tuple[int, int], *, antialias: bool) -> Tensor:
    if maps.shape[-2:] == size:
        return maps
    return functional.interpolate(
        maps, size=size, mode="bilinear", align_corners=False, antialias=antialias
    )


@contextmanager
def _ready(model: nn.Module, device: str | torch.device) -> Iterator[None]:
    """Put a model into evaluation mode on a device, and each part back into its mode afterwards."""
    modes = [(part, part.training) for part in model.modules()]
    model.to(device)
    if torch.device(device).type == "cpu":
        model.to(memory_format=torch.channels_last)  # 1.2 to 2 times as fast there
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, was_training in modes:
            part.training = was_training


def _check_scales(scales: Sequence[float]) -> None:
    if not scales or not all(scale > 0 for scale in scales):
        msg = f"predicting needs one or more scales above 0, not {list(scales)}"
        raise InputError(msg)


def _check_ids(image_ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for image_id in image_ids:
        if not is_safe_stem(image_id):
            msg = f"the image id {image_id!r} cannot be a file's name; give it another"
            raise InputError(msg)
        if image_id in seen:
            msg = f"the image id {image_id!r} comes twice; ids must differ"
            raise InputError(msg)
        seen.add(image_id)
