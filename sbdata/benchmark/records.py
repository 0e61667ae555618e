"""Results: one method, strategy and seed on every scored set, as one JSON file.

A result holds everything that is needed to reproduce it and to judge if it may be compared with
another: settings, seeds, hashes of data and code, versions, hardware. The part that its values
depend on is its identity. A hash of the identity is part of the file's name, so a result never
replaces one of other settings, data or code. Wall times are stored separately, under ``seconds``
and ``environment``: everything else is the same however often a run was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sbdata.errors import InputError
from sbdata.fingerprints import digest_of
from sbdata.json_files import read_json
from sbdata.metrics.outcomes import OUTCOMES
from sbdata.metrics.registry import sizes_in
from sbdata.quoting import quoted
from sbdata.settings import as_plain, from_plain
from sbdata.storage import alone, write_text

FORMAT = "sbdata.result.v2"
DIFFERENCES_FORMAT = "sbdata.differences.v2"
_DIGITS = 8  # digits of an identity in a file's name
_REMEDY = "delete it and run 'sbdata bench' again"


@dataclass(frozen=True)
class Value:
    """Value and its 95 % interval over resamples of the images; None if undefined."""

    value: float | None
    interval: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Protocol:
    """Properties that must be equal for two values to be compared.

    Attributes:
        scales: Scales of the image at test time.
        flip: True if mirrored images were averaged in.
        refine: Refinement of the predictions.
        split: Split of the scored set.
        initialisation: Source of the segmenter backbone's weights.
        set_hash: Logical hash of the scored set.
    """

    scales: tuple[float, ...]
    flip: bool
    refine: str
    split: str
    initialisation: str
    set_hash: str


@dataclass(frozen=True)
class ScoredSet:
    """Values on one evaluation set.

    Attributes:
        logical_hash: Logical hash of the set.
        split: Split of its images.
        metric: Name and version of the metric.
        n_images: Number of scored images.
        n_instances: Number of instances by size: ``ia``, ``ia_small`` ...
        n_classes: Number of classes with at least one such instance, by size.
        figures: Values by the names of ``Summary.headline``.
        protocol: Protocol of the values.
        predictions: SHA-256 over the predicted masks.
        outcomes: Number of instances of each size (``small`` ...) with each of ``OUTCOMES``; empty
            in a result of before they were recorded.
    """

    logical_hash: str
    split: str
    metric: str
    n_images: int
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    figures: Mapping[str, Value]
    protocol: Protocol
    predictions: str
    outcomes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """Training set and weak labels of a method.

    Attributes:
        set: Name of the training set.
        logical_hash: Logical hash of the training set.
        images: Number of images.
        weak_digest: Digest of the photos and weak labels that the method saw; None if it saw pixel
            masks.
        labels: Source of the image-level labels: ``manifest``, or a file's name and hash.
        saliency: Name and hash of the saliency maps given to the method; None if it used none, or
            those that it made by its own settings.
        photos: SHA-256 over the photos.
    """

    set: str
    logical_hash: str
    images: int
    weak_digest: str | None
    labels: str
    saliency: str | None = None
    photos: str = ""


@dataclass(frozen=True)
class ResultRecord:
    """Result of one method, strategy and seed.

    Attributes:
        method: Name of the method.
        paper: Title, venue and year of the method, or the purpose of the control.
        supervision: Labels that the method used.
        control: True for a ceiling or a floor.
        strategy: Training strategy of the segmenter.
        seed: Seed of everything random.
        synthetic: True if training or scored photos are generated.
        preset: Preset of the bench.
        method_settings: Resolved settings of the method's stages, by stage.
        training_preset: Resolved preset of the segmenter.
        training: Training set and weak labels of the method.
        initialisation: Source of the segmenter backbone's weights.
        pretrained: True if those weights were pretrained.
        code: Hashes of the source of ``sbdata``, which trains and scores, and of the ``baseline``.
        environment: Versions and hardware of the training.
        seconds: Duration of each stage in seconds, when it ran.
        pseudo: Values of the pseudo-masks on the training set; None if there are none.
        sets: Scored sets by name.
        variant: Variant suffix, such as ``hybrid``; empty for the method itself.
    """

    method: str
    paper: str
    supervision: tuple[str, ...]
    control: bool
    strategy: str
    seed: int
    synthetic: bool
    preset: str
    method_settings: Mapping[str, Any]
    training_preset: Mapping[str, Any]
    training: Training
    initialisation: str
    pretrained: bool
    code: Mapping[str, str]
    environment: Mapping[str, Any]
    seconds: Mapping[str, float]
    pseudo: Mapping[str, Any] | None
    sets: Mapping[str, ScoredSet]
    variant: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as stored in the JSON file."""
        return {"format": FORMAT, IDENTITY: digest_of(self.identity), **as_plain(self)}

    @property
    def identity(self) -> dict[str, Any]:
        """All that the values depend on, as plain values."""
        plain = as_plain(self)
        found = {name: plain[name] for name in _IDENTITY}
        return {**found, "training_preset": _without_checkpoints(plain["training_preset"])}

    @property
    def shared_identity(self) -> str:
        """Hash of the identity that the strategies of one method and seed share."""
        return digest_of({k: v for k, v in self.identity.items() if k != "strategy"})


IDENTITY = "identity"
"""Key of the identity's hash in a result file."""

_IDENTITY = (
    "method",
    "variant",
    "strategy",
    "seed",
    "preset",
    "method_settings",
    "training_preset",
    "training",
    "initialisation",
    "code",
)


def _without_checkpoints(preset: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preset without the checkpoint interval, which changes no value."""
    optimisation = preset.get("optimisation")
    if not isinstance(optimisation, Mapping):
        return dict(preset)
    kept = {k: v for k, v in optimisation.items() if k != "checkpoint_every"}
    return {**preset, "optimisation": kept}


@dataclass(frozen=True)
class Pair:
    """Comparison of two strategies of one method and seed on one set, by the paired bootstrap.

    Attributes:
        set: Name of the set.
        first: Strategy that is compared.
        second: Control with which it is compared.
        differences: First minus second, by the names of ``Summary.headline``: ``value``,
            ``interval`` and ``sign_change``; None if a value is undefined.
        set_hash: Logical hash of the set; empty in a file of before it was recorded.
    """

    set: str
    first: str
    second: str
    differences: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    set_hash: str = ""


@dataclass(frozen=True)
class PairedDifferences:
    """Paired differences of a method and seed.

    Attributes:
        method: Name of the method.
        seed: Seed of everything random.
        training: Key of pseudo-masks and training preset that all strategies share.
        pairs: Compared pairs, sorted by set, first and second.
        identity: :attr:`ResultRecord.shared_identity` of the results that are compared.
    """

    method: str
    seed: int
    training: str
    pairs: tuple[Pair, ...]
    identity: str = ""


# --- files ----------------------------------------------------------------------------------------


def result_file(folder: Path, result: ResultRecord) -> Path:
    """Return the path of a result; results of another identity have another path."""
    name = f"{result.method}.{result.strategy}.seed{result.seed}"
    return folder / f"{name}.{digest_of(result.identity)[:_DIGITS]}.json"


def differences_file(folder: Path, found: PairedDifferences) -> Path:
    """Return the path of paired differences; those of another identity have another path."""
    name = f"{found.method}-seed{found.seed}-differences"
    return folder / f"{name}.{digest_of([found.identity, found.training])[:_DIGITS]}.json"


def write_result(folder: Path, result: ResultRecord) -> tuple[Path, ResultRecord]:
    """Write a result, atomically; sets scored by an earlier call of the same run are kept.

    Returns the file and its content.

    A result of another identity (other settings, training data or code) is never replaced. A set
    that was built anew under its name replaces the former one, whose scores stay in the work folder
    of the bench. Half-written files of a killed process are deleted.
    """
    path = result_file(folder, result)
    with alone(path):
        former = _earlier(path, read_result)
        alike = (result.identity, result.pseudo)
        if former is not None and (former.identity, former.pseudo) == alike:
            result = replace(
                result,
                sets={**former.sets, **result.sets},
                synthetic=former.synthetic or result.synthetic,
            )
        result = replace(result, sets=dict(sorted(result.sets.items())))
        write_text(path, json.dumps(result.as_dict(), indent=2, allow_nan=False) + "\n")
    return path, result


def read_result(path: Path) -> ResultRecord:
    """Read a result.

    Raises:
        InputError: if the file is missing, damaged or not a result; the message names it.
    """
    plain = _plain(path, FORMAT)
    identity = plain.pop(IDENTITY, None)
    found = from_plain(ResultRecord, plain, str(path))
    assert isinstance(found, ResultRecord)  # noqa: S101 - for the type checker
    if identity is not None and identity != digest_of(found.identity):
        msg = f"{path}: was edited: its settings do not match its identity; {_REMEDY}"
        raise InputError(msg)
    for name, scored in found.sets.items():
        if scored.protocol.set_hash != scored.logical_hash:
            msg = f"{path}: set {name} has two different hashes; run 'sbdata bench' again"
            raise InputError(msg)
        for figure, at in scored.figures.items():
            if at.interval is not None and (len(at.interval) != 2 or at.value is None):
                msg = f"{path}: {name}, {figure}: an interval needs a value and two ends; {_REMEDY}"
                raise InputError(msg)
        if any(key != "ia" and not key.startswith("ia_") for key in scored.n_instances):
            msg = f"{path}: {name}: the numbers of instances are not by size; {_REMEDY}"
            raise InputError(msg)
        check_numbers(scored.n_instances, scored.n_classes, f"{path}: {name}")
        _check_outcomes(scored, f"{path}: {name}")
    return found


def check_numbers(n_instances: Mapping[str, int], n_classes: Mapping[str, int], at: str) -> None:
    """Check that there is a number of classes for each number of instances.

    Raises:
        InputError: if there is not; the message begins with ``at``.
    """
    if n_instances.keys() != n_classes.keys():
        msg = f"{at}: the numbers of classes are not of the same sizes as those of instances"
        raise InputError(f"{msg}; {_REMEDY}")


def _check_outcomes(scored: ScoredSet, where: str) -> None:
    """Check that outcomes, if there are any, are those of the instances of each size."""
    sizes = {size: scored.n_instances[f"ia_{size}"] for size in sizes_in(scored.n_instances)}
    for size, counts in scored.outcomes.items():
        if set(counts) != set(OUTCOMES):
            known = ", ".join(OUTCOMES)
            msg = f"{where}: the outcomes of {quoted(size)} are not {known}; {_REMEDY}"
            raise InputError(msg)
    totals = {size: sum(counts.values()) for size, counts in scored.outcomes.items()}
    negative = any(n < 0 for counts in scored.outcomes.values() for n in counts.values())
    if scored.outcomes and (totals != sizes or negative):
        msg = f"{where}: the outcomes by size do not add up to the numbers of instances; {_REMEDY}"
        raise InputError(msg)


def write_differences(folder: Path, found: PairedDifferences) -> Path:
    """Write paired differences atomically; pairs of an earlier call of the same run are kept.

    Pairs on a former set of the same name are not: its results are replaced, too.
    """
    path = differences_file(folder, found)
    with alone(path):
        former = _earlier(path, read_differences)
        pairs = {(p.set, p.first, p.second): p for p in found.pairs}
        if former is not None:
            hashes = {p.set: p.set_hash for p in found.pairs}
            kept = [p for p in former.pairs if _may_be_one(p.set_hash, hashes.get(p.set, ""))]
            pairs = {(p.set, p.first, p.second): p for p in kept} | pairs
        whole = replace(found, pairs=tuple(pairs[key] for key in sorted(pairs)))
        values = {"format": DIFFERENCES_FORMAT, **as_plain(whole)}
        write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")
    return path


def _may_be_one(one: str, other: str) -> bool:
    """Return False if two hashes are known and differ; an empty one is unknown."""
    return not one or not other or one == other


def read_differences(path: Path) -> PairedDifferences:
    """Read paired differences.

    Raises:
        InputError: if the file is missing, damaged or of another kind; the message names it.
    """
    found = from_plain(PairedDifferences, _plain(path, DIFFERENCES_FORMAT), str(path))
    assert isinstance(found, PairedDifferences)  # noqa: S101 - for the type checker
    return found


def _earlier(path: Path, read: Any) -> Any:
    """Return the content of a file; None if there is none or it is unreadable and gets replaced."""
    try:
        return read(path) if path.is_file() else None
    except InputError:
        return None


def _plain(path: Path, expected: str) -> dict[str, Any]:
    raw = read_json(path, _REMEDY)
    if isinstance(raw, dict) and is_version_1(str(raw.get("format"))):
        raise InputError(said_of_version_1(path))
    if not isinstance(raw, dict) or raw.get("format") != expected:
        msg = f"{path}: not a file of the format {expected}; give one that 'sbdata bench' wrote"
        raise InputError(msg)
    return {key: value for key, value in raw.items() if key != "format"}


def is_version_1(format_: str) -> bool:
    """Return True if a file has the format of results with ``ia_iou.v1`` and ``sb_ce.v1``."""
    return format_ in ("sbdata.result.v1", "sbdata.differences.v1")


def said_of_version_1(path: Path) -> str:
    """Return the message that refuses a result of version 1."""
    return (
        f"{path}: made with ia_iou.v1 and sb_ce.v1, which are not comparable with version 2; "
        "remove the file and run 'sbdata bench' again"
    )
