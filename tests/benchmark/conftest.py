"""Two tiny sets, somebody else's method, and a bench of it that takes seconds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from sbdata.benchmark.cache import Cache
from sbdata.benchmark.config import BenchmarkConfig
from sbdata.benchmark.graph import plan_tasks
from sbdata.benchmark.run import run_bench
from sbdata.benchmark.tasks import Task
from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.plugins import forget_entries
from sbdata.recipe import load_recipe
from tests.train.training_sets import tiny_preset

THIRD_PARTY = Path(__file__).parent / "third_party"


@dataclass(frozen=True)
class Sets:
    """Folders of a training set of six images, and of two sets of three."""

    training: Path
    scored: Path
    further: Path


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    root = tmp_path_factory.mktemp("bench-sets")

    def built(name: str, seed: int, images: int) -> Path:
        options = f"sources.0.options={{seed: {seed}, pool: 8, train: {images}}}"
        recipe = load_recipe("shapes-train", [options, f"name={name}"])
        build_set(recipe, root / name, Inputs())
        return root / name

    return Sets(built("six", 0, 6), built("three", 1, 3), built("other", 2, 3))


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the package ``stripes``, for this process and those it starts."""
    former = os.environ.get("PYTHONPATH")
    monkeypatch.syspath_prepend(str(THIRD_PARTY))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(THIRD_PARTY), former))))
    forget_entries()
    yield THIRD_PARTY
    forget_entries()


@pytest.fixture(scope="session")
def preset_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter that trains in a second."""
    path = tmp_path_factory.mktemp("presets") / "tiny.yaml"
    preset = tiny_preset(optimisation__steps=3, optimisation__batch_size=2, ewc__images=2)
    path.write_text(yaml.safe_dump(preset.as_dict()))
    return path


@pytest.fixture
def plan(sets: Sets, preset_file: Path, third_party: Path) -> Callable[..., BenchmarkConfig]:
    """Make the plan of a tiny bench, with changes."""

    def make(**changes: Any) -> BenchmarkConfig:
        values = {
            "methods": ("stripes",),
            "strategies": ("ce",),
            "training": sets.training,
            "sets": (sets.scored,),
            "training_preset": str(preset_file),
        }
        return BenchmarkConfig(**{**values, **changes})

    return make


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Read which images each stage of ``stripes`` computed, here or in another process."""
    path = tmp_path / "stripes.log"
    monkeypatch.setenv("STRIPES_LOG", str(path))
    return lambda: path.read_text().splitlines() if path.is_file() else []


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the bench of :func:`benched` is kept between tests; empty at first."""
    return tmp_path_factory.mktemp("finished")


@pytest.fixture
def benched(plan: Callable[..., BenchmarkConfig], _finished: Path, tmp_path: Path) -> Path:
    """Return a folder with ``work`` and ``results`` of a finished bench, to be altered.

    It has the plan's method and the control ``full``, under ``ce`` and ``sb``.
    """
    kept = _finished / "bench"
    if not kept.exists():
        making = _finished / "making"
        run_bench(both(plan), making / "work", making / "results", device="cpu", threads=1)
        making.rename(kept)
    shutil.copytree(kept, tmp_path / "bench")  # files keep their times
    return tmp_path / "bench"


def both(plan: Callable[..., BenchmarkConfig], **changes: Any) -> BenchmarkConfig:
    """Return the plan of :func:`benched`, with changes."""
    return plan(**{"methods": ("stripes", "full"), "strategies": ("ce", "sb"), **changes})


def planned(config: BenchmarkConfig, root: Path) -> dict[str, Task]:
    """Return the tasks of a call by their names, with ``work`` and ``results`` below a folder."""
    tasks = plan_tasks(config, Cache(root / "work"), root / "results")
    return {task.name: task for task in tasks}


def without_times(path: Path) -> dict[str, Any]:
    """Read a result file, its wall times left out."""
    return {k: v for k, v in json.loads(path.read_text()).items() if k != "seconds"}
