"""Opening a set: what it gives, and what it says of a folder that is none."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sbdata.curate.materialise import write_set
from sbdata.errors import InputError
from sbdata.manifest import (
    INSTANCES_SCHEMA,
    Manifest,
    ManifestError,
    images_schema,
    make_manifest,
    write_manifest,
)
from sbdata.masks import encode_mask, write_index_png
from sbdata.sets import open_set
from sbdata.sizes import SizeBins
from sbdata.taxonomy import Taxonomy

PETS = Taxonomy("pets", ("cat", "dog"))
BINS = SizeBins((4, 9), ("tiny", "small", "big"))

# image id -> object map; object k is of class 1 + k % 2, 255 is void
OBJECTS = {
    "b": np.array([[2, 2, 0, 255], [1, 0, 0, 255]], np.uint8),
    "a": np.array([[0, 0, 0], [0, 7, 7], [0, 7, 7]], np.uint8),
    "c": np.zeros((1, 2), np.uint8),
}


def make() -> Manifest:
    images, instances = [], []
    for image_id, objects in OBJECTS.items():
        numbers = sorted(set(np.unique(objects).tolist()) - {0, 255}, reverse=True)
        mine = []
        for number in numbers:
            mask = objects == number
            class_id = 1 + number % 2
            mine.append(
                {
                    "image_id": image_id,
                    "instance_id": number,
                    "source": "album",
                    "source_annotation_id": str(number),
                    "class_id": class_id,
                    "class_name": PETS.name_of(class_id),
                    "area": int(mask.sum()),
                    "area_fraction": float(mask.mean()),
                    **dict.fromkeys(("bbox_x", "bbox_y", "bbox_w", "bbox_h", "components"), 1),
                    "size": BINS.name_of(int(mask.sum())),
                    "touches_border": True,
                    "is_difficult": False,
                    "rle": encode_mask(mask),
                }
            )
        images.append(
            {
                "image_id": image_id,
                "split": "val",
                "source": "album",
                "source_image_id": image_id,
                "file_name": f"{image_id}.jpg",
                "width": objects.shape[1],
                "height": objects.shape[0],
                "sha256_of": "file",
                "labels": sorted({row["class_id"] for row in mine}),
                "void_rle": encode_mask(objects == 255),
                **{f"n_{size}": sum(row["size"] == size for row in mine) for size in BINS.names},
            }
        )
        instances += mine
    return make_manifest(
        "album",
        pa.Table.from_pylist(images, images_schema(BINS)),
        pa.Table.from_pylist(instances, INSTANCES_SCHEMA),
        PETS,
        BINS,
        {"synthetic": False},
    )


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "album"
    (folder / "JPEGImages").mkdir(parents=True)
    for image_id, objects in OBJECTS.items():
        height, width = objects.shape
        Image.new("RGB", (width, height)).save(folder / "JPEGImages" / f"{image_id}.jpg")
    write_set(make(), folder)
    return folder


def test_a_set_tells_what_it_is(root):
    opened = open_set(root)
    assert (opened.name, opened.taxonomy, opened.bins) == ("album", PETS, BINS)
    assert opened.logical_hash == make().logical_hash
    assert list(opened) == list(opened.image_ids) == ["a", "b", "c"]
    assert len(opened) == 3
    assert "a" in opened
    assert "d" not in opened
    assert open_set(str(root)).root == root


def test_images_and_maps_are_those_of_the_image(root):
    opened = open_set(root)
    for image_id, objects in OBJECTS.items():
        assert opened.size_of(image_id) == objects.shape
        with Image.open(opened.image_path(image_id)) as image:
            assert image.size == objects.shape[::-1]
        instance_map, class_map = opened.instance_map(image_id), opened.class_map(image_id)
        assert instance_map.dtype == class_map.dtype == np.uint8
        assert np.array_equal(instance_map, objects)
        plain = (objects > 0) & (objects < 255)
        assert np.array_equal(class_map[plain], 1 + objects[plain] % 2)
        assert np.array_equal(class_map[~plain], objects[~plain])


def test_maps_belong_to_the_caller(root):
    opened = open_set(root)
    opened.class_map("a")[:] = 9
    assert 9 not in opened.class_map("a")


def test_instances_are_the_images_rows_in_order(root):
    opened = open_set(root)
    assert opened.instances_of("b")["instance_id"].to_pylist() == [1, 2]
    assert opened.instances_of("a")["area"].to_pylist() == [4]
    assert opened.instances_of("a").to_pylist() == [
        row for row in opened.manifest.instances.to_pylist() if row["image_id"] == "a"
    ]
    assert opened.instances_of("c").num_rows == 0
    assert opened.instances_of("c").schema.equals(INSTANCES_SCHEMA)


def test_a_set_cannot_be_changed(root):
    with pytest.raises(dataclasses.FrozenInstanceError):
        open_set(root).root = root.parent


@pytest.mark.parametrize(
    "method", ["size_of", "image_path", "class_map", "instance_map", "instances_of"]
)
@pytest.mark.parametrize("image_id", ["d", "../album/JPEGImages/a", ""])
def test_an_unknown_id_is_one_sentence(root, method, image_id):
    with pytest.raises(InputError, match="the set has no image called"):
        getattr(open_set(root), method)(image_id)


# --- folders that are no set ---------------------------------------------------------------------


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="absent: no such folder; build a set by 'sbdata"):
        open_set(tmp_path / "absent")


def test_a_file_instead_of_a_folder(root):
    with pytest.raises(InputError, match=r"images.parquet: no such folder"):
        open_set(root / "images.parquet")


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match="an empty folder; build a set there by 'sbdata dataset"):
        open_set(tmp_path)


def test_some_other_folder(root):
    with pytest.raises(InputError, match=r"not a set: images.parquet and instances"):
        open_set(root / "JPEGImages")


def test_the_folder_above_a_set_names_the_set(root):
    with pytest.raises(InputError, match=r"not a set, but .*album is; give that folder"):
        open_set(root.parent)


def test_a_manifest_without_images_says_what_to_run(tmp_path):
    write_manifest(make(), tmp_path)
    with pytest.raises(
        InputError,
        match="a manifest, without JPEGImages and SegmentationClass and SegmentationObject; build",
    ):
        open_set(tmp_path)


def test_an_edited_manifest_is_refused(root):
    (root / "images.parquet").write_bytes(b"")
    with pytest.raises(ManifestError, match=r"images.parquet: not a readable Parquet file"):
        open_set(root)


def test_a_missing_mask_is_one_sentence(root):
    (root / "SegmentationClass" / "a.png").unlink()
    with pytest.raises(InputError, match=r"SegmentationClass/a.png: not a readable PNG"):
        open_set(root).class_map("a")


def test_a_mask_of_another_size_is_one_sentence(root):
    write_index_png(root / "SegmentationObject" / "b.png", np.zeros((4, 2), np.uint8))
    with pytest.raises(InputError, match=r"b.png: 2 x 4 pixels, but its image has 4 x 2; run"):
        open_set(root).instance_map("b")


def test_opening_a_set_loads_no_torch():
    script = "import sys, sbdata.sets, sbdata.curate.verify; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
