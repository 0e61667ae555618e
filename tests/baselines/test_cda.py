from __future__ import annotations

from pathlib import Path

from sbdata_baselines.methods.cda import BASELINE

from sbdata.benchmark.stage import in_order
from tests.baselines.weak_examples import last_stage, run_paper, tiny, write_weak

# The parts that other methods test, too, have a small backbone here.
PAPER = (
    *tiny("irn.classifier", "{crop: 48, long_side: [48, 64]}"),
    *tiny("irn.boundary", "{crop: 48, rescale: [0.5, 1.5]}"),
    *tiny("classifier", "{crop: 48, long_side: [48, 64]}"),
    "irn.classifier.network.backbone=resnet18",
    "irn.boundary.network.backbone=resnet18",
    "irn.activation.scales=[1.0]",
    "irn.seeds.refine.name=none",
)


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_weak(tmp_path / "photos", n=2)
    run_paper(BASELINE, PAPER, weak, tmp_path / "run")


def test_the_second_round_has_maps_of_the_second_classifier() -> None:
    stages = list(in_order(last_stage(BASELINE, "paper")))
    walks = [stage for stage in stages if stage.name == "walk"]
    assert [walk.after[0].after[0].name for walk in walks] == ["classifier", "decoupled"]
