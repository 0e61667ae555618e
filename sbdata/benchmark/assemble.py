"""Assembling: what the steps of a method, strategy and seed left becomes one result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sbdata.benchmark.graph import Method
from sbdata.benchmark.records import Protocol, ResultRecord, ScoredSet, Training, result_file
from sbdata.benchmark.stage import finished_stage
from sbdata.benchmark.steps.pseudo_masks import read_pseudo_figures
from sbdata.benchmark.steps.scores import SetScore
from sbdata.benchmark.workspace import Workspace
from sbdata.completion import read_marker
from sbdata.sets import EvaluationSet
from sbdata.settings import as_plain
from sbdata.storage import sha256_of
from sbdata.supervision import BOXES
from sbdata.train.predict import PREDICTED
from sbdata.train.record import RUN_FILE, read_run


def result_of(
    bench: Workspace, method: Method, strategy: str, seed: int, scores: Mapping[str, SetScore]
) -> ResultRecord:
    """Return the result of a method, strategy and seed.

    Args:
        bench: whose steps are done but for the scores.
        method: its method.
        strategy: of the training.
        seed: of everything random.
        scores: of the scored sets, by name.
    """
    about = read_run(bench.training_folder(method, seed) / strategy / RUN_FILE)
    pseudo = None
    if method.last is not None:
        pseudo = read_pseudo_figures(bench.pseudo_folder(method, seed))
    initialisation = about["initialisation"]
    return ResultRecord(
        method=method.name,
        paper=method.paper,
        supervision=method.supervision,
        control=method.control,
        strategy=strategy,
        seed=seed,
        synthetic=about["synthetic"] or any(_is_synthetic(s) for s in bench.sets.values()),
        preset=bench.plan.preset,
        method_settings={n: as_plain(s.settings) for n, s in method.stages.items()},
        training_preset=bench.preset.as_dict(),
        training=training_of(bench, method),
        initialisation=initialisation,
        pretrained=about["pretrained"],
        code={"sbdata": bench.code["sbdata"], "baseline": bench.code[method.name]},
        environment=about["environment"],
        seconds=_seconds(bench, method, strategy, seed, about),
        pseudo=pseudo,
        sets={
            name: _scored_set(bench, score, bench.sets[name], initialisation)
            for name, score in scores.items()
        },
        variant=method.variant,
    )


def result_files(bench: Workspace) -> list[Path]:
    """Return where the results of a bench lie that is done, in the plan's order."""
    return [
        result_file(bench.results, result_of(bench, method, strategy, seed, {}))
        for method in bench.methods.values()
        for strategy in bench.plan.strategies
        for seed in bench.plan.seeds
    ]


def training_of(bench: Workspace, method: Method) -> Training:
    """Return what a method learns from, for its result."""
    labels = bench.plan.labels
    if method.last is None:
        said = "pixel masks"
    elif labels is None:
        said = "manifest"
    else:
        digest = f", SHA-256 {sha256_of(labels)}" if labels.is_file() else ""
        kind = labels.suffix.lower().lstrip(".") if labels.is_file() else "VOC XML"
        said = f"{kind if kind == 'npy' or not labels.is_file() else 'csv'} {labels.name}{digest}"
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
        photos=bench.photos(bench.training),
    )


def _scored_set(
    bench: Workspace, score: SetScore, opened: EvaluationSet, initialisation: str
) -> ScoredSet:
    inference = bench.preset.inference
    split = ", ".join(sorted(set(opened.manifest.images["split"].to_pylist())))
    return ScoredSet(
        logical_hash=opened.logical_hash,
        split=split,
        metric=score.metric,
        n_images=score.n_images,
        n_instances=score.n_instances,
        n_classes=score.n_classes,
        figures=score.figures,
        protocol=Protocol(
            scales=inference.scales,
            flip=inference.flip,
            refine=inference.refine,
            split=split,
            initialisation=initialisation,
            set_hash=opened.logical_hash,
        ),
        predictions=score.predictions,
    )


def _seconds(
    bench: Workspace, method: Method, strategy: str, seed: int, about: Mapping[str, Any]
) -> dict[str, float]:
    """Return the wall time of each step when it ran, by its name."""
    found = {
        name: float(finished_stage(folder).extra["seconds"])
        for name, folder in bench.stage_folders(method, seed).items()
    }
    markers = [
        read_marker(bench.prediction_folder(method, seed, strategy, name), name=PREDICTED)
        for name in bench.sets
    ]
    predict = sum(float(m.extra.get("seconds", 0.0)) for m in markers if m is not None)
    return {**found, "train": float(about["seconds"]), "predict": predict}


def _is_synthetic(opened: EvaluationSet) -> bool:
    return bool(opened.manifest.meta.get("synthetic", False))
