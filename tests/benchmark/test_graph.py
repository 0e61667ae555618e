"""What a call asks comes to tasks that need each other, and a dry run computes nothing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sbdata.benchmark import graph
from sbdata.benchmark.baseline import describe_baselines
from sbdata.benchmark.cache import Cache
from sbdata.benchmark.costs import BASIS
from sbdata.benchmark.methods import find_methods
from sbdata.benchmark.run import SHORT, plan_bench, run_bench
from sbdata.benchmark.run_task import run_task
from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.errors import InputError
from sbdata.recipe import load_recipe
from sbdata.sets import open_set
from tests.benchmark.conftest import planned


def test_each_task_comes_after_those_it_needs(plan, sets, tmp_path) -> None:
    asked = plan(
        methods=("stripes", "full"),
        strategies=("sb", "sb-ewc", "ce", "sb-ft"),
        sets=(sets.scored, sets.further),
        seeds=(0, 1),
    )
    tasks = planned(asked, tmp_path)
    # a method and seed has 4 train, 8 predict, 8 score, 4 result, 1 compare; stripes 3 more
    assert len(tasks) == 2 * (25 + 28)
    assert len({task.id for task in tasks.values()}) == len(tasks)
    seen: set[str] = set()
    for task in tasks.values():
        assert seen.issuperset(task.needs)
        seen.add(task.id)
    train = {s: tasks[f"stripes, seed 0, {s}: train"] for s in asked.strategies}
    assert train["sb-ewc"].id in train["ce"].after  # which waits for the shared first phase
    assert train["sb-ewc"].id in train["sb-ft"].after
    assert train["ce"].id not in train["sb-ft"].after
    assert train["sb"].after == train["sb-ewc"].after
    assert train["sb"].resources.gpus == 1
    marks = tasks["stripes, seed 0: marks"].resources
    assert marks.gpus == 0
    assert marks.seconds == pytest.approx(0.5 * 6, rel=0.1)  # by the size of the images
    # its first phase is counted elsewhere
    assert train["ce"].resources.seconds < train["sb"].resources.seconds


@pytest.mark.parametrize(
    ("preset", "own", "found"),
    [("paper", None, "wacv24"), ("smoke", None, "smoke"), ("paper", "smoke", "smoke")],
)
def test_the_segmenters_preset_goes_with_the_methods(plan, preset, own, found) -> None:
    assert plan(preset=preset, training_preset=own).segmenter_preset().name == found


def test_stages_in_common_are_one_task(plan, tmp_path) -> None:
    asked = plan()
    methods = find_methods(asked, tmp_path)
    twin = {"stripes": methods["stripes"], "twin": replace(methods["stripes"], name="twin")}
    training = open_set(asked.training)
    tasks = graph.Planner(asked, twin, training, {}, tmp_path).tasks()
    assert [task.name for task in tasks if task.kind == "stage"] == [
        "stripes, seed 0: marks", "stripes, seed 0: masks",
    ]  # fmt: skip


def test_dry_run_computes_nothing_and_knows_what_is_there(plan, log, tmp_path) -> None:
    rows = plan_bench(plan(), tmp_path / "work")
    assert not (tmp_path / "work").exists()
    assert [row.done for row in rows] == [False] * len(rows)
    assert rows[0].seconds == pytest.approx(3.0, rel=0.1)
    assert {row.estimate.source for row in rows} == {BASIS}
    run_task(rows[0].task, Cache(tmp_path / "work"), "cpu")
    before = log()
    rows = plan_bench(plan(), tmp_path / "work")
    assert [row.done for row in rows] == [True] + [False] * (len(rows) - 1)
    assert rows[0].seconds == 0
    changed = plan_bench(plan(method_overrides=("stripes:marks.start=0.3",)), tmp_path / "work")
    assert not any(row.done for row in changed)
    assert changed[0].estimate.source == "1 earlier run"
    assert 0 < changed[0].seconds < 3
    assert log() == before
    assert not (tmp_path / "results").exists()


def test_one_task_is_run_once_what_it_reads_is_there(plan, log, tmp_path) -> None:
    work, results = tmp_path / "work", tmp_path / "results"

    def only(name: str) -> list[Path]:
        beginning = planned(plan(), tmp_path)[name].id[:SHORT]
        return list(run_bench(plan(), work, results, device="cpu", only=beginning))

    ids = {name: task.id[:SHORT] for name, task in planned(plan(), tmp_path).items()}
    first = ids["stripes, seed 0: marks"]
    for later in ("stripes, seed 0: masks", "stripes, seed 0, ce: result"):
        wanted = (
            f"needs stripes, seed 0: marks, which is not done; run that first, by --only {first}"
        )
        with pytest.raises(InputError, match=wanted):
            only(later)
    assert only("stripes, seed 0: marks") == []
    assert len(log()) == 6
    for name in list(ids)[1:]:
        files = only(name)
        assert len(files) == name.endswith("result")
    for beginning, which in (("", "the ids of 8 tasks begin"), ("xyz", "no task's id begins")):
        with pytest.raises(
            InputError, match=f"--only {beginning}: {which} like this; --dry-run lists"
        ):
            run_bench(plan(), work, results, only=beginning)


OURS = ("advcam", "amn", "bana", "bbam", "cam", "cda", "edam", "eps", "irn", "labels-only",
        "mctformer", "rib", "seam")  # fmt: skip

LIGHT = """
import sys
from sbdata.cli import cli
sys.argv[0] = "sbdata"
try:
    cli(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
loaded = {"torch", "timm", "torchvision", "fiftyone"} & set(sys.modules)
assert not loaded, loaded
"""


def test_planning_and_listing_import_no_torch(plan, sets, preset_file, tmp_path) -> None:
    run_bench(plan(), tmp_path / "work", tmp_path / "results", device="cpu", threads=1)
    call = [
        "--train-set", str(sets.training), "--set", str(sets.scored), "--work", str(tmp_path / "w"),
        "--train-preset", str(preset_file), "--dry-run",
    ]  # fmt: skip
    for arguments in (
        ["bench", "--list"],
        ["bench", "--method", "stripes", "--method", "full", *call],
        [
            "bench",
            *(a for m in OURS for a in ("--method", m)),
            "--option",
            "model.weights=none",
            *call,
        ],
        ["leaderboard", str(tmp_path / "results"), "--out", str(tmp_path / "page")],
    ):
        done = subprocess.run(
            [sys.executable, "-c", LIGHT, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_bad_plans_are_told(plan, tmp_path) -> None:
    with pytest.raises(InputError, match="a bench needs methods, each named once"):
        plan(methods=("stripes", "stripes"))
    with pytest.raises(InputError, match="a bench needs sets"):
        plan(sets=())
    with pytest.raises(InputError, match="no strategy called 'best'"):
        plan(strategies=("best",))
    with pytest.raises(InputError, match="with a method of this call"):
        find_methods(plan(method_overrides=("irn:a=1",)), tmp_path)
    with pytest.raises(InputError, match="full has no settings"):
        find_methods(plan(methods=("full",), method_overrides=("full:a=1",)), tmp_path)
    assert {"full", "stripes"} <= {said["name"] for said in describe_baselines()}


def test_weak_labels_that_nobody_takes_are_said(plan, tmp_path) -> None:
    with pytest.raises(InputError, match=r"--labels .*: none of full uses image labels"):
        find_methods(plan(methods=("full",), labels=tmp_path), tmp_path)
    with pytest.raises(InputError, match=r"--saliency .*: none of stripes uses saliency maps"):
        find_methods(plan(saliency=tmp_path), tmp_path)
    with pytest.raises(InputError, match=r"--boxes .*: none of stripes uses boxes"):
        find_methods(plan(boxes=tmp_path), tmp_path)
    named = dict.fromkeys(("labels", "saliency", "boxes"), tmp_path)  # those of a study's part
    assert list(find_methods(plan(methods=("full",), part="voc", **named), tmp_path)) == ["full"]


def test_two_sets_of_one_name_in_one_result_are_refused(plan, sets, tmp_path) -> None:
    """Parts of a study may name them; the result of the first would be lost without a word."""
    recipe = load_recipe("shapes-train", ["sources.0.options={seed: 9, train: 3}", "name=three"])
    other = tmp_path / "elsewhere" / "three"
    build_set(recipe, other, Inputs())
    calls = [plan(part="one"), plan(part="two", sets=(other,))]
    with pytest.raises(InputError, match=r"two scored sets are called three, with the logical"):
        plan_bench(calls, tmp_path)
    assert plan_bench([calls[0], replace(calls[1], seeds=(1,))], tmp_path)
