"""Write ``scores/<name>/``: the tables, the summary and the report, all of them or none.

A result is prepared in a folder next to its final one and moved there when it is complete. An
earlier result of the same name stays complete until then, so one of the two is always available,
even if the process is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from sbdata.errors import InputError
from sbdata.machine import writing_to
from sbdata.metrics.bootstrap import Interval
from sbdata.metrics.image import ia_iou
from sbdata.score.result import Comparison, ScoreResult
from sbdata.settings import as_plain
from sbdata.storage import alone, is_safe_stem, replacing, restore_folder

INSTANCES_FILE = "instances.parquet"
REGIONS_FILE = "regions.parquet"
IMAGES_FILE = "images.parquet"
CONFUSION_FILE = "confusion.parquet"
SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"
PROBLEMS_FILE = "problems.csv"
VERSION = 2  # of the summary's layout

_INSTANCES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("instance_id", pa.int32(), nullable=False),
        pa.field("class_id", pa.int16(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("area", pa.int32(), nullable=False),
        pa.field("size", pa.string(), nullable=False),
        pa.field("tp", pa.int32(), nullable=False),
        pa.field("fp", pa.float64(), nullable=False),
        pa.field("ia_iou", pa.float64(), nullable=False),
        pa.field("recall", pa.float64(), nullable=False),
        pa.field("met_regions", pa.int32(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("other_class", pa.string(), nullable=False),
        pa.field("other_pixels", pa.int32(), nullable=False),
    ]
)
"""``outcome`` is the kind of outcome; ``other_class`` the other foreground class that most of the
instance's pixels are predicted as (empty if none is), with their number.
"""
_BOUNDARY = pa.field("boundary_iou", pa.float64(), nullable=False)
_REGIONS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("region", pa.int32(), nullable=False),
        pa.field("class_id", pa.int16(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("area", pa.int32(), nullable=False),
        pa.field("size", pa.string(), nullable=False),
        pa.field("matched", pa.int32(), nullable=False),
        pa.field("met_instances", pa.int32(), nullable=False),
    ]
)
_IMAGES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("missing", pa.bool_(), nullable=False),
        pa.field("n_instances", pa.int32(), nullable=False),
        pa.field("n_regions", pa.int32(), nullable=False),
        pa.field("orphan_regions", pa.int32(), nullable=False),
        pa.field("orphan_pixels", pa.int32(), nullable=False),
        pa.field("pixels", pa.int32(), nullable=False),
        pa.field("pixel_accuracy", pa.float64()),
        pa.field("mean_ia", pa.float64()),
    ]
)
"""``pixels`` counts the pixels outside void; ``mean_ia`` is null for an image without instances."""

_CONFUSION = pa.schema(
    [
        pa.field("true_id", pa.int16(), nullable=False),
        pa.field("true_class", pa.string(), nullable=False),
        pa.field("predicted_id", pa.int16(), nullable=False),
        pa.field("predicted_class", pa.string(), nullable=False),
        pa.field("pixels", pa.int64(), nullable=False),
        pa.field("share", pa.float64()),
    ]
)
"""``share`` is the share of the true class's pixels; null for a class without a true pixel."""


def check_place(out: Path, name: str, predictions: Path | None = None) -> Path:
    """Return the folder of a result, after checking that it contains nothing else.

    If replacing an earlier result was interrupted by a kill, that result is restored.

    Args:
        out: Folder of all results.
        name: Name of the result.
        predictions: Folder to be scored.

    Raises:
        InputError: If the name is not valid for a folder, or the folder contains files that no
            earlier result of sbdata put there, or the scores of another folder of predictions.
    """
    if not is_safe_stem(name):
        msg = f"{name!r} cannot name a result; give a plain name by --name"
        raise InputError(msg)
    folder = out / name
    with writing_to(out):
        restore_folder(folder)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        msg = f"{folder}: not a folder, so no result can be written there; choose another --name"
        raise InputError(msg)
    if folder.is_dir():
        own = {PROBLEMS_FILE, *_files_of_former(folder / SUMMARY_FILE)}
        strange = sorted({entry.name for entry in folder.iterdir()} - own)
        if strange:
            msg = (
                f"{folder}: holds {strange[0]!r}, which is not from an earlier result and would be "
                "lost; move it, or choose another --name"
            )
            raise InputError(msg)
        former = _predictions_of_former(folder / SUMMARY_FILE)
        if predictions is not None and former not in (None, str(predictions.resolve())):
            msg = (
                f"{folder}: already holds the scores of {former}, which would be replaced by those "
                f"of {predictions}; choose another --name or --out, or remove the folder"
            )
            raise InputError(msg)
    return folder


def problems_file(folder: Path) -> Path:
    """Return the file that lists the problems of predictions that cannot be scored.

    It is in the result's folder, or next to it if the folder contains an earlier result, which the
    problems do not concern.
    """
    return _problems_beside(folder) if (folder / SUMMARY_FILE).exists() else folder / PROBLEMS_FILE


def _problems_beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.{PROBLEMS_FILE}")


def _files_of_former(summary: Path) -> list[str]:
    """Return the names of an earlier result's files; none if the summary is not sbdata's."""
    try:
        content = summary.read_bytes()
        if not content:  # nothing to lose
            return [SUMMARY_FILE]
        found = orjson.loads(content)
        _ = found["metric"]
        return [SUMMARY_FILE, *(str(name) for name in found["files"])]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _predictions_of_former(summary: Path) -> str | None:
    """Return the predictions folder of an earlier result, None if it is not known."""
    try:
        first = orjson.loads(summary.read_bytes())["provenance"]["predictions"][0]
        return str(first.get("path") or Path(first["folder"]).resolve())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def write_result(
    scored: ScoreResult, out: Path, write_report: Callable[[Path], None] | None = None
) -> Path:
    """Write ``<out>/<name>/`` and return it; an earlier result of that name is replaced.

    Args:
        scored: Result to write.
        out: Folder of all results.
        write_report: Function that writes the report to the path it is given; it may write further
            files next to it.

    Raises:
        InputError: If :func:`check_place` raises it, or the folder cannot be written or is full.
    """
    folder = check_place(out, scored.name, scored.predictions)
    with writing_to(out), alone(folder):
        with replacing(folder) as prepared:
            _write_into(prepared, scored, write_report)
        _problems_beside(folder).unlink(missing_ok=True)  # from an attempt in the meantime
    return folder


def _write_into(
    folder: Path, scored: ScoreResult, write_report: Callable[[Path], None] | None
) -> None:
    for name, table in tables_of(scored).items():
        pq.write_table(table, folder / name, compression="zstd")
    if write_report is not None:
        write_report(folder / REPORT_FILE)
    files = sorted(entry.name for entry in folder.iterdir())
    content = {**summary_as_dict(scored), "files": files}
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    (folder / SUMMARY_FILE).write_bytes(orjson.dumps(content, option=option))


# --- tables ---------------------------------------------------------------------------------------


def tables_of(scored: ScoreResult) -> dict[str, pa.Table]:
    """Return the tables by file name; their schema's metadata identifies their result."""
    tables, names = scored.tables, scored.taxonomy.classes
    columns = {
        INSTANCES_FILE: (
            _INSTANCES.append(_BOUNDARY) if scored.options.boundary else _INSTANCES,
            tables.instance_columns(scored.bins, names),
        ),
        REGIONS_FILE: (_REGIONS, tables.region_columns(scored.bins, names)),
        IMAGES_FILE: (_IMAGES, _image_columns(scored)),
        CONFUSION_FILE: (_CONFUSION, tables.confusion_columns(names)),
    }
    header = {
        "version": VERSION,
        "metric": scored.summary.metric,
        "name": scored.name,
        "truth": scored.truth_name,
        "synthetic": scored.synthetic,
        "options": scored.options.as_dict(),
        "bins": as_plain(scored.bins),
    }
    metadata = {b"sbdata": orjson.dumps(header, option=orjson.OPT_SORT_KEYS)}
    return {
        file: pa.table(
            [
                pa.array(values[field.name], field.type, from_pandas=field.nullable)
                for field in schema
            ],
            schema=schema.with_metadata(metadata),
        )
        for file, (schema, values) in columns.items()
    }


def _image_columns(scored: ScoreResult) -> dict[str, Any]:
    tables = scored.tables
    ids = tables.image_ids
    n = len(ids)

    def per_image(column: str) -> Any:
        return np.bincount(tables.class_image, tables.classes[column], minlength=n).astype(np.int64)

    instances = np.bincount(tables.instance_image, minlength=n)
    total = np.bincount(tables.instance_image, ia_iou(tables.instances), minlength=n)
    pixels, matched = per_image("true_pixels"), per_image("matched_pixels")
    missing = set(scored.missing)
    return {
        "image_id": ids,
        "width": [scored.image_sizes[i][0] for i in ids],
        "height": [scored.image_sizes[i][1] for i in ids],
        "missing": [i in missing for i in ids],
        "n_instances": instances,
        "n_regions": np.bincount(tables.region_image, minlength=n),
        "orphan_regions": per_image("orphan_regions"),
        "orphan_pixels": per_image("orphan_pixels"),
        "pixels": pixels,
        "pixel_accuracy": _ratios(matched, pixels),
        "mean_ia": _ratios(total, instances),
    }


def _ratios(part: Any, whole: Any) -> list[float | None]:
    pairs = zip(part.tolist(), whole.tolist(), strict=True)
    return [p / w if w else None for p, w in pairs]


# --- summary --------------------------------------------------------------------------------------


def summary_as_dict(scored: ScoreResult) -> dict[str, Any]:
    """Return every figure with its n and interval, and all that is needed to reproduce it.

    The content equals ``summary.json`` except for the list of files.
    """
    summary = scored.summary
    plain = summary.as_dict(scored.taxonomy.classes)
    interval = _intervals(scored.intervals)
    further = {
        name: {"value": value, "interval": interval[name]}
        for name, value in summary.further.items()
    }
    return {
        "version": VERSION,
        "name": scored.name,
        "metric": summary.metric,
        "synthetic": scored.synthetic,
        "notes": list(scored.notes),
        "n_images": summary.n_images,
        "miou": {
            "value": summary.miou,
            "interval": interval["miou"],
            "n_classes": summary.n_miou_classes,
            "absent": [("background", *scored.taxonomy.classes)[c] for c in summary.absent],
            "background_iou": summary.background_iou,
        },
        "pixel_accuracy": {
            "value": summary.pixel_accuracy,
            "interval": interval["pixel_accuracy"],
        },
        "ia": {
            name: {
                mean: {
                    "value": getattr(figure, mean),
                    "interval": interval[f"{name}.{mean}"],
                }
                for mean in ("class_mean", "instance_mean")
            }
            | {"n_instances": figure.n_instances, "n_classes": figure.n_classes}
            for name, figure in summary.ia.items()
        },
        "background_ia": {
            "value": summary.background_ia.value,
            "n_images": summary.background_ia.n,
        },
        "region_precision": {
            name: {"value": cell.value, "interval": interval[name], "n_regions": cell.n}
            for name, cell in summary.region_precision.items()
        },
        **({"further": further} if further else {}),
        "outcomes": plain["outcomes"],
        "orphans": plain["orphans"],
        "classes": plain["classes"],
        "curve": plain["curve"],
        "compared": [_compared_as_dict(other) for other in scored.compared],
        "taxonomy": {"name": scored.taxonomy.name, "classes": list(scored.taxonomy.classes)},
        "bins": as_plain(scored.bins),
        "provenance": dict(scored.provenance),
    }


def _intervals(intervals: Mapping[str, Interval | None]) -> dict[str, dict[str, float] | None]:
    return {name: None if i is None else asdict(i) for name, i in intervals.items()}


def _compared_as_dict(other: Comparison) -> dict[str, Any]:
    return {
        "name": other.name,
        "figures": dict(other.figures),
        "differences": {
            name: None if d is None else asdict(d) for name, d in other.differences.items()
        },
        "moved": [asdict(moved) for moved in other.moved],
    }
