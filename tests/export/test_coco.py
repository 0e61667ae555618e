"""An export to COCO against the set's PNGs, read by pycocotools and by sbdata itself."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.errors import InputError
from sbdata.export.coco import write_coco
from sbdata.export.export_set import export_set
from sbdata.manifest import Manifest
from sbdata.masks import write_index_png
from sbdata.recipe import Recipe, SourceSpec
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_coco, truth_from_set
from sbdata.sets import EvaluationSet, open_set
from tests.export.sets import (
    IMAGES,
    NAMES,
    classes_of,
    decoded,
    objects_of,
    same_objects,
    tree,
    with_columns,
)


@pytest.fixture(scope="module")
def out(pets: EvaluationSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco") / "out"
    assert export_set(pets, "coco", folder) == []
    return folder


def read(out: Path, split: str):
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(out / "annotations" / f"instances_{split}.json"))


def test_pycocotools_reads_the_masks_of_the_pngs(pets: EvaluationSet, out: Path) -> None:
    objects, classes = objects_of(pets.root), classes_of(pets.root)
    rows = pq.read_table(pets.root / "instances.parquet").to_pylist()
    sizes = {(row["image_id"], row["instance_id"]): row["size"] for row in rows}
    seen: Counter[str] = Counter()
    for split in ("train", "val"):
        coco = read(out, split)
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(NAMES)
        for annotation in coco.loadAnns(coco.getAnnIds()):
            image = coco.imgs[annotation["image_id"]]
            name = image["file_name"].removesuffix(".jpg")
            mask = coco.annToMask(annotation) > 0
            number = annotation["sbdata_instance_id"]
            assert np.array_equal(mask, objects[name] == number)
            assert set(classes[name][mask]) == {annotation["category_id"]}
            ys, xs = np.nonzero(mask)
            box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert annotation["bbox"] == [int(side) for side in box]
            assert annotation["area"] == mask.sum() == coco.annToMask(annotation).sum()
            assert annotation["iscrowd"] == 0
            assert annotation["sbdata_size"] == sizes[name, number]
            seen[name] += 1
    shown = {i: len(set(np.unique(o)) - {0, 255}) for i, o in objects.items()}
    assert seen == Counter(shown)


def test_ids_are_distinct_over_the_splits(out: Path) -> None:
    files = [read(out, split) for split in ("train", "val")]
    images = [set(f.imgs) for f in files]
    assert images[0] | images[1] == set(range(1, 7))
    assert not images[0] & images[1]
    assert not set(files[0].anns) & set(files[1].anns)


def test_void_stands_in_the_record_of_the_image(pets: EvaluationSet, out: Path) -> None:
    found = [image for s in ("train", "val") for image in read(out, s).imgs.values()]
    classes = classes_of(pets.root)
    void = {i["file_name"][:-4]: decoded(i["sbdata_void"]) for i in found if "sbdata_void" in i}
    assert void
    for name, mask in classes.items():
        assert np.array_equal(void.get(name, np.zeros_like(mask, bool)), mask == 255)


def test_a_score_by_the_export_is_that_by_the_set(one_split: Path, tmp_path: Path) -> None:
    """Predictions in void count in neither."""
    export_set(open_set(one_split), "coco", tmp_path / "coco")
    (file,) = (tmp_path / "coco/annotations").glob("*.json")
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    masks = classes_of(one_split)
    for name, mask in masks.items():
        write_index_png(predictions / f"{name}.png", np.roll(np.where(mask == 255, 1, mask), 3))
    options = ScoreOptions(resamples=0)
    by_set = score_folder(predictions, truth_from_set(one_split), options)
    by_coco = score_folder(predictions, truth_from_coco(file, "own"), options)
    assert by_set.tables.confusion.sum() == sum(int((mask != 255).sum()) for mask in masks.values())
    assert np.array_equal(by_coco.tables.confusion, by_set.tables.confusion)
    assert by_coco.summary.headline() == by_set.summary.headline()


def test_licences_and_addresses_are_the_manifests(pets: EvaluationSet, out: Path) -> None:
    rows = {r["image_id"]: r for r in pq.read_table(pets.root / "images.parquet").to_pylist()}
    for split in ("train", "val"):
        content = json.loads((out / "annotations" / f"instances_{split}.json").read_text())
        names = {row["id"]: row["name"] for row in content["licenses"]}
        for image in content["images"]:
            row = rows[image["file_name"][:-4]]
            assert names[image["license"]] == row["license"]
            assert (image["coco_url"], image["width"]) == (row["url"], row["width"])
            assert image["sbdata_source_image_id"] == row["source_image_id"]


def test_photos_are_links_and_copies_elsewhere(
    pets: EvaluationSet, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    export_set(pets, "coco", tmp_path / "copied")
    photos = sorted(out.glob("*/*.jpg"))
    assert len(photos) == 6
    for photo in photos:
        copy = tmp_path / "copied" / photo.relative_to(out)
        assert photo.samefile(pets.image_path(photo.stem))
        assert not copy.samefile(photo)
        assert copy.read_bytes() == photo.read_bytes()


def test_worker_counts_change_nothing(pets: EvaluationSet, out: Path, tmp_path: Path) -> None:
    for form in ("coco", "hf", "yolo", "cvat"):
        export_set(pets, form, tmp_path / "one" / form)
        export_set(pets, form, tmp_path / "two" / form, workers=3)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_sbdata_builds_the_set_again_from_its_export(
    pets: EvaluationSet, out: Path, tmp_path: Path
) -> None:
    """With void, which is no annotation."""
    source = SourceSpec("coco", ("train", "val"))
    recipe = Recipe(name="again", version="v", taxonomy=NAMES, sources=(source,))
    again = build_set(recipe, tmp_path / "again", Inputs(roots={"coco": out}))
    masks, objects = classes_of(pets.root), objects_of(pets.root)
    again_masks, again_objects = classes_of(again.root), objects_of(again.root)
    assert masks.keys() == again_masks.keys()
    for name, mask in masks.items():
        assert np.array_equal(again_masks[name], mask)
        assert same_objects(again_objects[name], objects[name])


@pytest.mark.parametrize("split", ["annotations", "Annotations"])
def test_a_split_with_the_name_of_the_annotations_folder_is_refused(
    one_split: Path, tmp_path: Path, split: str
) -> None:
    root = with_columns(one_split, tmp_path / "set", split=[split] * IMAGES)
    with pytest.raises(InputError, match=f"images.parquet: a split called '{split}', whose photos"):
        export_set(open_set(root), "coco", tmp_path / "out")


@pytest.mark.parametrize("damage", ["area", "code"])
def test_a_code_that_contradicts_its_row_is_refused(
    pets: EvaluationSet, tmp_path: Path, damage: str
) -> None:
    rows = pets.manifest.instances
    name, values = {
        "area": ("area", [n + 1 for n in rows["area"].to_pylist()]),
        "code": ("rle", [b"\xff\xfe" for _ in range(rows.num_rows)]),
    }[damage]
    place, field = rows.schema.get_field_index(name), rows.schema.field(name)
    rows = rows.set_column(place, field, pa.array(values, field.type))
    wrong = EvaluationSet(pets.root, Manifest(pets.manifest.images, rows, pets.manifest.meta))
    with pytest.raises(InputError, match=r"instances\.parquet: image .*; build the set again"):
        write_coco(wrong, tmp_path, workers=1, progress=None)
