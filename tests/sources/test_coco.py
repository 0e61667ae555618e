"""COCO-format files: what is read, against pycocotools, and what is refused."""

from __future__ import annotations

import json
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from sbdata.errors import InputError
from sbdata.recipe import SourceSpec
from sbdata.sources import AnnotatedImage, Rejection, open_source
from sbdata.sources.coco import CocoSource, open_coco

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools

SPEC = SourceSpec("coco", ("train2017",))
SQUARE = [[2.0, 3.0, 12.0, 3.0, 12.0, 13.0, 2.0, 13.0]]
WIDTH, HEIGHT = 40, 30


def image(number: int, **changes: Any) -> dict[str, Any]:
    name = f"{number:012d}.jpg"
    return {
        "id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, "license": 2,
        "coco_url": f"http://images.example.org/train2017/{name}", **changes,
    }  # fmt: skip


def annotation(number: int, image_id: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number, "image_id": image_id, "category_id": 17, "iscrowd": 0, "area": 100.0,
        "bbox": [2, 3, 10, 10], "segmentation": SQUARE, **changes,
    }  # fmt: skip


def content(images: list[dict], annotations: list[dict]) -> dict[str, Any]:
    return {
        "info": {"description": 'braces } ] and "quotes"'},
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"},
        ],
        "licenses": [
            {"id": 1, "url": "https://example.org/by"}, {"id": 2, "name": "CC BY", "url": "x"},
        ],
    }  # fmt: skip


def write(root: Path, data: dict[str, Any], **options: Any) -> None:
    path = root / "annotations" / "instances_train2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, **options))


def opened(root: Path, data: dict[str, Any], spec: SourceSpec = SPEC) -> CocoSource:
    write(root, data)
    return open_coco(spec, "train2017", root)


def read(source: CocoSource) -> tuple[dict[str, AnnotatedImage], list[Rejection]]:
    images, rejections = source.read(source.chunks(10_000)[0])
    return {i.source_image_id: i for i in images}, rejections


def mask_of(rle: bytes, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return coco_mask.decode({"size": [height, width], "counts": rle}).astype(bool)


def expected_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """What pycocotools makes of one annotation."""
    coco = COCO()
    coco.imgs = {1: {"height": height, "width": width}}
    return coco.annToMask({"image_id": 1, "segmentation": deepcopy(segmentation)}).astype(bool)


# --- what is read ---------------------------------------------------------------------------------


def test_an_image_is_read_with_everything_annotated_in_it(tmp_path: Path) -> None:
    runs = {"size": [HEIGHT, WIDTH], "counts": [5, 10, HEIGHT * WIDTH - 15]}
    data = content(
        [image(9)],
        [
            annotation(12, 9, category_id=18, segmentation=[*SQUARE, [20, 20, 30, 20, 25, 28]]),
            annotation(7, 9),
            annotation(8, 9, iscrowd=1, segmentation=runs),
        ],
    )
    images, rejections = read(opened(tmp_path, data))
    assert rejections == []
    (found,) = images.values()
    assert (found.image_id, found.file_name) == ("000000000009", "train2017/000000000009.jpg")
    assert (found.width, found.height) == (WIDTH, HEIGHT)
    assert found.url == "http://images.example.org/train2017/000000000009.jpg"
    assert found.license == "CC BY"
    assert (found.void, found.not_exhaustive, found.sha256) == (None, (), None)
    assert [(o.annotation_id, o.category, o.crowd) for o in found.objects] == [
        ("7", "cat", False), ("8", "cat", True), ("12", "dog", False),
    ]  # fmt: skip
    by_id = {a["id"]: a for a in data["annotations"]}
    for o in found.objects:
        segmentation = by_id[int(o.annotation_id)]["segmentation"]
        assert np.array_equal(mask_of(o.rle), expected_mask(segmentation, HEIGHT, WIDTH))


def test_a_compressed_crowd_and_a_single_object_as_runs(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[4:20, 5:30] = True
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    runs = {"size": [HEIGHT, WIDTH], "counts": code}
    data = content([image(1)], [annotation(k, 1, iscrowd=k, segmentation=runs) for k in (0, 1)])
    images, rejections = read(opened(tmp_path, data))
    assert rejections == []
    assert [o.crowd for o in images["1"].objects] == [False, True]
    assert all(np.array_equal(mask_of(o.rle), mask) for o in images["1"].objects)


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("order", ["images first", "annotations first"])
def test_layout_and_order_of_the_file_change_nothing(
    tmp_path: Path, indent: int | None, order: str
) -> None:
    data = content(
        [image(3), image(1, note='"}]{['), image(2)],
        [annotation(k, 1 + k % 3) for k in (5, 1, 4, 2, 3, 6)],
    )
    plain = opened(tmp_path / "plain", data)
    if order == "annotations first":
        data = dict(reversed(data.items()))
    data["images"].reverse()
    data["annotations"].reverse()
    write(tmp_path / "other", data, indent=indent, ensure_ascii=False)
    other = open_coco(SPEC, "train2017", tmp_path / "other")
    assert read(other) == read(plain)
    assert [o.annotation_id for o in read(plain)[0]["1"].objects] == ["3", "6"]


def test_images_come_by_ascending_id_in_chunks(tmp_path: Path) -> None:
    source = opened(tmp_path, content([image(n) for n in (5, 30, 4, 100, 7)], [annotation(1, 30)]))
    chunks = source.chunks(2)
    assert [(c.start, c.stop) for c in chunks] == [(0, 2), (2, 4), (4, 5)]
    ids = [[i.source_image_id for i in source.read(chunk)[0]] for chunk in chunks]
    assert ids == [["4", "5"], ["7", "30"], ["100"]]
    assert [source.position(i) for i in ("4", "30", "100")] == [0, 3, 4]
    assert [source.position(i) for i in ("6", "101", "-1", "", "x", "4.0", "9" * 40)] == [None] * 7
    assert [len(i.objects) for i in source.read_at([3, 0])[0]] == [1, 0]


def test_members_are_listed_without_annotations(tmp_path: Path) -> None:
    source = opened(tmp_path, content([image(8), image(3), image(5, file_name="../x.jpg")], []))
    members = source.members()
    assert [(m.source_image_id, m.file_name) for m in members] == [
        ("3", "train2017/000000000003.jpg"), ("8", "train2017/000000000008.jpg"),
    ]  # fmt: skip
    assert all(f"coco {m.source_image_id}" in m.identities for m in members)


def test_a_source_survives_pickling(tmp_path: Path) -> None:
    source = opened(tmp_path, content([image(1), image(2)], [annotation(1, 2)]))
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own bytes
    assert read(copy) == read(source)
    assert (copy.name, copy.split, copy.generated) == ("coco", "train2017", False)


@pytest.mark.parametrize(
    ("changes", "url", "terms"),
    [
        ({}, "http://images.example.org/train2017/000000000001.jpg", "CC BY"),
        ({"coco_url": None, "url": "https://x.org/a.jpg", "license": 1}, "https://x.org/a.jpg",
         "https://example.org/by"),
        ({"coco_url": "file:///etc/passwd", "license": 77}, None, None),
        ({"coco_url": None, "flickr_url": "http://f.org/1.jpg", "license": None}, None, None),
    ],
)  # fmt: skip
def test_address_and_license(
    tmp_path: Path, changes: dict, url: str | None, terms: str | None
) -> None:
    images, _ = read(opened(tmp_path, content([image(1, **changes)], [])))
    assert (images["1"].url, images["1"].license) == (url, terms)


def test_any_coco_format_folder_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    data = content([image(1, file_name="a/b.png")], [annotation(1, 1)])
    (tmp_path / "labels" / "my-dev.json").write_text(json.dumps(data))
    spec = SourceSpec(
        "mine", ("dev",), format="coco", annotations="labels/my-{split}.json", images="{split}-img"
    )
    source = open_source(spec, "dev", tmp_path)
    images, _ = source.read(source.chunks(9)[0])
    assert [(i.image_id, i.file_name) for i in images] == [("b", "dev-img/a/b.png")]
    beside = SourceSpec(
        "mine", ("dev",), format="coco", annotations="labels/my-dev.json", images="."
    )
    (member,) = open_source(beside, "dev", tmp_path).members()
    assert (member.source_image_id, member.file_name) == ("1", "a/b.png")
    assert member.identities == (
        str(tmp_path / "a/b.png"), "images.example.org/train2017/000000000001.jpg", "coco 1"
    )  # fmt: skip


def test_only_categories_of_the_class_map_are_read(tmp_path: Path) -> None:
    broken = [[1.0, 1.0, 2.0, 2.0]]
    data = content(
        [image(1)], [annotation(1, 1), annotation(2, 1, category_id=90, segmentation=broken)]
    )
    _, rejections = read(opened(tmp_path, data))
    assert [r.reason for r in rejections] == ["polygon_points"]
    for class_map in ("coco-to-voc20", {"cat": "cat"}):
        spec = SourceSpec("coco", ("train2017",), class_map=class_map)
        images, rejections = read(opened(tmp_path, data, spec))
        assert rejections == []
        assert [o.category for o in images["1"].objects] == ["cat"]


def test_photos_are_read_where_they_are(tmp_path: Path) -> None:
    source = opened(tmp_path, content([image(1)], []))
    assert source.image_bytes("train2017/000000000001.jpg") is None
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "000000000001.jpg").write_bytes(b"jpeg")
    assert source.image_bytes("train2017/000000000001.jpg") == b"jpeg"
    assert source.pixel_sha256("train2017/000000000001.jpg") is None


def test_no_name_and_no_link_leads_out_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    source = opened(root, content([image(1)], []))
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "train2017").mkdir()
    (root / "train2017" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg"), "train2017/link.jpg"):
        with pytest.raises(InputError, match="points outside"):
            source.image_bytes(name)


# --- what is refused ------------------------------------------------------------------------------


def only_rejection(root: Path, data: dict[str, Any]) -> Rejection:
    """The one thing that is left out of a file whose image 2 is flawed and image 1 is not."""
    images, rejections = read(opened(root, data))
    assert list(images) == ["1"]
    (rejection,) = rejections
    assert rejection.source == "coco"
    assert rejection.detail
    return rejection


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([[1, 1, 5, 5]], "polygon_points"),
        ([[1, 1, 5, 1, 5, 5, 1]], "polygon_points"),
        ([SQUARE[0], []], "polygon_points"),
        ([1, 1, 5, 1, 5, 5], "polygon_points"),
        ([[1, 1, 41.01, 1, 5, 5]], "polygon_outside"),
        ([[1, 1, 5, -1.01, 5, 5]], "polygon_outside"),
        ([[1, 1, -1.01, 5, 5, 5]], "polygon_outside"),
        ([SQUARE[0], [1, 1, 5, 1, 5, 31.5]], "polygon_outside"),
        ([[1, 1, 10**30, 1, 5, 5]], "polygon_outside"),
        ([[1, 1, float("nan"), 1, 5, 5]], "polygon_not_finite"),
        ([[1, 1, 5, float("-inf"), 5, 5]], "polygon_not_finite"),
        ([[1, 1, 5, None, 5, 5]], "polygon_not_finite"),
        ([[1, 1, 5, "1", 5, 5]], "polygon_not_finite"),
        ([[1, 1, 5, [1], 5, 5]], "polygon_not_finite"),
        ([], "empty_segmentation"),
        ({}, "empty_segmentation"),
        (None, "empty_segmentation"),
        ("abc", "empty_segmentation"),
        ({"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}, "rle_size"),
        ({"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH - 1]}, "rle_size"),
        ({"size": [HEIGHT, WIDTH], "counts": [5, -5, HEIGHT * WIDTH]}, "rle_size"),
        ({"size": [HEIGHT, WIDTH], "counts": [5.5, HEIGHT * WIDTH - 5.5]}, "rle_size"),
        ({"size": [HEIGHT, WIDTH], "counts": "Pn5"}, "rle_size"),
        ({"size": [HEIGHT, WIDTH], "counts": "é"}, "rle_size"),
        ({"size": [HEIGHT, WIDTH]}, "rle_size"),
        ({"counts": [HEIGHT * WIDTH]}, "rle_size"),
    ],
)
def test_an_image_with_an_unusable_mask_is_rejected(
    tmp_path: Path, segmentation: Any, reason: str
) -> None:
    data = content(
        [image(1), image(2)],
        [annotation(1, 1), annotation(2, 2), annotation(3, 2, segmentation=segmentation)],
    )
    rejection = only_rejection(tmp_path, data)
    assert (rejection.reason, rejection.annotation_id) == (reason, "3")
    assert rejection.file == "train2017/000000000002.jpg"
    assert rejection.image_id == "000000000002"


def test_a_missing_mask_is_an_empty_one(tmp_path: Path) -> None:
    bare = annotation(3, 2)
    del bare["segmentation"]
    rejection = only_rejection(tmp_path, content([image(1), image(2)], [bare]))
    assert (rejection.reason, rejection.annotation_id) == ("empty_segmentation", "3")


def test_points_up_to_a_pixel_outside_are_cut_off(tmp_path: Path) -> None:
    wide = [[-1, -1, WIDTH + 1, -1, WIDTH + 1, HEIGHT + 1, -1, HEIGHT + 1]]
    images, rejections = read(
        opened(tmp_path, content([image(1)], [annotation(1, 1, segmentation=wide)]))
    )
    assert rejections == []
    assert mask_of(images["1"].objects[0].rle).all()


@pytest.mark.parametrize(
    "name",
    [
        "../000000000002.jpg", "/etc/passwd", "a\\..\\b.jpg", "C:/x.jpg", "a/../../b.jpg",
        "b\x00.jpg", "..", "a/..", "a/.hidden", "x" * 300 + ".jpg", "two\nlines.jpg",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_not_followed(tmp_path: Path, name: str) -> None:
    data = content([image(1), image(2, file_name=name)], [annotation(1, 2)])
    rejection = only_rejection(tmp_path, data)
    assert rejection.reason == "unsafe_path"
    assert repr(name) in rejection.detail or repr("train2017/" + name) in rejection.detail


@pytest.mark.parametrize("name", [None, "", 5])
def test_an_image_without_a_name_is_rejected(tmp_path: Path, name: Any) -> None:
    data = content([image(1), image(2, file_name=name)], [])
    assert only_rejection(tmp_path, data).reason == "no_file_name"


@pytest.mark.parametrize(
    "changes",
    [{"width": 0}, {"height": -3}, {"width": None}, {"height": "30"}, {"width": 40.0},
     {"width": True}, {"width": 10**6, "height": 10**6}],
)  # fmt: skip
def test_an_image_of_impossible_size_is_rejected(tmp_path: Path, changes: dict) -> None:
    data = content([image(1), image(2, **changes)], [annotation(1, 2)])
    assert only_rejection(tmp_path, data).reason == "bad_size"


@pytest.mark.parametrize("category", [19, None, "17", 17.0])
def test_an_object_of_an_unknown_category_rejects_its_image(tmp_path: Path, category: Any) -> None:
    data = content([image(1), image(2)], [annotation(5, 2), annotation(6, 2, category_id=category)])
    rejection = only_rejection(tmp_path, data)
    assert (rejection.reason, rejection.annotation_id) == ("unknown_category", "6")


def test_all_images_of_a_repeated_id_are_rejected(tmp_path: Path) -> None:
    images = [image(2, file_name="a.jpg"), image(1), image(2, file_name="b.jpg")]
    found, rejections = read(opened(tmp_path, content(images, [annotation(1, 2)])))
    assert list(found) == ["1"]
    assert [r.reason for r in rejections] == ["duplicate_image_id"] * 2
    assert {r.image_id for r in rejections} == {"a", "b"}


def test_all_images_that_share_a_repeated_annotation_id_are_rejected(tmp_path: Path) -> None:
    data = content(
        [image(n) for n in (1, 2, 3, 4)],
        [annotation(1, 1), annotation(5, 2), annotation(5, 3), annotation(9, 4), annotation(9, 4)],
    )
    found, rejections = read(opened(tmp_path, data))
    assert list(found) == ["1"]
    assert [(r.reason, r.annotation_id) for r in rejections] == [
        ("duplicate_annotation_id", "5"), ("duplicate_annotation_id", "5"),
        ("duplicate_annotation_id", "9"),
    ]  # fmt: skip


def test_an_object_without_an_image_is_refused(tmp_path: Path) -> None:
    lost = annotation(8, 1)
    del lost["image_id"]
    with pytest.raises(InputError, match="annotation 8 has no integer image_id, nor any other"):
        opened(tmp_path, content([image(1)], [annotation(1, 1), lost]))


def test_images_that_would_get_the_same_name_are_rejected(tmp_path: Path) -> None:
    images = [image(1), image(2, file_name="a/x.jpg"), image(3, file_name="b/x.png")]
    found, rejections = read(opened(tmp_path, content(images, [])))
    assert list(found) == ["1"]
    assert [r.reason for r in rejections] == ["duplicate_file_name"] * 2


def test_objects_of_no_listed_image_are_reported(tmp_path: Path) -> None:
    data = content([image(1), image(2)], [annotation(1, 1), annotation(7, 99), annotation(8, 0)])
    source = opened(tmp_path, data)
    images, rejections = read(source)
    assert sorted(images) == ["1", "2"]
    assert [(r.reason, r.annotation_id, r.image_id) for r in rejections] == [
        ("unknown_image", "7", ""), ("unknown_image", "8", ""),
    ]  # fmt: skip
    assert rejections[0].file == "annotations/instances_train2017.json"
    assert "99" in rejections[0].detail
    first, second = source.chunks(1)
    assert len(source.read(first)[1]) == 2
    assert source.read(second)[1] == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"images": []}, "the split is empty"),
        ({"images": {}}, "must be an array"),
        ({"images": [{"file_name": "a.jpg"}]}, "no integer id"),
        ({"images": [{"id": "1"}]}, "no integer id"),
        ({"annotations": [{"image_id": 1}]}, "no integer id"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "distinct integer ids"),
        ({"categories": [{"id": 1}]}, "distinct integer ids"),
    ],
)
def test_files_of_another_shape_are_refused(tmp_path: Path, changes: dict, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        opened(tmp_path, {**content([image(1)], [annotation(1, 1)]), **changes})
    assert "instances_train2017.json" in str(caught.value)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_file_without_one_of_the_arrays_is_refused(tmp_path: Path, key: str) -> None:
    data = content([image(1)], [annotation(1, 1)])
    del data[key]
    with pytest.raises(InputError, match=f"it has no '{key}' array"):
        opened(tmp_path, data)


def test_a_license_without_an_id_is_that_of_no_image(tmp_path: Path) -> None:
    silent = image(9)
    del silent["license"]
    data = content([silent], [annotation(7, 9)])
    data["licenses"] = [{"name": "CC BY", "url": ""}]
    assert read(opened(tmp_path, data))[0]["9"].license is None


def test_a_file_without_licenses_will_do(tmp_path: Path) -> None:
    data = content([image(1)], [])
    del data["licenses"]
    assert read(opened(tmp_path, data))[0]["1"].license is None


@pytest.mark.parametrize("text", ["", "<html>", '{"images": [{"id": 1}, {"i'])
def test_a_file_that_is_no_json_or_ends_early_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "annotations" / "instances_train2017.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InputError, match=r"instances_train2017\.json: not .*download"):
        open_coco(SPEC, "train2017", tmp_path)


def test_a_broken_value_is_named_by_its_place(tmp_path: Path) -> None:
    write(tmp_path, content([image(1)], [annotation(1, 1)]))
    path = tmp_path / "annotations" / "instances_train2017.json"
    text = path.read_text().replace('"area": 100.0', '"area": 1x0.0')
    path.write_text(text)
    at = text.index("x0.0")
    with pytest.raises(InputError, match=f"not valid JSON, expected ',' or '}}' at byte {at};"):
        open_coco(SPEC, "train2017", tmp_path)


def test_a_record_with_broken_text_is_named_by_its_place(tmp_path: Path) -> None:
    write(tmp_path, content([image(1)], [annotation(1, 1)]))
    path = tmp_path / "annotations" / "instances_train2017.json"
    data = path.read_bytes().replace(b'"area": 100.0', b'"area": "\xff"')
    path.write_bytes(data)
    at = data.index(b'{"id": 1, "image_id"')
    source = open_coco(SPEC, "train2017", tmp_path)
    with pytest.raises(InputError, match=f"not valid JSON in the record at byte {at};"):
        source.read(source.chunks(5)[0])


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--source-root coco=PATH"):
        open_coco(SPEC, "train2017", None)
    with pytest.raises(InputError, match=r"instances_val2017\.json.*annotations_trainval2017\.zip"):
        open_coco(SPEC, "val2017", tmp_path)
    with pytest.raises(InputError, match=r"annotations_trainval2014\.zip.*--source-root.*--set"):
        open_coco(SPEC, "train2014", tmp_path)
    with pytest.raises(InputError, match=r"test2017.*COCO has instances of train2014"):
        open_coco(SPEC, "test2017", tmp_path)
    mine = SourceSpec("mine", ("a",), format="coco", annotations="x-{split}.json")
    with pytest.raises(InputError, match=r"x-a\.json: no such file, but the recipe names it"):
        open_coco(mine, "a", tmp_path)
    with pytest.raises(InputError, match="unknown option 'pool'"):
        opened(tmp_path, content([image(1)], []), SourceSpec("c", ("a",), options={"pool": 3}))


# --- the published files --------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["coco128", "coco-mini"])
def test_published_images_are_read_as_pycocotools_reads_them(
    real_data: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = real_data / folder
    source = open_coco(SPEC, "train2017", root)
    images, rejections = read(source)
    coco = COCO(root / "annotations" / "instances_train2017.json")
    assert rejections == []
    assert sorted(map(int, images)) == sorted(coco.imgs)
    for number, record in coco.imgs.items():
        found = images[str(number)]
        assert found.url == record["coco_url"]
        assert source.image_bytes(found.file_name) is not None
        expected = sorted(coco.imgToAnns[number], key=lambda a: a["id"])
        assert [int(o.annotation_id) for o in found.objects] == [a["id"] for a in expected]
        for o, a in zip(found.objects, expected, strict=True):
            assert o.category == coco.cats[a["category_id"]]["name"]
            assert o.crowd == bool(a["iscrowd"])
            assert np.array_equal(mask_of(o.rle, found.height, found.width), coco.annToMask(a))
