from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sbdata_baselines.bana import chosen_masks, fitted_masks, train_pooled
from sbdata_baselines.methods.bana import BASELINE, ChosenSettings, FittedSettings, PooledSettings
from sbdata_baselines.methods.controls import LABELS_ONLY
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import NetworkSettings, Refinement, Schedule, Sgd, ViewSettings

from sbdata.benchmark.stage import Progress, StageContext, in_order
from sbdata.errors import InputError
from sbdata.masks import VOID, read_index_png, write_index_png
from sbdata.train.refine import CRF_PARAMETERS, CrfParameters
from sbdata.weak_labels.weak_set import weak_set
from tests.baselines.boxed_examples import write_boxed
from tests.baselines.shapes_examples import mean_iou, write_shapes
from tests.baselines.weak_examples import CPU, last_stage, run_all, run_paper, task_of, tiny
from tests.benchmark.stage_runs import run_stage

PAPER = (
    *tiny("pooled", "{crop: 64, rescale: [0.5, 1.5], jitter: [0.5, 0.5, 0.5, 0.0]}"),
    "fitted.refine={name: par, iterations: 2, dilations: [1, 2]}",
)
SMALL = (
    "pooled.views={crop: 96, long_side: [96, 160]}",
    "pooled.schedule={epochs: 4, batch_size: 8}",
    "fitted.refine={name: none}",
)
POOLED = PooledSettings(
    NetworkSettings("mobilenetv3_small_050", "none", frozen=0),
    ViewSettings(48),
    Sgd(0.01, 0.9),
    Schedule(4, 4, checkpoint_every=1),
    grid=2,
)


def test_the_paper_preset_runs_on_tiny_photos(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", empty=3)
    masks = run_paper(BASELINE, PAPER, weak, tmp_path / "run", others=(0, VOID))
    assert not read_index_png(masks / "p3.png").any()


def test_the_constants_of_the_papers_crf() -> None:
    settings = last_stage(BASELINE, "paper")
    fitted = next(stage for stage in in_order(settings) if stage.name == "y-crf").settings
    assert fitted.refine == CRF_PARAMETERS["bana"]
    assert (fitted.threshold, fitted.grid) == (0.99, 1)
    pooled = presets_of("bana")["paper"]["pooled"]
    assert (pooled["grid"], pooled["parts"], pooled["least_background"]) == (4, 2, 0.125)


def test_forty_shapes_from_boxes_to_masks(tmp_path: Path) -> None:
    truth, plain = write_shapes(tmp_path, 40)
    weak = weak_set(truth, tmp_path / "weak", boxes=True)
    folders = {}
    for stage in in_order(last_stage(BASELINE, "smoke", SMALL)):
        folders[stage.name] = run_stage(
            stage, weak, tmp_path / "run", 0, CPU, lambda done, total: None
        )
    floor = mean_iou(run_all(last_stage(LABELS_ONLY, "smoke"), plain, tmp_path / "run"), truth)
    assert mean_iou(folders["y-crf"], truth) > floor + 0.2
    for row in weak.rows:
        crf, ret, both, mask = (
            read_index_png(folders[name] / f"{row.image_id}.png")
            for name in ("y-crf", "y-ret", "agreement", "masks")
        )
        np.testing.assert_array_equal(both, np.where(crf == ret, crf, VOID))
        np.testing.assert_array_equal(mask, both)
        assert row.boxes is not None
        free = np.ones(row.size, bool)
        for box in row.boxes:
            free[box.y : box.y + box.height, box.x : box.x + box.width] = False
        assert not crf[free].any()
        assert not ret[free].any()


@pytest.mark.parametrize("use", ["agreement", "crf", "ret"])
def test_the_masks_are_those_asked_for(tmp_path: Path, use: str) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=1)
    for value, name in enumerate(("crf", "ret", "agreement")):
        (tmp_path / name).mkdir()
        write_index_png(tmp_path / name / "p0.png", np.full((3, 4), value, np.uint8))
    stage = last_stage(BASELINE, "smoke", (f"masks.use={use}",))
    assert [earlier.name for earlier in stage.after] == ["y-crf", "y-ret", "agreement"]
    assert isinstance(stage.settings, ChosenSettings)
    folders = [tmp_path / name for name in ("crf", "ret", "agreement")]
    chosen_masks(task_of(weak, tmp_path / "masks"), stage.settings, *folders)
    wanted = read_index_png(tmp_path / use / "p0.png")
    np.testing.assert_array_equal(read_index_png(tmp_path / "masks" / "p0.png"), wanted)


def test_which_masks_are_used_changes_no_earlier_stage() -> None:
    one, other = (
        list(in_order(last_stage(BASELINE, "smoke", (f"masks.use={use}",))))
        for use in ("crf", "agreement")
    )
    assert one[:-1] == other[:-1]
    assert one[-1] != other[-1]


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos")

    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise KilledError

    def weights(folder: Path) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = torch.load(folder / "model.pt", weights_only=True)["model"]
        return found

    def task(name: str, progress: Progress = lambda done, total: None) -> StageContext:
        return replace(task_of(weak, tmp_path / name), progress=progress)

    train_pooled(task("whole"), POOLED)
    with pytest.raises(KilledError):
        train_pooled(task("broken", kill), POOLED)
    train_pooled(task("broken"), POOLED)
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert one["head.weight"].shape[0] == 3  # background and two classes


def test_a_set_without_a_box_is_learned_from_as_background(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=2)
    empty = replace(weak, rows=tuple(replace(row, boxes=(), classes=()) for row in weak.rows))
    last = last_stage(
        BASELINE, "smoke", (*tiny("pooled", "{crop: 48, long_side: [48, 64]}"), "pooled.grid=1")
    )
    masks = run_all(last, empty, tmp_path / "run")
    assert not any(read_index_png(masks / f"{row.image_id}.png").any() for row in empty.rows)


def test_photos_without_boxes_are_refused(tmp_path: Path) -> None:
    weak, _ = write_boxed(tmp_path / "photos", n=2)
    blind = replace(weak, rows=tuple(replace(row, boxes=None) for row in weak.rows))
    with pytest.raises(InputError, match="image p0 has no boxes"):
        train_pooled(task_of(blind, tmp_path / "pooled"), POOLED)


def test_a_dense_crf_fits_the_masks_to_the_photo(tmp_path: Path) -> None:
    pytest.importorskip("pydensecrf")
    weak, _ = write_boxed(tmp_path / "photos", n=1, side=32)
    train_pooled(task_of(weak, tmp_path / "pooled"), replace(POOLED, schedule=Schedule(1, 1)))
    found = {}
    for name, refine in (
        ("crf", CRF_PARAMETERS["bana"]),
        ("weak", CrfParameters(3, 0.0, 55, 3, 0.0)),
        ("none", Refinement("none")),
    ):
        task = task_of(weak, tmp_path / name)
        fitted_masks(task, FittedSettings(refine=refine), tmp_path / "pooled")
        found[name] = read_index_png(tmp_path / name / "p0.png")
    np.testing.assert_array_equal(found["weak"], found["none"])  # without its pairwise terms
    assert (found["crf"] != found["none"]).any()


def test_it_says_what_it_sees_and_what_differs() -> None:
    assert BASELINE.supervision == ("image_labels", "boxes")
    assert any("noise-aware loss" in sentence for sentence in BASELINE.differences)
