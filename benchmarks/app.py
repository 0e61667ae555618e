"""Loading a set and a scored run into FiftyOne, for `sbdata app`: seconds and memory.

Two sets are generated (once; seeded), of VOC val's size (1,449 images, 3,400 objects) and of 10,000
images: 100 images are drawn, and the others share their files by links. Each set is loaded in a
fresh process with a database of its own. The script reports the seconds of every step, the CPU
seconds of the process, and the peak memory of the process and of its mongod. "Values of the panel"
are all counts and intervals that the panel draws of the whole set. The counts in the database must
equal the manifest's.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from sbdata.curate.materialise import write_set
from sbdata.layout import CLASSES_FOLDER, IMAGES_FOLDER, OBJECTS_FOLDER
from sbdata.manifest import INSTANCES_SCHEMA, images_schema, make_manifest, write_manifest
from sbdata.masks import encode_mask
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.score.write import write_result
from sbdata.sizes import SizeBins
from sbdata.taxonomy import VOC20

SETS = ((1449, 3400), (10_000, 23_500))  # images, objects
TEMPLATES = 100
WIDTH, HEIGHT = 500, 375
VERSION = 3  # of the generated files and the layout of the run
BINS = SizeBins()
Ellipse = tuple[int, int, int, int, int]  # class, top, left, height and width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of both sets' sizes")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir(), "sbdata-benchmark"))
    parser.add_argument("--only", type=int, choices=(1449, 10_000), help="one of the sets")
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        print(json.dumps(load(options.side)))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
    for images, objects in SETS:
        if options.only not in (None, images):
            continue
        n, m = max(1, round(images * options.scale)), max(1, round(objects * options.scale))
        folder = options.dir / f"app-v{VERSION}-{n}"
        if not (folder / "scores" / "run" / "summary.json").is_file():
            print(f"writing {folder}", flush=True)
            write_files(folder, n, m)
        shutil.rmtree(folder / "app", ignore_errors=True)
        command = [sys.executable, __file__, "--side", str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        report(n, m, json.loads(done.stdout.splitlines()[-1]))


def report(images: int, objects: int, found: dict[str, Any]) -> None:
    print(f"{images:,} images, {objects:,} objects, one run:")
    for step, seconds in found["seconds"].items():
        print(f"  {step:<28} {seconds:7.1f} s")
    total = found["seconds"]["load the set"] + found["seconds"]["attach the run"]
    print(f"  {'set and run together':<28} {total:7.1f} s")
    print(f"  CPU seconds of the process   {found['cpu']:7.1f} s")
    print(f"  peak memory: process {found['peak']:,.0f} MB, mongod {found['mongod']:,.0f} MB")
    print(f"  images {found['images']:,}, objects {found['objects']:,} in the database")
    if not (images, objects) == tuple(found["manifest"]) == (found["images"], found["objects"]):
        print("COUNTS DIFFER")
        sys.exit(1)


# --- one side -------------------------------------------------------------------------------------


def load(folder: Path) -> dict[str, Any]:
    from sbdata.app.database import running_database
    from sbdata.app.environment import link_plugins, prepare_environment

    seconds: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[step] = time.perf_counter() - start

    os.environ.pop("FIFTYONE_DATABASE_URI", None)
    with running_database(folder / "app" / "database") as database:
        prepare_environment(database.uri, link_plugins(folder / "app" / "plugins"), validate=False)
        with timed("start FiftyOne"):
            import fiftyone

            fiftyone.list_datasets()
        from sbdata.app.dataset import load_set
        from sbdata.app.run_folder import read_run
        from sbdata.app.runs import attach_run
        from sbdata.app.views import arrange_sidebar, save_views

        masks = folder / "app" / "masks"
        with timed("load the set"):
            loaded = load_set(folder / "set", masks)
        with timed("attach the run"):
            run = read_run(folder / "scores" / "run")
            notes = attach_run(loaded.dataset, loaded.opened, run)
        with timed("save views, arrange sidebar"):
            save_views(loaded.dataset, loaded.opened)
            arrange_sidebar(loaded.dataset)
        with timed("load the set again"):
            assert load_set(folder / "set", masks).change == "same"
        with timed("values of the panel"):
            values_of_panel(loaded.dataset)
        assert not notes, notes
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "seconds": seconds,
            "cpu": used.ru_utime + used.ru_stime,
            "peak": used.ru_maxrss / 1000,
            "mongod": peak_of(database.pid),
            "manifest": [
                loaded.opened.manifest.images.num_rows,
                loaded.opened.manifest.instances.num_rows,
            ],
            "images": len(loaded.dataset),
            "objects": loaded.dataset.count("instances.detections.ia_iou_run"),
        }


def values_of_panel(dataset: Any) -> None:
    from sbdata.app.attached import attached_runs
    from sbdata.app.info import info_of
    from sbdata.app.panel_data import area_edges, count_outcomes
    from sbdata.app.plugin.panel import read_objects
    from sbdata.app.view_estimates import ia_by_area, ia_by_size

    (run,) = attached_runs(info_of(dataset)).values()
    objects = read_objects(dataset, [run.name])
    classes = VOC20.classes
    assert count_outcomes(objects, run.name, BINS.names).sum() == len(objects)
    assert ia_by_size(objects, run, classes, BINS)["ia_objects"].n_objects == len(objects)
    curve = ia_by_area(objects, run, classes, area_edges(objects.area, BINS))
    assert curve.n.sum() == len(objects)


def peak_of(pid: int | None) -> float:
    """Return the most memory that a process has had, in MB (on Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


# --- files ----------------------------------------------------------------------------------------


def write_files(folder: Path, images: int, objects: int) -> None:
    """Write a set and a run scored on it."""
    rng = np.random.default_rng(0)
    kinds = min(TEMPLATES, images)
    counts = np.full(kinds, objects // images)
    counts[rng.permutation(kinds)[: int(kinds * (objects / images % 1) + 1e-9)]] += 1
    templates = [tuple(draw(rng) for _ in range(n)) for n in counts]
    # The last image makes the total exact.
    owners = np.arange(images) % kinds
    spare = objects - int(counts[owners[:-1]].sum())
    last = tuple(draw(rng) for _ in range(max(0, spare)))
    names = [f"{k:06d}" for k in range(images)]
    small = folder / "templates"
    drawn = {f"{k:06d}": found for k, found in enumerate(templates)} | {"last": last}
    write_drawn(small, drawn)
    rows = {name: drawn[f"{k:06d}"] for name, k in zip(names, owners.tolist(), strict=True)}
    rows[names[-1]] = last
    root = folder / "set"
    for place in (IMAGES_FOLDER, CLASSES_FOLDER, OBJECTS_FOLDER):
        (root / place).mkdir(parents=True, exist_ok=True)
    (folder / "predictions").mkdir(exist_ok=True)
    for name, k in zip(names, owners.tolist(), strict=True):
        stem = "last" if name == names[-1] else f"{k:06d}"
        link(small / IMAGES_FOLDER / f"{stem}.jpg", root / IMAGES_FOLDER / f"{name}.jpg")
        link(small / CLASSES_FOLDER / f"{stem}.png", root / CLASSES_FOLDER / f"{name}.png")
        link(small / OBJECTS_FOLDER / f"{stem}.png", root / OBJECTS_FOLDER / f"{name}.png")
        link(small / "predictions" / f"{stem}.png", folder / "predictions" / f"{name}.png")
    write_manifest(manifest_of(rows), root)
    options = ScoreOptions(resamples=0)
    scored = score_folder(folder / "predictions", truth_from_set(root), options, name="run")
    write_result(scored, folder / "scores")


def link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    os.link(source, target)


def draw(rng: np.random.Generator) -> Ellipse:
    """Return an ellipse with log-uniform sides."""
    h, w = np.exp(rng.uniform(np.log(8), np.log((HEIGHT, WIDTH)))).astype(int)
    return (
        int(rng.integers(1, 21)),
        int(rng.integers(0, HEIGHT - h)),
        int(rng.integers(0, WIDTH - w)),
        int(h),
        int(w),
    )


def visible(found: tuple[Ellipse, ...]) -> list[tuple[int, np.ndarray]]:
    """Return class and visible mask of every ellipse; each keeps at least its middle pixel."""
    owner = np.full((HEIGHT, WIDTH), -1)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for k in sorted(range(len(found)), key=lambda k: -found[k][3] * found[k][4]):
        _, top, left, h, w = found[k]
        inside = ((y - top - h / 2) / (h / 2)) ** 2 + ((x - left - w / 2) / (w / 2)) ** 2 <= 1
        owner[inside] = k
    for k, (_, top, left, h, w) in enumerate(found):
        if not (owner == k).any():
            owner[top + h // 2, left + w // 2] = k
    return [(found[k][0], owner == k) for k in range(len(found))]


@functools.cache  # the masks of a template are drawn once
def rows_of(found: tuple[Ellipse, ...]) -> list[dict[str, Any]]:
    rows = []
    for number, (class_id, mask) in enumerate(visible(found), start=1):
        ys, xs = np.nonzero(mask)
        rows.append(
            {
                "instance_id": number,
                "source": "generated",
                "source_annotation_id": str(number),
                "class_id": class_id,
                "class_name": VOC20.name_of(class_id),
                "area": int(mask.sum()),
                "area_fraction": float(mask.mean()),
                "bbox_x": int(xs.min()),
                "bbox_y": int(ys.min()),
                "bbox_w": int(np.ptp(xs)) + 1,
                "bbox_h": int(np.ptp(ys)) + 1,
                "size": BINS.name_of(int(mask.sum())),
                "components": 1,
                "touches_border": False,
                "is_difficult": False,
                "rle": encode_mask(mask),
            }
        )
    return rows


def manifest_of(drawn: dict[str, tuple[Ellipse, ...]]) -> Any:
    images, instances = [], []
    for name, found in drawn.items():
        rows = [{"image_id": name, **row} for row in rows_of(found)]
        instances += rows
        images.append(
            {
                "image_id": name,
                "split": "val",
                "source": "generated",
                "source_image_id": name,
                "file_name": f"{name}.jpg",
                "width": WIDTH,
                "height": HEIGHT,
                "sha256_of": "file",
                "labels": sorted({row["class_id"] for row in rows}),
                **{f"n_{size}": sum(row["size"] == size for row in rows) for size in BINS.names},
            }
        )
    return make_manifest(
        "app-benchmark",
        pa.Table.from_pylist(images, images_schema(BINS)),
        pa.Table.from_pylist(instances, INSTANCES_SCHEMA),
        VOC20,
        BINS,
        {"synthetic": True},
    )


def write_drawn(root: Path, drawn: dict[str, tuple[Ellipse, ...]]) -> None:
    """Write the drawn images with their masks, and slightly displaced predictions."""
    (root / IMAGES_FOLDER).mkdir(parents=True, exist_ok=True)
    for name in drawn:
        Image.new("RGB", (WIDTH, HEIGHT), (90, 110, 130)).save(root / IMAGES_FOLDER / f"{name}.jpg")
    write_set(manifest_of(drawn), root)
    (root / "predictions").mkdir(exist_ok=True)
    for name in drawn:
        with Image.open(root / CLASSES_FOLDER / f"{name}.png") as image:
            values = np.roll(np.array(image), 5, axis=1)
        Image.fromarray(values).save(root / "predictions" / f"{name}.png")


if __name__ == "__main__":
    main()
