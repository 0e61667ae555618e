"""Leaderboards: results of ``sbdata bench``, one board per training set and scored set.

A board has a row for each method and strategy, with the mean over its seeds. Results are averaged
only if nothing but their seed and the version of the code differs; otherwise the board is refused.
The protocol that most results of a board share is the board's. A row with another protocol (another
split, refinement, multi-scale test, initialisation, training preset or set of the same name) is
kept, with a mark and a footnote that describes the difference. No value is filled in: a pair of
method and strategy without a result is "not run".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sbdata.benchmark.aggregate import Mean, mean_of
from sbdata.benchmark.comparability import (
    Footnote,
    differences_of_masks,
    differences_of_result,
    footnotes_of,
    reference_of,
)
from sbdata.benchmark.entries import Paired, SetRecord, kinds_of, read_records, record_order
from sbdata.benchmark.ordering import method_order, strategy_order
from sbdata.benchmark.paired_differences import PairedDifference, paired_differences
from sbdata.benchmark.pseudo_mask_quality import Quality, check_masks_agree, make_quality
from sbdata.errors import InputError
from sbdata.metrics.outcomes import OUTCOMES
from sbdata.plurals import count
from sbdata.supervision import LABELS_ONLY


@dataclass(frozen=True)
class Row:
    """Row of a board: a method with a strategy.

    Attributes:
        method: Name of the method.
        strategy: Training strategy.
        kind: Supervision of the method, or ``controls``.
        role: ``ceiling`` or ``floor`` of a control, the variant of a method, or empty.
        seeds: Seeds that were run, sorted; empty if it was not run.
        figures: Values by headline name; None if undefined.
        mark: Mark of the footnote that describes how its protocol differs, or empty.
        outcomes: Share of the instances of each size with each of ``OUTCOMES``; None if the set has
            no such instance. Empty if a seed's result has no outcomes.
    """

    method: str
    strategy: str
    kind: str
    role: str
    seeds: tuple[int, ...] = ()
    figures: Mapping[str, Mean | None] = field(default_factory=dict)
    mark: str = ""
    outcomes: Mapping[str, Mapping[str, Mean | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """Results of methods trained on one set and scored on one set.

    Attributes:
        training: Name of the training set.
        scored: Name of the scored set.
        synthetic: True if images of either set are generated.
        n_images: Number of images of the scored set.
        n_instances: Number of instances by size: ``ia``, ``ia_small`` ...
        n_classes: Number of classes with such an instance, by size.
        protocol: Protocol that the rows without a mark share.
        rows: Rows by kind, method and strategy.
        pseudo_masks: Quality of the methods' pseudo-masks; None if it was not measured.
        contrasts: Paired differences by kind, method and pair.
        footnotes: Footnotes by mark.
        notes: Sentences that must be shown with the values.
    """

    training: str
    scored: str
    synthetic: bool
    n_images: int
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    protocol: Mapping[str, str]
    rows: tuple[Row, ...]
    pseudo_masks: Quality | None
    contrasts: tuple[PairedDifference, ...]
    footnotes: tuple[Footnote, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the board: training set, slash, scored set."""
        return f"{self.training}/{self.scored}"

    @property
    def strategies(self) -> tuple[str, ...]:
        """Strategies of the rows, in their order."""
        return tuple(dict.fromkeys(sorted((r.strategy for r in self.rows), key=strategy_order)))


def read_boards(paths: Sequence[Path]) -> list[Board]:
    """Read result files and the differences beside them, and arrange them in boards.

    Raises:
        InputError: see :func:`~sbdata.benchmark.entries.read_records` and :func:`make_boards`.
    """
    return make_boards(*read_records(paths))


def make_boards(entries: Sequence[SetRecord], pairs: Sequence[Paired] = ()) -> list[Board]:
    """Arrange results in boards, sorted by training set and scored set.

    Args:
        entries: Results.
        pairs: Paired differences between results in the same folder.

    Raises:
        InputError: if two files give different values for one cell or one set of pseudo-masks, or
            different numbers of instances for one set; if the results of a cell differ in more than
            their seed; or if a difference does not match its results.
    """
    check_masks_agree(entries)
    _check_numbers_agree(entries)
    groups: dict[tuple[str, str], list[SetRecord]] = defaultdict(list)
    for entry in entries:
        groups[entry.training, entry.scored].append(entry)
    methods, strategies = ({getattr(e, key) for e in entries} for key in ("method", "strategy"))
    return [_board(groups[key], pairs, methods, strategies) for key in sorted(groups)]


def boards_as_dict(boards: Sequence[Board]) -> dict[str, Any]:
    """Return boards as plain values, for JSON."""
    listed = [{"name": board.name, **asdict(board)} for board in boards]
    return {"format": "sbdata.leaderboard.v1", "boards": listed}


def _check_numbers_agree(entries: Sequence[SetRecord]) -> None:
    """Check that results on one set have its numbers of images, instances and classes."""
    first: dict[tuple[str, str], SetRecord] = {}
    for entry in sorted(entries, key=lambda entry: str(entry.file)):
        former = first.setdefault((entry.protocol["set_hash"], entry.protocol["metric"]), entry)
        one, other = ((e.n_images, e.n_instances, e.n_classes) for e in (former, entry))
        if one != other:
            msg = (
                f"{former.file} and {entry.file} give different numbers of images, instances or "
                f"classes for one set, {entry.scored}; leave one of them out or run 'sbdata bench' "
                "again"
            )
            raise InputError(msg)


# --- one board ------------------------------------------------------------------------------------


def _board(
    entries: Sequence[SetRecord], pairs: Sequence[Paired], methods: set[str], strategies: set[str]
) -> Board:
    reference = reference_of(entries)
    said = {id(entry): differences_of_result(entry, reference) for entry in entries}
    said_of_masks = {id(entry): differences_of_masks(entry, reference) for entry in entries}
    ordered = sorted(entries, key=record_order)
    texts = [place[id(entry)] for place in (said, said_of_masks) for entry in ordered]
    footnotes = footnotes_of(texts)
    mark_of = {"": "", **{footnote.text: footnote.mark for footnote in footnotes}}
    marks = {key: mark_of[text] for key, text in said.items()}
    kept, notes = _without_repeats(ordered, marks)
    contrasts, skipped = paired_differences(entries, pairs, marks)
    first = next(entry for entry in kept if entry.protocol == reference.protocol)
    return Board(
        training=first.training,
        scored=first.scored,
        synthetic=any(entry.synthetic for entry in kept),
        n_images=first.n_images,
        n_instances=first.n_instances,
        n_classes=first.n_classes,
        protocol=reference.protocol,
        rows=tuple(_rows(kept, marks)),
        pseudo_masks=make_quality(
            entries, {key: mark_of[text] for key, text in said_of_masks.items()}
        ),
        contrasts=tuple(contrasts),
        footnotes=footnotes,
        notes=(
            *notes,
            *_elsewhere(kept, methods, strategies),
            *(
                f"Methods that use saliency have these maps: {s}."
                for s in reference.saliency.values()
            ),
            *_without_truth(first),
            *_versions(kept),
            *_versions_within(kept, marks),
            *skipped,
        ),
    )


def _rows(entries: Sequence[SetRecord], marks: Mapping[int, str]) -> list[Row]:
    """Return a row for each method, strategy and mark, and for each pair that was not run."""
    kinds = kinds_of(entries)
    cells: dict[tuple[str, str, str], list[SetRecord]] = defaultdict(list)
    for entry in entries:
        cells[entry.method, entry.strategy, marks[id(entry)]].append(entry)
    for found in cells.values():
        _check_same_identity(found)
    run = {(method, strategy) for method, strategy, _ in cells}
    rows = [
        Row(method, strategy, found[0].kind, found[0].role, *_means(found), mark, _outcomes(found))
        for (method, strategy, mark), found in cells.items()
    ]
    roles = {entry.method: entry.role for entry in entries}
    rows += [
        Row(method, strategy, kind, roles[method])
        for method, kind in kinds.items()
        for strategy in {entry.strategy for entry in entries}
        if (method, strategy) not in run
    ]
    return sorted(rows, key=_order)


def _order(row: Row) -> tuple[Any, ...]:
    return (*method_order(row.method, row.kind), strategy_order(row.strategy), row.mark)


def _means(entries: Sequence[SetRecord]) -> tuple[tuple[int, ...], dict[str, Mean | None]]:
    """Return the seeds of a cell and the means of its values."""
    entries = sorted(entries, key=lambda entry: entry.seed)
    names = dict.fromkeys(name for entry in entries for name in entry.figures)
    figures = {name: mean_of([entry.figures.get(name) for entry in entries]) for name in names}
    return tuple(entry.seed for entry in entries), figures


def _outcomes(entries: Sequence[SetRecord]) -> dict[str, dict[str, Mean | None]]:
    """Return the mean share of each outcome by size; empty if an entry has no outcomes."""
    if not all(entry.outcomes for entry in entries):
        return {}
    return {
        size: {kind: mean_of([_share(entry, size, kind) for entry in entries]) for kind in OUTCOMES}
        for size in entries[0].outcomes
    }


def _share(entry: SetRecord, size: str, kind: str) -> float | None:
    counts = entry.outcomes[size]
    total = sum(counts.values())
    return counts[kind] / total if total else None


def _without_repeats(
    entries: Sequence[SetRecord], marks: Mapping[int, str]
) -> tuple[list[SetRecord], list[str]]:
    """Return one record per cell and seed, and notes on files with repeated values."""
    kept: dict[tuple[str, str, str, int], SetRecord] = {}
    notes = []
    for entry in entries:
        key = (entry.method, entry.strategy, marks[id(entry)], entry.seed)
        former = kept.setdefault(key, entry)
        if former is entry:
            continue
        contradict = former.outcomes and entry.outcomes and former.outcomes != entry.outcomes
        if former.figures != entry.figures or contradict:
            differing = [*_differing(former, entry), *_differing(former, entry, code=True)]
            said = f"; they differ in {', '.join(differing)}" if differing else ""
            msg = (
                f"{former.file} and {entry.file} give {entry.method}, {entry.strategy}, seed "
                f"{entry.seed} different values on {entry.scored}{said}; leave one of them out"
            )
            raise InputError(msg)
        notes.append(_repeated(former, entry))
    return list(kept.values()), notes


def _repeated(former: SetRecord, entry: SetRecord) -> str:
    if former.file.name == entry.file.name:
        return f"{entry.file.name} was given twice, with the same values."
    return f"{former.file.name} and {entry.file.name} have the same values; one of them is shown."


def _check_same_identity(entries: Sequence[SetRecord]) -> None:
    """Check that the results of a cell differ only in their seed and their code.

    Raises:
        InputError: if they differ otherwise; the message names two files and the differences.
    """
    first = entries[0]
    for entry in entries[1:]:
        differing = _differing(first, entry)
        if differing:
            msg = (
                f"{first.file} and {entry.file} are both {entry.method}, {entry.strategy}, but "
                f"differ in {', '.join(differing)}; only results that differ in nothing but the "
                "seed are averaged, so leave one of them out"
            )
            raise InputError(msg)


def _differing(one: SetRecord, other: SetRecord, *, code: bool = False) -> list[str]:
    """Return the names of the values that differ between two identities: code only, or the rest."""
    names = sorted({*one.identity, *other.identity})
    return [
        name
        for name in names
        if one.identity.get(name) != other.identity.get(name) and name.startswith("code: ") == code
    ]


def _elsewhere(entries: Sequence[SetRecord], methods: set[str], strategies: set[str]) -> list[str]:
    """Return notes on methods and strategies that only have results on another set."""
    lacking = {
        "method": sorted(methods - {entry.method for entry in entries}),
        "strategy": sorted(strategies - {entry.strategy for entry in entries}, key=strategy_order),
    }
    return [
        "Run only on another set: "
        f"{count(len(names), what, 'strategies' if what == 'strategy' else '')} "
        f"({', '.join(names)})."
        for what, names in lacking.items()
        if names
    ]


def _without_truth(entry: SetRecord) -> list[str]:
    """Return a note if the pseudo-masks of the training set could not be scored."""
    if not entry.labels.endswith(LABELS_ONLY):
        return []
    return [
        f"The pseudo-masks of {entry.training} were not scored: the set has {LABELS_ONLY}, so "
        "only the trained segmenters were."
    ]


def _versions(entries: Sequence[SetRecord]) -> list[str]:
    codes = {entry.code for entry in entries}
    if len(codes) < 2:
        return []
    return [f"The results come from {len(codes)} versions of sbdata's code."]


def _versions_within(entries: Sequence[SetRecord], marks: Mapping[int, str]) -> list[str]:
    """Return notes on means over results of different code versions."""
    codes: dict[tuple[str, str, str], set[tuple[str, ...]]] = defaultdict(set)
    for entry in entries:
        own = tuple(v for name, v in sorted(entry.identity.items()) if name.startswith("code: "))
        codes[entry.method, entry.strategy, marks[id(entry)]].add(own)
    return [
        f"The seeds of {method}, {strategy}{f' ({mark})' if mark else ''} come from {len(found)} "
        "versions of the code."
        for (method, strategy, mark), found in codes.items()
        if len(found) > 1
    ]
