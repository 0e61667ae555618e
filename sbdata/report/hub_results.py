"""Results for the Hugging Face Hub, from a record of the bench or from a saved score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sbdata.benchmark.entries import SetRecord
from sbdata.errors import InputError
from sbdata.manifest import Manifest
from sbdata.metrics.image import MetricOptions
from sbdata.metrics.registry import sizes_in
from sbdata.score.saved import read_summary, refusing_damage
from sbdata.sets import manifest_of
from sbdata.settings import as_plain

_COMPARABLE = ("fp_attribution", "rounding")
"""Metric options that must have their defaults in a result for the Hub."""


@dataclass(frozen=True)
class HubResult:
    """Values of one set of predictions, for a model's repository.

    Attributes:
        source: File or folder from which it was read.
        name: Name of the result.
        scored: Name of the scored set.
        split: Split of its images.
        metric: Name and version of the metric.
        logical_hash: Logical hash of the scored set.
        n_images: Number of its images.
        n_instances: Number of instances by size: ``ia``, ``ia_small`` ...
        n_classes: Number of classes with such an instance, by size.
        figures: Values by headline name; None if undefined.
        about: What was scored and by which protocol, in a few words each.
        synthetic: True if images are generated.
    """

    source: Path
    name: str
    scored: str
    split: str
    metric: str
    logical_hash: str
    n_images: int
    n_instances: Mapping[str, int]
    n_classes: Mapping[str, int]
    figures: Mapping[str, float | None]
    about: tuple[str, ...]
    synthetic: bool

    @property
    def sizes(self) -> list[str]:
        """Names of the sizes."""
        return sizes_in(self.n_instances)


def result_of_record(record: SetRecord) -> HubResult:
    """Return the result of a method, strategy and seed on one set."""
    protocol = record.protocol
    return HubResult(
        source=record.file,
        name=record.file.stem,
        scored=record.scored,
        split=protocol["split"],
        metric=protocol["metric"],
        logical_hash=protocol["set_hash"],
        n_images=record.n_images,
        n_instances=record.n_instances,
        n_classes=record.n_classes,
        figures=record.figures,
        about=(
            f"{record.method}{f' ({record.role})' if record.role else ''}, {record.strategy}, seed "
            f"{record.seed}, trained on {record.training}",
            f"scales {protocol['scales']}, flip {protocol['flip']}, refinement "
            f"{protocol['refine']}",
        ),
        synthetic=record.synthetic,
    )


def result_of_score(folder: Path) -> HubResult:
    """Return the result in a folder that ``sbdata score`` wrote.

    A score does not record the split of its set, so the set must still be where it was.

    Raises:
        InputError: If the folder cannot be read, the truth is not a set with one split, the set is
            no longer there, or the score has other options or sizes than the set's benchmark.
    """
    summary = read_summary(folder)
    manifest = _set_of(folder, summary["provenance"]["truth"])
    with refusing_damage(folder):
        return _result_of(folder, summary, manifest)


def _result_of(folder: Path, summary: Mapping[str, Any], manifest: Manifest) -> HubResult:
    _check_comparable(folder, summary, manifest)
    splits = manifest.images["split"].unique().to_pylist()
    if len(splits) > 1:
        msg = (
            f"{folder}: its set has {len(splits)} splits, and a benchmark of the Hub is one split; "
            "score a set of one"
        )
        raise InputError(msg)
    predictions = summary["provenance"]["predictions"][0]
    means = ("class_mean", "instance_mean")
    return HubResult(
        source=folder,
        name=str(summary["name"]),
        scored=manifest.name,
        split=str(splits[0]),
        metric=str(summary["metric"]),
        logical_hash=manifest.logical_hash,
        n_images=int(summary["n_images"]),
        n_instances={name: int(at["n_instances"]) for name, at in summary["ia"].items()},
        n_classes={name: int(at["n_classes"]) for name, at in summary["ia"].items()},
        figures={
            "miou": summary["miou"]["value"],
            **{
                f"{n}.{mean}": at[mean]["value"]
                for n, at in summary["ia"].items()
                for mean in means
            },
        },
        about=(
            f"predictions {predictions['name']}, SHA-256 {predictions['sha256']}",
            *(str(note) for note in summary["notes"]),
        ),
        synthetic=bool(summary["synthetic"]),
    )


def _set_of(folder: Path, truth: Mapping[str, Any]) -> Manifest:
    """Return the manifest of the scored set."""
    if truth["kind"] != "set":
        msg = (
            f"{folder}: is a score on {truth['name']}, which is not a set, as the Hub's benchmarks "
            "are; score the predictions with --set"
        )
        raise InputError(msg)
    root = Path(truth["path"])
    try:
        manifest = manifest_of(root)
    except InputError as error:
        msg = (
            f"{folder}: its set cannot be read, which has the split ({error}); run the command in "
            "the folder in which 'sbdata score' ran, or score again"
        )
        raise InputError(msg) from error
    if manifest.logical_hash != truth["sha256"]:
        msg = (
            f"{folder}: {root} is no longer the set that was scored: its logical hash is "
            f"{manifest.logical_hash[:12]}, not {str(truth['sha256'])[:12]}; score again"
        )
        raise InputError(msg)
    return manifest


def _check_comparable(folder: Path, summary: Mapping[str, Any], manifest: Manifest) -> None:
    """Check that values are comparable with others of the same task."""
    options, usual = summary["provenance"]["options"], MetricOptions().as_dict()
    differing = [
        f"--{name.replace('_', '-')} {options[name]}"
        for name in _COMPARABLE
        if options[name] != usual[name]
    ]
    if summary["bins"] != as_plain(manifest.bins):
        differing.append("--bins")
    if differing:
        msg = (
            f"{folder}: was scored with {', '.join(differing)}, so its values are not those of the "
            "set's benchmark; score again without"
        )
        raise InputError(msg)
