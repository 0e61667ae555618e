"""The folder of a result: what is in it, and that it is there wholly or not at all."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from sbdata.errors import InputError
from sbdata.score.result import ScoreResult
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.score.write import check_place, problems_file, summary_as_dict, write_result
from tests.score.conftest import shifted, without_small


@pytest.fixture(scope="module")
def scored(dataset, tmp_path_factory) -> ScoreResult:
    folder = tmp_path_factory.mktemp("predictions")
    first = dataset.predict(folder / "mine", shifted)
    (first / "000000000100.png").unlink()
    other = dataset.predict(folder / "other", without_small)
    options = ScoreOptions(resamples=20, allow_missing=True)
    return score_folder(first, truth_from_set(dataset.manifest), options, against=[other])


def test_tables_have_a_row_for_everything(scored, tmp_path) -> None:
    folder = write_result(scored, tmp_path)
    assert folder == tmp_path / "mine"
    instances, regions, images = (
        pq.read_table(folder / f"{name}.parquet") for name in ("instances", "regions", "images")
    )
    assert instances.column_names == [
        "image_id", "instance_id", "class_id", "class_name", "area", "size", "tp", "fp", "ia_iou",
        "recall", "met_regions", "outcome", "other_class", "other_pixels",
    ]  # fmt: skip
    summary = scored.summary
    assert instances.num_rows == summary.ia["ia"].n_instances
    assert pc.mean(instances["ia_iou"]).as_py() == pytest.approx(summary.ia["ia"].instance_mean)
    by_size = instances.group_by("size").aggregate([("ia_iou", "mean")]).to_pylist()
    for row in by_size:
        assert row["ia_iou_mean"] == pytest.approx(summary.ia[f"ia_{row['size']}"].instance_mean)
    assert regions.num_rows == summary.region_precision["region_precision"].n
    assert images["image_id"].to_pylist() == sorted(images["image_id"].to_pylist())
    assert images.num_rows == 40
    assert pc.sum(images["n_instances"]).as_py() == instances.num_rows
    assert pc.sum(images["n_regions"]).as_py() == regions.num_rows
    assert pc.sum(images["orphan_pixels"]).as_py() == summary.orphans.pixels
    first = images.slice(0, 1).to_pylist()[0]
    assert (first["width"], first["height"], first["missing"]) == (170, 130, True)
    assert (first["n_regions"], first["mean_ia"]) == (0, 0)
    assert first["pixels"] == 170 * 128
    matched = sum(r["pixel_accuracy"] * r["pixels"] for r in images.to_pylist())
    assert matched / pc.sum(images["pixels"]).as_py() == pytest.approx(summary.pixel_accuracy)
    said = orjson.loads(instances.schema.metadata[b"sbdata"])
    assert (said["metric"], said["synthetic"]) == ("ia_iou.v2", True)


def test_the_confusion_has_a_row_for_each_pair_of_classes(scored, tmp_path) -> None:
    table = pq.read_table(write_result(scored, tmp_path) / "confusion.parquet")
    rows = {(row["true_id"], row["predicted_id"]): row for row in table.to_pylist()}
    classes = len(scored.taxonomy) + 1
    assert list(rows) == [(t, p) for t in range(classes) for p in range(classes)]
    assert rows[0, 8]["true_class"] == "background"
    assert rows[0, 8]["predicted_class"] == "cat"
    for (true, predicted), row in rows.items():
        assert row["pixels"] == scored.tables.confusion[true, predicted]
        of_class = scored.tables.confusion[true].sum()
        assert row["share"] == (row["pixels"] / of_class if of_class else None)
    assert table.schema.metadata == scored_metadata(tmp_path)


def scored_metadata(out: Path) -> object:
    return pq.read_schema(out / "mine" / "instances.parquet").metadata


def test_the_summary_says_everything(scored, tmp_path) -> None:
    folder = write_result(scored, tmp_path, lambda path: path.write_text("<html>") and None)
    said = json.loads((folder / "summary.json").read_text())
    assert said.pop("files") == [
        "confusion.parquet", "images.parquet", "instances.parquet", "regions.parquet",
        "report.html",
    ]  # fmt: skip
    assert said == json.loads(json.dumps(summary_as_dict(scored)))
    assert said["ia"]["ia_small"]["class_mean"]["value"] == scored.summary.ia["ia_small"].class_mean
    assert said["ia"]["ia_small"]["n_instances"] > 0
    interval = said["ia"]["ia_small"]["instance_mean"]["interval"]
    assert interval["low"] < said["ia"]["ia_small"]["instance_mean"]["value"] < interval["high"]
    assert said["miou"]["n_classes"] == 4
    assert len(said["miou"]["absent"]) == 17
    assert said["synthetic"] is True
    assert said["notes"][0].endswith("missing, counted as background")
    about = said["provenance"]
    assert about["options"] == {
        "fp_attribution": "overlap", "rounding": "floor", "predicted_void": False,
        "boundary": False, "decode_palette": False, "allow_missing": True,
    }  # fmt: skip
    assert (about["resamples"], about["seed"]) == (20, 0)
    assert len(about["truth"]["sha256"]) == 64
    assert [p["files"] for p in about["predictions"]] == [39, 40]
    (other,) = said["compared"]
    assert other["differences"]["miou"]["value"] == pytest.approx(
        said["miou"]["value"] - other["figures"]["miou"]
    )
    assert len(other["moved"]) == 50


def test_a_former_result_is_replaced_only_by_a_whole_one(scored, tmp_path) -> None:
    folder = write_result(scored, tmp_path, lambda path: path.write_text("first") and None)

    def broken(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(RuntimeError):
        write_result(scored, tmp_path, broken)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert problems_file(folder) == tmp_path / "mine.problems.csv"
    problems_file(folder).touch()  # of an attempt in between
    write_result(scored, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [
        "confusion.parquet", "images.parquet", "instances.parquet", "regions.parquet",
        "summary.json",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_a_kill_left_is_removed(scored, tmp_path) -> None:
    for name in (".mine.01234567.part", ".mine.former", ".mine.b.01234567.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").touch()
    (tmp_path / ".mine.lock").touch()  # nobody holds it
    write_result(scored, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.b.01234567.part", "mine"]


def test_nothing_of_the_users_is_lost(scored, tmp_path) -> None:
    folder = write_result(scored, tmp_path)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes.txt', which is not from an earlier result"):
        write_result(scored, tmp_path)
    assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "other").mkdir()
    for content in ("not JSON", '{"epochs": 20}', "[]", '{"files": ["summary.json"]}'):
        (tmp_path / "other" / "summary.json").write_text(content)  # of another tool
        with pytest.raises(InputError, match=r"holds 'summary.json', which is not from an earlier"):
            check_place(tmp_path, "other")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a folder"):
        check_place(tmp_path, "file")
    for name in ("../up", "a/b", "", ".hidden"):
        with pytest.raises(InputError, match="cannot name a result"):
            check_place(tmp_path, name)


def test_another_folder_of_the_same_name_replaces_nothing(scored, tmp_path) -> None:
    folder = write_result(scored, tmp_path)
    before = (folder / "summary.json").read_bytes()
    own = scored.predictions
    other = tmp_path / "elsewhere" / own.name
    other.mkdir(parents=True)
    foreign = replace(scored, predictions=other)
    for attempt in (
        lambda: check_place(tmp_path, scored.name, other),
        lambda: write_result(foreign, tmp_path),
    ):
        with pytest.raises(InputError, match=r"already holds the scores of .*--name or --out"):
            attempt()
    assert (folder / "summary.json").read_bytes() == before
    # the same folder, however it is named
    check_place(tmp_path, scored.name, own / ".." / own.name)
    (tmp_path / "link").symlink_to(own)
    check_place(tmp_path, scored.name, tmp_path / "link")
    # what an attempt with problems left is no result to keep
    (tmp_path / "tried").mkdir()
    (tmp_path / "tried" / "problems.csv").touch()
    check_place(tmp_path, "tried", other)


def test_a_full_disk_leaves_the_former_result(scored, tmp_path) -> None:
    folder = write_result(scored, tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match="the disk is full"):
        write_result(scored, tmp_path, full)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
