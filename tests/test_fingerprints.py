"""Fingerprints change with every module that a task can reach, and with no other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sbdata.fingerprints import (
    SourceTree,
    code_fingerprint,
    content_of,
    files_named_in,
    fingerprint,
    installed_sources,
)

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = (
    "sbdata.cli", "sbdata.app", "sbdata.report", "sbdata.benchmark.leaderboard",
    "sbdata.fetch.download",
)  # fmt: skip
STAGE = ("sbdata.benchmark.stage", "sbdata.train.devices")

TASKS = {
    # task: where its code begins, modules that it can reach, packages that it cannot
    "train": (
        ("sbdata.benchmark.steps.training",),
        ("train.fit", "train.phase", "train.views", "train.strategies", "train.samples",
         "losses.pixel", "losses.weights",
         "masks", "manifest", "sets", "storage", "train.record"),
        ("sbdata.score", "sbdata.metrics", "sbdata.curate", "sbdata.train.predict"),
    ),
    "predict": (
        ("sbdata.benchmark.steps.prediction",),
        ("train.predict", "train.refine", "train.checkpoint", "train.segmenter", "train.photos",
         "masks", "sets"),
        ("sbdata.score", "sbdata.metrics", "sbdata.losses.weights", "sbdata.train.fit"),
    ),
    "score": (
        ("sbdata.benchmark.steps.scores",),
        ("score.run", "score.truth", "score.inputs", "metrics.kernel", "metrics.image",
         "metrics.bootstrap", "metrics.summary", "drawn_rows", "masks", "sizes",
         "score.tables_file"),
        ("sbdata.train", "sbdata.losses"),
    ),
    "pseudo": (
        ("sbdata.benchmark.steps.pseudo_masks",),
        ("score.pseudo_masks", "benchmark.values", "metrics.kernel", "metrics.image",
         "metrics.sums",
         "score.run", "masks", "sizes"),
        ("sbdata.train", "sbdata.losses"),
    ),
    "result": (
        ("sbdata.benchmark.steps.results",),
        ("benchmark.records", "benchmark.steps.scores", "train.record"),
        ("sbdata.train.loop", "sbdata.losses"),
    ),
    "compare": (
        ("sbdata.benchmark.steps.comparison",),
        ("benchmark.steps.scores", "metrics.bootstrap"),
        ("sbdata.train", "sbdata.losses"),
    ),
    "stage": (
        ("sbdata_baselines.stages.classifier", *STAGE),
        ("weak_labels.weak_set", "train.devices", "train.augment", "masks", "sets"),
        ("sbdata.score", "sbdata.metrics", "sbdata.losses", "sbdata_baselines.methods"),
    ),
    "import": (
        ("sbdata.benchmark.linking", *STAGE),
        ("importers.digests", "masks"),
        ("sbdata.score", "sbdata.metrics", "sbdata.importers.record"),
    ),
    "sbdata train": (
        ("sbdata.train.strategies",),
        ("train.fit", "losses.ewc", "masks", "fingerprints", "completion"),
        ("sbdata.score", "sbdata.metrics", "sbdata.benchmark", "sbdata.train.predict"),
    ),
    "sbdata predict": (
        ("sbdata.train.predict", "sbdata.train.checkpoint", "sbdata.train.refine"),
        ("train.segmenter", "train.pretrained", "masks"),
        ("sbdata.score", "sbdata.metrics", "sbdata.benchmark", "sbdata.train.fit"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of both packages, to be edited."""
    root = tmp_path_factory.mktemp("source")
    for package in ("sbdata", "baselines/sbdata_baselines"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / package, root / Path(package).name, ignore=ignored)
    return root


def tree(root: Path) -> SourceTree:
    baselines = (root / "sbdata_baselines", root / "baselines" / "sbdata_baselines")
    return SourceTree({"sbdata": (root / "sbdata",), "sbdata_baselines": baselines})


def module_of(root: Path, file: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("task", TASKS)
def test_an_edit_of_a_module_that_a_task_reaches_changes_its_key(copy: Path, task: str) -> None:
    """Every module of both packages is edited in turn."""
    begins, reached, apart = TASKS[task]
    before = tree(copy).fingerprint(*begins)
    changing = set()
    files = sorted(copy.rglob("*.py"))
    for file in files:
        source = file.read_bytes()
        file.write_bytes(source + b"# edited\n")
        if tree(copy).fingerprint(*begins) != before:
            changing.add(module_of(copy, file))
        file.write_bytes(source)
    assert tree(copy).fingerprint(*begins) == before
    assert changing == set(tree(copy).reached(*begins))
    assert changing >= {"sbdata", *begins, *(f"sbdata.{name}" for name in reached)}
    for module in changing:
        assert not module.startswith((*PAGES, *apart)), module
    assert len(files) > 200


IMPORTED = """
import sys
for name in sys.argv[1:]:
    __import__(name)
print(*(m for m in sys.modules if m.partition(".")[0] in ("sbdata", "sbdata_baselines")))
"""


@pytest.mark.parametrize("task", ["score", "train", "stage"])
def test_what_python_imports_is_reached(task: str) -> None:
    begins = TASKS[task][0]
    if task != "score":
        pytest.importorskip("timm")
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *begins],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert len(loaded) > 20
    assert loaded <= set(tree(REPOSITORY).reached(*begins))


SOURCES = {
    "made/__init__.py": "",
    "made/start.py": """
from typing import TYPE_CHECKING
import typing
import made.plain
from made import as_name
from made.inner import deep
from . import beside
from .inner import below
import numpy, other.thing
def late():
    from made.inside import value
    from importlib import import_module
    import_module("made.by_text")
    import_module(".relative", "made")
    if value:
        import made.branch as b
if TYPE_CHECKING:
    from made import for_types
if typing.TYPE_CHECKING:
    from made import for_types_too
else:
    from made import otherwise
""",
    "made/inner/__init__.py": "from made import from_package",
    **{
        f"made/{name}.py": ""
        for name in (
            "plain", "as_name", "beside", "inside", "by_text", "relative", "branch", "for_types",
            "for_types_too", "otherwise", "inner/deep", "inner/below", "from_package", "unused",
            "inner/unused",
        )
    },
    "other/__init__.py": "",
    "other/thing.py": "",
}  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> SourceTree:
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return SourceTree({"made": (tmp_path / "made",)})


def test_every_way_to_import_is_followed(made: SourceTree) -> None:
    names = (
        "plain", "as_name", "beside", "inside", "by_text", "relative", "branch", "otherwise",
        "inner", "inner.deep", "inner.below", "from_package", "start",
    )  # fmt: skip
    assert set(made.reached("made.start")) == {"made", *(f"made.{name}" for name in names)}


def test_a_module_that_does_not_parse_counts_by_its_bytes(made: SourceTree, tmp_path: Path) -> None:
    before = made.fingerprint("made.plain")
    (tmp_path / "made" / "plain.py").write_text("def (")
    assert made.fingerprint("made.plain") != before
    assert set(made.reached("made.plain")) == {"made", "made.plain"}


def test_a_method_of_one_file_and_one_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lonely_method.py").write_text("from sbdata import masks\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = installed_sources(["lonely_method"]).reached("lonely_method")
    assert {"lonely_method", "sbdata.masks", "sbdata.errors"} <= set(found)
    assert installed_sources(["builtins"]).reached("builtins") == {"builtins": b""}
    assert code_fingerprint("builtins") != code_fingerprint("nowhere.to.be.found")


def test_settings_inputs_and_code_all_count() -> None:
    same = {
        fingerprint({"a": 1, "b": 2}, inputs={"x": "1"}, code=["sbdata.errors"]),
        fingerprint({"b": 2, "a": 1}, inputs={"x": "1"}, code=("sbdata.errors",)),
    }
    assert len(same) == 1
    others = {
        fingerprint({"a": 1, "b": 3}, inputs={"x": "1"}, code=["sbdata.errors"]),
        fingerprint({"a": 1, "b": 2}, inputs={"x": "2"}, code=["sbdata.errors"]),
        fingerprint({"a": 1, "b": 2}, inputs={"x": "1"}, code=["sbdata.sizes"]),
        fingerprint({"a": 1, "b": 2, "x": "1"}, code=["sbdata.errors"]),
    }
    assert len(same | others) == 5


def test_contents_count_with_their_names() -> None:
    assert content_of({"a": "1", "b": "2"}) == content_of({"b": "2", "a": "1"})
    assert len({content_of(c) for c in ({"a": "1"}, {"b": "1"}, {"a": "2"}, {})}) == 4


def test_files_that_settings_name(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"w")
    settings = {
        "network": {"weights": str(tmp_path / "w.pth"), "name": "resnet50"},
        "more": ["none", str(tmp_path / "w.pth"), 3, None, "x" * 9999, "a\0b"],
        "folder": str(tmp_path),
    }
    found = dict(files_named_in(settings))
    assert found == dict.fromkeys(["network.weights", "more.1"], tmp_path / "w.pth")
