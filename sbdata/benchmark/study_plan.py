"""Plan of a study: its tasks with their costs, and the files that must be downloaded first.

Sets that are not built count with their published sizes; see
:mod:`sbdata.benchmark.published_sets`. The ids of their tasks are not known yet, because they
depend on the content of the sets.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sbdata.benchmark.costs import GPU, cpu_seconds, gpu_seconds
from sbdata.benchmark.imported import is_import
from sbdata.benchmark.published_sets import PUBLISHED
from sbdata.benchmark.run import PlanRow, plan_bench
from sbdata.benchmark.study import Study
from sbdata.benchmark.unbuilt import LATER, UnbuiltSet
from sbdata.dataset_cache import ROOT, PublishedCollection, archive_status
from sbdata.errors import InputError
from sbdata.recipe import Recipe, bundled_recipes
from sbdata.settings import as_plain
from sbdata.sources.published import load_registry
from sbdata.taxonomy import named_taxonomy
from sbdata.train.weights import DEFAULT_BACKBONE, NAMED

_WEIGHTS = {"resnet50": 102_540_417, "resnet101": 178_814_045, "vgg16": 553_433_881}
"""Bytes of torchvision's files of ImageNet weights; those that timm fetches are about as large."""

_KINDS = ("stage", "pseudo", "train", "predict", "score", "result", "compare")


@dataclass(frozen=True)
class Download:
    """File that a study needs.

    Attributes:
        name: Name of the file, or a description.
        purpose: Kind of file: ``archive``, ``photos`` or ``weights``.
        size: Size in bytes; None if it is not known.
        missing: True if it is not on this machine.
    """

    name: str
    purpose: str
    size: int | None
    missing: bool


@dataclass(frozen=True)
class KindOfTasks:
    """Tasks of one kind in one part of a study.

    Attributes:
        part: Name of the part.
        kind: Kind of task.
        tasks: Number of tasks.
        done: Number of tasks whose result exists.
        gpu_hours: Estimated hours of a GPU for the others, by the guessed speed of a GPU.
        cpu_hours: Estimated hours of a core for those of them that need no GPU.
        core_hours: Estimated hours of a core for all of them, without any GPU.
        space: Estimated size of their results in bytes, those that exist included.
    """

    part: str
    kind: str
    tasks: int
    done: int
    gpu_hours: float
    cpu_hours: float
    core_hours: float
    space: float


@dataclass(frozen=True)
class StudyPlan:
    """Plan of a study.

    Attributes:
        rows: Tasks, in the order in which one process would run them.
        unbuilt: Sets that are not built yet.
        downloads: Published files that it needs.
        set_bytes: Estimated size of the photos of the sets that are not built.
        notes: Sentences that must be shown with the plan.
        provisional: True if sets, weights or masks are missing, so that ids are not known yet.
    """

    rows: tuple[PlanRow, ...]
    unbuilt: tuple[UnbuiltSet, ...]
    downloads: tuple[Download, ...]
    set_bytes: int
    notes: tuple[str, ...]
    provisional: bool

    @property
    def kinds(self) -> tuple[KindOfTasks, ...]:
        """Tasks by part and kind."""
        groups: dict[tuple[str, str], list[PlanRow]] = {}
        for row in self.rows:
            key = (row.task.context["about"].get("part", ""), row.task.kind)
            groups.setdefault(key, []).append(row)
        parts = list(dict.fromkeys(part for part, _ in groups))
        order = sorted(groups, key=lambda key: (parts.index(key[0]), _KINDS.index(key[1])))
        return tuple(_kind(*key, groups[key]) for key in order)

    def as_dict(self, study: Study) -> dict[str, Any]:
        """Return plain values, for JSON, of all tasks; an id that is not known yet is None."""
        unknown = {unbuilt.name for unbuilt in self.unbuilt}
        return {
            "format": "sbdata.study_plan.v1",
            "study": study.name,
            "gpu_factor": GPU,
            "gpu_factor_is_a_guess": True,
            "kinds": [vars(kind) for kind in self.kinds],
            "unbuilt": sorted(unknown),
            "downloads": [vars(download) for download in self.downloads],
            "set_bytes": self.set_bytes,
            "notes": list(self.notes),
            "tasks": [
                {
                    "id": None if self.provisional else row.task.id,
                    "kind": row.task.kind,
                    "name": row.task.name,
                    **row.task.context["about"],
                    "images": row.task.resources.images,
                    "gpu_seconds": gpu_seconds(row.task.resources),
                    "seconds": row.seconds,
                    "estimate": row.estimate.source,
                    "space": row.task.resources.space,
                    "done": row.done,
                }
                for row in self.rows
            ],
        }


def _kind(part: str, kind: str, rows: Sequence[PlanRow]) -> KindOfTasks:
    left = [row.task.resources for row in rows if not row.done]
    return KindOfTasks(
        part,
        kind,
        len(rows),
        sum(row.done for row in rows),
        sum(map(gpu_seconds, left)) / 3600,
        sum(map(cpu_seconds, left)) / 3600,
        sum(needed.seconds for needed in left) / 3600,
        sum(row.task.resources.space for row in rows),
    )


def plan_study(
    study: Study,
    work: Path,
    results: Path,
    *,
    pseudo: Mapping[str, Mapping[str, Path]] | None = None,
    workers: int | None = None,
) -> StudyPlan:
    """Return the plan of a study; nothing is computed or written, and PyTorch is not needed.

    Args:
        study: Study, perhaps narrowed.
        work: Folder of the cache.
        results: Folder of the result files.
        pseudo: Folders of imported masks, by part and method.
        workers: Number of data-loading workers.

    Raises:
        InputError: for an unusable study or set.
    """
    stand_ins = _stand_ins(study, work)
    configs = study.configs(work, pseudo)
    rows = plan_bench(configs, work, results, workers=workers, unbuilt=stand_ins)
    published = [PUBLISHED[s.name] for s in stand_ins.values() if s.name in PUBLISHED]
    names = dict.fromkeys(name for found in published for name in found.sources)
    downloads = [*_archives(names)]
    for unbuilt in stand_ins.values():
        known = PUBLISHED.get(unbuilt.name)
        if known is not None and known.fetched:
            size = (known.images or 0) * known.photo_bytes or None
            downloads.append(Download(f"photos of {unbuilt.name}", "photos", size, missing=True))
    downloads += _weights(rows)
    notes = [f"{found.note}." for found in published if found.note]
    for part, folders in (pseudo or {}).items():
        for method, folder in folders.items():
            how = "is an import" if is_import(folder) else "will be imported"
            notes.append(f"{part}: {folder} {how}; its masks replace the stages of {method}.")
    set_bytes = sum((found.images or 0) * found.photo_bytes for found in published)
    return StudyPlan(
        rows,
        tuple(stand_ins.values()),
        tuple(downloads),
        set_bytes,
        tuple(notes),
        provisional=bool(stand_ins)
        or any(LATER in json.dumps(as_plain(row.task.params)) for row in rows),
    )


def _stand_ins(study: Study, work: Path) -> dict[Path, UnbuiltSet]:
    """Return the known facts about the sets that are not built, by folder."""
    found = {}
    for called in study.sets:
        folder = study.folder(called, work)
        recipe = study.recipe_of(called)
        if folder.is_dir():
            continue
        if recipe is not None:
            found[folder] = _generated(recipe, called, folder)
        elif called in PUBLISHED:
            known = PUBLISHED[called]
            taxonomy = named_taxonomy(known.taxonomy)
            found[folder] = UnbuiltSet(called, folder, taxonomy, known.images, known.megapixels)
        elif called in bundled_recipes():
            msg = (
                f"{folder}: no such set, and its size is not known before it is built; build it by "
                f"'sbdata dataset build {called}'"
            )
            raise InputError(msg)
    return found


def _generated(recipe: Recipe, called: str, folder: Path) -> UnbuiltSet:
    from sbdata.sources.shapes import OPTIONS

    images, side = 0, 0
    for spec in recipe.sources:
        options = {**OPTIONS, **spec.options}
        images += sum(int(options[split]) for split in spec.splits if split in options)
        side = max(side, int(options["size"]))
    known = None if recipe.select else images
    return UnbuiltSet(called, folder, recipe.classes(), known, side * side * 7 / 8 / 1e6, True)


# --- downloads ------------------------------------------------------------------------------------


def _archives(names: Iterable[str]) -> Iterable[Download]:
    for status in archive_status(PublishedCollection(ROOT, load_registry()), names):
        yield Download(status.file.name, "archive", status.file.size, status.missing != 0)


def _weights(rows: Sequence[PlanRow]) -> list[Download]:
    """Return the initial weights of all networks; those of an installed package are left out."""
    found: dict[tuple[str, str], None] = {}
    for row in rows:
        settings = row.task.params.get("settings", {}) if row.task.kind == "stage" else {}
        models = [settings.get("network"), settings.get("model")]
        if row.task.kind == "train":
            models = [row.task.context["preset"]["model"]]
        for model in models:
            if isinstance(model, Mapping) and "backbone" in model:
                found[str(model["backbone"]), str(model.get("weights", "auto"))] = None
    downloads = []
    for backbone, weights in sorted(found):
        if weights not in NAMED:
            name = f"{weights}: your own file, given by --option model.weights=FILE"
            size = Path(weights).stat().st_size if Path(weights).is_file() else None
            downloads.append(Download(name, "weights", size, missing=not Path(weights).is_file()))
        elif weights == "auto" and backbone != DEFAULT_BACKBONE:
            size = _WEIGHTS.get(backbone.partition(".")[0])
            name = f"{backbone}, fetched by timm"
            downloads.append(Download(name, "weights", size, missing=not _cached(backbone)))
    return downloads


def _cached(backbone: str) -> bool:
    """Return True if the hub's cache on this machine has weights of a timm model."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    exact = "." in backbone
    return any(hub.glob(f"models--timm--{backbone}{'' if exact else '.*'}"))
