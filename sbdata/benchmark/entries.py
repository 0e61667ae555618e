"""Records: the files of results and of paired differences, read for a leaderboard.

A result file holds one method, strategy and seed on every scored set; a :class:`SetRecord` is one
of its sets. Everything that decides whether two records may be averaged or compared is a flat
mapping of names to texts, so that any two can be compared and their difference shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sbdata.benchmark.ordering import CONTROLS, method_order, role_of, strategy_order
from sbdata.benchmark.records import (
    DIFFERENCES_FORMAT,
    FORMAT,
    PairedDifferences,
    ResultRecord,
    Value,
    check_numbers,
    is_version_1,
    read_differences,
    read_result,
    said_of_version_1,
)
from sbdata.errors import InputError
from sbdata.json_files import read_json
from sbdata.quoting import quoted
from sbdata.settings import as_plain, from_plain

_PROVIDER = "saliency"
"""Names of the method settings by which it makes saliency maps if none are given."""


_SHOWN = 5  # number of damaged files that a message names


@dataclass(frozen=True)
class PseudoMasks:
    """Quality of the pseudo-masks of the training set, with 255 read as background.

    Attributes:
        metric: Name and version of the metric.
        n_images: Number of images of the training set.
        n_instances: Number of ground-truth instances by size: ``ia``, ``ia_small`` ...
        n_classes: Number of classes with such an instance, by size.
        figures: Values by headline name.
        lost: Fraction of lost instances by stage, in the order in which the method runs them, and
            by size, the smallest first; None if there is no instance.
        lost_threshold: Condition for a lost instance: ``under 50 %`` of its pixels.
    """

    metric: str
    n_images: int
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    figures: Mapping[str, float | None]
    lost: Mapping[str, Mapping[str, float | None]]
    lost_threshold: str


@dataclass(frozen=True)
class SetRecord:
    """Result of one method, strategy and seed, scored on one set.

    Attributes:
        file: File from which it was read.
        method: Name of the method.
        variant: Variant suffix, such as ``hybrid``, or empty.
        strategy: Training strategy.
        seed: Seed of the whole run.
        kind: Supervision of the method in words: ``image labels + saliency``; or ``controls``.
        synthetic: True if the images are generated.
        training: Name of the training set.
        scored: Name of the scored set.
        protocol: Plain values by name that must be equal for two records to be compared.
        labels: Source of the image labels.
        saliency: Source of the saliency maps; empty for a method that uses none.
        settings: Settings of the method, plain values by name.
        code: Hash of sbdata's code.
        identity: All that the values depend on except the seed, plain values by name.
        shared: Hash of the identity that the strategies of one method and seed share.
        figures: Values by headline name, such as ``miou`` and ``ia_small.class_mean``.
        n_images: Number of images of the scored set.
        n_instances: Number of instances by size: ``ia``, ``ia_small`` ...
        n_classes: Number of classes with such an instance, by size.
        true_masks: True if the training used ground truth instead of pseudo-masks.
        pseudo: Quality of the pseudo-masks used for training; None if the file has no such values.
        intervals: Bootstrap intervals of the figures over images; None if there is none.
        outcomes: Number of instances of each size with each of ``OUTCOMES``; empty in a result of
            before they were recorded.
    """

    file: Path
    method: str
    variant: str
    strategy: str
    seed: int
    kind: str
    synthetic: bool
    training: str
    scored: str
    protocol: Mapping[str, str]
    labels: str
    saliency: str
    settings: Mapping[str, str]
    code: str
    identity: Mapping[str, str]
    shared: str
    figures: Mapping[str, float | None]
    n_images: int
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    true_masks: bool
    pseudo: PseudoMasks | None
    intervals: Mapping[str, tuple[float, ...] | None] = field(default_factory=dict)
    outcomes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def role(self) -> str:
        """Label beside the method's name in tables: the role of a control, or a variant."""
        return role_of(self.method, self.kind) or self.variant


@dataclass(frozen=True)
class Change:
    """Difference of one value and its 95 % interval, None if there is none."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Paired:
    """Paired differences of two strategies: ``minuend`` minus ``subtrahend``.

    Attributes:
        file: File from which they were read.
        method: Name of the method.
        seed: Seed of the whole run.
        scored: Name of the scored set.
        minuend: Name of the first strategy.
        subtrahend: Name of the strategy that is subtracted.
        changes: Differences by headline name.
        shared: Hash of the identity that both results share; empty in an older file.
        set_hash: Logical hash of the scored set; empty in an older file.
    """

    file: Path
    method: str
    seed: int
    scored: str
    minuend: str
    subtrahend: str
    changes: Mapping[str, Change | None]
    shared: str = ""
    set_hash: str = ""


def read_records(paths: Sequence[Path]) -> tuple[list[SetRecord], list[Paired]]:
    """Read result files, and the files of differences beside them.

    Args:
        paths: Files, or folders that are searched for ``*.json``; JSON files of other formats in a
            folder are skipped.

    Raises:
        InputError: if a path does not exist, a file is damaged or of a later format, or there is no
            result at all.
    """
    entries: list[SetRecord] = []
    pairs: list[Paired] = []
    problems: list[str] = []
    for path in sorted({file for given in paths for file in _files(given)}):
        try:
            format_ = _format_of(path)
            if format_ == FORMAT:
                entries += _entries(read_result(path), path)
            elif format_ == DIFFERENCES_FORMAT:
                pairs += _paired(read_differences(path), path)
            else:
                _refuse_other_format(path, format_, given=path in paths)
        except InputError as error:
            problems.append(str(error))
    if problems:
        more = f"; and {len(problems) - _SHOWN} more files" if len(problems) > _SHOWN else ""
        raise InputError("; ".join(problems[:_SHOWN]) + more)
    if not entries:
        where = ", ".join(map(str, paths))
        msg = f"{where}: no result of format {FORMAT} found; give files that 'sbdata bench' wrote"
        raise InputError(msg)
    return entries, pairs


def _refuse_other_format(path: Path, format_: str, *, given: bool) -> None:
    """Refuse a file of another version, and a named file that is not a result."""
    if is_version_1(format_):
        raise InputError(said_of_version_1(path))
    if re.match(r"sbdata\.(result|differences)\.v", format_):
        msg = f"{path}: format {quoted(format_)} is not known to this sbdata; update sbdata"
        raise InputError(msg)
    if given:
        msg = f"{path}: not a result of format {FORMAT}; give a file that 'sbdata bench' wrote"
        raise InputError(msg)


def record_order(entry: SetRecord) -> tuple[Any, ...]:
    """Return the sort key of records: method, strategy, seed and file."""
    order = (*method_order(entry.method, entry.kind), strategy_order(entry.strategy))
    return (*order, entry.seed, str(entry.file))


def kinds_of(entries: Sequence[SetRecord]) -> dict[str, str]:
    """Return the kind of each method, in sorted order of the methods."""
    return {entry.method: entry.kind for entry in sorted(entries, key=record_order)}


# --- files ----------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [file for file in path.rglob("*.json") if file.is_file()]
    if not path.is_file():
        msg = f"{path}: no such file or folder; give the results that 'sbdata bench' wrote"
        raise InputError(msg)
    return [path]


def _format_of(path: Path) -> str:
    """Return the format that a JSON file names, or an empty string."""
    raw = read_json(path, "delete it and run 'sbdata bench' again")
    found = raw.get("format") if isinstance(raw, dict) else None
    return found if isinstance(found, str) else ""


# --- results --------------------------------------------------------------------------------------


def _entries(result: ResultRecord, path: Path) -> Iterator[SetRecord]:
    kind = " + ".join(s.replace("_", " ") for s in result.supervision) or "nothing"
    about = {"logical_hash": result.training.logical_hash, "images": result.training.images}
    common = {
        "training set": about,
        "preset": result.preset,
        "pretrained": result.pretrained,
        "training": result.training_preset,
    }
    pseudo = None if result.pseudo is None else _pseudo_masks(result.pseudo, f"{path}: pseudo")
    saliency = _saliency(result)
    settings = dict(result.method_settings)
    identity = flat({k: v for k, v in result.identity.items() if k != "seed"})
    if saliency:
        settings.pop(_PROVIDER, None)
    for name, scored in sorted(result.sets.items()):
        protocol = flat({**common, "metric": scored.metric, **as_plain(scored.protocol)})
        # The checkpoint interval does not affect any value.
        protocol.pop("training: optimisation: checkpoint_every", None)
        yield SetRecord(
            file=path,
            method=result.method,
            variant=result.variant,
            strategy=result.strategy,
            seed=result.seed,
            kind=CONTROLS if result.control else kind,
            synthetic=result.synthetic,
            training=result.training.set,
            scored=name,
            protocol=protocol,
            labels=result.training.labels,
            saliency=saliency,
            settings=flat(settings),
            code=result.code.get("sbdata", ""),
            identity=identity,
            shared=result.shared_identity,
            figures={figure: at.value for figure, at in scored.figures.items()},
            n_images=scored.n_images,
            n_instances=scored.n_instances,
            n_classes=scored.n_classes,
            true_masks=result.training.weak_digest is None,
            pseudo=pseudo,
            intervals={figure: at.interval for figure, at in scored.figures.items()},
            outcomes=scored.outcomes,
        )


def _saliency(result: ResultRecord) -> str:
    """Return the source of saliency maps, with the settings of built-in ones; may be empty."""
    if result.training.saliency is not None:
        return result.training.saliency
    provider = result.method_settings.get(_PROVIDER)
    if not isinstance(provider, Mapping):
        return ""
    return f"built in, {', '.join(f'{name} {value}' for name, value in provider.items())}"


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Return nested mappings as a flat one of texts, so that values can be compared and shown."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{above}{name}: ")
        else:
            found[f"{above}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return found


# --- pseudo-masks ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kept:
    """Number of instances of a size, and number of those that a stage keeps."""

    n: int
    kept: int


@dataclass(frozen=True)
class _PseudoFigures:
    """Values that are read from a result's ``pseudo``; the bench writes more."""

    metric: str
    n_images: int
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    figures: Mapping[str, Value]
    lost: tuple[Mapping[str, Any], ...]
    lost_threshold: str


def _pseudo_masks(raw: Mapping[str, Any], where: str) -> PseudoMasks:
    names = {known.name for known in fields(_PseudoFigures)}
    known = {name: value for name, value in raw.items() if name in names}
    found: _PseudoFigures = from_plain(_PseudoFigures, known, where)
    check_numbers(found.n_instances, found.n_classes, where)
    lost: dict[str, Mapping[str, float | None]] = {}
    for row in found.lost:
        sizes = {size: value for size, value in row.items() if size != "stage"}
        stage: str = from_plain(str, row.get("stage"), f"{where}: lost: stage")
        counts = from_plain(Mapping[str, _Kept], sizes, f"{where}: lost: {stage}")
        lost[stage] = {size: _share_lost(at, f"{where}: lost") for size, at in counts.items()}
    return PseudoMasks(
        metric=found.metric,
        n_images=found.n_images,
        n_instances=found.n_instances,
        n_classes=found.n_classes,
        figures={figure: at.value for figure, at in found.figures.items()},
        lost=lost,
        lost_threshold=found.lost_threshold,
    )


def _share_lost(at: _Kept, where: str) -> float | None:
    if not 0 <= at.kept <= at.n:
        msg = f"{where}: {at.kept} of {at.n} instances are kept; run 'sbdata bench' again"
        raise InputError(msg)
    return (at.n - at.kept) / at.n if at.n else None


# --- differences ----------------------------------------------------------------------------------


def _paired(found: PairedDifferences, path: Path) -> Iterator[Paired]:
    for pair in found.pairs:
        changes = {
            name: None if given is None else _change(given, f"{path}: {name}")
            for name, given in pair.differences.items()
        }
        yield Paired(
            path,
            found.method,
            found.seed,
            pair.set,
            pair.first,
            pair.second,
            changes,
            found.identity,
            pair.set_hash,
        )


def _change(given: Mapping[str, Any], where: str) -> Change:
    """Read a difference; its interval is a list of two or a mapping with ``low`` and ``high``."""
    interval = given.get("interval")
    if isinstance(interval, Mapping):
        interval = [interval.get("low"), interval.get("high")]
    ends = interval if interval is not None else [0.0, 0.0]
    numbers = [given.get("value"), *ends]
    if len(numbers) != 3 or not all(type(n) in (int, float) for n in numbers):
        msg = f"{where}: a difference needs a value and an interval; run 'sbdata bench' again"
        raise InputError(msg)
    return Change(numbers[0], None if interval is None else (numbers[1], numbers[2]))
