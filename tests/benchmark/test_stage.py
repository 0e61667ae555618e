"""Stages: what their keys hang on, and that what is done is not done again."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import sbdata
from sbdata import fingerprints
from sbdata.benchmark import stage as stage_module
from sbdata.benchmark.baseline import find_baseline
from sbdata.benchmark.markers import STAGE_MARKER as DONE
from sbdata.benchmark.stage import Stage, in_order
from sbdata.completion import read_marker, write_marker
from sbdata.errors import InputError
from sbdata.sets import open_set
from sbdata.train import weights as weights_module
from sbdata.train.devices import DistributedContext
from sbdata.weak_labels.weak_set import WeakSet, weak_set
from tests.baselines.weak_examples import last_stage
from tests.benchmark.conftest import Sets
from tests.benchmark.stage_runs import key_of, run_stage

PLACE = DistributedContext(torch.device("cpu"))


@pytest.fixture
def weak(sets: Sets, tmp_path: Path) -> WeakSet:
    return weak_set(open_set(sets.training), tmp_path / "weak")


@pytest.fixture
def last(third_party: Path) -> Stage:
    return last_stage(find_baseline("stripes"), "smoke")


def run(stage: Stage, weak: WeakSet, root: Path, seed: int = 0) -> Path:
    return run_stage(stage, weak, root, seed, PLACE, lambda done, total: None)


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
        fingerprints.code_fingerprint.cache_clear()  # as in a new process
        return key_of(first, weak, 0), key_of(last, weak, 0)

    before = keys()
    (tmp_path / "lib" / "stripes" / "unused.py").write_text("x = 1\n")
    assert keys() == before
    for name in ("marks.py", "shape.py", "__init__.py"):  # of both stages
        changed = tmp_path / "lib" / "stripes" / name
        whole = changed.read_text()
        changed.write_text(whole + "# changed\n")
        assert keys()[0] != before[0]
        assert keys()[1] != before[1]
        changed.write_text(whole)
    package = tmp_path / "lib" / "stripes" / "__init__.py"
    package.write_text("")  # so that the one does not bring the other in
    without = keys()
    changed = tmp_path / "lib" / "stripes" / "masks.py"
    changed.write_text(changed.read_text() + "# changed\n")
    assert keys()[0] == without[0]  # the first stage does not import it
    assert keys()[1] != without[1]
    for name in [name for name in sys.modules if name.partition(".")[0] == "stripes"]:
        del sys.modules[name]
    fingerprints.code_fingerprint.cache_clear()


def test_key_changes_with_the_code_of_sbdata_that_it_reaches(
    last: Stage, weak: WeakSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a copy of the package: what stages use, and what no stage can reach."""
    source = Path(str(sbdata.__file__)).parent
    shutil.copytree(source, tmp_path / "sbdata", ignore=shutil.ignore_patterns("__pycache__"))
    places_of = fingerprints._places_of
    monkeypatch.setattr(
        fingerprints,
        "_places_of",
        lambda top: (tmp_path / "sbdata",) if top == "sbdata" else places_of(top),
    )

    def key() -> str:
        fingerprints.code_fingerprint.cache_clear()
        return key_of(last, weak, 0)

    before = key()
    for name, changes in (
        ("masks.py", True), ("weak_labels/weak_set.py", True), ("benchmark/stage.py", True),
        ("benchmark/markers.py", True), ("storage.py", True), ("cli/bench.py", False),
        ("metrics/kernel.py", False), ("score/run.py", False), ("benchmark/graph.py", False),
    ):  # fmt: skip
        file = tmp_path / "sbdata" / name
        whole = file.read_text()
        file.write_text(whole + "# edited\n")
        assert (key() != before) == changes, name
        file.write_text(whole)
    assert key() == before
    fingerprints.code_fingerprint.cache_clear()


@dataclass(frozen=True)
class Weights:
    weights: str


def test_key_changes_with_the_content_of_a_file_that_settings_name(
    weak: WeakSet, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    keys = []
    for content in (b"first", b"other", b"first"):
        path.write_bytes(content)
        keys.append(key_of(Stage("reads", print, Weights(str(path))), weak, 0))
    assert keys[0] == keys[2] != keys[1]


@dataclass(frozen=True)
class Networks:
    network: Mapping[str, str]
    others: tuple[Mapping[str, str], ...] = ()


def test_key_changes_with_the_weights_that_auto_stands_for(
    weak: WeakSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the installed package, or those that this version of timm fetches."""

    def key(*backbones: str, weights: str = "auto") -> str:
        stage_module._content_of_auto.cache_clear()  # as in a new process
        first, *others = [{"backbone": name, "weights": weights} for name in backbones]
        return key_of(Stage("trains", print, Networks(first, tuple(others))), weak, 0)

    package = tmp_path / "lite0.pth"
    package.write_bytes(b"first")
    monkeypatch.setattr(weights_module, "lite0_file", lambda: package)
    names = ("tf_efficientnet_lite0", "resnet50.tv_in1k")
    before = [key(name) for name in names], key(*names), key(*names, weights="none")
    assert before == ([key(name) for name in names], key(*names), key(*names, weights="none"))
    package.write_bytes(b"other")
    assert key(names[0]) != before[0][0]
    assert key(names[1]) == before[0][1]
    assert key(*names) != before[1]
    package.write_bytes(b"first")
    monkeypatch.setattr(weights_module, "version_of", lambda name: "another")
    assert key(names[0]) == before[0][0]
    assert key(names[1]) != before[0][1]
    assert key(*names) != before[1]
    assert key(*names, weights="none") == before[2]


def test_stage_runs_once(last: Stage, weak: WeakSet, tmp_path: Path, log: Any) -> None:
    [first] = last.after
    folder = run(first, weak, tmp_path / "stages")
    marker = read_marker(folder, name=DONE)
    assert marker is not None
    assert len(marker.files) == 6
    assert marker.extra["stage"] == "marks"
    assert marker.extra["settings"] == {"start": 0.2}
    assert marker.extra["seconds"] > 0
    assert run(first, weak, tmp_path / "stages") == folder
    assert len(log()) == 6
    assert run(first, weak, tmp_path / "stages", seed=1) != folder
    assert len(log()) == 12
    shutil.rmtree(folder)
    run(first, weak, tmp_path / "stages")
    assert len(log()) == 18


def test_a_stage_that_lost_a_file_is_run_again(
    last: Stage, weak: WeakSet, tmp_path: Path, log: Any
) -> None:
    [first] = last.after
    run(first, weak, tmp_path)
    folder = run(last, weak, tmp_path)
    contents = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    (folder / "extra.txt").write_text("of nobody")
    next(iter(folder.glob("*.png"))).unlink()
    run(last, weak, tmp_path)
    assert {path.name: path.read_bytes() for path in folder.glob("*.png")} == contents
    assert [line.split()[0] for line in log()] == ["marks"] * 6 + ["masks"] * 12
    assert not (folder / "extra.txt").exists()  # nothing of the former try is left


@pytest.mark.parametrize("same_size", [False, True])
def test_an_altered_file_of_a_stage_is_refused(
    last: Stage, weak: WeakSet, tmp_path: Path, same_size: bool
) -> None:
    [first] = last.after
    marks = run(first, weak, tmp_path)
    masks = run(last, weak, tmp_path)
    for folder in (masks, marks):
        path = sorted(folder.glob("[!.]*"))[0]
        whole = path.read_bytes()
        path.write_bytes(bytes(len(whole)) if same_size else b"")
        with pytest.raises(InputError) as refused:
            run(last, weak, tmp_path)
        said = str(refused.value)
        assert f"{folder}: 1 file is not as recorded ({path.name}: " in said
        assert "delete the folder to have it made again" in said
        path.write_bytes(whole)
    run(last, weak, tmp_path)


def test_an_altered_file_of_the_same_size_and_time_is_seen_if_asked(
    last: Stage, weak: WeakSet, tmp_path: Path
) -> None:
    [first] = last.after
    folder = run(first, weak, tmp_path)
    path = sorted(folder.glob("*.txt"))[0]
    os.utime(path, ns=(10**18, 10**18))
    run(first, weak, tmp_path)  # records the new time
    path.write_text("x" * path.stat().st_size)
    os.utime(path, ns=(10**18, 10**18))
    run(first, weak, tmp_path)
    with pytest.raises(InputError, match=rf"{path.name}: the right size, other bytes"):
        run_stage(first, weak, tmp_path, 0, PLACE, lambda *_: None, verify=True)


def test_what_was_made_from_other_results_of_a_stage_is_made_again(
    last: Stage, weak: WeakSet, tmp_path: Path, log: Any
) -> None:
    """An earlier stage was made anew, and its key is the same, but not what it wrote."""
    [first] = last.after
    marks = run(first, weak, tmp_path)
    run(last, weak, tmp_path)
    shutil.rmtree(marks)
    run(first, weak, tmp_path)
    run(last, weak, tmp_path)
    assert len(log()) == 18  # the same results: its follower stays
    shutil.rmtree(marks)
    run(first, weak, tmp_path)
    for path in marks.glob("*.txt"):
        path.write_text("3")
    write_marker(marks, [p.name for p in marks.glob("*.txt")], {"seconds": 1.0, "inputs": {}},
                 name=DONE)  # fmt: skip
    run(last, weak, tmp_path)
    assert [line.split()[0] for line in log()[24:]] == ["masks"] * 6


def test_a_stage_whose_earlier_one_is_not_done_is_refused(
    last: Stage, weak: WeakSet, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"marks-[0-9a-f]+: the stage is not finished; run the"):
        run(last, weak, tmp_path)


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


@pytest.mark.parametrize("changed", [True, False])
def test_what_a_killed_run_made_of_other_results_is_not_mixed_in(
    weak: WeakSet, tmp_path: Path, changed: bool
) -> None:
    """A stage is killed halfway; the one before it is made again before it continues."""
    source = tmp_path / "source"
    seen = []

    def before(task: Any, settings: Any) -> None:
        (task.folder / "model").write_text(source.read_text())

    def after(task: Any, settings: Any, model: Path) -> None:
        for name in ("a", "b"):
            seen.append(name)
            if not (task.folder / name).is_file():
                (task.folder / name).write_text((model / "model").read_text())
            if len(seen) == 1:
                raise KeyboardInterrupt

    first = Stage("before", before, None)
    second = Stage("after", after, None, (first,))
    source.write_text("old")
    made = run(first, weak, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(second, weak, tmp_path)
    (half,) = tmp_path.glob("after-*/a")
    half.write_text("of the killed run")
    if changed:
        source.write_text("new")
    shutil.rmtree(made)
    run(first, weak, tmp_path)
    folder = run(second, weak, tmp_path)
    found = {path.name: path.read_text() for path in folder.iterdir() if path.name != DONE}
    assert found == (
        {"a": "new", "b": "new"} if changed else {"a": "of the killed run", "b": "old"}
    )
    marker = read_marker(folder, name=DONE)
    assert marker is not None
    assert list(marker.files) == ["a", "b"]


def test_stages_come_in_order_and_once() -> None:
    a = Stage("a", print, None)
    b, c = Stage("b", print, None, (a,)), Stage("c", print, None, (a,))
    assert [s.name for s in in_order(Stage("d", print, None, (c, b)))] == ["a", "c", "b", "d"]


def test_a_function_may_be_named_by_text(last: Stage, weak: WeakSet, tmp_path: Path) -> None:
    [first] = last.after
    named = replace(first, run="stripes.marks:marks")
    assert key_of(named, weak, 0) == key_of(first, weak, 0)
    assert run(named, weak, tmp_path) == run(first, weak, tmp_path)
    for wrong in ("stripes.marks:nothing", "stripes.nothing:marks", "stripes"):
        with pytest.raises(InputError, match=f"stage marks: {wrong}"):
            run(replace(first, run=wrong), weak, tmp_path)
