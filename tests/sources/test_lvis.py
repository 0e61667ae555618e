"""LVIS: file names from urls, exhaustiveness, versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sbdata.errors import InputError
from sbdata.recipe import SourceSpec
from sbdata.sources import AnnotatedImage, Rejection, open_source
from sbdata.sources.coco import CocoSource
from sbdata.sources.lvis import open_lvis

SPEC = SourceSpec("lvis", ("train", "val"))
TRIANGLE = [[1.0, 1.0, 9.0, 1.0, 5.0, 9.0]]


def content(*images: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": list(images),
        "annotations": [
            {"id": 4, "image_id": 391895, "category_id": 2, "segmentation": TRIANGLE, "area": 30,
             "bbox": [1, 1, 8, 8]},
        ],
        "categories": [
            {"id": 1, "name": "aerosol_can"}, {"id": 2, "name": "bulldog"}, {"id": 3, "name": "dog"}
        ],
        "licenses": [{"id": 5, "name": "CC BY", "url": "x"}],
    }  # fmt: skip


def image(number: int = 391895, **changes: Any) -> dict[str, Any]:
    return {
        "id": number, "width": 20, "height": 10, "license": 5, "neg_category_ids": [1],
        "not_exhaustive_category_ids": [3, 2],
        "coco_url": f"http://images.cocodataset.org/val2017/{number:012d}.jpg", **changes,
    }  # fmt: skip


def write(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def read(source: CocoSource) -> tuple[list[AnnotatedImage], list[Rejection]]:
    return source.read(source.chunks(100)[0])


@pytest.mark.parametrize("file", ["lvis_v1_train.json", "annotations/lvis_v1_train.json"])
def test_an_image_lies_where_its_url_says(tmp_path: Path, file: str) -> None:
    write(tmp_path / file, content(image()))
    source = open_source(SPEC, "train", tmp_path)
    (found,), rejections = source.read(source.chunks(100)[0])
    assert rejections == []
    assert found.file_name == "val2017/000000391895.jpg"
    assert found.image_id == "000000391895"
    assert found.source_image_id == "391895"
    assert found.url == "http://images.cocodataset.org/val2017/000000391895.jpg"
    assert found.license == "CC BY"
    assert found.not_exhaustive == ("bulldog", "dog")
    assert [(o.annotation_id, o.category, o.crowd) for o in found.objects] == [
        ("4", "bulldog", False)
    ]


def test_an_images_folder_of_ones_own(tmp_path: Path) -> None:
    write(tmp_path / "lvis_v1_val.json", content(image()))
    spec = SourceSpec("lvis", ("val",), images="photos")
    assert open_lvis(spec, "val", tmp_path).members()[0].file_name == "photos/000000391895.jpg"


def test_the_older_version_is_read_by_its_name(tmp_path: Path) -> None:
    """Its file_name is that of COCO 2014, whose folders lie elsewhere; the url is right."""
    older = image(file_name="COCO_val2014_000000391895.jpg")
    write(tmp_path / "lvis_v0.5_val.json", content(older))
    spec = SourceSpec("lvis", ("val",), annotations="lvis_v0.5_{split}.json")
    (found,), _ = read(open_lvis(spec, "val", tmp_path))
    assert found.file_name == "val2017/000000391895.jpg"


def test_without_a_url_the_file_name_counts(tmp_path: Path) -> None:
    write(tmp_path / "lvis_v1_val.json", content(image(coco_url=None, file_name="val2017/a.jpg")))
    (found,), _ = read(open_lvis(SPEC, "val", tmp_path))
    assert (found.file_name, found.url) == ("val2017/a.jpg", None)


@pytest.mark.parametrize("end", ["..", "../..", "a\\b.jpg", "val2017/..", ".hidden", "../x.jpg"])
def test_a_url_leads_nowhere_else(tmp_path: Path, end: str) -> None:
    url = f"http://images.cocodataset.org/{end}"
    write(tmp_path / "lvis_v1_val.json", content(image(), image(2, coco_url=url)))
    found, rejections = read(open_lvis(SPEC, "val", tmp_path))
    assert [i.source_image_id for i in found] == ["391895"]
    assert [r.reason for r in rejections] == ["unsafe_path"]


@pytest.mark.parametrize("ids", [None, "3", [99], [True, 3.0]])
def test_odd_lists_of_categories_name_nothing(tmp_path: Path, ids: Any) -> None:
    write(tmp_path / "lvis_v1_val.json", content(image(not_exhaustive_category_ids=ids)))
    (found,), _ = read(open_lvis(SPEC, "val", tmp_path))
    assert found.not_exhaustive == ()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--source-root lvis=PATH"):
        open_lvis(SPEC, "train", None)
    with pytest.raises(InputError, match=r"lvis_v1_train\.json: .*lvis_v1_train\.json\.zip"):
        open_lvis(SPEC, "train", tmp_path)
    older = SourceSpec("lvis", ("val",), annotations="lvis_v0.5_{split}.json")
    with pytest.raises(InputError, match=r"lvis_v0\.5_val\.json: no such file; the recipe names"):
        open_lvis(older, "val", tmp_path)


@pytest.mark.realdata
def test_the_published_sample_is_read(real_data: Path) -> None:
    root = real_data / "lvis-sample"
    spec = SourceSpec("lvis", ("val",), annotations="annotations/lvis_v0.5_{split}_100.json")
    images, rejections = read(open_lvis(spec, "val", root))
    data = json.loads((root / "annotations" / "lvis_v0.5_val_100.json").read_bytes())
    names = {c["id"]: c["name"] for c in data["categories"]}
    assert rejections == []
    assert [i.source_image_id for i in images] == sorted(
        (str(i["id"]) for i in data["images"]), key=int
    )
    by_id = {str(i["id"]): i for i in data["images"]}
    for found in images:
        record = by_id[found.source_image_id]
        assert found.file_name == f"val2017/{int(found.source_image_id):012d}.jpg"
        unsure = record["not_exhaustive_category_ids"]
        assert found.not_exhaustive == tuple(sorted(names[i] for i in unsure))
        own = [a for a in data["annotations"] if a["image_id"] == record["id"]]
        assert [(int(o.annotation_id), o.category) for o in found.objects] == sorted(
            (a["id"], names[a["category_id"]]) for a in own
        )
