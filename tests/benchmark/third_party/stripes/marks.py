"""The first stage: where each image's stripe begins, drawn by the seed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from sbdata.benchmark.stage import StageContext
from sbdata.storage import write_text
from stripes.shape import width_of


def marks(task: StageContext, settings: Any) -> None:
    """Write a number an image, those that are there aside."""
    for place, row in enumerate(task.weak.rows):
        target = task.folder / f"{row.image_id}.txt"
        if not target.exists():
            note("marks", row.image_id)
            drawn = np.random.default_rng((task.seed, place)).random() * 0.2
            write_text(target, str(round((settings.start + drawn) * width_of(row.photo))))
        task.progress(place + 1, len(task.weak))


def note(stage: str, image_id: str) -> None:
    """Note what is computed, for the tests; and take some time if they ask for it."""
    log = os.environ.get("STRIPES_LOG")
    if log:
        with Path(log).open("a") as stream:
            stream.write(f"{stage} {image_id}\n")
    time.sleep(float(os.environ.get("STRIPES_PAUSE", "0")))
