"""Stages: what their keys hang on, and that what is done is not done again."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sbdata.bench.baseline import find_baseline
from sbdata.bench.stage import DONE, Stage, code_of, forget, in_order, key_of, run_stage
from sbdata.bench.weak import WeakSet, weak_set
from sbdata.sets import open_set
from sbdata.train.devices import Place
from tests.baselines.weak_examples import last_stage
from tests.bench.conftest import Sets

PLACE = Place(torch.device("cpu"))


@pytest.fixture
def weak(sets: Sets, tmp_path: Path) -> WeakSet:
    return weak_set(open_set(sets.training), tmp_path / "weak")


@pytest.fixture
def last(third_party: Path) -> Stage:
    return last_stage(find_baseline("stripes"), "smoke")


def run(stage: Stage, weak: WeakSet, root: Path, seed: int = 0) -> Path:
    return run_stage(stage, weak, root, seed, PLACE, lambda done, total: None)[0]


def test_key_changes_with_settings_inputs_and_seed(
    last: Stage, weak: WeakSet, sets: Sets, tmp_path: Path
) -> None:
    opened = open_set(sets.training)
    stripes = find_baseline("stripes")
    elsewhere = weak_set(opened, tmp_path / "elsewhere")
    same = [
        key_of(last, weak, 0),
        key_of(last, elsewhere, 0),
        key_of(last_stage(stripes, "smoke"), weak, 0),
        key_of(last_stage(stripes, "smoke", ("masks.share=0.4",)), weak, 0),
        key_of(replace(last, gpus=0.5, seconds_per_image=9.0), weak, 0),
    ]
    assert len(set(same)) == 1
    other_labels = dict.fromkeys(opened, (1,))
    differing = [
        same[0],
        key_of(last, weak, 1),
        key_of(last_stage(stripes, "wide"), weak, 0),
        key_of(last_stage(stripes, "smoke", ("marks.start=0.3",)), weak, 0),  # an earlier stage's
        key_of(last, weak_set(opened, tmp_path / "o", labels=other_labels), 0),
        key_of(last, weak_set(opened, tmp_path / "o", boxes=True), 0),
        key_of(last, weak_set(open_set(sets.scored), tmp_path / "s"), 0),
        key_of(last.after[0], weak, 0),
        key_of(replace(last, after=()), weak, 0),
    ]
    assert len(set(differing)) == len(differing)


def test_key_changes_with_the_code_it_runs(
    third_party: Path, weak: WeakSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(third_party / "stripes", tmp_path / "lib" / "stripes")
    for name in [name for name in sys.modules if name.partition(".")[0] == "stripes"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    stripes = importlib.import_module("stripes")
    assert Path(str(stripes.__file__)).is_relative_to(tmp_path)
    last = last_stage(stripes.BASELINE, "smoke")
    [first] = last.after

    def keys() -> tuple[str, str]:
        code_of.cache_clear()  # as in a new process
        return key_of(first, weak, 0), key_of(last, weak, 0)

    before = keys()
    (tmp_path / "lib" / "stripes" / "unused.py").write_text("x = 1\n")
    assert keys() == before
    changed = tmp_path / "lib" / "stripes" / "masks.py"
    changed.write_text(changed.read_text() + "# changed\n")
    assert keys()[0] == before[0]  # the first stage does not import it
    assert keys()[1] != before[1]
    helper = tmp_path / "lib" / "stripes" / "shape.py"
    helper.write_text(helper.read_text() + "# changed\n")
    assert keys()[0] != before[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == "stripes"]:
        del sys.modules[name]


def test_code_is_that_of_the_module_and_its_package(third_party: Path) -> None:
    first = importlib.import_module("stripes.marks").marks
    assert code_of(first) == code_of(first)
    assert code_of(first) != code_of(importlib.import_module("stripes.masks").masks)


def test_stage_runs_once(last: Stage, weak: WeakSet, tmp_path: Path, log: Any) -> None:
    [first] = last.after
    folder = run(first, weak, tmp_path / "stages")
    about = json.loads((folder / DONE).read_text())
    assert about["stage"] == "marks"
    assert about["settings"] == {"start": 0.2}
    assert about["seconds"] > 0
    assert run(first, weak, tmp_path / "stages") == folder
    assert len(log()) == 6
    assert run(first, weak, tmp_path / "stages", seed=1) != folder
    assert len(log()) == 12
    forget(folder)
    run(first, weak, tmp_path / "stages")
    assert len(log()) == 18


def test_failed_stage_is_run_again(weak: WeakSet, tmp_path: Path) -> None:
    calls = []

    def once_bad(task: Any, settings: Any) -> None:
        calls.append(task.seed)
        if len(calls) == 1:
            raise RuntimeError("no")

    stage = Stage("fails", once_bad, None)
    with pytest.raises(RuntimeError, match="no"):
        run(stage, weak, tmp_path)
    assert not list(tmp_path.glob(f"fails-*/{DONE}"))
    run(stage, weak, tmp_path)
    run(stage, weak, tmp_path)
    assert len(calls) == 2


def test_stages_come_in_order_and_once() -> None:
    a = Stage("a", print, None)
    b, c = Stage("b", print, None, (a,)), Stage("c", print, None, (a,))
    assert [s.name for s in in_order(Stage("d", print, None, (c, b)))] == ["a", "c", "b", "d"]
