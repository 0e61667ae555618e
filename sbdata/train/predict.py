"""Prediction: class maps of photos, each at its photo's own size."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sbdata.completion import HIDDEN_MARKER, check_marker, describe_problems, write_marker
from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.fingerprints import code_fingerprint
from sbdata.json_files import read_json
from sbdata.layout import PREDICTIONS_RECORD
from sbdata.masks import write_index_png
from sbdata.parallel import in_order
from sbdata.storage import is_safe_stem, remove_leftovers, write_text
from sbdata.train.photos import read_photo
from sbdata.train.pretrained import digest_of
from sbdata.train.refine import Photo, Probabilities, Refiner
from sbdata.train.resize import resized

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` after every image."""

MAX_CLASSES = 254
_CHANNELS_LAST = ("cpu", "cuda")  # types of devices whose convolutions prefer this memory format
PREDICTED = HIDDEN_MARKER
"""Marker of a folder of predictions."""

CODE = ("sbdata.train.predict", "sbdata.train.checkpoint", "sbdata.train.refine")
"""Entry modules of prediction, for the fingerprint of its code."""

_AHEAD = 2  # photos that are read while one is predicted
_REMEDY = "choose another folder, or replace its predictions by --overwrite"


def predict_image(
    model: nn.Module,
    image: Photo,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    device: str | torch.device = "cpu",
) -> Probabilities:
    """Return the class probabilities of one photo, at its own size.

    The photo is predicted at each scale, and mirrored as well if ``flip`` is True. Each time, the
    logits are resized bilinearly to the photo's size and turned into probabilities, which are then
    averaged. Nothing is padded or cropped.

    Args:
        model: Network from ``(1, 3, h, w)``, uint8 or floats in [0, 1], to ``(1, C + 1, h', w')``
            logits. It is moved to the device; its mode is restored afterwards.
        image: RGB photo, uint8 ``(H, W, 3)``.
        scales: Scales of the photo, above 0.
        flip: True to average with the mirrored photo.
        device: Compute device.

    Returns:
        Probabilities, float32 ``(C + 1, H, W)``.

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
    classes: Sequence[str] = (),
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
    overwrite: bool = False,
    replace_others: bool = False,
    hashes: FileHashes | None = None,
) -> int:
    """Write the class map of each photo as a palette PNG, ``<image_id>.png``.

    Existing files are kept, so a run that was stopped continues where it was; files are written
    atomically. The folder records, in ``.made-by.json``, the model, the code and the settings that
    made its files. Files made in another way are never mixed in. A photo that changed since is
    predicted again. The marker of a finished folder, ``.complete.json``, lists its files: a missing
    file is predicted again, and an altered one is refused.

    Args:
        model: Network as in :func:`predict_image`.
        images: Ids and paths of JPEG or PNG photos; predicted in the order of their ids.
        out: Output folder; created if necessary.
        scales: Scales of the photo, above 0.
        flip: True to average with the mirrored photo.
        refine: Refinement of the probabilities, before the most probable class is taken.
        refined_by: Name and settings of the refinement, recorded in the folder.
        classes: Names of the classes in order, from number 1, recorded in the folder; a score of
            the masks refuses a truth of other classes.
        device: Compute device.
        progress: Callback, called after every image, including kept ones.
        overwrite: True to predict existing files again. Masks of other photos stay; they must have
            been made in the same way.
        replace_others: True to predict files that were made in another way again, instead of
            refusing them.
        hashes: Known hashes of the photos.

    Returns:
        Number of files written.

    Raises:
        InputError: if a photo cannot be read or lies in the output folder, an id is not a valid
            file name or is repeated, a scale is not above 0, the model has more than 254 classes or
            outputs that are not finite, or the folder's files were made in another way or altered.
    """
    hashes = FileHashes() if hashes is None else hashes
    _check_scales(scales)
    _check_ids([image_id for image_id, _ in images])
    targets = {image_id: out / f"{image_id}.png" for image_id, _ in images}
    for image_id, path in images:
        if targets[image_id].is_file() and path.is_file() and targets[image_id].samefile(path):
            msg = f"{path}: its mask would replace this photo; choose another folder than {out}"
            raise InputError(msg)
    if out.resolve() in {path.parent.resolve() for _, path in images}:
        msg = f"{out}: holds the photos; choose another folder for their masks"
        raise InputError(msg)
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    made_by = {
        "model": digest_of(model),
        "scales": list(scales),
        "flip": flip,
        "refine": refined_by or ("none" if refine is None else "unnamed"),
        "code": code_fingerprint(*CODE),
        "classes": list(classes),
    }
    photos = {image_id: _content(path, hashes) for image_id, path in images}
    complete = not overwrite and _is_complete(out)
    stale, photos = _claimed(out, made_by, photos, overwrite, replace_others)
    if complete and not stale and all(target.exists() for target in targets.values()):
        return 0
    _begin(out, made_by, photos, stale)
    written = 0
    missing = {i: path for i, path in sorted(images) if not targets[i].exists()}
    with _ready(model, device), ThreadPoolExecutor(1) as pool:
        read = in_order(pool.submit, _pixels_of, list(missing.values()), _AHEAD)
        for done, (image_id, path) in enumerate(sorted(images), start=1):
            if image_id in missing:
                photo = next(read)
                found = _probabilities(model, photo, scales, flip, torch.device(device))
                _check_usable(found, path)
                write_index_png(targets[image_id], _class_map(photo, found, refine))
                written += 1
            if progress is not None:
                progress(done, len(images))
    kept = [f"{image_id}.png" for image_id in photos]
    write_marker(out, [name for name in kept if (out / name).is_file()], name=PREDICTED)
    return written


def _pixels_of(path: Path) -> Photo:
    return np.array(read_photo(path))  # a copy: the dense CRF needs a writable array


def _check_usable(found: Tensor, path: Path) -> None:
    if len(found) - 1 > MAX_CLASSES:
        msg = (
            f"the model has {len(found) - 1} classes, but a class map holds at most {MAX_CLASSES}; "
            "predict with a model of fewer classes"
        )
        raise InputError(msg)
    if not bool(found.isfinite().all()):
        msg = f"{path}: the model's outputs for it are not finite numbers; train the model again"
        raise InputError(msg)


def _content(path: Path, hashes: FileHashes) -> str:
    try:
        return hashes.sha256(path)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error}); fetch or convert it again"
        raise InputError(msg) from error


def _is_complete(out: Path) -> bool:
    """Return True if a folder is finished and unchanged; a folder with altered files is refused."""
    problems = check_marker(out, name=PREDICTED)
    altered = [p for p in problems if p.kind not in ("missing", "no_marker")]
    if altered:
        raise InputError(f"{describe_problems(out, altered)}; {_REMEDY}")
    return not problems


def _claimed(
    out: Path,
    made_by: dict[str, Any],
    photos: dict[str, str],
    overwrite: bool,
    replace_others: bool,
) -> tuple[set[str], dict[str, str]]:
    """Check that all files of a folder were made in the same way.

    Returns:
        Ids of the masks that must be made again, and the content hash of each photo whose mask the
        folder holds or will hold.
    """
    kept = {path.stem for path in out.glob("*.png")}
    if not kept:
        return kept, photos
    former = _record_of(out, damage_matters=not overwrite)
    other = [key for key in made_by if former.get(key) != made_by[key]]
    how = f"made with another {' and '.join(other)}"
    seen = former.get("photos")
    seen = seen if isinstance(seen, dict) else {}
    known = {**{i: seen[i] for i in kept if i in seen}, **photos}
    if overwrite:
        if other and (rest := kept & set(seen) - set(photos)):
            msg = f"{out}: holds predictions of other photos {how}, such as {min(rest)}.png; "
            raise InputError(msg + "choose another folder")
        return kept & set(photos), known
    if other and replace_others:
        return kept, photos
    if not former:
        msg = (
            f"{out}: holds masks of unknown origin (no usable {PREDICTIONS_RECORD}), such as "
            f"{min(kept)}.png; choose another folder"
        )
        raise InputError(msg)
    if other:
        msg = f"{out}: holds predictions {how}, such as {min(kept)}.png; {_REMEDY}"
        raise InputError(msg)
    return {i for i in kept if i in photos and seen.get(i) != photos[i]}, known


def _record_of(out: Path, *, damage_matters: bool) -> dict[str, Any]:
    """Return a folder's record of its predictions, empty if there is none."""
    note = out / PREDICTIONS_RECORD
    if not note.is_file():
        return {}
    try:
        found = read_json(note, _REMEDY)
    except InputError:
        if damage_matters:
            raise
        return {}
    return found if isinstance(found, dict) else {}


def _begin(out: Path, made_by: dict[str, Any], photos: dict[str, str], stale: set[str]) -> None:
    """Delete files that were made in another way; then record how the folder's files are made."""
    (out / PREDICTED).unlink(missing_ok=True)
    for image_id in stale:
        (out / f"{image_id}.png").unlink(missing_ok=True)
    write_text(out / PREDICTIONS_RECORD, json.dumps({**made_by, "photos": photos}) + "\n")


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
    # a copy, because arrays from other libraries may be read-only
    whole = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None] / 255
    total: Tensor | float = 0.0
    for scale in scales:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        seen = resized(whole, size, antialias=scale < 1)
        for mirrored in (False, True) if flip else (False,):
            view = seen.flip(-1) if mirrored else seen
            if device.type in _CHANNELS_LAST:
                view = view.contiguous(memory_format=torch.channels_last)
            logits = resized(model(view).float(), (height, width))
            logits = logits.flip(-1) if mirrored else logits
            total = total + logits.softmax(1)
    mean: Tensor = total / (len(scales) * (2 if flip else 1))
    return mean[0]


@contextmanager
def _ready(model: nn.Module, device: str | torch.device) -> Iterator[None]:
    """Set a model to evaluation mode on a device, and restore the mode of each part afterwards."""
    modes = [(part, part.training) for part in model.modules()]
    model.to(device)
    if torch.device(device).type in _CHANNELS_LAST:
        model.to(memory_format=torch.channels_last)  # 1.2 to 2 times as fast on a CPU
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
            msg = f"the image id {image_id!r} is not a valid file name; rename the image"
            raise InputError(msg)
        if image_id in seen:
            msg = f"the image id {image_id!r} is repeated; give each image its own id"
            raise InputError(msg)
        seen.add(image_id)
