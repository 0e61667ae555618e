"""The training sets of the paper, from miniatures of the published archives."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from sbdata.curate.build import build_set, built_already, rebuild_set
from sbdata.curate.inputs import Inputs
from sbdata.curate.materialise import read_rejected
from sbdata.curate.verify import verify_set
from sbdata.errors import InputError
from sbdata.recipe import load_recipe
from sbdata.sets import open_set
from tests.sources.miniatures import (
    IMAGES,
    TRAIN,
    TRAIN_AUG,
    VAL,
    coco_files,
    photo,
    sbd_files,
    voc_files,
)

IDS = hashlib.sha256("".join(f"{i}\n" for i in sorted(TRAIN_AUG)).encode()).hexdigest()
MINI = (f"expect.images={len(TRAIN_AUG)}", f"expect.ids_sha256={IDS}")


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    for folder, files in (("voc", voc_files()), ("sbd", sbd_files()), ("coco", coco_files(2014))):
        for name, data in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    roots = {name: tmp_path / name for name in ("voc", "sbd", "coco")}
    for split in ("train", "val"):
        (roots["coco"] / f"{split}2014").mkdir()
        for number in IMAGES[f"{split}2017"]:
            (roots["coco"] / f"{split}2014" / f"{number:012}.jpg").write_bytes(photo(number))
    return Inputs(roots=roots)


def test_trainaug_has_vocs_masks_where_it_has_them(inputs: Inputs, tmp_path: Path) -> None:
    recipe = load_recipe("voc-trainaug", MINI)
    built = build_set(recipe, tmp_path / "set", inputs)
    images = built.manifest.images.to_pylist()
    assert [row["image_id"] for row in images] == sorted(TRAIN_AUG)
    sources = {row["image_id"]: row["source"] for row in images}
    assert sources == {i: "voc" if i in TRAIN else "sbd" for i in TRAIN_AUG}
    assert not set(VAL) & set(sources)
    (check,) = built.manifest.meta["leakage"]
    assert check["checked"]
    assert "1 members; near duplicates were not looked for" in check["result"]
    assert any("1 image that sbd train also lists" in note for note in built.notes)
    assert verify_set(built.root) == []
    assert open_set(built.root).instances_of(TRAIN_AUG[-1])["class_name"].to_pylist() == ["boat"]
    listed = (built.root / "ImageSets/Segmentation/train.txt").read_bytes()
    assert hashlib.sha256(listed).hexdigest() == IDS
    again = built_already(built.root, recipe, inputs)
    assert again is not None
    assert not again.fresh
    two = build_set(recipe, tmp_path / "two", Inputs(roots=inputs.roots, workers=2))
    assert two.manifest.logical_hash == built.manifest.logical_hash
    rebuilt = rebuild_set(built.root, tmp_path / "rebuilt", inputs)
    assert rebuilt.manifest.logical_hash == built.manifest.logical_hash


def _sbd(inputs: Inputs, name: str) -> Path:
    return inputs.roots["sbd"] / "benchmark_RELEASE/dataset" / name


def _other_id(inputs: Inputs) -> None:
    for name in ("cls/{}.mat", "inst/{}.mat", "img/{}.jpg"):
        _sbd(inputs, name.format("2008_000007")).rename(_sbd(inputs, name.format("2008_000009")))
    _sbd(inputs, "val.txt").write_text("2008_000003\n2008_000009\n")


def _no_mask_of_voc(inputs: Inputs) -> None:
    masks = inputs.roots["voc"] / "VOCdevkit/VOC2012/SegmentationClass"
    (masks / "2007_000039.png").unlink()


CHANGES = {
    "a list with an image less": (
        lambda i: _sbd(i, "val.txt").write_text("2008_000003\n"),
        "5 images, but 6 are published",
    ),
    "a list with another image": (_other_id, "6 images, which are not the published ones"),
    "no mask of SBD": (
        lambda i: _sbd(i, "inst/2008_000003.mat").unlink(),
        "left out: missing_mask 1, training_member 1 .inst/2008_000003.mat: no such file",
    ),
    "no mask of VOC, though SBD has one": (
        _no_mask_of_voc,
        "5 images, but 6 are published; left out: missing_mask 1",
    ),
    "another kind of file": (
        lambda i: _sbd(i, "cls/2008_000003.mat").write_bytes(b"\x89HDF\r\n\x1a\n"),
        "a MATLAB 7.3 file",
    ),
    "a photo of another size": (
        lambda i: _sbd(i, "img/2008_000003.jpg").write_bytes(_small()),
        "image_size 1",
    ),
}


def _small() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 10)).save(out, "JPEG")
    return out.getvalue()


@pytest.mark.parametrize("change", CHANGES)
def test_trainaug_is_the_published_list_or_none(
    inputs: Inputs, tmp_path: Path, change: str
) -> None:
    alter, said = CHANGES[change]
    alter(inputs)  # type: ignore[no-untyped-call]
    with pytest.raises(InputError, match=said) as error:
        build_set(load_recipe("voc-trainaug", MINI), tmp_path / "set", inputs)
    assert "--set expect=null" in str(error.value)
    assert not (tmp_path / "set").exists()


def test_one_image_in_two_sources_is_refused_unless_the_recipe_says_which(
    inputs: Inputs, tmp_path: Path
) -> None:
    recipe = load_recipe("voc-trainaug", (*MINI, "same_image=refuse"))
    with pytest.raises(InputError, match=r"2007_000039 occurs in more than one split.*same_image"):
        build_set(recipe, tmp_path / "set", inputs)


@pytest.mark.parametrize("split", ["train", "val"])
def test_coco14(inputs: Inputs, tmp_path: Path, split: str) -> None:
    path = inputs.roots["coco"] / f"annotations/instances_{split}2014.json"
    data = json.loads(path.read_text())
    count, last = len(data["images"]), data["images"][-1]["id"]
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] != last]
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=f"list {count} images .coco {split}2014 {count}., .*are"):
        build_set(load_recipe(f"coco14-{split}"), tmp_path / "set", inputs)
    recipe = load_recipe(f"coco14-{split}", (f"expect.listed={count}",))
    built = build_set(recipe, tmp_path / "set", inputs)
    assert len(built.manifest.taxonomy) == 80
    assert built.manifest.images.num_rows == count - 1
    assert built.manifest.meta["rejected"] == {"no_instances": 1}
    assert [r.reason for r in read_rejected(built.root / "rejected.csv")] == ["no_instances"]
    assert verify_set(built.root) == []


@pytest.mark.realdata
def test_the_published_list_has_the_count_and_hash_of_the_recipe(real_data: Path) -> None:
    expect = load_recipe("voc-trainaug").expect
    assert expect is not None
    lists = real_data / "lists"
    data = (lists / "voc2012_trainaug.txt").read_bytes()
    assert len(data.split()) == expect.images
    assert hashlib.sha256(data).hexdigest() == expect.ids_sha256
    ids = {name: (lists / f"{name}.txt").read_text().split() for name in
           ("voc2012_train", "voc2012_val", "sbd_train", "sbd_val")}  # fmt: skip
    both = {*ids["voc2012_train"], *ids["sbd_train"], *ids["sbd_val"]} - {*ids["voc2012_val"]}
    assert sorted(both) == data.decode().split()


@pytest.mark.realdata
def test_real_masks_of_sbd_become_a_set(real_data: Path, tmp_path: Path) -> None:
    """Two images; VOC's list is empty of them, so that both come from SBD."""
    recipe = load_recipe(
        "voc-trainaug",
        ("sources.0={name: sbd, splits: [val]}", "sources.1={name: voc, splits: [train]}",
         "exclude_overlap_with=[]", "expect={images: 262}"),
    )  # fmt: skip
    roots = {"sbd": real_data / "sbd-mini", "voc": real_data / "voc2012-mini"}
    built = build_set(recipe, tmp_path / "set", Inputs(roots=roots))
    rows = built.manifest.images.to_pylist()
    assert [row["image_id"] for row in rows if row["source"] == "sbd"] == [
        "2008_000051", "2008_000195",
    ]  # fmt: skip
    assert verify_set(built.root) == []
