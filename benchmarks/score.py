"""Measure the scorer against decoding alone and against alternative libraries.

    python benchmarks/score.py --scale 0.1

Every side reads the same generated PNG files, the size of VOC's, in one process, and is timed by
its CPU seconds; the sides take turns, --repeat times, and the smallest are reported, to reduce the
influence of other programs. The others compute less than sbdata does: mean IoU only (hotcoco,
vernier, torchmetrics, FiftyOne), or instances of one class after the other (panoptica). A side that
is not installed is reported as not run. FiftyOne needs a database (FIFTYONE_DATABASE_URI, or its
own); panoptica may live in an environment of its own (--panoptica-python).

Workers are timed by wall time: use an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

WIDTH, HEIGHT, CLASSES = 500, 375, 20
IMAGES = 1449  # of VOC 2012 val
SLOW = 0.07  # share of the images that panoptica is given
MANY, BOOTSTRAP_IMAGES = 20_000, 40_000
_LIBRARIES = (
    "numpy",
    "pillow",
    "pyarrow",
    "numba",
    "hotcoco",
    "vernier",
    "torchmetrics",
    "fiftyone",
)
Map = npt.NDArray[np.uint8]


# --- the files ------------------------------------------------------------------------------------


def scene(seed: int) -> tuple[Map, Map, Map]:
    """Return the class map, object map and prediction of one generated image.

    One to seven ellipses of 10 to 300 pixels, with a void ring as VOC has it; the prediction is
    displaced, lacks some objects and has ragged edges and specks.
    """
    rng = np.random.default_rng(seed)
    classes, objects, predicted = (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(3))
    n = int(rng.integers(1, 8))
    for number, side in enumerate(sorted(np.exp(rng.uniform(np.log(10), np.log(300), n)))[::-1], 1):
        cy, cx, ratio = rng.uniform(0, HEIGHT), rng.uniform(0, WIDTH), rng.uniform(0.5, 2)
        class_id = int(rng.integers(1, CLASSES + 1))
        size = (side / 2 * ratio, side / 2 / ratio)
        whole, ring = _ellipse(cy, cx, size, number), _ellipse(cy, cx, size, number, 2.5)
        classes[ring], objects[ring] = 255, 255
        classes[whole], objects[whole] = class_id, number
        if rng.random() > 0.2:
            dy, dx, grow = rng.normal(0, (4, 4, 3))
            predicted[_ellipse(cy + dy, cx + dx, size, number, grow)] = class_id
    for _ in range(int(rng.integers(0, 6))):
        top, left = rng.integers(0, HEIGHT - 12), rng.integers(0, WIDTH - 12)
        predicted[top : top + 12, left : left + 12] = rng.integers(0, CLASSES + 1)
    return classes, objects, predicted


def _ellipse(
    cy: float, cx: float, size: tuple[float, float], number: int, grow: float = 0.0
) -> npt.NDArray[np.bool_]:
    """Return the pixels of an ellipse with a wavy edge."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    across, down = (x - cx) / (size[0] + grow), (y - cy) / (size[1] + grow)
    wave = 1 + 0.06 * np.sin(7 * np.arctan2(down, across) + number)
    shape: npt.NDArray[np.bool_] = across**2 + down**2 < wave
    return shape


def generate(root: Path, images: int) -> None:
    """Write a VOC devkit, predictions and a set's manifest."""
    from sbdata.manifest import make_manifest, write_manifest
    from sbdata.masks import write_index_png
    from sbdata.recipe import SourceSpec
    from sbdata.sizes import SizeBins
    from sbdata.sources import open_source
    from sbdata.sources.scan import scan_source
    from sbdata.taxonomy import VOC20, class_map

    ids = [f"{k:06d}" for k in range(images)]
    for k, image_id in enumerate(ids):
        for folder, values in zip(FOLDERS, scene(k), strict=True):
            write_index_png(root / folder / f"{image_id}.png", values)
    listed = root / "ImageSets" / "Segmentation" / "val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(f"{image_id}\n" for image_id in ids))
    source = open_source(SourceSpec("voc", ("val",)), "val", root)
    scan = scan_source(source, class_map(VOC20, None), SizeBins(), "val", root / "scan")
    manifest = make_manifest(
        "generated", scan.images(), scan.instances(), VOC20, SizeBins(), {"synthetic": True}
    )
    (root / "set").mkdir()
    write_manifest(manifest, root / "set")


FOLDERS = ("SegmentationClass", "SegmentationObject", "predictions")


def _read(path: Path) -> Map:
    with Image.open(path) as image:
        return np.asarray(image)


def _ids(root: Path, share: float = 1.0) -> list[str]:
    ids = sorted(path.stem for path in (root / "predictions").iterdir())
    return ids[: max(2, round(share * len(ids)))]


# --- the sides ------------------------------------------------------------------------------------


def decode(root: Path) -> int:
    """Decode the PNGs of truth and prediction, and nothing else."""
    ids = _ids(root)
    for image_id in ids:
        for folder in FOLDERS:
            _read(root / folder / f"{image_id}.png")
    return len(ids)


def ours(root: Path, *, truth: str = "set", workers: int = 1, resamples: int = 1000) -> int:
    """Score end to end: open, check, score, intervals, tables and summary; no report."""
    from sbdata.score.run import ScoreOptions, score_folder
    from sbdata.score.truth import truth_from_set, truth_from_voc
    from sbdata.score.write import write_result

    opened = truth_from_set(root / "set") if truth == "set" else truth_from_voc(root)
    options = ScoreOptions(resamples=resamples)
    scored = score_folder(root / "predictions", opened, options, workers=workers)
    write_result(scored, root / "scores")
    return len(opened.image_ids)


def hotcoco_miou(root: Path) -> int:
    """Compute mean IoU by hotcoco, which reads and counts the folders in its own threads."""
    evaluation = import_module("hotcoco.semantic").SemanticEval(CLASSES + 1, ignore_index=255)
    images: int = evaluation.update_folders(str(root / FOLDERS[0]), str(root / FOLDERS[2]))
    evaluation.summary_lines()
    return images


def vernier_miou(root: Path) -> int:
    """Compute mean IoU by vernier, from grey copies made before: it reads no palettes."""
    semantic = import_module("vernier.semantic")
    ids, grey = _ids(root), root / "grey"
    paths: list[dict[int, str]] = [{}, {}]
    for folder, places in zip((FOLDERS[0], FOLDERS[2]), paths, strict=True):
        (grey / folder).mkdir(parents=True, exist_ok=True)
        for k, image_id in enumerate(ids):
            places[k] = str(grey / folder / f"{image_id}.png")
            if not Path(places[k]).exists():
                Image.fromarray(_read(root / folder / f"{image_id}.png")).save(places[k])
    global _begun
    _begun = _clock()
    semantic.evaluate_semantic_from_pngs(
        *paths, CLASSES + 1, "corrected", ignore_label=255, num_threads=1
    )
    return len(ids)


def torchmetrics_miou(root: Path) -> int:
    """Compute mean IoU by torchmetrics; it has no void, so void is background on both sides."""
    torch = import_module("torch")
    torch.set_num_threads(1)
    metric = import_module("torchmetrics.segmentation").MeanIoU(
        num_classes=CLASSES + 1, input_format="index"
    )
    ids = _ids(root)
    for image_id in ids:
        classes = _read(root / FOLDERS[0] / f"{image_id}.png")
        predicted = _read(root / FOLDERS[2] / f"{image_id}.png")
        void = classes == 255
        pair = (np.where(void, 0, a).astype(np.int64)[None] for a in (predicted, classes))
        metric.update(*(torch.from_numpy(a) for a in pair))
    float(metric.compute())
    return len(ids)


def fiftyone_segmentations(root: Path) -> int:
    """Evaluate by FiftyOne; only the evaluation is timed, not building its dataset."""
    fo = import_module("fiftyone")
    ids = _ids(root)
    dataset = fo.Dataset()
    dataset.add_samples(
        [
            fo.Sample(
                filepath=str(root / FOLDERS[0] / f"{image_id}.png"),
                truth=fo.Segmentation(mask_path=str(root / FOLDERS[0] / f"{image_id}.png")),
                predicted=fo.Segmentation(mask_path=str(root / FOLDERS[2] / f"{image_id}.png")),
            )
            for image_id in ids
        ],
        progress=False,
    )
    targets = {k: str(k) for k in range(CLASSES + 1)}
    global _begun
    _begun = _clock()
    dataset.evaluate_segmentations(
        "predicted", gt_field="truth", mask_targets=targets, progress=False
    )
    dataset.delete()
    return len(ids)


def panoptica_by_class(root: Path) -> int:
    """Evaluate by panoptica, one class after the other, on the first images."""
    panoptica = import_module("panoptica")
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=panoptica.NaiveThresholdMatching(),
    )
    ids = _ids(root, SLOW)
    for image_id in ids:
        classes = _read(root / FOLDERS[0] / f"{image_id}.png")
        predicted = _read(root / FOLDERS[2] / f"{image_id}.png")
        counted = classes != 255
        for class_id in np.unique(classes[counted & (classes > 0)]).tolist():
            pair = (((a == class_id) & counted).astype(np.uint8) for a in (predicted, classes))
            evaluator.evaluate(*pair, verbose=False)
    return len(ids)


SIDES: dict[str, Callable[[Path], int]] = {
    "decode": decode,
    "set": ours,
    "voc": lambda root: ours(root, truth="voc"),
    "hotcoco": hotcoco_miou,
    "vernier": vernier_miou,
    "torchmetrics": torchmetrics_miou,
    "fiftyone": fiftyone_segmentations,
    "panoptica": panoptica_by_class,
}


# --- measuring ------------------------------------------------------------------------------------

_begun = 0.0


def _clock() -> float:
    """Return the CPU seconds of this process and of those it waited for."""
    return sum(os.times()[:4])


def run_side(name: str, root: Path) -> dict[str, float]:
    """Run one side in this process, first on a few images to load and compile, and time it."""
    global _begun
    side = SIDES[name]
    side(root / "few")
    _begun = _clock()
    images = side(root)
    seconds = _clock() - _begun
    return {"images": images, "seconds": seconds, "ms": 1000 * seconds / images}


def measure_workers(root: Path) -> dict[str, float]:
    """Measure the wall time of one and two workers against a devkit, the best of three."""
    ours(root / "few")
    seconds = {1: float("inf"), 2: float("inf")}
    for _ in range(3):
        for workers in seconds:
            begun = time.perf_counter()
            ours(root, truth="voc", workers=workers)
            seconds[workers] = min(seconds[workers], time.perf_counter() - begun)
    images = len(_ids(root))
    return {
        "images": images,
        "one": seconds[1],
        "two": seconds[2],
        "ratio": seconds[1] / seconds[2],
    }


def measure_memory(root: Path, images: int) -> dict[str, float]:
    """Score a set of many images, whose predictions are links to a few, and return the peak."""
    import pyarrow as pa

    from sbdata.manifest import make_manifest, read_manifest, write_manifest

    few = read_manifest(root / "few" / "set")
    ids = few.images["image_id"].to_pylist()
    copies = -(-images // len(ids))
    large = root / "many"
    (large / "predictions").mkdir(parents=True)

    def repeated(table: pa.Table) -> pa.Table:
        place = table.column_names.index("image_id")
        old = table["image_id"].to_pylist()
        return pa.concat_tables(
            table.set_column(place, table.schema.field(place), [[f"{k:05d}-{i}" for i in old]])
            for k in range(copies)
        )

    for k in range(copies):
        for image_id in ids:
            link = large / "predictions" / f"{k:05d}-{image_id}.png"
            os.link(root / "few" / "predictions" / f"{image_id}.png", link)
    manifest = make_manifest(
        "many", repeated(few.images), repeated(few.instances), few.taxonomy, few.bins, {}
    )
    (large / "set").mkdir()
    write_manifest(manifest, large / "set")
    del manifest
    said = _in_another_process("peak", large)
    return {"images": copies * len(ids), **said}


def peak(root: Path) -> dict[str, float]:
    """Score by the command line with two workers and return its peak of resident memory."""
    command = [sys.executable, "-m", "sbdata", "score", str(root / "predictions")]
    options = ["--set", str(root / "set"), "--out", str(root / "scores"), "--no-report"]
    subprocess.run([*command, *options, "--workers", "2"], check=True, capture_output=True)
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"peak_mb": kilobytes / 1024}


def measure_bootstrap(root: Path, images: int) -> dict[str, float]:
    """Time 1,000 resamples over many images, whose rows repeat those of a few."""
    from sbdata.metrics.bootstrap import bootstrap
    from sbdata.metrics.tables import ScoreTables
    from sbdata.score.run import ScoreOptions, score_folder
    from sbdata.score.truth import truth_from_set

    opened = truth_from_set(root / "few" / "set")
    few = score_folder(root / "few" / "predictions", opened, ScoreOptions(resamples=1)).tables
    n = len(few.image_ids)
    copies = -(-images // n)

    def places(image: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        return np.concatenate([image + k * n for k in range(copies)]).astype(np.int32)

    tables = ScoreTables(
        options=few.options,
        n_classes=few.n_classes,
        image_ids=tuple(f"{k:07d}" for k in range(copies * n)),
        image_pixels=np.tile(few.image_pixels, copies),
        confusion=few.confusion * copies,
        instance_image=places(few.instance_image),
        instances=np.tile(few.instances, copies),
        region_image=places(few.region_image),
        regions=np.tile(few.regions, copies),
        class_image=places(few.class_image),
        classes=np.tile(few.classes, copies),
    )
    begun = _clock()
    bootstrap(tables, opened.bins, resamples=1000, seed=0)
    return {
        "images": copies * n,
        "instances": len(tables.instances),
        "regions": len(tables.regions),
        "seconds": _clock() - begun,
    }


# --- putting it together --------------------------------------------------------------------------


def _in_another_process(side: str, root: Path, python: str = sys.executable) -> dict[str, Any]:
    """Measure in a process of its own; what keeps it from running is returned as ``not_run``."""
    command = [python, __file__, "--side", side, "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or ["died"]
    if done.returncode:
        return {"not_run": lines[-1]}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def measure(
    root: Path, scale: float, pythons: dict[str, str], sides: list[str], repeat: int
) -> dict[str, Any]:
    """Make the files and measure everything."""
    images = max(34, round(IMAGES * scale))
    generate(root, images)
    generate(root / "few", 34)
    found: dict[str, Any] = {}
    for _ in range(repeat):
        for side in sides:
            one = _in_another_process(side, root, pythons.get(side, sys.executable))
            if one.get("ms", 0) <= found.get(side, one).get("ms", 0):
                found[side] = one
    found["workers"] = measure_workers(root)
    found["bootstrap"] = measure_bootstrap(root, max(34, round(BOOTSTRAP_IMAGES * scale)))
    found["memory"] = measure_memory(root, max(34, round(MANY * scale)))
    return found


def _print(found: dict[str, Any], sides: list[str]) -> None:
    ours_ms, decode_ms = found["set"]["ms"], found["decode"]["ms"]
    print(f"{'':32} {'images':>7} {'ms/image':>9}   of sbdata's time")
    for side in sides:
        title = TITLES[side]
        if "not_run" in found[side]:
            print(f"{title:32} not run: {found[side]['not_run']}")
        else:
            ms = found[side]["ms"]
            print(f"{title:32} {found[side]['images']:7,} {ms:9.2f}   {ms / ours_ms:.2f}x")
    print(f"sbdata takes {ours_ms / decode_ms:.2f}x the time of decoding alone (wanted: <= 0.6)")
    if "voc" in found:
        voc = found["voc"]["ms"] / decode_ms
        print(f"sbdata takes {voc:.2f}x that time against a devkit (wanted: <= 1.2)")
    w, b, m = found["workers"], found["bootstrap"], found["memory"]
    print(
        f"wall clock: one worker {w['one']:.2f} s, two {w['two']:.2f} s: {w['ratio']:.2f}x "
        f"({w['images']:,} images of a devkit; wanted: >= 1.8 at 2,000)"
    )
    print(
        f"bootstrap, 1,000 x {b['images']:,} images ({b['instances']:,} instances, "
        f"{b['regions']:,} regions): {b['seconds']:.2f} s (wanted: < 5 at 40,000)"
    )
    print(
        f"peak memory, {m['images']:,} images, two workers: {m['peak_mb']:.0f} MB "
        "(wanted: <= 400 at 20,000)"
    )


TITLES = {
    "decode": "Pillow, decoding alone",
    "set": "sbdata, against a set",
    "voc": "sbdata, against a devkit's PNGs",
    "hotcoco": "hotcoco mIoU",
    "vernier": "vernier mIoU, of grey PNGs",
    "torchmetrics": "torchmetrics MeanIoU",
    "fiftyone": "FiftyOne evaluate_segmentations",
    "panoptica": "panoptica, class by class",
}


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=float, default=1.0, help="of the 1,449 images and the rest")
    parser.add_argument("--repeat", type=int, default=3, help="turns of every side")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    parser.add_argument("--sides", default=",".join(SIDES), help="which to run, comma-separated")
    parser.add_argument(
        "--panoptica-python", default=sys.executable, help="Python of an environment with panoptica"
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side = arguments.side
        print(
            json.dumps(peak(arguments.root) if side == "peak" else run_side(side, arguments.root))
        )
        return
    sides = list(dict.fromkeys(["decode", "set", *arguments.sides.split(",")]))
    with tempfile.TemporaryDirectory(prefix="sbdata-bench-") as folder:
        pythons = {"panoptica": arguments.panoptica_python}
        load = os.getloadavg()
        found = measure(Path(folder), arguments.scale, pythons, sides, arguments.repeat)
    _print(found, sides)
    if arguments.out is None:
        return
    content = {
        "command": " ".join(["python", "benchmarks/score.py", *sys.argv[1:]]),
        "versions": {name: _version(name) for name in _LIBRARIES},
        "load": load,
        "cores": os.cpu_count(),
        "found": found,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(content, indent=2) + "\n")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
