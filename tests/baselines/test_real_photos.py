"""A classifier of real photos localises: its maps beat labels that are spread over the image."""

from __future__ import annotations

from pathlib import Path

import pytest
from sbdata_baselines.methods.cam import BASELINE as CAM
from sbdata_baselines.methods.controls import LABELS_ONLY

from sbdata.benchmark.stage import in_order
from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.recipe import load_recipe
from sbdata.score.pseudo_masks import score_pseudo
from sbdata.sets import open_set
from sbdata.weak_labels.weak_set import weak_set
from tests.baselines.weak_examples import CPU, last_stage, run_all, task_of
from tests.benchmark.stage_runs import run_stage

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

TRAIN_ONLY = ("sources.0.splits=[train]", "name=voc-train")
CHEAPER = ("classifier.schedule.epochs=6", "masks.refine={name: none}")


def test_cam_is_far_above_the_floor_on_photos_it_was_not_trained_on(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = Inputs(roots={"voc": real_data / "voc2012-mini"})
    opened = {}
    for name, changes in (("train", TRAIN_ONLY), ("val", ())):
        build_set(load_recipe("voc-val", list(changes)), tmp_path / name, inputs)
        opened[name] = open_set(tmp_path / name)
    weak = {name: weak_set(opened[name], tmp_path / "weak" / name, labels=None) for name in opened}
    classifier, maps, masks = in_order(last_stage(CAM, "photos", CHEAPER))
    stages = tmp_path / "stages"
    trained = run_stage(classifier, weak["train"], stages, 0, CPU, lambda *_: None)
    folders = {name: task_of(weak["val"], tmp_path / name) for name in ("maps", "masks")}
    maps.loaded()(folders["maps"], maps.settings, trained)
    masks.loaded()(folders["masks"], masks.settings, folders["maps"].folder)
    floor = run_all(last_stage(LABELS_ONLY, "photos"), weak["val"], stages)

    found = {}
    for name, folder in (("cam", folders["masks"].folder), ("labels-only", floor)):
        scored = score_pseudo(folder, opened["val"], resamples=0).as_background
        found[name] = scored.summary.headline()["miou"]
    with capsys.disabled():
        print(f"\npseudo-masks on {len(opened['val'])} photos of VOC 2012 val, mIoU: {found}")
    assert found["cam"] > 1.5 * found["labels-only"]
