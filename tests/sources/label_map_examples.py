"""Cityscapes and ADE20K in miniature: folders of masks as published, from small arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = {
    0: "", 1: "", 2: "", 3: "", 4: "", 5: "", 6: "", 7: "road", 8: "sidewalk", 9: "", 10: "",
    11: "building", 12: "wall", 13: "fence", 14: "", 15: "", 16: "", 17: "pole", 18: "",
    19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky",
    24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 29: "", 30: "", 31: "train",
    32: "motorcycle", 33: "bicycle",
}  # fmt: skip
"""Cityscapes' label ids: the name of what is evaluated, else an empty text."""

EVALUATED = [name for name in LABELS.values() if name]


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def street(seed: int, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    """Instance ids of a street: stuff in rows, labels that are not evaluated, objects, a group."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(rng.choice([7, 8, 11, 21, 23], shape[0]), shape[1]).reshape(shape)
    for k, label in enumerate((26, 26, 24, 33, 29)):
        y, x = rng.integers(0, shape[0] - 12), rng.integers(0, shape[1] - 12)
        ids[y : y + rng.integers(3, 12), x : x + rng.integers(3, 12)] = 1000 * label + k
    ids[2:8, 30:40] = 24  # a group of persons
    ids[:2] = 4
    ids[-3:, :20] = 1
    return ids.astype(np.uint16)


def cityscapes(root: Path, images: Mapping[str, np.ndarray], city: str = "ulm") -> Path:
    """Write instance ids by sequence and frame, such as ``000001_000019``; return the root."""
    for name, ids in images.items():
        save(root / f"gtFine/val/{city}/{city}_{name}_gtFine_instanceIds.png", ids)
        save(root / f"gtFine/val/{city}/{city}_{name}_gtFine_labelIds.png", ids.astype(np.uint8))
        save(
            root / f"leftImg8bit/val/{city}/{city}_{name}_leftImg8bit.png",
            np.zeros((*ids.shape, 3), np.uint8),
        )
    return root


def ade20k(root: Path, images: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    """Write categories and object numbers by image id; return the root."""
    for image_id, (categories, numbers) in images.items():
        blue = np.full(categories.shape, 77)
        colours = np.stack([categories, numbers, blue], axis=-1).astype(np.uint8)
        save(root / f"annotations_instance/validation/{image_id}.png", colours)
    return root
