"""Plans come to jobs that build on each other, and a dry run computes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from sbdata.benchmark.baseline import describe_baselines
from sbdata.benchmark.graph import find_methods
from sbdata.benchmark.run import plan_bench
from sbdata.benchmark.run_task import run_task
from sbdata.benchmark.workspace import Workspace
from sbdata.errors import InputError


def jobs_by_name(plan, work: Path):
    return {job.name: job for job in Workspace(plan, work, work, dry=True).jobs}


def test_each_job_comes_after_those_it_builds_on(plan, sets, tmp_path) -> None:
    asked = plan(
        methods=("stripes", "full"),
        strategies=("sb", "sb-ewc", "ce", "sb-ft"),
        sets=(sets.scored, sets.further),
        seeds=(0, 1),
    )
    jobs = jobs_by_name(asked, tmp_path)
    # for a method and seed: 4 train, 8 predict, 4 score, 1 compare; stripes 2 stages and 1 score
    assert len(jobs) == 2 * (17 + 20)
    seen: set[str] = set()
    for job in jobs.values():
        assert seen.issuperset(job.after)
        seen.add(job.name)
    train = {s: jobs[f"stripes, seed 0, {s}: train"] for s in asked.strategies}
    assert train["sb-ewc"].name in train["ce"].after  # which waits for the shared first phase
    assert train["sb-ewc"].name in train["sb-ft"].after
    assert train["ce"].name not in train["sb-ft"].after
    assert train["sb"].after == train["sb-ewc"].after
    assert train["sb"].gpus == 1
    assert jobs["stripes, seed 0: marks"].gpus == 0
    assert jobs["stripes, seed 0: marks"].seconds == pytest.approx(0.5 * 6)
    assert train["ce"].seconds < train["sb"].seconds  # its first phase is counted elsewhere


@pytest.mark.parametrize(
    ("preset", "own", "found"),
    [("paper", None, "wacv24"), ("smoke", None, "smoke"), ("paper", "smoke", "smoke")],
)
def test_the_segmenters_preset_goes_with_the_methods(plan, tmp_path, preset, own, found) -> None:
    asked = plan(preset=preset, training_preset=own)
    assert Workspace(asked, tmp_path, tmp_path, dry=True).preset.name == found


def test_stages_in_common_are_one_job(plan, tmp_path, monkeypatch) -> None:
    bench = Workspace(plan(), tmp_path, tmp_path, dry=True)
    twin = {"stripes": bench.methods["stripes"], "twin": bench.methods["stripes"]}
    monkeypatch.setitem(bench.__dict__, "methods", twin)
    assert [job.part for job in bench.jobs if job.kind == "stage"] == ["marks", "masks"]


def test_dry_run_computes_nothing_and_knows_what_is_there(plan, log, tmp_path) -> None:
    rows = plan_bench(plan(), tmp_path / "work")
    assert not (tmp_path / "work").exists()
    assert [row.cached for row in rows] == [False] * len(rows)
    assert rows[0].seconds == pytest.approx(3.0)
    bench = Workspace(plan(), tmp_path / "work", tmp_path / "results")
    run_task(bench, bench.jobs[0], "cpu")
    before = log()
    rows = plan_bench(plan(), tmp_path / "work")
    assert [row.cached for row in rows] == [True] + [False] * (len(rows) - 1)
    assert rows[0].seconds == 0
    changed = plan_bench(plan(method_overrides=("stripes:marks.start=0.3",)), tmp_path / "work")
    assert not any(row.cached for row in changed)
    assert log() == before
    assert not (tmp_path / "results").exists()


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


def test_saliency_and_boxes_that_nobody_takes_are_said(plan, tmp_path) -> None:
    with pytest.raises(InputError, match=r"--saliency .*: none of stripes takes saliency maps"):
        find_methods(plan(saliency=tmp_path), tmp_path)
    with pytest.raises(InputError, match=r"--boxes .*: none of stripes takes boxes"):
        find_methods(plan(boxes=tmp_path), tmp_path)
