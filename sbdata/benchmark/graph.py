"""Plans: what a call of the bench asks, and the jobs that it comes to.

A :class:`~sbdata.benchmark.tasks.Task` is one step that can run by itself. What methods have in
common is one job. Strategies that begin with the same steps of cross-entropy share these: the first
of them takes them, and the others come after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sbdata.benchmark.baseline import (
    CEILING,
    FULL,
    PIXEL_MASKS,
    Baseline,
    find_baseline,
)
from sbdata.benchmark.imported import (
    PREFIX,
    absolute_import,
    find_import,
    method_name,
    paper_of,
)
from sbdata.benchmark.stage import Stage, in_order, key_of
from sbdata.benchmark.tasks import Task
from sbdata.errors import InputError
from sbdata.sets import EvaluationSet
from sbdata.supervision import BOXES, SALIENCY
from sbdata.train.preset import Preset
from sbdata.train.strategies import find_strategy
from sbdata.weak_labels.weak_set import WeakSet

# Measured on one CPU core with EfficientNet-Lite0 at stride 16, to tell minutes from hours; other
# networks and devices differ by what they are faster or slower.
_TRAIN_SECONDS = 3.6  # per million pixels of a training view
_PREDICT_SECONDS = 1.5  # per million pixels of a view
_SCORE_SECONDS = 0.02  # per image
_COMPARE_SECONDS = 1.0  # per set and strategy: draws of the bootstrap
_FISHER = 1.5  # an image of EWC's sampled Fisher information costs about as much as so many views


@dataclass(frozen=True)
class BenchmarkConfig:
    """What a call of the bench asks.

    Attributes:
        methods: names of baselines, ``full``, or ``import:NAME`` for imported masks.
        strategies: by which segmenters are trained.
        training: folder of the set whose weak labels are learned from.
        sets: folders of the sets that are scored.
        seeds: each makes everything anew.
        preset: of the methods, and of the segmenter if it has no other; the methods' ``paper`` goes
            with the segmenter's ``wacv24``.
        training_preset: of the segmenter: a name or a YAML file.
        training_overrides: ``key=value``, of the segmenter's preset.
        method_overrides: ``method:key=value``, of a method's preset.
        labels: a file of image-level labels, instead of the set's own.
        saliency: a folder of saliency maps, for the methods that take them.
        boxes: a file or folder of boxes, for the methods that take them, instead of the set's own.
    """

    methods: tuple[str, ...]
    strategies: tuple[str, ...]
    training: Path
    sets: tuple[Path, ...]
    seeds: tuple[int, ...] = (0,)
    preset: str = "smoke"
    training_preset: str | None = None
    training_overrides: tuple[str, ...] = ()
    method_overrides: tuple[str, ...] = ()
    labels: Path | None = None
    saliency: Path | None = None
    boxes: Path | None = None

    def __post_init__(self) -> None:
        for what in ("methods", "strategies", "sets", "seeds"):
            values = getattr(self, what)
            if not values or len(set(values)) < len(values):
                msg = f"a bench needs {what}, each named once, not {', '.join(map(str, values))!r}"
                raise InputError(msg)
        for name in self.strategies:
            find_strategy(name)

    def absolute(self) -> BenchmarkConfig:
        """Return the plan with absolute paths, which mean the same in any process."""
        return replace(
            self,
            methods=tuple(absolute_import(name) for name in self.methods),
            training=self.training.absolute(),
            sets=tuple(root.absolute() for root in self.sets),
            labels=self.labels and self.labels.absolute(),
            saliency=self.saliency and self.saliency.absolute(),
            boxes=self.boxes and self.boxes.absolute(),
        )


@dataclass(frozen=True)
class Method:
    """A method with its settings resolved.

    Attributes:
        name: of it.
        paper: what it is.
        supervision: what it sees.
        control: whether it is a ceiling or a floor.
        stages: by names that are distinct within the method, in the order they run; the last one
            writes the pseudo-masks. None for ``full``.
        variant: Suffix of the name for what stands in its place, such as ``hybrid``.
    """

    name: str
    paper: str
    supervision: tuple[str, ...]
    control: bool
    stages: Mapping[str, Stage] = field(default_factory=dict)
    variant: str = ""

    @property
    def last(self) -> Stage | None:
        """Return the stage that writes the pseudo-masks."""
        return list(self.stages.values())[-1] if self.stages else None


_CEILING = Method(FULL, CEILING, (PIXEL_MASKS,), True)


def find_methods(plan: BenchmarkConfig, work: Path) -> dict[str, Method]:
    """Import the methods of a plan and resolve their settings.

    Args:
        plan: whose methods are meant.
        work: folder of the bench, whose imports they may be.

    Returns:
        The methods by their own names, in the plan's order; ``import:NAME`` is ``import-NAME``.

    Raises:
        InputError: for an unknown method, preset or setting.
    """
    overrides: dict[str, list[str]] = {name: [] for name in plan.methods}
    for override in plan.method_overrides:
        name, colon, rest = override.partition(":")
        if not colon or name not in overrides:
            msg = (
                f"--method-option takes METHOD:KEY=VALUE with a method of this call "
                f"({', '.join(plan.methods)}), not {override!r}"
            )
            raise InputError(msg)
        overrides[name].append(rest)
    found: dict[str, Method] = {}
    for name in plan.methods:
        if name.startswith(PREFIX):
            imported = _imported(name, work)
            if imported.name in found:
                msg = f"--method {name}: an import of this name is there already; name each once"
                raise InputError(msg)
            found[imported.name] = imported
        elif name == FULL:
            if overrides[name]:
                msg = f"method {FULL} has no settings; leave out --method-option {FULL}:..."
                raise InputError(msg)
            found[name] = _CEILING
        else:
            baseline = find_baseline(name)
            found[name] = _resolved(name, baseline, plan.preset, tuple(overrides[name]))
    for path, option, seen, what in (
        (plan.saliency, "--saliency", SALIENCY, "saliency maps"),
        (plan.boxes, "--boxes", BOXES, "boxes"),
    ):
        if path is not None and not any(seen in method.supervision for method in found.values()):
            msg = (
                f"{option} {path}: none of {', '.join(found)} takes {what}; leave it out, or name "
                "a method that does"
            )
            raise InputError(msg)
    return found


def _imported(called: str, work: Path) -> Method:
    record, stage = find_import(called, work)
    stages = {stage.name: stage}
    return Method(method_name(record), paper_of(record), record.supervision, False, stages)


def _resolved(called: str, baseline: Baseline, preset: str, overrides: tuple[str, ...]) -> Method:
    settings = baseline.resolved(preset, overrides)
    stages: dict[str, Stage] = {}
    for stage in in_order(baseline.build(settings)):
        name, number = stage.name, 1
        while name in stages:
            number += 1
            name = f"{stage.name}-{number}"
        stages[name] = stage
    return Method(
        called,
        baseline.paper,
        baseline.supervision,
        baseline.control,
        stages,
        baseline.variant(settings),
    )


# --- jobs -----------------------------------------------------------------------------------------


def tasks_of(
    plan: BenchmarkConfig,
    methods: Mapping[str, Method],
    preset: Preset,
    training: EvaluationSet,
    sets: Mapping[str, EvaluationSet],
    weak: Callable[[Method], WeakSet],
    workers: int = 0,
) -> tuple[Task, ...]:
    """Return the jobs of a plan, each after those that it builds on.

    Args:
        plan: what is asked.
        methods: of the plan, resolved.
        preset: of the segmenter.
        training: the training set.
        sets: that are scored, by name.
        weak: gives the weak labels that a method sees; stages with one key are one job.
        workers: that cut training views for a training.
    """
    jobs: dict[str, Task] = {}
    made: dict[str, str] = {}  # the job of each stage's key
    for seed in plan.seeds:
        for method in methods.values():
            pseudo: tuple[str, ...] = ()
            if method.last is not None:
                masks = _stage_jobs(method, seed, len(training), weak(method), jobs, made)
                pseudo = (_add(jobs, _pseudo_job(method, seed, masks, len(training))),)
            _strategy_jobs(plan, method, seed, preset, len(training), sets, pseudo, jobs, workers)
    return tuple(jobs.values())


def _add(jobs: dict[str, Task], job: Task) -> str:
    jobs[job.name] = job
    return job.name


def _stage_jobs(
    method: Method,
    seed: int,
    images: int,
    weak: WeakSet,
    jobs: dict[str, Task],
    made: dict[str, str],
) -> str:
    """Add the jobs of a method's stages; return the name of the last one's."""
    for part, stage in method.stages.items():
        key = f"{stage.name}-{key_of(stage, weak, seed)}"
        if key in made:
            continue
        made[key] = _add(
            jobs,
            Task(
                name=f"{method.name}, seed {seed}: {part}",
                kind="stage",
                method=method.name,
                seed=seed,
                part=part,
                after=tuple(made[f"{s.name}-{key_of(s, weak, seed)}"] for s in stage.after),
                images=images,
                seconds=stage.seconds_per_image * images,
                gpus=min(stage.gpus, 1.0),
            ),
        )
    return made[key]


def _pseudo_job(method: Method, seed: int, masks: str, images: int) -> Task:
    return Task(
        name=f"{method.name}, seed {seed}: score of the pseudo-masks",
        kind="pseudo",
        method=method.name,
        seed=seed,
        after=(masks,),
        images=images,
        seconds=2 * _SCORE_SECONDS * images,
    )


def _strategy_jobs(
    plan: BenchmarkConfig,
    method: Method,
    seed: int,
    preset: Preset,
    images: int,
    sets: Mapping[str, EvaluationSet],
    pseudo: tuple[str, ...],
    jobs: dict[str, Task],
    workers: int,
) -> None:
    """Add the jobs of a method's strategies: train, predict, score, and compare at the end."""
    first_phase: tuple[str, ...] = ()
    scores: list[str] = []
    for strategy in plan.strategies:
        start = f"{method.name}, seed {seed}, {strategy}: "
        shares = find_strategy(strategy).shares_first_phase
        trained = _add(
            jobs,
            Task(
                name=f"{start}train",
                kind="train",
                method=method.name,
                seed=seed,
                part=strategy,
                strategy=strategy,
                after=(*pseudo, *(first_phase if shares else ())),
                images=images,
                seconds=_seconds_to_train(preset, strategy, shared=bool(shares and first_phase)),
                cpus=1.0 + workers,
                gpus=1.0,
            ),
        )
        if shares and not first_phase:
            first_phase = (trained,)
        predicted = tuple(
            _add(
                jobs,
                Task(
                    name=f"{start}predict {name}",
                    kind="predict",
                    method=method.name,
                    seed=seed,
                    part=name,
                    strategy=strategy,
                    after=(trained,),
                    images=len(opened),
                    seconds=_seconds_to_predict(preset, opened),
                    gpus=1.0,
                ),
            )
            for name, opened in sets.items()
        )
        scored = sum(map(len, sets.values()))
        scores.append(
            _add(
                jobs,
                Task(
                    name=f"{start}score",
                    kind="score",
                    method=method.name,
                    seed=seed,
                    strategy=strategy,
                    after=(*pseudo, *predicted),
                    images=scored,
                    seconds=_SCORE_SECONDS * scored,
                ),
            )
        )
    _add(
        jobs,
        Task(
            name=f"{method.name}, seed {seed}: compare the strategies",
            kind="compare",
            method=method.name,
            seed=seed,
            after=tuple(scores),
            images=scored,
            seconds=_COMPARE_SECONDS * len(sets) * len(plan.strategies),
        ),
    )


def _seconds_to_train(preset: Preset, strategy: str, *, shared: bool) -> float:
    chosen, steps = find_strategy(strategy), preset.optimisation.steps
    share = 1.0 - preset.switch if shared else 1.0
    views = share * steps * preset.optimisation.batch_size
    if chosen.consolidated and preset.ewc.fisher == "sampled":
        views += preset.ewc.images * _FISHER
    scales = 1.0 + sum(s * s for s in preset.model.scales)
    return _TRAIN_SECONDS * views * scales * preset.augmentation.crop**2 / 1e6


def _seconds_to_predict(preset: Preset, opened: EvaluationSet) -> float:
    height, width = opened.size_of(opened.image_ids[0]) if len(opened) else (0, 0)
    views = sum(s * s for s in preset.inference.scales) * (2 if preset.inference.flip else 1)
    views *= 1.0 + sum(s * s for s in preset.model.scales)
    return _PREDICT_SECONDS * views * len(opened) * height * width / 1e6


# --- a dry run ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlanRow:
    """One job in a dry run's table.

    Attributes:
        job: its name.
        cached: whether its result is there already.
        images: that it goes through.
        seconds: that it is estimated to take on one CPU core; 0 where it is cached.
    """

    job: str
    cached: bool
    images: int
    seconds: float


def describe_plan(jobs: Sequence[Task], is_done: Callable[[Task], bool]) -> tuple[PlanRow, ...]:
    """Say of each job whether it is done already, and about how long it takes if not."""
    done = {job.name: is_done(job) for job in jobs}
    return tuple(
        PlanRow(job.name, done[job.name], job.images, 0.0 if done[job.name] else job.seconds)
        for job in jobs
    )
