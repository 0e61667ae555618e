"""The last stage: pseudo-masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sbdata.benchmark.stage import StageContext
from sbdata.masks import write_index_png
from stripes.marks import note


def masks(task: StageContext, settings: Any, marks: Path) -> None:
    """Write a mask an image: the stripe, between two columns that nobody claims."""
    for done, row in enumerate(task.weak.rows, start=1):
        target = task.folder / f"{row.image_id}.png"
        if not target.exists():
            note("masks", row.image_id)
            start = int((marks / f"{row.image_id}.txt").read_text())
            stop = start + round(settings.share * row.size[1])
            mask = np.zeros(row.size, np.uint8)
            mask[:, start:stop] = row.classes[0] if row.classes else 0
            mask[:, start] = 255
            write_index_png(target, mask)
        task.progress(done, len(task.weak))
