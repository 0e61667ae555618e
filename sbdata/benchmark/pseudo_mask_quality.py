"""Quality: how good each method's pseudo-masks are, and at which stage small objects are lost.

A segmenter learns what its pseudo-masks show. Whether a small object was ever there to be learned
is asked of the masks themselves, on the training set's truth. All strategies of a method and seed
learn from one set of masks, which therefore counts once.
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

GROUND_TRUTH = "ground truth"
"""Stands in the row of what was trained on true masks."""

NOT_MEASURED = "not measured"
"""Stands in the row of a method whose results say nothing of its pseudo-masks."""


@dataclass(frozen=True)
class QualityRow:
    """The pseudo-masks of a method.

    Attributes:
        method: its name.
        kind: what the method sees, or ``controls``.
        role: ``ceiling`` or ``floor`` of a control, the variant of a method, or empty.
        seeds: of which there are masks, sorted.
        figures: by headline name, with 255 read as background; None where there is nothing to
            measure.
        lost: the share of the smallest instances that are lost, by stage, in the order in which
            the method runs them.
        missing: why there is nothing: :data:`GROUND_TRUTH`, :data:`NOT_MEASURED`; else empty.
        mark: of the footnote that says what differs from the board's other masks, or empty.
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
    """The pseudo-masks of one training set.

    Attributes:
        n_images: of the training set.
        n_instances: of its truth, by ``ia``, ``ia_small`` ...
        n_classes: that have such an instance, likewise.
        smallest: name of the size whose losses the rows have.
        lost_threshold: when an instance counts as lost: ``under 50 %`` of its pixels.
        rows: by kind and method.
    """

    n_images: int
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    smallest: str
    lost_threshold: str
    rows: tuple[QualityRow, ...]


def check_masks_agree(entries: Sequence[SetRecord]) -> None:
    """Make sure that results of one method, seed and settings have the same pseudo-masks.

    Raises:
        InputError: naming two files whose figures differ.
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
                f"{entry.seed} different figures; leave one of them out or run 'sbdata bench' again"
            )
            raise InputError(msg)


def make_quality(entries: Sequence[SetRecord], marks: Mapping[int, str]) -> Quality | None:
    """Return a row a method, with its means over the seeds; None where no masks were measured.

    Args:
        entries: of one board, of which :func:`check_masks_agree` holds.
        marks: of the entries' pseudo-masks, by the entries' ``id``.
    """
    entries = sorted(entries, key=record_order)
    masks: dict[tuple[str, str], dict[int, PseudoMasks]] = defaultdict(dict)
    for entry in entries:
        if entry.pseudo is not None:
            masks[entry.method, marks[id(entry)]].setdefault(entry.seed, entry.pseudo)
    if not masks:
        return None
    # Rows without a mark are those that the numbers of instances are of.
    (_, shown), *_ = sorted(masks.items(), key=lambda item: item[0][1])
    of_set = next(iter(shown.values()))
    sizes = [name for name in of_set.n_instances if name not in ("ia", "ia_objects")]
    smallest = sizes[0].removeprefix("ia_") if sizes else ""
    measured = {method for method, _ in masks}
    roles = {(entry.method, marks[id(entry)]): entry.role for entry in entries}
    true_masks = {entry.method for entry in entries if entry.true_masks}
    rows = []
    for method, kind in kinds_of(entries).items():
        rows += [
            _averaged(QualityRow(method, kind, roles[method, mark], mark=mark), by_seed, smallest)
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
