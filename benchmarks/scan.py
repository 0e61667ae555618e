"""Scan of a COCO-format file of COCO train2017's size: sbdata against a pycocotools loop.

    python benchmarks/scan.py --dir FOLDER --json results/speed/scan.json

A file of 118,000 images and 860,000 instances is generated (once; its random numbers are seeded),
with polygon lengths, object sizes and crowds like COCO's and annotations in shuffled order. Then
both sides load the file, decode each object, draw larger objects first, and count the visible
pixels of each and the instances by class and size. The counts must be equal:

- ``pycocotools``: load the file with ``COCO``, then for each image ``annToRLE``, ``decode``, paint
  and count pixels, in one process, as pycocotools has no other way;
- ``sbdata``: ``scan_source`` in one process, which also measures boxes, components and visible
  masks and writes the two tables; ``sbdata, N processes`` with workers.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
import numpy.typing as npt
import orjson

from sbdata.sizes import SizeBins
from sbdata.storage import writing
from sbdata.taxonomy import COCO80

IMAGES, INSTANCES, CROWD_SHARE = 118_000, 860_000, 0.005
WIDTH, HEIGHT = 640, 480
VERSION = 1  # of the generated file
BARS = {"speed": 10, "memory": 0.6}


def main() -> None:
    parser = harness.parser(__doc__, quick=0.02)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir(), "sbdata-benchmark"))
    parser.add_argument("--workers", type=int, default=0, help="a third side with N processes, too")
    options = parser.parse_args()
    images, instances = round(IMAGES * options.scale), round(INSTANCES * options.scale)
    root = options.dir / f"coco-like-v{VERSION}-{options.scale:g}"
    sides = {
        "sbdata": harness.Side(lambda _: count_with_sbdata(root, 1)),
        "pycocotools": harness.Side(lambda _: count_with_pycocotools(root), "pycocotools"),
    }
    if options.workers:
        sides[f"sbdata, {options.workers} processes"] = harness.Side(
            lambda _: count_with_sbdata(root, options.workers)
        )

    def prepare(_: Path) -> None:
        for place, n, m in ((root, images, instances), (options.dir / "warm-up", 50, 400)):
            if not (file := place / "annotations" / "instances_train.json").is_file():
                print(f"writing {file}", flush=True)
                write_coco_like(file, n, m)
        count_with_sbdata(options.dir / "warm-up", 1)  # no side waits for a compiler

    figures = harness.compare(options, sides, prepare)
    equal = len({str(figure.said) for figure in figures}) == 1
    figures = [replace(figure, said=sum(map(sum, figure.said))) for figure in figures]
    megabytes = (root / "annotations" / "instances_train.json").stat().st_size / 1e6
    print(f"{images:,} images, {instances:,} instances, {megabytes:,.0f} MB of JSON (generated)")
    told = {"images": images, "instances": instances, "generated": True, "megabytes": megabytes}
    harness.report(options, figures, **told, bars=BARS, counts_equal=equal)
    if len(figures) > 1:
        print(f"wanted: pycocotools takes {BARS['speed']}x the time, sbdata {BARS['memory']}x the")
        print(f"memory; class x size counts equal: {'yes' if equal else 'NO'}")
    sys.exit(not equal)


# --- the two sides --------------------------------------------------------------------------------


def count_with_pycocotools(root: Path) -> list[list[int]]:
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO

    stdout, sys.stdout = sys.stdout, sys.stderr  # COCO() prints its progress
    coco = COCO(root / "annotations" / "instances_train.json")
    sys.stdout = stdout
    class_of = {category: i for i, category in enumerate(sorted(coco.cats))}
    edges = SizeBins().edges
    counts = np.zeros((len(class_of), len(edges) + 1), np.int64)
    for image_id in sorted(coco.imgs):
        image = coco.imgs[image_id]
        annotations = sorted(coco.imgToAnns[image_id], key=lambda a: int(a["id"]))
        instances = [a for a in annotations if not a["iscrowd"]]
        canvas = np.zeros((image["height"], image["width"]), np.uint8, order="F")
        for crowd in (a for a in annotations if a["iscrowd"]):
            canvas[coco_mask.decode(coco.annToRLE(crowd)) == 1] = 255
        codes = [coco.annToRLE(a) for a in instances]
        areas = np.array([coco_mask.area(code) for code in codes], np.int64)
        for k in np.argsort(-areas, kind="stable"):
            canvas[coco_mask.decode(codes[k]) == 1] = k + 1
        visible = np.bincount(canvas.ravel("K"), minlength=256)[1 : len(codes) + 1]
        for annotation, area in zip(instances, visible, strict=True):
            if area:
                size = np.searchsorted(edges, area, side="right")
                counts[class_of[annotation["category_id"]], size] += 1
    plain: list[list[int]] = counts.tolist()
    return plain


def count_with_sbdata(root: Path, workers: int) -> list[list[int]]:
    from sbdata.recipe import SourceSpec
    from sbdata.sources import open_source
    from sbdata.sources.scan import scan_source
    from sbdata.taxonomy import class_map

    source = open_source(SourceSpec("coco", ("train",)), "train", root)
    bins = SizeBins()
    with tempfile.TemporaryDirectory() as folder:
        scan = scan_source(
            source, class_map(COCO80, None), bins, "train", Path(folder), workers=workers
        )
        cells = scan.instances(columns=["class_id", "size"])
        counts = np.zeros((len(COCO80), len(bins.names)), np.int64)
        sizes = cells["size"].to_numpy(zero_copy_only=False)
        for i, name in enumerate(bins.names):
            classes = cells["class_id"].to_numpy()[sizes == name]
            counts[:, i] = np.bincount(classes, minlength=len(COCO80) + 1)[1:]
    plain: list[list[int]] = counts.tolist()
    return plain


# --- the generated file ---------------------------------------------------------------------------


def write_coco_like(path: Path, images: int, instances: int) -> None:
    """Write a COCO-format file; the same counts give the same bytes."""
    random = np.random.default_rng(0)
    image_ids = np.sort(random.choice(np.arange(1, 5 * images + 1), images, replace=False))
    popularity = random.lognormal(sigma=0.8, size=images)
    owners = random.choice(image_ids, instances, p=popularity / popularity.sum())
    frequency = 1 / np.arange(1, len(COCO80) + 1)
    categories = random.choice(len(COCO80), instances, p=frequency / frequency.sum()) + 1
    annotation_ids = random.permutation(3 * instances)[:instances] + 1
    categories_table = [{"id": i + 1, "name": name} for i, name in enumerate(COCO80.classes)]
    with writing(path) as temporary, temporary.open("wb") as stream:
        stream.write(b'{"info": {"description": "generated"}, "licenses": ')
        stream.write(orjson.dumps([{"id": 1, "name": "none", "url": "http://example.org/"}]))
        stream.write(b', "categories": ' + orjson.dumps(categories_table) + b', "images": [')
        for i, image_id in enumerate(random.permutation(image_ids).tolist()):
            stream.write((b", " if i else b"") + orjson.dumps(image_record(image_id)))
        stream.write(b'], "annotations": [')
        for start in range(0, instances, 10_000):
            part = slice(start, start + 10_000)
            records = annotation_records(
                random, owners[part], categories[part], annotation_ids[part]
            )
            # COCO's own files have a space behind commas and colons; no string here has either.
            text = orjson.dumps(records)[1:-1].replace(b",", b", ").replace(b":", b": ")
            stream.write((b", " if start else b"") + text)
        stream.write(b"]}")


def image_record(image_id: int) -> dict[str, Any]:
    name = f"{image_id:012d}.jpg"
    return {
        "license": 1,
        "file_name": name,
        "coco_url": f"http://images.example.org/train/{name}",
        "height": HEIGHT,
        "width": WIDTH,
        "date_captured": "2013-11-14 11:18:45",
        "flickr_url": f"http://photos.example.org/{image_id:010d}_0123456789_z.jpg",
        "id": image_id,
    }


def annotation_records(
    random: np.random.Generator,
    owners: npt.NDArray[np.int64],
    categories: npt.NDArray[np.int64],
    annotation_ids: npt.NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Return annotations whose sides are log-normal (41 % small, 34 % medium, 25 % large)."""
    count = len(owners)
    side = np.clip(np.exp(random.normal(np.log(40), 1.1, count)), 3, 420)
    parts = random.choice([1, 1, 1, 1, 1, 1, 1, 1, 2, 3], count)
    records = []
    for k in range(count):
        crowd = random.random() < CROWD_SHARE
        outline = [round_outline(random, side[k] / parts[k] ** 0.5) for _ in range(parts[k])]
        segmentation = crowd_code(random) if crowd else [o.ravel().tolist() for o in outline]
        low, high = np.min(outline[0], axis=0), np.max(outline[0], axis=0)
        records.append(
            {
                "segmentation": segmentation,
                "area": round(float(side[k]) ** 2, 4),
                "iscrowd": int(crowd),
                "image_id": int(owners[k]),
                "bbox": [*low.tolist(), *np.round(high - low, 2).tolist()],
                "category_id": int(categories[k]),
                "id": int(annotation_ids[k]),
            }
        )
    return records


def round_outline(random: np.random.Generator, side: float) -> npt.NDArray[np.float64]:
    """Return a jagged closed outline of about ``side ** 2`` pixels inside the image."""
    count = int(np.clip(5 + 0.18 * side + random.normal(0, 3), 4, 150))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    wobble = 1 + 0.25 * np.sin(random.integers(2, 6) * angle + random.uniform(0, 6))
    radius = side / np.pi**0.5 * wobble * random.uniform(0.9, 1.1, count)
    stretch = np.exp(random.normal(0, 0.3))
    centre = random.uniform((0, 0), (WIDTH, HEIGHT))
    x = centre[0] + radius * np.cos(angle) * stretch
    y = centre[1] + radius * np.sin(angle) / stretch
    points: npt.NDArray[np.float64] = np.stack([np.clip(x, 0, WIDTH), np.clip(y, 0, HEIGHT)], 1)
    return np.round(points, 2)


def crowd_code(random: np.random.Generator) -> dict[str, Any]:
    """Return uncompressed run lengths of a dozen discs in a row."""
    y, x = np.ogrid[:HEIGHT, :WIDTH]
    mask = np.zeros((HEIGHT, WIDTH), bool)
    row = random.uniform(100, HEIGHT - 100)
    for column in random.uniform(0, WIDTH, 12):
        mask |= (x - column) ** 2 + (y - row - random.normal(0, 10)) ** 2 < 30**2
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size])))
    return {"counts": [0] * int(flat[0]) + runs.tolist(), "size": [HEIGHT, WIDTH]}


if __name__ == "__main__":
    main()
