"""Results: what one method, strategy and seed gave on every scored set, as one JSON file.

A result says all that is needed to get it again and to judge whether it may stand beside another:
settings, seeds, hashes of data and code, versions, hardware. Those that its values depend on are
its identity: a hash of it is part of the file's name, so that a result never replaces one of other
settings, data or code. Wall times are kept apart, under
``seconds`` and ``environment``: everything else is the same however often a run was stopped.
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
from sbdata.settings import as_plain, from_plain
from sbdata.storage import remove_leftovers, write_text

FORMAT = "sbdata.result.v2"
DIFFERENCES_FORMAT = "sbdata.differences.v2"
_DIGITS = 8  # of an identity in a file's name
_REMEDY = "delete it and run 'sbdata bench' again"


@dataclass(frozen=True)
class Value:
    """A figure and its 95 % interval over resamples of the images; None where undefined."""

    value: float | None
    interval: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Protocol:
    """What two figures must have in common to be compared.

    Attributes:
        scales: of the image at test time.
        flip: whether mirrored images were averaged in.
        refine: what predictions were refined by.
        split: of the scored set.
        initialisation: where the segmenter's backbone came from.
        set_hash: logical hash of the scored set.
    """

    scales: tuple[float, ...]
    flip: bool
    refine: str
    split: str
    initialisation: str
    set_hash: str


@dataclass(frozen=True)
class ScoredSet:
    """The figures on one evaluation set.

    Attributes:
        logical_hash: of the set.
        split: of its images.
        metric: name and version.
        n_images: scored.
        n_instances: by ``ia``, ``ia_small`` ...
        n_classes: with at least one such instance, by the same names.
        figures: by the names of ``Summary.headline``.
        protocol: of this set's figures.
        predictions: SHA-256 over the predicted masks.
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


@dataclass(frozen=True)
class Training:
    """What a method learned from.

    Attributes:
        set: the training set's name.
        logical_hash: of it.
        images: how many.
        weak_digest: of the photos and weak labels the method saw; None where it saw pixel masks.
        labels: where image-level labels came from: ``manifest``, or a file's name and hash.
        saliency: name and hash of the saliency maps that the method was given; None where it saw
            none, or those that it made by its own settings.
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
    """One method, strategy and seed.

    Attributes:
        method: its name.
        paper: of the method, or what the control is for.
        supervision: what the method saw.
        control: whether it is a ceiling or a floor.
        strategy: by which the segmenter was trained.
        seed: of everything random.
        synthetic: whether training or scored photos are generated.
        preset: of the bench.
        method_settings: of the method's stages, resolved, by stage.
        training_preset: of the segmenter, resolved.
        training: what the method learned from.
        initialisation: where the segmenter's backbone came from.
        pretrained: whether that was trained weights.
        code: hashes of the source of ``sbdata``, what trains and scores, and of the ``baseline``.
        environment: versions and hardware of the training.
        seconds: that each stage took when it ran.
        pseudo: figures of the pseudo-masks on the training set; None where there are none.
        sets: by name.
        variant: a word for what stands in the method's place, such as ``hybrid``; empty for the
            method itself.
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
        """Return plain values, as the JSON file holds them."""
        return {"format": FORMAT, IDENTITY: digest_of(self.identity), **as_plain(self)}

    @property
    def identity(self) -> dict[str, Any]:
        """Return all that the values depend on, as plain values."""
        plain = as_plain(self)
        found = {name: plain[name] for name in _IDENTITY}
        return {**found, "training_preset": _without_checkpoints(plain["training_preset"])}

    @property
    def shared_identity(self) -> str:
        """Return a hash of the identity that the strategies of one method and seed share."""
        return digest_of({k: v for k, v in self.identity.items() if k != "strategy"})


IDENTITY = "identity"
"""Key of a result's file under which the hash of its identity stands."""

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
    """Leave out how often a checkpoint is written, which changes no value."""
    optimisation = preset.get("optimisation")
    if not isinstance(optimisation, Mapping):
        return dict(preset)
    kept = {k: v for k, v in optimisation.items() if k != "checkpoint_every"}
    return {**preset, "optimisation": kept}


@dataclass(frozen=True)
class Pair:
    """Two strategies of one method and seed, compared on one set by the paired bootstrap.

    Attributes:
        set: its name.
        first: the strategy that is compared.
        second: the control that it is compared with.
        differences: first minus second, by the names of ``Summary.headline``: ``value``,
            ``interval`` and ``sign_change``; None where a figure is undefined.
    """

    set: str
    first: str
    second: str
    differences: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)


@dataclass(frozen=True)
class PairedDifferences:
    """The paired differences of a method and seed.

    Attributes:
        method: its name.
        seed: of everything random.
        training: key of pseudo-masks and training preset that all strategies share.
        pairs: sorted by set, first and second.
        identity: :attr:`ResultRecord.shared_identity` of the results that are compared.
    """

    method: str
    seed: int
    training: str
    pairs: tuple[Pair, ...]
    identity: str = ""


# --- files ----------------------------------------------------------------------------------------


def result_file(folder: Path, result: ResultRecord) -> Path:
    """Return where a result lies; results of another identity lie elsewhere."""
    name = f"{result.method}.{result.strategy}.seed{result.seed}"
    return folder / f"{name}.{digest_of(result.identity)[:_DIGITS]}.json"


def differences_file(folder: Path, found: PairedDifferences) -> Path:
    """Return where paired differences lie; those of results of another identity lie elsewhere."""
    name = f"{found.method}-seed{found.seed}-differences"
    return folder / f"{name}.{digest_of([found.identity, found.training])[:_DIGITS]}.json"


def write_result(folder: Path, result: ResultRecord) -> tuple[Path, ResultRecord]:
    """Write a result, atomically; sets scored by an earlier call of the same run are kept.

    Returns the file and what it holds.

    A result of another identity (other settings, data or code) is never replaced. One process at a
    time may write a result: what is found half-written was left by a killed one, and goes.
    """
    path = result_file(folder, result)
    remove_leftovers(folder, path.name)
    former = _earlier(path, read_result)
    if former is not None and (former.identity, former.pseudo) == (result.identity, result.pseudo):
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
        InputError: naming the file, for one that is missing, damaged or no result.
    """
    plain = _plain(path, FORMAT)
    identity = plain.pop(IDENTITY, None)
    found = from_plain(ResultRecord, plain, str(path))
    assert isinstance(found, ResultRecord)  # noqa: S101 - for the type checker
    if identity is not None and identity != digest_of(found.identity):
        msg = f"{path}: was edited: its settings are not those of its identity; {_REMEDY}"
        raise InputError(msg)
    for name, scored in found.sets.items():
        if scored.protocol.set_hash != scored.logical_hash:
            msg = f"{path}: set {name} has two different hashes; run 'sbdata bench' again"
            raise InputError(msg)
        for figure, at in scored.figures.items():
            if at.interval is not None and (len(at.interval) != 2 or at.value is None):
                msg = f"{path}: {name}, {figure}: an interval needs a value and two ends"
                raise InputError(msg)
    return found


def write_differences(folder: Path, found: PairedDifferences) -> Path:
    """Write paired differences, atomically; pairs of an earlier call of the same run are kept.

    One process at a time may write them, as with :func:`write_result`.
    """
    path = differences_file(folder, found)
    remove_leftovers(folder, path.name)
    former = _earlier(path, read_differences)
    pairs = {(p.set, p.first, p.second): p for p in found.pairs}
    if former is not None:
        pairs = {(p.set, p.first, p.second): p for p in former.pairs} | pairs
    whole = replace(found, pairs=tuple(pairs[key] for key in sorted(pairs)))
    values = {"format": DIFFERENCES_FORMAT, **as_plain(whole)}
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")
    return path


def read_differences(path: Path) -> PairedDifferences:
    """Read paired differences.

    Raises:
        InputError: naming the file, for one that is missing, damaged or something else.
    """
    found = from_plain(PairedDifferences, _plain(path, DIFFERENCES_FORMAT), str(path))
    assert isinstance(found, PairedDifferences)  # noqa: S101 - for the type checker
    return found


def _earlier(path: Path, read: Any) -> Any:
    """Return what a file holds; None where there is none that can be read, to be replaced."""
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
    """Tell whether a file's format is that of results by ``ia_iou.v1`` and ``sb_ce.v1``."""
    return format_ in ("sbdata.result.v1", "sbdata.differences.v1")


def said_of_version_1(path: Path) -> str:
    """Return the sentence that refuses a result of version 1."""
    return (
        f"{path}: made with ia_iou.v1 and sb_ce.v1, which do not compare with version 2; remove "
        "the file and run 'sbdata bench' again"
    )
