"""BBAM: masks from boxes, by the part of a photo that a detector needs to find each object.

Lee, Yi, Shin and Yoon, "BBAM: Bounding Box Attribution Map for Weakly Supervised Semantic and
Instance Segmentation" (CVPR 2021). A detector is trained on the boxes
(:mod:`sbdata_baselines.stages.detector`). For each object, the smallest mask of the photo is
optimised with which the detector still gives the same class and box
(:mod:`sbdata_baselines.stages.perturbation`). The mask is thresholded at two levels and refined
with the photo (:mod:`sbdata_baselines.stages.box_masks`). The ``paper`` preset uses the constants
of jbeomlee93/BBAM.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from sbdata.benchmark.stage import StageContext
from sbdata.errors import InputError
from sbdata.storage import writing
from sbdata.train.augment import View, cut_image
from sbdata.weak_labels.weak_set import Box, WeakImage
from sbdata_baselines.methods.bbam import BoxMaskSettings, PerturbationSettings
from sbdata_baselines.settings import NoSettings
from sbdata_baselines.stages.box_masks import BoolMap, fit_in, merged_mask, object_mask
from sbdata_baselines.stages.boxes import boxes_of, edges_in
from sbdata_baselines.stages.detector import Detector, load_detector
from sbdata_baselines.stages.maps import FloatMap, file_of
from sbdata_baselines.stages.masks import write_pseudo_mask
from sbdata_baselines.stages.perturbation import (
    Kept,
    cells_of,
    enlarged,
    first_mask,
    jittered_boxes,
    kept_proposals,
    optimised_masks,
    window_of,
)
from sbdata_baselines.stages.photos import pending, pixels_of
from sbdata_baselines.stages.refinement import crf_or_refiner

Arrays = list[npt.NDArray[np.generic]]


# --- stages ---------------------------------------------------------------------------------------


def attribution_maps(task: StageContext, settings: PerturbationSettings, detector: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: the map of each of its boxes, within the box."""
    model = load_detector(task, detector)
    model.requires_grad_(False)
    for row in pending(task, ".npz"):
        boxes = boxes_of(row)
        rng = np.random.default_rng((task.seed, zlib.crc32(row.image_id.encode())))
        maps: Arrays = []
        for start in range(0, len(boxes), settings.batch):
            part = boxes[start : start + settings.batch]
            maps += [m.astype(np.float16) for m in _maps_of(model, row, part, settings, rng)]
        _write_arrays(task.folder, row.image_id, maps)


def object_masks(task: StageContext, settings: BoxMaskSettings, attributions: Path) -> None:
    """Write ``<image_id>.npz`` for each photo: the foreground and the wide mask of each box."""
    refine = crf_or_refiner(settings.refine, task.place.device)
    for row in pending(task, ".npz"):
        photo, boxes = pixels_of(row), boxes_of(row)
        found: Arrays = []
        for box, values in zip(boxes, _read_arrays(attributions, row.image_id), strict=True):
            fit = fit_in(photo, box, refine, settings)
            found += [
                object_mask(values.astype(np.float32), box, row.size, theta, fit, settings)
                for theta in (settings.foreground, settings.wide)
            ]
        _write_arrays(task.folder, row.image_id, found)


def merged_masks(task: StageContext, settings: NoSettings, objects: Path) -> None:
    """Write the pseudo-mask ``<image_id>.png`` of each photo."""
    for row in pending(task, ".png"):
        found: list[BoolMap] = [a.astype(np.bool_) for a in _read_arrays(objects, row.image_id)]
        mask = merged_mask(boxes_of(row), found[::2], found[1::2], row.size)
        write_pseudo_mask(task.folder, row.image_id, mask)


# --- maps of objects ------------------------------------------------------------------------------


def _maps_of(
    model: Detector,
    row: WeakImage,
    boxes: Sequence[Box],
    settings: PerturbationSettings,
    rng: np.random.Generator,
) -> list[FloatMap]:
    """Return the attribution maps of some of a photo's boxes, stretched to [0, 1]."""
    mean = model.pyramid.mean
    photo = Image.fromarray(pixels_of(row))
    views = [window_of(box, row.size, settings) for box in boxes]
    images = torch.stack([
        torch.from_numpy(cut_image(photo, view).copy()).permute(2, 0, 1) for view in views
    ]).to(mean.device) / 255  # fmt: skip
    size = (views[0].crop, views[0].crop)

    def read(pixels: Tensor, proposals: list[Tensor]) -> tuple[Tensor, Tensor]:
        return model.read(model.features(pixels), proposals, size)

    kept = _kept_of(model, row, boxes, views, images, settings, rng)
    seen = [k for k, one in enumerate(kept) if len(one.proposals)]
    maps: list[FloatMap] = [np.zeros((box.height, box.width), np.float32) for box in boxes]
    if not seen:
        return maps
    area = row.size[0] * row.size[1]
    first = [
        first_mask(
            kept[k].boxes,
            views[k].crop,
            cells_of(views[k].crop, boxes[k].width * boxes[k].height / area, settings.grid),
        )
        for k in seen
    ]
    masks = optimised_masks(read, images[seen], mean, [kept[k] for k in seen], first, settings)
    for k, mask in zip(seen, masks, strict=True):
        maps[k] = values_in_box(mask, boxes[k], views[k])
    return maps


def _kept_of(
    model: Detector,
    row: WeakImage,
    boxes: Sequence[Box],
    views: Sequence[View],
    images: Tensor,
    settings: PerturbationSettings,
    rng: np.random.Generator,
) -> list[Kept]:
    """Return the proposals of each box that the detector assigns to its object."""
    size = (views[0].crop, views[0].crop)
    edges, proposals = [], []
    for box, view in zip(boxes, views, strict=True):
        whole = edges_in(Box(0, 0, 0, row.size[1], row.size[0]), view)
        limits = np.clip(whole, 0, view.crop)
        edges.append(edges_in(box, view))
        drawn = jittered_boxes(edges[-1], limits, settings.drawn, settings.shift, rng)
        proposals.append(torch.from_numpy(drawn).to(images.device))
    with torch.inference_mode():
        probabilities, deltas = model.read(model.features(images), proposals, size)
    found = []
    counts = [len(drawn) for drawn in proposals]
    answers = zip(probabilities.split(counts), deltas.split(counts), strict=True)
    for box, around, drawn, (of_class, of_box) in zip(
        boxes, edges, proposals, answers, strict=True
    ):
        regressed = model.decoded(of_box[:, box.class_id], drawn, size)
        target = torch.from_numpy(around.astype(np.float32)).to(drawn)
        found.append(
            kept_proposals(box.class_id, target, drawn, regressed, of_class, of_box, settings)
        )
    return found


def values_in_box(mask: Tensor, box: Box, view: View) -> FloatMap:
    """Return a mask's values at the pixels of a box, stretched to [0, 1] over the whole mask.

    Args:
        mask: Mask over the view, ``(h, w)``; its outermost cells lie on the edges of the view.
        box: Box in the photo.
        view: Part of the photo.
    """
    span = mask.max() - mask.min()
    stretched = (mask - mask.min()) / span if span > 0 else torch.zeros_like(mask)
    pixels = enlarged(stretched, view.crop)
    scale = view.crop / (view.box[2] - view.box[0])
    places = [
        (torch.arange(length, device=mask.device) + start + 0.5 - edge) * scale - 0.5
        for start, length, edge in (
            (box.y, box.height, view.box[1]),
            (box.x, box.width, view.box[0]),
        )
    ]
    rows, columns = (place.clamp(0, view.crop - 1) / (view.crop - 1) * 2 - 1 for place in places)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1).to(mask)
    values: FloatMap = (
        torch.nn.functional.grid_sample(pixels[None, None], grid[None], align_corners=True)[0, 0]
        .clamp(0, 1)
        .cpu()
        .numpy()
    )
    return values


# --- the store ------------------------------------------------------------------------------------


def _write_arrays(folder: Path, image_id: str, arrays: Arrays) -> None:
    """Write arrays to ``<image_id>.npz`` in their order, atomically."""
    path = file_of(folder, image_id, ".npz")
    named = {f"a{number:04}": array for number, array in enumerate(arrays)}
    with writing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **named)


def _read_arrays(folder: Path, image_id: str) -> Arrays:
    """Read the arrays that :func:`_write_arrays` wrote.

    Raises:
        InputError: if the file is missing or damaged.
    """
    path = file_of(folder, image_id, ".npz")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return [stored[name] for name in sorted(stored)]
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"{path}: not a readable file of object maps; delete its folder and repeat its stage"
        raise InputError(msg) from error
