"""Quality of each method's pseudo-masks, and the stage at which small objects are lost.

A segmenter learns what its pseudo-masks show. So the masks themselves are compared with the ground
truth of the training set, to see if a small object could be learned at all. All strategies of a
method and seed learn from the same masks, which therefore count once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sbdata.benchmark.aggregate import Mean, mean_of
from sbdata.benchmark.comparability import origin_of_masks
from sbdata.benchmark.entries import PseudoMasks, SetRecord, kinds_of, record_order
from sbdata.benchmark.ordering import method_order
from sbdata.errors import InputError
from sbdata.metrics.registry import sizes_in

GROUND_TRUTH = "ground truth"
"""Text in the row of a method that was trained on ground-truth masks."""

NOT_MEASURED = "not measured"
"""Text in the row of a method whose results have no values for its pseudo-masks."""


@dataclass(frozen=True)
class QualityRow:
    """Quality of a method's pseudo-masks.

    Attributes:
        method: Name of the method.
        kind: Supervision of the method, or ``controls``.
        role: ``ceiling`` or ``floor`` of a control, the variant of a method, or empty.
        seeds: Seeds with pseudo-masks, sorted.
        figures: Values by headline name, with 255 read as background; None if undefined.
        lost: Fraction of the smallest instances that are lost, by stage, in the order in which the
            method runs them.
        missing: Reason for missing values: :data:`GROUND_TRUTH`, :data:`NOT_MEASURED`; else empty.
        mark: Mark of the footnote that describes the difference from the board's other masks, or
            empty.
    """

    method: str
    kind: str
    role: str
    seeds: tuple[int, ...] = ()
    figures: Mapping[str, Mean | None] = field(default_factory=dict)
    lost: Mapping[str, Mean | None] = field(default_factory=dict)
    missing: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Quality:
    """Quality of the pseudo-masks of one training set.

    Attributes:
        n_images: Number of images of the training set.
        n_instances: Number of ground-truth instances by size: ``ia``, ``ia_small`` ...
        n_classes: Number of classes with such an instance, by size.
        smallest: Name of the size for which the rows list losses.
        lost_threshold: Condition for a lost instance: ``under 50 %`` of its pixels.
        rows: Rows by kind and method.
    """

    n_images: int
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    smallest: str
    lost_threshold: str
    rows: tuple[QualityRow, ...]


def check_masks_agree(entries: Sequence[SetRecord]) -> None:
    """Check that results of one method, seed and settings have the same pseudo-masks.

    Raises:
        InputError: if values differ; the message names two files.
    """
    first: dict[tuple[Any, ...], SetRecord] = {}
    for entry in sorted(entries, key=lambda entry: str(entry.file)):
        if entry.pseudo is None:
            continue
        origin = tuple(sorted(origin_of_masks(entry, entry.pseudo).items()))
        key = (entry.training, entry.method, entry.seed, origin)
        former = first.setdefault(key, entry)
        if former.pseudo != entry.pseudo:
            msg = (
                f"{former.file} and {entry.file} give the pseudo-masks of {entry.method}, seed "
                f"{entry.seed} different values; leave one of them out or run 'sbdata bench' again"
            )
            raise InputError(msg)


def make_quality(entries: Sequence[SetRecord], marks: Mapping[int, str]) -> Quality | None:
    """Return one row per method, with means over the seeds; None if no masks were measured.

    Args:
        entries: Records of one board that passed :func:`check_masks_agree`.
        marks: Marks of the records' pseudo-masks, by the records' ``id``.
    """
    entries = sorted(entries, key=record_order)
    masks: dict[tuple[str, str], dict[int, PseudoMasks]] = defaultdict(dict)
    for entry in entries:
        if entry.pseudo is not None:
            masks[entry.method, marks[id(entry)]].setdefault(entry.seed, entry.pseudo)
    if not masks:
        return None
    # The numbers of instances are those of the rows without a mark.
    (_, shown), *_ = sorted(masks.items(), key=lambda item: item[0][1])
    of_set = next(iter(shown.values()))
    smallest = next(iter(sizes_in(of_set.n_instances)), "")
    measured = {method for method, _ in masks}
    shown_as = {(e.method, marks[id(e)]): (e.kind, e.role) for e in entries if e.pseudo is not None}
    true_masks = {entry.method for entry in entries if entry.true_masks}
    rows = []
    for method, kind in kinds_of(entries).items():
        rows += [
            _averaged(QualityRow(method, *shown_as[method, mark], mark=mark), by_seed, smallest)
            for (of_method, mark), by_seed in masks.items()
            if of_method == method
        ]
        if method not in measured:
            missing = GROUND_TRUTH if method in true_masks else NOT_MEASURED
            role = next(entry.role for entry in entries if entry.method == method)
            rows.append(QualityRow(method, kind, role, missing=missing))
    return Quality(
        n_images=of_set.n_images,
        n_instances=of_set.n_instances,
        n_classes=of_set.n_classes,
        smallest=smallest,
        lost_threshold=of_set.lost_threshold,
        rows=tuple(sorted(rows, key=_order)),
    )


def _order(row: QualityRow) -> tuple[Any, ...]:
    return (*method_order(row.method, row.kind), row.mark)


def _averaged(row: QualityRow, by_seed: Mapping[int, PseudoMasks], smallest: str) -> QualityRow:
    masks = [by_seed[seed] for seed in sorted(by_seed)]
    figures = dict.fromkeys(name for found in masks for name in found.figures)
    stages = dict.fromkeys(stage for found in masks for stage in found.lost)
    return replace(
        row,
        seeds=tuple(sorted(by_seed)),
        figures={name: mean_of([found.figures.get(name) for found in masks]) for name in figures},
        lost={
            stage: mean_of([found.lost.get(stage, {}).get(smallest) for found in masks])
            for stage in stages
        },
    )
