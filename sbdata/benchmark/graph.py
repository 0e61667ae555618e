"""Task graph: a bench call's configuration as an ordered tuple of tasks.

Planning computes and writes nothing and reads no photo: the set's checksums identify the photos.
Work that methods share is one task. Strategies that begin with the same cross-entropy phase share
it: the first of them runs it, and the others follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sbdata.benchmark.cache import Cache
from sbdata.benchmark.config import BenchmarkConfig
from sbdata.benchmark.costs import (
    COMPARE,
    prediction_seconds,
    scoring_seconds,
    space_of_masks,
    space_of_score,
    space_of_stage,
    space_of_training,
    stage_seconds,
    training_seconds,
)
from sbdata.benchmark.methods import Method, find_methods
from sbdata.benchmark.stage import STAGES, code_of, stage_context, stage_params
from sbdata.benchmark.tasks import Input, Kind, Resources, Task, task_id
from sbdata.benchmark.unbuilt import LATER, UnbuiltSet, WeakLabelsOfUnbuilt
from sbdata.checksums import read_checksums
from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.fingerprints import code_fingerprint, content_of
from sbdata.layout import image_path
from sbdata.machine import process_count
from sbdata.manifest import check_has_masks
from sbdata.recipe import bundled_recipes
from sbdata.score.run import ScoreOptions
from sbdata.sets import EvaluationSet, open_set
from sbdata.settings import as_plain
from sbdata.supervision import BOXES, LABELS_ONLY, SALIENCY
from sbdata.train.preset import Preset
from sbdata.train.registry import STRATEGIES, find_strategy
from sbdata.train.weights import NAMED, weights_content
from sbdata.weak_labels.sources import WeakSources
from sbdata.weak_labels.weak_set import WeakSet

CODE: Mapping[Kind, str] = {
    "pseudo": "sbdata.benchmark.steps.pseudo_masks",
    "train": "sbdata.benchmark.steps.training",
    "predict": "sbdata.benchmark.steps.prediction",
    "score": "sbdata.benchmark.steps.scores",
    "result": "sbdata.benchmark.steps.results",
    "compare": "sbdata.benchmark.steps.comparison",
}
"""Entry module of each kind of task, for its code fingerprint; a stage's is its function's."""

_COMPUTING: tuple[Kind, ...] = ("pseudo", "train", "predict", "score")


PlannedSet = EvaluationSet | UnbuiltSet


def plan_tasks(
    config: BenchmarkConfig,
    cache: Cache,
    results: Path,
    *,
    workers: int | None = None,
    unbuilt: Mapping[Path, UnbuiltSet] | None = None,
) -> tuple[Task, ...]:
    """Return the tasks of a bench call, each after the tasks that it needs.

    Args:
        config: Configuration of the call.
        cache: Cache of results; imports are looked up there.
        results: Folder of the result files.
        workers: Number of data-loading workers per training; None to leave it to the device.
        unbuilt: Stand-ins by folder for sets that are not built. If it is given, weights and masks
            may be missing, too; such a plan cannot be run.

    Raises:
        InputError: for an unknown method, preset or setting, or a set that cannot be used.
    """
    stand_ins = unbuilt or {}
    methods = find_methods(config, cache.root, unbuilt=unbuilt is not None)
    training = _open_set(config.training, stand_ins)
    _check_classes(methods, training)
    sets = _open_sets(config, training, stand_ins)
    ceiling = next((method.name for method in methods.values() if not method.stages), None)
    if ceiling is not None and isinstance(training, EvaluationSet):
        check_has_masks(training.manifest, training.root, f"method {ceiling}")
    may_lack = unbuilt is not None
    return Planner(
        config, methods, training, sets, results, workers, cache.hashes, may_lack
    ).tasks()


def _check_classes(methods: Mapping[str, Method], training: PlannedSet) -> None:
    """Check that imported masks have the training set's classes, by the same numbers."""
    for method in methods.values():
        if method.classes not in (None, training.taxonomy.classes):
            msg = (
                f"method {method.name}: its imported masks have other classes "
                f"({', '.join(method.classes[:3])}, ...) than the training set {training.root} "
                f"({', '.join(training.taxonomy.classes[:3])}, ...); import them for this set"
            )
            raise InputError(msg)


def _open_sets(
    config: BenchmarkConfig, training: PlannedSet, stand_ins: Mapping[Path, UnbuiltSet]
) -> dict[str, PlannedSet]:
    found: dict[str, PlannedSet] = {}
    for root in config.sets:
        opened = _open_set(root, stand_ins)
        if isinstance(opened, EvaluationSet):
            check_has_masks(opened.manifest, root, "scoring")
        if opened.name in found:
            msg = f"{root}: another scored set is called {opened.name}, too; name each set once"
            raise InputError(msg)
        if opened.taxonomy.classes != training.taxonomy.classes:
            msg = (
                f"{root}: has the classes of {opened.taxonomy.name}, but the training set "
                f"{training.root} those of {training.taxonomy.name}; give sets of the same classes "
                "by --set and --train-set"
            )
            raise InputError(msg)
        if opened.logical_hash == training.logical_hash:
            msg = f"{root}: is the training set; give another set by --set"
            raise InputError(msg)
        found[opened.name] = opened
    return found


def _open_set(root: Path, stand_ins: Mapping[Path, UnbuiltSet]) -> PlannedSet:
    if root in stand_ins and not root.is_dir():
        return stand_ins[root]
    if not root.is_dir() and root.name in bundled_recipes():
        msg = f"{root}: no such set; build it by 'sbdata dataset build {root.name}'"
        raise InputError(msg)
    return open_set(root)


@dataclass
class Planner:
    """Planner of the tasks of a bench call.

    Attributes:
        config: Configuration of the call.
        methods: Resolved methods by name.
        training: Training set.
        sets: Evaluation sets by name.
        results: Folder of the result files.
        workers: Number of data-loading workers per training; None to leave it to the device.
        hashes: Known hashes of saliency maps.
        may_lack: True if files of initial weights may be missing.
    """

    config: BenchmarkConfig
    methods: Mapping[str, Method]
    training: PlannedSet
    sets: Mapping[str, PlannedSet]
    results: Path
    workers: int | None = None
    hashes: FileHashes | None = None
    may_lack: bool = False
    _tasks: dict[str, Task] = field(default_factory=dict)

    def tasks(self) -> tuple[Task, ...]:
        """Return the tasks, each after the tasks that it needs."""
        for seed in self.config.seeds:
            for method in self.methods.values():
                _Branch(self, method, seed).add_all()
        return tuple(self._tasks.values())

    def add(self, task: Task) -> Task:
        """Add a task unless one with its id exists; return the task in the plan."""
        return self._tasks.setdefault(task.id, task)

    @property
    def place(self) -> dict[str, str]:
        """Path of the training set, and its required hash."""
        return {"training": str(self.training.root), "training_hash": self.training.logical_hash}

    @cached_property
    def preset(self) -> Preset:
        """Segmenter's preset."""
        return self.config.segmenter_preset()

    @cached_property
    def first_weights(self) -> str:
        """Identity of the segmenter's initial weights."""
        model = self.preset.model
        if self.may_lack and model.weights not in NAMED and not Path(model.weights).is_file():
            return LATER
        return weights_content(model.backbone, model.weights)

    @cached_property
    def photos(self) -> dict[str, str]:
        """Hash of the photos of each set, by the set's logical hash."""
        found = {}
        for opened in (self.training, *self.sets.values()):
            if isinstance(opened, UnbuiltSet):
                found[opened.logical_hash] = opened.logical_hash
                continue
            sums = read_checksums(opened.root)
            names = {i: image_path(Path(), i).as_posix() for i in opened}
            digests = {i: sums.get(name, "absent") for i, name in names.items()}
            found[opened.logical_hash] = content_of(digests)
        return found

    @cached_property
    def about_sets(self) -> dict[str, dict[str, Any]]:
        """Description of each evaluation set in results, by its name."""
        return {name: _about(opened) for name, opened in self.sets.items()}

    @cached_property
    def _weak(self) -> dict[WeakSources, tuple[WeakSet | WeakLabelsOfUnbuilt, str]]:
        return {}

    def sources(self, method: Method) -> WeakSources:
        """Return the sources of the weak labels that a method uses."""
        asked, seen = self.config, method.supervision
        return WeakSources(
            with_boxes=BOXES in seen,
            labels=str(asked.labels) if asked.labels else None,
            boxes=str(asked.boxes) if asked.boxes and BOXES in seen else None,
            saliency=str(asked.saliency) if asked.saliency and SALIENCY in seen else None,
        )

    def weak(self, method: Method) -> tuple[WeakSet | WeakLabelsOfUnbuilt, str]:
        """Return the weak labels that a method may see, and their source in words."""
        sources = self.sources(method)
        if isinstance(self.training, UnbuiltSet):
            return WeakLabelsOfUnbuilt(self.training.logical_hash), LATER
        if sources not in self._weak:
            weak = sources.read(self.training, None, self.hashes)
            said = sources.describe()
            if self.training.labels_only:
                said += f"; {LABELS_ONLY}"
            self._weak[sources] = weak, said
        return self._weak[sources]

    @cached_property
    def _resources(self) -> dict[tuple[str, str], Resources]:
        return {}

    def stage_resources(self, method: Method, part: str) -> Resources:
        """Return what a stage of a method requests; the same for every seed."""
        if (method.name, part) not in self._resources:
            stage, images = method.stages[part], len(self.training)
            size = pixels_of(self.training)
            seconds, on_cpu = stage_seconds(stage, method.reference.get(part), images, size)
            space = space_of_stage(stage, images, size)
            self._resources[method.name, part] = Resources(
                gpus=min(stage.gpus, 1.0),
                images=images,
                seconds=seconds,
                on_cpu=on_cpu,
                space=space,
            )
        return self._resources[method.name, part]


@dataclass(frozen=True)
class _Branch:
    """Planner of the tasks of one method and seed."""

    planner: Planner
    method: Method
    seed: int

    def add_all(self) -> None:
        planner, config = self.planner, self.planner.config
        scorable = bool(self._stages) and not planner.training.labels_only
        pseudo = self._pseudo() if scorable else None
        strategies = [*config.strategies, *(s for s in STRATEGIES if s not in config.strategies)]
        folders: dict[str, dict[str, str]] = {name: {} for name in planner.sets}
        first_phase: Task | None = None
        trained: list[Task] = []
        scored: dict[str, Input] = {}
        for strategy in strategies:
            asked = strategy in config.strategies
            add = planner.add if asked else (lambda task: task)  # others may exist already
            shares = find_strategy(strategy).shares_first_phase
            after = [task.id for task in (pseudo, first_phase if shares else None) if task]
            train = add(self._train(strategy, tuple(after), shared=bool(shares and first_phase)))
            if shares and asked and first_phase is None:
                first_phase = train
            inputs = {"train": train.as_input}
            for name in planner.sets:
                predict = add(self._predict(strategy, name, train))
                score = add(self._score(strategy, name, predict))
                folders[name][strategy] = score.folder
                inputs |= {f"predict {name}": predict.as_input, f"score {name}": score.as_input}
                if asked:
                    scored[f"{name} {strategy}"] = score.as_input
            if asked:
                trained.append(train)
                add(self._result(strategy, inputs, pseudo))
        planner.add(self._compare(trained[0], scored, folders))

    def _task(
        self,
        kind: Kind,
        what: str,
        params: Mapping[str, Any],
        resources: Resources,
        *,
        inputs: Mapping[str, Input] | None = None,
        context: Mapping[str, Any] | None = None,
        folder: str = "",
        strategy: str | None = None,
        code: tuple[str, ...] = (),
        after: tuple[str, ...] = (),
        part: str | None = None,
    ) -> Task:
        """Return a new task; ``{id}`` in its folder is replaced by its id."""
        inputs, code = inputs or {}, code or (CODE[kind],)
        found = task_id(kind, params, inputs, code)
        called = self.planner.config.part
        start = f"{self.method.name}, seed {self.seed}{f', {strategy}' if strategy else ''}"
        about = {
            **({"part": called} if called else {}),
            "method": self.method.name,
            "strategy": strategy,
            "seed": self.seed,
            "stage": part if kind == "stage" else None,
            "set": part if kind in ("predict", "score") else None,
        }
        return Task(
            found,
            kind,
            f"{f'{called}: ' if called else ''}{start}: {what}",
            as_plain(params),
            inputs,
            code,
            folder.replace("{id}", found),
            {"about": about, **(context or {})},
            after,
            resources,
        )

    # --- pseudo-masks

    @cached_property
    def _stages(self) -> dict[str, Task]:
        planner, method = self.planner, self.method
        found: dict[str, Task] = {}
        if not method.stages:
            return found
        digest = planner.weak(method)[0].digest
        ids: dict[int, Input] = {}
        for part, stage in method.stages.items():
            context = {
                **planner.place,
                "sources": as_plain(planner.sources(method)),
                **stage_context(stage),
            }
            task = self._task(
                "stage",
                part,
                stage_params(stage, digest, self.seed),
                planner.stage_resources(method, part),
                inputs={str(n): ids[id(s)] for n, s in enumerate(stage.after)},
                context=context,
                folder=f"{STAGES}/{stage.name}-{{id}}",
                code=code_of(stage),
                part=part,
            )
            found[part] = planner.add(task)
            ids[id(stage)] = task.as_input
        return found

    @property
    def _masks(self) -> dict[str, Input]:
        """Return the task of the pseudo-masks by its role; empty for ground truth."""
        return {"masks": list(self._stages.values())[-1].as_input} if self._stages else {}

    def _pseudo(self) -> Task:
        training = self.planner.training
        return self.planner.add(
            self._task(
                "pseudo",
                "score of the pseudo-masks",
                {"truth": training.logical_hash},
                Resources(
                    images=len(training),
                    seconds=2 * _seconds_to_score(training),
                    space=space_of_score(len(training)),
                ),
                inputs={part: task.as_input for part, task in self._stages.items()},
                context=self.planner.place,
                folder=f"pseudo/{self.method.name}-{{id}}",
            )
        )

    # --- segmenters

    @cached_property
    def _shared(self) -> dict[str, Any]:
        """Return the values that trainings of all strategies share."""
        planner = self.planner
        preset = planner.preset.as_dict()
        for part, name in (("optimisation", "checkpoint_every"), ("model", "weights")):
            del preset[part][name]  # the first changes nothing, the second counts by its content
        training = planner.training
        masks = {} if self._masks else {"truth": training.logical_hash}
        return {
            "preset": {k: v for k, v in preset.items() if k not in ("name", "inference")},
            "photos": planner.photos[training.logical_hash],
            "classes": list(training.taxonomy.classes),
            "weights": planner.first_weights,
            "processes": process_count(),
            "seed": self.seed,
            **masks,
        }

    def _shared_key(self, strategy: str) -> str:
        """Return the name of the folder of trainings: one for all strategies of sbdata's losses."""
        return task_id("train", self._shared, self._masks, _training_code(strategy))

    def _train(self, strategy: str, after: tuple[str, ...], *, shared: bool) -> Task:
        planner = self.planner
        return self._task(
            "train",
            "train",
            {**self._shared, "strategy": strategy},
            Resources(
                cpus=1.0 + (planner.workers or 0),
                gpus=1.0,
                workers=planner.workers,
                images=len(planner.training),
                seconds=training_seconds(planner.preset, strategy, shared=shared),
                space=space_of_training(planner.preset, shared=shared),
            ),
            inputs=self._masks,
            context={**planner.place, "preset": planner.preset.as_dict()},
            folder=f"train/{self.method.name}-{self._shared_key(strategy)}/{strategy}",
            strategy=strategy,
            code=_training_code(strategy),
            after=after,
        )

    def _predict(self, strategy: str, name: str, train: Task) -> Task:
        opened, preset = self.planner.sets[name], self.planner.preset
        seconds, on_cpu = prediction_seconds(preset, len(opened), pixels_of(opened))
        return self._task(
            "predict",
            f"predict {name}",
            {
                "inference": as_plain(preset.inference),
                "set": opened.logical_hash,
                "photos": self.planner.photos[opened.logical_hash],
            },
            Resources(
                gpus=1.0,
                images=len(opened),
                seconds=seconds,
                on_cpu=on_cpu,
                space=space_of_masks(len(opened), pixels_of(opened)),
            ),
            inputs={"model": train.as_input},
            context={"set": str(opened.root)},
            folder=f"predict/{self.method.name}-{strategy}-{name}-{{id}}",
            strategy=strategy,
            part=name,
        )

    def _score(self, strategy: str, name: str, predict: Task) -> Task:
        opened = self.planner.sets[name]
        return self._task(
            "score",
            f"score {name}",
            {"options": as_plain(ScoreOptions()), "truth": opened.logical_hash},
            Resources(
                images=len(opened),
                seconds=_seconds_to_score(opened),
                space=space_of_score(len(opened)),
            ),
            inputs={"predictions": predict.as_input},
            context={"set": str(opened.root)},
            folder=f"score/{self.method.name}-{strategy}-{name}-{{id}}",
            strategy=strategy,
            part=name,
        )

    # --- records

    def _result(self, strategy: str, inputs: Mapping[str, Input], pseudo: Task | None) -> Task:
        stages = {f"stage {part}": task.as_input for part, task in self._stages.items()}
        scored = {} if pseudo is None else {"pseudo": pseudo.as_input}
        return self._task(
            "result",
            "result",
            {"record": self._record(strategy), "sets": self.planner.about_sets},
            Resources(images=sum(map(len, self.planner.sets.values()))),
            inputs={**stages, **scored, **inputs},
            context={"results": str(self.planner.results)},
            strategy=strategy,
        )

    def _compare(
        self, train: Task, scored: Mapping[str, Input], folders: Mapping[str, Mapping[str, str]]
    ) -> Task:
        """Return the task that compares this call's strategies with all that are scored by then."""
        sets = {name: str(opened.root) for name, opened in self.planner.sets.items()}
        strategies = self.planner.config.strategies
        return self._task(
            "compare",
            "compare the strategies",
            {"record": self._record(strategies[0]), "training": self._shared_key("ce")},
            Resources(
                images=sum(map(len, self.planner.sets.values())),
                seconds=COMPARE * len(sets) * len(strategies),
            ),
            inputs={"train": train.as_input, **scored},
            context={"results": str(self.planner.results), "sets": sets, "scores": folders},
        )

    def _record(self, strategy: str) -> dict[str, Any]:
        """Return a result's values that are known before any task ran; see ``ResultRecord``."""
        planner, method = self.planner, self.method
        weak, labels = planner.weak(method) if method.stages else (None, "pixel masks")
        return {
            "method": method.name,
            "paper": method.paper,
            "supervision": list(method.supervision),
            "control": method.control,
            "strategy": strategy,
            "seed": self.seed,
            "preset": planner.config.preset,
            "method_settings": {n: as_plain(s.settings) for n, s in method.stages.items()},
            "training_preset": planner.preset.as_dict(),
            "training": {
                "set": planner.training.name,
                "logical_hash": planner.training.logical_hash,
                "images": len(planner.training),
                "weak_digest": None if weak is None else weak.digest,
                "labels": labels,
                "saliency": None if weak is None else weak.saliency_origin,
                "photos": planner.photos[planner.training.logical_hash],
            },
            "code": {
                "sbdata": code_fingerprint(*(CODE[kind] for kind in _COMPUTING)),
                "baseline": method.code,
            },
            "variant": method.variant,
        }


def _training_code(strategy: str) -> tuple[str, ...]:
    """Return the entry modules of a training's code, with those of third-party losses."""
    return (CODE["train"], *find_strategy(strategy).modules_of_others)


def _about(opened: PlannedSet) -> dict[str, Any]:
    """Return the description of an evaluation set in results."""
    if isinstance(opened, UnbuiltSet):
        return {"logical_hash": LATER, "split": LATER, "synthetic": opened.generated}
    return {
        "logical_hash": opened.logical_hash,
        "split": ", ".join(sorted(opened.manifest.images["split"].unique().to_pylist())),
        "synthetic": bool(opened.manifest.meta.get("synthetic", False)),
    }


def pixels_of(opened: PlannedSet) -> float:
    """Return the mean size of a set's images, in million pixels."""
    if isinstance(opened, UnbuiltSet):
        return opened.megapixels
    images = opened.manifest.images
    if not images.num_rows:
        return 0.0
    sizes = zip(images["height"].to_pylist(), images["width"].to_pylist(), strict=True)
    total: int = sum(height * width for height, width in sizes)
    count: int = images.num_rows
    return total / count / 1e6


def _seconds_to_score(opened: PlannedSet) -> float:
    return scoring_seconds(len(opened), pixels_of(opened))
