from __future__ import annotations

from pathlib import Path

from sbdata_baselines.methods.advcam import BASELINE
from sbdata_baselines.presets import presets_of

from tests.baselines.shapes_examples import assert_objects_stand_out
from tests.baselines.weak_examples import run_paper, tiny, write_weak

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
    run_paper(BASELINE, PAPER, weak, tmp_path / "run")


def test_a_few_shapes_from_labels_to_masks(tmp_path: Path) -> None:
    """After 24 steps on 24 photos."""
    assert_objects_stand_out(BASELINE, SMALL, tmp_path, "adversarial-maps")


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
