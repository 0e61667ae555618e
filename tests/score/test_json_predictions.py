"""Predictions in a JSON file: results against pycocotools, panoptic segments, ids, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sbdata.errors import InputError
from sbdata.score.coco_json import image_finder
from sbdata.score.inputs import PredictionFormat, PredictionIndex, ProblemsError
from sbdata.score.json_predictions import list_json
from sbdata.score.run import ScoreOptions, loader_of, score_folder
from sbdata.score.truth import truth_from_coco, truth_from_set
from sbdata.taxonomy import VOC20, Taxonomy
from tests.score.conftest import HEIGHT, WIDTH, Dataset, shifted
from tests.score.test_panoptic import write
from tests.score.test_run import FEW, rows

FARM = Taxonomy("farm", ("fox", "hen"))
CATEGORIES = [
    {"id": 3, "name": "hen"},
    {"id": 8, "name": "fox"},
    {"id": 5, "name": "barn"},
]
CLASS = {3: 2, 8: 1, 5: 0}
SHAPE = (7, 9)
CONTRACT = PredictionFormat(FARM)


def code(mask: np.ndarray, kind: str = "text") -> dict:
    if kind == "list":
        flat = mask.ravel(order="F").astype(int)
        runs = np.diff(np.flatnonzero(np.diff(flat, prepend=-1, append=-1)))
        counts = [0, *runs.tolist()] if flat[0] else runs.tolist()
    else:
        counts = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    return {"size": list(mask.shape), "counts": counts}


def result(image_id: object, category: int, mask: np.ndarray, score=None, kind="text") -> dict:
    found = {"image_id": image_id, "category_id": category, "segmentation": code(mask, kind)}
    return found if score is None else {**found, "score": score}


def square(y: int, x: int, side: int = 4) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def listed(folder: Path, content: object, images=("a", "b"), **options) -> PredictionIndex:
    (folder / "ids.json").write_text(json.dumps({"categories": CATEGORIES}))
    (folder / "found.json").write_text(json.dumps(content))
    options.setdefault("ids_file", folder / "ids.json")
    return list_json(folder / "found.json", list(images), FARM, **options)


def read(listing: PredictionIndex, image_id: str = "a") -> np.ndarray:
    return listing.read(image_id, SHAPE[::-1], CONTRACT).values


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_masks_are_drawn_as_defined(tmp_path: Path, scored: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = [
        result(
            str(rng.choice(["a", "b"])),
            int(rng.choice([*CLASS])),
            rng.random(SHAPE) < 0.3,
            float(rng.choice([0.1, 0.5, 0.9])) if scored else None,
            str(rng.choice(["text", "list"])),
        )
        for _ in range(30)
    ]
    listing = listed(tmp_path, content)
    for image_id in "ab":
        want = np.zeros(SHAPE, int)
        mine = [r for r in content if r["image_id"] == image_id and CLASS[r["category_id"]]]
        for one in sorted(mine, key=lambda r: r.get("score", 0)):
            packed = one["segmentation"]
            if isinstance(packed["counts"], list):
                packed = coco_mask.frPyObjects(packed, *SHAPE)
            want[coco_mask.decode(packed) == 1] = CLASS[one["category_id"]]
        assert (read(listing, image_id) == want).all()
    order = "by score, 0.1 to 0.9, the highest on top" if scored else "in the file's order"
    assert listing.notes[0].startswith(f"masks drawn {order}")
    foreign = sum(r["category_id"] == 5 for r in content)
    assert listing.notes[1] == f"{foreign} segments left out, of categories that are no class"


def test_the_surest_is_on_top_and_of_equals_the_last(tmp_path: Path) -> None:
    first, second = result("a", 3, square(0, 0)), result("a", 8, square(2, 2))
    everywhere = {"images": ["a"], "allow_missing": True}
    assert read(listed(tmp_path, [first, second], **everywhere))[2, 2] == 1
    assert read(listed(tmp_path, [second, first], **everywhere))[2, 2] == 2
    sure = [{**first, "score": 0.9}, {**second, "score": 0.2}]
    assert read(listed(tmp_path, sure, **everywhere))[2, 2] == 2
    assert read(listed(tmp_path, sure[::-1], **everywhere))[2, 2] == 2
    equal = [{**first, "score": 1}, {**second, "score": 1.0}]
    assert read(listed(tmp_path, equal, **everywhere))[2, 2] == 1


def test_classes_that_the_ids_do_not_know_are_named(tmp_path: Path) -> None:
    """No prediction can be of such a class, whose IoU is 0."""
    ids = tmp_path / "ids.json"
    images = [{"id": 1, "file_name": "a.jpg"}]
    known, other = FARM.classes
    categories = [{"id": 3, "name": known}, {"id": 8, "name": other.title()}]
    ids.write_text(json.dumps({"categories": categories, "images": images}))
    file = tmp_path / "results.json"
    file.write_text(json.dumps([result("a", 3, square(0, 0)), result("a", 8, square(2, 2))]))
    said = f"ids.json has no category for 1 class: {other} (it has '{other.title()}')"
    assert said in " ".join(list_json(file, ["a"], FARM, ids_file=ids).notes)
    of_truth = list_json(file, ["a"], FARM, truth_file=ids).notes
    assert [note for note in of_truth if "no category" in note] == []


def test_an_image_with_foreign_categories_alone_is_background(tmp_path: Path) -> None:
    listing = listed(tmp_path, [result("a", 5, square(0, 0)), result("b", 3, square(0, 0))])
    assert not read(listing).any()
    assert not listing.problems


@pytest.mark.parametrize(
    ("segmentation", "kind", "said"),
    [
        ({"size": [9, 7], "counts": "0"}, "size", "size [9, 7], its image has [7, 9]"),
        ({"size": [7, 9], "counts": [1, 2]}, "unreadable", "the run lengths add up to 3 pixels"),
        ({"size": [7, 9], "counts": [-1, 64]}, "unreadable", "run lengths"),
        ({"size": [7, 9], "counts": ""}, "unreadable", "does not fit an image of 7 x 9"),
        ({"size": [7, 9], "counts": "b'oo'"}, "unreadable", "does not fit an image"),
        ({"size": [7, 9], "counts": "\xe9"}, "unreadable", "neither whole numbers nor"),
    ],
)
def test_a_code_that_does_not_fit(tmp_path: Path, segmentation, kind, said) -> None:
    content = [result("b", 3, square(0, 0)), result("a", 3, square(0, 0))]
    content[1]["segmentation"] = segmentation
    listing = listed(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read(listing)
    assert caught.value.kind == kind
    assert "image a, entry 1: " in caught.value.detail
    assert said in caught.value.detail
    assert read(listing, "b").any()


def test_the_same_result_twice(tmp_path: Path) -> None:
    content = [
        result("a", 3, square(0, 0), 0.5, "list"),
        result("a", 3, square(0, 0), 0.4),
        result("a", 3, square(0, 0), 0.5),
    ]
    with pytest.raises(InputError) as caught:
        read(listed(tmp_path, content, images=["a"]))
    assert caught.value.detail == "image a, entry 2: the same as entry 0; keep one"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"category_id": 4}, "entry 1 has category_id 4, which "),
        ({"category_id": "3"}, "Expected `int`, got `str` - at `$[1].category_id`"),
        ({"category_id": True}, "Expected `int`, got `bool`"),
        ({"image_id": 1.5}, "Expected `int | str`, got `float`"),
        ({"segmentation": [[0, 0, 1, 1, 2, 2]]}, "Expected `object`, got `array`"),
        ({"segmentation": {"size": [7], "counts": "0"}}, "of length 2"),
        ({"segmentation": {"size": [7, 9], "counts": [1.5]}}, "Expected `int`, got `float`"),
        ({"score": "0.5"}, "Expected `float | null`, got `str`"),
        ({"score": 0.5}, "1 of 2 results have a score"),
    ],
)
def test_a_record_that_is_no_result(tmp_path: Path, edit: dict, said: str) -> None:
    content = [result("a", 3, square(0, 0)), {**result("b", 3, square(0, 0)), **edit}]
    with pytest.raises(InputError) as caught:
        listed(tmp_path, content)
    assert said in str(caught.value)
    assert "found.json" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "Input data was truncated"),
        ('[{"image_id": 1, "score": NaN}]', "JSON is malformed"),
        ("{}", "missing required field `annotations`"),
        ("[" * 100_000, "not such a JSON file"),
        ("", "Input data was truncated"),
        ('{"annotations": [{"image_id": 1, "segmentation": []}]}', "missing required field"),
        ("[]", "no prediction for any of the 2 images"),
    ],
)
def test_a_file_that_is_neither_kind(tmp_path: Path, text: str, said: str) -> None:
    listed(tmp_path, [result("a", 3, square(0, 0)), result("b", 3, square(0, 0))])
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(InputError) as caught:
        list_json(tmp_path / "found.json", ["a", "b"], FARM, ids_file=tmp_path / "ids.json")
    assert said in str(caught.value)


def test_what_nothing_tells_is_refused(tmp_path: Path) -> None:
    content = [result("a", 3, square(0, 0))]
    with pytest.raises(InputError, match="nothing tells which classes its category ids are"):
        listed(tmp_path, content, ids_file=None)
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"categories": [{"id": 3, "name": "fox"}]}))
    told = listed(tmp_path, content, ["a"], ids_file=None, truth_file=truth)
    assert read(told).max() == 1
    assert read(listed(tmp_path, content, ["a"], truth_file=truth)).max() == 2
    for categories, said in (
        ([{"id": 3, "name": "Fox"}], "none of its categories is a class of farm"),
        ([{"id": 3, "name": "fox"}] * 2, "category 3, 'fox', is given twice"),
        ([{"id": 3, "name": "fox\x1b"}], "control characters"),
        ([{"id": 3}], "missing required field `name`"),
    ):
        truth.write_text(json.dumps({"categories": categories}))
        with pytest.raises(InputError) as caught:
            listed(tmp_path, content, ids_file=truth)
        assert said in str(caught.value)


def test_missing_and_strange_images(tmp_path: Path) -> None:
    content = [result(i, 3, square(0, 0)) for i in ("a", "z", 7, "z", "gone")]
    listing = listed(tmp_path, content, ["a", "b"], left_out=["gone"])
    assert [(p.kind, p.detail.partition(";")[0]) for p in listing.problems] == [
        ("extra", "image_id 'z': no image of the set"),
        ("extra", "image_id 7: no image of the set"),
        ("missing", "image b: no segment of it"),
    ]
    assert listing.ignored == ("gone",)
    listing = listed(tmp_path, content[:1], ["a", "b"], allow_missing=True)
    assert (listing.missing, listing.problems) == (("b",), ())


# --- ids ------------------------------------------------------------------------------------------


def test_ids_without_a_list_of_images() -> None:
    names = ("000000000139", "COCO_val2014_000000000042", "7", "007", "street.1", "b")
    find = image_finder(names, {})
    for image_id, name in (
        (139, names[0]),
        ("139", names[0]),
        ("000000000139", names[0]),
        ("000000000139.jpg", names[0]),
        ("val2017/000000000139.jpg", names[0]),
        (42, names[1]),
        ("COCO_val2014_000000000042.jpg", names[1]),
        ("street.1", "street.1"),
        ("street.1.png", "street.1"),
        ("7", "7"),
        (7, None),  # 7 or 007
        (8, None),
        (-139, None),
        ("c", None),
        ("", None),
        ("9" * 5000, None),
    ):
        assert find(image_id) == name, image_id


def test_ids_by_a_list_of_images() -> None:
    find = image_finder(("1", "2", "x"), {1: "2", 5: "x", 6: "elsewhere", "six": "x"})
    assert [find(i) for i in (1, 5, 6, 2, "six", "x", "x.jpg", "5")] == [
        "2", "x", None, None, "x", "x", "x", "x",
    ]  # fmt: skip
    # "1" is the name of one image and, as a text, the id of another.
    assert [find(i) for i in ("1", "2", "2.jpg")] == [None, "2", "2"]
    assert image_finder(("1",), {1: "of another set"})("1") is None
    assert image_finder(("1",), {1: "1"})("1") == "1"


@pytest.mark.parametrize(
    ("images", "said"),
    [([(1, "x/a.jpg"), (2, "b.jpg"), (3, "y/a.jpg")], "images 1 and 3 are both called 'a'"),
     ([(1, "a.jpg"), (2, "b.jpg"), (1, "c.jpg")], "id 1 is given to 'a' and 'c'"),
     ([(1, "c.jpg"), (2, "b.jpg"), (1, "a.jpg")], "id 1 is given to 'c' and 'a'")],
)  # fmt: skip
def test_images_that_cannot_be_told_apart(tmp_path: Path, images, said: str) -> None:
    """The masks of two images would be drawn into one."""
    records = [{"id": k, "file_name": name} for k, name in images]
    (tmp_path / "ids.json").write_text(json.dumps({"categories": CATEGORIES, "images": records}))
    file = tmp_path / "found.json"
    file.write_text(json.dumps([result(k, 3, square(0, k)) for k in dict(images)]))
    with pytest.raises(InputError, match=f"ids.json: {said}, so predictions may be of either"):
        list_json(file, ["a", "b"], FARM, ids_file=tmp_path / "ids.json")
    listing = list_json(file, ["b"], FARM, ids_file=tmp_path / "ids.json")  # b is clear
    assert listing.found == {"b"}


def test_vocs_classes_by_cocos_names_or_their_own(tmp_path: Path) -> None:
    for names, classes in (
        (("airplane", "tv"), (1, 20)),
        (("aeroplane", "tvmonitor"), (1, 20)),
        (("aeroplane", "person"), (1, 15)),  # a person is one in both
    ):
        (tmp_path / "ids.json").write_text(
            json.dumps({"categories": [{"id": k, "name": n} for k, n in enumerate(names)]})
        )
        file = tmp_path / "found.json"
        file.write_text(json.dumps([result("a", 0, square(0, 0)), result("a", 1, square(3, 3))]))
        listing = list_json(file, ["a"], VOC20, ids_file=tmp_path / "ids.json")
        assert set(np.unique(read(listing)).tolist()) == {0, *classes}


def test_a_truth_by_vocs_own_names_has_all_its_classes(tmp_path: Path) -> None:
    annotations = [
        {"id": k, "image_id": 1, "category_id": k, "iscrowd": 0, "area": 1, "bbox": [k, 0, 1, 1],
         "segmentation": [[k, 0, k + 1, 0, k + 1, 1, k, 1]]}
        for k in range(1, 21)
    ]  # fmt: skip
    file = tmp_path / "pascal.json"
    file.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg", "width": 22, "height": 2}],
                "categories": [{"id": k, "name": n} for k, n in enumerate(VOC20.classes, 1)],
                "annotations": annotations,
            }
        )
    )
    truth = truth_from_coco(file, "voc20")
    assert truth.load("a").truth.class_ids.tolist() == list(range(1, 21))
    assert truth.notes == ()


# --- panoptic -------------------------------------------------------------------------------------

IDS = np.zeros(SHAPE, np.int64)
IDS[:3], IDS[3:5, :4], IDS[5:, 5:] = 70_000, 4, 9


def test_panoptic_predictions(tmp_path: Path) -> None:
    segments = [{"id": 4, "category_id": 3}, {"id": 9, "category_id": 5},
                {"id": 70_000, "category_id": 8, "isthing": True}]  # fmt: skip
    file = write(tmp_path, {"a": (IDS, segments)}, CATEGORIES)
    want = np.select([IDS == 4, IDS == 70_000], [2, 1], 0)
    listing = list_json(file, ["a"], FARM)
    assert (read(listing) == want).all()
    assert listing.notes == ("1 segment left out, of categories that are no class",)
    content = json.loads(file.read_text())
    bare = {"annotations": content["annotations"]}  # as panopticapi wants predictions
    file.write_text(json.dumps(bare))
    with pytest.raises(InputError, match="nothing tells"):
        list_json(file, ["a"], FARM)
    (tmp_path / "ids.json").write_text(
        json.dumps({"categories": CATEGORIES, "images": [{"id": 1, "file_name": "x/a.jpg"}]})
    )
    assert (read(list_json(file, ["a"], FARM, truth_file=tmp_path / "ids.json")) == want).all()
    bare["annotations"][0]["segments_info"][0]["category_id"] = 99
    file.write_text(json.dumps(bare))
    with pytest.raises(InputError, match="entry 0 has category_id 99"):
        list_json(file, ["a"], FARM, ids_file=tmp_path / "ids.json")


def test_panoptic_predictions_of_other_segments_or_twice(tmp_path: Path) -> None:
    file = write(tmp_path, {"a": (IDS, [{"id": 4, "category_id": 3}])}, CATEGORIES)
    with pytest.raises(InputError, match="segment 70000 at x = 0, y = 0 is not in its segments"):
        read(list_json(file, ["a"], FARM))
    content = json.loads(file.read_text())
    content["annotations"] *= 2
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="image a: two annotations; keep one"):
        read(list_json(file, ["a"], FARM))
    (tmp_path / "panoptic_val/a.png").unlink()
    with pytest.raises(InputError, match=r"no PNGs, such as 'a\.png'"):
        list_json(file, ["a"], FARM)


# --- whole scores ---------------------------------------------------------------------------------


def as_results(dataset: Dataset, file: Path) -> Path:
    """The shifted predictions, a result for each class of each image."""
    number = {8: 17, 12: 18, 15: 1}
    content = [
        {
            "image_id": k,
            "category_id": number[c],
            "segmentation": code(shifted(one) == c),
            "score": 0.5,
        }
        for k, one in enumerate(dataset.scenes.values(), 1)
        for c in np.unique(shifted(one)).tolist()
        if c
    ]
    file.write_text(json.dumps(content))
    return file


def test_results_score_as_their_masks(dataset: Dataset, tmp_path: Path) -> None:
    truth = truth_from_coco(dataset.coco, "voc20")
    folder = dataset.predict(tmp_path / "p", shifted)
    want = score_folder(folder, truth, FEW)
    file = as_results(dataset, tmp_path / "mine.json")
    found = score_folder(file, truth, FEW, against=[folder], workers=1)
    assert found.name == "mine"
    assert rows(found) == rows(want)
    assert found.summary == want.summary
    assert found.notes[-1] == ("mine: masks drawn by score, 0.5 to 0.5, the highest on top")
    assert found.compared[0].differences["miou"].value == 0
    about = found.provenance["predictions"][0]
    assert about["sha256_of"] == "lines '<SHA-256 of the file>  <image_id>', sorted by image_id"
    image_id = truth.image_ids[3]
    prediction = loader_of(found, truth, FEW)(image_id)[3]
    assert prediction.shape == (HEIGHT, WIDTH)
    assert (prediction == shifted(dataset.scenes[image_id])).all()


def test_results_on_a_set_need_their_ids(dataset: Dataset, tmp_path: Path) -> None:
    truth = truth_from_set(dataset.manifest)
    file = as_results(dataset, tmp_path / "mine.json")
    with pytest.raises(InputError, match="nothing tells which classes"):
        score_folder(file, truth, FEW)
    options = ScoreOptions(resamples=0, coco_ids=str(dataset.coco))
    want = score_folder(dataset.predict(tmp_path / "p", shifted), truth, options)
    assert rows(score_folder(file, truth, options)) == rows(want)


def test_a_palette_is_not_said_to_decode_json(dataset: Dataset, tmp_path: Path) -> None:
    truth = truth_from_coco(dataset.coco, "voc20")
    file = as_results(dataset, tmp_path / "mine.json")
    for options in ({"palette": "voc"}, {"decode_palette": True}):
        told = ScoreOptions(resamples=0, **options)
        with pytest.raises(InputError, match=r"mine.json: a JSON file, .*palette decodes PNGs"):
            score_folder(file, truth, told)
    folder = dataset.predict(tmp_path / "p", shifted)
    score_folder(file, truth, ScoreOptions(resamples=0, decode_palette=True), against=[folder])


def test_problems_of_results_come_together(dataset: Dataset, tmp_path: Path) -> None:
    truth = truth_from_coco(dataset.coco, "voc20")
    file = as_results(dataset, tmp_path / "mine.json")
    content = json.loads(file.read_text())
    content[0]["segmentation"]["size"] = [1, 1]
    kept = [r for r in content if r["image_id"] != 2]
    file.write_text(json.dumps([*kept, {**content[0], "image_id": 99}]))
    with pytest.raises(ProblemsError) as caught:
        score_folder(file, truth, FEW)
    assert [(p.file, p.kind) for p in caught.value.problems] == [
        ("mine.json", "extra"),
        ("mine.json", "missing"),
        ("mine.json", "size"),
    ]
