"""The bench: a plan with its folders, and the keys under which they are kept.

Folders below ``work``:

    weak/<set>-<hash>/                     photos, linked: all that a baseline can reach
    stages/<stage>-<key>/                  what a stage of a method wrote
    pseudo/<method>-<key>/                 how good the pseudo-masks are
    train/<method>-<key>/seed-<n>/         trained segmenters, by strategy
    train/.../predictions/<strategy>/      masks, by scored set
    train/.../scores/<strategy>/           values and tables of those masks, by scored set
    hashes.json                            content of photos, with their sizes and times

Each key is the fingerprint of all that the folder's files depend on; see
:mod:`sbdata.fingerprints`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from sbdata.benchmark.graph import BenchmarkConfig, Method, find_methods, tasks_of
from sbdata.benchmark.stage import DONE, code_of, folder_of, key_of
from sbdata.benchmark.steps.scores import OPTIONS
from sbdata.benchmark.tasks import Task
from sbdata.completion import MARKER
from sbdata.errors import InputError
from sbdata.file_hashes import FileHashes
from sbdata.fingerprints import code_fingerprint, content_of, fingerprint, hash_of
from sbdata.layout import IMAGES_FOLDER
from sbdata.recipe import bundled_recipes
from sbdata.sets import EvaluationSet, check_files, open_set
from sbdata.settings import as_plain
from sbdata.supervision import BOXES, SALIENCY
from sbdata.train.devices import process_count
from sbdata.train.predict import PREDICTED
from sbdata.train.preset import Preset, load_preset
from sbdata.train.pretrained import weights_content
from sbdata.weak_labels.boxes import read_boxes
from sbdata.weak_labels.labels import read_labels
from sbdata.weak_labels.weak_set import Box, WeakSet, weak_set

CODE: Mapping[str, str] = {
    "pseudo": "sbdata.benchmark.steps.pseudo_masks",
    "train": "sbdata.benchmark.steps.training",
    "predict": "sbdata.benchmark.steps.prediction",
    "score": "sbdata.benchmark.steps.scores",
}
"""The module in which the code of each kind of task begins; a stage's is that of its function."""

HASHES = "hashes.json"
_BEGAN_WITH = "_began_with"

_SEGMENTER_PRESETS = {"paper": "wacv24"}
"""Presets of the segmenter by those of the methods, where the two have different names."""


@dataclass(frozen=True)
class Workspace:
    """A plan with its folders: what each job needs to know, found when it is first asked for.

    Attributes:
        plan: with absolute paths.
        work: see the module.
        results: folder of the result files.
        workers: processes that cut training views.
        dry: whether nothing may be written.
        verify: whether all files of what is done are hashed, not only those whose size or time
            changed.
    """

    plan: BenchmarkConfig
    work: Path
    results: Path
    workers: int = 0
    dry: bool = False
    verify: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was found; another process finds it again, of the same code."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {_BEGAN_WITH: self.code}

    @cached_property
    def code(self) -> dict[str, str]:
        """Return the fingerprints of all code that the bench runs, of sbdata and of each method."""
        return {
            "sbdata": code_fingerprint(*CODE.values()),
            **{name: code_of_method(method) for name, method in self.methods.items()},
        }

    def check_code(self) -> None:
        """Make sure that this process runs the code that the bench began with in another one.

        Raises:
            InputError: if it was edited in between, and so would mix two versions.
        """
        if self.__dict__.get(_BEGAN_WITH, self.code) != self.code:
            msg = (
                "the source of sbdata or of a method was edited while the bench ran; run the same "
                "command again"
            )
            raise InputError(msg)

    # --- what the plan names

    @cached_property
    def methods(self) -> Mapping[str, Method]:
        """Return the methods by name."""
        return find_methods(self.plan, self.work)

    @cached_property
    def preset(self) -> Preset:
        """Return the segmenter's preset: its own, or the one that goes with the methods'."""
        own, methods = self.plan.training_preset, self.plan.preset
        name = own or _SEGMENTER_PRESETS.get(methods, methods)
        return load_preset(name, self.plan.training_overrides)

    @cached_property
    def hashes(self) -> FileHashes:
        """Return what is known of the content of photos and masks."""
        return FileHashes(self.work / HASHES, verify=self.verify)

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
        self._check_all(found, self.plan.labels, "labels", "one line for every image")
        return found

    @cached_property
    def boxes(self) -> Mapping[str, tuple[Box, ...]] | None:
        """Return boxes of the user's own."""
        if self.plan.boxes is None:
            return None
        found = read_boxes(self.plan.boxes, self.training.taxonomy, self.training.image_ids)
        what = "every image in it, those without objects too"
        self._check_all(found, self.plan.boxes, "boxes", what)
        return found

    def _check_all(self, found: Mapping[str, Any], path: Path, what: str, wanted: str) -> None:
        absent = [image_id for image_id in self.training if image_id not in found]
        if absent:
            msg = (
                f"{path}: has no {what} of image {absent[0]} ({len(absent)} of "
                f"{len(self.training)} images lack them); give {wanted}"
            )
            raise InputError(msg)

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
        given = boxes if self.boxes is None or not boxes else self.boxes
        if saliency is not None:
            lacking = next((i for i in opened if not (saliency / f"{i}.png").is_file()), None)
            if lacking is not None:
                msg = f"{saliency}: no {lacking}.png; --saliency needs a map of every image"
                raise InputError(msg)
        folder = self.work / "weak" / f"{opened.name}-{opened.logical_hash[:12]}"
        if self.dry and not folder.is_dir():
            return WeakSet((), opened.taxonomy)  # nothing is cached yet: it tells stages apart
        with locked(folder):
            return weak_set(
                opened, folder, boxes=given, saliency=saliency, labels=labels, hashes=self.hashes
            )

    @cached_property
    def jobs(self) -> tuple[Task, ...]:
        """Return the jobs of the plan, each after those it builds on."""
        return tasks_of(
            self.plan,
            self.methods,
            self.preset,
            self.training,
            self.sets,
            self.weak,
            self.workers,
        )

    # --- folders

    @property
    def stages(self) -> Path:
        """Return the folder of all stages."""
        return self.work / "stages"

    def masks(self, method: Method, seed: int) -> Path | None:
        """Return the folder of a method's pseudo-masks; None for ground truth."""
        last = method.last
        return None if last is None else folder_of(last, self.weak(method), self.stages, seed)

    def photos(self, opened: EvaluationSet) -> str:
        """Return a hash of a set's photos.

        Raises:
            InputError: if one is not the file that the set was built with.
        """
        if opened.root not in self._photos:
            check_files(opened, [IMAGES_FOLDER], self.hashes)
            digests = {i: self.hashes.sha256(opened.image_path(i)) for i in opened}
            self._photos[opened.root] = content_of(digests)
        return self._photos[opened.root]

    @cached_property
    def _photos(self) -> dict[Path, str]:
        return {}

    def training_key(self, method: Method, seed: int) -> str:
        """Return the fingerprint of all that trained segmenters of a method and seed depend on."""
        last, preset = method.last, self.preset.as_dict()
        for part, name in (("optimisation", "checkpoint_every"), ("model", "weights")):
            del preset[part][name]  # the one changes nothing, of the other the content counts
        model = self.preset.model
        masks = (
            self.training.logical_hash if last is None else key_of(last, self.weak(method), seed)
        )
        return fingerprint(
            {k: v for k, v in preset.items() if k not in ("name", "inference")},
            inputs={
                "masks": masks,
                "photos": self.photos(self.training),
                "classes": list(self.training.taxonomy.classes),
                "weights": weights_content(model.backbone, model.weights),
                "processes": process_count(),
            },
            code=[CODE["train"]],
        )

    def training_folder(self, method: Method, seed: int) -> Path:
        """Return where the segmenters of a method and seed lie, by strategy."""
        name = f"{method.name}-{self.training_key(method, seed)}"
        return self.work / "train" / name / f"seed-{seed}"

    def _prediction_key(self, method: Method, seed: int, strategy: str, name: str) -> str:
        return fingerprint(
            {"strategy": strategy, "seed": seed, "inference": as_plain(self.preset.inference)},
            inputs={
                "model": self.training_key(method, seed),
                "set": self.sets[name].logical_hash,
                "photos": self.photos(self.sets[name]),
            },
            code=[CODE["predict"]],
        )

    def prediction_folder(self, method: Method, seed: int, strategy: str, name: str) -> Path:
        """Return where the masks of a scored set lie."""
        root = self.training_folder(method, seed) / "predictions" / strategy
        return root / f"{name}-{self._prediction_key(method, seed, strategy, name)}"

    def score_folder(self, method: Method, seed: int, strategy: str, name: str) -> Path:
        """Return where values and tables of the masks of a scored set lie."""
        key = fingerprint(
            as_plain(OPTIONS),
            inputs={
                "predictions": self._prediction_key(method, seed, strategy, name),
                "truth": self.sets[name].logical_hash,
            },
            code=[CODE["score"]],
        )
        return self.training_folder(method, seed) / "scores" / strategy / f"{name}-{key}"

    def pseudo_folder(self, method: Method, seed: int) -> Path:
        """Return where the score of a method's pseudo-masks lies."""
        stages = {n: key_of(stage, self.weak(method), seed) for n, stage in method.stages.items()}
        key = fingerprint(
            {},
            inputs={"stages": stages, "truth": self.training.logical_hash},
            code=[CODE["pseudo"]],
        )
        return self.work / "pseudo" / f"{method.name}-{key}"

    def stage_folders(self, method: Method, seed: int) -> dict[str, Path]:
        """Return the folder of each stage of a method by its name, in their order."""
        weak = self.weak(method)
        return {n: folder_of(s, weak, self.stages, seed) for n, s in method.stages.items()}

    # --- jobs

    def is_done(self, job: Task) -> bool:
        """Tell whether a job's result is there; a result's file is always written again."""
        method = self.methods[job.method]
        if job.kind == "stage":
            stage = method.stages[job.part]
            return (folder_of(stage, self.weak(method), self.stages, job.seed) / DONE).is_file()
        if job.kind == "pseudo":
            return (self.pseudo_folder(method, job.seed) / MARKER).is_file()
        if job.kind == "train":
            return (self.training_folder(method, job.seed) / job.part / MARKER).is_file()
        if job.kind == "predict":
            folder = self.prediction_folder(method, job.seed, job.strategy, job.part)
            return (folder / PREDICTED).is_file()
        return False


def code_of_method(method: Method) -> str:
    """Return a hash of all code that the stages of a method can reach."""
    return hash_of([code_fingerprint(*code_of(stage)) for stage in method.stages.values()])


@contextmanager
def locked(path: Path, *, where: bool = True) -> Iterator[None]:
    """Let one process at a time make a file or folder; a killed one's lock is free again."""
    if not where:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield


def _opened(root: Path) -> EvaluationSet:
    if not root.is_dir() and root.name in bundled_recipes():
        msg = f"{root}: no such set; build it by 'make dataset RECIPE={root.name}'"
        raise InputError(msg)
    return open_set(root)
