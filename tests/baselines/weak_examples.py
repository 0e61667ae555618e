"""Weak sets for the tests of the methods: red and blue squares on grey noise, and how to run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage, StageContext, in_order
from sbdata.masks import LabelMap, read_index_png
from sbdata.taxonomy import Taxonomy
from sbdata.train.devices import DistributedContext
from sbdata.weak_labels.weak_set import WeakImage, WeakSet
from tests.benchmark.stage_runs import run_stage

TWO = Taxonomy("two", ("red", "blue"))
COLOURS = {1: (220, 30, 30), 2: (30, 30, 220)}
CPU = DistributedContext(torch.device("cpu"))


def write_weak(
    root: Path, n: int = 4, side: int = 64, empty: int | None = None
) -> tuple[WeakSet, dict[str, LabelMap]]:
    """Write photos of a red square, a blue one, or both, in turn; ``empty`` has none.

    Returns:
        Photos with their labels, and the true masks.
    """
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    rows, truth = [], {}
    for number in range(n):
        photo = rng.integers(90, 150, (side, side + 8, 3), dtype=np.uint8)
        mask = np.zeros(photo.shape[:2], np.uint8)
        classes = () if number == empty else ((1,), (2,), (1, 2))[number % 3]
        for place, class_id in enumerate(classes):
            left = place * (side // 2) + int(rng.integers(0, 4))
            top = int(rng.integers(0, side // 2))
            box = np.s_[top : top + side // 2, left : left + side // 2 - 4]
            mask[box], photo[box] = class_id, COLOURS[class_id]
        image_id = f"p{number}"
        Image.fromarray(photo).save(root / f"{image_id}.png")
        rows.append(WeakImage(image_id, root / f"{image_id}.png", mask.shape, classes))
        truth[image_id] = mask
    return WeakSet(tuple(rows), TWO, synthetic=True), truth


def with_true_saliency(weak: WeakSet, truth: dict[str, LabelMap], folder: Path) -> WeakSet:
    """Write saliency maps of what is an object, and return the photos with them."""
    folder.mkdir()
    for image_id, mask in truth.items():
        Image.fromarray(np.where(mask > 0, np.uint8(255), np.uint8(0))).save(
            folder / f"{image_id}.png"
        )
    return replace(weak, saliency=folder)


def task_of(weak: WeakSet, folder: Path, seed: int = 0) -> StageContext:
    """Return a task whose progress nobody looks at."""
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext(weak, folder, seed, CPU, lambda done, total: None)


def last_stage(baseline: Baseline, preset: str, overrides: tuple[str, ...] = ()) -> Stage:
    """Return the last stage of a method, of a preset that is changed by overrides."""
    return baseline.build(baseline.resolved(preset, overrides))


def run_all(last: Stage, weak: WeakSet, root: Path) -> Path:
    """Run a method's stages in order; return the last one's folder."""
    for stage in in_order(last):
        folder = run_stage(stage, weak, root, 0, CPU, lambda done, total: None)
    return folder


def tiny(part: str, views: str, batch_size: int = 4) -> tuple[str, ...]:
    """Return overrides that make a training stage of a preset one step on four tiny photos."""
    return (
        f"{part}.network.weights=none",
        f"{part}.views={views}",
        f"{part}.schedule={{epochs: 1, batch_size: {batch_size}}}",
        f"{part}.optimiser.lr=1e-4",  # random weights do not bear the official rates
    )


def run_paper(
    baseline: Baseline,
    overrides: tuple[str, ...],
    weak: WeakSet,
    root: Path,
    others: tuple[int, ...] = (0,),
) -> Path:
    """Run the preset ``paper``, changed by overrides; return the folder of the masks.

    Each photo must have a mask of its size, with its classes and ``others`` alone.
    """
    masks = run_all(last_stage(baseline, "paper", overrides), weak, root)
    for row in weak.rows:
        mask = read_index_png(masks / f"{row.image_id}.png")
        assert mask.shape == row.size
        assert set(mask.ravel().tolist()) <= {*others, *row.classes}
    return masks


class KilledError(Exception):
    """Raised in the place of a kill."""


def stage_broken_off(stage: Stage, weak: WeakSet, folder: Path, *inputs: Path, at: int) -> None:
    """Run a stage that is killed once when it tells of step or photo ``at``, and again."""

    def kill(done: int, total: int) -> None:
        if done == at:
            raise KilledError

    folder.mkdir(parents=True)
    run = stage.loaded()
    with pytest.raises(KilledError):
        run(StageContext(weak, folder, 0, CPU, kill), stage.settings, *inputs)
    run(task_of(weak, folder), stage.settings, *inputs)


def assert_kills_change_nothing(last: Stage, weak: WeakSet, root: Path, at: int = 2) -> None:
    """Check that each stage, killed and run again, writes what an unbroken one does.

    Each gets the folders of unbroken stages.
    """
    folders: dict[int, Path] = {}
    for number, stage in enumerate(in_order(last)):
        inputs = [folders[id(earlier)] for earlier in stage.after]
        whole, broken = (root / f"{number}-{stage.name}-{how}" for how in ("whole", "broken"))
        folders[id(stage)] = whole
        stage.loaded()(task_of(weak, whole), stage.settings, *inputs)
        stage_broken_off(stage, weak, broken, *inputs, at=at)
        names = sorted(path.name for path in whole.iterdir())
        assert names == sorted(path.name for path in broken.iterdir()), stage.name
        for name in names:
            assert_same_content(whole / name, broken / name)


def assert_same_content(one: Path, other: Path) -> None:
    """Check that two files of weights, maps or masks hold the same values."""
    if one.suffix == ".pt":
        first, second = (torch.load(path, weights_only=True)["model"] for path in (one, other))
        assert all(torch.equal(first[key], second[key]) for key in first | second), one
    else:
        assert one.read_bytes() == other.read_bytes(), one
