"""Scored runs in FiftyOne have the values of their tables, and only on the set they are of."""

from __future__ import annotations

import copy
import shutil

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sbdata.app.dataset import load_set
from sbdata.app.info import field_name, info_of, note_info
from sbdata.app.run_folder import check_runs, read_run
from sbdata.app.runs import attach_run, check_fields, detach_runs, restore_masks, run_fields
from sbdata.errors import InputError
from sbdata.score.saved import check_saved_score
from sbdata.sets import open_set


@pytest.fixture
def loaded(fo, build_album, tmp_path):
    return load_set(build_album(), tmp_path / "masks")


def assert_attached(dataset, folder, name):
    """Compare with the tables, read here by hand."""
    rows = pq.read_table(folder / "instances.parquet").to_pylist()
    expected = {(row["image_id"], row["instance_id"]): row for row in rows}
    images = {r["image_id"]: r for r in pq.read_table(folder / "images.parquet").to_pylist()}
    for sample in dataset:
        image_id = sample["sbdata_image_id"]
        by_size = {"small": [], "medium": [], "large": []}
        for found in sample.instances.detections:
            row = expected.pop((image_id, found["index"]))
            for score in ("ia_iou", "tp", "fp", "outcome"):
                assert found[f"{score}_{name}"] == row[score]
            assert found[f"other_class_{name}"] == (row["other_class"] or None)
            by_size[row["size"]].append(row["ia_iou"])
        assert sample[f"ia_{name}"] == images[image_id]["mean_ia"]
        for size, values in by_size.items():
            mean = sample[f"ia_{size}_{name}"]
            assert mean == (pytest.approx(np.mean(values)) if values else None)
        assert sample[f"pixel_accuracy_{name}"] == images[image_id]["pixel_accuracy"]
        assert sample[f"orphan_pixels_{name}"] == images[image_id]["orphan_pixels"]
    assert not expected


def test_a_run_has_the_values_of_its_tables(loaded, score_album):
    folder = score_album(loaded.opened.root, "shifted", shift=2)
    assert attach_run(loaded.dataset, loaded.opened, read_run(folder)) == ()
    assert_attached(loaded.dataset, folder, "shifted")
    values = loaded.dataset.values("instances.detections.ia_iou_shifted", unwind=True)
    assert len(set(values)) > 3  # or the test could not fail
    assert len(set(loaded.dataset.values("instances.detections.outcome_shifted", unwind=True))) > 2
    fields = loaded.dataset.get_field_schema(flat=True)
    said = fields["instances.detections.fp_shifted"].description
    assert said == "False positives attributed to this object, in pixels, shifted"
    opened = loaded.opened
    for sample in loaded.dataset:
        truth = opened.class_map(sample["sbdata_image_id"])
        truth[truth == 255] = 0
        assert np.array_equal(sample.prediction_shifted.get_mask(), np.roll(truth, 2, axis=1))
    assert loaded.dataset.mask_targets["prediction_shifted"][2] == "dog"


def test_another_class_is_named(loaded, score_album):
    folder = score_album(loaded.opened.root, "swapped", swap=True)
    attach_run(loaded.dataset, loaded.opened, read_run(folder))
    assert_attached(loaded.dataset, folder, "swapped")
    fields = ["instances.detections.label", "instances.detections.other_class_swapped"]
    labels, others = loaded.dataset.values(fields, unwind=True)
    assert {(a, b) for a, b in zip(labels, others, strict=True) if a is not None} == {
        ("cat", "dog"),
        ("dog", "cat"),
    }
    outcomes = loaded.dataset.values("instances.detections.outcome_swapped", unwind=True)
    assert set(outcomes) - {None} == {"wrong_class"}


def test_an_image_without_objects_has_no_mean(loaded, score_album):
    attach_run(loaded.dataset, loaded.opened, read_run(score_album(loaded.opened.root, "all")))
    sample = loaded.dataset.match({"sbdata_image_id": "d"}).first()
    assert sample.ia_all is None
    assert sample.ia_small_all is None
    assert sample.pixel_accuracy_all == 1


def test_two_runs_stand_beside_each_other(loaded, score_album):
    folders = {
        name: score_album(loaded.opened.root, name, lost=lost)
        for name, lost in (("no.cat", 1), ("no-dog", 2))
    }
    for folder in folders.values():
        attach_run(loaded.dataset, loaded.opened, read_run(folder))
    assert_attached(loaded.dataset, folders["no.cat"], "no_cat")
    assert_attached(loaded.dataset, folders["no-dog"], "no_dog")
    runs = info_of(loaded.dataset)["runs"]
    assert list(runs) == ["no_cat", "no_dog"]
    assert runs["no_cat"]["title"] == "no.cat"
    assert runs["no_cat"]["folder"] == str(folders["no.cat"])
    assert runs["no_cat"]["values"]["ia_objects"] == 0.5
    assert runs["no_cat"]["values"]["ia"] > 0.5  # with background


def test_attaching_again_replaces(loaded, score_album, tmp_path):
    first = read_run(score_album(loaded.opened.root, "run"))
    attach_run(loaded.dataset, loaded.opened, first)
    fields = set(loaded.dataset.get_field_schema(flat=True))
    folder = score_album(loaded.opened.root, "run", lost=1, palette=True)
    attach_run(loaded.dataset, loaded.opened, read_run(folder))
    assert_attached(loaded.dataset, folder, "run")
    assert set(loaded.dataset.get_field_schema(flat=True)) == fields
    assert info_of(loaded.dataset)["runs"]["run"]["predictions_sha256"] != first.predictions_hash
    attach_run(loaded.dataset, loaded.opened, read_run(folder))
    assert len(list((tmp_path / "masks" / "sbdata-album").glob("prediction_run-*"))) == 1


def test_runs_stay_when_the_set_is_loaded_again(loaded, score_album, tmp_path):
    folder = score_album(loaded.opened.root, "run", shift=1)
    attach_run(loaded.dataset, loaded.opened, read_run(folder))
    again = load_set(loaded.opened.root, tmp_path / "masks")
    assert again.change == "same"
    assert_attached(again.dataset, folder, "run")


def test_palette_predictions_are_shown_by_their_numbers(loaded, score_album):
    attach_run(
        loaded.dataset, loaded.opened, read_run(score_album(loaded.opened.root, "p", palette=True))
    )
    for sample in loaded.dataset:
        truth = loaded.opened.class_map(sample["sbdata_image_id"])
        truth[truth == 255] = 0
        assert np.array_equal(sample.prediction_p.get_mask(), truth)


def test_missing_predictions_have_no_mask(loaded, score_album):
    folder = score_album(loaded.opened.root, "few", leave_out=("b",))
    assert attach_run(loaded.dataset, loaded.opened, read_run(folder)) == ()
    assert_attached(loaded.dataset, folder, "few")
    present = dict(zip(*loaded.dataset.values(["sbdata_image_id", "prediction_few"]), strict=True))
    assert [key for key, mask in present.items() if mask is None] == ["b"]


def test_detaching_leaves_no_trace(loaded, score_album, tmp_path):
    before = set(loaded.dataset.get_field_schema(flat=True))
    for name in ("one", "two"):
        attach_run(loaded.dataset, loaded.opened, read_run(score_album(loaded.opened.root, name)))
    assert detach_runs(loaded.dataset, ["two", "never"]) == ("two",)
    left = set(loaded.dataset.get_field_schema(flat=True))
    assert set(run_fields("one", ["small", "medium", "large"])) <= left
    assert not set(run_fields("two", ["small", "medium", "large"])) & left
    assert list(loaded.dataset.mask_targets) == ["ground_truth", "prediction_one"]
    assert detach_runs(loaded.dataset, ["one"]) == ("one",)
    assert set(loaded.dataset.get_field_schema(flat=True)) == before
    assert info_of(loaded.dataset)["runs"] == {}


@pytest.mark.parametrize("place", ["same", "other"])
def test_masks_that_were_lost_are_restored(loaded, score_album, tmp_path, place):
    masks = tmp_path / "masks"
    folder = score_album(loaded.opened.root, "run", shift=1, palette=True)
    attach_run(loaded.dataset, loaded.opened, read_run(folder))
    expected = [label.get_mask() for label in loaded.dataset.values("prediction_run")]
    assert restore_masks(loaded.dataset, loaded.opened) == ()
    shutil.rmtree(masks)
    again = load_set(loaded.opened.root, masks if place == "same" else tmp_path / "other")
    assert restore_masks(again.dataset, again.opened) == ()
    found = [label.get_mask() for label in again.dataset.values("prediction_run")]
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    shutil.rmtree(tmp_path / ("masks" if place == "same" else "other"))
    shutil.rmtree(folder)
    again = load_set(loaded.opened.root, masks)
    (note,) = restore_masks(again.dataset, again.opened)
    assert "its masks are gone" in note


# --- what is wrong --------------------------------------------------------------------------------


def test_scores_of_another_set_are_refused(loaded, build_album, score_album):
    other = build_album("other", {"a": [(1, 0, 0, 3)]}, "other")
    run = read_run(score_album(other, "theirs"))
    with pytest.raises(InputError, match=r"scores of other .* not of .*album") as caught:
        attach_run(loaded.dataset, loaded.opened, run)
    assert "sbdata score PRED --set" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert info_of(loaded.dataset)["runs"] == {}


def test_scores_of_a_former_content_are_refused(loaded, build_album, score_album):
    run = read_run(score_album(loaded.opened.root, "old"))
    changed = build_album("second", {"a": [(1, 0, 0, 3)]})
    with pytest.raises(InputError, match="scores of another album"):
        check_saved_score(run, open_set(changed))


def test_a_set_that_changed_since_it_was_loaded(loaded, build_album, score_album):
    shutil.rmtree(loaded.opened.root)
    root = build_album(squares={"a": [(1, 0, 0, 3)]})
    with pytest.raises(InputError, match="was changed after it was loaded"):
        attach_run(loaded.dataset, open_set(root), read_run(score_album(root, "new")))


def test_rows_that_are_not_the_sets(loaded, score_album):
    folder = score_album(loaded.opened.root, "cut")
    table = pq.read_table(folder / "instances.parquet")
    pq.write_table(table.slice(1), folder / "instances.parquet")
    with pytest.raises(InputError, match="not match the set's objects"):
        check_saved_score(read_run(folder), loaded.opened)


@pytest.mark.parametrize("column", ["area", "instance_id"])
def test_objects_of_other_areas_or_numbers_are_not_the_sets(loaded, score_album, column):
    folder = score_album(loaded.opened.root, "changed")
    table = pq.read_table(folder / "instances.parquet")
    values = table[column].to_pylist()
    place = table.schema.get_field_index(column)
    changed = pa.array([values[0] + 50, *values[1:]], table.schema.field(column).type)
    table = table.set_column(place, table.schema.field(column), changed)
    pq.write_table(table, folder / "instances.parquet")
    with pytest.raises(InputError, match="not match the set's objects"):
        check_saved_score(read_run(folder), loaded.opened)


# --- other versions of the metric -----------------------------------------------------------------


def of_version_1(folder):
    """Make a result look as version 1 of the metric and of the layout wrote it."""
    summary = orjson.loads((folder / "summary.json").read_bytes())
    summary |= {"version": 1, "metric": "ia_iou.v1"}
    del summary["outcomes"], summary["ia"]["ia_objects"]
    (folder / "summary.json").write_bytes(orjson.dumps(summary))
    for name in ("instances", "images"):
        path = folder / f"{name}.parquet"
        table = pq.read_table(path)
        gone = [c for c in ("outcome", "other_class", "met_regions") if c in table.column_names]
        header = orjson.loads(table.schema.metadata[b"sbdata"]) | {"metric": "ia_iou.v1"}
        table = table.drop_columns(gone).replace_schema_metadata({b"sbdata": orjson.dumps(header)})
        pq.write_table(table, path)
    return folder


def test_a_result_of_version_1_is_refused_with_one_sentence(loaded, score_album):
    folder = of_version_1(score_album(loaded.opened.root, "old"))
    with pytest.raises(InputError, match=r"was scored with ia_iou\.v1 \(layout 1\)") as caught:
        read_run(folder)
    assert "not comparable with ia_iou.v2 (layout 2)" in str(caught.value)
    assert "score the predictions again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_of_version_1_in_a_result_of_version_2_is_refused(loaded, score_album, tmp_path):
    folder = score_album(loaded.opened.root, "mixed")
    old = of_version_1(shutil.copytree(folder, tmp_path / "old"))
    shutil.copy(old / "images.parquet", folder / "images.parquet")
    with pytest.raises(InputError, match=r"images\.parquet is not a table of ia_iou\.v2"):
        read_run(folder)


def test_an_attached_run_of_version_1_is_taken_out_as_the_set_is_loaded(
    loaded, score_album, tmp_path
):
    for name in ("old", "new"):
        attach_run(loaded.dataset, loaded.opened, read_run(score_album(loaded.opened.root, name)))
    runs = copy.deepcopy(info_of(loaded.dataset)["runs"])
    for added in ("metric", "options", "resamples", "seed"):  # that version 1 did not note
        del runs["old"][added]
    note_info(loaded.dataset, runs=runs)
    third = read_run(score_album(loaded.opened.root, "third"))
    with pytest.raises(InputError, match=r"old with ia_iou\.v1") as caught:
        attach_run(loaded.dataset, loaded.opened, third)
    assert "\n" not in str(caught.value)
    again = load_set(loaded.opened.root, tmp_path / "masks")
    assert again.outdated == ("old",)
    assert list(info_of(again.dataset)["runs"]) == ["new"]
    assert not set(run_fields("old", ["small", "medium", "large"])) & set(
        again.dataset.get_field_schema(flat=True)
    )
    assert load_set(loaded.opened.root, tmp_path / "masks").outdated == ()
    assert attach_run(again.dataset, again.opened, third) == ()


def test_runs_that_were_scored_with_other_options_are_refused(loaded, score_album):
    root = loaded.opened.root
    first = read_run(score_album(root, "first"))
    for option, value, said in (
        ("fp_attribution", "area", "with fp_attribution area, but the attached first with overlap"),
        ("rounding", "exact", "with rounding exact, but the attached first with floor"),
    ):
        other = read_run(score_album(root, option, **{option: value}))
        with pytest.raises(InputError, match=said) as caught:
            check_runs([first, other])
        assert "\n" not in str(caught.value)
        check_runs([other])
        attach_run(loaded.dataset, loaded.opened, first)
        with pytest.raises(InputError, match=said):
            attach_run(loaded.dataset, loaded.opened, other)
    assert list(info_of(loaded.dataset)["runs"]) == ["first"]
    again = read_run(score_album(root, "first", fp_attribution="equal"))  # in its own place
    attach_run(loaded.dataset, loaded.opened, again)
    assert info_of(loaded.dataset)["runs"]["first"]["options"]["fp_attribution"] == "equal"


def test_a_run_whose_values_were_replaced_in_part_is_taken_out(
    loaded, score_album, tmp_path, monkeypatch
):
    root = loaded.opened.root
    attach_run(loaded.dataset, loaded.opened, read_run(score_album(root, "run")))
    changed = read_run(score_album(root, "run", shift=3))

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sbdata.app.runs._attach_images", fail)
    with pytest.raises(KeyboardInterrupt):
        attach_run(loaded.dataset, loaded.opened, changed)
    assert load_set(root, tmp_path / "masks").outdated == ("run",)


def test_predictions_that_moved_are_said_and_scores_are_kept(loaded, score_album, tmp_path):
    folder = score_album(loaded.opened.root, "gone")
    shutil.rmtree(tmp_path / "predictions")
    (note,) = attach_run(loaded.dataset, loaded.opened, read_run(folder))
    assert "its predictions are no longer in" in note
    assert_attached(loaded.dataset, folder, "gone")
    assert loaded.dataset.values("prediction_gone") == [None] * 4


def test_predictions_that_another_file_explains_are_not_shown(loaded, score_album):
    folder = score_album(loaded.opened.root, "told")
    summary = folder / "summary.json"
    content = orjson.loads(summary.read_bytes())
    content["provenance"]["options"]["palette"] = "mine.txt"
    summary.write_bytes(orjson.dumps(content))
    (note,) = attach_run(loaded.dataset, loaded.opened, read_run(folder))
    assert "its predictions were decoded through a palette" in note
    assert loaded.dataset.values("prediction_told") == [None] * 4
    content["provenance"]["predictions"][0]["folder"] = "results.json"
    summary.write_bytes(orjson.dumps(content))
    (note,) = attach_run(loaded.dataset, loaded.opened, read_run(folder))
    assert "its predictions are a JSON file, results.json" in note


@pytest.mark.parametrize("how", ["other", "smaller", "deleted"])
def test_predictions_that_are_not_those_scored_are_not_shown(loaded, score_album, tmp_path, how):
    folder = score_album(loaded.opened.root, "edited")
    path = tmp_path / "predictions" / "edited" / "b.png"
    if how == "deleted":
        path.unlink()
    else:
        Image.new("L", (30, 26) if how == "other" else (3, 3)).save(path)
    (note,) = attach_run(loaded.dataset, loaded.opened, read_run(folder))
    assert "scored" in note
    assert loaded.dataset.values("prediction_edited") == [None] * 4


def test_predictions_named_relative_to_a_folder_above_the_result_are_found(
    loaded, score_album, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = score_album(loaded.opened.root, "run")
    summary = (folder / "summary.json").read_text().replace(f'"{tmp_path}/predictions', '"predic')
    (folder / "summary.json").write_text(summary.replace('"predic/', '"predictions/'))
    monkeypatch.chdir("/")
    assert read_run(folder).predictions == tmp_path / "predictions" / "run"


def test_two_runs_of_one_name_are_refused(loaded, score_album, tmp_path):
    run = read_run(score_album(loaded.opened.root, "run"))
    shutil.copytree(run.folder, tmp_path / "copy")
    other = read_run(tmp_path / "copy")
    check_runs([run, run])
    with pytest.raises(InputError, match="both would be called 'run'"):
        check_runs([run, other])
    attach_run(loaded.dataset, loaded.opened, run)
    with pytest.raises(InputError, match="is attached from"):
        attach_run(loaded.dataset, loaded.opened, other)
    shutil.rmtree(run.folder)  # it was moved, rather
    attach_run(loaded.dataset, loaded.opened, other)


def test_runs_that_would_have_one_field_are_refused(loaded, score_album):
    sizes = loaded.opened.bins.names
    check_fields("cam", ["cam", "cam_small", "tiny_cam"], sizes)
    attach_run(loaded.dataset, loaded.opened, read_run(score_album(loaded.opened.root, "cam")))
    before = loaded.dataset.values("ia_small_cam")
    other = read_run(score_album(loaded.opened.root, "small-cam", shift=2))
    with pytest.raises(InputError, match="'small_cam' and 'cam' would both have the field 'ia_sma"):
        attach_run(loaded.dataset, loaded.opened, other)
    assert loaded.dataset.values("ia_small_cam") == before


def test_objects_and_images_that_a_user_added_have_no_score(fo, loaded, score_album):
    sample = loaded.dataset.match({"sbdata_image_id": "d"}).first()
    sample.instances.detections.append(fo.Detection(label="cat", bounding_box=[0, 0, 0.5, 0.5]))
    sample.save()
    drawn = fo.Detections(detections=[fo.Detection(label="dog", bounding_box=[0, 0, 1, 1])])
    loaded.dataset.add_sample(fo.Sample(filepath="/added.jpg", instances=drawn))
    folder = score_album(loaded.opened.root, "run", shift=2)
    attach_run(loaded.dataset, loaded.opened, read_run(folder))
    scores = loaded.dataset.values("instances.detections.ia_iou_run")
    assert scores[-2:] == [[None], [None]]
    assert None not in [value for of_image in scores[:-2] for value in of_image]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("absent", "no such folder"),
        ("no summary", r"no summary\.json"),
        ("bad summary", "not a readable result"),
        ("other summary", "not a readable result"),
        ("bad table", "not a readable result"),
    ],
)
def test_a_folder_that_is_no_result(loaded, score_album, damage, said):
    folder = score_album(loaded.opened.root, "bad")
    if damage == "absent":
        shutil.rmtree(folder)
    elif damage == "no summary":
        (folder / "summary.json").unlink()
    elif damage == "bad summary":
        (folder / "summary.json").write_text("{")
    elif damage == "other summary":
        (folder / "summary.json").write_text('{"name": "bad"}')
    else:
        (folder / "instances.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=said) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)


def test_names_become_fields():
    assert field_name("a.b-c d") == "a_b_c_d"
    assert field_name("_é_") == "unnamed"
