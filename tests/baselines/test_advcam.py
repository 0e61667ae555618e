from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.stats import mannwhitneyu

from baselines.advcam import BASELINE
from baselines.irn import BASELINE as IRN
from baselines.presets import presets_of
from baselines.stages.maps import read_maps
from sbdata.bench.stage import in_order
from sbdata.bench.weak import weak_set
from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.masks import read_index_png
from sbdata.recipe import load_recipe
from sbdata.sets import open_set
from tests.baselines.weak_examples import run_all, tiny, write_weak

PAPER = (
    *tiny("classifier", "{crop: 48, long_side: [48, 64]}"),
    *tiny("boundary", "{crop: 48, rescale: [0.5, 1.5]}"),
    "boundary.network.backbone=resnet18",
    "climb.climbs=[{scale: 0.5, steps: 2}, {scale: 1.0, steps: 3}]",
    "seeds.refine.name=none",
)
SMALL = (
    "classifier.views={crop: 80, long_side: [80, 128]}",
    "classifier.schedule={epochs: 8, batch_size: 8}",
    "climb.climbs=[{scale: 0.4, steps: 3}]",
    "boundary.views={crop: 80, rescale: [0.5, 1.0]}",
    "boundary.schedule={epochs: 1, batch_size: 8}",
    "walk.steps=16",
)


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=3)
    masks = run_all(BASELINE.last_stage("paper", PAPER), weak, tmp_path / "run")
    for row in weak.rows:
        mask = read_index_png(masks / f"{row.image_id}.png")
        assert mask.shape == row.size
        assert set(mask.ravel().tolist()) <= {0, *row.classes}


def test_a_few_shapes_from_labels_to_masks(tmp_path: Path) -> None:
    """After 24 steps on 24 photos, maps and masks are well above chance; not more."""
    recipe = load_recipe("shapes-train", ["sources.0.options={seed: 0, pool: 12, train: 24}"])
    truth = open_set(build_set(recipe, tmp_path / "set", Inputs()).root)
    weak = weak_set(truth, tmp_path / "weak")
    masks = run_all(BASELINE.last_stage("smoke", SMALL), weak, tmp_path / "run")
    seen, there, ranks = [], [], []
    for row in weak.rows:
        (folder,) = (tmp_path / "run").glob("adversarial-maps-*")
        maps = read_maps(folder, row.image_id)
        assert maps.classes == row.classes
        mask, true = read_index_png(masks / f"{row.image_id}.png"), truth.class_map(row.image_id)
        assert set(mask.ravel().tolist()) <= {0, *row.classes}
        seen.append(np.mean(mask[true > 0] == true[true > 0]))
        there.append(np.mean(mask[true == 0] > 0))
        for class_id, values in zip(maps.classes, maps.maps, strict=True):
            inside = true == class_id
            ranks.append(mannwhitneyu(values[inside], values[~inside]).statistic)
            ranks[-1] /= inside.sum() * (~inside).sum()
    assert np.mean(ranks) > 0.7  # a pixel of the class shows more than another one: 0.5 by chance
    assert np.mean(seen) > np.mean(there) + 0.1  # objects are marked, rather than background


def test_the_classifier_is_irns_and_so_is_the_boundary() -> None:
    for preset in ("paper", "smoke"):
        own, irn = (list(in_order(b.last_stage(preset))) for b in (BASELINE, IRN))
        assert own[0] == irn[0]
        assert [s.name for s in own] == [
            "classifier", "adversarial-maps", "seeds", "boundary", "walk", "masks",
        ]  # fmt: skip
        assert own[3].settings == irn[3].settings


def test_paper_constants() -> None:
    paper = presets_of("advcam")["paper"]
    climb = paper["climb"]
    assert [(c["scale"], c["steps"]) for c in climb["climbs"]] == [
        (0.5, 27 // 2), (1.0, 27), (1.5, 27), (2.0, 27),
    ]  # fmt: skip
    assert (climb["step"], climb["restraint"], climb["salient"]) == (0.08, 7, 0.5)
    assert climb["first"] == ""  # pixels
    assert (paper["seeds"]["foreground"], paper["seeds"]["background"]) == (0.35, 0.15)
    assert (paper["walk"]["power"], paper["masks"]["background"]) == (1.5, 0.25)
