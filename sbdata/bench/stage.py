"""Stages: functions from settings and earlier stages' folders to a folder, kept under a hash.

A stage's key covers its function's name and code, its settings, the keys of the stages it builds
on, the weak labels and the seed. So what two methods have in common is computed once, and a changed
constant, or a changed line of code, computes anew just what depends on it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import sbdata
from sbdata.bench.weak import WeakSet
from sbdata.settings import as_plain
from sbdata.storage import write_text
from sbdata.train.devices import Place

DONE = ".stage.json"  # hidden: a folder of masks holds nothing else to score
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Task:
    """What a stage function is given beside settings and inputs.

    Attributes:
        weak: photos and weak labels.
        folder: to write to. It may hold what a killed process left: go on, or begin again.
        seed: of everything random.
        place: device and workers.
        progress: called with (done, in all).
    """

    weak: WeakSet
    folder: Path
    seed: int
    place: Place
    progress: Progress


StageFunction = Callable[..., None]
"""``stage(task, settings, *inputs)``: inputs are the folders of the stages it builds on."""


@dataclass(frozen=True)
class Stage:
    """One step of a method.

    Attributes:
        name: of the step: ``classifier``.
        run: a module's function.
        settings: a frozen dataclass.
        after: stages whose folders it is given, in order.
        gpus: that the step can use, at most.
        seconds_per_image: on one CPU core in the smoke preset, for the plan's estimate.
    """

    name: str
    run: StageFunction
    settings: Any
    after: tuple[Stage, ...] = ()
    gpus: float = 1.0
    seconds_per_image: float = 0.0


def key_of(stage: Stage, weak: WeakSet, seed: int) -> str:
    """Return the hash under which a stage's folder is kept."""
    parts = {
        "function": f"{stage.run.__module__}.{stage.run.__qualname__}",
        "code": code_of(stage.run),
        "settings": as_plain(stage.settings),
        "after": [key_of(earlier, weak, seed) for earlier in stage.after],
        "weak": weak.digest,
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@cache  # a run keeps the keys it began with, whatever is edited meanwhile
def code_of(function: StageFunction) -> str:
    """Return a hash of the source of a function's module and of its package's modules it imports.

    Modules outside the function's own top-level package count by sbdata's version alone.
    """
    package = function.__module__.partition(".")[0]
    seen: dict[str, str] = {}
    waiting = [function.__module__]
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        if name in seen or module is None or not getattr(module, "__file__", None):
            continue
        seen[name] = hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()
        for value in vars(module).values():
            other = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", "")
            if isinstance(other, str) and other.partition(".")[0] == package:
                waiting.append(other)
    text = json.dumps([sbdata.__version__, sorted(seen.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def in_order(last: Stage) -> Iterator[Stage]:
    """Give a stage and all it builds on, each once, earlier ones first."""
    seen: list[Stage] = []

    def visit(stage: Stage) -> Iterator[Stage]:
        for earlier in stage.after:
            yield from visit(earlier)
        if not any(stage is s for s in seen):
            seen.append(stage)
            yield stage

    yield from visit(last)


def run_stage(
    stage: Stage, weak: WeakSet, root: Path, seed: int, place: Place, progress: Progress
) -> tuple[Path, float]:
    """Run one stage, unless it is done; its earlier stages must be.

    Returns:
        Its folder ``root/<name>-<key>``, and the seconds it took when it ran.
    """
    folder = folder_of(stage, weak, root, seed)
    done = folder / DONE
    if done.is_file():
        return folder, float(json.loads(done.read_text(encoding="utf-8"))["seconds"])
    began = time.perf_counter()
    task = Task(weak, folder, seed, place, progress)
    folder.mkdir(parents=True, exist_ok=True)
    stage.run(task, stage.settings, *(folder_of(s, weak, root, seed) for s in stage.after))
    seconds = time.perf_counter() - began
    said = {
        "stage": stage.name,
        "function": f"{stage.run.__module__}.{stage.run.__qualname__}",
        "settings": as_plain(stage.settings),
        "seed": seed,
        "seconds": seconds,
    }
    write_text(done, json.dumps(said, indent=2) + "\n")
    return folder, seconds


def folder_of(stage: Stage, weak: WeakSet, root: Path, seed: int) -> Path:
    """Return where a stage's results lie."""
    return root / f"{stage.name}-{key_of(stage, weak, seed)}"


def forget(folder: Path) -> None:
    """Delete a stage's folder, so that it is computed again."""
    shutil.rmtree(folder, ignore_errors=True)
