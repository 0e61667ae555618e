"""Comparison: strategies of one method and seed against a control, by the paired bootstrap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sbdata.benchmark.records import Pair
from sbdata.benchmark.steps.scores import OPTIONS, TABLES
from sbdata.benchmark.values import differences_of
from sbdata.metrics.bootstrap import bootstrap, compare
from sbdata.parallel import Progress
from sbdata.score.tables_file import read_tables
from sbdata.sets import EvaluationSet

CONTROLS = ("ce",)
"""Strategies with which the others are compared."""


def compared_pairs(
    scores: Mapping[str, Path], opened: EvaluationSet, name: str, progress: Progress
) -> Iterator[Pair]:
    """Compare each strategy with each control, from the tables of their scores.

    Args:
        scores: Folder of each strategy's score, by strategy name.
        opened: Scored set.
        name: Name of the set.
        progress: Callback, called with (strategies read, total strategies).
    """
    controls = [control for control in CONTROLS if control in scores]
    if not controls or len(scores) < 2:
        return
    drawn = {}
    for done, (strategy, folder) in enumerate(scores.items(), start=1):
        tables = read_tables(folder / TABLES)
        drawn[strategy] = bootstrap(
            tables, opened.bins, resamples=OPTIONS.resamples, seed=OPTIONS.seed
        )
        progress(done, len(scores))
    for control in controls:
        for strategy in scores:
            if strategy != control:
                found = compare(drawn[strategy], drawn[control])
                differences = differences_of(found)
                yield Pair(name, strategy, control, differences, opened.logical_hash)
