"""What authors publish, in small: one writer a layout, each of which keeps a given mask."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sbdata.curate.materialise import write_checksums
from sbdata.importers.target import Target
from sbdata.manifest import make_manifest, write_manifest
from sbdata.masks import voc_palette, write_index_png
from sbdata.recipe import SourceSpec
from sbdata.sets import open_set
from sbdata.sizes import SizeBins
from sbdata.sources import open_source
from sbdata.sources.scan import scan_source
from sbdata.taxonomy import VOC20, class_map

PLANE, CAT, DOG, TV = 1, 8, 12, 20
BINS = SizeBins((8, 60))
HIGH, LOW = 0.9, 0.04
Masks = Mapping[str, np.ndarray]


def rectangles(height: int, width: int, *boxes: tuple[int, int, int, int, int]) -> np.ndarray:
    """Draw ``(class, top, left, height, width)`` boxes."""
    mask = np.zeros((height, width), np.uint8)
    for number, y, x, h, w in boxes:
        mask[y : y + h, x : x + w] = number
    return mask


MASKS: Masks = {
    "2007_000032": rectangles(12, 20, (PLANE, 1, 1, 8, 9), (CAT, 5, 13, 2, 2)),
    "2007_000039": rectangles(16, 11, (TV, 0, 0, 9, 10)),
    "2008_000123": rectangles(10, 10, (CAT, 2, 2, 3, 3), (DOG, 6, 6, 2, 3), (CAT, 8, 0, 2, 2)),
    "2011_003276": rectangles(9, 14, (DOG, 0, 0, 1, 1), (PLANE, 3, 3, 4, 8)),
}
EMPTY = rectangles(8, 9)


def build_voc_set(root: Path, masks: Masks = MASKS) -> Path:
    """Build a set whose truth is the masks, every box an instance."""
    for image_id, classes in masks.items():
        (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(int(image_id[-3:]))
        photo = rng.integers(0, 256, (*classes.shape, 3), np.uint8)
        Image.fromarray(photo).save(root / "JPEGImages" / f"{image_id}.jpg")
        objects = np.zeros_like(classes)
        number = 0
        for value in np.unique(classes[classes > 0]):
            parts = boxes_of(classes == value)
            for part in parts:
                number += 1
                objects[part] = number
        write_index_png(root / "SegmentationClass" / f"{image_id}.png", classes)
        write_index_png(root / "SegmentationObject" / f"{image_id}.png", objects)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{image_id}\n" for image_id in masks))
    source = open_source(SourceSpec("voc", ("val",)), "val", root)
    scan = scan_source(source, class_map(VOC20, None), BINS, "val", root.parent / "scan")
    manifest = make_manifest(
        root.name, scan.images(), scan.instances(), VOC20, BINS, {"synthetic": True}
    )
    write_manifest(manifest, root)
    write_checksums(root)
    return root


def boxes_of(region: np.ndarray) -> list[np.ndarray]:
    """Part a region into its connected parts (8 neighbours), by flooding."""
    left, parts = region.copy(), []
    while left.any():
        part = np.zeros_like(left)
        part[tuple(np.argwhere(left)[0])] = True
        while True:
            grown = part.copy()
            for y, x in np.argwhere(part):
                grown[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = True
            grown &= region
            if (grown == part).all():
                break
            part = grown
        parts.append(part)
        left &= ~part
    return parts


def target_of(root: Path) -> Target:
    opened = open_set(root)
    return Target(opened.name, opened.image_ids, opened.taxonomy, opened)


# --- maps -----------------------------------------------------------------------------------------


def scores(mask: np.ndarray, kind: Any = np.float32) -> tuple[list[int], np.ndarray]:
    """Return the classes of a mask, from 1, and a map each that is high where the mask has it."""
    classes = [int(c) for c in np.unique(mask) if c not in (0, 255)]
    maps = np.array([np.where(mask == c, HIGH, LOW) for c in classes], kind)
    return classes, maps.reshape(-1, *mask.shape)


def background(mask: np.ndarray) -> np.ndarray:
    return np.where(mask == 0, HIGH, LOW).astype(np.float32)


def save(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, value, allow_pickle=True)


def irn(mask: np.ndarray) -> dict[str, Any]:
    classes, maps = scores(mask)
    return {"keys": np.array(classes) - 1, "cam": maps[:, ::4, ::4], "high_res": maps}


def amn(mask: np.ndarray) -> dict[str, Any]:
    classes, maps = scores(mask)
    maps = np.concatenate([background(mask)[None], maps])
    return {"keys": np.array(classes) - 1, "cam": maps[:, ::4, ::4], "high_res": maps}


def puzzle(mask: np.ndarray, stack: str = "hr_cam") -> dict[str, Any]:
    classes, maps = scores(mask)
    return {"keys": np.array([0, *classes]), stack: maps}


def clip_es(mask: np.ndarray) -> dict[str, Any]:
    classes, maps = scores(mask, np.float16)
    return {"keys": np.array(classes) - 1, "attn_highres": maps}


def seam(mask: np.ndarray) -> dict[int, np.ndarray]:
    classes, maps = scores(mask)
    return {c - 1: values for c, values in zip(classes, maps, strict=True)}


def psa_crf(mask: np.ndarray) -> dict[int, np.ndarray]:
    classes, maps = scores(mask)
    stack = np.concatenate([background(mask)[None], maps])
    stack = stack / stack.sum(axis=0)
    return dict(zip([0, *classes], stack, strict=True))


def save_class_pictures(folder: Path, masks: Masks) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image_id, mask in masks.items():
        for c, values in zip(*scores(mask), strict=True):
            picture = Image.fromarray(np.round(values * 255).astype(np.uint8))
            picture.save(folder / f"{image_id}_{c - 1}.png")


def save_picture(path: Path, mask: np.ndarray, mode: str) -> None:
    """Save a mask in grey (L), VOC's palette (P), its colours (RGB), or a palette of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "own-palette":
        values = np.unique(mask)[::-1]  # VOC's colours, their numbers mixed up
        places = np.zeros(256, np.uint8)
        places[values] = np.arange(values.size)
        image = Image.fromarray(places[mask])
        colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)[values]
        image.putpalette(colours.tobytes())
    else:
        image = Image.fromarray(mask)
        if mode != "L":
            image.putpalette(voc_palette())
        if mode == "RGB":
            image = image.convert("RGB")
    image.save(path)


# --- pickles by hand ------------------------------------------------------------------------------

HEADER = b"\x93NUMPY\x01\x00"


def npy(pickled: bytes) -> bytes:
    """Put a pickle behind the header of a dictionary in a ``.npy`` file."""
    text = "{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    text = text + " " * (-(len(text) + 11) % 64) + "\n"
    return HEADER + len(text).to_bytes(2, "little") + text.encode() + pickled


def object_array(value: Any, protocol: int = 4) -> bytes:
    """Return the pickle that ``numpy.save`` writes of an object."""
    array = np.empty((), object)
    array[()] = value
    return pickle.dumps(array, protocol=protocol)


def stream(pickled: bytes) -> io.BytesIO:
    return io.BytesIO(pickled)
