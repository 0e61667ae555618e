"""COCO-format files as other programs write them: types, encodings, names, sizes."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sbdata.errors import InputError
from sbdata.recipe import SourceSpec
from sbdata.sources import Rejection
from sbdata.sources.coco import CocoSource, open_coco
from sbdata.taxonomy import Taxonomy, class_map, describe_unmatched

SPEC = SourceSpec("yard", ("all",), "coco", annotations="labels.json", images=".")
SQUARE = [[4.0, 4.0, 14.0, 4.0, 14.0, 12.0, 4.0, 12.0]]


def labels(*changes: dict[str, Any], image: dict[str, Any] | None = None) -> dict[str, Any]:
    """Two images with an object each; the changes are of the second object and image."""
    images = [{"id": i, "file_name": f"p{i}.jpg", "width": 50, "height": 40} for i in (1, 2)]
    images[1].update(image or {})
    objects = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": SQUARE, "iscrowd": 0}
        for i in (1, 2)
    ]
    for change in changes:
        objects[1].update(change)
    return {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "hen"}]}


def opened(root: Path, content: Any, encode: str = "utf-8") -> CocoSource:
    (root / "labels.json").write_bytes(json.dumps(content).encode(encode))
    return open_coco(SPEC, "all", root)


def read(source: CocoSource) -> tuple[dict[str, list[bool]], list[Rejection]]:
    images, rejections = source.read(source.chunks(100)[0])
    return {i.image_id: [o.crowd for o in i.objects] for i in images}, rejections


@pytest.mark.parametrize(
    ("given", "crowd"),
    [(0, False), (1, True), (False, False), (True, True), ("0", False), ("1", True),
     ("false", False), (" True ", True), (0.0, False), (None, False)],
)  # fmt: skip
def test_iscrowd_is_read_as_it_is_meant(tmp_path: Path, given: Any, crowd: bool) -> None:
    images, rejections = read(opened(tmp_path, labels({"iscrowd": given})))
    assert images == {"p1": [False], "p2": [crowd]}
    assert rejections == []


@pytest.mark.parametrize("given", ["no", 2, -1, 0.5, [], {"a": 1}, ""])
def test_another_iscrowd_leaves_the_image_out(tmp_path: Path, given: Any) -> None:
    images, (rejection,) = read(opened(tmp_path, labels({"iscrowd": given})))
    assert list(images) == ["p1"]
    assert (rejection.reason, rejection.image_id) == ("bad_iscrowd", "p2")


@pytest.mark.parametrize(
    ("image_id", "said"),
    [("2", "a text"), (2.0, "a number with a point"), (2.5, "with a point"),
     (None, "None, which is not"), (2**70, "at most 63 bits")],
)  # fmt: skip
def test_an_annotation_of_an_unknown_image_is_refused(
    tmp_path: Path, image_id: Any, said: str
) -> None:
    """Its image, whichever it is, would be scored without the object."""
    message = (
        rf"labels\.json: .*annotation 2 has no integer image_id but .*{said}.*1 such annotations"
    )
    with pytest.raises(InputError, match=message):
        opened(tmp_path, labels({"image_id": image_id}))
    content = labels({"image_id": image_id, "category_id": 9})
    content["categories"].append({"id": 9, "name": "fox"})
    (tmp_path / "labels.json").write_text(json.dumps(content))
    hens = replace(SPEC, class_map={"hen": "hen"})  # foxes are not read
    assert read(open_coco(hens, "all", tmp_path)) == ({"p1": [False], "p2": []}, [])


def test_annotations_of_no_image_are_counted(tmp_path: Path) -> None:
    images, (rejection,) = read(opened(tmp_path, labels({"image_id": 7})))
    assert images == {"p1": [False], "p2": []}
    assert rejection.reason == "unknown_image"
    assert rejection.annotation_id == "2"
    assert "not listed" in rejection.detail


@pytest.mark.parametrize("number", [10**18 + 3, 2**63 - 1, -(2**63) + 1])
def test_ids_have_up_to_19_digits(tmp_path: Path, number: int) -> None:
    content = labels({"image_id": number}, image={"id": number})
    source = opened(tmp_path, content)
    assert read(source) == ({"p1": [False], "p2": [False]}, [])
    place = source.position(str(number))
    assert place is not None
    assert source.index.image_id[place] == number
    assert source.position("9" * 19) is None


@pytest.mark.parametrize(
    ("number", "said"),
    [(2**63, "too large"), ("2", "without quotes"), (2.0, "without one"), (None, "not an integer")],
)
def test_other_ids_are_named(tmp_path: Path, number: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"no integer id but .*{said}"):
        opened(tmp_path, labels(image={"id": number}))


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"width": "50"}, "without quotes"),
        ({"width": 50.0}, "whole numbers"),
        ({"height": 0}, "at least 1"),
        ({"width": 3_000_000, "height": 1}, "65,535"),
        ({"width": 2**40, "height": 2**40}, "65,535"),
        ({"width": 60_000, "height": 60_000}, "89,478,485"),
        ({"width": 80_000_000, "height": 1, "file_name": "p2.png"}, "1,000,000"),
    ],
)
def test_sizes_that_no_image_has_are_refused_before_room_is_made(
    tmp_path: Path, size: dict[str, Any], said: str
) -> None:
    images, (rejection,) = read(opened(tmp_path, labels(image=size)))
    assert list(images) == ["p1"]
    assert rejection.reason == "bad_size"
    assert said in rejection.detail


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"file_name": "photos\\p2.jpg"}, "unsafe_path"),
        ({"file_name": "\ud800.jpg"}, "unsafe_path"),
        ({"coco_url": "http://x/\x1b[2J.jpg"}, "bad_url"),
    ],
)
def test_names_that_no_file_has_are_named(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    images, (rejection,) = read(opened(tmp_path, labels(image=change)))
    assert list(images) == ["p1"]
    assert rejection.reason == reason
    if "\\" in str(change.get("file_name")):
        assert "backslash" in rejection.detail


def test_numbers_beyond_any_are_named(tmp_path: Path) -> None:
    outline = [[10**400, 4, 14, 4, 14, 12]]
    images, (rejection,) = read(opened(tmp_path, labels({"segmentation": outline})))
    assert (list(images), rejection.reason) == (["p1"], "polygon_not_finite")
    assert rejection.annotation_id == "2"


def test_encodings_are_read_or_named(tmp_path: Path) -> None:
    assert read(opened(tmp_path, labels(), "utf-8-sig"))[0] == {"p1": [False], "p2": [False]}
    with pytest.raises(InputError, match="UTF-16 text; save it as UTF-8"):
        opened(tmp_path, labels(), "utf-16")
    with pytest.raises(InputError, match="UTF-16 text; save it as UTF-8"):
        opened(tmp_path, labels(), "utf-16-be")
    packed = gzip.compress(json.dumps(labels()).encode())
    (tmp_path / "labels.json").write_bytes(packed)
    with pytest.raises(InputError, match="compressed by gzip; unpack"):
        open_coco(SPEC, "all", tmp_path)


def test_control_characters_in_categories_are_refused(tmp_path: Path) -> None:
    for name in ("hen\x1b[2J", "\ud800"):
        content = labels()
        content["categories"][0]["name"] = name
        with pytest.raises(InputError, match="control characters"):
            opened(tmp_path, content)


@pytest.mark.parametrize("number", [2**63, -(2**64), "1", 1.0, None])
def test_categories_need_integer_ids_of_64_bits(tmp_path: Path, number: Any) -> None:
    content = labels()
    content["categories"].append({"id": number, "name": "fox"})
    with pytest.raises(InputError, match="distinct integer ids"):
        opened(tmp_path, content)


def test_licenses_are_kept_as_text(tmp_path: Path) -> None:
    content = labels(image={"license": 1}) | {"licenses": [{"id": 1, "name": "by \ud800"}]}
    images, _ = (source := opened(tmp_path, content)).read(source.chunks(9)[0])
    assert images[1].license == "by \\ud800"


def test_classes_without_a_category_are_said_with_what_comes_close() -> None:
    mapping = class_map(Taxonomy("farm", ("fox", "hen", "traffic light")), None)
    found = mapping.unmatched(["Fox", "hen", "traffic_light", "cow"])
    assert found == {"fox": "Fox", "traffic light": "traffic_light"}
    assert "fox (it has 'Fox')" in describe_unmatched(found, "labels.json")
    assert mapping.unmatched(["fox", "hen", "traffic light"]) == {}
    assert describe_unmatched({}, "labels.json") == ""
