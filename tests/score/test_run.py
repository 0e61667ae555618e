"""Scoring a folder: laws, equal truths, comparisons, and that workers change nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.mask_files import voc_palette
from sbdata.score.api import score
from sbdata.score.inputs import ProblemsError
from sbdata.score.run import ScoreOptions, loader_of, score_folder
from sbdata.score.truth import (
    GroundTruth,
    truth_from_coco,
    truth_from_masks,
    truth_from_set,
    truth_from_voc,
)
from sbdata.sizes import SizeBins
from sbdata.taxonomy import VOC20
from tests.reference import ia_iou
from tests.score.conftest import HEIGHT, WIDTH, Dataset, save, shifted, without_small

FEW = ScoreOptions(resamples=20)


@pytest.fixture(scope="module")
def truth(dataset: Dataset) -> GroundTruth:
    return truth_from_set(dataset.manifest)


def rows(scored) -> list[tuple]:
    tables = scored.tables
    return [
        (tables.image_ids[i], *row)
        for i, row in zip(tables.instance_image, tables.instances.tolist(), strict=True)
    ]


def test_the_truth_itself_scores_one_everywhere(dataset, truth, tmp_path) -> None:
    scored = score_folder(dataset.predict(tmp_path / "p"), truth, FEW)
    found = {k: v for k, v in scored.summary.headline().items() if v is not None}
    assert len(found) == 16
    assert set(found.values()) == {1.0}
    assert scored.summary.orphans.regions == 0
    assert all((i.low, i.high) == (1, 1) for i in scored.intervals.values() if i)
    assert scored.synthetic
    assert not scored.notes


def test_erased_small_instances_are_all_that_is_lost(dataset, truth, tmp_path) -> None:
    scored = score_folder(dataset.predict(tmp_path / "p", without_small), truth, FEW)
    ia = scored.summary.ia
    assert ia["ia_small"].class_mean == ia["ia_small"].instance_mean == 0
    assert ia["ia_small"].n_instances > 10
    assert ia["ia_large"].class_mean == ia["ia_large"].instance_mean == 1
    assert 0.9 < scored.summary.miou < 1


def test_rows_are_what_the_brute_force_gives(dataset, truth, tmp_path) -> None:
    scored = score_folder(dataset.predict(tmp_path / "p", shifted), truth, FEW)
    found = {row[:2]: row for row in rows(scored)}
    assert len(found) == len(rows(scored)) == scored.summary.ia["ia"].n_instances
    for image_id, one in list(dataset.scenes.items())[:2]:
        numbers = [k for k in np.unique(one.objects).tolist() if 0 < k < 255]
        classes = {k: int(one.classes[one.objects == k][0]) for k in numbers}
        want = ia_iou.score(shifted(one), one.classes, one.objects, classes, 20)
        for number, row in want["instances"].items():
            _, _, class_id, area, tp, fp, met, *_ = found.pop((image_id, number))
            assert (class_id, area, tp, met) == tuple(
                row[k] for k in ("class_id", "area", "tp", "met_regions")
            )
            assert fp == pytest.approx(float(row["fp"]), rel=1e-12)
    confusion = np.zeros((21, 21), int)
    for one in dataset.scenes.values():
        counted = one.classes != 255
        np.add.at(confusion, (one.classes[counted], shifted(one)[counted]), 1)
    assert (scored.tables.confusion == confusion).all()


def test_truth_of_every_kind_gives_the_same_rows(dataset, truth, tmp_path) -> None:
    folder = dataset.predict(tmp_path / "p", shifted)
    want = score_folder(folder, truth, FEW)
    others = [
        truth_from_voc(dataset.devkit),
        truth_from_masks(dataset.class_masks, dataset.instance_masks),
        truth_from_coco(dataset.coco, "voc20"),
    ]
    for other in others:
        got = score_folder(folder, other, FEW)
        assert rows(got) == rows(want), other.kind
        assert got.summary == want.summary
        assert got.intervals == want.intervals
        assert not got.synthetic
    digests = {score_folder(folder, t, FEW).provenance["truth"]["sha256"] for t in others[:2]}
    assert len(digests) == 1  # the same files


def test_classes_of_a_coco_file(dataset, tmp_path) -> None:
    own = truth_from_coco(dataset.coco, "own")
    assert own.taxonomy.classes == ("person", "cat", "dog")  # by category id
    number = {8: 2, 12: 3, 15: 1}
    folder = dataset.predict(
        tmp_path / "p", lambda one: np.vectorize(lambda c: number.get(c, 0))(one.perfect)
    )
    assert score_folder(folder, own, FEW).summary.miou == 1
    assert truth_from_coco(dataset.coco).taxonomy.name == "coco80"
    with pytest.raises(InputError, match="none of its categories is in taxonomy shapes8"):
        truth_from_coco(dataset.coco, "shapes8")


def test_predictions_of_other_classes_are_refused_by_their_record(dataset, truth, tmp_path) -> None:
    """``sbdata predict`` wrote them; numbers alone cannot tell whose classes they are."""
    folder = dataset.predict(tmp_path / "p")
    record = folder / ".made-by.json"
    names = list(truth.taxonomy.classes)
    for accepted in ([name.title() for name in names], [], None, "cat"):
        record.write_text(json.dumps({"classes": accepted}))
        score_folder(folder, truth, FEW)
    for others in (["cat", "dog"], names[::-1], [*names, "fox"]):
        record.write_text(json.dumps({"classes": others}))
        said = rf"p: masks of {len(others)} classes .*made-by.json, but the truth has 20 .aeroplane"
        with pytest.raises(InputError, match=said):
            score_folder(folder, truth, FEW)


def test_components_stand_in_for_instances_and_the_notes_say_so(dataset, tmp_path) -> None:
    truth = truth_from_masks(dataset.class_masks, None)
    scored = score_folder(dataset.predict(tmp_path / "p"), truth, FEW)
    assert scored.summary.ia["ia"].class_mean == 1
    assert "each 8-connected component of a class counts as one" in scored.notes[0]


def test_pixels_of_no_instance_count_for_miou_and_are_said(dataset, tmp_path) -> None:
    masks = tmp_path / "objects"
    for k, (image_id, one) in enumerate(dataset.scenes.items()):
        objects = one.objects.copy()
        if k == 1:
            objects[objects == 1] = 0
        save(masks / f"{image_id}.png", objects)
    truth = truth_from_masks(dataset.class_masks, masks)
    scored = score_folder(dataset.predict(tmp_path / "p"), truth, FEW)
    whole = score_folder(tmp_path / "p", truth_from_voc(dataset.devkit), FEW)
    assert (scored.tables.confusion == whole.tables.confusion).all()
    second = list(dataset.scenes.values())[1]
    n = int((second.objects == 1).sum())
    assert scored.notes == (
        f"{n:,} pixels in 1 image have a class but belong to no instance; mIoU counts "
        "them, IA does not",
    )
    assert scored.summary.ia["ia"].class_mean == 1


def test_sixteen_bit_instance_numbers(dataset, tmp_path) -> None:
    from PIL import Image

    for image_id, one in dataset.scenes.items():
        objects = one.objects.astype(np.uint16) * 200
        objects[one.objects == 255] = 0
        path = tmp_path / "objects" / f"{image_id}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(objects).save(path)
    folder = dataset.predict(tmp_path / "p", shifted)
    wide = score_folder(folder, truth_from_masks(dataset.class_masks, tmp_path / "objects"), FEW)
    want = score_folder(folder, truth_from_voc(dataset.devkit), FEW)
    assert wide.summary == want.summary
    assert {row[1] for row in rows(wide)} == {200, 400, 600, 800}


def test_void_in_one_map_counts_nowhere_and_is_said(dataset, tmp_path) -> None:
    masks = tmp_path / "objects"
    some = next(iter(dataset.scenes))
    for image_id, one in dataset.scenes.items():
        objects = one.objects.copy()
        if image_id == some:
            objects[10:20, :50] = 255
        save(masks / f"{image_id}.png", objects)
    folder = dataset.predict(tmp_path / "p", shifted)
    scored = score_folder(folder, truth_from_masks(dataset.class_masks, masks), FEW)
    assert scored.notes == (
        "500 pixels in 1 image are void in only one of the class and instance masks; they count "
        "nowhere",
    )
    whole = score_folder(folder, truth_from_voc(dataset.devkit), FEW)
    assert whole.tables.confusion.sum() - scored.tables.confusion.sum() == 500


def test_comparison_is_first_minus_second(dataset, truth, tmp_path) -> None:
    perfect = dataset.predict(tmp_path / "perfect")
    worse = dataset.predict(tmp_path / "worse", without_small)
    scored = score_folder(perfect, truth, FEW, against=[worse, perfect])
    loss, none = scored.compared
    alone = score_folder(worse, truth, FEW)
    assert loss.figures == alone.summary.headline()
    difference = loss.differences["ia_small.class_mean"]
    assert (difference.value, difference.sign_change) == (1, 0)
    assert (difference.interval.low, difference.interval.high) == (1, 1)
    assert loss.differences["ia_large.class_mean"].value == 0
    assert {m.size for m in loss.moved} == {"small"}
    assert all((m.first, m.second) == (1, 0) for m in loss.moved)
    assert none.name == "perfect" or str(perfect) in none.name
    assert none.differences["miou"].sign_change == 1
    assert none.moved == ()


def test_moved_instances_come_by_falling_change(dataset, truth, tmp_path) -> None:
    scored = score_folder(
        dataset.predict(tmp_path / "p"),
        truth,
        FEW,
        against=[dataset.predict(tmp_path / "q", shifted)],
    )
    (other,) = scored.compared
    changes = [abs(m.second - m.first) for m in other.moved]
    assert changes == sorted(changes, reverse=True)
    assert len(changes) == 50
    values = score_folder(tmp_path / "q", truth, FEW).tables.instance_columns(
        truth.bins, truth.taxonomy.classes
    )
    assert max(changes) == 1 - values["ia_iou"].min()


def test_without_resamples_there_are_no_intervals(dataset, truth, tmp_path) -> None:
    folder = dataset.predict(tmp_path / "p", shifted)
    none = ScoreOptions(resamples=0)
    scored = score_folder(folder, truth, none, against=[dataset.predict(tmp_path / "q")])
    assert set(scored.intervals.values()) == {None}
    difference = scored.compared[0].differences["miou"]
    assert difference.value == pytest.approx(scored.summary.miou - 1)
    assert difference.interval is difference.sign_change is None


def test_options_reach_the_metric(dataset, truth, tmp_path) -> None:
    folder = dataset.predict(tmp_path / "p", shifted)
    scored = {
        way: score_folder(
            folder, truth, ScoreOptions(fp_attribution=way, rounding="exact", resamples=0)
        )
        for way in ("overlap", "area", "equal", "all")
    }
    assert len({s.summary.ia["ia"].instance_mean for s in scored.values()}) == 4
    assert scored["all"].provenance["options"]["rounding"] == "exact"
    bins = SizeBins((400, 5000))
    other = score_folder(folder, truth, ScoreOptions(bins=bins, resamples=0))
    assert other.bins == bins
    assert other.summary.ia["ia"] == score_folder(folder, truth, FEW).summary.ia["ia"]
    assert "divided at 400, 5,000 pixels as asked, not at 1,024, 9,216" in other.notes[0]


def test_terciles_are_those_of_the_truth_for_every_prediction(dataset, tmp_path) -> None:
    truth = truth_from_set(dataset.manifest)
    folder, other = dataset.predict(tmp_path / "p", shifted), dataset.predict(tmp_path / "q")
    options = ScoreOptions(bins="terciles", resamples=0)
    found = [score_folder(one, truth, options, against=[folder]) for one in (folder, other)]
    areas = sorted(found[0].tables.instances["area"].tolist())
    third = [areas[-(-k * len(areas) // 3) - 1] + 1 for k in (1, 2)]
    assert [one.bins for one in found] == [SizeBins(tuple(third))] * 2
    edges = f"{third[0]:,}, {third[1]:,}"
    assert f"the terciles of the areas of this truth's instances, divided at {edges}" in str(
        found[0].notes
    )
    assert found[0].provenance["options"]["bins"] == "terciles"
    sizes = [found[1].summary.ia[f"ia_{name}"].n_instances for name in found[1].bins.names]
    assert sum(sizes) == len(areas)
    assert min(sizes) > 0
    known = ScoreOptions(bins=SizeBins(tuple(third)), resamples=0)
    assert score_folder(folder, truth, known).summary == found[0].summary


@pytest.mark.parametrize("bins", [SizeBins(("1%", "10%")), "terciles-by-class"])
def test_every_kind_of_truth_gives_the_same_sizes(dataset, tmp_path, bins) -> None:
    folder = dataset.predict(tmp_path / "p", shifted)
    own = bins if isinstance(bins, SizeBins) else SizeBins()
    truths = [
        truth_from_set(dataset.manifest),
        truth_from_coco(dataset.coco, "voc20", bins=own),
        truth_from_voc(dataset.devkit, bins=own),
        truth_from_masks(dataset.class_masks, dataset.instance_masks, bins=own),
    ]
    found = [score_folder(folder, t, ScoreOptions(bins=bins, resamples=0)) for t in truths]
    assert all(one.summary == found[0].summary for one in found)
    instances = found[0].tables.instances
    for k, row in enumerate(found[0].tables.instance_columns(found[0].bins, VOC20.classes)["size"]):
        area, class_id = int(instances["area"][k]), int(instances["class_id"][k])
        if bins == "terciles-by-class":
            place = sum(area >= edge for edge in found[0].bins.edges_of(class_id))
        else:
            place = (100 * area >= HEIGHT * WIDTH) + (10 * area >= HEIGHT * WIDTH)
        assert row == ("small", "medium", "large")[place]


def test_missing_counts_as_background_only_when_allowed(dataset, truth, tmp_path) -> None:
    folder = dataset.predict(tmp_path / "p")
    gone, *_ = dataset.scenes
    (folder / f"{gone}.png").unlink()
    with pytest.raises(ProblemsError) as caught:
        score_folder(folder, truth, FEW)
    assert [(p.file, p.kind) for p in caught.value.problems] == [(f"{gone}.png", "missing")]
    scored = score_folder(folder, truth, ScoreOptions(allow_missing=True, resamples=0))
    assert scored.missing == (gone,)
    assert scored.notes == ("p: 1 of 40 predictions missing, counted as background",)
    lost = [row[4] for row in rows(scored) if row[0] == gone]
    assert lost
    assert set(lost) == {0}
    kept = [row[3] == row[4] for row in rows(scored) if row[0] != gone]
    assert all(kept)


def test_what_a_report_loads_is_what_was_scored(dataset, tmp_path) -> None:
    folder = dataset.predict(tmp_path / "p", shifted)
    gone, kept, *_ = dataset.scenes
    (folder / f"{gone}.png").unlink()
    options = ScoreOptions(allow_missing=True, resamples=0)
    photos = tmp_path / "photos"
    photo = np.full((130, 170, 3), 9, np.uint8)
    save(photos / f"{kept}.png", photo, palette=False)
    truth = truth_from_masks(dataset.class_masks, dataset.instance_masks, photos=photos)
    scored = score_folder(folder, truth, options)
    load = loader_of(scored, truth, options)
    seen, classes, objects, prediction = load(kept)
    one = dataset.scenes[kept]
    assert (seen == photo).all()
    assert (classes == one.classes).all()
    assert (objects == one.objects).all()
    assert (prediction == shifted(one)).all()
    seen, _, _, prediction = load(gone)
    assert seen is None
    assert not prediction.any()


def test_hashes_follow_the_content(dataset, truth, tmp_path) -> None:
    folder = dataset.predict(tmp_path / "p")
    before = score_folder(folder, truth, FEW).provenance
    assert before["truth"]["sha256"] == truth.logical_hash
    some = next(iter(dataset.scenes))
    save(folder / f"{some}.png", np.zeros((130, 170), np.uint8))
    after = score_folder(folder, truth, FEW).provenance
    assert before["predictions"][0]["sha256"] != after["predictions"][0]["sha256"]
    assert before["truth"] == after["truth"]


# --- bad truth ------------------------------------------------------------------------------------


def copied(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_an_edited_manifest_is_refused(dataset, tmp_path) -> None:
    import pyarrow.parquet as pq

    folder = copied(dataset.manifest, tmp_path / "set")
    table = pq.read_table(folder / "instances.parquet")
    place = table.column_names.index("source_annotation_id")
    changed = table.set_column(place, table.schema.field(place), [["edited"] * table.num_rows])
    pq.write_table(changed, folder / "instances.parquet")
    with pytest.raises(InputError, match="the manifest was edited"):
        truth_from_set(folder)


def test_a_folder_that_is_no_set(tmp_path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(InputError, match="not a set"):
        truth_from_set(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        truth_from_set(tmp_path / "none")


def test_folders_of_other_names_or_none(dataset, tmp_path) -> None:
    masks = copied(dataset.instance_masks, tmp_path / "objects")
    gone = next(iter(dataset.scenes))
    (masks / f"{gone}.png").unlink()
    with pytest.raises(InputError, match=rf"objects: no {gone}.png, which .*SegmentationClass has"):
        truth_from_masks(dataset.class_masks, masks)
    with pytest.raises(
        InputError, match=rf"objects: no {gone}.png, which .*SegmentationObject has"
    ):
        truth_from_masks(masks, dataset.instance_masks)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no PNG in it"):
        truth_from_masks(tmp_path / "empty", None)
    with pytest.raises(InputError, match="no such folder"):
        truth_from_masks(tmp_path / "none", None)
    with pytest.raises(InputError, match="unknown taxonomy 'birds'"):
        truth_from_masks(dataset.class_masks, None, "birds")


def test_truth_masks_that_cannot_be(dataset, tmp_path) -> None:
    predictions = dataset.predict(tmp_path / "p")
    some = next(iter(dataset.scenes))
    one = dataset.scenes[some]

    def complaint(classes: np.ndarray | None = None, objects: np.ndarray | None = None) -> str:
        folders = tmp_path / "c", tmp_path / "o"
        for folder, source in zip(
            folders, (dataset.class_masks, dataset.instance_masks), strict=True
        ):
            if not folder.exists():
                copied(source, folder)
        save(folders[0] / f"{some}.png", one.classes if classes is None else classes)
        save(folders[1] / f"{some}.png", one.objects if objects is None else objects)
        with pytest.raises(InputError) as caught:
            score_folder(predictions, truth_from_masks(*folders), FEW)
        assert f"{some}.png: unusable ground truth" in str(caught.value)
        return str(caught.value)

    assert "class 33, but voc20 has 0..20" in complaint(
        np.where(one.classes == 0, 33, one.classes).astype(np.uint8)
    )
    assert "0 is background" in complaint(objects=np.full_like(one.objects, 1))
    assert "60 x 130 pixels, but its class mask has 170 x 130" in complaint(
        objects=one.objects[:, :60].copy()
    )
    (tmp_path / "c" / f"{some}.png").write_bytes(b"none")
    with pytest.raises(InputError, match=r"unusable ground truth: not a PNG"):
        truth_from_masks(tmp_path / "c", tmp_path / "o")


def test_class_names_from_a_file(dataset, tmp_path) -> None:
    names = tmp_path / "things.txt"
    names.write_text("".join(f"thing {k}\n" for k in range(1, 16)))
    truth = truth_from_masks(dataset.class_masks, None, str(names))
    assert (truth.taxonomy.name, len(truth.taxonomy)) == ("things", 15)


def test_images_that_coco_cannot_give_are_left_out_and_said(dataset, tmp_path) -> None:
    content = json.loads(dataset.coco.read_text())
    broken = content["annotations"][0]
    broken["segmentation"] = {"size": [1, 1], "counts": "1"}
    path = tmp_path / "instances_val.json"
    path.write_text(json.dumps(content))
    truth = truth_from_coco(path, "voc20")
    (gone,) = truth.left_out
    assert gone not in truth.image_ids
    scored = score_folder(dataset.predict(tmp_path / "p"), truth, FEW)
    assert scored.summary.n_images == 39
    assert scored.notes[0].startswith("1 image of instances_val.json cannot be scored: ")
    assert "has no category for 17 classes: aeroplane, bicycle, " in scored.notes[1]
    assert scored.notes[2] == ("p: 1 prediction ignored, for images that the truth leaves out")


# --- what people hand in --------------------------------------------------------------------------


def reordered(folder: Path, out: Path, order: np.ndarray) -> Path:
    """Copy masks as a tool writes them that gives VOC's colours numbers of its own."""
    out.mkdir(parents=True)
    place = np.argsort(order).astype(np.uint8)
    palette = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)[order]
    for path in folder.iterdir():
        image = Image.fromarray(place[np.array(Image.open(path))])
        image.putpalette(palette.tobytes())
        image.save(out / path.name)
    return out


def test_colours_under_other_numbers_tell_the_classes(dataset, truth, tmp_path) -> None:
    order = np.random.default_rng(0).permutation(256)
    plain = score_folder(dataset.predict(tmp_path / "p", shifted), truth, FEW)
    odd = score_folder(reordered(tmp_path / "p", tmp_path / "q", order), truth, FEW)
    assert rows(odd) == rows(plain)
    (note,) = odd.notes
    assert note.startswith("q: the masks of 40 images have VOC's colours under other numbers")
    masks = reordered(dataset.class_masks, tmp_path / "c", order)
    objects = reordered(dataset.instance_masks, tmp_path / "o", order)
    again = score_folder(tmp_path / "p", truth_from_masks(masks, objects), FEW)
    assert rows(again) == rows(plain)
    assert "the truth: the masks of 40 images have VOC's colours" in again.notes[0]


def test_truth_of_0_and_255_alone_is_said(dataset, tmp_path) -> None:
    for image_id, one in dataset.scenes.items():
        save(tmp_path / "c" / f"{image_id}.png", np.where(one.classes > 0, 255, 0).astype(np.uint8))
    truth = truth_from_masks(tmp_path / "c", None)
    scored = score_folder(dataset.predict(tmp_path / "p"), truth, FEW)
    assert any("255 is void, so masks of 0 and 255 must write" in note for note in scored.notes)


def test_numbers_that_are_off_by_one_are_said_of_the_folder_that_has_them(
    dataset, truth, tmp_path
) -> None:
    right = dataset.predict(tmp_path / "right")
    lower = dataset.predict(tmp_path / "low", lambda one: one.perfect - (one.perfect > 0))
    scored = score_folder(right, truth, FEW, against=[lower])
    # the three classes of the truth are 8, 12 and 15, so that 7, 11 and 14 find them
    (note,) = scored.notes
    assert note.startswith("low: the predicted numbers look off by one: most pixels predicted as")
    assert score_folder(lower, truth, FEW).notes[0].startswith("the predicted numbers look off")


def test_classes_that_the_file_does_not_know_are_named(dataset, tmp_path) -> None:
    names = tmp_path / "pets.txt"
    names.write_bytes("Cat\ndog\nperson\n".encode("utf-8-sig"))
    truth = truth_from_coco(dataset.coco, str(names))
    assert truth.notes == (
        "instances_val.json has no category for 1 class: Cat (it has 'cat'); such objects are "
        "background",
    )
    names.write_text("cat\ndog\nperson\n")
    assert truth_from_coco(dataset.coco, str(names)).notes == ()
    names.write_text("Cat\nDOG\nfox\n")
    with pytest.raises(InputError, match=r"none of its categories is in taxonomy .*'cat'"):
        truth_from_coco(dataset.coco, str(names))


def test_categories_that_are_no_class_are_named_unless_the_classes_were_asked_for(tmp_path) -> None:
    square = [[1, 1, 5, 1, 5, 5, 1, 5]]
    objects = [{"id": k, "image_id": 1, "category_id": k, "segmentation": square} for k in (1, 2)]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "forklift"}],
        "annotations": objects,
    }
    path = tmp_path / "works.json"
    path.write_text(json.dumps(content))
    (note,) = [n for n in truth_from_coco(path).notes if "forklift" in n]
    assert note.startswith("coco80 lacks 1 category of works.json ('forklift'), whose objects are")
    for asked in ("voc20", "own"):
        assert not any("forklift" in n for n in truth_from_coco(path, asked).notes)


def test_ids_that_differ_in_case_alone_are_said(tmp_path) -> None:
    for name in ("IMG_1", "img_1", "img_2"):
        save(tmp_path / "c" / f"{name}.png", np.ones((4, 5), np.uint8))
    note = truth_from_masks(tmp_path / "c", None).notes[-1]
    assert note.startswith(
        "the images 'IMG_1' and 'img_1' have names that differ only in letter case"
    )


def test_litter_of_desktops_is_no_mask_and_no_photo(dataset, tmp_path) -> None:
    masks, photos = copied(dataset.class_masks, tmp_path / "c"), tmp_path / "photos"
    photos.mkdir()
    for folder in (masks, photos, dataset.predict(tmp_path / "p")):
        for name in ("._000000000100.png", "Thumbs.db", "desktop.ini", ".DS_Store"):
            (folder / name).write_bytes(b"litter")
        (folder / "__MACOSX").mkdir()
    truth = truth_from_masks(masks, None, photos=photos)
    assert len(truth.image_ids) == 40
    assert not truth.photos
    assert score_folder(tmp_path / "p", truth, FEW).summary.miou == 1


def test_what_leaves_no_image_to_score_is_said(dataset, tmp_path) -> None:
    content = json.loads(dataset.coco.read_text())
    for image in content["images"][1:]:
        image["width"] = str(image["width"])
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    notes = truth_from_coco(path).notes
    assert any("cannot be scored: bad_size" in n and "without quotes" in n for n in notes)
    content["images"][0]["width"] = "64"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"no image to score: bad_size .* without quotes"):
        truth_from_coco(path)


def test_one_other_folder_is_not_one_for_each_letter(dataset: Dataset, tmp_path: Path) -> None:
    folder, other = (dataset.predict(tmp_path / name, shifted) for name in ("p", "other"))
    for against in (other, str(other), [other]):
        found = score(folder, dataset.manifest, against=against, resamples=0)
        assert [one.name for one in found.compared] == ["other"]
