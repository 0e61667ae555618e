from __future__ import annotations

from pathlib import Path

from sbdata_baselines.methods.rib import BASELINE
from sbdata_baselines.presets import presets_of

from tests.baselines.shapes_examples import assert_objects_stand_out
from tests.baselines.weak_examples import run_paper, tiny, write_weak

PAPER = (
    *tiny("classifier", "{crop: 48, long_side: [48, 64]}"),
    *tiny("boundary", "{crop: 48, rescale: [0.5, 1.5]}"),
    "classifier.network.backbone=resnet18",
    "boundary.network.backbone=resnet18",
    "bottleneck.views={crop: 48, long_side: [48, 64]}",
    "bottleneck.scales=[1.0, 0.5]",
    "bottleneck.learned=[1.0]",
    "bottleneck.steps=2",
    "bottleneck.others=2",
    "bottleneck.filled=1.0",
    "seeds.refine.name=none",
)
SMALL = (
    "classifier.views={crop: 80, long_side: [80, 128]}",
    "classifier.schedule={epochs: 8, batch_size: 8}",
    "bottleneck.views={crop: 80, long_side: [80, 128]}",
    "bottleneck.scales=[0.4]",
    "bottleneck.learned=[0.4]",
    "bottleneck.steps=3",
    "bottleneck.pool=8",
    "boundary.views={crop: 80, rescale: [0.5, 1.0]}",
    "boundary.schedule={epochs: 1, batch_size: 8}",
    "walk.steps=16",
)


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", empty=3)
    run_paper(BASELINE, PAPER, weak, tmp_path / "run")


def test_a_few_shapes_from_labels_to_masks(tmp_path: Path) -> None:
    """After 24 steps on 24 photos."""
    assert_objects_stand_out(BASELINE, SMALL, tmp_path, "bottleneck-maps")


def test_paper_constants() -> None:
    paper = presets_of("rib")["paper"]
    steps = paper["bottleneck"]
    assert (steps["optimiser"]["lr"], steps["optimiser"]["head"]) == (8e-6, 10)
    assert (steps["steps"], steps["others"], steps["discriminative"]) == (10, 20, 0.4)
    assert (steps["stop"], steps["bright"], steps["filled"]) == (600, 0.3, 0.7)
    assert set(steps["scales"]) - set(steps["learned"]) == {0.5}
    assert steps["scales"][0] == 1.0  # the one that tells when the photo is filled
    assert (steps["first"], steps["pool"]) == ("", 0)
    assert (paper["seeds"]["foreground"], paper["seeds"]["background"]) == (0.35, 0.17)
    assert (paper["walk"]["power"], paper["masks"]["background"]) == (1.3, 0.27)
