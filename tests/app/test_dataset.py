"""A set in FiftyOne is what its manifest says, and stays one dataset however often it is loaded."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from sbdata.app.dataset import load_set
from sbdata.app.info import bins_of, info_of
from sbdata.app.run_folder import read_run
from sbdata.app.runs import attach_run
from sbdata.errors import InputError
from sbdata.masks import decode_mask
from sbdata.sets import open_set

HEIGHT, WIDTH = 26, 30


@pytest.fixture
def masks(tmp_path):
    return tmp_path / "masks"


def changed_squares():
    """One image gone, one new, one with other objects, one as it was."""
    return {
        "a": [(1, 1, 1, 2), (2, 1, 6, 3), (1, 8, 8, 9)],
        "c": [(2, 4, 4, 12), (1, 20, 20, 3)],
        "d": [],
        "e": [(1, 3, 3, 4)],
    }


def assert_equals_manifest(dataset, root):
    opened = open_set(root)
    assert sorted(dataset.values("sbdata_image_id")) == list(opened)
    rows = {(r["image_id"], r["instance_id"]): r for r in opened.manifest.instances.to_pylist()}
    images = {r["image_id"]: r for r in opened.manifest.images.to_pylist()}
    assert dataset.count("instances.detections") == len(rows)
    for sample in dataset:
        image_id = sample["sbdata_image_id"]
        assert sample.filepath == str(opened.image_path(image_id))
        assert (sample.metadata.width, sample.metadata.height) == (WIDTH, HEIGHT)
        for name in ("split", "source", "url", "license", "n_small", "n_medium", "n_large"):
            assert sample[name] == images[image_id][name]
        assert np.array_equal(sample.ground_truth.get_mask(), opened.class_map(image_id))
        for found in sample.instances.detections:
            row = rows.pop((image_id, found["index"]))
            assert found.label == row["class_name"]
            for name in ("area", "area_fraction", "size", "source"):
                assert found[name] == row[name]
            x, y, w, h = found.bounding_box
            drawn = np.zeros((HEIGHT, WIDTH), bool)
            left, top = round(x * WIDTH), round(y * HEIGHT)
            drawn[top : top + round(h * HEIGHT), left : left + round(w * WIDTH)] = found.mask
            assert np.array_equal(drawn, decode_mask(row["rle"], HEIGHT, WIDTH))
    assert not rows


def test_a_set_is_what_its_manifest_says(fo, build_album, masks):
    root = build_album()
    loaded = load_set(root, masks)
    assert (loaded.change, loaded.detached) == ("new", ())
    assert loaded.dataset.name == "sbdata-album"
    assert loaded.dataset.persistent
    assert_equals_manifest(loaded.dataset, root)
    assert loaded.dataset.match({"sbdata_image_id": "d"}).first().instances.detections == []
    info = info_of(loaded.dataset)
    assert info["logical_hash"] == open_set(root).logical_hash
    assert info["root"] == str(root)
    assert info["bins"] == {"edges": [16, 64], "names": ["small", "medium", "large"]}
    assert bins_of(info) == bins_of({**info, "bins": {"small": 16, "medium": 64}})  # as of 0.2.0
    assert info["sizes"] == ["small", "medium", "large"]
    assert info["runs"] == {}
    assert loaded.dataset.mask_targets["ground_truth"] == {
        0: "background", 1: "cat", 2: "dog", 255: "void",
    }  # fmt: skip


def test_loading_again_changes_nothing(fo, build_album, masks):
    root = build_album()
    first = load_set(root, masks).dataset
    before = first.values(["id", "instances.detections.id", "last_modified_at"])
    again = load_set(root, masks)
    assert again.change == "same"
    assert again.dataset.values(["id", "instances.detections.id", "last_modified_at"]) == before
    assert fo.list_datasets() == ["sbdata-album"]


def test_a_changed_set_is_noticed_and_brought_up_to_date(fo, build_album, score_album, masks):
    root = build_album()
    first = load_set(root, masks)
    attach_run(first.dataset, first.opened, read_run(score_album(root, "all")))
    sample = first.dataset.match({"sbdata_image_id": "c"}).first()
    sample.tags.append("mine")
    sample.save()
    first.dataset.save_view("mine", first.dataset.limit(1))
    ids = dict(zip(*first.dataset.values(["sbdata_image_id", "id"]), strict=True))
    shutil.rmtree(root)
    build_album(squares=changed_squares())
    again = load_set(root, masks)
    assert (again.change, again.detached) == ("changed", ("all",))
    assert_equals_manifest(again.dataset, root)
    new_ids = dict(zip(*again.dataset.values(["sbdata_image_id", "id"]), strict=True))
    assert all(new_ids[image_id] == ids[image_id] for image_id in ("a", "c", "d"))
    assert again.dataset.match_tags("mine").values("sbdata_image_id") == ["c"]
    assert again.dataset.list_saved_views() == ["mine"]
    assert not any("_all" in field for field in again.dataset.get_field_schema(flat=True))
    assert load_set(root, masks).change == "same"
    kept = [folder.name for folder in (masks / "sbdata-album").iterdir()]
    assert kept == [f"ground_truth-{again.opened.logical_hash[:16]}"]


def test_a_load_that_was_cut_short_is_finished(fo, build_album, masks):
    root = build_album()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_set(root, masks, progress=stop)
    dataset = fo.load_dataset("sbdata-album")
    dataset.delete_samples(dataset.take(2, seed=0))
    loaded = load_set(root, masks)
    assert loaded.change == "changed"
    assert_equals_manifest(loaded.dataset, root)


def test_samples_that_were_deleted_in_the_app_come_back(fo, build_album, masks):
    root = build_album()
    dataset = load_set(root, masks).dataset
    dataset.delete_samples(dataset.limit(1))
    assert_equals_manifest(load_set(root, masks).dataset, root)


def test_images_that_a_user_added_are_kept_and_change_nothing(fo, build_album, score_album, masks):
    root = build_album()
    first = load_set(root, masks)
    attach_run(first.dataset, first.opened, read_run(score_album(root, "all")))
    for name in ("/added.jpg", "/another.jpg"):
        first.dataset.add_sample(fo.Sample(filepath=name, tags=["mine"]))
    again = load_set(root, masks)
    assert (again.change, again.detached) == ("same", ())
    shutil.rmtree(root)
    build_album(squares=changed_squares())
    changed = load_set(root, masks)
    assert changed.change == "changed"
    added = changed.dataset.match_tags("mine")
    assert added.values("filepath") == ["/added.jpg", "/another.jpg"]
    assert len(changed.dataset) == len(changed.opened) + 2
    with pytest.raises(ValueError, match="duplicate key"):
        changed.dataset.add_sample(fo.Sample(filepath="/a.jpg", sbdata_image_id="a"))


def test_a_set_that_was_moved_is_found_again(fo, build_album, masks, tmp_path):
    root = build_album()
    ids = load_set(root, masks).dataset.values("id")
    moved = root.rename(tmp_path / "elsewhere")
    loaded = load_set(moved, masks)
    assert loaded.change == "moved"
    assert loaded.dataset.values("id") == ids
    assert_equals_manifest(loaded.dataset, moved)
    assert load_set(moved, masks).change == "same"


def test_lost_masks_are_written_again(fo, build_album, masks):
    root = build_album()
    load_set(root, masks)
    shutil.rmtree(masks)
    loaded = load_set(root, masks)
    assert_equals_manifest(loaded.dataset, root)
    masks = masks.rename(masks.with_name("other"))
    loaded = load_set(root, masks)
    assert_equals_manifest(loaded.dataset, root)


def test_fresh_forgets_tags(fo, build_album, masks):
    root = build_album()
    dataset = load_set(root, masks).dataset
    dataset.tag_samples("mine")
    loaded = load_set(root, masks, fresh=True)
    assert loaded.change == "new"
    assert loaded.dataset.count_sample_tags() == {}
    assert_equals_manifest(loaded.dataset, root)


def test_two_sets_are_two_datasets(fo, build_album, masks):
    one = load_set(build_album(), masks)
    two = load_set(build_album("other", changed_squares(), "other"), masks)
    assert fo.list_datasets() == ["sbdata-album", "sbdata-other"]
    assert_equals_manifest(one.dataset, one.opened.root)
    assert_equals_manifest(two.dataset, two.opened.root)


def test_a_set_without_any_object(fo, build_album, masks):
    root = build_album(squares={"a": [], "b": []})
    loaded = load_set(root, masks)
    assert_equals_manifest(loaded.dataset, root)
    assert "instances.detections.area" in loaded.dataset.get_field_schema(flat=True)


def test_objects_of_all_kinds_of_sizes_and_sources(fo, build_album, masks):
    root = build_album()
    dataset = load_set(root, masks).dataset
    rows = open_set(root).manifest.instances.to_pylist()
    for field, column in (("label", "class_name"), ("size", "size"), ("source", "source")):
        expected = Counter(row[column] for row in rows)
        assert dataset.count_values(f"instances.detections.{field}") == expected


@pytest.mark.parametrize("folder", ["JPEGImages", "SegmentationClass"])
def test_missing_files_are_named(fo, build_album, masks, folder):
    root = build_album()
    (gone,) = (root / folder).glob("b.*")
    gone.unlink()
    with pytest.raises(InputError, match=rf"1 of 4 files are missing, such as {gone.name}"):
        load_set(root, masks)
    assert fo.list_datasets() == []


def test_a_class_map_of_another_size_is_named(fo, build_album, masks):
    root = build_album()
    Image.new("L", (5, 5)).save(root / "SegmentationClass" / "b.png")
    with pytest.raises(InputError, match=r"b\.png: 5 x 5 pixels.*dataset verify"):
        load_set(root, masks)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_dataset_of_the_users_own_is_not_touched(fo, build_album, masks, fresh):
    root = build_album()
    theirs = fo.Dataset("sbdata-album", persistent=True)
    theirs.add_sample(fo.Sample(filepath="/theirs.jpg"))
    with pytest.raises(InputError, match="was not made by sbdata"):
        load_set(root, masks, fresh=fresh)
    assert fo.load_dataset("sbdata-album").values("filepath") == ["/theirs.jpg"]


def test_a_folder_that_is_no_set(fo, tmp_path, masks):
    with pytest.raises(InputError, match="no such folder"):
        load_set(tmp_path / "nothing", masks)
