from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sbdata_baselines.methods.advcam import BASELINE as ADVCAM
from sbdata_baselines.methods.cam import BASELINE as CAM
from sbdata_baselines.methods.controls import LABELS_ONLY
from sbdata_baselines.methods.irn import BASELINE
from sbdata_baselines.methods.rib import BASELINE as RIB

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.markers import INPUTS, STAGE_MARKER, STARTED
from sbdata.benchmark.stage import in_order
from tests.baselines.shapes_examples import mean_iou, write_shapes
from tests.baselines.weak_examples import CPU, last_stage, run_all, run_paper, tiny, write_weak
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
    run_paper(BASELINE, PAPER, weak, tmp_path / "run")


@pytest.mark.parametrize(
    ("method", "maps"), [(ADVCAM, "adversarial-maps"), (RIB, "bottleneck-maps")]
)
def test_other_methods_share_the_classifier_and_the_boundary(method: Baseline, maps: str) -> None:
    for preset in ("paper", "smoke"):
        own, irn = (list(in_order(last_stage(b, preset))) for b in (method, BASELINE))
        assert own[0] == irn[0]
        assert [s.name for s in own] == ["classifier", maps, "seeds", "boundary", "walk", "masks"]
        assert own[3].settings == irn[3].settings


def test_forty_shapes_from_labels_to_masks(tmp_path: Path) -> None:
    """ImageNet weights, 40 photos, 30 steps: far from a real run, yet above the labels alone."""
    truth, weak = write_shapes(tmp_path, 40)
    last = last_stage(BASELINE, "smoke", SMALL)
    masks = run_all(last, weak, tmp_path)
    floor = mean_iou(run_all(last_stage(LABELS_ONLY, "smoke"), weak, tmp_path), truth)
    assert mean_iou(masks, truth) > floor + 0.1

    # The control has the same classifier and maps, so nothing is trained again.
    cam = last_stage(CAM, "smoke", (*SMALL[:3], "masks.refine.name=none"))
    before = sorted(p.name for p in tmp_path.iterdir())
    cam_masks = run_all(cam, weak, tmp_path)
    assert sorted({p.name for p in tmp_path.iterdir()} - set(before)) == [cam_masks.name]
    assert mean_iou(cam_masks, truth) > floor + 0.1

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
