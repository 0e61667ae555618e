"""Read a folder written by ``sbdata score``, and check that it belongs to a set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from sbdata.errors import InputError
from sbdata.formatting import said_edges
from sbdata.metrics.image import METRIC
from sbdata.parquet_files import read_parquet
from sbdata.score.write import IMAGES_FILE, INSTANCES_FILE, SUMMARY_FILE, VERSION
from sbdata.sets import EvaluationSet
from sbdata.settings import from_plain
from sbdata.sizes import SizeBins
from sbdata.storage import restore_folder

OBJECT_SCORES = ("ia_iou", "tp", "fp", "outcome", "other_class")
IMAGE_SCORES = ("pixel_accuracy", "orphan_pixels")
_OBJECT_KEYS = ("image_id", "instance_id", "area")


@dataclass(frozen=True, eq=False)
class SavedScore:
    """Result of ``sbdata score`` for one folder of predictions.

    Attributes:
        title: Name of the result.
        folder: Folder of the result.
        summary: Content of ``summary.json``.
        instances: Table with one row per true object.
        images: Table with one row per image.
    """

    title: str
    folder: Path
    summary: Mapping[str, Any]
    instances: pa.Table
    images: pa.Table

    @property
    def truth_hash(self) -> str:
        """Hash of the set that the predictions were scored on."""
        return str(self.summary["provenance"]["truth"]["sha256"])

    @property
    def predictions_hash(self) -> str:
        """Hash of the predictions that were scored."""
        return str(self.summary["provenance"]["predictions"][0]["sha256"])

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the metric and of the prediction format."""
        options: Mapping[str, Any] = self.summary["provenance"]["options"]
        return options

    @property
    def named_folder(self) -> str:
        """Folder of the predictions, as the result names it."""
        return str(self.summary["provenance"]["predictions"][0]["folder"])

    @property
    def predictions(self) -> Path | None:
        """Return the folder of the predictions, or None if it is no longer found.

        The result may name it relative to the folder in which the command ran. It is searched for
        from the working directory and from every folder above the result.
        """
        named = Path(self.named_folder)
        bases = [Path.cwd(), *self.folder.parents]
        places = [named] if named.is_absolute() else [base / named for base in bases]
        return next((place for place in places if place.is_dir()), None)

    @property
    def without_masks(self) -> str:
        """Return why the predictions cannot be shown as masks; empty if they are there as masks."""
        folder = self.predictions
        if folder is None:
            if self.named_folder.endswith(".json"):
                return f"its predictions are a JSON file, {self.named_folder}"
            return f"its predictions are no longer in {self.named_folder}"
        if "palette" in self.options:
            return "its predictions were decoded through a palette"
        if any(folder.glob("*.npy")):
            return f"its predictions in {folder} are .npy arrays"
        return ""


def is_saved_score(folder: Path) -> bool:
    """Return True if a folder holds a result of ``sbdata score``, of any version."""
    return (folder / SUMMARY_FILE).is_file()


def read_saved_score(folder: Path) -> SavedScore:
    """Read a result of ``sbdata score``.

    Raises:
        InputError: If the folder holds no result, or another version of the metric made it.
    """
    folder = Path(folder).resolve()
    summary = read_summary(folder)
    with refusing_damage(folder):
        return SavedScore(
            title=str(summary["name"]),
            folder=folder,
            summary=summary,
            instances=_table(folder / INSTANCES_FILE, (*_OBJECT_KEYS, *OBJECT_SCORES)),
            images=_table(folder / IMAGES_FILE, ("image_id", "missing", "mean_ia", *IMAGE_SCORES)),
        )


def read_summary(folder: Path) -> Mapping[str, Any]:
    """Read the ``summary.json`` of a result of ``sbdata score``, without its tables.

    Every value that is read later is checked here.

    Raises:
        InputError: If the folder holds no result, or another version of the metric made it.
    """
    with suppress(OSError):  # a read-only folder is read as it is
        restore_folder(folder)
    if not (folder / SUMMARY_FILE).is_file():
        what = "no such folder" if not folder.is_dir() else f"no {SUMMARY_FILE} in it"
        msg = f"{folder}: {what}; give a folder that 'sbdata score' wrote, such as scores/NAME"
        raise InputError(msg)
    with refusing_damage(folder):
        summary: Mapping[str, Any] = orjson.loads((folder / SUMMARY_FILE).read_bytes())
        made_by = (str(summary["metric"]), summary["version"])
        if made_by == (METRIC, VERSION):
            _check_content(folder, summary)
            return summary
    msg = (
        f"{folder}: was scored with {made_by[0]} (layout {made_by[1]}), which is not comparable "
        f"with {METRIC} (layout {VERSION}); score the predictions again by 'sbdata score'"
    )
    raise InputError(msg)


@contextmanager
def refusing_damage(folder: Path) -> Iterator[None]:
    """Raise an error of one sentence if a folder is damaged in any way."""
    try:
        yield
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        pa.ArrowException,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"{folder}: not a readable result of 'sbdata score' ({reason}); score it again"
        raise InputError(msg) from error


def _check_content(folder: Path, summary: Mapping[str, Any]) -> None:
    """Raise an error if a value that is read later is missing or of another type."""
    about = summary["provenance"]
    _ = [Path(about["predictions"][0][name]) for name in ("folder", "path", "sha256")]
    _ = [str(about["truth"][name]) for name in ("name", "kind", "path", "sha256")]
    _ = [str(about["options"][name]) for name in ("fp_attribution", "rounding")]
    _ = int(about["resamples"]), int(about["seed"]), str(summary["name"])
    _ = summary["miou"]["value"], summary["ia"]["ia"]
    from_plain(SizeBins, summary["bins"], f"{folder}: bins")


def _table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read columns of a table that has the header of this version.

    Raises:
        ValueError: If it lacks that header, such as a table of an earlier result.
    """
    table = read_parquet(path, columns)
    header = orjson.loads((table.schema.metadata or {}).get(b"sbdata", b"{}"))
    if header.get("metric") != METRIC:
        msg = f"{path.name} is not a table of {METRIC}"
        raise ValueError(msg)
    return table


def check_saved_score(score: SavedScore, opened: EvaluationSet) -> None:
    """Check that predictions were scored on exactly this set.

    Raises:
        InputError: If they were scored on another set; the message names both.
    """
    if score.truth_hash != opened.logical_hash:
        truth = score.summary["provenance"]["truth"]
        other = str(truth.get("name"))
        if other == opened.name:
            other = f"another {other}"
        msg = (
            f"{score.folder}: scores of {other} ({score.truth_hash[:12]}), not of {opened.root} "
            f"({opened.logical_hash[:12]}); score the predictions again by 'sbdata score PRED "
            f"--set {opened.root}'"
        )
        raise InputError(msg)
    rows = _keys(score.instances)
    if len(rows) != score.instances.num_rows or rows != _keys(opened.manifest.instances):
        msg = f"{score.folder}: its rows do not match the set's objects; score them again"
        raise InputError(msg)


def check_saved_bins(score: SavedScore, opened: EvaluationSet) -> None:
    """Check that a score's sizes are those of its set.

    Raises:
        InputError: If it was scored with other bins; the message names both.
    """
    bins = from_plain(SizeBins, score.summary["bins"], f"{score.folder}: bins")
    if bins != opened.bins:
        msg = (
            f"{score.folder}: its sizes are divided at {said_edges(bins)}, not at "
            f"{said_edges(opened.bins)} as in {opened.root}; score the predictions again without "
            "--bins"
        )
        raise InputError(msg)


def _keys(table: pa.Table) -> set[tuple[str, int, int]]:
    """Return the image, number and area of each object."""
    return set(zip(*(table[name].to_pylist() for name in _OBJECT_KEYS), strict=True))
