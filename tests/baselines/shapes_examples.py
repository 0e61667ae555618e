"""A few generated shapes with their truth, for tests from labels to masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sbdata_baselines.methods.controls import LABELS_ONLY
from sbdata_baselines.stages.maps import read_maps
from scipy.stats import mannwhitneyu

from sbdata.benchmark.baseline import Baseline
from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.masks import read_index_png
from sbdata.recipe import load_recipe
from sbdata.sets import EvaluationSet, open_set
from sbdata.weak_labels.weak_set import WeakSet, weak_set
from tests.baselines.weak_examples import last_stage, run_all


def write_shapes(root: Path, n: int, pool: int = 16) -> tuple[EvaluationSet, WeakSet]:
    """Build a training set of ``n`` photos; ``pool`` is that of the generator."""
    options = f"sources.0.options={{seed: 0, pool: {pool}, train: {n}}}"
    recipe = load_recipe("shapes-train", [options])
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


def assert_above_labels_alone(
    baseline: Baseline, overrides: tuple[str, ...], root: Path, margin: float = 0.1
) -> None:
    """Check that the masks of 40 photos, by the preset ``smoke``, have more IoU than stripes."""
    truth, weak = write_shapes(root, 40)
    masks = run_all(last_stage(baseline, "smoke", overrides), weak, root / "run")
    floor = mean_iou(run_all(last_stage(LABELS_ONLY, "smoke"), weak, root / "run"), truth)
    assert mean_iou(masks, truth) > floor + margin


def assert_objects_stand_out(
    baseline: Baseline, overrides: tuple[str, ...], root: Path, stage: str
) -> None:
    """Check that the maps of a stage and the masks of 24 photos are well above chance; not more."""
    truth, weak = write_shapes(root, 24, pool=12)
    masks = run_all(last_stage(baseline, "smoke", overrides), weak, root / "run")
    (maps,) = (root / "run").glob(f"{stage}-*")
    seen, there, ranks = [], [], []
    for row in weak.rows:
        found = read_maps(maps, row.image_id)
        assert found.classes == row.classes
        mask, true = read_index_png(masks / f"{row.image_id}.png"), truth.class_map(row.image_id)
        assert set(mask.ravel().tolist()) <= {0, *row.classes}
        seen.append(np.mean(mask[true > 0] == true[true > 0]))
        there.append(np.mean(mask[true == 0] > 0))
        for class_id, values in zip(found.classes, found.maps, strict=True):
            inside = true == class_id
            ranks.append(mannwhitneyu(values[inside], values[~inside]).statistic)
            ranks[-1] /= inside.sum() * (~inside).sum()
    assert np.mean(ranks) > 0.7  # a pixel of the class shows more than another one: 0.5 by chance
    assert np.mean(seen) > np.mean(there) + 0.1  # objects are marked, rather than background
