"""Rehearse a bench at the size of published ones: time, memory and disk of each step here.

    python benchmarks/rehearsal.py --scale 0.1 --record results/rehearsal.json

Two training sets and two evaluation sets of generated stand-ins have the sizes of VOC's train_aug
(10,582 images) and val (1,449), and of COCO 2014's train and val with objects (82,081 and 40,137).
Some hundred generated photos with masks, built by the normal build, are linked under as many ids as
needed, with a manifest in the normal schema. Every step of a bench then runs in a process of its
own: planning, reading weak labels, a stage, importing masks, sampling for training, predicting with
a constant model, scoring and making the leaderboard. Networks are not rehearsed.

A finished step is kept in ROOT/rehearsal.json, so an interrupted rehearsal continues. At the end
ROOT is deleted, unless --keep is given; --record adds the figures of this scale to a file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Nothing else is imported here: until it starts its program, a child has the parent's memory, which
# counts for its peak.

IMAGES = (10_582, 1_449, 82_081, 40_137)
"""Numbers of images of train_aug, VOC val, COCO train and COCO val."""

SIZES = {  # width, height and share: the usual ones of the two datasets, other photos left out
    "voc": ((500, 375, 0.55), (375, 500, 0.2), (500, 333, 0.2), (333, 500, 0.05)),
    "coco": ((640, 480, 0.5), (480, 640, 0.2), (640, 427, 0.2), (427, 640, 0.1)),
}
MOST_OBJECTS = {"voc": 5, "coco": 13}
TAXONOMIES = {"voc": "voc20", "coco": "coco80"}
STRATEGIES, SEEDS = ("ce", "sb-ewc"), 3
VIEWS = 256
PREDICTED = 400  # number of images: enlarging 81 classes to a photo's size on a CPU takes long


@dataclass(frozen=True)
class Standin:
    """A set of stand-ins: its name, the dataset that it is like, its split and size."""

    name: str
    like: str
    split: str
    images: int


def standins(images: tuple[int, ...], scale: float) -> tuple[Standin, ...]:
    """Return the four sets of a scale."""
    named = (("voc", "train"), ("voc", "val"), ("coco", "train"), ("coco", "val"))
    return tuple(
        Standin(f"{like}-{split}", like, split, max(4, round(count * scale)))
        for (like, split), count in zip(named, images, strict=True)
    )


# --- the sets -------------------------------------------------------------------------------------


def make_pool(root: Path, one: Standin) -> None:
    """Build a set of distinct generated photos by the normal build, and predictions of it."""
    import numpy as np
    from PIL import Image

    from sbdata import build_set
    from sbdata.masks import write_index_png
    from sbdata.recipe import recipe_from_dict
    from sbdata.taxonomy import named_taxonomy

    like = one.like
    source, rng = root / f"{like}-source", np.random.default_rng(len(like))
    for stale in (source, root / f"{like}-pool-predictions"):
        shutil.rmtree(stale, ignore_errors=True)  # of a rehearsal that was killed at this
    (source / "photos").mkdir(parents=True)
    classes = named_taxonomy(TAXONOMIES[like]).classes
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    shares = [share for _, _, share in SIZES[like]]
    for number in range(1, one.images + 1):
        width, height, _ = SIZES[like][int(rng.choice(len(shares), p=shares))]
        name = f"{number:012d}.jpg"
        coarse = rng.integers(0, 256, (height // 24, width // 24, 3), dtype=np.uint8)
        smooth = np.asarray(
            Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        )
        grain = rng.normal(0, 9, smooth.shape)
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(source / "photos" / name, quality=90)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for _ in range(int(rng.integers(1, MOST_OBJECTS[like] + 1))):
            polygon = _ellipse(rng, width, height)
            x, y = polygon[::2], polygon[1::2]
            around = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
            annotations.append({
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": int(rng.integers(1, len(classes) + 1)),
                "iscrowd": 0,
                "area": float(around),
                "bbox": [min(x), min(y), max(x) - min(x), max(y) - min(y)],
                "segmentation": [polygon],
            })  # fmt: skip
    categories = [{"id": k, "name": name} for k, name in enumerate(classes, start=1)]
    labels = {"images": images, "annotations": annotations, "categories": categories}
    (source / "labels.json").write_text(json.dumps(labels))
    recipe = {
        "name": f"{like}-pool",
        "version": "rehearsal.v1",
        "synthetic": True,
        "taxonomy": TAXONOMIES[like],
        "sources": [{
            "name": like, "format": "coco", "splits": ["all"],
            "class_map": "identity", "annotations": "labels.json", "images": "photos",
        }],
        "filters": {"exhaustive": False},
        "select": None,
    }  # fmt: skip
    opened = build_set(
        recipe_from_dict(recipe, "rehearsal"), root / f"{like}-pool", source_roots={like: source}
    )
    for image_id in opened:
        truth = opened.class_map(image_id)
        guess = np.roll(truth, tuple(rng.integers(-6, 7, 2)), (0, 1))
        guess[guess == 255] = 0
        for _ in range(3):
            top, left = int(rng.integers(0, 300)), int(rng.integers(0, 300))
            guess[top : top + 12, left : left + 12] = rng.integers(0, len(classes) + 1)
        write_index_png(root / f"{like}-pool-predictions" / f"{image_id}.png", guess)


def _ellipse(rng: np.random.Generator, width: int, height: int) -> list[float]:
    """Return a polygon of 24 corners in an image; sides are 8 to 300 pixels, most of them small."""
    import numpy as np

    side = float(np.exp(rng.uniform(np.log(8), np.log(300))))
    ratio = float(np.exp(rng.uniform(-0.5, 0.5)))
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    cx, cy = rng.uniform(10, width - 10), rng.uniform(10, height - 10)
    x = np.clip(cx + side * ratio / 2 * np.cos(turn), 0, width)
    y = np.clip(cy + side / ratio / 2 * np.sin(turn), 0, height)
    return [round(float(v), 2) for pair in zip(x, y, strict=True) for v in pair]


def make_set(root: Path, one: Standin) -> None:
    """Link the photos and masks of a pool under the ids of a set, and write its manifest."""
    import numpy as np
    import pyarrow as pa

    from sbdata.curate.materialise import image_lists, write_checksums
    from sbdata.layout import class_path, image_path, object_path
    from sbdata.manifest import make_manifest, write_manifest
    from sbdata.sets import open_set
    from sbdata.storage import write_text

    pool, place = open_set(root / f"{one.like}-pool"), root / one.name
    shutil.rmtree(place, ignore_errors=True)  # of a rehearsal that was killed at this
    chosen = np.arange(one.images) % len(pool)
    ids = [_id_of(one, k) for k in range(one.images)]
    images = pool.manifest.images.take(pa.array(chosen))
    for column in ("image_id", "source_image_id"):
        images = images.set_column(images.column_names.index(column), column, pa.array(ids))
    named = pa.array([one.split] * one.images)
    images = images.set_column(images.column_names.index("split"), "split", named)
    rows: list[npt.NDArray[np.int64]] = []
    owners: list[str] = []
    starts = {image_id: pool._places.get(image_id, (0, 0)) for image_id in pool}
    for image_id, k in zip(ids, chosen, strict=True):
        first, count = starts[pool.image_ids[k]]
        rows.append(np.arange(first, first + count))
        owners += [image_id] * count
    instances = pool.manifest.instances.take(pa.array(np.concatenate(rows)))
    instances = instances.set_column(0, "image_id", pa.array(owners))
    manifest = make_manifest(
        one.name, images, instances, pool.taxonomy, pool.bins, {"synthetic": True}
    )
    for path_of in (image_path, class_path, object_path):
        path_of(place, "any").parent.mkdir(parents=True)
        for image_id, k in zip(ids, chosen, strict=True):
            os.link(path_of(pool.root, pool.image_ids[k]), path_of(place, image_id))
    for name, text in image_lists(manifest).items():
        write_text(place / name, text)
    write_manifest(manifest, place)
    write_checksums(place)


def _id_of(one: Standin, k: int) -> str:
    return f"{2007 + k % 6}_{k:06d}" if one.like == "voc" else f"COCO_{one.split}2014_{k:012d}"


def make_predictions(root: Path, one: Standin) -> None:
    """Link the predictions of a pool under the ids of a set."""
    place = root / f"{one.name}-predictions"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    files = sorted((root / f"{one.like}-pool-predictions").iterdir())
    for k in range(one.images):
        os.link(files[k % len(files)], place / f"{_id_of(one, k)}.png")


# --- steps that are functions ---------------------------------------------------------------------


def _bench(root: Path, one: Standin) -> Any:
    from sbdata.benchmark.config import BenchmarkConfig

    return BenchmarkConfig(
        ("labels-only",), STRATEGIES, root / one.name, (root / f"{one.like}-val",)
    )


def open_it(root: Path, one: Standin) -> None:
    """Open a set, and read what every user reads first."""
    from sbdata.sets import open_set

    opened = open_set(root / one.name)
    opened.instances_of(opened.image_ids[-1])


def weak_labels(root: Path, one: Standin) -> None:
    """Read labels and boxes of a training set as a stage gets them: photos linked and hashed."""
    from sbdata.benchmark.cache import Cache
    from sbdata.sets import open_set
    from sbdata.weak_labels.sources import WeakSources

    cache = Cache(root / "weak")
    opened = open_set(root / one.name)
    weak = WeakSources(with_boxes=True).read(opened, cache.root / one.name, cache.hashes)
    cache.hashes.save()
    assert len(weak) == one.images, weak.digest


def stage(root: Path, one: Standin) -> None:
    """Run the cheapest stage of the bench: stripes of the labels, one PNG per image."""
    _run_only("stage", root, one)


def pseudo(root: Path, one: Standin) -> None:
    """Score the stage's masks by the bench."""
    _run_only("pseudo", root, one)


def _run_only(kind: str, root: Path, one: Standin) -> None:
    from sbdata.benchmark.run import plan_bench, run_bench

    config, work = _bench(root, one), root / "bench"
    (found,) = (row.task.id for row in plan_bench(config, work) if row.task.kind == kind)
    run_bench(config, work, root / "records", device="cpu", threads=1, only=found)


def sample(root: Path, one: Standin) -> dict[str, float]:
    """Begin a training: check photos and masks, and cut the views of some steps."""
    from sbdata.train.preset import load_preset
    from sbdata.train.samples import check_images, images_of_set, views_of

    began = time.perf_counter()
    images = images_of_set(root / one.name)
    listed = time.perf_counter()
    check_images(images)
    checked = time.perf_counter()
    preset = load_preset("smoke", ())
    views = views_of(images, preset.augmentation, 0)
    for number in range(VIEWS):
        views[number]
    return {
        "hash_s": listed - began,
        "check_s": checked - listed,
        "ms_per_view": 1000 * (time.perf_counter() - checked) / VIEWS,
    }


def predict(root: Path, one: Standin) -> dict[str, float]:
    """Predict some images with a network of constant output, at an eighth of the photo's size."""
    import torch
    from torch import Tensor, nn

    from sbdata.sets import open_set
    from sbdata.train.predict import predict_folder

    class Constant(nn.Module):  # type: ignore[misc,unused-ignore]
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.linspace(0, 1, classes + 1))

        def forward(self, images: Tensor) -> Tensor:
            n, _, height, width = images.shape
            return self.logits[None, :, None, None].expand(n, -1, height // 8, width // 8)

    torch.set_num_threads(1)
    opened, target = open_set(root / one.name), root / f"{one.name}-constant"
    photos = [(image_id, opened.image_path(image_id)) for image_id in opened]
    shutil.rmtree(target, ignore_errors=True)
    predict_folder(Constant(len(opened.taxonomy)), photos[:PREDICTED], target)
    # A prediction depends on the photo's size alone: the others are links to those of their size.
    of_size = {opened.size_of(i): target / f"{i}.png" for i, _ in photos[:PREDICTED]}
    for image_id, _ in photos[PREDICTED:]:
        os.link(of_size[opened.size_of(image_id)], target / f"{image_id}.png")
    return {"images": min(PREDICTED, len(photos))}


def decode(root: Path, one: Standin) -> dict[str, float]:
    """Decode the PNGs that scoring a set decodes, and do nothing else."""
    import cv2
    import numpy as np
    from PIL import Image

    from sbdata.layout import CLASSES_FOLDER, OBJECTS_FOLDER

    truth = root / one.name
    folders = (root / f"{one.name}-predictions", truth / CLASSES_FOLDER, truth / OBJECTS_FOLDER)
    seconds: dict[str, float] = {}
    for name, folder in zip(("predictions", "classes", "objects"), folders, strict=True):
        files = sorted(folder.iterdir())
        began = time.process_time()
        for path in files:
            with Image.open(path) as image:
                np.asarray(image)
        seconds[f"pillow_{name}_cpu_s"] = time.process_time() - began
        began = time.process_time()
        for path in files:
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        seconds[f"opencv_{name}_cpu_s"] = time.process_time() - began
    return seconds


def bench_score(root: Path, one: Standin) -> None:
    """Score two folders of predictions as the bench does; tables are kept for the comparison."""
    from sbdata.benchmark.steps.scores import score_set
    from sbdata.sets import open_set

    opened = open_set(root / one.name)
    for name in ("predictions", "constant"):
        folder = root / f"{one.name}-{name}"
        score_set(folder, opened, root / "scores" / name, lambda done, total: None)


def compare(root: Path, one: Standin) -> None:
    """Compare two scored strategies by the paired bootstrap, from their tables."""
    from sbdata.benchmark.steps.comparison import compared_pairs
    from sbdata.sets import open_set

    scores = {"sb-ewc": root / "scores" / "predictions", "ce": root / "scores" / "constant"}
    opened = open_set(root / one.name)
    assert list(compared_pairs(scores, opened, one.name, lambda done, total: None))


def records(root: Path, one: Standin) -> None:
    """Write the records of ten methods, two strategies and three seeds, with the scored values."""
    from sbdata.benchmark.baseline import describe_baselines
    from sbdata.benchmark.records import Protocol, ResultRecord, ScoredSet, Training, write_result
    from sbdata.benchmark.steps.scores import read_score
    from sbdata.sets import open_set
    from sbdata.train.preset import load_preset

    opened, preset = open_set(root / one.name), load_preset("smoke", ()).as_dict()
    found = {
        "sb-ewc": read_score(root / "scores" / "predictions"),
        "ce": read_score(root / "scores" / "constant"),
    }
    protocol = Protocol((1.0,), False, "none", one.split, "random", opened.logical_hash)
    for about in describe_baselines():
        if not about.get("of_paper"):
            continue
        for strategy in STRATEGIES:
            scored = ScoredSet(
                **vars(found[strategy]),
                logical_hash=opened.logical_hash, split=one.split, protocol=protocol,
            )  # fmt: skip
            for seed in range(SEEDS):
                write_result(root / "records", ResultRecord(
                    method=about["name"], paper=about["paper"],
                    supervision=tuple(about["supervision"]), control=False, strategy=strategy,
                    seed=seed, synthetic=True, preset="smoke", method_settings={},
                    training_preset=preset,
                    training=Training("coco-train", "stand-in", 1, "stand-in", "manifest", None),
                    initialisation="random", pretrained=False, code={"sbdata": "", "baseline": ""},
                    environment={}, seconds={}, pseudo=None, sets={opened.name: scored},
                ))  # fmt: skip


Function = Callable[[Path, Standin], dict[str, float] | None]
FUNCTIONS: dict[str, Function] = {
    function.__name__: function
    for function in (
        make_pool, make_set, make_predictions, open_it, weak_labels, stage, pseudo, sample, predict,
        decode, bench_score, compare, records,
    )
}  # fmt: skip


# --- the rehearsal --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One step: its title, the set that it works on, and a function's name or a command."""

    title: str
    standin: Standin
    function: str = ""
    command: tuple[str, ...] = ()


def plan_of(root: Path, sets: tuple[Standin, ...], pool: int) -> list[Step]:
    """Return all steps in their order."""
    by_name = {one.name: one for one in sets}
    pools = [Standin(f"{like}-pool", like, "all", pool) for like in TAXONOMIES]
    steps = [Step("draw and build", one, "make_pool") for one in pools]
    steps += [Step("make the stand-ins", one, "make_set") for one in sets]
    steps += [Step("open a set", one, "open_it") for one in sets]
    val = by_name["coco-val"]
    score = [
        "score", str(root / "coco-val-predictions"), "--set", str(root / val.name),
        "--out", str(root / "score"), "--json",
    ]  # fmt: skip
    return [
        *steps,
        *_of_training(root, by_name["coco-train"], val),
        Step("link predictions", val, "make_predictions"),
        Step("decode, no scoring", val, "decode"),
        Step("score a folder", val, command=tuple(score)),
        Step("predict, constant model", val, "predict"),
        Step("score two, as the bench", val, "bench_score"),
        Step("compare by bootstrap", val, "compare"),
        Step("write records", val, "records"),
        Step("leaderboard", val, command=("leaderboard", str(root / "records"), "--json")),
        *_of_training(root, by_name["voc-train"], by_name["voc-val"]),
    ]


def _of_training(root: Path, train: Standin, val: Standin) -> list[Step]:
    """Return the steps on a training set."""
    plan = [
        "bench", *(f"--method={name}" for name in _ten()),
        *(f"--strategy={name}" for name in STRATEGIES), "--seeds", str(SEEDS),
        "--train-set", str(root / train.name), "--set", str(root / val.name),
        "--work", str(root / "bench"), "--dry-run", "--json",
    ]  # fmt: skip
    imported = [
        "pseudo", "import", str(root / train.name / "SegmentationClass"),
        "--set", str(root / train.name), "--work", str(root / "imports"),
        "--name", train.name, "--supervision", "image_labels",
    ]  # fmt: skip
    return [
        Step("plan ten methods", train, command=tuple(plan)),
        Step("read weak labels", train, "weak_labels"),
        Step("import pseudo-masks", train, command=tuple(imported)),
        Step("check and sample views", train, "sample"),
        Step("a stage (labels-only)", train, "stage"),
        Step("the same stage, done", train, "stage"),
        Step("score pseudo-masks", train, "pseudo"),
    ]


def _ten() -> list[str]:
    listed = subprocess.run(
        [sys.executable, "-m", "sbdata", "bench", "--list", "--json"], check=True,
        capture_output=True,
    )  # fmt: skip
    methods = json.loads(listed.stdout)["methods"]
    return [about["name"] for about in methods if about.get("of_paper")]


def run_step(root: Path, step: Step) -> dict[str, Any]:
    """Run a step in a process of its own and return its figures.

    Raises:
        SystemExit: with the step's output, if it fails.
    """
    extra = root / "step.json"
    extra.unlink(missing_ok=True)
    one = step.standin
    if step.function:
        inner = [__file__, "--root", str(root), "--step", step.function, "--on", *map(str, (
            one.name, one.like, one.split, one.images))]  # fmt: skip
    else:
        inner = ["-m", "sbdata", *step.command]
    before = _used(root)
    began = time.perf_counter()
    with (root / "step.log").open("wb") as log:
        as_commands = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}  # see sbdata.cli
        process = subprocess.Popen(
            [sys.executable, *inner], stdout=log, stderr=subprocess.STDOUT, env=as_commands
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    if process.returncode:
        said = (root / "step.log").read_text(errors="replace")[-2000:]
        sys.exit(f"{step.title} of {one.name} failed ({process.returncode}):\n{said}")
    found = json.loads(extra.read_text()) if extra.is_file() else {}
    return {
        "set": one.name,
        "images": one.images,
        "wall_s": round(wall, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
        "disk_mb": round(max(0, _used(root) - before) / 1e6, 1),
        **{name: round(value, 3) for name, value in found.items()},
    }


def _used(root: Path) -> int:
    """Return the bytes of disk below a folder; a file with several names counts once."""
    found = subprocess.run(
        ["du", "-s", "--block-size=1", str(root)], check=True, capture_output=True, text=True
    )
    return int(found.stdout.split()[0])


def ratios(steps: dict[str, Any]) -> dict[str, float]:
    """Return CPU seconds of scoring over those of decoding: predictions alone, and all PNGs."""
    found: dict[str, float] = {}
    if not {"coco-val: score a folder", "coco-val: decode, no scoring"} <= set(steps):
        return found
    seconds = steps["coco-val: score a folder"]["cpu_s"]
    for library in ("pillow", "opencv"):
        of = steps["coco-val: decode, no scoring"]
        alone = of[f"{library}_predictions_cpu_s"]
        whole = alone + of[f"{library}_classes_cpu_s"] + of[f"{library}_objects_cpu_s"]
        found[f"score / {library}, predictions"] = round(seconds / alone, 2)
        found[f"score / {library}, predictions and truth"] = round(seconds / whole, 2)
    return found


def table(steps: dict[str, Any]) -> str:
    """Return the figures as a table in Markdown, the one of docs/scale.md."""
    header = ("step", "images", "wall s", "CPU s", "peak MB", "disk MB")
    rows = [
        (name, f"{of['images']:,}", *(f"{of[k]:,.1f}" for k in ("wall_s", "cpu_s")),
         *(f"{of[k]:,.0f}" for k in ("peak_mb", "disk_mb")))
        for name, of in steps.items()
    ]  # fmt: skip
    lines = [header, ("---", *["---:"] * (len(header) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rehearse(
    root: Path, images: tuple[int, ...], scale: float, pool: int, parts: list[str]
) -> dict[str, Any]:
    """Run all steps that are not done, and return what is recorded of this scale."""
    state_file = root / "rehearsal.json"
    state = json.loads(state_file.read_text()) if state_file.is_file() else {}
    asked = {"images": list(images), "scale": scale, "pool": pool}
    if state and {key: state[key] for key in asked} != asked:
        sys.exit(f"{root}: holds a rehearsal of {state['images']} at {state['scale']}; remove it")
    steps: dict[str, Any] = state.get("steps", {})
    plan = plan_of(root, standins(images, scale), pool)
    for step in plan:
        if not any(part in step.title for part in parts):
            continue
        name = f"{step.standin.name}: {step.title}"
        if name not in steps:
            steps[name] = run_step(root, step)
            print(table({name: steps[name]}).splitlines()[2], flush=True)
            state_file.write_text(json.dumps({**asked, "steps": steps}, indent=1))
    names = [f"{step.standin.name}: {step.title}" for step in plan]
    steps = {name: steps[name] for name in names if name in steps}
    return {**asked, "steps": steps, "ratios": ratios(steps)}


def record(path: Path, scale: float, found: dict[str, Any]) -> None:
    """Add the figures of a scale to a file."""
    whole = json.loads(path.read_text()) if path.is_file() else {"scales": {}}
    names = ("sbdata", "numpy", "pyarrow", "pillow", "opencv-python-headless", "numba", "torch")
    found["versions"] = {name: version(name) for name in names}
    found["machine"] = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    found["command"] = f"python benchmarks/rehearsal.py --scale {scale:g} --record {path}"
    whole["what"] = "generated stand-ins, CPU; other programs were running"
    whole["scales"] = dict(sorted({**whole["scales"], f"{scale:g}": found}.items()))
    path.write_text(json.dumps(whole, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the images [1]")
    parser.add_argument("--images", type=int, nargs=4, default=IMAGES, metavar="N")
    parser.add_argument("--pool", type=int, default=240, help="distinct photos of each dataset")
    parser.add_argument(
        "--titles", nargs="+", default=[""], help="run only steps with such a part of their title"
    )
    parser.add_argument("--root", type=Path, default=Path("runs/rehearsal"))
    parser.add_argument("--record", type=Path, help="JSON file to add the figures to")
    parser.add_argument("--keep", action="store_true", help="do not delete ROOT at the end")
    parser.add_argument("--step", choices=FUNCTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--on", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    root: Path = args.root.absolute()
    if args.step:
        name, like, split, images = args.on
        found = FUNCTIONS[args.step](root, Standin(name, like, split, int(images)))
        if found:
            (root / "step.json").write_text(json.dumps(found))
        return
    root.mkdir(parents=True, exist_ok=True)
    whole = rehearse(root, tuple(args.images), args.scale, args.pool, args.titles)
    print("generated stand-ins, CPU\n" + table(whole["steps"]))
    print("\n".join(f"{name}: {value}x" for name, value in whole["ratios"].items()))
    if args.record:
        record(args.record, args.scale, whole)
    if not args.keep:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
