"""Running one task, in the same way in a process, a cluster job and a notebook."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sbdata.benchmark.cache import Cache, locked
from sbdata.benchmark.durations import note_duration
from sbdata.benchmark.markers import content_of_marker, keep, usable
from sbdata.benchmark.records import (
    PairedDifferences,
    ResultRecord,
    write_differences,
    write_result,
)
from sbdata.benchmark.stage import (
    StageContext,
    content_of_stage,
    finished_stage,
    run_stage,
    stage_of,
)
from sbdata.benchmark.steps.comparison import compared_pairs
from sbdata.benchmark.steps.prediction import predict_set
from sbdata.benchmark.steps.pseudo_masks import write_pseudo_figures
from sbdata.benchmark.steps.results import record_of, result_of
from sbdata.benchmark.steps.scores import score_set
from sbdata.benchmark.steps.training import train_segmenter
from sbdata.benchmark.tasks import ProgressCallback, Task
from sbdata.completion import HIDDEN_MARKER, MARKER, Marker
from sbdata.errors import InputError
from sbdata.sets import open_set
from sbdata.settings import from_plain
from sbdata.train.devices import DistributedContext, init_distributed
from sbdata.train.preset import Inference, preset_from_dict
from sbdata.train.registry import FIRST_PHASE, MODEL
from sbdata.train.samples import check_images, images_of_set
from sbdata.train.strategies import needs_first_phase

_POLL = 0.5  # seconds between checks of the progress of torchrun's first process


def run_task(
    task: Task, cache: Cache, device: str = "auto", on_progress: ProgressCallback | None = None
) -> Written | None:
    """Run one task, unless it is done; the tasks whose results it reads must be.

    Args:
        task: Task to run.
        cache: Cache of results.
        device: Device name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        on_progress: Callback, called while the task runs.

    Returns:
        The file of a result and its content; None for a task of another kind.

    Raises:
        InputError: if the task refuses its input, such as a file that was altered after its task.
    """
    written = None
    began, new = time.perf_counter(), not (task.folder and cache.folder(task).exists())
    task.check()
    place = init_distributed(device, task.resources.workers)
    shown = on_progress or (lambda what, done, total: None)
    if task.kind == "train":
        _train(task, cache, place, shown)
    elif not place.is_first:
        while task.folder and not cache.is_done(task):
            time.sleep(_POLL)  # a barrier would time out after some minutes
    else:
        alone = DistributedContext(place.device, workers=place.workers)
        written = _STEPS[task.kind](task, cache, alone, shown)
    if new and task.folder and place.is_first:
        note_duration(cache.root, task, time.perf_counter() - began)
    return written


Written = tuple[Path, ResultRecord]
Step = Callable[[Task, Cache, DistributedContext, ProgressCallback], Written | None]


def _stage(task: Task, cache: Cache, place: DistributedContext, shown: ProgressCallback) -> None:
    folder, stage = cache.folder(task), stage_of(task)
    with locked(folder):
        weak, seed, told = cache.weak_set(task), task.params["seed"], _of(task, shown)
        context = StageContext(weak, folder, seed, place, told, stage.source)
        run_stage(stage, context, [*_folders(task, cache).values()], verify=cache.verify)


def _pseudo(task: Task, cache: Cache, place: DistributedContext, shown: ProgressCallback) -> None:
    folder, stages = cache.folder(task), _folders(task, cache)
    with locked(folder):
        inputs = {name: content_of_stage(path) for name, path in stages.items()}
        if usable(folder, inputs, whole=True, verify=cache.verify) is None:
            opened = cache.open_set(task.context["training"], task.params["truth"])
            write_pseudo_figures(stages, opened, folder, cache.hashes, _of(task, shown))
            keep(folder, inputs, {})


def _train(task: Task, cache: Cache, place: DistributedContext, shown: ProgressCallback) -> None:
    folder, about, strategy = cache.folder(task), task.context, task.params["strategy"]
    out, masks = folder.parent, _folders(task, cache).get("masks")
    if masks is not None:
        cache.hashes.learn(masks, finished_stage(masks).files)
    cache.open_set(about["training"], about["training_hash"])  # checks the set
    images = images_of_set(Path(about["training"]), masks, cache.hashes)
    with locked(folder, when=place.is_first):
        if not (folder / MARKER).is_file():
            check_images(images)
        shared = needs_first_phase(strategy, out)
        with locked(out / FIRST_PHASE, when=shared and place.is_first):
            train_segmenter(
                strategy,
                images,
                preset_from_dict(about["preset"], "task"),
                out,
                place,
                seed=task.params["seed"],
                progress=lambda phase, *of: shown(f"{task.name} ({phase})", *of),
            )


def _predict(task: Task, cache: Cache, place: DistributedContext, shown: ProgressCallback) -> None:
    folder, model = cache.folder(task), cache.folder(task.inputs["model"])
    with locked(folder):
        trained = usable(model, verify=cache.verify)
        if trained is None:
            msg = f"{model}: the training is not finished; run the bench again"
            raise InputError(msg)
        inputs = {"model": trained.files[MODEL].sha256}
        if usable(folder, inputs, name=HIDDEN_MARKER, verify=cache.verify) is not None:
            return
        began = time.perf_counter()
        opened = cache.open_set(task.context["set"], task.params["set"])
        inference = from_plain(Inference, task.params["inference"], "task")
        predict_set(model, opened, folder, inference, place, cache.hashes, _of(task, shown))
        seconds = time.perf_counter() - began
        files = [f"{image_id}.png" for image_id in opened]
        keep(folder, inputs, {"seconds": seconds}, name=HIDDEN_MARKER, files=files)


def _score(task: Task, cache: Cache, place: DistributedContext, shown: ProgressCallback) -> None:
    folder, predictions = cache.folder(task), cache.folder(task.inputs["predictions"])
    with locked(folder):
        inputs = {"predictions": content_of_marker(_predicted(predictions))}
        if usable(folder, inputs, whole=True, verify=cache.verify) is None:
            opened = cache.open_set(task.context["set"], task.params["truth"])
            score_set(predictions, opened, folder, _of(task, shown))
            keep(folder, inputs, {})


def _predicted(folder: Path) -> Marker:
    marker = usable(folder, name=HIDDEN_MARKER)
    if marker is None:
        msg = f"{folder}: the predictions are not finished; run the bench again"
        raise InputError(msg)
    return marker


def _result(
    task: Task, cache: Cache, place: DistributedContext, shown: ProgressCallback
) -> Written:
    found = result_of(task.params["record"], task.params["sets"], _folders(task, cache))
    return write_result(Path(task.context["results"]), found)


def _compare(task: Task, cache: Cache, place: DistributedContext, shown: ProgressCallback) -> None:
    """Compare all strategies of this method and seed, including those of earlier calls."""
    pairs, about, train = [], task.context, cache.folder(task.inputs["train"])
    for name, folders in about["scores"].items():
        scores = {strategy: cache.root / folder for strategy, folder in folders.items()}
        there = {s: f for s, f in scores.items() if usable(f, verify=cache.verify) is not None}
        opened = open_set(Path(about["sets"][name]))
        pairs += list(compared_pairs(there, opened, name, _of(task, shown)))
    if pairs:
        result = record_of(task.params["record"], train)
        found = PairedDifferences(
            result.method,
            result.seed,
            task.params["training"],
            tuple(pairs),
            result.shared_identity,
        )
        write_differences(Path(about["results"]), found)


def _of(task: Task, shown: ProgressCallback) -> Callable[[int, int], None]:
    return lambda done, total: shown(task.name, done, total)


def _folders(task: Task, cache: Cache) -> dict[str, Path]:
    """Return the folders of a task's inputs, by their roles."""
    return {role: cache.folder(given) for role, given in task.inputs.items()}


_STEPS: Mapping[str, Step] = {
    "stage": _stage,
    "pseudo": _pseudo,
    "predict": _predict,
    "score": _score,
    "result": _result,
    "compare": _compare,
}
