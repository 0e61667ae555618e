"""A small dataset as truth of every kind, and predictions made from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.manifest import make_manifest, write_manifest
from sbdata.masks import encode_mask, voc_palette
from sbdata.recipe import SourceSpec
from sbdata.sizes import SizeBins
from sbdata.sources import open_source
from sbdata.sources.scan import scan_source
from sbdata.taxonomy import VOC20, class_map

HEIGHT, WIDTH = 130, 170
CLASSES = (8, 12, 15)  # cat, dog and person: COCO calls them the same
SIDES = (9, 15, 30, 45, 70, 100)


@dataclass(frozen=True)
class Scene:
    """Class and object map of one image."""

    classes: np.ndarray
    objects: np.ndarray

    @property
    def perfect(self) -> np.ndarray:
        return np.where(self.classes == 255, 0, self.classes).astype(np.uint8)


def scene(seed: int) -> Scene:
    """Rectangles of some sizes, the smaller over the larger, and a void edge."""
    rng = np.random.default_rng(seed)
    classes = np.zeros((HEIGHT, WIDTH), np.uint8)
    objects = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, side in enumerate(sorted(rng.choice(SIDES, 4, replace=False))[::-1], start=1):
        y, x = rng.integers(0, HEIGHT - side), rng.integers(0, WIDTH - side)
        classes[y : y + side, x : x + side] = rng.choice(CLASSES)
        objects[y : y + side, x : x + side] = number
    classes[:2], objects[:2] = 255, 255
    numbers = sorted(set(np.unique(objects).tolist()) - {0, 255})
    for new, number in enumerate(numbers, start=1):  # one may be wholly hidden
        objects[objects == number] = new
    return Scene(classes, objects)


def save(path: Path, values: np.ndarray, *, palette: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette(voc_palette())
    image.save(path)


@dataclass(frozen=True)
class Dataset:
    """The scenes, and where they lie as truth of each kind."""

    scenes: Mapping[str, Scene]
    devkit: Path
    manifest: Path
    coco: Path

    @property
    def class_masks(self) -> Path:
        return self.devkit / "SegmentationClass"

    @property
    def instance_masks(self) -> Path:
        return self.devkit / "SegmentationObject"

    def predict(self, folder: Path, change: Callable[[Scene], np.ndarray] | None = None) -> Path:
        """Write predictions, perfect ones by default."""
        for image_id, one in self.scenes.items():
            values = one.perfect if change is None else change(one)
            save(folder / f"{image_id}.png", values.astype(np.uint8))
        return folder


def without_small(one: Scene) -> np.ndarray:
    """A perfect prediction but for the small objects, which are background."""
    numbers, areas = np.unique(one.objects, return_counts=True)
    small = numbers[(areas < 32**2) & (numbers > 0) & (numbers < 255)]
    return np.where(np.isin(one.objects, small), 0, one.perfect)


def shifted(one: Scene) -> np.ndarray:
    return np.roll(one.perfect, (3, -4), (0, 1))


def _write_coco(path: Path, scenes: Mapping[str, Scene]) -> None:
    ids = dict(zip((VOC20.name_of(c) for c in CLASSES), (17, 18, 1), strict=True))
    images, annotations = [], []
    for number, (image_id, one) in enumerate(scenes.items(), start=1):
        images.append(
            {"id": number, "file_name": f"{image_id}.jpg", "width": WIDTH, "height": HEIGHT}
        )
        objects = [k for k in np.unique(one.objects).tolist() if 0 < k < 255]
        for k in (*objects, 255):
            mask = one.objects == k
            name = "cat" if k == 255 else VOC20.name_of(int(one.classes[mask][0]))
            rle = {"size": [HEIGHT, WIDTH], "counts": encode_mask(mask).decode()}
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": ids[name],
                 "iscrowd": int(k == 255), "segmentation": rle, "area": int(mask.sum()),
                 "bbox": [0, 0, 1, 1]}
            )  # fmt: skip
    categories = [{"id": i, "name": name} for name, i in ids.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("dataset")
    scenes = {f"{k:012d}": scene(k) for k in range(100, 140)}
    devkit = root / "VOC2012"
    for image_id, one in scenes.items():
        save(devkit / "SegmentationClass" / f"{image_id}.png", one.classes)
        save(devkit / "SegmentationObject" / f"{image_id}.png", one.objects)
    lists = devkit / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{i}\n" for i in scenes))
    source = open_source(SourceSpec("voc", ("val",)), "val", devkit)
    scan = scan_source(source, class_map(VOC20, None), SizeBins(), "val", root / "scan")
    manifest = make_manifest(
        "boxes", scan.images(), scan.instances(), VOC20, SizeBins(), {"synthetic": True}
    )
    (root / "set").mkdir()
    write_manifest(manifest, root / "set")
    _write_coco(root / "annotations" / "instances_val.json", scenes)
    return Dataset(scenes, devkit, root / "set", root / "annotations" / "instances_val.json")
