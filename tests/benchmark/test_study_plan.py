"""The plan of a study of sets that are not there: tasks, sizes, downloads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from sbdata.benchmark.published_sets import PUBLISHED
from sbdata.benchmark.study import load_study
from sbdata.benchmark.study_plan import StudyPlan, plan_study
from sbdata.cli.bench import bench
from sbdata.sources.published import load_registry


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of the archives, and the weights of one network in the hub's cache."""
    here = tmp_path_factory.mktemp("plan")
    (here / "hub" / "models--timm--resnet50.tv_in1k").mkdir(parents=True)
    archives = here / "data" / "sources" / "archives"
    archives.mkdir(parents=True)
    with (archives / "benchmark.tgz").open("wb") as stream:
        stream.truncate(1_419_539_633)  # has the size of the published one, and takes no space
    return here


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "hub"))


@pytest.fixture(scope="module")
def plan(place: Path) -> StudyPlan:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("HF_HUB_CACHE", str(place / "hub"))
        masks = {"voc": {"irn": place / "masks"}}
        return plan_study(load_study("wacv24"), place / "work", place / "results", pseudo=masks)


def test_the_paper_is_planned_without_its_sets(plan: StudyPlan) -> None:
    methods, strategies, seeds = 10, 3, 3
    runs = methods * strategies * seeds
    counted = Counter((kind.part, kind.kind) for kind in plan.kinds for _ in range(kind.tasks))
    for part, sets in (("voc", 2), ("coco", 1)):
        assert counted[part, "train"] == counted[part, "result"] == runs
        assert counted[part, "predict"] == counted[part, "score"] == runs * sets
        assert counted[part, "pseudo"] == counted[part, "compare"] == methods * seeds
    # the stages of both parts are the same but for irn's, whose masks are imported in the first
    stages = [row.task for row in plan.rows if row.task.kind == "stage"]
    names = {part: {t.name for t in stages if t.name.startswith(part)} for part in ("voc", "coco")}
    assert len({task.id for task in stages}) == len(stages)
    assert "voc: irn, seed 0: masks" in names["voc"]
    assert "voc: irn, seed 0: walk" not in names["voc"]
    assert "coco: irn, seed 0: walk" in names["coco"]
    assert {row.task.resources.images for row in plan.rows if row.task.kind == "train"} == {
        10_582, 82_081,
    }  # fmt: skip
    assert all(kind.gpu_hours > 0 for kind in plan.kinds if kind.kind in ("train", "predict"))


def test_the_downloads_are_those_that_are_missing(plan: StudyPlan) -> None:
    found = {
        download.name.partition(",")[0].partition(":")[0]: download for download in plan.downloads
    }
    sizes = {file.name: file.size for source in load_registry().sources for file in source.files}
    archives = [d for d in plan.downloads if d.purpose == "archive"]
    assert all(sizes[d.name] == d.size for d in archives)
    assert {d.name for d in archives if not d.missing} == {"benchmark.tgz"}
    assert found["train2014.zip"].missing
    assert not found["resnet50.tv_in1k"].missing
    assert found["vgg16.tv_in1k"].missing
    weights = found["deeplabv1_resnet101-coco.pth"]
    assert (weights.size, weights.missing) == (None, True)


def test_every_published_set_has_sources_of_the_registry() -> None:
    registry = load_registry()
    for known in PUBLISHED.values():
        for name in known.sources:
            registry.source(name)
    assert set(load_study("wacv24").sets) == set(PUBLISHED)


def test_the_command_prints_kinds_and_not_tasks() -> None:
    few = ["--study", "wacv24", "--part", "voc", "--method", "irn", "--dry-run"]
    done = CliRunner().invoke(bench, few, catch_exceptions=False)
    assert done.exit_code == 0
    assert len(done.output.splitlines()) < 60
    assert "that a GPU is 200 times as fast as a core is a guess" in done.output
    assert "deeplabv1_resnet101-coco.pth" in done.output
    narrowed = json.loads(
        CliRunner().invoke(bench, [*few, "--json"], catch_exceptions=False).output
    )
    assert {task["method"] for task in narrowed["tasks"]} == {"irn"}
    assert narrowed["gpu_factor_is_a_guess"]


def test_a_plan_loads_no_pytorch(place: Path) -> None:
    code = (
        "import sys; from sbdata.cli.bench import bench; "
        "bench(['--study', 'smoke', '--part', 'a', '--dry-run'], standalone_mode=False); "
        "sys.exit(bool({'torch', 'timm', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=place, check=False).returncode == 0
