"""Boxes from files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.sets import open_set
from sbdata.taxonomy import VOC20, Taxonomy
from sbdata.weak_labels.boxes import read_boxes, whole_box
from sbdata.weak_labels.labels import read_labels
from sbdata.weak_labels.weak_set import Box, weak_set
from tests.benchmark.conftest import Sets

TWO = Taxonomy("two", ("red", "dark blue"))


# --- pixels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edges", "size", "expected"),
    [
        ((2, 3, 7, 9), None, Box(1, 2, 3, 5, 6)),
        ((2.4, 3.6, 6.2, 8.5), None, Box(1, 2, 3, 5, 6)),
        ((1.995, 3.004, 7.006, 8.996), None, Box(1, 2, 3, 5, 6)),  # rounded decimals
        ((0.1 + 0.2, 0, 3, 3), (3, 3), Box(1, 0, 0, 3, 3)),
        ((-0.7, -1, 4.9, 4), (4, 4), Box(1, 0, 0, 4, 4)),  # a pixel outside at most
        ((388.33, 2, 388.33, 5), None, Box(1, 388, 2, 1, 3)),
        ((4, 2, 4, 2), (4, 4), Box(1, 3, 2, 1, 1)),
    ],
)
def test_whole_boxes_by_hand(
    edges: tuple[float, float, float, float], size: tuple[int, int] | None, expected: Box
) -> None:
    assert whole_box(1, edges, size) == expected


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((0, 0, math.nan, 2), "a coordinate that is not a number"),
        ((0, 0, math.inf, 2), "a coordinate that is not a number"),
        ((3, 0, 2, 2), "a negative width or height"),
        ((0, 0, 12, 2), "reaches outside the image: 0, 0 to 12, 2"),
        ((0, -2, 1, 2), "reaches outside the image"),
        ((0, 0, 2, 9.5), "reaches outside the image"),
    ],
)
def test_boxes_that_cannot_be(edges: tuple[float, float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        whole_box(1, edges, (8, 10))


@given(st.floats(-1, 20), st.floats(-1, 16), st.floats(0, 21), st.floats(0, 17))
def test_a_whole_box_is_the_smallest_around_and_lies_in_the_image(
    left: float, upper: float, width: float, height: float
) -> None:
    right, lower = min(left + width, 21.0), min(upper + height, 17.0)
    box = whole_box(1, (left, upper, right, lower), (16, 20))
    assert box.x >= 0
    assert box.y >= 0
    assert box.x + box.width <= 20
    assert box.y + box.height <= 16
    assert min(box.width, box.height) >= 1
    covered = np.zeros((16, 20), bool)  # pixels that the stretch covers by more than the slack
    for row in range(16):
        for column in range(20):
            across = min(right, column + 1) - max(left, column)
            down = min(lower, row + 1) - max(upper, row)
            covered[row, column] = across > 0.0101 and down > 0.0101
    inside = np.zeros((16, 20), bool)
    inside[box.y : box.y + box.height, box.x : box.x + box.width] = True
    assert not (covered & ~inside).any()


# --- VOC ------------------------------------------------------------------------------------------


def voc_object(name: str, *box: object) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=False)
    inner = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    return f"<object><name>{name}</name>{part}<bndbox>{inner}</bndbox></object>"


def write_voc(folder: Path, image_id: str, *objects: str, size: tuple[int, int] = (20, 30)) -> None:
    said = f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"
    text = f"<annotation>{said}{''.join(objects)}</annotation>"
    (folder / f"{image_id}.xml").write_text(text)


def test_xml_of_voc_counts_from_one(tmp_path: Path) -> None:
    dog, cat = voc_object("dog", 1, 1, 30, 20), voc_object("cat", 5, 6, 5, 8)
    write_voc(tmp_path, "a", dog, cat, voc_object("dog", "2.5", "3.0", "4.2", "6"))
    write_voc(tmp_path, "b")
    assert read_boxes(tmp_path, VOC20, ["a", "b", "c"]) == {
        "a": (Box(12, 0, 0, 30, 20), Box(8, 4, 5, 1, 3), Box(12, 1, 2, 4, 4)),
        "b": (),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (voc_object("unicorn", 1, 1, 2, 2), "'unicorn' is not a class of voc20; correct the file"),
        (voc_object("dog", 1, 1, 2), r"object 1 \(dog\) has no bndbox of four numbers"),
        (voc_object("dog", 1, 1, "x", 2), r"object 1 \(dog\) has no bndbox of four numbers"),
        (voc_object("dog", 5, 1, 2, 2), r"the box of object 1 \(dog\) has a negative width"),
        (voc_object("dog", 1, 1, 40, 2), r"the box of object 1 \(dog\) reaches outside the image"),
        (voc_object("dog", 1, 1, "nan", 2), r"the box of object 1 \(dog\) has a coordinate"),
        ("<object>", "not a readable VOC annotation"),
    ],
)
def test_faults_of_xml_name_file_and_object(tmp_path: Path, content: str, message: str) -> None:
    write_voc(tmp_path, "a", content)
    with pytest.raises(InputError, match=f"a.xml: {message}"):
        read_boxes(tmp_path, VOC20, ["a"])
    assert read_boxes(tmp_path, VOC20, ["b"]) == {}


# --- COCO -----------------------------------------------------------------------------------------


def coco(**changes: Any) -> dict[str, Any]:
    """Return a file of two images and three objects, and what is not asked for."""
    content: dict[str, Any] = {
        "info": {"images": [1]},
        "images": [
            {"id": 7, "file_name": "train/a.jpg", "width": 30, "height": 20},
            {"id": 3, "coco_url": "http://x/y/b.jpg", "width": 30, "height": 20},
            {"id": 4, "file_name": "c.png", "width": 30, "height": 20},
        ],
        "categories": [{"id": 5, "name": "dark blue"}, {"id": 2, "name": "red"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 5, "bbox": [0, 0, 30, 20]},
            {"id": 2, "image_id": 4, "category_id": 9, "bbox": "not looked at"},
            {"id": 3, "image_id": 7, "category_id": 2, "bbox": [2.5, 3.25, 4.0, 5.75]},
            {"id": 4, "image_id": 7, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        ],
    }
    return {**content, **changes}


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_json_of_coco(tmp_path: Path) -> None:
    path = write(tmp_path, coco())
    assert read_boxes(path, TWO, ["a", "b", "d"]) == {
        "a": (Box(2, 0, 0, 30, 20), Box(1, 2, 3, 5, 6)),
        "b": (),
    }
    with pytest.raises(InputError, match="no such file; --boxes takes a COCO JSON file"):
        read_boxes(tmp_path / "none.json", TWO, ["a"])


@pytest.mark.parametrize("no_crowd", [0, False, "0", "false", None])
def test_what_is_no_crowd_counts_as_in_sets(tmp_path: Path, no_crowd: object) -> None:
    record = {"id": 1, "image_id": 7, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": no_crowd}
    path = write(tmp_path, coco(annotations=[record]))
    assert read_boxes(path, TWO, ["a"]) == {"a": (Box(1, 0, 0, 9, 9),)}
    assert read_labels(path, TWO, ["a"]) == {"a": (1,)}


def one(**changes: Any) -> dict[str, Any]:
    """Return a file with one object, changed; a value of None leaves the field out."""
    record = {"id": 1, "image_id": 7, "category_id": 5, "bbox": [0, 0, 30, 20], **changes}
    return coco(annotations=[{k: v for k, v in record.items() if v is not None}])


TWICE = [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "a.png"}]
SAME_ID = [{"id": 7, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "not a COCO-format file, no object"),
        ('{"images": [], "annotations": []}', "not a COCO-format file, it has no 'categories'"),
        (coco(images=TWICE), "image a or its id 8 occurs twice"),
        (coco(images=SAME_ID), "image b or its id 7 occurs twice"),
        (coco(images=[{"id": "7", "file_name": "a.jpg"}]), "the id of image a must be a whole num"),
        (coco(categories=[{"id": 5, "name": "green"}]), "annotation 1: 'green' is not a class"),
        (one(image_id="7"), "annotation 1: its image_id must be a whole number, not '7'"),
        (one(image_id=7.0), "annotation 1: its image_id must be a whole number, not 7.0"),
        (one(image_id=70), "annotation 1: its image 70 is not listed .1 such annotations"),
        (one(iscrowd="maybe"), "annotation 1: iscrowd is 'maybe'; it must be 0 or 1"),
        (
            coco(categories=[{"id": 5, "name": "red"}, {"id": 5, "name": "dark blue"}]),
            "its categories need distinct whole numbers as ids, one is 5",
        ),
        (one(category_id=6), "annotation 1 has category 6, which the file does not list"),
        (one(category_id=[5]), r"annotation 1 has category \[5\], which"),
        (one(bbox=None), r"annotation 1 \(dark blue\) has no bbox of four numbers"),
        (one(bbox=[0, 0, 3]), r"annotation 1 \(dark blue\) has no bbox of four numbers"),
        (one(bbox=[0, 0, 3, True]), r"annotation 1 \(dark blue\) has no bbox of four numbers"),
        (one(bbox=[0, 0, -3, 3]), r"annotation 1 \(dark blue\): its bbox has a negative width"),
        (one(bbox=[0, 0, 33, 3]), r"annotation 1 \(dark blue\): its bbox reaches outside"),
        (one(bbox=[0, 0, math.nan, 3]), r"annotation 1 .*: its bbox has a coordinate that is not"),
        (one(bbox=[0, 0, 10**400, 3]), r"annotation 1 .*: its bbox int too large"),
        (
            one(bbox=[0]).__repr__().replace("'", '"').replace("[0]", "[01]"),
            "not valid JSON, invalid number",
        ),
    ],
)
def test_faults_of_json_name_file_and_object(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"boxes.json: {message}"):
        read_boxes(write(tmp_path, content), TWO, ["a", "b"])


def test_the_boxes_of_a_set_come_back_from_either_format(sets: Sets, tmp_path: Path) -> None:
    opened = open_set(sets.training)
    weak = weak_set(opened, tmp_path / "weak", boxes=True)
    names = opened.taxonomy.classes
    images, annotations = [], []
    (tmp_path / "xml").mkdir()
    for number, row in enumerate(weak.rows):
        height, width = row.size
        name = f"{row.image_id}.jpg"
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        objects = []
        for box in row.boxes or ():
            edges = [box.x, box.y, box.width, box.height]
            of = {"image_id": number, "category_id": 10 * box.class_id, "bbox": edges}
            annotations.append({"id": len(annotations), **of})
            corners = (box.x + 1, box.y + 1, box.x + box.width, box.y + box.height)
            objects.append(voc_object(names[box.class_id - 1], *corners))
        write_voc(tmp_path / "xml", row.image_id, *objects, size=row.size)
    categories = [{"id": 10 * k, "name": name} for k, name in enumerate(names, start=1)]
    content = coco(images=images, annotations=annotations[::-1], categories=categories)
    wanted = {row.image_id: set(row.boxes or ()) for row in weak.rows}
    for path in (write(tmp_path, content), tmp_path / "xml"):
        found = read_boxes(path, opened.taxonomy, opened.image_ids)
        assert {image_id: set(boxes) for image_id, boxes in found.items()} == wanted
