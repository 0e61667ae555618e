"""Sets built from photos and labels: every kind of file, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sbdata.curate.build import Built, build_set, built_already, measure_sources
from sbdata.curate.inputs import Inputs
from sbdata.curate.materialise import read_rejected
from sbdata.curate.verify import verify_set
from sbdata.errors import InputError
from sbdata.manifest import IMAGES_FILE, make_manifest, read_manifest
from sbdata.recipe import SourceSpec, recipe_from_dict
from sbdata.score.truth import truth_from_set
from sbdata.sets import open_set
from sbdata.train.samples import images_of_set
from sbdata.weak_labels.photo_labels import open_labels
from sbdata.weak_labels.sources import WeakSources

CLASSES = ("fox", "red hen")
LABELS = {"a": (1,), "b": (1, 2), "c": ()}


def _coco(**changes: Any) -> str:
    images = [{"id": n, "file_name": f"{i}.jpg"} for n, i in enumerate(LABELS, start=1)]
    objects = [(1, 1, [0, 0, 8, 9]), (2, 1, [1, 2, 3, 4]), (2, 2, [5, 5, 10, 5])]
    content = {
        "images": images,
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": box}
            for n, (i, c, box) in enumerate(objects, start=1)
        ],
        "categories": [{"id": c, "name": name} for c, name in enumerate(CLASSES, start=1)],
    }
    return json.dumps({**content, **changes})


def _xml(*names: str) -> str:
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    objects = (f"<object><name>{name}</name>{box}</object>" for name in names)
    return f"<annotation>{''.join(objects)}</annotation>"


def _npy(root: Path) -> None:
    vectors = {i: np.isin([1, 2], c).astype(np.float32) for i, c in LABELS.items()}
    np.save(root / "labels.npy", vectors, allow_pickle=True)  # type: ignore[arg-type]


def _folder(root: Path) -> None:
    (root / "xml").mkdir()
    for image_id, classes in LABELS.items():
        (root / "xml" / f"{image_id}.xml").write_text(_xml(*(CLASSES[c - 1] for c in classes)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    photos = tmp_path / "root" / "photos"
    photos.mkdir(parents=True)
    for number, image_id in enumerate(LABELS):
        noise = np.random.default_rng(number).integers(0, 256, (3, 4, 3), np.uint8)
        Image.fromarray(noise).resize((20, 12)).save(photos / f"{image_id}.jpg")
    return tmp_path / "root"


def _build(root: Path, file: str, *overrides: str, **options: Any) -> Built:
    source = {"name": "yard", "format": "labels", "splits": ["train"], "annotations": file,
              "images": "photos", "options": options}  # fmt: skip
    raw = {"name": "yard", "version": "v1", "taxonomy": list(CLASSES), "sources": [source]}
    recipe = recipe_from_dict(raw, "test", overrides)
    return build_set(recipe, root.parent / "set", Inputs(roots={"yard": root}))


FILES: dict[str, str | Callable[[Path], None]] = {
    "labels.csv": "image_id,classes\na,fox\nb,red hen fox\nc,\n",
    "labels.txt": "a fox\nb 2 fox\n\nc\n",
    "labels.json": '{"a": ["fox"], "b": [2, "fox"], "c": []}',
    "coco.json": _coco(),
    "labels.npy": _npy,
    "xml": _folder,
}


@pytest.mark.parametrize("file", FILES)
def test_each_kind_of_file_gives_the_same_set(root: Path, file: str) -> None:
    made = FILES[file]
    made(root) if callable(made) else (root / file).write_text(made)
    built = _build(root, file)
    opened = open_set(built.root)
    assert {i: opened.labels_of(i) for i in opened} == LABELS
    assert verify_set(built.root) == []
    assert not (built.root / "SegmentationClass").exists()
    assert built.manifest.meta["version"] == 3
    weak = WeakSources().read(opened, None)
    assert [row.classes for row in weak.rows] == [*LABELS.values()]
    with pytest.raises(InputError, match="without boxes; give boxes by --boxes"):
        WeakSources(with_boxes=True).read(opened, None)


def test_boxes_reach_methods(root: Path) -> None:
    (root / "coco.json").write_text(_coco())
    built = _build(root, "coco.json", boxes="coco.json")
    weak = WeakSources(with_boxes=True).read(open_set(built.root), None)
    found = [[(b.class_id, b.x, b.y, b.width, b.height) for b in r.boxes or ()] for r in weak.rows]
    assert found == [[(1, 0, 0, 8, 9)], [(1, 1, 2, 3, 4), (2, 5, 5, 10, 5)], []]
    two = Inputs(roots={"yard": root}, workers=2)
    recipe = recipe_from_dict(built.manifest.meta["recipe"], "test")
    again = build_set(recipe, root.parent / "two", two)
    assert again.manifest.logical_hash == built.manifest.logical_hash
    assert built_already(built.root, recipe, two) is not None
    assert "red hen | 1 | 1" in (built.root / "README.md").read_text()
    assert measure_sources(recipe, two).statistics == built.after
    (root / "coco.json").write_text(_coco(annotations=[]))
    with pytest.raises(InputError, match="annotations changed since"):
        built_already(built.root, recipe, two)


def test_photos_without_labels_are_counted_and_left_out(root: Path) -> None:
    (root / "labels.txt").write_text("a fox\nc 2\n")
    built = _build(root, "labels.txt")
    assert built.manifest.meta["rejected"] == {"no_labels": 1}
    (rejected,) = read_rejected(built.root / "rejected.csv")
    assert rejected.file == "photos/b.jpg"


def test_a_list_names_the_images_to_take(root: Path) -> None:
    (root / "labels.txt").write_text("a fox\nb fox\nelsewhere fox\n")
    (root / "train.txt").write_text("b\n")
    assert open_set(_build(root, "labels.txt", list="{split}.txt").root).image_ids == ("b",)


WRONG: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "class": ("labels.txt", "a cat\n", {}, "line 1: 'cat' is not a class of yard"),
    "class of json": ("labels.json", '{"a": ["cat"]}', {}, "'cat' is not a class"),
    "class of coco": ("coco.json", _coco(categories=[{"id": 1, "name": "cat"}]), {}, "'cat'"),
    "number": ("labels.txt", "a 0\n", {}, "'0' is not a class"),
    "missing photo": ("labels.txt", "a fox\nz fox\n", {}, "labels of images without a photo.*'z'"),
    "twice": ("labels.txt", "a fox\na fox\n", {}, "image 'a' is also in line 1"),
    "twice in json": ("labels.json", '{"a": [1], "a": [2]}', {}, "image 'a' is given twice"),
    "twice in coco": (
        "coco.json",
        _coco(images=[{"id": i, "file_name": "a.jpg"} for i in (1, 2)]),
        {},
        "occurs twice",
    ),
    "no json": ("labels.json", "{", {}, "not a readable JSON file"),
    "a json list": ("labels.json", "[1]", {}, "object from image ids"),
    "a json of vectors of text": ("labels.json", '{"a": 1.5}', {}, "not a list of class names"),
    "nothing": ("labels.txt", "", {}, "has no labels for any of the 3 photos"),
    "no file": ("labels.csv/x", "", {}, "no such file; --labels takes"),
    "option": ("labels.txt", "a fox\n", {"masks": "x"}, "unknown option 'masks'"),
    "boxes of fewer images": ("labels.txt", "a fox\nb 1 2\nc\n", {"boxes": "some.json"}, "no box"),
    "a box without a label": ("labels.txt", "a\nb 1 2\nc\n", {"boxes": "all.json"}, "box but"),
    "a box beyond the photo": ("labels.txt", "a 1\nb 1\nc\n", {"boxes": "far.json"}, "not lie"),
    "listed without a photo": ("labels.txt", "a 1\n", {"list": "z.txt"}, "no photo of listed"),
    "listed without labels": ("labels.txt", "a 1\n", {"list": "b.txt"}, "no labels of listed"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_files_are_refused(root: Path, kind: str) -> None:
    file, text, options, said = WRONG[kind]
    far = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 21, 5]}]
    for name, content in {
        "all.json": _coco(),
        "some.json": _coco(images=[{"id": 1, "file_name": "a.jpg"}], annotations=[]),
        "far.json": _coco(annotations=far),
        "z.txt": "a\nz\n",
        "b.txt": "b\n",
    }.items():
        (root / name).write_text(content)
    if "/" not in file:
        (root / file).write_text(text)
    with pytest.raises(InputError, match=said):
        _build(root, file, **options)
    assert not (root.parent / "set").exists()


def test_a_listed_photo_with_a_blank_in_its_name(root: Path) -> None:
    (root / "photos" / "c.jpg").rename(root / "photos" / "a b.jpg")  # a is another photo
    (root / "labels.json").write_text('{"a": [1], "b": [2], "a b": [1, 2]}')
    (root / "some.txt").write_text("a b\n")
    options = {"list": "some.txt", "classes": list(CLASSES)}
    spec = SourceSpec(
        "mine", ("train",), "labels", annotations="labels.json", images="photos", options=options
    )
    assert open_labels(spec, "train", root).labels == {"a b": (1, 2)}


def test_wrong_folders_are_refused(root: Path) -> None:
    (root / "labels.txt").write_text("a fox\n")
    (root / "empty").mkdir()
    for folder, said in (
        ("empty", "holds no photo"),
        ("none", "no such folder"),
        ("..", "outside"),
    ):
        with pytest.raises(InputError, match=said):
            _build(root, "labels.txt", f"sources.0.images={folder}")


def test_what_needs_masks_is_refused_or_checked(root: Path) -> None:
    (root / "labels.txt").write_text("a fox\nb 2\nc\n")
    with pytest.raises(InputError, match="labels only, but select needs masks"):
        _build(root, "labels.txt", "select={quota: 2}")
    built = _build(root, "labels.txt")
    for use in (truth_from_set, images_of_set):
        with pytest.raises(InputError, match=r"has labels only, but .* needs masks"):
            use(built.root)
    with pytest.raises(InputError, match="a class map needs masks"):
        open_set(built.root).class_map("a")
    (built.root / "SegmentationClass").mkdir()
    (built.root / "SegmentationClass" / "a.png").write_bytes(b"")
    (built.root / "JPEGImages" / "b.jpg").write_bytes(b"")
    assert [(d.path, d.kind) for d in verify_set(built.root)] == [
        ("JPEGImages/b.jpg", "unreadable_image"),
        ("SegmentationClass/a.png", "extra_file"),
    ]


def test_sources_with_and_without_masks_do_not_mix(
    root: Path, shapes_set: Path, tmp_path: Path
) -> None:
    (root / "labels.txt").write_text("a disc\nb 2\nc\n")
    sources = (
        "sources.1={name: yard, format: labels, splits: [all], annotations: labels.txt, "
        "images: photos}"
    )
    recipe = recipe_from_dict(read_manifest(shapes_set).meta["recipe"], "test")
    mixed = recipe_from_dict(
        {**recipe.as_dict(), "sources": [*recipe.as_dict()["sources"], {}]}, "test", (sources,)
    )
    with pytest.raises(InputError, match="some of its sources have masks, others labels only"):
        build_set(mixed, tmp_path / "mixed", Inputs(roots={"yard": root}))


def test_edited_labels_are_refused_at_reads(root: Path) -> None:
    (root / "coco.json").write_text(_coco())
    manifest = _build(root, "coco.json", boxes="coco.json").manifest
    rows = manifest.images.to_pylist()
    for change, said in (
        ({"labels": [3]}, "not sorted numbers of its classes"),
        ({"labels": []}, "a box has a class that is not among the labels"),
        ({"width": 4}, "a box does not lie in the image"),
        ({"void_rle": b"x"}, "has labels only, but masks or another truth"),
    ):
        images = manifest.images.from_pylist([{**rows[0], **change}, *rows[1:]],
                                             schema=manifest.images.schema)  # fmt: skip
        with pytest.raises(InputError, match=said):
            make_manifest(
                "yard", images, manifest.instances, manifest.taxonomy, manifest.bins, {},
                labels_only=True,
            )  # fmt: skip
    assert read_manifest(root.parent / "set").labels_only
    assert (root.parent / "set" / IMAGES_FILE).is_file()
