"""Export to the Hugging Face Hub's layout: Parquet with photos and masks, and a dataset card.

``datasets.load_dataset(FOLDER)`` reads it. The card's header names the files of each split and the
types of the columns, so that photos and masks are decoded. The set's manifest lies in
``manifest/``: the set can be built again from it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sbdata.curate.card import FIGURE, card_figure, dataset_card
from sbdata.curate.header import check_header
from sbdata.curate.materialise import REJECTED_FILE
from sbdata.curate.statistics import SizeStatistics, statistics_from, statistics_of_set
from sbdata.errors import InputError
from sbdata.export.hub_benchmark import EVAL_FILE, eval_yaml
from sbdata.export.photos import photo_bytes, turn_note
from sbdata.labelmap import BACKGROUND
from sbdata.layout import class_path, object_path
from sbdata.manifest import IMAGES_FILE, INSTANCES_FILE, write_manifest
from sbdata.parallel import Progress, run_each
from sbdata.quoting import quoted
from sbdata.sets import EvaluationSet

MANIFEST_FOLDER = "manifest"
_SHARD, _GROUP = 1 << 28, 1 << 25  # most bytes of photos and masks in a file, and in a row group
_ROWS = 100  # most rows in a row group
_SPLIT = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_OBJECT = pa.struct(
    [
        ("instance_id", pa.int16()),
        ("class", pa.int64()),
        ("area", pa.int32()),
        ("bbox", pa.list_(pa.int32())),
        ("size", pa.string()),
    ]
)
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image", _IMAGE),
        ("class_mask", _IMAGE),
        ("instance_mask", _IMAGE),
        ("objects", pa.list_(_OBJECT)),
        ("source", pa.string()),
        ("source_image_id", pa.string()),
        ("url", pa.string()),
        ("license", pa.string()),
    ]
)

_LAYOUT = """\
Parquet, read by `datasets.load_dataset`: `image` (the JPEG), `class_mask` (PNG of class numbers, 0
background, 255 void), `instance_mask` (PNG of instance numbers, 0 background, 255 void), `objects`
(one for each visible instance: its number in `instance_mask`, class, area in pixels, box as x, y,
width and height, size), and the image's origin. `manifest/` has the set's own tables and what was
left out (`rejected.csv`); `sbdata dataset build manifest` builds the set again from them."""

_MANIFEST_LAYOUT = """\
`manifest/` alone: `images.parquet` (one row an image, with its address, licence and SHA-256) and
`instances.parquet` (one row a visible instance, with its mask as COCO run-length code). The photos
are not here, since their terms do not allow it or are not stated. `sbdata dataset build manifest`
fetches them from where they are published and builds the set."""


def check_huggingface(opened: EvaluationSet) -> None:
    """Check that ``datasets`` accepts the splits' names, and that the set's card can be written.

    Raises:
        InputError: If not; the message names what is wrong.
    """
    check_header(opened.manifest, opened.root)
    for split in sorted(set(opened.manifest.images["split"].to_pylist())):
        if not _SPLIT.fullmatch(split) or split == "all":
            msg = (
                f"{opened.root / IMAGES_FILE}: a split called {quoted(split)}, and datasets takes "
                "letters, digits, underscores and dots between them; build the set with another"
            )
            raise InputError(msg)


def write_huggingface(
    opened: EvaluationSet,
    folder: Path,
    *,
    workers: int,
    progress: Progress | None,
    benchmark: bool = False,
) -> list[str]:
    """Write Parquet files, card and manifest of a set; for a benchmark, ``eval.yaml`` as well.

    Photos and masks keep their bytes, except for photos with an orientation tag, see
    :func:`sbdata.export.photos.photo_bytes`.

    Returns:
        Notes on the export.
    """
    (folder / "data").mkdir()
    images = opened.manifest.images.to_pylist()
    splits, turned = [], []
    for split in sorted({row["split"] for row in images}):
        rows = [row for row in images if row["split"] == split]
        sizes = [_bytes_of(opened, row["image_id"]) for row in rows]
        shards = list(_parts(sizes, _SHARD, len(rows)))
        for number, shard in enumerate(shards):
            name = f"{split}-{number:05}-of-{len(shards):05}.parquet"
            with pq.ParquetWriter(folder / "data" / name, _SCHEMA, compression="zstd") as writer:
                for group in _parts(sizes[shard], _GROUP, _ROWS):
                    read = partial(_row, opened)
                    found = run_each(read, rows[shard][group], workers=workers)
                    turned += [is_turned for _, is_turned in found]
                    content = [row for row, _ in found]
                    writer.write_table(pa.Table.from_pylist(content, _SCHEMA))
                    if progress is not None:
                        progress(len(turned), len(images))
        splits.append({"name": split, "num_bytes": sum(sizes), "num_examples": len(rows)})
    front = {
        "configs": [_config("default", {s["name"]: f"data/{s['name']}-*" for s in splits})],
        "dataset_info": {"features": _features(opened), "splits": splits},
    }
    write_manifest_and_card(opened, folder, front, _LAYOUT)
    if benchmark:
        (folder / EVAL_FILE).write_bytes(eval_yaml(opened, "default").encode())
    return turn_note(turned)


def write_manifest_alone(opened: EvaluationSet, folder: Path, *, benchmark: bool = False) -> None:
    """Write manifest and card of a set without its photos.

    The tasks of ``eval.yaml`` then name the table of images, which is a split called train.
    """
    files = {"images": IMAGES_FILE, "instances": INSTANCES_FILE}
    configs = [
        _config(name, {"train": f"{MANIFEST_FOLDER}/{file}"}) for name, file in files.items()
    ]
    write_manifest_and_card(opened, folder, {"configs": configs}, _MANIFEST_LAYOUT)
    if benchmark:
        (folder / EVAL_FILE).write_bytes(eval_yaml(opened, "images", "train").encode())


def write_manifest_and_card(
    opened: EvaluationSet, folder: Path, front: Mapping[str, Any], layout: str
) -> None:
    """Write ``manifest/``, the card and its figure.

    Args:
        opened: Set to export.
        folder: Folder of the export.
        front: Further keys of the card's header.
        layout: Description of the files, for the card.
    """
    manifest = opened.manifest
    write_manifest(manifest, folder / MANIFEST_FOLDER)
    rejected = opened.root / REJECTED_FILE
    if rejected.is_file():
        shutil.copyfile(rejected, folder / MANIFEST_FOLDER / REJECTED_FILE)
    measured = statistics_of_set(manifest)
    assert isinstance(measured, SizeStatistics)  # noqa: S101 - a set with masks
    source = statistics_from(manifest.meta["source"], manifest)
    figure = card_figure(manifest, measured, source)
    (folder / FIGURE).write_bytes(figure.standalone().encode())
    card = dataset_card(manifest, measured, layout=layout, front=front)
    (folder / "README.md").write_bytes(card.encode())


# --- rows -----------------------------------------------------------------------------------------


def _paths(opened: EvaluationSet, image_id: str) -> tuple[Path, Path, Path]:
    masks = class_path(opened.root, image_id), object_path(opened.root, image_id)
    return opened.image_path(image_id), *masks


def _bytes_of(opened: EvaluationSet, image_id: str) -> int:
    return sum(path.stat().st_size for path in _paths(opened, image_id))


def _parts(sizes: Sequence[int], limit: int, rows: int) -> Iterator[slice]:
    """Cut rows into parts of at most ``limit`` bytes and ``rows`` rows, or of one larger row."""
    start = total = 0
    for place, size in enumerate(sizes):
        if place > start and (total + size > limit or place - start >= rows):
            yield slice(start, place)
            start, total = place, 0
        total += size
    if start < len(sizes):
        yield slice(start, len(sizes))


def _row(opened: EvaluationSet, row: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    image_id = row["image_id"]
    photo, classes, objects = _paths(opened, image_id)
    data, turned = photo_bytes(photo)
    instances = [
        {
            "instance_id": one["instance_id"],
            "class": one["class_id"],
            "area": one["area"],
            "bbox": [one[f"bbox_{side}"] for side in "xywh"],
            "size": one["size"],
        }
        for one in opened.instances_of(image_id).to_pylist()
    ]
    kept = {name: row[name] for name in ("source", "source_image_id", "url", "license")}
    images = {
        "image": {"bytes": data, "path": photo.name},
        "class_mask": {"bytes": classes.read_bytes(), "path": classes.name},
        "instance_mask": {"bytes": objects.read_bytes(), "path": objects.name},
    }
    return {"image_id": image_id, **images, "objects": instances, **kept}, turned


# --- the card's header ----------------------------------------------------------------------------


def _config(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    data = [{"split": split, "path": path} for split, path in files.items()]
    return {"config_name": name, "data_files": data}


def _features(opened: EvaluationSet) -> list[dict[str, Any]]:
    """Return the types of the columns as ``datasets`` writes them."""
    names = {str(n): name for n, name in enumerate([BACKGROUND, *opened.taxonomy.classes])}
    objects = [
        {"name": "instance_id", "dtype": "int16"},
        {"name": "class", "dtype": {"class_label": {"names": names}}},
        {"name": "area", "dtype": "int32"},
        {"name": "bbox", "list": "int32"},
        {"name": "size", "dtype": "string"},
    ]
    images = [{"name": name, "dtype": "image"} for name in ("image", "class_mask", "instance_mask")]
    texts = [
        {"name": name, "dtype": "string"}
        for name in ("source", "source_image_id", "url", "license")
    ]
    return [
        {"name": "image_id", "dtype": "string"},
        *images,
        {"name": "objects", "list": objects},
        *texts,
    ]
