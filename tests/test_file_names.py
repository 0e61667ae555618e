"""Names that are one text in several spellings, found by everything that pairs files by name."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from sbdata.errors import InputError
from sbdata.file_names import (
    AmbiguousNameError,
    FileNames,
    describe_case,
    differ_in_case,
    stored,
    tells_case,
)
from sbdata.mask_files import write_index_png
from sbdata.storage import inside

NFC, NFD = (unicodedata.normalize(form, "b\u00e9b\u00e9") for form in ("NFC", "NFD"))
FORMS = [(NFC, NFD), (NFD, NFC), (NFC, NFC), (NFD, NFD)]


@pytest.mark.parametrize(("listed", "kept"), FORMS)
def test_a_name_is_found_in_either_form(tmp_path: Path, listed: str, kept: str) -> None:
    folder = tmp_path / kept
    folder.mkdir()
    (folder / f"{kept}.png").touch()
    assert stored(tmp_path, f"{listed}/{listed}.png").samefile(folder / f"{kept}.png")
    assert inside(tmp_path, f"{listed}/{listed}.png").is_file()
    assert FileNames([kept]).find(listed) == kept


def test_what_is_not_there_keeps_its_name(tmp_path: Path) -> None:
    assert stored(tmp_path, f"{NFD}/a.png") == tmp_path / NFD / "a.png"
    assert FileNames(["a"]).find(NFC) is None


def test_a_file_that_appears_later_is_found(tmp_path: Path) -> None:
    assert not stored(tmp_path, NFC).exists()
    (tmp_path / NFC).touch()
    assert stored(tmp_path, NFC).exists()


def test_two_files_of_one_name_are_refused_by_name(tmp_path: Path) -> None:
    for name in (NFC, NFD):
        (tmp_path / f"{name}.png").touch()
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this disk takes both names for one")
    with pytest.raises(AmbiguousNameError, match="in two Unicode forms") as caught:
        stored(tmp_path, f"{NFC}.png")
    assert str(tmp_path) in str(caught.value)
    assert "b\\xe9b\\xe9" in str(caught.value)
    assert "be\\u0301be\\u0301" in str(caught.value)
    assert stored(tmp_path, "other.png") == tmp_path / "other.png"


def test_names_that_differ_in_case_are_grouped() -> None:
    assert differ_in_case(["a", "B", "A", "b", "c", NFC, NFD]) == [("A", "a"), ("B", "b")]
    assert "'A' and 'a'" in describe_case(["a", "A", "b", "B"])
    assert "2 such groups" in describe_case(["a", "A", "b", "B"])


def test_whether_a_disk_tells_case(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert tells_case(tmp_path) == (not (tmp_path / "A").exists())
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# --- every reader that pairs files by name --------------------------------------------------------

SIZE = (12, 10)


def mask(path: Path) -> None:
    values = np.zeros(SIZE[::-1], np.uint8)
    values[2:8, 2:8] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    write_index_png(path, values)


def photo(path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (9, 90, 9)).save(path)


def voc_folder(root: Path, listed: str, kept: str) -> Path:
    for folder in ("SegmentationClass", "SegmentationObject"):
        mask(root / folder / f"{kept}.png")
    photo(root / "JPEGImages" / f"{kept}.jpg")
    boxes = (
        "<annotation><object><name>aeroplane</name><difficult>1</difficult><bndbox><xmin>3</xmin>"
        "<ymin>3</ymin><xmax>8</xmax><ymax>8</ymax></bndbox></object></annotation>"
    )
    (root / "Annotations").mkdir()
    (root / "Annotations" / f"{kept}.xml").write_text(boxes)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text(f"{listed}\n", "utf-8")
    return root


@pytest.mark.parametrize(("listed", "kept"), FORMS)
def test_a_voc_source(tmp_path: Path, listed: str, kept: str) -> None:
    from sbdata.recipe import SourceSpec
    from sbdata.sources.voc import open_voc

    source = open_voc(SourceSpec("voc", ("val",)), "val", voc_folder(tmp_path, listed, kept))
    (image,), rejections = source.read(source.chunks(9)[0])
    assert rejections == []
    assert image.objects[0].difficult
    assert source.image_bytes(image.file_name) is not None
    assert len(source.annotation_files()) == 3


def test_a_voc_source_with_two_masks_of_one_name(tmp_path: Path) -> None:
    from sbdata.recipe import SourceSpec
    from sbdata.sources.voc import open_voc

    source = open_voc(SourceSpec("voc", ("val",)), "val", voc_folder(tmp_path, NFC, NFC))
    mask(tmp_path / "SegmentationClass" / f"{NFD}.png")
    images, (rejection,) = source.read(source.chunks(9)[0])
    assert (images, rejection.reason) == ([], "ambiguous_name")
    source.annotation_files()
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text(f"{NFC}\n{NFD}\n", "utf-8")
    with pytest.raises(InputError, match="listed twice"):
        open_voc(SourceSpec("voc", ("val",)), "val", tmp_path)


def coco_folder(root: Path, listed: str, kept: str) -> Path:
    photo(root / "photos" / f"{kept}.jpg")
    box = [2, 2, 8, 2, 8, 8, 2, 8]
    names = [listed] if isinstance(listed, str) else listed
    content = {
        "images": [
            {"id": k, "file_name": f"{name}.jpg", "width": SIZE[0], "height": SIZE[1]}
            for k, name in enumerate(names)
        ],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 1, "iscrowd": 0, "segmentation": [box]}
            for k, _ in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "aeroplane"}],
    }
    (root / "labels.json").write_text(json.dumps(content))
    return root


def coco_recipe():  # type: ignore[no-untyped-def]
    from sbdata.recipe import Recipe, SourceSpec

    spec = SourceSpec("yard", ("all",), "coco", annotations="labels.json", images="photos")
    return Recipe("yard", "yard.v1", ("aeroplane",), (spec,))


@pytest.mark.parametrize(("listed", "kept"), FORMS)
def test_a_coco_source(tmp_path: Path, listed: str, kept: str) -> None:
    from sbdata.curate.build import build_set
    from sbdata.curate.inputs import Inputs
    from sbdata.curate.verify import verify_set

    root = coco_folder(tmp_path / "yard", listed, kept)
    built = build_set(coco_recipe(), tmp_path / "set", Inputs(roots={"yard": root}))
    assert built.after.instances == 1
    assert built.manifest.images["image_id"].to_pylist() == [listed]
    assert verify_set(built.root) == []


def test_a_coco_source_with_two_photos_of_one_name(tmp_path: Path) -> None:
    from sbdata.curate.build import build_set
    from sbdata.curate.inputs import Inputs

    root = coco_folder(tmp_path / "yard", NFC, NFD)
    photo(root / "photos" / f"{NFC}.jpg")
    with pytest.raises(InputError, match=r"ambiguous_name 1 .*in two Unicode forms"):
        build_set(coco_recipe(), tmp_path / "set", Inputs(roots={"yard": root}))


def test_a_coco_file_with_two_images_of_one_name(tmp_path: Path) -> None:
    from sbdata.curate.build import build_set
    from sbdata.curate.inputs import Inputs

    root = coco_folder(tmp_path / "yard", [NFC, NFD], NFD)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="duplicate_file_name 2"):
        build_set(coco_recipe(), tmp_path / "set", Inputs(roots={"yard": root}))


@pytest.mark.parametrize(("listed", "kept"), FORMS)
def test_predictions_and_the_truth_of_masks(tmp_path: Path, listed: str, kept: str) -> None:
    from sbdata.score.run import ScoreOptions, loader_of, score_folder
    from sbdata.score.truth import truth_from_coco, truth_from_masks

    mask(tmp_path / "truth" / f"{listed}.png")
    mask(tmp_path / "instances" / f"{kept}.png")
    mask(tmp_path / "predictions" / f"{kept}.png")
    photo(tmp_path / "photos" / f"{kept}.jpg")
    options = ScoreOptions(resamples=0)
    for truth in (
        truth_from_masks(tmp_path / "truth", tmp_path / "instances", photos=tmp_path / "photos"),
        truth_from_coco(
            coco_folder(tmp_path / "coco", listed, kept) / "labels.json",
            "own",
            photos=tmp_path / "coco/photos",
        ),
    ):
        scored = score_folder(tmp_path / "predictions", truth, options)
        assert scored.summary.miou == 1
        load = loader_of(scored, truth, options)
        assert load(listed)[0] is not None


def test_two_predictions_of_one_image_are_refused(tmp_path: Path) -> None:
    from sbdata.score.inputs import list_predictions
    from sbdata.score.truth import truth_from_masks

    for name in (NFC, NFD):
        mask(tmp_path / "predictions" / f"{name}.png")
    with pytest.raises(AmbiguousNameError, match="in two Unicode forms"):
        list_predictions(tmp_path / "predictions", [NFC])
    with pytest.raises(AmbiguousNameError, match="in two Unicode forms"):
        truth_from_masks(tmp_path / "predictions", None)


@pytest.mark.parametrize(("listed", "kept"), FORMS)
def test_training_images(tmp_path: Path, listed: str, kept: str) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from sbdata.taxonomy import VOC20
    from sbdata.train.samples import check_images, images_of_folders

    mask(tmp_path / "masks" / f"{kept}.png")
    photo(tmp_path / "photos" / f"{listed}.jpg")
    for ids in (None, [kept]):
        images = images_of_folders(tmp_path / "photos", tmp_path / "masks", VOC20, ids)
        assert check_images(images) == ()
    mask(tmp_path / "masks" / f"{NFD if kept == NFC else NFC}.png")
    with pytest.raises(AmbiguousNameError):
        images_of_folders(tmp_path / "photos", tmp_path / "masks", VOC20)


@pytest.mark.parametrize(("listed", "kept"), FORMS)
def test_pseudo_masks(tmp_path: Path, listed: str, kept: str) -> None:
    from sbdata.curate.build import build_set
    from sbdata.curate.inputs import Inputs
    from sbdata.importers.folder import Request, import_masks
    from sbdata.importers.target import target_of_list
    from sbdata.score.pseudo_masks import score_pseudo
    from sbdata.sets import open_set
    from sbdata.taxonomy import Taxonomy

    root = coco_folder(tmp_path / "yard", listed, kept)
    built = build_set(coco_recipe(), tmp_path / "set", Inputs(roots={"yard": root}))
    masks = tmp_path / "masks"
    mask(masks / f"{kept}.png")
    found = score_pseudo(masks, open_set(built.root), resamples=0)
    assert found.as_background.summary.miou == 1
    (tmp_path / "list.txt").write_text(f"{listed}\n", "utf-8")
    photo(tmp_path / "photos" / f"{kept}.jpg")
    farm = Taxonomy("farm", ("fox", "hen"))
    target = target_of_list(tmp_path / "list.txt", farm, tmp_path / "photos")
    record = import_masks(Request(masks, target, "m"), tmp_path / "out")
    assert (record.images, record.missing) == (1, 0)
    shutil.rmtree(tmp_path / "out")
    mask(masks / f"{NFD if kept == NFC else NFC}.png")
    with pytest.raises(InputError, match="both belong to image"):
        import_masks(Request(masks, target, "m"), tmp_path / "out")
