"""What the documentation shows works as shown."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sbdata import sources
from sbdata.cli import cli
from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.plugins import forget_entries
from sbdata.recipe import Recipe, SourceSpec, bundled_recipes, recipe_from_dict

DOCS = Path(__file__).resolve().parent.parent / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_every_recipe_shown_is_one() -> None:
    shown = [yaml.safe_load(text) for text in blocks("recipes.md", "yaml")]
    assert len(shown) == 3
    recipes = [recipe_from_dict(raw, "docs") for raw in shown]
    assert [r.name for r in recipes] == ["mine", "yard", "yard-train"]
    every_key = {field.name for field in fields(Recipe)}
    assert every_key == set(shown[0]), "the page shows every key"


def test_every_bundled_recipe_is_listed() -> None:
    text = (DOCS / "recipes.md").read_text()
    assert all(f"| `{name}` |" in text for name in bundled_recipes())


def test_the_source_of_ones_own_builds_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = blocks("recipes.md", "python")
    assert len([line for line in code.splitlines() if line.strip()]) < 40
    (tmp_path / "table_source.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("table_source")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        grey = np.full((60, 80), 255, np.uint8)
        grey[10:40, 10 + number : 60] = 0
        Image.fromarray(grey).convert("RGB").save(photos / f"{number}.jpg", quality=100)
    recipe = Recipe(
        name="things",
        version="things.v1",
        taxonomy=("thing",),
        sources=(SourceSpec("table", ("all",), format="thresholded"),),
    )
    try:
        built = build_set(recipe, tmp_path / "set", Inputs(roots={"table": photos}))
    finally:
        sources.FORMATS.unregister("thresholded")
    assert built.after.counts == {"thing": {"small": 0, "medium": 3, "large": 0}}
    assert built.after.area_quantiles[-1] == 30 * 50


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS.parent / "README.md").read_text()
    metric, loss = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(metric, "README.md", "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out == "1.0 1.0\n"
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    assert len([line for line in loss.splitlines() if line.strip()]) <= 20
    exec(compile(loss, "README.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == "[1.0, 1.0099999904632568, 5.0]\n"


def keys_of(values: object) -> object:
    return {k: keys_of(v) for k, v in values.items()} if isinstance(values, dict) else None


def test_the_training_page_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shapes_set: Path
) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from sbdata.losses import registry
    from sbdata.train.preset import bundled_presets, load_preset, preset_from_dict
    from sbdata.train.registry import STRATEGIES

    text = (DOCS / "training.md").read_text()
    (shown,) = (yaml.safe_load(block) for block in blocks("training.md", "yaml"))
    assert preset_from_dict(shown, "docs") == load_preset("smoke")
    assert keys_of(shown) == keys_of(load_preset("smoke").as_dict()), "every key is shown"
    assert all(f"| `{name}` |" in text for name in bundled_presets())
    assert all(f"`{name}`" in text for name in STRATEGIES)
    assert all(f"| `{name}` |" in text for name in registry.LOSSES)

    (code,) = blocks("training.md", "python")
    assert len([line for line in code.splitlines() if line.strip()]) < 40
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shapes-train").symlink_to(shapes_set)
    monkeypatch.chdir(tmp_path)
    try:
        exec(compile(code, "training.md", "exec"), {})  # noqa: S102
    finally:
        registry.LOSSES.unregister("squared")
        STRATEGIES.unregister("squared")
    assert (tmp_path / "runs/own/squared/model.pt").is_file()


def test_the_entry_points_of_the_extending_page_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from sbdata.losses.registry import LOSSES, make_loss
    from sbdata.train.registry import STRATEGIES, find_strategy

    package, about = tmp_path / "mypackage", tmp_path / "mypackage-1.0.dist-info"
    package.mkdir()
    about.mkdir()
    (package / "__init__.py").touch()
    (package / "losses.py").write_text("from torch import nn\nclass SquaredError(nn.Module): ...\n")
    (package / "strategies.py").write_text(
        "from sbdata.train.registry import Strategy\n"
        "SQUARED = Strategy('squared', ('squared',), 'squared error')\n"
    )
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mypackage\nVersion: 1.0\n")
    (shown,) = blocks("extending.md", "toml")
    entries = re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", shown).replace('"', "")
    (about / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(tmp_path)
    forget_entries()
    try:
        assert "squared" in LOSSES
        assert list(STRATEGIES)[-1] == "squared"
        assert type(make_loss("squared")).__name__ == "SquaredError"
        assert find_strategy("squared").summary == "squared error"
        assert find_strategy("squared").modules_of_others == ("mypackage.losses",)
        assert find_strategy("sb-ewc").modules_of_others == ()
    finally:
        forget_entries()


def test_the_baseline_of_ones_own_is_found_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shapes_set: Path
) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from sbdata.benchmark.cache import Cache
    from sbdata.benchmark.config import BenchmarkConfig
    from sbdata.benchmark.graph import Planner
    from sbdata.benchmark.methods import find_methods
    from sbdata.benchmark.run_task import run_task
    from sbdata.sets import open_set

    (code,) = blocks("baselines.md", "python")
    (entry,) = blocks("baselines.md", "toml")
    assert len([line for line in code.splitlines() if line.strip()]) < 40
    package = tmp_path / "package"
    (package / "border-1.0.dist-info").mkdir(parents=True)
    (package / "border.py").write_text(code)
    (package / "border-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: border\nVersion: 1.0\n"
    )
    group, line = entry.strip().splitlines()
    assert group == '[project.entry-points."sbdata.baselines"]'
    (package / "border-1.0.dist-info" / "entry_points.txt").write_text(
        f"[sbdata.baselines]\n{line.replace(chr(34), '')}\n"
    )
    monkeypatch.syspath_prepend(package)
    forget_entries()
    try:
        plan = BenchmarkConfig(("border",), ("ce",), shapes_set, (tmp_path / "none",))
        opened, cache = open_set(shapes_set), Cache(tmp_path / "work")
        methods = find_methods(plan, cache.root)
        tasks = Planner(plan, methods, opened, {}, tmp_path / "results").tasks()
        (task,) = (task for task in tasks if task.kind == "stage")
        run_task(task, cache, "cpu")
        masks = cache.folder(task)
    finally:
        forget_entries()
    written = [np.asarray(Image.open(path)) for path in sorted(masks.glob("*.png"))]
    assert len(written) == len(opened)
    assert any(0 < (mask > 0).mean() < 1 for mask in written)


def test_the_baselines_are_all_told_of() -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from sbdata.benchmark.baseline import describe_baselines

    text = (DOCS / "baselines.md").read_text()
    ours = [m["name"] for m in describe_baselines() if m.get("backbone") or m.get("control")]
    assert len(ours) >= 6
    assert all(f"| `{name}` |" in text for name in [*ours, "full"])


def test_every_command_shown_is_one() -> None:
    text = (DOCS.parent / "README.md").read_text()
    shown = re.findall(r"(?:^|/)sbdata ((?:dataset )?[a-z]+)", text, re.MULTILINE)
    assert {"dataset build", "dataset stats", "dataset verify", "score"} <= set(shown)
    for words in shown:
        command: object = cli
        for word in words.split():
            command = command.get_command(None, word)  # type: ignore[attr-defined]
            assert command is not None, words


def test_the_python_of_the_api_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shapes_set: Path
) -> None:
    (code,) = blocks("api.md", "python")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/shapes-b").symlink_to(shapes_set)
    for folder in ("predictions/perfect", "OTHER"):
        (tmp_path / folder).mkdir(parents=True)
        for path in (shapes_set / "SegmentationClass").iterdir():
            mask = np.asarray(Image.open(path))
            Image.fromarray(np.where(mask == 255, 0, mask)).save(tmp_path / folder / path.name)
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(compile(code, "api.md", "exec"), found)  # noqa: S102 - our own page
    assert found["difference"].value == 0  # type: ignore[attr-defined]
