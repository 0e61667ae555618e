"""Steps: what each kind of job of the bench does; all are passed over where they are done."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sbdata.bench.bench import Bench, done_marker, locked
from sbdata.bench.executor import Told
from sbdata.bench.figures import differences_of, figures_of, pseudo_figures_of
from sbdata.bench.keys import code_of_rooms, hash_of
from sbdata.bench.plan import Job, Method
from sbdata.bench.pseudo import score_pseudo
from sbdata.bench.result import (
    Differences,
    Pair,
    Protocol,
    Result,
    ScoredSet,
    Training,
    write_differences,
    write_result,
)
from sbdata.bench.stage import DONE, code_of, folder_of, run_stage
from sbdata.bench.weak import BOXES
from sbdata.images import open_image
from sbdata.score.result import Scored
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.sets import EvaluationSet
from sbdata.settings import as_plain
from sbdata.storage import sha256_of, write_text
from sbdata.train.checkpoint import load_model
from sbdata.train.devices import Place, take_place
from sbdata.train.predict import predict_folder
from sbdata.train.refine import make_refiner
from sbdata.train.samples import TrainingImages, check_images, images_of_set
from sbdata.train.strategies import (
    FIRST_PHASE,
    STRATEGIES,
    needs_first_phase,
    run_strategy,
)

CONTROLS = ("ce",)
"""Strategies that the others are compared with."""

_POLL = 0.5  # seconds between looks at what torchrun's first process does


def perform(bench: Bench, job: Job, device: str, told: Told | None = None) -> float:
    """Run one job, unless it is done; return the seconds it took."""
    began = time.perf_counter()
    place = take_place(device, bench.workers)
    method = bench.methods[job.method]
    shown = told or (lambda what, done, total: None)
    if job.kind == "train":
        _train(bench, job, method, place, shown)
    elif not place.is_first:
        while job.kind not in ("score", "compare") and not bench.is_done(job):
            time.sleep(_POLL)  # a barrier would give up after some minutes
    else:
        alone = Place(place.device, workers=place.workers)
        _STEPS[job.kind](bench, job, method, alone, shown)
    return time.perf_counter() - began


def _stage(bench: Bench, job: Job, method: Method, place: Place, told: Told) -> None:
    stage, weak = method.stages[job.part], bench.weak(method)
    with locked(folder_of(stage, weak, bench.stages, job.seed)):
        run_stage(stage, weak, bench.stages, job.seed, place, lambda *of: told(job.name, *of))


def _pseudo(bench: Bench, job: Job, method: Method, place: Place, told: Told) -> None:
    file = bench.pseudo_file(method, job.seed)
    with locked(file):
        if file.is_file():
            return
        weak, ids = bench.weak(method), bench.training.image_ids
        folders = {
            name: folder_of(stage, weak, bench.stages, job.seed)
            for name, stage in method.stages.items()
        }
        *earlier, last = folders
        with tempfile.TemporaryDirectory(prefix="sbdata-") as temporary:
            alone = {
                name: _masks_alone(folders[name], ids, Path(temporary) / str(number) / name)
                for number, name in enumerate(folders)
                if name == last or _holds_masks(folders[name], ids)
            }
            stages = [(f"{n} (stage)" if n == "masks" else n, alone[n])
                      for n in earlier if n in alone]  # fmt: skip
            scored = score_pseudo(
                alone[last],
                bench.training,
                stages,
                progress=lambda *of: told(job.name, *of),
            )
        write_text(file, json.dumps(pseudo_figures_of(scored), indent=2) + "\n")


def _train(bench: Bench, job: Job, method: Method, place: Place, told: Told) -> None:
    out, strategy = bench.training_folder(method, job.seed), job.strategy
    images = _images(bench, method, job.seed)
    with locked(out / strategy, where=place.is_first):
        if not (out / strategy / "run.json").is_file():
            check_images(images)
        shared = needs_first_phase(strategy, out)
        with locked(out / FIRST_PHASE, where=shared and place.is_first):
            run_strategy(
                strategy,
                images,
                bench.preset,
                out,
                place,
                seed=job.seed,
                progress=lambda stage, *of: told(f"{job.name} ({stage})", *of),
            )


def _images(bench: Bench, method: Method, seed: int) -> TrainingImages:
    return images_of_set(bench.training.root, bench.masks(method, seed))


def _predict(bench: Bench, job: Job, method: Method, place: Place, told: Told) -> None:
    opened, folder = bench.sets[job.part], bench.predicted(job, job.part)
    marker, inference = done_marker(folder), bench.preset.inference
    with locked(folder):
        if marker.is_file():
            return
        began = time.perf_counter()
        trained = bench.training_folder(method, job.seed) / job.strategy
        model, _ = load_model(trained, opened.taxonomy)
        predict_folder(
            model.to(place.device),
            [(image_id, opened.image_path(image_id)) for image_id in opened],
            folder,
            scales=inference.scales,
            flip=inference.flip,
            refine=make_refiner(inference.refine, place.device, inference.crf),
            device=place.device,
            progress=lambda *of: told(job.name, *of),
        )
        seconds = time.perf_counter() - began
        write_text(marker, json.dumps({"images": len(opened), "seconds": seconds}) + "\n")


def _score(bench: Bench, job: Job, method: Method, place: Place, told: Told) -> None:
    about = _read(bench.training_folder(method, job.seed) / job.strategy / "run.json")
    sets = {}
    for name, opened in bench.sets.items():
        scored = score_folder(
            bench.predicted(job, name),
            truth_from_set(opened.root),
            ScoreOptions(),
            progress=lambda *of: told(job.name, *of),
        )
        sets[name] = _scored_set(bench, scored, opened, about["initialisation"])
    pseudo = None if method.last is None else _read(bench.pseudo_file(method, job.seed))
    result = Result(
        method=method.name,
        paper=method.paper,
        supervision=method.supervision,
        control=method.control,
        strategy=job.strategy,
        seed=job.seed,
        synthetic=about["synthetic"] or any(_is_synthetic(s) for s in bench.sets.values()),
        preset=bench.plan.preset,
        method_settings={n: as_plain(s.settings) for n, s in method.stages.items()},
        training_preset=bench.preset.as_dict(),
        training=training_of(bench, method),
        initialisation=about["initialisation"],
        pretrained=about["pretrained"],
        code={
            "sbdata": code_of_rooms("losses", "metrics", "score", "train"),
            "baseline": _code_of_method(method),
        },
        environment=about["environment"],
        seconds=_seconds(bench, job, method, about),
        pseudo=pseudo,
        sets=sets,
        variant=method.variant,
    )
    write_result(bench.results, result)


def _scored_set(
    bench: Bench, scored: Scored, opened: EvaluationSet, initialisation: str
) -> ScoredSet:
    inference, summary = bench.preset.inference, scored.summary
    split = ", ".join(sorted(set(opened.manifest.images["split"].to_pylist())))
    return ScoredSet(
        logical_hash=opened.logical_hash,
        split=split,
        metric=summary.metric,
        n_images=summary.n_images,
        n_instances={n: f.n_instances for n, f in summary.ia.items()},
        n_classes={n: f.n_classes for n, f in summary.ia.items()},
        figures=figures_of(scored),
        protocol=Protocol(
            scales=inference.scales,
            flip=inference.flip,
            refine=inference.refine,
            split=split,
            initialisation=initialisation,
            set_hash=opened.logical_hash,
        ),
        predictions=scored.provenance["predictions"][0]["sha256"],
    )


def training_of(bench: Bench, method: Method) -> Training:
    """Return what a method learns from, for its result."""
    labels = bench.plan.labels
    if method.last is None:
        said = "pixel masks"
    elif labels is None:
        said = "manifest"
    else:
        digest = f", SHA-256 {sha256_of(labels)}" if labels.is_file() else ""
        said = f"{'csv' if labels.is_file() else 'VOC XML'} {labels.name}{digest}"
    boxes = bench.plan.boxes
    if boxes is not None and BOXES in method.supervision:
        digest = f", SHA-256 {sha256_of(boxes)}" if boxes.is_file() else ""
        own = f"boxes of {'COCO JSON' if boxes.is_file() else 'VOC XML'} {boxes.name}{digest}"
        said = own if labels is None else f"{said}; {own}"
    weak = None if method.last is None else bench.weak(method)
    return Training(
        set=bench.training.name,
        logical_hash=bench.training.logical_hash,
        images=len(bench.training),
        weak_digest=None if weak is None else weak.digest,
        labels=said,
        saliency=None if weak is None else weak.saliency_origin,
    )


def _seconds(bench: Bench, job: Job, method: Method, about: Mapping[str, Any]) -> dict[str, float]:
    """Return the wall time of each step when it ran, by its name."""
    found = {}
    for name, stage in method.stages.items():
        folder = folder_of(stage, bench.weak(method), bench.stages, job.seed)
        found[name] = float(_read(folder / DONE)["seconds"])
    markers = [done_marker(bench.predicted(job, name)) for name in bench.sets]
    predict = sum(float(_read(marker)["seconds"]) for marker in markers)
    return {**found, "train": float(about["seconds"]), "predict": predict}


def _compare(bench: Bench, job: Job, method: Method, place: Place, told: Told) -> None:
    """Compare all strategies that this method and seed has, of earlier calls too."""
    pairs = []
    for name, opened in bench.sets.items():
        folders = {
            strategy: bench.prediction_folder(method, job.seed, strategy, name)
            for strategy in STRATEGIES
        }
        there = {s: f for s, f in folders.items() if done_marker(f).is_file()}
        for first in CONTROLS:
            others = [s for s in there if s != first]
            if first in there and others:
                scored = score_folder(
                    there[first],
                    truth_from_set(opened.root),
                    ScoreOptions(),
                    against=[there[s] for s in others],
                    progress=lambda *of: told(job.name, *of),
                )
                pairs += [
                    Pair(name, strategy, first, differences_of(found.differences))
                    for strategy, found in zip(others, scored.compared, strict=True)
                ]
    if pairs:
        key = bench.training_key(method, job.seed)
        write_differences(bench.results, Differences(method.name, job.seed, key, tuple(pairs)))


_STEPS: Mapping[str, Callable[[Bench, Job, Method, Place, Told], None]] = {
    "stage": _stage,
    "pseudo": _pseudo,
    "predict": _predict,
    "score": _score,
    "compare": _compare,
}


def _is_synthetic(opened: EvaluationSet) -> bool:
    return bool(opened.manifest.meta.get("synthetic", False))


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _holds_masks(folder: Path, image_ids: tuple[str, ...]) -> bool:
    """Tell whether a stage wrote class masks, which have a palette, for all images."""
    files = [folder / f"{image_id}.png" for image_id in image_ids]
    if not all(file.is_file() for file in files):
        return False
    with open_image(files[0], ["PNG"]) as image:
        return bool(image.mode == "P")


def _masks_alone(folder: Path, image_ids: tuple[str, ...], place: Path) -> Path:
    """Link a stage's masks into a folder that holds nothing else, as scoring wants it."""
    place.mkdir(parents=True)
    for image_id in image_ids:
        (place / f"{image_id}.png").symlink_to(folder / f"{image_id}.png")
    return place


def _code_of_method(method: Method) -> str:
    """Return a hash of the source of all stages of a method."""
    return hash_of([code_of(stage.run) for stage in method.stages.values()])
