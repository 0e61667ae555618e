"""The rehearsal of a bench of full size goes through all its steps; here with 20 images a set."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sbdata.benchmark.leaderboard import read_boards
from sbdata.layout import CLASSES_FOLDER, IMAGES_FOLDER, OBJECTS_FOLDER
from sbdata.sets import check_files, open_set

pytest.importorskip("torch", reason="the rehearsal predicts")
pytest.importorskip("cv2", reason="the rehearsal decodes by OpenCV, too")

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "rehearsal.py"


@pytest.fixture(scope="module")
def rehearsal() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rehearsal", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rehearsal"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_step_runs(rehearsal: ModuleType, tmp_path: Path) -> None:
    sets = rehearsal.standins((20, 6, 20, 20), 1.0)
    steps = rehearsal.plan_of(tmp_path, sets, 6)
    assert {step.function for step in steps} - {""} == set(rehearsal.FUNCTIONS)
    for step in steps:
        if step.function:
            rehearsal.FUNCTIONS[step.function](tmp_path, step.standin)
    for one in sets:
        opened = open_set(tmp_path / one.name)
        assert (len(opened), opened.manifest.meta["synthetic"]) == (one.images, True)
        check_files(opened, [IMAGES_FOLDER, CLASSES_FOLDER, OBJECTS_FOLDER])
    (board,) = read_boards([tmp_path / "records"])
    assert len({row.method for row in board.rows}) == 10


@pytest.mark.slow
def test_done_steps_are_kept(rehearsal: ModuleType, tmp_path: Path) -> None:
    images = (20, 6, 20, 20)
    found = rehearsal.rehearse(tmp_path, images, 1.0, 4, ["draw", "make"])
    ran = found["steps"]["coco-train: make the stand-ins"]
    assert ran["images"] == 20
    assert min(ran["wall_s"], ran["cpu_s"], ran["peak_mb"], ran["disk_mb"]) > 0
    state = tmp_path / "rehearsal.json"
    kept = json.loads(state.read_text())
    kept["steps"]["coco-train: make the stand-ins"]["wall_s"] = 7.5
    state.write_text(json.dumps(kept))
    again = rehearsal.rehearse(tmp_path, images, 1.0, 4, ["draw", "make"])
    assert again["steps"] == kept["steps"]
    with pytest.raises(SystemExit, match="holds a rehearsal of"):
        rehearsal.rehearse(tmp_path, images, 0.5, 4, ["draw"])
