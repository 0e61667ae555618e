"""COCO panoptic files as truth: by hand, against an instances file, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.score.inputs import ProblemsError
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_coco
from tests.score.conftest import Dataset, shifted
from tests.score.test_run import FEW, rows

CATEGORIES = [
    {"id": 2, "name": "cat", "isthing": 1},
    {"id": 7, "name": "dog", "isthing": 1},
    {"id": 190, "name": "grass", "isthing": 0},
]
IDS = np.array([
    [70_000, 70_000, 9, 9, 9, 0],
    [70_000, 70_000, 9, 300, 300, 0],
    [2_000_001, 2_000_001, 9, 300, 300, 0],
])  # fmt: skip
SEGMENTS = [
    {"id": 70_000, "category_id": 2, "iscrowd": 0},
    {"id": 9, "category_id": 190, "iscrowd": 0},
    {"id": 300, "category_id": 2, "iscrowd": 0},
    {"id": 2_000_001, "category_id": 7, "iscrowd": 1},
]


def write(
    folder: Path,
    images: dict[str, tuple[np.ndarray, list[dict]]],
    categories: list[dict] = CATEGORIES,
    *,
    name: str = "panoptic_val",
    numbered: bool = True,
    **more,
) -> Path:
    """Write a panoptic file and its PNGs as COCO names them; return the file."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    content = {"images": [], "annotations": [], "categories": categories, **more}
    for number, (image_id, (ids, segments)) in enumerate(images.items(), 1):
        colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
        Image.fromarray(colours).save(folder / name / f"{image_id}.png")
        known = number if numbered else image_id
        height, width = ids.shape
        content["images"].append(
            {"id": known, "file_name": f"{image_id}.jpg", "width": width, "height": height}
        )
        content["annotations"].append(
            {"image_id": known, "file_name": f"{image_id}.png", "segments_info": segments}
        )
    file = folder / f"{name}.json"
    file.write_text(json.dumps(content))
    return file


def test_things_stuff_crowd_and_void_by_hand(tmp_path: Path) -> None:
    truth = truth_from_coco(write(tmp_path, {"a": (IDS, SEGMENTS)}))
    assert truth.taxonomy.classes == ("cat", "dog", "grass")
    assert not truth.has_background
    loaded = truth.load("a")
    assert loaded.truth.class_map.tolist() == [
        [1, 1, 3, 3, 3, 255],
        [1, 1, 3, 1, 1, 255],
        [255, 255, 3, 1, 1, 255],
    ]
    assert loaded.truth.instance_map.tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 2, 2, 0],
        [0, 0, 0, 2, 2, 0],
    ]
    assert loaded.truth.instance_ids.tolist() == [1, 2]
    assert loaded.truth.class_ids.tolist() == [1, 1]
    assert loaded.unassigned == 5


def test_scores_by_hand(tmp_path: Path) -> None:
    truth = truth_from_coco(write(tmp_path, {"a": (IDS, SEGMENTS)}))
    (tmp_path / "p").mkdir()
    # All of it is cat: one region, 4 + 4 pixels on the cats, 5 false ones on the grass.
    Image.fromarray(np.ones((3, 6), np.uint8)).save(tmp_path / "p/a.png")
    found = score_folder(tmp_path / "p", truth, FEW)
    assert found.tables.confusion.tolist() == [
        [0, 0, 0, 0],
        [0, 8, 0, 0],
        [0, 0, 0, 0],
        [0, 5, 0, 0],
    ]
    assert [(row[2], row[3], row[4]) for row in found.tables.instances.tolist()] == [(4, 4, 2)] * 2
    assert found.summary.ia["ia_objects"].class_mean == pytest.approx(4 / 6)
    assert found.summary.miou == pytest.approx((8 / 13 + 0) / 2)
    assert found.notes[0].startswith("1 of the 3 classes never have instances (stuff)")
    assert found.provenance["truth"]["kind"] == "panoptic"


def as_panoptic(dataset: Dataset, folder: Path) -> Path:
    """The dataset's scenes: things, its void as a crowd of cats, and background as stuff."""
    categories = [
        {"id": 17, "name": "cat", "isthing": True},
        {"id": 18, "name": "dog", "isthing": True},
        {"id": 1, "name": "person", "isthing": True},
        {"id": 92, "name": "wall", "isthing": False},
    ]
    number = {8: 17, 12: 18, 15: 1}
    images = {}
    for image_id, one in dataset.scenes.items():
        ids = one.objects.astype(np.int64) * 1000 + 5
        segments = []
        for k in np.unique(one.objects).tolist():
            kind = int(one.classes[one.objects == k][0])
            category = 92 if k == 0 else 17 if k == 255 else number[kind]
            segments.append({"id": k * 1000 + 5, "category_id": category, "iscrowd": k == 255})
        images[image_id] = (ids, segments)
    return write(folder, images, categories)


def test_the_same_objects_as_instances_and_as_segments(dataset: Dataset, tmp_path: Path) -> None:
    folder = dataset.predict(tmp_path / "p", shifted)
    want = score_folder(folder, truth_from_coco(dataset.coco, "voc20"), FEW)
    truth = truth_from_coco(as_panoptic(dataset, tmp_path), "voc20")
    assert truth.has_background  # the wall is no class
    found = score_folder(folder, truth, FEW)
    assert rows(found) == rows(want)
    assert found.summary == want.summary
    several = score_folder(folder, truth, FEW, workers=2)
    assert several.provenance["truth"] == found.provenance["truth"]


def test_more_things_than_eight_bits_hold(tmp_path: Path) -> None:
    ids = np.arange(1, 401).reshape(20, 20)
    segments = [{"id": k, "category_id": 7} for k in range(1, 401)]
    truth = truth_from_coco(write(tmp_path, {"a": (ids, segments)})).load("a").truth
    assert truth.instance_map.dtype == np.uint16
    assert (truth.instance_map == ids).all()


def test_text_ids_name_the_images(tmp_path: Path) -> None:
    truth = truth_from_coco(write(tmp_path, {"ulm_000000_000019": (IDS, SEGMENTS)}, numbered=False))
    assert truth.image_ids == ("ulm_000000_000019",)


def test_where_the_pngs_are(tmp_path: Path) -> None:
    file = write(tmp_path, {"a": (IDS, SEGMENTS)})
    (tmp_path / "panoptic_val").rename(tmp_path / "other")
    with pytest.raises(InputError, match=r"no PNGs, such as 'a\.png', in .*by --instance-masks"):
        truth_from_coco(file)
    assert truth_from_coco(file, segments=tmp_path / "other").load("a").unassigned == 5
    (tmp_path / "other/a.png").rename(tmp_path / "a.png")
    assert truth_from_coco(file).load("a").unassigned == 5


def test_an_instances_file_takes_no_pngs(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an instances file, which has no PNGs of segments"):
        truth_from_coco(dataset.coco, "voc20", segments=tmp_path)


def test_images_without_annotation_are_left_out_and_said(tmp_path: Path) -> None:
    file = write(tmp_path, {"a": (IDS, SEGMENTS), "b": (IDS, SEGMENTS)})
    content = json.loads(file.read_text())
    del content["annotations"][1]
    file.write_text(json.dumps(content))
    truth = truth_from_coco(file)
    assert truth.image_ids == ("a",)
    assert truth.left_out == {"b"}
    assert "1 image of panoptic_val.json left out, without annotation" in truth.notes


def change(**values):
    return lambda content: content["annotations"][0].update(values)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda c: c.update(categories=[]), "categories with isthing are needed"),
        (lambda c: c["categories"][1].pop("isthing"), "categories with isthing are needed"),
        (lambda c: c["categories"][1].update(id=2), "category 2, 'dog', is given twice"),
        (lambda c: c["categories"][1].update(name="cat"), "its categories cannot be classes"),
        (lambda c: c["categories"][1].update(name="\x1b[2J"), "its categories cannot be classes"),
        (change(image_id=3), "image 3: no such image is listed"),
        (lambda c: c["annotations"].append(c["annotations"][0]), "or that of another image, too"),
        (lambda c: c["images"].append({**c["images"][0], "file_name": "b.jpg"}),
         "that id is given to more than one image"),
        (lambda c: c["images"][0].update(file_name="../.jpg"), "is no plain name"),
        (lambda c: c["images"][0].update(width=0), "both sides must be at least 1 pixel"),
        (lambda c: c["images"][0].update(width=10**9), "sides of at most 1,000,000 pixels"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(category_id=3),
         "category 3 is not listed"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(id="70000"),
         "Expected `int`, got `str`"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(id=0), "Expected `int` >= 1"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(id=-1), "Expected `int` >= 1"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(id=2**24), "Expected `int` <="),
        (lambda c: c["annotations"][0]["segments_info"][0].update(id=2**80), "Expected `int`"),
        (change(file_name="a" * 300), "no PNGs, such as 'aaa"),
        (change(file_name="../a.png"), "leads out of its folder"),
        (change(segments_info=None), "Expected `array`, got `null`"),
        (lambda c: c.update(annotations=[]), "no annotations in"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_truth(tmp_path: Path, edit, said: str) -> None:
    file = write(tmp_path, {"a": (IDS, SEGMENTS)}, [dict(c) for c in CATEGORIES])
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps({**content, "info": {"segments_info": "told by"}}))
    with pytest.raises(InputError) as caught:
        truth_from_coco(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value) or "../a.png" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda thing, stuff: (thing | {"isthing": 0}, stuff),
        lambda thing, stuff: (thing, stuff | {"isthing": 1}),
        lambda thing, stuff: (thing | {"name": "dog"}, stuff | {"name": "cat"}),
    ],
)
def test_the_digest_is_of_all_that_decides_the_truth(tmp_path: Path, change) -> None:
    """The same PNG and segments are another truth if their categories are something else."""
    cat, dog = {"id": 2, "name": "cat", "isthing": 1}, {"id": 7, "name": "dog", "isthing": 0}
    ids = np.array([[5, 5, 6, 0]])
    segments = [{"id": 5, "category_id": 2}, {"id": 6, "category_id": 7}]
    loaded = []
    for place, categories in (("one", [cat, dog]), ("other", [*change(cat, dog)])):
        file = write(tmp_path / place, {"a": (ids, segments)}, categories)
        classes = tmp_path / "classes.txt"
        classes.write_text("cat\ndog\n")
        loaded.append(truth_from_coco(file, str(classes)).load("a"))
    one, other = loaded
    assert (one.truth.class_map.tolist(), one.truth.instance_map.tolist()) != (
        other.truth.class_map.tolist(),
        other.truth.instance_map.tolist(),
    )
    assert one.digest != other.digest


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        (SEGMENTS[:3], "segment 2000001 at x = 0, y = 2 is not in its segments_info"),
        ([*SEGMENTS, {"id": 77, "category_id": 2}], "segment 77 of its segments_info has no pixel"),
        ([*SEGMENTS, {"id": 9, "category_id": 2}], "segment 9 of its segments_info"),
        ([], "is not in its segments_info"),
    ],
)
def test_a_png_of_other_segments(tmp_path: Path, segments: list[dict], said: str) -> None:
    truth = truth_from_coco(write(tmp_path, {"a": (IDS, segments)}))
    with pytest.raises(InputError, match=r"a\.png: unusable ground truth: ") as caught:
        truth.load("a")
    assert said in str(caught.value)


def test_a_png_of_another_kind_or_size(tmp_path: Path) -> None:
    truth = truth_from_coco(write(tmp_path, {"a": (IDS, SEGMENTS)}))
    png = tmp_path / "panoptic_val/a.png"
    Image.open(png).convert("L").save(png)
    with pytest.raises(InputError, match="8-bit grey image; segment ids are written as 8-bit RGB"):
        truth.load("a")
    Image.new("RGB", (4, 4)).save(png)
    with pytest.raises(InputError, match="4 x 4 pixels, its image has 6 x 3"):
        truth.load("a")


def test_a_name_is_never_printed_raw(tmp_path: Path) -> None:
    name = "a\x1b[2J"
    file = write(tmp_path, {name: (IDS, SEGMENTS)})
    file.write_text(file.read_text().replace(r"\u001b[2J.jpg", ".jpg"))
    truth = truth_from_coco(file)
    with pytest.raises(InputError, match="a PNG cannot be called") as caught:
        truth.load("a")
    assert str(caught.value).isprintable()


def test_a_zero_in_a_label_map_is_refused(tmp_path: Path) -> None:
    truth = truth_from_coco(write(tmp_path, {"a": (IDS, SEGMENTS)}))
    (tmp_path / "p").mkdir()
    Image.fromarray(np.zeros((3, 6), np.uint8)).save(tmp_path / "p/a.png")
    with pytest.raises(ProblemsError, match=r"the classes of own are 1\.\.3"):
        score_folder(tmp_path / "p", truth, ScoreOptions(resamples=0))
