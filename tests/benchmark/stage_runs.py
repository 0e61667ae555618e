"""Stages without a plan: their ids, and how to run one by itself."""

from __future__ import annotations

from pathlib import Path

from sbdata.benchmark.stage import STAGES, Progress, Stage, StageContext, code_of, stage_params
from sbdata.benchmark.stage import run_stage as run_in_context
from sbdata.benchmark.tasks import Input, task_id
from sbdata.train.devices import DistributedContext
from sbdata.weak_labels.weak_set import WeakSet


def key_of(stage: Stage, weak: WeakSet, seed: int) -> str:
    """Return the id of the task of a stage."""
    inputs = {}
    for place, earlier in enumerate(stage.after):
        key = key_of(earlier, weak, seed)
        inputs[str(place)] = Input(key, f"{STAGES}/{earlier.name}-{key}")
    return task_id("stage", stage_params(stage, weak.digest, seed), inputs, code_of(stage))


def folder_of(stage: Stage, weak: WeakSet, root: Path, seed: int) -> Path:
    """Return where a stage's results lie in the folder of all stages."""
    return root / f"{stage.name}-{key_of(stage, weak, seed)}"


def run_stage(
    stage: Stage,
    weak: WeakSet,
    root: Path,
    seed: int,
    place: DistributedContext,
    progress: Progress,
    *,
    verify: bool = False,
) -> Path:
    """Run one stage, unless it is done; its earlier stages must be. Return its folder."""
    folder = folder_of(stage, weak, root, seed)
    earlier = [folder_of(s, weak, root, seed) for s in stage.after]
    context = StageContext(weak, folder, seed, place, progress, stage.source)
    run_in_context(stage, context, earlier, verify=verify)
    return folder
