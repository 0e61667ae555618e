"""Sets of real photos against counts made in another way: pycocotools and plain numpy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.curate.verify import verify_set
from sbdata.recipe import load_recipe
from sbdata.taxonomy import COCO_TO_VOC20, VOC20

pytestmark = pytest.mark.realdata


def size_of(area: int) -> str:
    return "small" if area < 32 * 32 else "medium" if area < 96 * 96 else "large"


def cells(counts: dict) -> Counter:
    found = {(c, s): n for c, row in counts.items() for s, n in row.items()}
    return Counter({cell: n for cell, n in found.items() if n})


def test_voc_val_has_the_objects_of_its_masks(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "voc2012-mini"
    built = build_set(load_recipe("voc-val"), tmp_path / "set", Inputs(roots={"voc": root}))
    assert built.after.images == 110
    devkit = root / "VOCdevkit" / "VOC2012"
    ids = (devkit / "ImageSets/Segmentation/val.txt").read_text().split()
    wanted: Counter = Counter()
    for image_id in ids:
        classes, objects = (
            np.array(Image.open(devkit / folder / f"{image_id}.png"))
            for folder in ("SegmentationClass", "SegmentationObject")
        )
        for number in set(np.unique(objects)) - {0, 255}:
            pixels = (objects == number) & (classes != 255)
            kinds = np.unique(classes[pixels])
            assert len(kinds) == 1
            wanted[VOC20.classes[kinds[0] - 1], size_of(int(pixels.sum()))] += 1
        ours = np.array(Image.open(built.root / "SegmentationClass" / f"{image_id}.png"))
        apart = ours != classes
        assert (ours[apart] == 255).all()  # only class pixels without an object become void
        assert (objects[apart] == 0).all()
    assert cells(built.after.counts) == wanted
    assert verify_set(built.root) == []


def draw_by_hand(coco: COCO, image_id: int) -> tuple[np.ndarray, list[tuple[str, int, int]], bool]:
    """Class map, (class, annotation id, visible area) and whether crowds cover over 1 %."""
    info = coco.imgs[image_id]
    names = {c["id"]: COCO_TO_VOC20.get(c["name"]) for c in coco.dataset["categories"]}
    mine = [a for a in coco.imgToAnns[image_id] if names[a["category_id"]]]
    owner = np.zeros((info["height"], info["width"]), np.int64)
    crowds = np.zeros(owner.shape, bool)
    for a in mine:
        if a["iscrowd"]:
            crowds |= coco.annToMask(a).astype(bool)
    drawn = [(coco.annToMask(a).astype(bool), a) for a in mine if not a["iscrowd"]]
    drawn.sort(key=lambda pair: (-pair[0].sum(), pair[1]["id"]))
    for mask, a in drawn:
        owner[mask] = a["id"]
    classes = np.where(crowds, 255, 0)
    seen = []
    for _, a in drawn:
        visible = owner == a["id"]
        name = names[a["category_id"]]
        classes[visible] = VOC20.id_of(name)
        if visible.any():
            seen.append((name, a["id"], int(visible.sum())))
    void = (classes == 255).mean()
    return classes, seen, void > 0.01


def test_pascal_b_on_real_coco_equals_a_count_by_hand(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "coco128"
    settings = ["overlay=null", "sources.0.splits=[train2017]", "select.quota=4"]
    recipe = load_recipe("pascal-b", [*settings, "unchecked=[voc-trainaug]"])
    built = build_set(recipe, tmp_path / "set", Inputs(roots={"coco": root}))
    coco = COCO(str(root / "annotations" / "instances_train2017.json"))
    chosen = built.manifest.images.to_pylist()
    assert 10 < len(chosen) < 128
    wanted: Counter = Counter()
    for row in chosen:
        classes, seen, crowded = draw_by_hand(coco, int(row["source_image_id"]))
        ours = np.array(Image.open(built.root / "SegmentationClass" / f"{row['image_id']}.png"))
        assert (ours == classes).all()
        assert not crowded
        wanted.update((name, size_of(area)) for name, _, area in seen)
    assert cells(built.after.counts) == wanted
    before: Counter = Counter()
    for image_id in coco.imgs:
        before.update((name, size_of(area)) for name, _, area in draw_by_hand(coco, image_id)[1])
    assert cells(built.before.counts) == before
    (check,) = built.manifest.meta["leakage"]
    assert not check["checked"]
    assert verify_set(built.root) == []


def test_crowds_of_real_coco_are_void(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "coco128"
    recipe = load_recipe("coco-val-voc20", ["sources.0.splits=[train2017]"])
    built = build_set(recipe, tmp_path / "set", Inputs(roots={"coco": root}))
    assert built.after.images == 128
    coco = COCO(str(root / "annotations" / "instances_train2017.json"))
    voided = 0
    for row in built.manifest.images.to_pylist():
        classes, seen, _ = draw_by_hand(coco, int(row["source_image_id"]))
        ours = np.array(Image.open(built.root / "SegmentationClass" / f"{row['image_id']}.png"))
        assert (ours == classes).all()
        voided += bool((classes == 255).any())
        assert row["n_small"] + row["n_medium"] + row["n_large"] == len(seen)
    assert voided > 0
