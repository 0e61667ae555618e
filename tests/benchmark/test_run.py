"""The bench from end to end, on six images: stopped, repeated, shared and changed."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from click.testing import CliRunner

from sbdata.benchmark.cache import Cache
from sbdata.benchmark.config import BenchmarkConfig
from sbdata.benchmark.graph import Planner, plan_tasks
from sbdata.benchmark.methods import Method, find_methods
from sbdata.benchmark.records import read_differences, read_result
from sbdata.benchmark.run import run_bench
from sbdata.benchmark.run_task import run_task
from sbdata.cli.bench import bench
from sbdata.errors import InputError
from sbdata.sets import open_set
from sbdata.weak_labels.weak_set import Box
from tests.benchmark.conftest import Sets, planned, without_times

BOTH = ("marks", "masks")


def command(sets: Sets, preset_file: Path, out: Path, *more: str) -> list[str]:
    arguments = [
        "--method", "stripes", "--strategy", "ce", "--strategy", "sb-ewc",
        "--train-set", str(sets.training), "--set", str(sets.scored),
        "--train-preset", str(preset_file), "--device", "cpu", "--threads", "1",
        "--work", str(out / "work"), "--results", str(out / "results"), *more,
    ]  # fmt: skip
    code = f"from sbdata.cli.bench import bench; bench({arguments!r})"
    return [sys.executable, "-c", code]


def planner(asked: BenchmarkConfig, root: Path, *methods: Method) -> Planner:
    """Return the planner of a call, perhaps with other methods."""
    sets = {opened.name: opened for opened in map(open_set, asked.sets)}
    found = {method.name: method for method in methods} or find_methods(plain(asked), root)
    return Planner(asked, found, open_set(asked.training), sets, root / "results")


def plain(asked: BenchmarkConfig) -> BenchmarkConfig:
    return replace(asked, boxes=None, saliency=None)


def of_strategy(results: Path, strategy: str) -> Path:
    (path,) = results.glob(f"stripes.{strategy}.seed0.*.json")
    return path


def test_method_of_another_package_is_run_and_scored(plan, sets, log, tmp_path) -> None:
    asked = plan(strategies=("ce", "sb-ft", "sb-ewc"), methods=("stripes", "full"))
    files = list(run_bench(asked, tmp_path / "work", tmp_path / "results", device="cpu", threads=1))
    assert [f.name[:-14] for f in files] == [
        f"{m}.{s}.seed0" for m in ("stripes", "full") for s in ("ce", "sb-ft", "sb-ewc")
    ]
    assert len(log()) == 2 * 6
    result = read_result(files[0])
    assert result.paper == "Nobody et al., Stripes, 2026"
    assert result.supervision == ("image_labels",)
    assert (result.synthetic, result.pretrained, result.control) == (True, False, False)
    assert result.method_settings == {"marks": {"start": 0.2}, "masks": {"share": 0.4}}
    assert result.training.images == 6
    assert result.training_preset["optimisation"]["precision"] == "32", "not auto: that of a CPU"
    assert set(result.seconds) == {"marks", "masks", "train", "predict"}
    scored = result.sets["three"]
    assert scored.n_images == 3
    assert scored.n_instances["ia"] > 0
    counted = {f"ia_{size}": sum(counts.values()) for size, counts in scored.outcomes.items()}
    assert counted.items() < scored.n_instances.items()
    assert scored.figures["miou"].value is not None
    assert result.pseudo is not None
    assert [row["stage"] for row in result.pseudo["lost"]] == ["masks"]
    sizes = result.pseudo["lost"][0]
    assert (
        sum(sizes[s]["n"] for s in ("small", "medium", "large"))
        == (result.pseudo["n_instances"]["ia"])
    )
    ceiling = read_result(files[3])
    assert ceiling.control
    assert ceiling.pseudo is None
    assert ceiling.training.weak_digest is None
    (path,) = (tmp_path / "results").glob("stripes-seed0-differences.*.json")
    found = read_differences(path)
    assert found.identity == result.shared_identity
    assert [(p.first, p.second) for p in found.pairs] == [("sb-ewc", "ce"), ("sb-ft", "ce")]
    for pair in found.pairs:  # a difference is that of the two results' figures
        one, other = (
            read_result(of_strategy(tmp_path / "results", s)).sets["three"].figures
            for s in (pair.first, pair.second)
        )
        moved = pair.differences["miou"]["value"]
        assert moved == pytest.approx(one["miou"].value - other["miou"].value)


def test_what_is_there_is_not_done_again(plan, sets, log, tmp_path) -> None:
    work, results = tmp_path / "work", tmp_path / "results"
    [file] = run_bench(plan(), work, results, device="cpu")
    before = file.read_text()
    files = {p: p.stat().st_mtime_ns for p in work.rglob("*") if p.suffix in (".pt", ".png")}
    run_bench(plan(), work, results, device="cpu")
    assert len(log()) == 12
    assert file.read_text() == before
    again = {p: p.stat().st_mtime_ns for p in work.rglob("*") if p.suffix in (".pt", ".png")}
    assert again == files

    run_bench(plan(sets=(sets.further,)), work, results, device="cpu")
    assert set(read_result(file).sets) == {"other", "three"}  # of the same run
    assert len(log()) == 12

    changed = plan(method_overrides=("stripes:masks.share=0.6",))
    [other] = run_bench(changed, work, results, device="cpu")
    assert [line.split()[0] for line in log()[12:]] == ["masks"] * 6  # not its first stage
    assert set(read_result(other).sets) == {"three"}  # of another run
    assert set(read_result(file).sets) == {"other", "three"}  # which lies beside it


def exists_in(root: Path, start: str) -> bool:
    """Return True if a name below a folder begins so; folders may vanish meanwhile."""
    return any(n.startswith(start) for _, *lists in os.walk(root) for n in chain(*lists))


@pytest.mark.slow
def test_killed_bench_ends_with_the_same_result(plan, sets, preset_file, tmp_path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    asked = plan(strategies=("ce", "sb-ewc"))
    rng, kills = random.Random(3), 0
    environment = {**os.environ, "STRIPES_PAUSE": "0.05"}
    for stop in ("masks", "run.json", "predict"):
        with subprocess.Popen(
            command(sets, preset_file, broken),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while process.poll() is None and not exists_in(broken / "work", stop):
                time.sleep(0.02)
            time.sleep(rng.random() * 0.2)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.wait()
    assert kills  # the stages pause, so that it runs when their first files are there
    for root in (whole, broken):
        run_bench(asked, root / "work", root / "results", device="cpu", threads=1)
    names = sorted(p.name for p in (whole / "results").iterdir())
    assert names == sorted(p.name for p in (broken / "results").iterdir())
    assert len(names) == 3
    for name in names:
        assert without_times(broken / "results" / name) == without_times(whole / "results" / name)


@pytest.mark.slow
def test_two_benches_at_once_do_a_stage_once(
    sets, preset_file, third_party, log, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("STRIPES_PAUSE", "0.1")
    asked = [command(sets, preset_file, tmp_path, "--strategy", s) for s in ("sb-ft", "sb")]
    running = [subprocess.Popen(c, stdout=subprocess.DEVNULL) for c in asked]
    assert [process.wait() for process in running] == [0, 0]
    lines = log()
    assert sorted(lines) == sorted(set(lines))
    assert {line.split()[0] for line in lines} == set(BOTH)
    assert len(lines) == 12


@pytest.mark.slow
def test_processes_of_torchrun_share_the_training(
    sets, preset_file, third_party, log, tmp_path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(command(sets, preset_file, tmp_path)[-1])
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    subprocess.run([sys.executable, *start], check=True, capture_output=True)
    assert len(log()) == 12  # only the first process runs stages
    result = read_result(of_strategy(tmp_path / "results", "sb-ewc"))
    assert result.environment["processes"] == 2


def test_masks_are_made_without_the_truth(plan, sets, tmp_path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(sets.training, copy)
    tasks = [t for t in planned(plan(training=copy), tmp_path).values() if t.kind == "stage"]
    cache = Cache(tmp_path / "work")
    cache.weak_set(tasks[0])
    for folder in ("SegmentationClass", "SegmentationObject"):
        (copy / folder).rename(tmp_path / folder)
    (copy / "instances.parquet").rename(tmp_path / "instances.parquet")
    for task in tasks:
        run_task(task, cache, "cpu")
    assert len(list(cache.folder(tasks[-1]).glob("*.png"))) == 6


def test_own_labels_are_learned_from(plan, sets, log, tmp_path) -> None:
    names = [p.stem for p in sorted((sets.training / "JPEGImages").iterdir())]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["image_id,classes", *(f"{n},star 1" for n in names)]) + "\n")
    task, *_ = planned(plan(labels=labels), tmp_path).values()
    assert {row.classes for row in Cache(tmp_path / "work").weak_set(task).rows} == {(1, 4)}
    labels.write_text("\n".join(["image_id,classes", *(f"{n},1" for n in names[1:])]) + "\n")
    with pytest.raises(InputError, match=f"labels.csv: has no labels of image {names[0]}"):
        planned(plan(labels=labels), tmp_path)
    with pytest.raises(InputError, match=f"labels.csv: has no labels of image {names[0]}"):
        Cache(tmp_path / "work").weak_set(task)
    labels.write_text("\n".join(["image_id,classes", *(f"{n},2" for n in names)]) + "\n")
    with pytest.raises(InputError, match="weak labels were changed while the bench ran"):
        run_task(task, Cache(tmp_path / "work"), "cpu")


def test_own_boxes_are_seen_by_methods_that_take_them(plan, sets, tmp_path) -> None:
    names = [p.stem for p in sorted((sets.training / "JPEGImages").iterdir())]
    object_ = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    for name in names:
        text = f"<annotation><object><name>star</name>{object_}</object></annotation>"
        (tmp_path / f"{name}.xml").write_text(text)
    asked = planner(plan(boxes=tmp_path), tmp_path)
    blind = Method("stripes", "", ("image_labels",), False)
    seeing = replace(blind, supervision=("image_labels", "boxes"))
    assert {row.boxes for row in asked.weak(seeing)[0].rows} == {(Box(4, 1, 2, 8, 6),)}
    assert {row.classes for row in asked.weak(seeing)[0].rows} == {(4,)}
    assert {row.boxes for row in asked.weak(blind)[0].rows} == {None}
    assert {row.classes for row in asked.weak(blind)[0].rows} != {(4,)}
    (tmp_path / f"{names[0]}.xml").unlink()
    asked = planner(plan(boxes=tmp_path), tmp_path)
    with pytest.raises(InputError, match=f"has no boxes of image {names[0]} .1 of 6 images"):
        asked.weak(seeing)


def test_given_saliency_maps_are_named_in_the_result(plan, sets, tmp_path) -> None:
    maps = tmp_path / "pfan"
    maps.mkdir()
    for photo in (sets.training / "JPEGImages").iterdir():
        (maps / f"{photo.stem}.png").write_bytes(b"a map")

    def said(*supervision: str) -> str | None:
        method = find_methods(plan(), tmp_path)["stripes"]
        asked = planner(plan(saliency=maps), tmp_path, replace(method, supervision=supervision))
        (result,) = (task for task in asked.tasks() if task.kind == "result")
        return result.params["record"]["training"]["saliency"]

    assert said("image_labels") is None
    first = said("image_labels", "saliency")
    assert first is not None
    assert re.fullmatch(r"pfan, SHA-256 [0-9a-f]{64}", first)
    (maps / f"{photo.stem}.png").write_bytes(b"another map")
    assert said("image_labels", "saliency") not in (first, None)


def test_missing_sets_and_foreign_classes_are_told(plan, sets, tmp_path) -> None:
    with pytest.raises(InputError, match="sbdata dataset build shapes-b"):
        plan_tasks(plan(sets=(tmp_path / "shapes-b",)), Cache(tmp_path), tmp_path)
    with pytest.raises(InputError, match="is the training set"):
        plan_tasks(plan(sets=(sets.training,)), Cache(tmp_path), tmp_path)
    seeing = Method("stripes", "", ("saliency",), False)
    with pytest.raises(InputError, match=r"no .*\.png; --saliency needs a map of every image"):
        planner(plan(saliency=tmp_path), tmp_path).weak(seeing)


def test_command_line(sets, preset_file, third_party, tmp_path) -> None:
    arguments = [
        "--method", "full", "--strategy", "ce", "--train-set", str(sets.training),
        "--set", str(sets.scored), "--train-preset", str(preset_file), "--device", "cpu",
        "--work", str(tmp_path / "work"), "--results", str(tmp_path / "results"),
    ]  # fmt: skip
    runner = CliRunner()
    dry = runner.invoke(bench, [*arguments, "--dry-run"], catch_exceptions=False)
    assert "5 of 5 tasks to do" in dry.output
    assert not list(tmp_path.iterdir())
    done = runner.invoke(bench, arguments, catch_exceptions=False)
    assert "full, ce" in done.output
    assert "bench, almost done: 5 of 5" in done.stderr
    later = [*arguments, "--seeds", "2", "--first-seed", "1", "--dry-run", "--json"]
    tasks = json.loads(runner.invoke(bench, later, catch_exceptions=False).output)["tasks"]
    assert {row["seed"] for row in tasks} == {1, 2}
    dry = runner.invoke(bench, [*arguments, "--dry-run", "--json"], catch_exceptions=False)
    done = {row["kind"]: row["done"] for row in json.loads(dry.output)["tasks"]}
    assert done == {"train": True, "predict": True, "score": True, "result": False,
                    "compare": False}  # fmt: skip
    assert {row["estimate"] for row in tasks} >= {"1 earlier run"}
    only = runner.invoke(bench, [*arguments, "--only", tasks[1]["id"]])
    assert "no task's id begins" in str(only.exception)  # it is of another seed
    said = runner.invoke(bench, ["--list", "--json"], catch_exceptions=False)
    methods = {m["name"]: m for m in json.loads(said.output)["methods"]}
    assert methods["full"]["supervision"] == ["pixel_masks"]
    assert methods["stripes"]["presets"] == ["smoke", "wide"]
    assert methods["irn"]["differences"]
    assert "is not a Baseline" in methods["broken"]["paper"]
