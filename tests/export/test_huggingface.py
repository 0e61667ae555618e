"""An export to the Hub's layout against the set's files, read by pyarrow and by datasets."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from sbdata.curate.build import rebuild_set
from sbdata.curate.inputs import Inputs
from sbdata.errors import InputError
from sbdata.export import huggingface
from sbdata.export.export_set import export_set
from sbdata.manifest import make_manifest
from sbdata.sets import EvaluationSet, open_set
from tests.export.sets import NAMES, classes_of, objects_of, with_columns


@pytest.fixture(scope="module")
def out(pets: EvaluationSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf") / "out"
    assert export_set(pets, "hf", folder) == []
    return folder


def rows_of(out: Path) -> dict[str, list[dict]]:
    tables = {p.name: pq.read_table(p).to_pylist() for p in sorted((out / "data").iterdir())}
    return {name.partition("-")[0]: rows for name, rows in tables.items()}


def test_photos_and_masks_keep_their_bytes(pets: EvaluationSet, out: Path) -> None:
    splits = dict(zip(*(pets.manifest.images[c].to_pylist() for c in ("image_id", "split"))))  # noqa: B905
    found = rows_of(out)
    assert sorted(found) == ["train", "val"]
    assert {r["image_id"]: s for s, rows in found.items() for r in rows} == splits
    for row in (row for rows in found.values() for row in rows):
        for column, folder in (
            ("image", "JPEGImages"),
            ("class_mask", "SegmentationClass"),
            ("instance_mask", "SegmentationObject"),
        ):
            (file,) = (pets.root / folder).glob(f"{row['image_id']}.*")
            assert row[column] == {"bytes": file.read_bytes(), "path": file.name}


def test_objects_are_those_of_the_masks(pets: EvaluationSet, out: Path) -> None:
    objects, classes = objects_of(pets.root), classes_of(pets.root)
    count = 0
    for row in (row for rows in rows_of(out).values() for row in rows):
        for one in row["objects"]:
            mask = objects[row["image_id"]] == one["instance_id"]
            ys, xs = np.nonzero(mask)
            assert one["area"] == mask.sum()
            assert one["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert set(classes[row["image_id"]][mask]) == {one["class"]}
            assert one["size"] == pets.bins.name_of(one["area"])
            count += 1
    assert count == pets.manifest.instances.num_rows


def test_the_card_names_files_terms_and_types(out: Path) -> None:
    text = (out / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    (config,) = front["configs"]
    for files in config["data_files"]:
        assert list(out.glob(files["path"]))
    names = [feature["name"] for feature in front["dataset_info"]["features"]]
    assert names == pq.read_schema(next((out / "data").iterdir())).names
    assert "| coco | Attribution License | 3 |" in text
    assert "SegmentationClass/" not in text
    assert (out / "size_distribution.svg").is_file()


def test_datasets_decodes_photos_and_masks(
    pets: EvaluationSet, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    found = datasets.load_dataset(str(out), cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in found.items()} == {"train": 4, "val": 2}
    objects, classes = objects_of(pets.root), classes_of(pets.root)
    for row in (row for split in found.values() for row in split):
        name = row["image_id"]
        assert np.array_equal(np.asarray(row["class_mask"]), classes[name])
        assert np.array_equal(np.asarray(row["instance_mask"]), objects[name])
        with Image.open(pets.image_path(name)) as photo:
            assert np.array_equal(np.asarray(row["image"]), np.asarray(photo))
        assert sorted(one["instance_id"] for one in row["objects"]) == sorted(
            set(np.unique(objects[name]).tolist()) - {0, 255}
        )
    features = found["val"].features
    assert features["objects"].feature["class"].names == ["background", *NAMES]
    front = yaml.safe_load((out / "README.md").read_text().split("---")[1])
    assert features._to_yaml_list() == front["dataset_info"]["features"]


def test_large_sets_are_cut_into_files(
    pets: EvaluationSet, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = max(huggingface._bytes_of(pets, image_id) for image_id in pets)
    monkeypatch.setattr(huggingface, "_SHARD", 2 * largest)
    export_set(pets, "hf", tmp_path / "out")
    names = sorted(p.name for p in (tmp_path / "out/data").iterdir())
    assert names == [
        "train-00000-of-00002.parquet", "train-00001-of-00002.parquet",
        "val-00000-of-00001.parquet",
    ]  # fmt: skip
    pieces = [pq.read_table(tmp_path / "out/data" / name) for name in names]
    whole = [pq.read_table(p) for p in sorted((out / "data").iterdir())]
    assert [r for t in pieces for r in t.to_pylist()] == [r for t in whole for r in t.to_pylist()]


def test_parts_are_bounded_by_bytes_and_rows() -> None:
    cut = huggingface._parts
    assert list(cut([5, 5, 5, 20, 1], 10, 9)) == [
        slice(0, 2),
        slice(2, 3),
        slice(3, 4),
        slice(4, 5),
    ]
    assert list(cut([1, 1, 1], 10, 2)) == [slice(0, 2), slice(2, 3)]
    assert list(cut([], 10, 2)) == []


def test_the_set_is_built_again_from_its_manifest(one_split: Path, tmp_path: Path) -> None:
    export_set(open_set(one_split), "hf", tmp_path / "out")
    inputs = Inputs(roots={"coco": one_split.parent / "coco"})
    again = rebuild_set(tmp_path / "out/manifest", tmp_path / "again", inputs)
    assert again.manifest.logical_hash == open_set(one_split).logical_hash


@pytest.mark.parametrize("split", ["val-small", "all", "val."])
def test_a_split_that_datasets_cannot_name(one_split: Path, tmp_path: Path, split: str) -> None:
    root = with_columns(one_split, tmp_path / "set", split=[split] * 6)
    with pytest.raises(InputError, match=rf"images\.parquet: a split called '{split}', and datas"):
        export_set(open_set(root), "hf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_set_without_a_recipe_has_no_card(pets: EvaluationSet, tmp_path: Path) -> None:
    of = pets.manifest
    bare = make_manifest(
        "bare", of.images, of.instances, of.taxonomy, of.bins, {"synthetic": False}
    )
    with pytest.raises(InputError, match=r"images\.parquet: its header is invalid .*recipe"):
        export_set(EvaluationSet(pets.root, bare), "hf", tmp_path / "out")


def test_a_png_in_a_row_opens_by_itself(out: Path) -> None:
    row = rows_of(out)["val"][0]
    with Image.open(io.BytesIO(row["class_mask"]["bytes"])) as image:
        assert image.mode == "P"
