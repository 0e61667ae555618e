"""Table of a study: the values of each method and strategy on every scored set of a part.

The values are those of the leaderboard's boards, made from the study's results alone: results of
other methods, seeds or settings in the same folder are left out. Nothing is filled in: a cell of
the study without a result is "not run".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sbdata.benchmark.aggregate import interval_of
from sbdata.benchmark.config import BenchmarkConfig
from sbdata.benchmark.entries import Change, Paired, SetRecord, flat, read_records
from sbdata.benchmark.leaderboard import Board, Row, make_boards
from sbdata.benchmark.methods import IMPORTED, find_methods
from sbdata.benchmark.study import Part, Study
from sbdata.errors import InputError
from sbdata.manifest import is_manifest
from sbdata.plurals import count
from sbdata.sets import open_set
from sbdata.settings import as_plain
from sbdata.supervision import LABELS_ONLY
from sbdata.train.weights import NAMED
from sbdata.weak_labels.sources import WeakSources

FIGURES = (
    "miou",
    "ia.class_mean",
    "ia_small.class_mean",
    "ia_medium.class_mean",
    "ia_large.class_mean",
)
"""Values of a cell, as the paper's tables have them."""

CONTROL = "ce"
"""Strategy from which the differences of the others are computed."""

_WEIGHTS = "training_preset: model: weights"
_CHECKPOINTS = "training_preset: optimisation: checkpoint_every"
_RESOLVED = ": precision"  # a record has the precision that was used


@dataclass(frozen=True)
class Estimate:
    """One value of a method and strategy on a scored set.

    Attributes:
        value: Mean over the seeds; None if it is undefined.
        interval: 95 % interval: that of Student's t over several seeds, or that of the bootstrap
            over images of one; None if there is none.
        change: Difference from :data:`CONTROL`, with the same kind of interval; None for the
            control itself and if the two were not compared.
    """

    value: float | None
    interval: tuple[float, ...] | None = None
    change: Change | None = None


@dataclass(frozen=True)
class Cell:
    """Values of a method and strategy on a scored set.

    Attributes:
        seeds: Seeds that were run.
        values: Values by the names of :data:`FIGURES`.
        protocol: Description of how its protocol differs from that of most results; may be empty.
    """

    seeds: tuple[int, ...]
    values: Mapping[str, Estimate]
    protocol: str = ""


@dataclass(frozen=True)
class StudyRow:
    """Row of a study's table.

    Attributes:
        method: Name of the method.
        role: Role of a control, or variant of a method such as ``imported masks``; may be empty.
        strategy: Name of the strategy.
        cells: Values by scored set; a set is missing if nothing was run on it.
    """

    method: str
    role: str
    strategy: str
    cells: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyTable:
    """Results of one part of a study and one preset.

    Attributes:
        part: Name of the part.
        preset: Preset of the methods.
        training: Name of the training set.
        sets: Names of the scored sets, in the study's order.
        seeds: Seeds of the study.
        synthetic: True if images of a set are generated.
        set_hashes: Logical hash by scored set; a set without a result is missing.
        n_images: Number of images by scored set.
        n_instances: Number of instances by scored set and size.
        n_classes: Number of classes with such an instance, by scored set and size.
        rows: Rows, in the study's order of methods and strategies.
        notes: Sentences that must be shown with the values.
    """

    part: str
    preset: str
    training: str
    sets: tuple[str, ...]
    seeds: tuple[int, ...]
    synthetic: bool
    set_hashes: Mapping[str, str]
    n_images: Mapping[str, int]
    n_instances: Mapping[str, Mapping[str, int]]
    n_classes: Mapping[str, Mapping[str, int]]
    rows: tuple[StudyRow, ...]
    notes: tuple[str, ...]


def read_tables(study: Study, paths: Sequence[Path], work: Path) -> list[StudyTable]:
    """Read results and arrange those of a study in its tables.

    Args:
        study: Study, perhaps narrowed to some of its methods.
        paths: Result files of ``sbdata bench`` and files of differences, or folders of them.
        work: Work folder of the bench; imports are not looked up there.

    Raises:
        InputError: see :func:`~sbdata.benchmark.entries.read_records` and
            :func:`~sbdata.benchmark.leaderboard.make_boards`.
    """
    entries, pairs = read_records(paths)
    return make_tables(study, entries, pairs, work)


def make_tables(
    study: Study, entries: Sequence[SetRecord], pairs: Sequence[Paired], work: Path
) -> list[StudyTable]:
    """Arrange the results of a study in its tables; see :func:`read_tables`."""
    configs = iter(study.configs(work))
    return [
        _table(study, (name, part), next(configs), preset, (entries, pairs), work)
        for name, part in study.parts.items()
        for preset in study.presets
    ]


def tables_as_dict(study: Study, tables: Sequence[StudyTable]) -> dict[str, Any]:
    """Return the tables of a study as plain values, for JSON."""
    listed = [asdict(table) for table in tables]
    return {"format": "sbdata.study_table.v1", "study": as_plain(study), "tables": listed}


def _table(
    study: Study,
    named: tuple[str, Part],
    config: BenchmarkConfig,
    preset: str,
    found: tuple[Sequence[SetRecord], Sequence[Paired]],
    work: Path,
) -> StudyTable:
    part = named[1]
    training, training_hash = _set_of(study, part.training, work)
    hashes = dict(_set_of(study, called, work) for called in part.sets)
    sets = tuple(hashes)
    ours, notes = _of_study(study, config, training, sets, found[0], work)
    ours, further = _of_built(ours, training_hash, hashes)
    notes += further
    boards = {board.scored: board for board in make_boards(ours, found[1])} if ours else {}
    records: dict[tuple[str, str, str], list[SetRecord]] = defaultdict(list)
    for entry in ours:
        records[entry.scored, entry.method, entry.strategy].append(entry)
    rows = []
    for method in study.methods:
        of_method = [row for board in boards.values() for row in board.rows if row.method == method]
        role = next((row.role for row in of_method if row.seeds), "")
        for strategy in study.strategies:
            cells = {
                scored: cell
                for scored, board in boards.items()
                if (cell := _cell(board, method, strategy, records[scored, method, strategy]))
            }
            rows.append(StudyRow(method, role, strategy, cells))
    for board in boards.values():
        notes += [note for note in board.notes if note not in notes]
    return StudyTable(
        named[0],
        preset,
        training,
        sets,
        study.seeds,
        any(board.synthetic for board in boards.values()),
        {name: board.protocol["set_hash"] for name, board in boards.items()},
        {name: board.n_images for name, board in boards.items()},
        {name: board.n_instances for name, board in boards.items()},
        {name: board.n_classes for name, board in boards.items()},
        tuple(rows),
        tuple(notes),
    )


def _cell(board: Board, method: str, strategy: str, records: Sequence[SetRecord]) -> Cell | None:
    rows = [r for r in board.rows if (r.method, r.strategy) == (method, strategy) and r.seeds]
    if not rows:
        return None
    if len(rows) > 1:
        files = ", ".join(sorted({str(record.file) for record in records}))
        msg = (
            f"{method}, {strategy} was run on {board.scored} with more than one protocol "
            f"({files}); keep the results of only one"
        )
        raise InputError(msg)
    (row,) = rows
    said = {footnote.mark: footnote.text for footnote in board.footnotes}
    changes = _changes(board, row)
    values = {}
    for name in FIGURES:
        mean = row.figures.get(name)
        interval: tuple[float, ...] | None = None if mean is None else interval_of(mean)
        if mean is not None and mean.n == 1:
            interval = next(r.intervals.get(name) for r in records if r.seed == row.seeds[0])
        values[name] = Estimate(None if mean is None else mean.value, interval, changes.get(name))
    return Cell(row.seeds, values, said.get(row.mark, ""))


def _changes(board: Board, row: Row) -> Mapping[str, Change | None]:
    """Return the differences of a row from the control, if they cover all of its seeds."""
    for contrast in board.contrasts:
        pair = (contrast.method, contrast.minuend, contrast.subtrahend)
        if pair == (row.method, row.strategy, CONTROL) and tuple(contrast.seeds) == row.seeds:
            only = next(iter(contrast.seeds.values()))
            return only if contrast.mean is None else contrast.mean
    return {}


# --- which results are the study's ----------------------------------------------------------------


def _set_of(study: Study, called: str, work: Path) -> tuple[str, str | None]:
    """Return the name and logical hash of a set; those of the set in its folder, if it is there.

    The hash is None if it is not there, and for a set that the study generates: its folder is in
    the work folder of the bench, which need not be the given one.
    """
    folder = study.folder(called, work)
    if called not in study.generated and is_manifest(folder):
        opened = open_set(folder)
        return opened.name, opened.logical_hash
    return folder.name, None


def _of_built(
    entries: Sequence[SetRecord], training: str | None, sets: Mapping[str, str | None]
) -> tuple[list[SetRecord], list[str]]:
    """Return the results of the built sets, and a note on those of others of the same names.

    Args:
        entries: Results of the study.
        training: Logical hash of the training set; None if it is not known.
        sets: Logical hashes of the scored sets by name.
    """
    kept = [
        entry
        for entry in entries
        if training in (None, entry.protocol["training set: logical_hash"])
        and sets[entry.scored] in (None, entry.protocol["set_hash"])
    ]
    others = len(entries) - len(kept)
    said = (
        f"{count(others, 'result')} left out, because sets of the study were built anew since, "
        "with other logical hashes; run 'sbdata bench' again."
    )
    return kept, [said] if others else []


def _of_study(
    study: Study,
    config: BenchmarkConfig,
    training: str,
    sets: Sequence[str],
    entries: Sequence[SetRecord],
    work: Path,
) -> tuple[list[SetRecord], list[str]]:
    """Return the results of a part, and a note on those of other settings or weak labels."""
    expected = _expected(config, work)
    ours, others = [], 0
    for entry in entries:
        asked = (
            (entry.training, entry.identity.get("preset")) == (training, config.preset)
            and entry.scored in sets
            and entry.method in study.methods
            and entry.strategy in study.strategies
            and entry.seed in study.seeds
        )
        if asked and _agrees(entry, expected) and _same_labels(entry, config):
            ours.append(entry)
        elif asked:
            others += 1
    said = f"{count(others, 'result')} with other settings than the study's left out."
    return ours, [said] if others else []


def _expected(config: BenchmarkConfig, work: Path) -> Mapping[str, Mapping[str, str]]:
    """Return the settings of each method's results, as flat texts."""
    preset = flat({"training_preset": config.segmenter_preset().as_dict()})
    methods = find_methods(replace(config, pseudo={}), work)
    found = {}
    for name, method in methods.items():
        stages = {n: as_plain(s.settings) for n, s in method.stages.items()}
        flattened = {**preset, **flat({"method_settings": stages})}
        found[name] = {
            key: value
            for key, value in flattened.items()
            if key != _CHECKPOINTS
            and (key != _WEIGHTS or value in NAMED)  # a file may be elsewhere
            and not key.endswith(_RESOLVED)
        }
    return found


def _agrees(entry: SetRecord, expected: Mapping[str, Mapping[str, str]]) -> bool:
    wanted = expected[entry.method]
    if entry.variant == IMPORTED:
        wanted = {k: v for k, v in wanted.items() if not k.startswith("method_settings: ")}
    return all(entry.identity.get(name) == value for name, value in wanted.items())


def _same_labels(entry: SetRecord, config: BenchmarkConfig) -> bool:
    """Return True if a method learned from the weak labels that the part names.

    Files that are not on this machine are compared by their names alone.
    """
    if entry.true_masks or entry.variant == IMPORTED:
        return True
    boxes = config.boxes if "boxes" in entry.kind else None
    given = [path for path in (config.labels, boxes) if path is not None]
    said = entry.labels.removesuffix(f"; {LABELS_ONLY}")
    if all(path.exists() for path in given):
        texts = (None if path is None else str(path) for path in (config.labels, boxes))
        same = said == WeakSources(boxes is not None, *texts).describe()
    else:
        same = all(path.name in said for path in given)
    maps = config.saliency if "saliency" in entry.kind else None
    used = entry.identity.get("training: saliency", "null")
    return same and (used == "null" if maps is None else used.startswith(f"{maps.name}, SHA-256 "))
