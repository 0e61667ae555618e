"""Stages: functions from settings and earlier stages' folders to a folder, stored under a hash.

The id of a stage's task is the fingerprint of its function, its settings with the files that they
name and the pretrained weights that ``auto`` stands for, the ids of the stages it builds on, the
content of photos and weak labels, the seed, and all code that it can reach. So work that two
methods share is computed once, and a changed constant or line of code recomputes only what depends
on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sbdata.benchmark.markers import STAGE_MARKER, begin, content_of_marker, keep, usable
from sbdata.benchmark.tasks import Task
from sbdata.completion import Marker
from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.fingerprints import files_named_in
from sbdata.settings import as_plain, from_plain
from sbdata.train.weights import weights_content
from sbdata.weak_labels.weak_set import WeakSet

if TYPE_CHECKING:
    from sbdata.train.devices import DistributedContext

STAGES = "stages"
"""Name of the cache folder of all stages."""

_HASHES = FileHashes()  # hashes of files that settings name, for the ids of this process

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class StageContext:
    """Context that a stage function receives besides settings and inputs.

    Attributes:
        weak: Photos and weak labels.
        folder: Output folder. It may hold files that a killed process made from the same inputs:
            continue, or start again.
        seed: Seed of everything random.
        place: Device and workers.
        progress: Callback, called with (done, total).
        source: Folder of the stage's own inputs; None if it has none.
    """

    weak: WeakSet
    folder: Path
    seed: int
    place: DistributedContext
    progress: Progress
    source: Path | None = None


StageFunction = Callable[..., None]
"""Function ``stage(task, settings, *inputs)``; inputs are the folders of earlier stages."""


@dataclass(frozen=True)
class Stage:
    """One step of a method.

    Attributes:
        name: Name of the step: ``classifier``.
        run: Function of a module, or its name ``package.module:function``; a named module is
            imported when the stage runs, so that a method can be planned without PyTorch.
        settings: Frozen dataclass of settings.
        after: Stages whose folders are passed to the function, in order.
        gpus: Largest number of GPUs that the step can use.
        seconds_per_image: Duration per image on one CPU core with the smoke preset, in seconds, for
            the plan's estimate.
        source: Folder that the stage reads besides photos and earlier stages; a setting must
            identify its content, since the path is not part of the id.
    """

    name: str
    run: StageFunction | str
    settings: Any
    after: tuple[Stage, ...] = ()
    gpus: float = 1.0
    seconds_per_image: float = 0.0
    source: Path | None = None

    @property
    def function(self) -> str:
        """Return the function's module and name, separated by a colon."""
        return self.run if isinstance(self.run, str) else _name_of(self.run)

    @property
    def module(self) -> str:
        """Return the name of the function's module."""
        return self.function.partition(":")[0]

    def loaded(self) -> StageFunction:
        """Return the function; imports its module if necessary.

        Raises:
            InputError: if there is no function of this name.
        """
        return self.run if callable(self.run) else _loaded(self.run, f"stage {self.name}")


def _name_of(thing: Any) -> str:
    """Return the module and the name of a function or class; see :func:`_loaded`."""
    return f"{thing.__module__}:{thing.__qualname__}"


def _loaded(named: str, where: str) -> Any:
    module, _, name = named.partition(":")
    try:
        return attrgetter(name)(import_module(module))
    except (ImportError, AttributeError) as error:
        msg = f"{where}: {named} does not exist ({error}); correct its name"
        raise InputError(msg) from error


def stage_params(stage: Stage, weak_digest: str, seed: int) -> dict[str, Any]:
    """Return the plain values that a stage's result depends on besides earlier stages and code."""
    settings = as_plain(stage.settings)
    return {
        "function": stage.function,
        "settings": settings,
        "files": _content_of_files(settings),
        "seed": seed,
        "weak": weak_digest,
    }


def stage_context(stage: Stage) -> dict[str, Any]:
    """Return further plain values that are needed to run a stage; see :func:`stage_of`."""
    return {
        "stage": stage.name,
        "settings": _name_of(type(stage.settings)),
        "source": None if stage.source is None else str(stage.source),
    }


def stage_of(task: Task) -> Stage:
    """Return the stage that a task runs, without the earlier ones.

    Raises:
        InputError: if a file that its settings name was changed.
    """
    params, about = task.params, task.context
    if _content_of_files(params["settings"]) != params["files"]:
        msg = (
            f"{task.name}: a file that its settings name was changed while the bench ran; run the "
            "same command again"
        )
        raise InputError(msg)
    return Stage(
        about["stage"],
        params["function"],
        from_plain(_loaded(about["settings"], task.name), params["settings"], task.name),
        source=None if about["source"] is None else Path(about["source"]),
    )


def _content_of_files(settings: Any) -> dict[str, str]:
    """Return the content of the files that settings name, and of weights that they leave to us."""
    named = {name: _HASHES.sha256(path) for name, path in files_named_in(settings)}
    return named | {name: _content_of_auto(network) for name, network in _auto_weights(settings)}


def _auto_weights(settings: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted key of each ``weights: auto`` in settings, and its network of timm."""
    if isinstance(settings, list):
        settings = dict(enumerate(settings))
    if not isinstance(settings, Mapping):
        return
    network = settings.get("backbone", settings.get("model"))
    if settings.get("weights") == "auto" and isinstance(network, str):
        yield f"{above}weights", network
    for name, value in settings.items():
        yield from _auto_weights(value, f"{above}{name}.")


@cache
def _content_of_auto(network: str) -> str:
    return weights_content(network, "auto")


def code_of(stage: Stage) -> tuple[str, ...]:
    """Return the entry modules of a stage's code: its own, and those of its context."""
    return (stage.module, __name__, "sbdata.train.devices")


def in_order(last: Stage) -> Iterator[Stage]:
    """Yield a stage and all stages it builds on, each once, earlier ones first."""
    seen: list[Stage] = []

    def visit(stage: Stage) -> Iterator[Stage]:
        for earlier in stage.after:
            yield from visit(earlier)
        if not any(stage is s for s in seen):
            seen.append(stage)
            yield stage

    yield from visit(last)


def run_stage(
    stage: Stage, context: StageContext, earlier: Sequence[Path], *, verify: bool = False
) -> None:
    """Run one stage, unless it is done; its earlier stages must be.

    A stage with a missing file, or whose earlier stages were made again with other results, is run
    again from the start; so is one that was killed before they were.

    Args:
        stage: Stage to run.
        context: Photos, weak labels, folder, seed and device of the stage.
        earlier: Folders of the stages that it builds on, in their order.
        verify: True to hash all files of finished stages.

    Raises:
        InputError: if a file of the stage or of an earlier one was altered (the message names it),
            or an earlier stage is not done.
    """
    folder = context.folder
    inputs = {path.name: content_of_stage(path, verify=verify) for path in earlier}
    if usable(folder, inputs, name=STAGE_MARKER, whole=True, verify=verify) is not None:
        return
    began = time.perf_counter()
    begin(folder, inputs)
    stage.loaded()(context, stage.settings, *earlier)
    said = {
        "stage": stage.name,
        "function": stage.function,
        "settings": as_plain(stage.settings),
        "seed": context.seed,
        "seconds": time.perf_counter() - began,
    }
    keep(folder, inputs, said, name=STAGE_MARKER)


def finished_stage(folder: Path, *, verify: bool = False) -> Marker:
    """Return the marker of a stage's folder.

    Raises:
        InputError: if the stage is not done, or one of its files was altered.
    """
    marker = usable(folder, name=STAGE_MARKER, verify=verify)
    if marker is None:
        msg = f"{folder}: the stage is not finished; run the bench again"
        raise InputError(msg)
    return marker


def content_of_stage(folder: Path, *, verify: bool = False) -> str:
    """Return a hash of all that a stage wrote.

    Raises:
        InputError: if the stage is not done, or one of its files was altered.
    """
    return content_of_marker(finished_stage(folder, verify=verify))
