"""Paired differences: one strategy minus another of the same method, per seed and over seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sbdata.benchmark.aggregate import interval_of, mean_of
from sbdata.benchmark.entries import Change, Paired, SetRecord, kinds_of
from sbdata.benchmark.ordering import method_order
from sbdata.errors import InputError

PAIRS = (("sb-ewc", "ce"),)
"""Pairs of strategies whose difference supports the paper's claim: minuend, subtrahend."""

_CLOSE = 1e-6  # tolerance between a difference and its values, which were rounded as text


@dataclass(frozen=True)
class PairedDifference:
    """Differences of two strategies of one method.

    Attributes:
        method: Name of the method.
        kind: Supervision of the method, or ``controls``.
        minuend: Name of the first strategy.
        subtrahend: Name of the strategy that is subtracted.
        seeds: Differences of each seed by headline name, with intervals of the paired bootstrap
            over images.
        mean: Mean of the seeds' differences with its t-interval, which shows the variability over
            seeds. None for one seed.
        missing: Reason for missing values: ``not run``, ``not compared``; else empty.
        mark: Mark of the footnote that describes how the protocol of its results differs, or empty.
    """

    method: str
    kind: str
    minuend: str
    subtrahend: str
    seeds: Mapping[int, Mapping[str, Change | None]] = field(default_factory=dict)
    mean: Mapping[str, Change | None] | None = None
    missing: str = ""
    mark: str = ""


def paired_differences(
    entries: Sequence[SetRecord], pairs: Sequence[Paired], marks: Mapping[int, str]
) -> tuple[list[PairedDifference], list[str]]:
    """Return the paired differences of a board, and notes on those that cannot be shown.

    Args:
        entries: Records of the board.
        pairs: Paired differences, of this board or another one.
        marks: Marks of the records, by their ``id``.

    Raises:
        InputError: if a difference does not match the values of its results.
    """
    found, kind_of, notes = _by_pair(entries, pairs, marks)
    kinds = kinds_of(entries)
    contrasts = [
        PairedDifference(
            method=method,
            kind=kind_of[method, one, other, mark],
            minuend=one,
            subtrahend=other,
            seeds=dict(sorted(seeds.items())),
            mean=_mean_change(seeds),
            mark=mark,
        )
        for (method, one, other, mark), seeds in found.items()
    ]
    contrasts += _missing(entries, kinds, {(c.method, c.minuend, c.subtrahend) for c in contrasts})
    return sorted(contrasts, key=_order), notes


def _by_pair(
    entries: Sequence[SetRecord], pairs: Sequence[Paired], marks: Mapping[int, str]
) -> tuple[
    dict[tuple[str, str, str, str], dict[int, Mapping[str, Change | None]]],
    dict[tuple[str, str, str, str], str],
    list[str],
]:
    """Return the differences by method, minuend, subtrahend and mark, and then by seed.

    Beside them are the kinds of their methods, by the same keys, and notes.
    """
    place = {(e.file.parent, e.method, e.strategy, e.seed, e.shared): e for e in entries}
    place |= _alone(entries)
    scored = entries[0].scored
    found: dict[tuple[str, str, str, str], dict[int, Mapping[str, Change | None]]]
    found = defaultdict(dict)
    kinds = {}
    notes = []
    for pair in pairs:
        minuend, subtrahend = (
            place.get((pair.file.parent, pair.method, strategy, pair.seed, pair.shared))
            for strategy in (pair.minuend, pair.subtrahend)
        )
        if pair.scored != scored or (minuend is None and subtrahend is None):
            continue  # belongs to another board
        if minuend is None or subtrahend is None:
            lacking = pair.minuend if minuend is None else pair.subtrahend
            notes.append(
                f"A difference in {pair.file.name} is left out: the result of {lacking} is not "
                "among those of its folder that are compared here."
            )
            continue
        hashes = {minuend.protocol["set_hash"], subtrahend.protocol["set_hash"]}
        if pair.set_hash and hashes != {pair.set_hash}:
            notes.append(
                f"A difference of {pair.minuend} and {pair.subtrahend} in {pair.file.name} is left "
                f"out: {scored} was built anew, and it is on the former set; run 'sbdata bench' "
                "again with both."
            )
            continue
        _check(pair, minuend, subtrahend)
        mark = " ".join(sorted({marks[id(minuend)], marks[id(subtrahend)]} - {""}))
        key = (pair.method, pair.minuend, pair.subtrahend, mark)
        found[key].setdefault(pair.seed, pair.changes)
        kinds[key] = minuend.kind
    return found, kinds, notes


def _alone(entries: Sequence[SetRecord]) -> dict[tuple[Path, str, str, int, str], SetRecord]:
    """Return the results that are unique in their folder, method, strategy and seed.

    A file of differences without an identity of its results refers to these.
    """
    found: dict[tuple[Path, str, str, int, str], list[SetRecord]] = defaultdict(list)
    for e in entries:
        found[e.file.parent, e.method, e.strategy, e.seed, ""].append(e)
    return {key: of[0] for key, of in found.items() if len(of) == 1}


def _missing(
    entries: Sequence[SetRecord], kinds: Mapping[str, str], there: set[tuple[str, str, str]]
) -> list[PairedDifference]:
    """Return a difference without values for each missing pair of :data:`PAIRS`."""
    run = {(entry.method, entry.strategy) for entry in entries}
    present = {entry.strategy for entry in entries}
    return [
        PairedDifference(
            method,
            kind,
            one,
            other,
            missing="not compared" if {(method, one), (method, other)} <= run else "not run",
        )
        for method, kind in kinds.items()
        for one, other in PAIRS
        if {one, other} <= present and (method, one, other) not in there
    ]


def _order(contrast: PairedDifference) -> tuple[Any, ...]:
    pair = (contrast.minuend, contrast.subtrahend)
    order = (*PAIRS, pair).index(pair)
    return (*method_order(contrast.method, contrast.kind), order, pair, contrast.mark)


def _check(pair: Paired, minuend: SetRecord, subtrahend: SetRecord) -> None:
    """Check that differences match the values of the results beside them."""
    for name, change in pair.changes.items():
        values = (minuend.figures.get(name), subtrahend.figures.get(name))
        gap = None if values[0] is None or values[1] is None else values[0] - values[1]
        if (change is None) != (gap is None) or (
            change is not None and gap is not None and abs(change.value - gap) > _CLOSE
        ):
            msg = (
                f"{pair.file}: the difference of {name} does not match {minuend.file.name} and "
                f"{subtrahend.file.name} on {pair.scored}; run 'sbdata bench' again"
            )
            raise InputError(msg)


def _mean_change(
    seeds: Mapping[int, Mapping[str, Change | None]],
) -> dict[str, Change | None] | None:
    """Return the mean of the seeds' differences with its 95 % t-interval; None for one seed."""
    if len(seeds) < 2:
        return None
    means: dict[str, Change | None] = {}
    for name in dict.fromkeys(name for changes in seeds.values() for name in changes):
        given = [changes.get(name) for changes in seeds.values()]
        mean = mean_of([None if change is None else change.value for change in given])
        means[name] = None if mean is None else Change(mean.value, interval_of(mean))
    return means
