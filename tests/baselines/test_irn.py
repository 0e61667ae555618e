from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sbdata_baselines.methods.cam import BASELINE as CAM
from sbdata_baselines.methods.controls import LABELS_ONLY
from sbdata_baselines.methods.irn import BASELINE

from sbdata.benchmark.markers import INPUTS, STAGE_MARKER, STARTED
from sbdata.benchmark.stage import in_order
from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.masks import LabelMap, read_index_png
from sbdata.recipe import load_recipe
from sbdata.sets import EvaluationSet, open_set
from sbdata.weak_labels.weak_set import WeakSet, weak_set
from tests.baselines.weak_examples import (
    CPU,
    assert_only_labelled,
    last_stage,
    run_all,
    tiny,
    write_weak,
)
from tests.benchmark.stage_runs import run_stage

PAPER = (
    *tiny("classifier", "{crop: 48, long_side: [48, 64]}"),
    *tiny("boundary", "{crop: 48, rescale: [0.5, 1.5]}"),
    "activation.scales=[1.0]",
    "seeds.refine.name=none",
)
SMALL = (
    "classifier.views={crop: 80, long_side: [80, 128]}",
    "classifier.schedule={epochs: 6, batch_size: 8}",
    "activation.scales=[0.4]",
    "boundary.views={crop: 80, rescale: [0.5, 1.0]}",
    "boundary.schedule={epochs: 2, batch_size: 8}",
    "seeds.refine.name=none",
    "walk.steps=16",
)


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=3)
    masks = run_all(last_stage(BASELINE, "paper", PAPER), weak, tmp_path / "run")
    assert_only_labelled(weak, masks)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationSet, WeakSet]:
    root = tmp_path_factory.mktemp("shapes")
    recipe = load_recipe("shapes-train", ["sources.0.options={seed: 0, pool: 16, train: 40}"])
    opened = open_set(build_set(recipe, root / "set", Inputs()).root)
    return opened, weak_set(opened, root / "weak")


def miou(masks: Path, truth: EvaluationSet) -> float:
    """Mean IoU over background and the classes that are there, by one confusion matrix."""
    count = len(truth.taxonomy) + 1
    confusion = np.zeros((count, count))
    for image_id in truth:
        true: LabelMap = truth.class_map(image_id)
        found = read_index_png(masks / f"{image_id}.png")
        known = true != 255
        np.add.at(confusion, (true[known], found[known]), 1)
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    there = confusion.sum(1) > 0
    return float((confusion.diagonal()[there] / union[there]).mean())


def test_forty_shapes_from_labels_to_masks(
    shapes: tuple[EvaluationSet, WeakSet], tmp_path: Path
) -> None:
    """ImageNet weights, 40 photos, 30 steps: far from a real run, yet above the labels alone."""
    truth, weak = shapes
    last = last_stage(BASELINE, "smoke", SMALL)
    masks = run_all(last, weak, tmp_path)
    floor = miou(run_all(last_stage(LABELS_ONLY, "smoke"), weak, tmp_path), truth)
    assert miou(masks, truth) > floor + 0.1

    # The control has the same classifier and maps, so nothing is trained again.
    cam = last_stage(CAM, "smoke", (*SMALL[:3], "masks.refine.name=none"))
    before = sorted(p.name for p in tmp_path.iterdir())
    cam_masks = run_all(cam, weak, tmp_path)
    assert sorted({p.name for p in tmp_path.iterdir()} - set(before)) == [cam_masks.name]
    assert miou(cam_masks, truth) > floor + 0.1

    # Killed in the walk: what was written stays, the rest is the same again.
    walk = list(in_order(last))[-2]
    folder = run_stage(walk, weak, tmp_path, 0, CPU, lambda done, total: None)
    files = sorted(folder.glob("*.npz"))
    first = {path.name: path.read_bytes() for path in files}
    for path in files[20:]:
        path.unlink()
    marker = folder / STAGE_MARKER
    inputs = json.loads(marker.read_text())["extra"][INPUTS]
    marker.unlink()
    (folder / STARTED).write_text(json.dumps(inputs, sort_keys=True) + "\n")
    kept = files[0].stat().st_mtime_ns
    run_stage(walk, weak, tmp_path, 0, CPU, lambda done, total: None)
    assert files[0].stat().st_mtime_ns == kept
    assert {path.name: path.read_bytes() for path in folder.glob("*.npz")} == first
    shutil.rmtree(folder)
