"""Stages: functions from settings and earlier stages' folders to a folder, kept under a hash.

A stage's key is the fingerprint of its function, its settings with the files that they name, the
keys of the stages it builds on, the content of photos and weak labels, the seed, and all code that
it can reach. So what two methods have in common is computed once, and a changed constant, or a
changed line of code, computes anew just what depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sbdata.benchmark.cache import content_of_marker, keep, usable
from sbdata.completion import Marker
from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.fingerprints import files_named_in, fingerprint
from sbdata.settings import as_plain
from sbdata.train.devices import DistributedContext
from sbdata.weak_labels.weak_set import WeakSet

_HASHES = FileHashes()  # of files that settings name, for the keys of this process

DONE = ".stage.json"  # hidden: a folder of masks holds nothing else to score
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class StageContext:
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
    place: DistributedContext
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
    """Return the fingerprint under which a stage's folder is kept."""
    settings = as_plain(stage.settings)
    files = {name: _HASHES.sha256(path) for name, path in files_named_in(settings)}
    parts = {
        "function": f"{stage.run.__module__}.{stage.run.__qualname__}",
        "settings": settings,
        "seed": seed,
    }
    inputs = {
        "stages": [key_of(earlier, weak, seed) for earlier in stage.after],
        "weak": weak.digest,
        "files": files,
    }
    return fingerprint(parts, inputs=inputs, code=code_of(stage))


def code_of(stage: Stage) -> tuple[str, ...]:
    """Return the modules in which a stage's code begins: its own, and that of its task."""
    return (stage.run.__module__, __name__)


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
    stage: Stage,
    weak: WeakSet,
    root: Path,
    seed: int,
    place: DistributedContext,
    progress: Progress,
    *,
    verify: bool = False,
) -> tuple[Path, float]:
    """Run one stage, unless it is done; its earlier stages must be.

    A stage that lost a file, or whose earlier stages were made anew with other results, is run
    again from the start.

    Args:
        stage: to run.
        weak: photos and weak labels.
        root: of the folders of all stages.
        seed: of everything random.
        place: device and workers.
        progress: called with (done, in all).
        verify: hash all files of what is done.

    Returns:
        Its folder ``root/<name>-<key>``, and the seconds it took when it ran.

    Raises:
        InputError: naming a file of it, or of an earlier stage, that was altered; or an earlier
            stage that is not done.
    """
    folder = folder_of(stage, weak, root, seed)
    earlier = [folder_of(s, weak, root, seed) for s in stage.after]
    inputs = {path.name: content_of_stage(path, verify=verify) for path in earlier}
    marker = usable(folder, inputs, name=DONE, whole=True, verify=verify)
    if marker is not None:
        return folder, float(marker.extra["seconds"])
    began = time.perf_counter()
    task = StageContext(weak, folder, seed, place, progress)
    folder.mkdir(parents=True, exist_ok=True)
    stage.run(task, stage.settings, *earlier)
    seconds = time.perf_counter() - began
    said = {
        "stage": stage.name,
        "function": f"{stage.run.__module__}.{stage.run.__qualname__}",
        "settings": as_plain(stage.settings),
        "seed": seed,
        "seconds": seconds,
    }
    keep(folder, inputs, said, name=DONE)
    return folder, seconds


def folder_of(stage: Stage, weak: WeakSet, root: Path, seed: int) -> Path:
    """Return where a stage's results lie."""
    return root / f"{stage.name}-{key_of(stage, weak, seed)}"


def finished_stage(folder: Path, *, verify: bool = False) -> Marker:
    """Return the marker of a stage's folder.

    Raises:
        InputError: if the stage is not done, or a file of it was altered.
    """
    marker = usable(folder, name=DONE, verify=verify)
    if marker is None:
        msg = f"{folder}: a stage that is not finished; run the bench again"
        raise InputError(msg)
    return marker


def content_of_stage(folder: Path, *, verify: bool = False) -> str:
    """Return a hash of all that a stage wrote.

    Raises:
        InputError: if the stage is not done, or a file of it was altered.
    """
    return content_of_marker(finished_stage(folder, verify=verify))
