"""Tiny training sets for the tests: coloured squares and discs on grey noise, drawn by numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sbdata.masks import write_index_png
from sbdata.taxonomy import Taxonomy
from sbdata.train.preset import Preset, preset_from_dict
from sbdata.train.samples import TrainingImages, images_of_folders

TWO = Taxonomy("two", ("red", "blue"))


def write_pictures(root: Path, n: int = 4, *, side: int = 64, grid: int = 1) -> TrainingImages:
    """Write photos and masks of one red and one blue square each, their sides on a grid."""
    rng = np.random.default_rng(0)
    (root / "photos").mkdir(parents=True)
    for number in range(n):
        width = side + 8 // grid  # not square, where the grid leaves room for it
        photo = rng.integers(90, 150, (side, width, 3), dtype=np.uint8)
        mask = np.zeros(photo.shape[:2], np.uint8)
        for class_id, colour in ((1, (220, 30, 30)), (2, (30, 30, 220))):
            top, left = rng.integers(0, side // 2 // grid + 1, 2) * grid
            reach = rng.integers(max(side // 4 // grid, 1), side // 2 // grid + 1) * grid
            mask[top : top + reach, left : left + reach] = class_id
            photo[top : top + reach, left : left + reach] = colour
        mask[-2:] = 255
        Image.fromarray(photo).save(root / "photos" / f"p{number}.png")
        write_index_png(root / "masks" / f"p{number}.png", mask)
    return images_of_folders(root / "photos", root / "masks", TWO)


def tiny_preset(**changes: object) -> Preset:
    """Return a preset of a small network that trains in a second; keys are dotted."""
    raw = {
        "name": "tiny",
        "model": {"backbone": "mobilenetv3_small_050", "weights": "none", "output_stride": 16},
        "augmentation": {"crop": 32, "scales": [0.75, 1.0, 1.25]},
        "optimisation": {
            "steps": 6, "batch_size": 4, "lr": 0.001, "checkpoint_every": 2,
        },
        "ewc": {"images": 3},
    }  # fmt: skip
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    return preset_from_dict(raw, "tiny", overrides)
