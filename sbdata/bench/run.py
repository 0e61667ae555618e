"""The bench: from image-level labels to scored, comparable results.

Every step keeps what it made under a key of its settings, inputs and code, says so by a file that
is written last, and is passed over where that file is there. So a bench that was killed goes on
where it was, two benches at once share their work (a lock a step sees to it), and a further
strategy, set or seed costs just what is new. The folders below ``work``:

    weak/<set>-<hash>/                     photos, linked: all that a baseline can reach
    stages/<stage>-<key>/                  what a stage of a method wrote
    pseudo/<stage>-<key>.json              how good the pseudo-masks are
    train/<method>-<key>/seed-<n>/         trained segmenters, by strategy
    train/.../predictions/<strategy>/      masks, by scored set
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from PIL import Image

import sbdata
from sbdata.bench.clock import Clock, Watcher
from sbdata.bench.executor import Told, run_jobs
from sbdata.bench.labels import read_labels
from sbdata.bench.plan import Job, Method, Plan, PlanRow, describe_plan, find_methods, jobs_of
from sbdata.bench.pseudo import PseudoScore, score_pseudo
from sbdata.bench.result import (
    Differences,
    Figure,
    Pair,
    Protocol,
    Result,
    ScoredSet,
    Training,
    result_file,
    write_differences,
    write_result,
)
from sbdata.bench.stage import DONE, code_of, folder_of, key_of, run_stage
from sbdata.bench.weak import BOXES, SALIENCY, WeakSet, weak_set
from sbdata.errors import InputError
from sbdata.metrics import METRIC, Difference, Interval
from sbdata.recipe import bundled_recipes
from sbdata.score.result import Scored
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.sets import EvaluationSet, open_set
from sbdata.settings import as_plain
from sbdata.storage import sha256_of, write_text
from sbdata.train.checkpoint import load_model
from sbdata.train.devices import Place, take_place
from sbdata.train.predict import predict_folder
from sbdata.train.preset import Preset, load_preset
from sbdata.train.refine import make_refiner
from sbdata.train.samples import TrainingImages, check_images, images_of_set
from sbdata.train.strategies import FIRST_PHASE, STRATEGIES, find_strategy, run_strategy

CONTROLS = ("ce", "ce-ft")
"""Strategies that the others are compared with."""

LOST_THRESHOLD = "under 50 %"
"""The share of an instance's pixels below which a result counts it as lost."""

_POLL = 0.5  # seconds between looks at what torchrun's first process does


def run_bench(
    plan: Plan,
    work: Path,
    results: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    executor: str = "local",
    processes: int = 1,
    threads: int | None = None,
    watcher: Watcher | None = None,
) -> list[Path]:
    """Run all that a plan asks and write one result a method, strategy and seed.

    What is there already is not done again; a call that was stopped in any way goes on.

    Args:
        plan: what is asked.
        work: folder of all that is kept between calls.
        results: folder of the result files.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        workers: processes that cut training views.
        executor: ``local`` or ``ray``.
        processes: of the local executor.
        threads: of PyTorch in each process.
        watcher: is told how far it is.

    Returns:
        The result files, in the plan's order of methods, strategies and seeds.

    Raises:
        InputError: for an unusable plan or set, or if a job says so.
    """
    bench = Bench(plan.absolute(), work.absolute(), results.absolute(), workers)
    jobs = bench.jobs
    clock = Clock(jobs, bench.is_done, watcher)
    run_jobs(
        jobs,
        bench.perform,
        executor=executor,
        processes=processes,
        threads=threads,
        device=device,
        told=clock.told,
        finished=clock.finished,
    )
    return bench.result_files


def plan_bench(plan: Plan, work: Path) -> tuple[PlanRow, ...]:
    """Say what :func:`run_bench` would do; nothing is computed or written.

    Raises:
        InputError: for an unusable plan or set.
    """
    bench = Bench(plan.absolute(), work.absolute(), work.absolute(), dry=True)
    return describe_plan(bench.jobs, bench.is_done)


@dataclass(frozen=True)
class Bench:
    """A plan with its folders: what each job needs to know, found when it is first asked for.

    Attributes:
        plan: with absolute paths.
        work: see the module.
        results: folder of the result files.
        workers: processes that cut training views.
        dry: whether nothing may be written.
    """

    plan: Plan
    work: Path
    results: Path
    workers: int = 0
    dry: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was found; another process finds it again."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    # --- what the plan names

    @cached_property
    def methods(self) -> Mapping[str, Method]:
        """Return the methods by name."""
        return find_methods(self.plan)

    @cached_property
    def preset(self) -> Preset:
        """Return the segmenter's preset."""
        name = self.plan.training_preset or self.plan.preset
        return load_preset(name, self.plan.training_overrides)

    @cached_property
    def training(self) -> EvaluationSet:
        """Return the training set."""
        return _opened(self.plan.training)

    @cached_property
    def sets(self) -> Mapping[str, EvaluationSet]:
        """Return the scored sets by name."""
        found: dict[str, EvaluationSet] = {}
        for root in self.plan.sets:
            opened = _opened(root)
            if opened.name in found:
                msg = f"{root}: a set called {opened.name} is scored already; name each set once"
                raise InputError(msg)
            if opened.taxonomy.classes != self.training.taxonomy.classes:
                msg = (
                    f"{root}: has the classes of {opened.taxonomy.name}, but the training set "
                    f"{self.plan.training} those of {self.training.taxonomy.name}; give two that "
                    "agree by --set and --train-set"
                )
                raise InputError(msg)
            if opened.logical_hash == self.training.logical_hash:
                msg = f"{root}: is the training set; score another one by --set"
                raise InputError(msg)
            found[opened.name] = opened
        return found

    @cached_property
    def labels(self) -> Mapping[str, tuple[int, ...]] | None:
        """Return labels of the user's own."""
        if self.plan.labels is None:
            return None
        found = read_labels(self.plan.labels, self.training.taxonomy, self.training.image_ids)
        absent = [image_id for image_id in self.training if image_id not in found]
        if absent:
            msg = (
                f"{self.plan.labels}: has no labels of image {absent[0]} ({len(absent)} of "
                f"{len(self.training)} images lack them); give one line for every image"
            )
            raise InputError(msg)
        return found

    @cached_property
    def _weak_sets(self) -> dict[tuple[bool, bool], WeakSet]:
        return {}

    def weak(self, method: Method) -> WeakSet:
        """Return what a method may see, and no more."""
        boxes = BOXES in method.supervision
        saliency = self.plan.saliency if SALIENCY in method.supervision else None
        key = (boxes, saliency is not None)
        if key not in self._weak_sets:
            self._weak_sets[key] = self._make_weak(boxes, saliency)
        return self._weak_sets[key]

    def _make_weak(self, boxes: bool, saliency: Path | None) -> WeakSet:
        opened, labels = self.training, self.labels
        if saliency is not None:
            lacking = next((i for i in opened if not (saliency / f"{i}.png").is_file()), None)
            if lacking is not None:
                msg = f"{saliency}: no {lacking}.png; --saliency needs a map of every image"
                raise InputError(msg)
        folder = self.work / "weak" / f"{opened.name}-{opened.logical_hash[:12]}"
        if self.dry and not folder.is_dir():
            return WeakSet((), opened.taxonomy)  # nothing is cached yet: it tells stages apart
        with _locked(folder):
            return weak_set(opened, folder, boxes=boxes, saliency=saliency, labels=labels)

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """Return the jobs of the plan, each after those it builds on."""
        return jobs_of(
            self.plan,
            self.methods,
            self.preset,
            self.training,
            self.sets,
            self.weak,
            self.workers,
        )

    @cached_property
    def result_files(self) -> list[Path]:
        """Return where the results lie, in the plan's order."""
        return [
            result_file(self.results, method, strategy, seed)
            for method in self.plan.methods
            for strategy in self.plan.strategies
            for seed in self.plan.seeds
        ]

    # --- folders

    @property
    def stages(self) -> Path:
        """Return the folder of all stages."""
        return self.work / "stages"

    def masks(self, method: Method, seed: int) -> Path | None:
        """Return the folder of a method's pseudo-masks; None for ground truth."""
        last = method.last
        return None if last is None else folder_of(last, self.weak(method), self.stages, seed)

    def training_key(self, method: Method, seed: int) -> str:
        """Return the hash of all that trained segmenters of a method and seed depend on."""
        last, preset = method.last, self.preset.as_dict()
        optimisation = preset["optimisation"]
        masks = (
            self.training.logical_hash if last is None else key_of(last, self.weak(method), seed)
        )
        parts = {
            "masks": masks,
            "photos": self.training.logical_hash,
            "preset": {k: v for k, v in preset.items() if k not in ("name", "inference")}
            | {"optimisation": {k: v for k, v in optimisation.items() if k != "checkpoint_every"}},
            "code": code_of_rooms("train", "losses", but=("predict.py", "refine.py")),
        }
        return _hash_of(parts)

    def training_folder(self, method: Method, seed: int) -> Path:
        """Return where the segmenters of a method and seed lie, by strategy."""
        name = f"{method.name}-{self.training_key(method, seed)}"
        return self.work / "train" / name / f"seed-{seed}"

    def prediction_folder(self, method: Method, seed: int, strategy: str, name: str) -> Path:
        """Return where the masks of a scored set lie; its done-marker has ``.json`` added."""
        parts = {
            "set": self.sets[name].logical_hash,
            "inference": as_plain(self.preset.inference),
            "code": code_of_rooms("train", only=("predict.py", "refine.py")),
        }
        root = self.training_folder(method, seed) / "predictions" / strategy
        return root / f"{name}-{_hash_of(parts)}"

    def pseudo_file(self, method: Method, seed: int) -> Path:
        """Return where the score of a method's pseudo-masks lies."""
        assert method.last is not None  # noqa: S101 - `full` has none
        keys = [key_of(stage, self.weak(method), seed) for stage in method.stages.values()]
        code = code_of_rooms("bench", "score", "metrics", only=("pseudo.py", "run.py", "image.py"))
        key = _hash_of({"stages": keys, "truth": self.training.logical_hash, "code": code})
        return self.work / "pseudo" / f"{method.name}-{key}.json"

    # --- jobs

    def is_done(self, job: Job) -> bool:
        """Tell whether a job's result is there; comparing and scoring is always done again."""
        method = self.methods[job.method]
        if job.kind == "stage":
            stage = method.stages[job.part]
            return (folder_of(stage, self.weak(method), self.stages, job.seed) / DONE).is_file()
        if job.kind == "pseudo":
            return self.pseudo_file(method, job.seed).is_file()
        if job.kind == "train":
            return (self.training_folder(method, job.seed) / job.part / "run.json").is_file()
        if job.kind == "predict":
            return _done_marker(self._predicted(job, job.part)).is_file()
        return False

    def perform(self, job: Job, device: str, told: Told | None = None) -> float:
        """Run one job, unless it is done; return the seconds it took."""
        began = time.perf_counter()
        place = take_place(device, self.workers)
        method = self.methods[job.method]
        shown = told or (lambda what, done, total: None)
        if job.kind == "train":
            self._train(job, method, place, shown)
        elif not place.is_first:
            while job.kind not in ("score", "compare") and not self.is_done(job):
                time.sleep(_POLL)  # a barrier would give up after some minutes
        else:
            alone = Place(place.device, workers=place.workers)
            _STEPS[job.kind](self, job, method, alone, shown)
        return time.perf_counter() - began

    def _stage(self, job: Job, method: Method, place: Place, told: Told) -> None:
        stage, weak = method.stages[job.part], self.weak(method)
        with _locked(folder_of(stage, weak, self.stages, job.seed)):
            run_stage(stage, weak, self.stages, job.seed, place, lambda *of: told(job.name, *of))

    def _pseudo(self, job: Job, method: Method, place: Place, told: Told) -> None:
        file = self.pseudo_file(method, job.seed)
        with _locked(file):
            if file.is_file():
                return
            weak, ids = self.weak(method), self.training.image_ids
            folders = {
                name: folder_of(stage, weak, self.stages, job.seed)
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
                    self.training,
                    stages,
                    progress=lambda *of: told(job.name, *of),
                )
            write_text(file, json.dumps(_pseudo_figures(scored), indent=2) + "\n")

    def _train(self, job: Job, method: Method, place: Place, told: Told) -> None:
        out, strategy = self.training_folder(method, job.seed), job.strategy
        images = self._images(method, job.seed)
        with _locked(out / strategy, where=place.is_first):
            if not (out / strategy / "run.json").is_file():
                check_images(images)
            shared = find_strategy(strategy).two_phases and not _trained(out / FIRST_PHASE)
            with _locked(out / FIRST_PHASE, where=shared and place.is_first):
                run_strategy(
                    strategy,
                    images,
                    self.preset,
                    out,
                    place,
                    seed=job.seed,
                    progress=lambda stage, *of: told(f"{job.name} ({stage})", *of),
                )

    def _images(self, method: Method, seed: int) -> TrainingImages:
        return images_of_set(self.training.root, self.masks(method, seed))

    def _predicted(self, job: Job, name: str) -> Path:
        return self.prediction_folder(self.methods[job.method], job.seed, job.strategy, name)

    def _predict(self, job: Job, method: Method, place: Place, told: Told) -> None:
        opened, folder = self.sets[job.part], self._predicted(job, job.part)
        marker, inference = _done_marker(folder), self.preset.inference
        with _locked(folder):
            if marker.is_file():
                return
            began = time.perf_counter()
            trained = self.training_folder(method, job.seed) / job.strategy
            model, _ = load_model(trained, opened.taxonomy)
            predict_folder(
                model.to(place.device),
                [(image_id, opened.image_path(image_id)) for image_id in opened],
                folder,
                scales=inference.scales,
                flip=inference.flip,
                refine=make_refiner(inference.refine, place.device),
                device=place.device,
                progress=lambda *of: told(job.name, *of),
            )
            seconds = time.perf_counter() - began
            write_text(marker, json.dumps({"images": len(opened), "seconds": seconds}) + "\n")

    def _score(self, job: Job, method: Method, place: Place, told: Told) -> None:
        about = _read(self.training_folder(method, job.seed) / job.strategy / "run.json")
        sets = {}
        for name, opened in self.sets.items():
            scored = score_folder(
                self._predicted(job, name),
                truth_from_set(opened.root),
                ScoreOptions(),
                progress=lambda *of: told(job.name, *of),
            )
            sets[name] = self._scored_set(scored, opened, about["initialisation"])
        pseudo = None if method.last is None else _read(self.pseudo_file(method, job.seed))
        result = Result(
            method=method.name,
            paper=method.paper,
            supervision=method.supervision,
            control=method.control,
            strategy=job.strategy,
            seed=job.seed,
            synthetic=about["synthetic"] or any(_is_synthetic(s) for s in self.sets.values()),
            preset=self.plan.preset,
            method_settings={n: as_plain(s.settings) for n, s in method.stages.items()},
            training_preset=self.preset.as_dict(),
            training=self._training(method),
            initialisation=about["initialisation"],
            pretrained=about["pretrained"],
            code={
                "sbdata": code_of_rooms("losses", "metrics", "score", "train"),
                "baseline": _code_of_method(method),
            },
            environment=about["environment"],
            seconds=self._seconds(job, method, about),
            pseudo=pseudo,
            sets=sets,
        )
        write_result(self.results, result)

    def _scored_set(self, scored: Scored, opened: EvaluationSet, initialisation: str) -> ScoredSet:
        inference, summary = self.preset.inference, scored.summary
        split = ", ".join(sorted(set(opened.manifest.images["split"].to_pylist())))
        return ScoredSet(
            logical_hash=opened.logical_hash,
            split=split,
            metric=summary.metric,
            n_images=summary.n_images,
            n_instances={n: f.n_instances for n, f in summary.ia.items()},
            n_classes={n: f.n_classes for n, f in summary.ia.items()},
            figures=_figures(scored),
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

    def _training(self, method: Method) -> Training:
        labels = self.plan.labels
        if method.last is None:
            said = "pixel masks"
        elif labels is None:
            said = "manifest"
        else:
            digest = f", SHA-256 {sha256_of(labels)}" if labels.is_file() else ""
            said = f"{'csv' if labels.is_file() else 'VOC XML'} {labels.name}{digest}"
        return Training(
            set=self.training.name,
            logical_hash=self.training.logical_hash,
            images=len(self.training),
            weak_digest=None if method.last is None else self.weak(method).digest,
            labels=said,
        )

    def _seconds(self, job: Job, method: Method, about: Mapping[str, Any]) -> dict[str, float]:
        """Return the wall time of each step when it ran, by its name."""
        found = {}
        for name, stage in method.stages.items():
            folder = folder_of(stage, self.weak(method), self.stages, job.seed)
            found[name] = float(_read(folder / DONE)["seconds"])
        train = float(about["seconds"])
        if find_strategy(job.strategy).two_phases:
            first = self.training_folder(method, job.seed) / FIRST_PHASE / "run.json"
            train += float(_read(first)["seconds"])
        markers = [_done_marker(self._predicted(job, name)) for name in self.sets]
        predict = sum(float(_read(marker)["seconds"]) for marker in markers)
        return {**found, "train": train, "predict": predict}

    def _compare(self, job: Job, method: Method, place: Place, told: Told) -> None:
        """Compare all strategies that this method and seed has, of earlier calls too."""
        pairs = []
        for name, opened in self.sets.items():
            folders = {
                strategy: self.prediction_folder(method, job.seed, strategy, name)
                for strategy in STRATEGIES
            }
            there = {s: f for s, f in folders.items() if _done_marker(f).is_file()}
            for first in CONTROLS:
                others = [s for s in there if s not in ("ce", first)]
                if first in there and others:
                    scored = score_folder(
                        there[first],
                        truth_from_set(opened.root),
                        ScoreOptions(),
                        against=[there[s] for s in others],
                        progress=lambda *of: told(job.name, *of),
                    )
                    pairs += [
                        Pair(name, first, second, _differences(found.differences))
                        for second, found in zip(others, scored.compared, strict=True)
                    ]
        if pairs:
            key = self.training_key(method, job.seed)
            write_differences(self.results, Differences(method.name, job.seed, key, tuple(pairs)))


_STEPS: Mapping[str, Callable[[Bench, Job, Method, Place, Told], None]] = {
    "stage": Bench._stage,
    "pseudo": Bench._pseudo,
    "predict": Bench._predict,
    "score": Bench._score,
    "compare": Bench._compare,
}


# --- sets and folders -----------------------------------------------------------------------------


def _opened(root: Path) -> EvaluationSet:
    if not root.is_dir() and root.name in bundled_recipes():
        msg = f"{root}: no such set; build it by 'make dataset RECIPE={root.name}'"
        raise InputError(msg)
    return open_set(root)


def _is_synthetic(opened: EvaluationSet) -> bool:
    return bool(opened.manifest.meta.get("synthetic", False))


@contextmanager
def _locked(path: Path, *, where: bool = True) -> Iterator[None]:
    """Let one process at a time make a file or folder; a killed one's lock is free again."""
    if not where:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield


def _done_marker(folder: Path) -> Path:
    return folder.with_name(folder.name + ".json")


def _trained(folder: Path) -> bool:
    return (folder / "run.json").is_file()


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _holds_masks(folder: Path, image_ids: tuple[str, ...]) -> bool:
    """Tell whether a stage wrote class masks, which have a palette, for all images."""
    files = [folder / f"{image_id}.png" for image_id in image_ids]
    if not all(file.is_file() for file in files):
        return False
    with Image.open(files[0]) as image:
        return bool(image.mode == "P")


def _masks_alone(folder: Path, image_ids: tuple[str, ...], place: Path) -> Path:
    """Link a stage's masks into a folder that holds nothing else, as scoring wants it."""
    place.mkdir(parents=True)
    for image_id in image_ids:
        (place / f"{image_id}.png").symlink_to(folder / f"{image_id}.png")
    return place


# --- hashes ---------------------------------------------------------------------------------------


def _hash_of(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@lru_cache(maxsize=16)
def code_of_rooms(*rooms: str, only: tuple[str, ...] = (), but: tuple[str, ...] = ()) -> str:
    """Return a hash of the source of some of sbdata's folders.

    Args:
        rooms: names of folders.
        only: names of files that count; all by default.
        but: names of files that do not.
    """
    root = Path(str(sbdata.__file__)).parent
    files = sorted({file for room in rooms for file in (root / room).rglob("*.py")})
    lines = [
        f"{file.relative_to(root).as_posix()} {sha256_of(file)}"
        for file in files
        if file.name not in but and (not only or file.name in only)
    ]
    text = "\n".join([sbdata.__version__, *lines])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code_of_method(method: Method) -> str:
    """Return a hash of the source of all stages of a method."""
    return _hash_of([code_of(stage.run) for stage in method.stages.values()])


# --- figures --------------------------------------------------------------------------------------


def _figures(scored: Scored) -> dict[str, Figure]:
    return {
        name: Figure(value, _ends(scored.intervals[name]))
        for name, value in scored.summary.headline().items()
    }


def _ends(interval: Interval | None) -> tuple[float, ...] | None:
    return None if interval is None else (interval.low, interval.high)


def _differences(
    found: Mapping[str, Difference | None],
) -> dict[str, Mapping[str, Any] | None]:
    return {
        name: None
        if d is None
        else {
            "value": d.value,
            "interval": as_plain(_ends(d.interval)),
            "sign_change": d.sign_change,
        }
        for name, d in found.items()
    }


def _pseudo_figures(score: PseudoScore) -> dict[str, Any]:
    """Return the figures of pseudo-masks with 255 as background, and where instances were lost."""
    scored, losses = score.as_background, score.losses.to_pylist()
    lost: dict[str, dict[str, Any]] = {}
    for row in losses:
        if row["threshold"] == LOST_THRESHOLD:
            cells = lost.setdefault(row["stage"], {"stage": row["stage"]})
            cells[row["size"]] = {"n": row["n"], "kept": row["n"] - row["lost"]}
    summary = scored.summary
    return {
        "metric": METRIC,
        "n_images": summary.n_images,
        "n_instances": {n: f.n_instances for n, f in summary.ia.items()},
        "n_classes": {n: f.n_classes for n, f in summary.ia.items()},
        "figures": as_plain(_figures(scored)),
        "ignored_excluded": asdict(score.excluded),
        "lost_threshold": LOST_THRESHOLD,
        "lost": list(lost.values()),
        "losses": losses,
    }
