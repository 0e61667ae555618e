"""A small set of photos with void, two splits and several licences, and variants of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pycocotools import mask as coco_mask

from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.curate.materialise import write_set
from sbdata.manifest import make_manifest, read_manifest
from sbdata.recipe import Recipe, SourceSpec
from tests.curate.conftest import HEIGHT, WIDTH, write_coco

NAMES = ("cat", "dog", "kite")
LICENCES = [
    {"id": 1, "name": "Attribution License", "url": "http://creativecommons.org/licenses/by/2.0/"},
    {"id": 2, "url": "http://creativecommons.org/licenses/by-nc-sa/2.0/"},
]
IMAGES = 6


def build_pets(base: Path, classes: tuple[str, ...] = NAMES) -> Path:
    """Build a set of six photos; in two of them a crowd is void."""
    folder = write_coco(base / "coco", IMAGES)
    folder.data["licenses"] = LICENCES
    for number, image in enumerate(folder.data["images"]):
        image["license"] = 1 + number % 2
    for image_id in (2, 5):
        crowd = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
        crowd[5:40, 90 : 110 + image_id] = 1
        counts = [0, *np.diff(np.flatnonzero(np.diff(crowd.ravel("F"), prepend=0, append=0)))]
        counts[0] = int(np.flatnonzero(crowd.ravel("F"))[0])
        counts.append(crowd.size - sum(map(int, counts)))
        folder.data["annotations"].append(
            {"id": 900 + image_id, "image_id": image_id, "iscrowd": 1, "category_id": 1,
             "area": int(crowd.sum()), "bbox": [90, 5, 20 + image_id, 35],
             "segmentation": {"size": [HEIGHT, WIDTH], "counts": [int(n) for n in counts]}}
        )  # fmt: skip
    folder.save()
    names = dict(zip(NAMES, classes, strict=True))
    recipe = Recipe(
        name="pets",
        version="pets.v1",
        taxonomy=classes,
        sources=(SourceSpec("coco", ("train2017",), class_map=names),),
    )
    return build_set(recipe, base / "set", Inputs(roots={"coco": folder.root})).root


def with_columns(root: Path, out: Path, **columns: list) -> Path:
    """Write a set again with other values in columns of its images."""
    manifest = read_manifest(root)
    images = manifest.images
    for name, values in columns.items():
        place = images.schema.get_field_index(name)
        field = images.schema.field(name)
        images = images.set_column(place, field, pa.array(values, field.type))
    meta = {k: v for k, v in manifest.meta.items() if k != "logical_hash"}
    made = make_manifest(
        manifest.name, images, manifest.instances, manifest.taxonomy, manifest.bins, meta
    )
    shutil.copytree(root / "JPEGImages", out / "JPEGImages")
    write_set(made, out)
    return out


def png(path: Path) -> np.ndarray:
    """The numbers of a mask, as Pillow reads them."""
    with Image.open(path) as image:
        return np.array(image)


def classes_of(root: Path) -> dict[str, np.ndarray]:
    return {p.stem: png(p) for p in sorted((root / "SegmentationClass").iterdir())}


def objects_of(root: Path) -> dict[str, np.ndarray]:
    return {p.stem: png(p) for p in sorted((root / "SegmentationObject").iterdir())}


def tree(root: Path) -> dict[str, bytes]:
    files = [p for p in root.rglob("*") if p.is_file()]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def decoded(code: dict) -> np.ndarray:
    return coco_mask.decode({"size": code["size"], "counts": code["counts"].encode()}) > 0


def same_objects(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two instance maps have the same objects, under whatever numbers."""
    pairs = set(zip(one.ravel().tolist(), other.ravel().tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
