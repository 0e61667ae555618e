"""Export to COCO: ``annotations/instances_SPLIT.json`` beside the photos in ``SPLIT/``.

Masks are the manifest's run-length codes. COCO can ignore a region for one category (``iscrowd``),
not for all, so void is not an annotation; its run-length code is in the image's record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from sbdata.errors import InputError
from sbdata.export.photos import place_photo, turn_note
from sbdata.manifest import IMAGES_FILE, INSTANCES_FILE
from sbdata.masks import MaskError, rle_area
from sbdata.parallel import Progress, run_each
from sbdata.sets import EvaluationSet

_ANNOTATIONS = "annotations"


def check_coco(opened: EvaluationSet) -> None:
    """Check that the folder of each split's photos is not that of the annotations.

    Raises:
        InputError: If a split has that name.
    """
    for split in opened.manifest.images["split"].unique().to_pylist():
        if split.lower() == _ANNOTATIONS:  # a disk may not tell case
            msg = (
                f"{opened.root / IMAGES_FILE}: a split called {split!r}, whose photos would lie "
                "among COCO's annotations; build the set with another split"
            )
            raise InputError(msg)


def write_coco(
    opened: EvaluationSet, folder: Path, *, workers: int, progress: Progress | None
) -> list[str]:
    """Write photos and annotations of a set in COCO's layout.

    Category ids are class numbers. Image ids count the images from 1 in the order of their names,
    annotation ids the rows of the instances table. Keys that begin with ``sbdata_`` are ours.

    Returns:
        Notes on the export.
    """
    images = opened.manifest.images.to_pylist()
    licences = sorted({row["license"] for row in images if row["license"]})
    numbers = {row["image_id"]: number for number, row in enumerate(images, start=1)}
    splits = {row["image_id"]: row["split"] for row in images}
    synthetic = " (synthetic)" if opened.manifest.meta["synthetic"] else ""
    (folder / _ANNOTATIONS).mkdir()
    for split in sorted(set(splits.values())):
        (folder / split).mkdir()
        head = {
            "info": {
                "description": f"{opened.name}{synthetic}, built by sbdata",
                "version": opened.logical_hash,
            },
            "licenses": [
                {"id": n, "name": text, "url": text if text.startswith("http") else ""}
                for n, text in enumerate(licences, start=1)
            ],
            "categories": [
                {"id": n, "name": name, "supercategory": name}
                for n, name in enumerate(opened.taxonomy.classes, start=1)
            ],
            "images": [
                _image(opened, row, numbers[row["image_id"]], licences)
                for row in images
                if row["split"] == split
            ],
        }
        with (folder / _ANNOTATIONS / f"instances_{split}.json").open("wb") as stream:
            stream.write(orjson.dumps(head)[:-1] + b',"annotations":[')
            for place, annotation in enumerate(_annotations(opened, numbers, splits, split)):
                stream.write((b",\n" if place else b"\n") + orjson.dumps(annotation))
            stream.write(b"]}\n")
    link = partial(_place, opened, folder, splits)
    return turn_note(run_each(link, opened.image_ids, workers=workers, progress=progress))


def _place(opened: EvaluationSet, folder: Path, splits: Mapping[str, str], image_id: str) -> bool:
    photo = opened.image_path(image_id)
    return place_photo(photo, folder / splits[image_id] / photo.name, link=True)


def _image(
    opened: EvaluationSet, row: Mapping[str, Any], number: int, licences: list[str]
) -> dict[str, Any]:
    size = row["height"], row["width"]
    where = f"{opened.root / IMAGES_FILE}: void of image {row['image_id']}"
    return {
        "id": number,
        "file_name": opened.image_path(row["image_id"]).name,
        "height": row["height"],
        "width": row["width"],
        **({"license": licences.index(row["license"]) + 1} if row["license"] else {}),
        **({"coco_url": row["url"]} if row["url"] else {}),
        "sbdata_source": row["source"],
        "sbdata_source_image_id": row["source_image_id"],
        **({"sbdata_void": _code(row["void_rle"], size, None, where)} if row["void_rle"] else {}),
    }


def _annotations(
    opened: EvaluationSet, numbers: Mapping[str, int], splits: Mapping[str, str], split: str
) -> Iterator[dict[str, Any]]:
    number = 0
    for batch in opened.manifest.instances.to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            number += 1
            image_id = row["image_id"]
            if splits[image_id] != split:
                continue
            where = f"{opened.root / INSTANCES_FILE}: image {image_id}, {row['instance_id']}"
            yield {
                "id": number,
                "image_id": numbers[image_id],
                "category_id": row["class_id"],
                "segmentation": _code(row["rle"], opened.size_of(image_id), row["area"], where),
                "area": row["area"],
                "bbox": [row[f"bbox_{side}"] for side in "xywh"],
                "iscrowd": 0,
                "sbdata_size": row["size"],
                "sbdata_instance_id": row["instance_id"],
                "sbdata_source_annotation_id": row["source_annotation_id"],
            }


def _code(rle: bytes, size: tuple[int, int], area: int | None, where: str) -> dict[str, Any]:
    """Return a run-length code as COCO writes it, after checking that it has the stated area."""
    try:
        found, counts = rle_area(rle, *size), rle.decode("ascii")
    except (MaskError, UnicodeDecodeError) as error:
        msg = f"{where}: {error}; build the set again"
        raise InputError(msg) from error
    if area not in (None, found):
        msg = f"{where}: its code has {found:,} pixels, its area is {area:,}; build the set again"
        raise InputError(msg)
    return {"size": list(size), "counts": counts}
