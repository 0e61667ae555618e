"""Weak sets with boxes for the tests of methods that take them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from sbdata.masks import LabelMap
from sbdata.weak_labels.weak_set import Box, WeakSet
from tests.baselines.weak_examples import write_weak


def write_boxed(
    root: Path, n: int = 4, side: int = 64, empty: int | None = None
) -> tuple[WeakSet, dict[str, LabelMap]]:
    """Write the photos of ``write_weak``; a box lies around each square.

    Returns:
        Photos with labels and boxes, and the true masks.
    """
    weak, truth = write_weak(root, n, side, empty)
    rows = [replace(row, boxes=boxes_around(truth[row.image_id])) for row in weak.rows]
    return replace(weak, rows=tuple(rows)), truth


def boxes_around(mask: LabelMap) -> tuple[Box, ...]:
    """Return the box of each class of a mask that has one object a class."""
    found = []
    for class_id in sorted(set(mask.ravel().tolist()) - {0}):
        ys, xs = np.nonzero(mask == class_id)
        left, top = int(xs.min()), int(ys.min())
        found.append(Box(class_id, left, top, int(xs.max()) + 1 - left, int(ys.max()) + 1 - top))
    return tuple(found)
