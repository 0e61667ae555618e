"""An import as a whole: what its record says, and that it is there wholly or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.importers.folder import Request, detect, import_masks
from sbdata.importers.record import read_record
from sbdata.importers.rules import Changes
from sbdata.importers.target import Target, target_of_list
from sbdata.masks import read_index_png
from sbdata.score.pseudo_masks import instance_outcomes, score_pseudo
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.taxonomy import VOC20
from tests.importers.published import (
    CAT,
    DOG,
    MASKS,
    PLANE,
    boxes_of,
    irn,
    save,
    save_picture,
    scores,
)

SMALL = 8  # pixels, below which an instance of these sets is small


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Masks without the cat of one image, and with a dog of another where nothing is."""
    for image_id, mask in MASKS.items():
        changed = mask.copy()
        if image_id == "2007_000032":
            changed[changed == CAT] = 0
        if image_id == "2007_000039":
            changed[15, 10] = DOG
            changed[14, :] = 255
        save_picture(tmp_path / "published" / f"{image_id}.png", changed, "P")
    return tmp_path / "published"


def test_the_record(published: Path, target: Target, tmp_path: Path) -> None:
    save_picture(published / "2012_000001.png", MASKS["2007_000032"], "P")
    done: list[tuple[int, int]] = []
    request = Request(published, target, "two", source="bana", url="https://example.org/masks.zip")
    record = import_masks(request, tmp_path / "out", lambda *of: done.append(of))
    assert done == [(k, 4) for k in range(1, 5)]
    assert read_record(tmp_path / "out") == record
    assert (record.layout, record.rule) == ("index-pictures", None)
    assert record.supervision == ("boxes",)
    assert record.origin.title == "BANA, CVPR 2021"
    assert record.origin.url == "https://example.org/masks.zip"
    assert record.origin.files == record.images == 4
    assert (record.extra, record.extra_files) == (1, ("2012_000001.png",))
    assert (record.missing, record.missing_as, record.cropped, record.resized) == (0, None, 0, 0)
    assert record.images_outside_labels == 1  # the dog
    assert record.synthetic
    assert target.opened is not None
    assert record.set_hash == target.opened.logical_hash
    assert record.classes == VOC20.classes
    assert record.warnings == ()

    masks = [read_index_png(p) for p in sorted((tmp_path / "out" / "masks").iterdir())]
    pixels = np.concatenate([mask.ravel() for mask in masks])
    assert record.shares.ignored == pytest.approx((pixels == 255).mean())
    assert record.shares.classes["cat"] == pytest.approx((pixels == CAT).mean())
    assert record.shares.images["dog"] == 3
    areas = [int(p.sum()) for m in masks for n in range(1, 21) for p in boxes_of(m == n)]
    assert record.components.by_size["small"] == sum(area < SMALL for area in areas)
    truth = [int(p.sum()) for m in MASKS.values() for n in range(1, 21) for p in boxes_of(m == n)]
    assert record.components.instances_by_size is not None
    assert record.components.instances_by_size["small"] == sum(area < SMALL for area in truth)

    assert record.losses is not None
    assert (
        list(record.losses)
        == score_pseudo(tmp_path / "out" / "masks", target.opened, resamples=0).losses.to_pylist()
    )
    [row] = [r for r in record.losses if (r["size"], r["threshold"]) == ("small", "no pixel")]
    assert (row["lost"], row["to_background"]) == (1, 1)  # the cat


def test_the_masks_that_bbam_publishes(target: Target, tmp_path: Path) -> None:
    """Pictures in VOC's palette, 255 where in doubt, in a folder ``Semantic_labels``."""
    folder = tmp_path / "Semantic_labels"
    for image_id, mask in MASKS.items():
        doubtful = mask.copy()
        doubtful[0] = 255
        save_picture(folder / f"{image_id}.png", doubtful, "P")
    record = import_masks(Request(folder, target, "theirs", source="bbam"), tmp_path / "out")
    assert (record.layout, record.rule, record.supervision) == ("index-pictures", None, ("boxes",))
    assert record.origin.title == "BBAM, CVPR 2021"
    for image_id, mask in MASKS.items():
        taken = read_index_png(tmp_path / "out" / "masks" / f"{image_id}.png")
        assert (taken[0] == 255).all()
        np.testing.assert_array_equal(taken[1:], mask[1:])


def test_masks_of_the_same_pixels_have_one_digest(published, target, tmp_path) -> None:
    first = import_masks(Request(published, target, "a"), tmp_path / "a")
    for path in published.iterdir():
        mask = read_index_png(path)
        save_picture(tmp_path / "again" / f"{path.stem.replace('_', '')}.png", mask, "RGB")
    second = import_masks(Request(tmp_path / "again", target, "b", workers=3), tmp_path / "b")
    assert second.masks_sha256 == first.masks_sha256
    assert second.origin.sha256 != first.origin.sha256
    assert second.shares == first.shares
    path = published / "2007_000032.png"
    save_picture(path, np.roll(read_index_png(path), 1), "P")
    third = import_masks(Request(published, target, "c"), tmp_path / "c")
    assert third.masks_sha256 != first.masks_sha256


def test_a_folder_appears_when_all_is_done(published, target, tmp_path, monkeypatch) -> None:
    (published / "2011_003276.png").write_bytes(b"cut off")
    save_picture(published / "2008_000123.png", np.zeros((3, 3), np.uint8), "P")
    request = Request(published, target, "it")
    with pytest.raises(InputError, match="2 files cannot be imported, nothing was written") as it:
        import_masks(request, tmp_path / "imports" / "it")
    assert "2011_003276.png: not a PNG file" in str(it.value)
    assert "2008_000123.png: 3 x 3 pixels, but its image has 10 x 10" in str(it.value)
    assert [p.name for p in (tmp_path / "imports").iterdir()] == [".it.lock"]

    for image_id in ("2011_003276", "2008_000123"):
        save_picture(published / f"{image_id}.png", MASKS[image_id], "P")
    stale = tmp_path / "imports" / ".it.0123abcd.part" / "masks"
    stale.mkdir(parents=True)
    plain = Path.rename
    seen = []

    def rename(source: Path, place: Path) -> Path:
        seen.append(sorted(p.name for p in source.iterdir()))
        return plain(source, place)

    monkeypatch.setattr(Path, "rename", rename)
    import_masks(request, tmp_path / "imports" / "it")
    assert seen == [["import.json", "masks"]]
    assert sorted(p.name for p in (tmp_path / "imports").iterdir()) == [".it.lock", "it"]
    with pytest.raises(InputError, match="already exists; remove it, or give another"):
        import_masks(request, tmp_path / "imports" / "it")


def test_unfinished_imports_of_other_names_are_left_alone(published, target, tmp_path) -> None:
    """The name of a folder is no pattern of other names."""
    names = (".run 1.0123abcd.part", ".run [12].0123abcd.part")
    for name in names:
        (tmp_path / "imports" / name).mkdir(parents=True)
    import_masks(Request(published, target, "it"), tmp_path / "imports" / "run [12]")
    assert [(tmp_path / "imports" / name).exists() for name in names] == [True, False]


def test_masks_imported_for_other_classes_are_not_scored(published, target, tmp_path) -> None:
    masks = tmp_path / "out" / "masks"
    import_masks(Request(published, target, "it"), tmp_path / "out")
    truth = truth_from_set(target.opened.root)
    options = ScoreOptions(resamples=0, predicted_void=True)
    score_folder(masks, truth, options)
    record = tmp_path / "out" / "import.json"
    content = json.loads(record.read_text())
    content["classes"][:2] = content["classes"][1::-1]
    record.write_text(json.dumps(content))
    said = r"masks of 20 classes .bicycle, aeroplane, .*json, but the truth has 20 .aeroplane"
    with pytest.raises(InputError, match=said):
        score_folder(masks, truth, options)
    with pytest.raises(InputError, match=said):
        instance_outcomes(masks, target.opened)
    record.write_text("of another tool")
    score_folder(masks, truth, options)


def test_images_without_a_file(published: Path, target: Target, tmp_path: Path) -> None:
    (published / "2008_000123.png").rename(published / "2008_000124.png")
    request = Request(published, target, "it")
    with pytest.raises(InputError, match=r"no file for 1 of the 4 images of four \(2008_000123;"):
        detect(request)
    for missing, value in (("ignored", 255), ("background", 0)):
        record = import_masks(replace(request, missing=missing), tmp_path / missing)
        assert (record.missing, record.missing_as, record.images) == (1, missing, 4)
        mask = read_index_png(tmp_path / missing / "masks" / "2008_000123.png")
        assert (mask == value).all()
        assert mask.shape == (10, 10)


def test_a_list_instead_of_a_set(published: Path, tmp_path: Path) -> None:
    lines = [f"/JPEGImages/{i}.jpg /SegmentationClassAug/{i}.png" for i in MASKS]
    (tmp_path / "train_aug.txt").write_text("\n".join([*lines, ""]))
    target = target_of_list(tmp_path / "train_aug.txt", VOC20)
    assert target.image_ids == tuple(sorted(MASKS))
    record = import_masks(Request(published, target, "it"), tmp_path / "out")
    assert (record.target, record.set_hash, record.losses) == ("train_aug.txt", None, None)
    assert (record.images_outside_labels, record.components.instances) == (None, None)
    assert record.supervision == ("unknown",)
    (tmp_path / "photos").mkdir()
    for image_id, mask in MASKS.items():
        Image.new("RGB", mask.shape[::-1]).save(tmp_path / "photos" / f"{image_id}.jpg")
    with_photos = target_of_list(tmp_path / "train_aug.txt", VOC20, tmp_path / "photos")
    assert with_photos.size_of("2007_000032") == MASKS["2007_000032"].shape
    save_picture(published / "2007_000032.png", np.zeros((3, 3), np.uint8), "P")
    with pytest.raises(InputError, match="its image has 20 x 12"):
        import_masks(Request(published, with_photos, "it"), tmp_path / "other")
    (tmp_path / "photos" / "2007_000032.jpg").unlink()
    with pytest.raises(InputError, match="no photo of 2007_000032"):
        target_of_list(tmp_path / "train_aug.txt", VOC20, tmp_path / "photos")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an empty list"),
        ("a\nb\na\n", "line 3: image a is already in line 1"),
        ("..\n", "not an image id"),
    ],
)
def test_lists_that_are_none(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        target_of_list(tmp_path / "ids.txt", VOC20)
    with pytest.raises(InputError, match="not a readable list"):
        target_of_list(tmp_path / "none.txt", VOC20)


def test_what_looks_wrong_is_said(target: Target, tmp_path: Path) -> None:
    for image_id, mask in MASKS.items():
        save_picture(tmp_path / "binary" / f"{image_id}.png", (mask > 0).astype(np.uint8), "L")
        save_picture(tmp_path / "empty" / f"{image_id}.png", np.zeros_like(mask), "L")
        save_picture(tmp_path / "shifted" / f"{image_id}.png", np.where(mask, mask % 20 + 1, 0)
                     .astype(np.uint8), "L")  # fmt: skip
    said = {
        name: import_masks(Request(tmp_path / name, target, name), tmp_path / "out" / name).warnings
        for name in ("binary", "empty", "shifted")
    }
    assert said["binary"][0].startswith("the only class is aeroplane: these look like binary")
    assert said["empty"] == ("no mask has a pixel of any class",)
    assert said["shifted"] == (
        "4 of 4 masks have a class that their image lacks: the classes may be numbered in another "
        "order",
    )


def test_an_assumed_background_is_a_warning(target: Target, tmp_path: Path) -> None:
    for image_id, mask in MASKS.items():
        save(tmp_path / "maps" / f"{image_id}.npy", irn(mask))
    request = Request(tmp_path / "maps", target, "it")
    [said] = detect(request).warnings
    assert said.startswith("the source was not named: background 0.15, as IRN")
    named = detect(replace(request, source="recam"))
    assert (named.warnings, named.decisions[-1]) == ((), "background 0.21 (of ReCAM, CVPR 2022)")


def test_saliency_must_be_there(target: Target, tmp_path: Path) -> None:
    for image_id, mask in MASKS.items():
        save(tmp_path / "maps" / f"{image_id}.npy", irn(mask))
        save_picture(tmp_path / "saliency" / f"{image_id}.png", np.zeros_like(mask), "L")
    request = Request(
        tmp_path / "maps", target, "it", changes=Changes(background="saliency", salient=0.5)
    )
    with pytest.raises(InputError, match="give the saliency maps by --saliency"):
        detect(request)
    with pytest.raises(InputError, match="no such folder; --saliency"):
        import_masks(replace(request, saliency=tmp_path / "none"), tmp_path / "out")
    request = replace(request, saliency=tmp_path / "saliency")
    record = import_masks(request, tmp_path / "out")
    assert record.origin.files == 8
    assert record.shares.background == 1  # nothing is salient
    save_picture(tmp_path / "saliency" / "2007_000032.png", np.zeros((2, 2), np.uint8), "L")
    with pytest.raises(InputError, match="2 x 2 pixels, the maps have 20 x 12"):
        import_masks(request, tmp_path / "again")
    (tmp_path / "saliency" / "2007_000032.png").unlink()
    with pytest.raises(InputError, match="no map of image 2007_000032"):
        import_masks(request, tmp_path / "again")


def test_saliency_of_0_and_1_is_refused(target: Target, tmp_path: Path) -> None:
    for image_id, mask in MASKS.items():
        save(tmp_path / "maps" / f"{image_id}.npy", irn(mask))
        save_picture(tmp_path / "ones" / f"{image_id}.png", (mask > 0).astype(np.uint8), "L")
        levels = np.where(mask, np.uint8(255), np.uint8(0))
        save_picture(tmp_path / "levels" / f"{image_id}.png", levels, "L")
    request = Request(tmp_path / "maps", target, "it", changes=Changes(background="saliency"))
    with pytest.raises(InputError, match="ones: its maps hold only 0 and 1, but 255 is the most"):
        import_masks(replace(request, saliency=tmp_path / "ones"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    import_masks(replace(request, saliency=tmp_path / "levels"), tmp_path / "out")


def test_refined_along_the_photos_edges(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    mask = np.zeros((24, 24), np.uint8)
    mask[:, 12:] = PLANE
    Image.fromarray(np.repeat((mask > 0)[..., None] * np.uint8(255), 3, 2)).save(tmp_path / "a.png")
    (tmp_path / "ids.txt").write_text("a\n")
    target = target_of_list(tmp_path / "ids.txt", VOC20, tmp_path)
    noisy = mask.copy()
    noisy[5, 18] = 0
    found = irn(noisy) | {"keys": [0]}
    save(tmp_path / "maps" / "a.npy", found)
    assert len(scores(noisy)[0]) == 1
    request = Request(tmp_path / "maps", target, "it", changes=Changes(background="0.3"))
    import_masks(request, tmp_path / "plain")
    assert (read_index_png(tmp_path / "plain" / "masks" / "a.png") == noisy).all()
    refined = replace(request, changes=Changes(background="0.3", refine="pamr"))
    import_masks(refined, tmp_path / "refined")
    assert (read_index_png(tmp_path / "refined" / "masks" / "a.png") == mask).all()
    without = replace(refined, target=target_of_list(tmp_path / "ids.txt", VOC20))
    with pytest.raises(InputError, match="refining by pamr needs the photos"):
        import_masks(without, tmp_path / "none")


def test_requests_that_are_none(published: Path, target: Target) -> None:
    with pytest.raises(InputError, match="no supervision called 'pixels'"):
        Request(published, target, "it", supervision=("pixels",))
    with pytest.raises(InputError, match="invalid import name"):
        Request(published, target, "it/is")
    with pytest.raises(InputError, match="no source called 'x'"):
        detect(Request(published, target, "it", source="x"))


def test_records_that_are_none(published: Path, target: Target, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an import; make one by `sbdata pseudo import`"):
        read_record(tmp_path)
    import_masks(Request(published, target, "it"), tmp_path / "out")
    path = tmp_path / "out" / "import.json"
    raw = json.loads(path.read_text())
    for text, said in (
        ("{", "not a readable JSON"),
        ("[]", "not a file of the format"),
        (json.dumps({**raw, "format": "sbdata.import.v9"}), "not a file of the format"),
        (json.dumps({**raw, "images": "many"}), "must be int"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            read_record(tmp_path / "out")
