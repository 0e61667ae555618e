"""Scores: a strategy's predictions of a set, scored once; the tables are kept for comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sbdata.benchmark.records import Value
from sbdata.benchmark.values import figures_of
from sbdata.errors import InputError
from sbdata.json_files import read_json
from sbdata.parallel import Progress
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.tables_file import write_tables
from sbdata.score.truth import truth_from_set
from sbdata.sets import EvaluationSet
from sbdata.settings import as_plain, from_plain
from sbdata.storage import write_text

OPTIONS = ScoreOptions()
TABLES = "tables.npz"
VALUES = "values.json"

_REMEDY = "delete its folder to have the predictions scored again"


@dataclass(frozen=True)
class SetScore:
    """Values of one strategy on one set.

    Attributes:
        metric: Name and version of the metric.
        n_images: Number of scored images.
        n_instances: Number of instances by size: ``ia``, ``ia_small`` ...
        n_classes: Number of classes with at least one such instance, by size.
        figures: Values by the names of ``Summary.headline``.
        predictions: SHA-256 over the predicted masks.
        outcomes: Number of instances of each size with each of ``OUTCOMES``.
    """

    metric: str
    n_images: int
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    figures: Mapping[str, Value]
    predictions: str
    outcomes: Mapping[str, Mapping[str, int]]


def score_set(predictions: Path, opened: EvaluationSet, folder: Path, progress: Progress) -> None:
    """Score the predictions of a set, and write values and tables into a folder."""
    scored = score_folder(predictions, truth_from_set(opened.root), OPTIONS, progress=progress)
    summary = scored.summary
    found = SetScore(
        metric=summary.metric,
        n_images=summary.n_images,
        n_instances={n: f.n_instances for n, f in summary.ia.items()},
        n_classes={n: f.n_classes for n, f in summary.ia.items()},
        figures=figures_of(scored),
        predictions=scored.provenance["predictions"][0]["sha256"],
        outcomes=summary.outcomes,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder / TABLES, scored.tables)
    write_text(folder / VALUES, json.dumps(as_plain(found), indent=2, allow_nan=False) + "\n")


def read_score(folder: Path) -> SetScore:
    """Return the values that :func:`score_set` wrote.

    Raises:
        InputError: if the file is missing or damaged; the message names it.
    """
    path = folder / VALUES
    try:
        found = from_plain(SetScore, read_json(path, _REMEDY), str(path))
    except InputError as error:
        msg = f"{error!s:.300}; {_REMEDY}"
        raise InputError(msg) from error
    assert isinstance(found, SetScore)  # noqa: S101 - for the type checker
    return found
