"""``eval.yaml``: a dataset of the Hugging Face Hub as a benchmark, and the names of its tasks.

The Hub lists one value for each task of a benchmark. A task's name therefore has everything that
decides whether two values are comparable: split, metric with its version, and the beginning of the
set's logical hash. Format: https://huggingface.co/docs/hub/eval-results
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import yaml

from sbdata.errors import InputError
from sbdata.metrics.image import METRIC
from sbdata.sets import EvaluationSet

EVAL_FILE = "eval.yaml"
FRAMEWORK = "sbdata"
"""Name of the evaluation framework; the Hub takes only names of its own list."""

_DIGITS = 8  # of the logical hash, in a task's name


def hub_tasks(split: str, sizes: Iterable[str], metric: str, logical_hash: str) -> dict[str, str]:
    """Return the tasks of a set: the headline name of each task's value, by the task's name.

    The values are mIoU and the class means of IA, over all sizes and for each size.

    Args:
        split: Name of the set's split.
        sizes: Names of the sizes.
        metric: Name and version of the metric, such as ``ia_iou.v2``.
        logical_hash: Logical hash of the set.

    Raises:
        InputError: If two sizes would have the same name.

    >>> list(hub_tasks("val", ["small"], "ia_iou.v2", "a4b132d30bc2784e"))
    ['val_miou_v2_a4b132d3', 'val_ia_v2_a4b132d3', 'val_ia_small_v2_a4b132d3']
    """
    version = metric.rpartition(".")[2]
    names = ["miou", "ia", *(f"ia_{size}" for size in sizes)]
    tasks = {
        re.sub(r"\W", "_", f"{split}_{name}_{version}_{logical_hash[:_DIGITS]}", flags=re.ASCII): (
            name if name == "miou" else f"{name}.class_mean"
        )
        for name in names
    }
    if len(tasks) < len(names):
        msg = (
            f"the sizes {', '.join(names[2:])} differ only in characters that a task cannot have; "
            "build the set with other names"
        )
        raise InputError(msg)
    return tasks


def check_benchmark(opened: EvaluationSet) -> None:
    """Check that a set can be a benchmark of the Hub.

    Raises:
        InputError: If it has several splits, since a result covers the whole set and a task one
            split; or if tasks would have the same name.
    """
    splits = opened.manifest.images["split"].unique().to_pylist()
    if len(splits) > 1:
        msg = (
            f"{opened.root}: has {len(splits)} splits, and a benchmark of the Hub is one split; "
            "leave out --benchmark, or build a set of each"
        )
        raise InputError(msg)
    _tasks_of(opened)


def eval_yaml(opened: EvaluationSet, config: str, split: str | None = None) -> str:
    """Return the text of ``eval.yaml`` for an export of a set of one split.

    Args:
        opened: Exported set.
        config: Config of the export that has the set's images.
        split: Split of that config; the set's by default.
    """
    manifest = opened.manifest
    synthetic = bool(manifest.meta["synthetic"])
    said = (
        f"Semantic segmentation of {len(opened):,} {'generated ' if synthetic else ''}images with "
        f"{manifest.instances.num_rows:,} instances of {len(manifest.taxonomy.classes)} classes, "
        f"scored by sbdata: mIoU, and the class means of instance-aware IoU (IA) over all sizes "
        f"and by size, {METRIC}. Values lie between 0 and 1; higher is better. Logical hash of "
        f"the set: {opened.logical_hash}."
    )
    if synthetic:
        said += " The set is synthetic: values on it say nothing about photographs."
    place = split or manifest.images["split"][0].as_py()
    tasks = [{"id": task, "config": config, "split": place} for task in _tasks_of(opened)]
    content = {
        "name": opened.name + (" (synthetic)" if synthetic else ""),
        "description": said,
        "evaluation_framework": FRAMEWORK,
        "tasks": tasks,
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _tasks_of(opened: EvaluationSet) -> list[str]:
    split = opened.manifest.images["split"][0].as_py()
    return list(hub_tasks(split, opened.bins.names, METRIC, opened.logical_hash))
