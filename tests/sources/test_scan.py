"""Scans against a loop over pycocotools and numpy that shares nothing with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from scipy import ndimage

from sbdata.errors import InputError
from sbdata.manifest import INSTANCES_SCHEMA
from sbdata.masks import encode_mask
from sbdata.recipe import SourceSpec
from sbdata.sizes import SizeBins
from sbdata.sources import (
    AnnotatedImage,
    AnnotatedObject,
    Chunk,
    Member,
    Rejection,
    Source,
    open_source,
)
from sbdata.sources.scan import Scan, scan_schema, scan_source
from sbdata.taxonomy import COCO80, VOC20, ClassMap, Taxonomy, class_map
from tests.waiting import HANGS, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools

BINS = SizeBins(edges=(40, 200), names=("small", "medium", "large"))
PETS = class_map(Taxonomy("pets", ("dog", "cat")), {"cat": "cat", "kitten": "cat", "dog": "dog"})
SIDE = 24


# --- the reference --------------------------------------------------------------------------------


def reference(
    file: Path, mapping: ClassMap, bins: SizeBins
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Draw and measure every image one by one."""
    coco = COCO(file)
    image_rows, rows = [], []
    for image_id in sorted(coco.imgs):
        image = coco.imgs[image_id]
        name = Path(image["file_name"]).stem
        canvas = np.zeros((image["height"], image["width"]), int)
        owned = sorted(coco.imgToAnns[image_id], key=lambda a: a["id"])
        owned = [a for a in owned if mapping.class_of(coco.cats[a["category_id"]]["name"])]
        single = [a for a in owned if not a.get("iscrowd")]
        for a in owned:
            if a.get("iscrowd"):
                canvas[coco.annToMask(a) == 1] = -1
        crowd = (canvas == -1).copy()
        for a in sorted(single, key=lambda a: (-int(coco.annToMask(a).sum()), a["id"])):
            canvas[coco.annToMask(a) == 1] = a["id"]
            crowd &= canvas != a["id"]
        number, sizes, labels = 0, Counter(), set()
        for a in single:
            mask = canvas == a["id"]
            if not mask.any():
                continue
            number += 1
            y, x = np.nonzero(mask)
            area, category = int(mask.sum()), coco.cats[a["category_id"]]["name"]
            size = bins.names[sum(area >= edge for edge in bins.edges)]
            sizes[size] += 1
            labels.add(mapping.class_of(category))
            parts = ndimage.label(mask, np.ones((3, 3)))[1]
            rows.append(
                {
                    "image_id": name, "instance_id": number, "source": "coco",
                    "source_annotation_id": str(a["id"]), "class_id": mapping.class_of(category),
                    "class_name": mapping.names[category], "area": area,
                    "area_fraction": area / mask.size, "bbox_x": x.min(), "bbox_y": y.min(),
                    "bbox_w": x.max() - x.min() + 1, "bbox_h": y.max() - y.min() + 1,
                    "size": size, "components": parts,
                    "touches_border": bool(
                        mask[0].any() | mask[-1].any() | mask[:, 0].any() | mask[:, -1].any()
                    ),
                    "is_difficult": False,
                    "rle": coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"],
                }
            )  # fmt: skip
        void = coco_mask.encode(np.asfortranarray(canvas == -1, np.uint8))["counts"]
        image_rows.append(
            {
                "image_id": name, "width": image["width"], "height": image["height"],
                "labels": sorted(labels), "void_rle": void if (canvas == -1).any() else None,
                "crowd_share": crowd.sum() / crowd.size,
                **{f"n_{s}": sizes[s] for s in bins.names},
            }
        )  # fmt: skip
    return image_rows, rows


def check(scan: Scan, file: Path, mapping: ClassMap, bins: SizeBins) -> None:
    images, instances = scan.images(), scan.instances()
    assert images.schema.equals(scan_schema(bins))
    assert instances.schema.equals(INSTANCES_SCHEMA)
    image_rows, rows = reference(file, mapping, bins)
    assert images.select(list(image_rows[0])).to_pylist() == image_rows
    assert instances.to_pylist() == rows


# --- a random COCO-format folder ------------------------------------------------------------------


def random_coco(root: Path, images: int, seed: int = 0) -> Path:
    """Write overlapping polygons and crowds of two mapped categories and one that is not."""
    random = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    for number in range(1, images + 1):
        for _ in range(random.integers(0, 7)):
            centre, radius = random.uniform(0, SIDE, 2), random.uniform(0.3, 11)
            angle = np.linspace(0, 2 * np.pi, random.integers(3, 9), endpoint=False)
            circle = np.stack([np.cos(angle), np.sin(angle)], 1) * radius + centre
            points = np.round(np.clip(circle, 0, SIDE), 2)
            crowd = bool(random.random() < 0.15)
            runs = np.diff([0, *np.sort(random.integers(0, SIDE * SIDE, 6)), SIDE * SIDE])
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "iscrowd": int(crowd),
                    "category_id": int(random.integers(1, 4)), "area": 1.0, "bbox": [0, 0, 1, 1],
                    "segmentation": {"size": [SIDE, SIDE], "counts": runs.tolist()}
                    if crowd else [points.ravel().tolist()],
                }
            )  # fmt: skip
    random.shuffle(annotations)
    listed = [
        {"id": n, "file_name": f"{n:04d}.jpg", "width": SIDE, "height": SIDE}
        for n in range(1, images + 1)
    ]
    categories = [{"id": i, "name": n} for i, n in enumerate(("cat", "dog", "kite"), start=1)]
    file = root / "annotations" / "instances_val.json"
    file.parent.mkdir(parents=True)
    file.write_text(
        json.dumps({"images": listed, "annotations": annotations, "categories": categories})
    )
    return file


def opened(file: Path) -> Source:
    return open_source(SourceSpec("coco", ("val",)), "val", file.parent.parent)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_coco(tmp_path_factory.mktemp("coco"), 80)


# --- tables ---------------------------------------------------------------------------------------


def test_everything_is_as_drawn_and_measured_one_by_one(file: Path, tmp_path: Path) -> None:
    scan = scan_source(opened(file), PETS, BINS, "val", tmp_path, chunk_images=7)
    check(scan, file, PETS, BINS)
    rows = scan.instances().to_pylist()
    assert {r["size"] for r in rows} == set(BINS.names)
    assert scan.images()["void_rle"].null_count < 80  # there are crowds in the file
    total = sum(1 for a in json.loads(file.read_text())["annotations"]
                if a["category_id"] < 3 and not a["iscrowd"])  # fmt: skip
    hidden = [r for r in scan.rejections() if r.reason == "hidden"]
    assert len(hidden) == total - len(rows) > 0
    assert {r.annotation_id for r in hidden} & {r["source_annotation_id"] for r in rows} == set()


def test_workers_and_chunks_change_nothing(file: Path, tmp_path: Path) -> None:
    one = scan_source(opened(file), PETS, BINS, "val", tmp_path / "1", workers=1, chunk_images=80)
    two = scan_source(opened(file), PETS, BINS, "val", tmp_path / "2", workers=2, chunk_images=3)
    assert two.images().equals(one.images())
    assert two.instances().equals(one.instances())
    assert two.rejections() == one.rejections()


def test_progress_ends_at_all_images(file: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    scan_source(
        opened(file), PETS, BINS, "val", tmp_path, chunk_images=30,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(30, 80), (60, 80), (80, 80)]


def test_instances_are_read_by_image_and_column(file: Path, tmp_path: Path) -> None:
    scan = scan_source(opened(file), PETS, BINS, "val", tmp_path)
    rows = scan.instances().to_pylist()
    wanted = ["0042", "0007", "0007", "nobody"]
    some = scan.instances(wanted, ["area", "image_id"])
    assert some.column_names == ["area", "image_id"]
    assert some.to_pylist() == [
        {"area": r["area"], "image_id": r["image_id"]} for r in rows if r["image_id"] in wanted
    ]
    assert scan.instances([]).num_rows == 0
    assert scan.instances([]).schema.equals(INSTANCES_SCHEMA)
    assert scan.instances(columns=["size"]).column_names == ["size"]


def test_row_groups_are_read_one_by_one(file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("sbdata.sources.scan._ROW_GROUP", 10)
    scan = scan_source(opened(file), PETS, BINS, "val", tmp_path, chunk_images=5)
    groups = pa.parquet.ParquetFile(tmp_path / "instances.parquet").num_row_groups
    assert groups > 5
    rows = scan.instances().to_pylist()
    wanted = sorted({r["image_id"] for r in rows})[::3]
    assert scan.instances(wanted).to_pylist() == [r for r in rows if r["image_id"] in wanted]


# --- single images --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """A source whose images are held in memory."""

    images: tuple[AnnotatedImage, ...]
    name: str = "coco"
    split: str = "val"
    generated: bool = False
    behaviour: str = ""
    mark: Path = field(default_factory=Path)

    def chunks(self, images: int) -> Sequence[Chunk]:
        count = len(self.images)
        return [Chunk(i, min(i + images, count)) for i in range(0, count, images)]

    def read(self, chunk: Chunk) -> tuple[list[AnnotatedImage], list[Rejection]]:
        if self.behaviour == "dies" and chunk.start == 2:
            os._exit(7)
        if self.behaviour == "fails" and chunk.start == 2:
            msg = "file.json: broken at byte 5"
            raise InputError(msg)
        if self.behaviour == "sleeps":
            (self.mark / f"{os.getpid()}").touch()
            time.sleep(0.2)
        return list(self.images[chunk.start : chunk.stop]), []

    def members(self) -> Sequence[Member]:
        return []

    def image_bytes(self, file_name: str) -> bytes | None:
        return None

    def pixel_sha256(self, file_name: str) -> str | None:
        return None


def box(x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + h, x : x + w] = True
    return mask


def thing(number: int, mask: np.ndarray, category: str = "cat", **more: bool) -> AnnotatedObject:
    return AnnotatedObject(str(number), category, encode_mask(mask), **more)


def picture(*things: AnnotatedObject, number: int = 1, **more: Any) -> AnnotatedImage:
    return AnnotatedImage(f"{number:03d}", str(number), f"{number}.jpg", SIDE, SIDE, things, **more)


def scanned(
    folder: Path, *images: AnnotatedImage
) -> tuple[list[dict], list[dict], list[Rejection]]:
    scan = scan_source(Held(images), PETS, BINS, "val", folder)
    return scan.images().to_pylist(), scan.instances().to_pylist(), scan.rejections()


def test_smaller_lies_on_top_whatever_the_order(tmp_path: Path) -> None:
    large, small = box(0, 0, 12, 12), box(4, 4, 4, 4)
    for k, things in enumerate(([large, small], [small, large])):
        _, rows, _ = scanned(
            tmp_path / str(k), picture(*(thing(n, m) for n, m in enumerate(things)))
        )
        areas = {True: 144 - 16, False: 16}
        assert [r["area"] for r in rows] == [areas[m is large] for m in things]


def test_of_equal_masks_the_later_lies_on_top_and_the_other_is_reported(tmp_path: Path) -> None:
    mask = box(3, 3, 5, 5)
    things = [thing(7, mask), thing(8, mask, "dog"), thing(9, box(20, 20, 2, 2))]
    images, rows, rejections = scanned(tmp_path, picture(*things))
    assert [(r["instance_id"], r["source_annotation_id"], r["class_id"]) for r in rows] == [
        (1, "8", 1), (2, "9", 2),
    ]  # fmt: skip
    assert [(r.reason, r.image_id, r.annotation_id) for r in rejections] == [("hidden", "001", "7")]
    assert images[0]["labels"] == [1, 2]


def test_unmapped_categories_are_not_drawn(tmp_path: Path) -> None:
    things = [thing(1, box(0, 0, 10, 10)), thing(2, box(0, 0, 5, 5), "kite"),
              thing(3, box(0, 0, 20, 20), "kite", crowd=True)]  # fmt: skip
    (image,), rows, _ = scanned(tmp_path, picture(*things))
    assert [r["area"] for r in rows] == [100]
    assert image["void_rle"] is None
    assert image["crowd_share"] == 0


def test_void_lies_below_every_instance(tmp_path: Path) -> None:
    crowd, void, cat = box(0, 0, 10, 10), box(3, 0, 12, 10), box(0, 0, 4, 24)
    image = picture(thing(1, crowd, "dog", crowd=True), thing(2, cat), void=encode_mask(void))
    (row,), (instance,), _ = scanned(tmp_path, image)
    assert instance["area"] == 4 * 24
    assert row["void_rle"] == encode_mask((crowd | void) & ~cat)
    assert row["crowd_share"] == (crowd & ~cat).sum() / SIDE**2
    assert row["labels"] == [2]


def test_what_an_image_says_is_passed_on(tmp_path: Path) -> None:
    known = {"url": "http://x.org/1.jpg", "license": "CC BY", "sha256": "ab", "sha256_of": "pixels"}
    image = picture(
        thing(1, box(0, 0, 10, 4), "kitten", difficult=True), number=5,
        not_exhaustive=("kite", "dog", "kitten", "cat"), **known,
    )  # fmt: skip
    (row,), (instance,), _ = scanned(tmp_path, image)
    wanted = {**known, "image_id": "005", "split": "val", "source": "coco", "source_image_id": "5",
              "file_name": "5.jpg", "phash": None, "not_exhaustive": [1, 2],
              "n_small": 0, "n_medium": 1, "n_large": 0}  # fmt: skip
    assert {key: row[key] for key in wanted} == wanted
    assert instance["is_difficult"]


def test_an_image_without_instances_stays(tmp_path: Path) -> None:
    (row,), rows, rejections = scanned(tmp_path, picture())
    assert (row["labels"], row["n_small"], rows, rejections) == ([], 0, [], [])


def test_254_instances_are_the_most(tmp_path: Path) -> None:
    def crowded(count: int, number: int) -> AnnotatedImage:
        return picture(*(thing(k, box(k % 24, k // 24, 1, 1)) for k in range(count)), number=number)

    images, rows, rejections = scanned(tmp_path, crowded(254, 1), crowded(255, 2))
    assert [i["image_id"] for i in images] == ["001"]
    assert len(rows) == 254
    assert [(r.reason, r.image_id) for r in rejections] == [("too_many_instances", "002")]


# --- interrupted and repeated ---------------------------------------------------------------------


def files(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in sorted(folder.iterdir())}


def test_a_finished_scan_is_not_repeated_and_another_one_is(file: Path, tmp_path: Path) -> None:
    source = opened(file)
    scan_source(source, PETS, BINS, "val", tmp_path)
    before = files(tmp_path)
    told: list[tuple[int, int]] = []
    scan_source(
        opened(file), PETS, BINS, "val", tmp_path, workers=2, chunk_images=9,
        progress=lambda *t: told.append(t),
    )  # fmt: skip
    assert files(tmp_path) == before
    assert told == [(80, 80)]
    only_cats = ClassMap(PETS.taxonomy, {"cat": "cat"})
    for mapping, bins, split in (
        (only_cats, BINS, "val"), (PETS, SizeBins((9,), ("s", "l")), "val"), (PETS, BINS, "train"),
    ):  # fmt: skip
        now = files(tmp_path)
        scan = scan_source(source, mapping, bins, split, tmp_path)
        assert files(tmp_path).items().isdisjoint(now.items())
        assert set(scan.images()["split"].to_pylist()) == {split}


def test_an_edited_annotation_file_is_scanned_again(tmp_path: Path) -> None:
    file = random_coco(tmp_path / "coco", 5)
    folder = tmp_path / "scan"
    first = scan_source(opened(file), PETS, BINS, "val", folder).images()
    text = file.read_text()
    file.write_text(text.replace('"0003.jpg"', '"0008.jpg"'))
    assert file.stat().st_size == len(text)
    again = scan_source(opened(file), PETS, BINS, "val", folder).images()
    assert first["image_id"].to_pylist() == ["0001", "0002", "0003", "0004", "0005"]
    assert again["image_id"].to_pylist() == ["0001", "0002", "0008", "0004", "0005"]


def test_a_scan_that_fails_takes_back_the_mark_of_the_one_before(tmp_path: Path) -> None:
    images = tuple(picture(number=n) for n in range(8))
    scan_source(Held(images), PETS, BINS, "val", tmp_path)
    assert (tmp_path / "finished.json").exists()
    with pytest.raises(InputError):
        scan_source(Held(images, behaviour="fails"), PETS, BINS, "val", tmp_path, chunk_images=1)
    assert not (tmp_path / "finished.json").exists()


def test_a_scan_that_was_killed_is_redone(file: Path, tmp_path: Path) -> None:
    complete = scan_source(opened(file), PETS, BINS, "val", tmp_path).instances()
    (tmp_path / "finished.json").unlink()
    (tmp_path / ".instances.parquet.0a1b2c3d.part").write_bytes(b"half")
    (tmp_path / "instances.parquet").write_bytes(b"PAR1 not any more")
    scan = scan_source(opened(file), PETS, BINS, "val", tmp_path)
    assert scan.instances().equals(complete)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_source_reaches_the_caller(tmp_path: Path, workers: int) -> None:
    source = Held(tuple(picture(number=n) for n in range(8)), behaviour="fails")
    with pytest.raises(InputError, match="broken at byte 5"):
        scan_source(source, PETS, BINS, "val", tmp_path, workers=workers, chunk_images=1)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_dies_does_not_hang_the_scan(tmp_path: Path) -> None:
    source = Held(tuple(picture(number=n) for n in range(8)), behaviour="dies")
    with pytest.raises(InputError, match="process that scanned coco val died"):
        scan_source(source, PETS, BINS, "val", tmp_path, workers=2, chunk_images=1)
    assert list(tmp_path.iterdir()) == []


SLEEPY = """
import signal
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.sources.test_scan import BINS, Held, PETS, picture
from sbdata.sources.scan import scan_source

if __name__ == "__main__":
    # A shell that runs the tests in the background has told its children to ignore this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    mark = Path(sys.argv[2])
    images = tuple(picture(number=n) for n in range(200))
    source = Held(images, behaviour="sleeps", mark=mark)
    scan_source(source, PETS, BINS, "val", mark / "scan", workers=2, chunk_images=1)
"""


def pids(folder: Path) -> set[int]:
    return {int(p.name) for p in folder.iterdir() if p.name.isdigit()}


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_scan_that_is_stopped_leaves_no_process_behind(
    tmp_path: Path, end: signal.Signals
) -> None:
    script = tmp_path / "sleepy.py"
    script.write_text(SLEEPY)
    repository = Path(__file__).parent.parent.parent
    command = [sys.executable, str(script), str(repository), str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        # The parent scans the first chunk itself; wait for its workers.
        wait_until(lambda: pids(tmp_path) - {process.pid} or process.poll() is not None)
        assert process.poll() is None, process.stderr.read()
        workers = pids(tmp_path) - {process.pid}
        if end == signal.SIGINT:  # as a terminal sends it, to the whole group
            os.killpg(process.pid, end)
        else:
            process.kill()
        assert process.wait(HANGS) != 0
    try:
        wait_until(lambda: not any(map(alive, workers)))
    finally:
        for worker in filter(alive, workers):
            os.kill(worker, signal.SIGKILL)
    assert not (tmp_path / "scan" / "finished.json").exists()


# --- the published files --------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "mapping"),
    [
        ("coco128", class_map(COCO80, None)),
        ("coco128", class_map(VOC20, "coco-to-voc20")),
        ("coco-mini", class_map(VOC20, "coco-to-voc20")),
    ],
    ids=["coco128-80", "coco128-voc20", "coco-mini-voc20"],
)
def test_published_coco(real_data: Path, tmp_path: Path, folder: str, mapping: ClassMap) -> None:
    spec = SourceSpec("coco", ("train2017",))
    source = open_source(spec, "train2017", real_data / folder)
    scan = scan_source(source, mapping, SizeBins(), "val", tmp_path)
    file = real_data / folder / "annotations" / "instances_train2017.json"
    check(scan, file, mapping, SizeBins())


@pytest.mark.realdata
def test_published_lvis(real_data: Path, tmp_path: Path) -> None:
    file = "annotations/lvis_v0.5_val_100.json"
    source = open_source(
        SourceSpec("coco", ("val",), format="lvis", annotations=file),
        "val",
        real_data / "lvis-sample",
    )
    mapping = class_map(VOC20, "lvis-to-voc20")
    scan = scan_source(source, mapping, SizeBins(), "val", tmp_path)
    data = json.loads((real_data / "lvis-sample" / file).read_bytes())
    for image in data["images"]:  # the reference takes names from file_name
        image["file_name"] = image["coco_url"].rpartition("/")[2]
    (tmp_path / "plain.json").write_text(json.dumps(data))
    check(scan, tmp_path / "plain.json", mapping, SizeBins())
    unsure = scan.images()["not_exhaustive"].to_pylist()
    names = {c["id"]: c["name"] for c in data["categories"]}
    expected = [
        sorted({mapping.class_of(names[i]) for i in image["not_exhaustive_category_ids"]} - {None})
        for image in sorted(data["images"], key=lambda i: i["id"])
    ]
    assert unsure == expected
    assert any(unsure)
