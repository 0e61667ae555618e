"""Performing: each kind of job of the bench, given what it needs; all pass over what is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sbdata.benchmark.assemble import result_of
from sbdata.benchmark.cache import content_of_marker, keep, usable
from sbdata.benchmark.executors import ProgressCallback
from sbdata.benchmark.graph import Method
from sbdata.benchmark.records import PairedDifferences, write_differences, write_result
from sbdata.benchmark.stage import content_of_stage, finished_stage, folder_of, run_stage
from sbdata.benchmark.steps.comparison import compared_pairs
from sbdata.benchmark.steps.prediction import predict_set
from sbdata.benchmark.steps.pseudo_masks import write_pseudo_figures
from sbdata.benchmark.steps.scores import SetScore, read_score, score_set
from sbdata.benchmark.steps.training import train_segmenter
from sbdata.benchmark.tasks import Task
from sbdata.benchmark.workspace import Workspace, locked
from sbdata.completion import MARKER, Marker
from sbdata.errors import InputError
from sbdata.train.devices import DistributedContext, init_distributed
from sbdata.train.predict import PREDICTED
from sbdata.train.samples import TrainingImages, check_images, images_of_set
from sbdata.train.strategies import FIRST_PHASE, MODEL, STRATEGIES, needs_first_phase

_POLL = 0.5  # seconds between looks at what torchrun's first process does


def run_task(
    bench: Workspace, job: Task, device: str, told: ProgressCallback | None = None
) -> float:
    """Run one job, unless it is done; return the seconds it took.

    Raises:
        InputError: for whatever the job refuses, such as a file that was altered after its step.
    """
    began = time.perf_counter()
    bench.check_code()
    place = init_distributed(device, bench.workers)
    method = bench.methods[job.method]
    shown = told or (lambda what, done, total: None)
    if job.kind == "train":
        _train(bench, job, method, place, shown)
    elif not place.is_first:
        while job.kind not in ("score", "compare") and not bench.is_done(job):
            time.sleep(_POLL)  # a barrier would give up after some minutes
    else:
        alone = DistributedContext(place.device, workers=place.workers)
        _STEPS[job.kind](bench, job, method, alone, shown)
    return time.perf_counter() - began


def _stage(
    bench: Workspace, job: Task, method: Method, place: DistributedContext, told: ProgressCallback
) -> None:
    stage, weak = method.stages[job.part], bench.weak(method)
    with locked(folder_of(stage, weak, bench.stages, job.seed)):
        run_stage(
            stage,
            weak,
            bench.stages,
            job.seed,
            place,
            lambda *of: told(job.name, *of),
            verify=bench.verify,
        )


def _pseudo(
    bench: Workspace, job: Task, method: Method, place: DistributedContext, told: ProgressCallback
) -> None:
    folder = bench.pseudo_folder(method, job.seed)
    stages = bench.stage_folders(method, job.seed)
    with locked(folder):
        inputs = {name: content_of_stage(path) for name, path in stages.items()}
        if usable(folder, inputs, whole=True, verify=bench.verify) is None:
            write_pseudo_figures(
                stages, bench.training, folder, bench.hashes, lambda *of: told(job.name, *of)
            )
            keep(folder, inputs, {})


def _train(
    bench: Workspace, job: Task, method: Method, place: DistributedContext, told: ProgressCallback
) -> None:
    out, strategy = bench.training_folder(method, job.seed), job.strategy
    images = _images(bench, method, job.seed)
    with locked(out / strategy, where=place.is_first):
        if not (out / strategy / MARKER).is_file():
            check_images(images)
        shared = needs_first_phase(strategy, out)
        with locked(out / FIRST_PHASE, where=shared and place.is_first):
            train_segmenter(
                strategy,
                images,
                bench.preset,
                out,
                place,
                seed=job.seed,
                progress=lambda stage, *of: told(f"{job.name} ({stage})", *of),
            )


def _images(bench: Workspace, method: Method, seed: int) -> TrainingImages:
    masks = bench.masks(method, seed)
    if masks is not None:
        bench.hashes.learn(masks, finished_stage(masks).files)
    return images_of_set(bench.training.root, masks, bench.hashes)


def _predict(
    bench: Workspace, job: Task, method: Method, place: DistributedContext, told: ProgressCallback
) -> None:
    model = bench.training_folder(method, job.seed) / job.strategy
    folder = bench.prediction_folder(method, job.seed, job.strategy, job.part)
    with locked(folder):
        trained = usable(model, verify=bench.verify)
        if trained is None:
            msg = f"{model}: a training that is not finished; run the bench again"
            raise InputError(msg)
        inputs = {"model": trained.files[MODEL].sha256}
        if usable(folder, inputs, name=PREDICTED, verify=bench.verify) is not None:
            return
        began = time.perf_counter()
        predict_set(
            model,
            bench.sets[job.part],
            folder,
            bench.preset.inference,
            place,
            bench.hashes,
            lambda *of: told(job.name, *of),
        )
        seconds = time.perf_counter() - began
        files = [f"{image_id}.png" for image_id in bench.sets[job.part]]
        keep(folder, inputs, {"seconds": seconds}, name=PREDICTED, files=files)


def _score(
    bench: Workspace, job: Task, method: Method, place: DistributedContext, told: ProgressCallback
) -> None:
    scores = {name: _set_score(bench, job, method, name, told) for name in bench.sets}
    result = result_of(bench, method, job.strategy, job.seed, scores)
    scored = bench.training_folder(method, job.seed) / "scores"
    with locked(scored / job.strategy / "result"):  # a second bench may add another set
        write_result(bench.results, result)


def _set_score(
    bench: Workspace, job: Task, method: Method, name: str, told: ProgressCallback
) -> SetScore:
    """Score the predictions of a set, unless that is done; return the values."""
    predictions = bench.prediction_folder(method, job.seed, job.strategy, name)
    folder = bench.score_folder(method, job.seed, job.strategy, name)
    with locked(folder):
        inputs = {"predictions": content_of_marker(_predicted(predictions))}
        if usable(folder, inputs, whole=True, verify=bench.verify) is None:
            opened = bench.sets[name]
            score_set(predictions, opened, folder, lambda *of: told(job.name, *of))
            keep(folder, inputs, {})
        return read_score(folder)


def _predicted(folder: Path) -> Marker:
    marker = usable(folder, name=PREDICTED)
    if marker is None:
        msg = f"{folder}: predictions that are not finished; run the bench again"
        raise InputError(msg)
    return marker


def _compare(
    bench: Workspace, job: Task, method: Method, place: DistributedContext, told: ProgressCallback
) -> None:
    """Compare all strategies that this method and seed has, of earlier calls too."""
    pairs = []
    for name, opened in bench.sets.items():
        folders = {s: bench.score_folder(method, job.seed, s, name) for s in STRATEGIES}
        scores = {s: f for s, f in folders.items() if usable(f, verify=bench.verify) is not None}
        pairs += list(compared_pairs(scores, opened, name, lambda *of: told(job.name, *of)))
    if pairs:
        result = result_of(bench, method, bench.plan.strategies[0], job.seed, {})
        key = bench.training_key(method, job.seed)
        found = PairedDifferences(method.name, job.seed, key, tuple(pairs), result.shared_identity)
        scored = bench.training_folder(method, job.seed) / "scores"
        with locked(scored / "differences"):
            write_differences(bench.results, found)


_STEPS: Mapping[
    str, Callable[[Workspace, Task, Method, DistributedContext, ProgressCallback], None]
] = {
    "stage": _stage,
    "pseudo": _pseudo,
    "predict": _predict,
    "score": _score,
    "compare": _compare,
}
