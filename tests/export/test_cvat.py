"""An export to CVAT, and a set itself, read by the documented format and by Datumaro."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.curate.build import build_set
from sbdata.curate.inputs import Inputs
from sbdata.errors import InputError
from sbdata.export.export_set import export_set
from sbdata.recipe import Recipe, SourceSpec
from sbdata.sets import EvaluationSet, open_set
from tests.export.sets import NAMES, build_pets, classes_of, objects_of, same_objects


@pytest.fixture(scope="module")
def out(pets: EvaluationSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cvat") / "out"
    export_set(pets, "cvat", folder)
    return folder


def read_format(folder: Path, split: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Class names and object colours of each pixel, as CVAT's page describes the format."""
    colours = {}
    for line in (folder / "labelmap.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, colour, parts, actions = line.split(":")
            assert (parts, actions) == ("", "")
            colours[tuple(map(int, colour.split(",")))] = name
    found = {}
    for name in (folder / "ImageSets/Segmentation" / f"{split}.txt").read_text().splitlines():
        assert (folder / "JPEGImages" / f"{name}.jpg").is_file()
        pixels = []
        for kind in ("SegmentationClass", "SegmentationObject"):
            with Image.open(folder / kind / f"{name}.png") as image:
                pixels.append(np.array(image.convert("RGB")))
        named = [[colours[tuple(p)] for p in row] for row in pixels[0].tolist()]
        found[name] = np.array(named), pixels[1]
    return found


def test_the_documented_format_gives_classes_and_objects(pets: EvaluationSet, out: Path) -> None:
    classes, objects = classes_of(pets.root), objects_of(pets.root)
    meaning = {0: "background", 255: "ignored", **dict(enumerate(NAMES, start=1))}
    found = read_format(out, "default")
    assert list(found) == sorted(classes)
    for name, (named, colours) in found.items():
        assert np.array_equal(named, np.vectorize(meaning.get)(classes[name]))
        numbers = np.unique(objects[name])
        seen = [{tuple(c) for c in colours[objects[name] == n].tolist()} for n in numbers]
        assert all(len(one) == 1 for one in seen)
        assert len(set.union(*seen)) == len(numbers)
    assert {p.name for p in out.iterdir()} == {
        "JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets", "labelmap.txt",
        "export.json", "checksums.txt",
    }  # fmt: skip


@pytest.mark.parametrize("of", ["set", "export"])
def test_datumaro_reads_names_and_masks(one_split: Path, tmp_path: Path, of: str) -> None:
    datumaro = pytest.importorskip(
        "datumaro", reason="Datumaro is not installed: it pins other versions of Pillow and Arrow"
    )
    folder, split = one_split, "val"
    if of == "export":
        folder, split = tmp_path / "out", "default"
        export_set(open_set(one_split), "cvat", folder)
    found = datumaro.Dataset.import_from(str(folder), "voc_segmentation")
    labels = [label.name for label in found.categories()[datumaro.AnnotationType.label]]
    assert labels == ["background", *NAMES, "ignored"]
    classes, objects = classes_of(one_split), objects_of(one_split)
    items = {item.id: item for item in found}
    assert items.keys() == classes.keys()
    for name, item in items.items():
        assert item.subset == split
        numbers = set(np.unique(objects[name])) - {0}
        assert {annotation.group for annotation in item.annotations} == numbers
        for annotation in item.annotations:
            mask = objects[name] == annotation.group
            assert np.array_equal(np.array(annotation.image) > 0, mask)
            (number,) = set(classes[name][mask].tolist())
            assert labels[annotation.label] == ("ignored" if number == 255 else NAMES[number - 1])


def test_sbdata_builds_the_set_again_from_its_export(
    pets: EvaluationSet, out: Path, tmp_path: Path
) -> None:
    source = SourceSpec("voc", ("default",), options={"classes": [*NAMES]})
    recipe = Recipe(name="again", version="v", taxonomy=NAMES, sources=(source,))
    again = build_set(recipe, tmp_path / "again", Inputs(roots={"voc": out}))
    before, after = classes_of(pets.root), classes_of(again.root)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    objects, again_objects = objects_of(pets.root), objects_of(again.root)
    assert all(same_objects(objects[name], again_objects[name]) for name in objects)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cat: small", "a colon ends the name"),
        ("#1", "is a comment there"),
        (" cat", "blanks at its ends"),
        ("ignored", "a meaning of its own"),
    ],
)
def test_a_name_that_the_label_map_cannot_hold(tmp_path: Path, name: str, reason: str) -> None:
    root = build_pets(tmp_path, (name, "dog", "kite"))
    assert not (root / "labelmap.txt").exists()
    assert (
        f"There is no `labelmap.txt`, which cannot hold a class {name!r}"
        in (root / "README.md").read_text()
    )
    with pytest.raises(InputError, match=rf"images\.parquet: .*{reason}.*; build the set with"):
        export_set(open_set(root), "cvat", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for form in ("coco", "hf", "yolo"):
        export_set(open_set(root), form, tmp_path / form / "out")


def test_an_image_that_the_list_cannot_hold(one_split: Path, tmp_path: Path) -> None:
    opened = open_set(one_split)
    odd = EvaluationSet(opened.root, opened.manifest)
    odd.__dict__["image_ids"] = ("#1", *opened.image_ids[1:])
    with pytest.raises(InputError, match="image '#1' would be lost from CVAT's list"):
        export_set(odd, "cvat", tmp_path / "out")
