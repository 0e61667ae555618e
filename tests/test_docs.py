"""What the documentation shows works as shown."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import yaml
from PIL import Image

from sbdata import sources
from sbdata.curate.build import build_set, measure_sources
from sbdata.curate.inputs import Inputs
from sbdata.plugins import forget_entries
from sbdata.recipe import Recipe, SourceSpec, bundled_recipes, recipe_from_dict
from tests.doc_pages import DOCS, GENERATED, PAGES, ROOT, blocks, generate, page_text

RUN_ELSEWHERE = {
    "docs/definitions/metric.md": "doctests, run by tests/metrics/test_docs.py",
    "docs/extending/baseline.md": "run below as a package",
    "docs/extending/metric.md": "run by tests/report/test_extending_metrics.py",
    "docs/extending/source.md": "run below with photos",
    "docs/guides/export.md": "reads exports, run by tests/export/test_page.py",
    "docs/guides/browse.md": "FiftyOne's functions, which need MongoDB; tests/app does the same",
}
"""Pages whose Python is not run by the test of all pages, with the reason."""

BLOCKS_RUN_ELSEWHERE = {
    "from ultralytics import": "trains; tests/integrations/test_recipes.py has a substitute",
}
"""Text in a block of Python that is not run by the test of all pages, with the reason."""

NEEDED = {
    "torch": ("torch", "the extra `torch` is not installed"),
    "InstanceAwareIoU": ("torch", "the extra `torch` is not installed"),
    "to_pandas": ("pandas", "the extra `pandas` is not installed"),
    "import lightning": ("lightning", "Lightning is not installed; it is in the group `dev`"),
}
"""Text in a block of Python, the module without which it is not run, and the reason."""

PYTHON_PAGES = [page for page in PAGES if blocks(page, "python") and page not in RUN_ELSEWHERE]


def test_every_recipe_shown_is_one() -> None:
    pages = ("docs/guides/build-a-set.md", "docs/guides/own-data.md")
    shown = [yaml.safe_load(text) for page in pages for text in blocks(page, "yaml")]
    assert len(shown) == 4
    recipes = [recipe_from_dict(raw, "docs") for raw in shown]
    assert [r.name for r in recipes] == ["mine", "yard", "streets", "yard-train"]
    every_key = {field.name for field in fields(Recipe)}
    assert every_key == set(shown[0]), "the page shows every key"


def test_every_bundled_recipe_is_listed() -> None:
    text = page_text("docs/guides/build-a-set.md")
    assert all(f"| `{name}` |" in text for name in bundled_recipes())


def test_the_source_of_ones_own_builds_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = blocks("docs/extending/source.md", "python")
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
    inputs = Inputs(roots={"table": photos})
    try:
        built = build_set(recipe, tmp_path / "set", inputs)
        measured = measure_sources(recipe, inputs)
    finally:
        sources.FORMATS.unregister("thresholded")
    assert built.after.counts == {"thing": {"small": 0, "medium": 3, "large": 0}}
    assert measured.statistics.counts == built.after.counts
    assert built.after.area_quantiles[-1] == 30 * 50


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shapes_set: Path) -> Iterator[Path]:
    """A working folder with the sets and predictions that the pages name."""
    from sbdata.metrics.registry import METRICS

    for name in ("shapes-b", "shapes-train"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).symlink_to(shapes_set)
    for name in ("predictions/perfect", "OTHER", "PREDICTIONS"):
        copytree(shapes_set / "SegmentationClass", tmp_path / name)
        for path in (tmp_path / name).iterdir():
            mask = np.asarray(Image.open(path))
            Image.fromarray(np.where(mask == 255, 0, mask)).save(path)
    monkeypatch.chdir(tmp_path)
    metrics = dict(METRICS)
    yield tmp_path
    METRICS.clear()
    METRICS.update(metrics)


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_the_python_of_a_page_runs(
    page: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", page_text(page), re.DOTALL)
    assert len(found) == len(blocks(page, "python"))
    not_run = set()
    for code, output in found:
        if any(text in code for text in BLOCKS_RUN_ELSEWHERE):
            continue
        absent = {
            reason
            for text, (module, reason) in NEEDED.items()
            if text in code and find_spec(module) is None
        }
        not_run |= absent
        if absent:
            continue
        capsys.readouterr()
        exec(compile(code, page, "exec"), {"__name__": "page"})  # noqa: S102 - our own page
        assert not output or capsys.readouterr().out == output
    if not_run:
        pytest.skip("; ".join(sorted(not_run)))


@pytest.fixture(autouse=True)
def forget_what_pages_register() -> Iterator[None]:
    yield
    if "sbdata.losses.registry" in sys.modules:
        from sbdata.losses.registry import LOSSES

        if "squared" in LOSSES:
            LOSSES.unregister("squared")
    from sbdata.train.registry import STRATEGIES

    if "ce-focal" in STRATEGIES:
        STRATEGIES.unregister("ce-focal")


def test_pages_run_elsewhere_still_have_python() -> None:
    assert all(blocks(page, "python") for page in RUN_ELSEWHERE)
    shown = [code for page in PYTHON_PAGES for code in blocks(page, "python")]
    for text in (*BLOCKS_RUN_ELSEWHERE, *NEEDED):
        assert any(text in code for code in shown), text


def keys_of(values: object) -> object:
    return {k: keys_of(v) for k, v in values.items()} if isinstance(values, dict) else None


def test_the_training_page_is_true() -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from sbdata.losses import registry
    from sbdata.train.preset import bundled_presets, load_preset, preset_from_dict
    from sbdata.train.registry import STRATEGIES

    text = page_text("docs/guides/train.md")
    (shown,) = (yaml.safe_load(block) for block in blocks("docs/guides/train.md", "yaml"))
    assert preset_from_dict(shown, "docs") == load_preset("smoke")
    assert keys_of(shown) == keys_of(load_preset("smoke").as_dict()), "every key is shown"
    assert all(f"| `{name}` |" in text for name in bundled_presets())
    assert all(f"`{name}`" in text for name in STRATEGIES)
    losses = page_text("docs/definitions/loss.md")
    assert all(f"| `{name}` |" in losses for name in registry.LOSSES)


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
    (shown,) = blocks("docs/extending/index.md", "toml")
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

    (code,) = blocks("docs/extending/baseline.md", "python")
    (entry,) = blocks("docs/extending/baseline.md", "toml")
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

    text = page_text("docs/guides/benchmark.md")
    ours = [m["name"] for m in describe_baselines() if m.get("backbone") or m.get("control")]
    assert len(ours) >= 6
    assert all(f"| `{name}` |" in text for name in [*ours, "full"])


# --- the site -------------------------------------------------------------------------------------


def test_every_page_is_in_the_navigation_once() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    listed = re.findall(r"'([^']+\.md)'", str(nav))
    assert len(listed) == len(set(listed))
    there = {page.removeprefix("docs/") for page in PAGES if page != "README.md"} | GENERATED
    assert set(listed) == there


def test_the_commands_page_has_every_option_and_the_yaml_pages_every_key() -> None:
    pages = generate.pages()
    assert "`--fp-attribution [overlap\\|area\\|equal\\|all]`" in pages["reference/cli.md"]
    assert pages["reference/cli.md"].count("\n## sbdata ") >= 15
    for name in ("select.quota", "overlay.source.splits", "bins.edges"):
        assert f"| `{name}` |" in pages["reference/recipe.md"]
    assert "| `ewc.strength` | number | `500.0` |" in pages["reference/preset.md"]
    for page in ("recipe", "preset"):
        rows = [row for row in pages[f"reference/{page}.md"].splitlines() if row.startswith("| `")]
        assert [row for row in rows if row.endswith("|  |")] == [], "no docstring"


def without_style(figure: Path) -> str:
    return re.sub(r"(?s)<style>.*</style>", "", figure.read_text())


def test_the_drawn_examples_are_what_the_code_draws(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "examples/draw_ia_iou.py", tmp_path], check=True)
    for drawn in tmp_path.iterdir():
        committed = DOCS / "concepts" / drawn.name
        assert without_style(committed) == without_style(drawn), "run the page's command"
        assert f"({drawn.name})" in page_text("docs/concepts/ia-iou.md")


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = page_text("README.md")
    assert len(text.splitlines()) <= 150
    assert len(text.encode()) <= 12_000
    assert set(re.findall(r"^\| `(\w+)` \|", page_text("docs/install.md"), re.MULTILINE)) == set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    pytest.importorskip("zensical", reason="the group `docs` is not installed")
    pytest.importorskip("mkdocstrings_handlers.python", reason="the group `docs` is not installed")
    copytree(DOCS, tmp_path / "docs")
    (tmp_path / "zensical.toml").write_text((ROOT / "zensical.toml").read_text())
    (tmp_path / "sbdata").symlink_to(ROOT / "sbdata")
    generate.main(tmp_path / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "build/site/reference/python.html").is_file()
