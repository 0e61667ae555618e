"""Tasks are values: they pass through JSON, and their ids tell all that a result depends on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from hashlib import sha256

import pytest

from sbdata.benchmark.cache import Cache
from sbdata.benchmark.run import run_bench
from sbdata.benchmark.run_task import run_task
from sbdata.benchmark.tasks import Task, task_id
from sbdata.errors import InputError
from tests.benchmark.conftest import planned, without_times


def test_a_task_is_a_value_that_any_process_can_run(plan, tmp_path) -> None:
    """Each task passes through JSON, and runs with nothing but a cache."""
    run_bench(plan(), tmp_path / "whole", tmp_path / "results", device="cpu", threads=1)
    (whole,) = (tmp_path / "results").iterdir()
    before = without_times(whole)
    whole.unlink()
    for task in planned(plan(), tmp_path).values():
        sent = Task.from_json(task.to_json())
        assert sent == task
        run_task(sent, Cache(tmp_path / "other"), "cpu")
        assert not sent.folder or Cache(tmp_path / "other").is_done(sent)
    assert without_times(whole) == before
    with pytest.raises(InputError, match="not a task"):
        Task.from_json("{")
    with pytest.raises(InputError, match="task: missing key"):
        Task.from_json("{}")


def test_ids_depend_on_contents_and_not_on_places(plan, sets, tmp_path) -> None:
    shutil.copytree(sets.training, tmp_path / "moved")
    tasks = planned(plan(), tmp_path)
    moved = planned(plan(training=tmp_path / "moved"), tmp_path / "elsewhere")
    assert [task.id for task in moved.values()] == [task.id for task in tasks.values()]
    for changes in ({"seeds": (1,)}, {"preset": "wide"}):
        other = planned(plan(**{"training_preset": plan().training_preset, **changes}), tmp_path)
        assert not {t.id for t in other.values() if t.kind in ("pseudo", "train", "score")} & {
            task.id for task in tasks.values()
        }


def test_a_task_of_another_set_is_refused(plan, sets, tmp_path) -> None:
    tasks = planned(plan(), tmp_path)
    stage = tasks["stripes, seed 0: marks"]
    other = replace(stage, context={**stage.context, "training": str(sets.further)})
    with pytest.raises(InputError, match="the set was changed while the bench ran"):
        run_task(other, Cache(tmp_path / "work"), "cpu")
    params = {**stage.params, "settings": {"start": 0.4}}
    with pytest.raises(InputError, match="was edited while the bench ran"):
        run_task(replace(stage, params=params), Cache(tmp_path / "work"), "cpu")


def test_a_file_that_settings_name_is_refused_if_it_changed(plan, tmp_path) -> None:
    stage = planned(plan(), tmp_path)["stripes, seed 0: marks"]
    (tmp_path / "weights.pth").write_bytes(b"first")
    params = {**stage.params, "settings": {"weights": str(tmp_path / "weights.pth")}}
    params["files"] = {"weights": sha256(b"first").hexdigest()}
    found = task_id(stage.kind, params, stage.inputs, stage.code)
    task = replace(stage, id=found, params=params)
    with pytest.raises(InputError, match="unknown key 'weights'"):  # it is as it was
        run_task(task, Cache(tmp_path / "work"), "cpu")
    (tmp_path / "weights.pth").write_bytes(b"other")
    with pytest.raises(InputError, match="a file that its settings name was changed while the b"):
        run_task(task, Cache(tmp_path / "work"), "cpu")
