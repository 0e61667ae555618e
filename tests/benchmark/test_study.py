"""Studies: what a file may say, how one is narrowed, and one that is run from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from sbdata.benchmark.baseline import describe_baselines
from sbdata.benchmark.study import FOLDER, load_study
from sbdata.cli.bench import bench
from sbdata.cli.leaderboard import leaderboard
from sbdata.errors import InputError
from sbdata.masks import read_index_png, write_index_png
from sbdata.recipe import load_recipe
from sbdata.settings import bundled


def content(**changes: Any) -> dict[str, Any]:
    """Return a study of two generated training sets that takes seconds a method."""
    generated = {
        name: {
            "recipe": "shapes-train",
            "options": [f"sources.0.options={{seed: {seed}, pool: 2, train: {images}, size: 64}}"],
        }
        for name, seed, images in (("one", 3, 4), ("two", 4, 3), ("scored", 5, 3))
    }
    return {
        "name": "tiny", "methods": ["labels-only"], "strategies": ["ce", "sb-ft"], "seeds": [0],
        "generated": generated,
        "parts": {name: {"training": name, "sets": ["scored"]} for name in ("one", "two")},
        **changes,
    }  # fmt: skip


def written(folder: Path, **changes: Any) -> str:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content(**changes)))
    return str(path)


def test_the_bundled_studies_have_the_ten_methods_of_the_paper() -> None:
    ten = {m["name"] for m in describe_baselines() if m.get("of_paper")}
    assert len(ten) == 10
    assert bundled(FOLDER) == ["smoke", "wacv24"]
    for name in bundled(FOLDER):
        study = load_study(name)
        assert set(study.methods) == ten
        assert study.strategies == ("ce", "sb-ft", "sb-ewc")
        for called in study.generated:
            assert load_recipe(study.generated[called].recipe).synthetic
    assert [(p.training, p.sets) for p in load_study("wacv24").parts.values()] == [
        ("voc-trainaug", ("voc-val", "pascal-b")),
        ("coco14-train", ("coco14-val",)),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": ["cam"]}, "unknown key 'method'; valid keys: name, methods"),
        ({"seeds": 3}, "seeds must be a list"),
        ({"seeds": [0, 0]}, "seeds: must list one or more values, each once"),
        ({"seeds": [-1]}, "seeds: must not be below 0"),
        ({"methods": ["irm"]}, "irm"),
        ({"methods": ["irn", "irn"]}, "methods: must list one or more values, each once"),
        ({"strategies": ["ewc"]}, "ewc"),
        ({"presets": ["huge"]}, "has no preset 'huge'"),
        ({"name": "a/b"}, "must be a plain name"),
        ({"parts": {"one": {"training": "one", "sets": ["there"]}}}, "no set 'there'; give"),
        (
            {"parts": {"one": {"training": "one", "sets": ["one"]}}},
            "other sets than the training set",
        ),
        ({"generated": {"one": {"recipe": "voc-val"}}}, "reads published data"),
        ({"generated": {"voc-val": {"recipe": "shapes-b"}}}, "not that of a recipe"),
    ],
)
def test_a_wrong_study_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tiny\.yaml") as error:
        load_study(written(tmp_path, **changes))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--study", "wacv25"], "no study called 'wacv25'; bundled: smoke, wacv24"),
        (["--study", "smoke", "--set", "data/shapes-b"], "--set does not go with --study"),
        (["--study", "smoke", "--seeds", "2"], "--seeds does not go with --study"),
        (["--study", "smoke", "--method", "cam"], "study smoke: no method 'cam'; it has irn, cda"),
        (["--study", "smoke", "--part", "c"], "no part 'c'; it has a, b"),
        (["--study", "smoke", "--pseudo", "c/irn=masks"], "--pseudo takes METHOD=DIR"),
        (["--study", "smoke", "--pseudo", "cam=masks"], "--pseudo takes METHOD=DIR"),
        (["--part", "a"], "--part selects a part of a study"),
    ],
)
def test_options_that_do_not_go_with_a_study(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(bench, [*arguments, "--dry-run"])
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)


def test_a_study_is_narrowed_in_its_own_order() -> None:
    study = load_study("wacv24").narrowed(["bbam", "irn"], ["sb-ewc", "ce"], ["coco"])
    assert (study.methods, study.strategies) == (("irn", "bbam"), ("ce", "sb-ewc"))
    assert list(study.parts) == ["coco"]
    assert len(study.configs(Path("work"))) == 1


def test_sets_of_other_classes_are_refused(tmp_path: Path) -> None:
    parts = {"one": {"training": "one", "sets": ["voc-val"]}}
    arguments = ["--study", written(tmp_path, parts=parts), "--dry-run"]
    done = CliRunner().invoke(bench, [*arguments, "--work", str(tmp_path / "work")])
    assert isinstance(done.exception, InputError)
    assert "has the classes of voc20, but the training set" in str(done.exception)


def invoke(command: Any, *arguments: str) -> str:
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
def test_a_study_runs_from_its_file_to_its_table(tmp_path: Path, preset_file: Path) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    study = written(tmp_path, train_preset=str(preset_file))
    folders = ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")]
    call = ["--study", study, *folders, "--device", "cpu", "--threads", "1"]
    plan = json.loads(invoke(bench, *call, "--dry-run", "--json"))
    assert plan["unbuilt"] == ["one", "scored", "two"]
    assert {task["id"] for task in plan["tasks"]} == {None}
    output = invoke(bench, *call)
    assert "one: trained on one (synthetic), preset smoke" in output
    assert "two: trained on two (synthetic), preset smoke" in output
    assert "not run" not in output
    assert output.count("Δ") >= 2 * 2
    again = json.loads(invoke(bench, *call, "--dry-run", "--json"))
    assert len(again["tasks"]) == len(plan["tasks"])
    assert all(t["done"] for t in again["tasks"] if t["kind"] not in ("result", "compare"))

    # masks from elsewhere replace the method's own in the first part
    (made,) = _masks(tmp_path, 4)
    for path in made.glob("*.png"):
        write_index_png(tmp_path / "given" / path.name, read_index_png(path))
    narrowed = ["--part", "one", "--pseudo", f"labels-only={tmp_path / 'given'}"]
    imported = [*call, *narrowed, "--results", str(tmp_path / "imported")]
    assert "labels-only (imported masks)" in invoke(bench, *imported)

    out = tmp_path / "page"
    invoke(leaderboard, str(tmp_path / "results"), "--study", study, "--out", str(out))
    assert sorted(p.name for p in out.iterdir()) == ["study.html", "study.json", "study.md"]
    assert "| labels-only (floor) | sb-ft | 1 |" in (out / "study.md").read_text()
    whole = json.loads((out / "study.json").read_text())
    assert [table["part"] for table in whole["tables"]] == ["one", "two"]


def _masks(root: Path, images: int) -> list[Path]:
    """Return the folders of stages with as many masks."""
    folders = [p for p in (root / "work" / "stages").iterdir() if p.is_dir()]
    return [p for p in folders if len(list(p.glob("*.png"))) == images]
