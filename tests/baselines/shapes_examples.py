"""A few generated shapes with their truth, for tests from labels to masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sbdata.bench.weak import WeakSet, weak_set
from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.masks import read_index_png
from sbdata.recipe import load_recipe
from sbdata.sets import EvaluationSet, open_set


def write_shapes(root: Path, n: int) -> tuple[EvaluationSet, WeakSet]:
    """Build a training set of ``n`` photos."""
    recipe = load_recipe("shapes-train", [f"sources.0.options={{seed: 0, pool: 16, train: {n}}}"])
    opened = open_set(build_set(recipe, root / "set", Inputs()).root)
    return opened, weak_set(opened, root / "weak")


def mean_iou(masks: Path, truth: EvaluationSet) -> float:
    """Mean IoU over background and the classes that are there, by sets of pixels."""
    inter: dict[int, int] = {}
    union: dict[int, int] = {}
    for image_id in truth:
        true = truth.class_map(image_id)
        found = np.where(true == 255, 255, read_index_png(masks / f"{image_id}.png"))
        for c in {*np.unique(true).tolist(), *np.unique(found).tolist()} - {255}:
            inter[c] = inter.get(c, 0) + int(((true == c) & (found == c)).sum())
            union[c] = union.get(c, 0) + int(((true == c) | (found == c)).sum())
    there = {c for image_id in truth for c in np.unique(truth.class_map(image_id)).tolist()}
    return float(np.mean([inter[c] / union[c] for c in sorted(there - {255})]))
