from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sbdata.errors import InputError
from sbdata.losses import size_weights
from sbdata.mask_files import read_index_png, voc_palette, write_index_png
from sbdata.taxonomy import VOC20
from sbdata.train.preset import Augmentation, SizeBalance
from sbdata.train.resize import nearest
from sbdata.train.samples import (
    TrainingImages,
    check_images,
    images_of_folders,
    images_of_set,
    views_of,
)
from sbdata.train.segmenter import labels_by_size
from sbdata.train.views import batches
from tests.mask_examples import png_of_bits
from tests.train.training_sets import TWO, write_pictures

CROP = Augmentation(32, (0.75, 1.0))


def drawn(
    images: TrainingImages, positions: list[list[int]], workers: int = 0
) -> list[torch.Tensor]:
    views = views_of(images, CROP, seed=3, balance=SizeBalance(), sizes=((32, 32), (5, 5)))
    return [tensor for batch in batches([views], positions, workers) for tensor in batch]


def test_weights_are_those_of_the_view(tmp_path: Path) -> None:
    balance = SizeBalance(3.0, "class", "components")
    _, target, weights = views_of(write_pictures(tmp_path), CROP, 0, balance=balance)[5]
    assert target.shape == (32, 32)
    wanted = size_weights(target, tau=3.0, normalizer="class", regions="components")
    np.testing.assert_array_equal(weights, wanted)


def test_weights_at_a_smaller_size_are_those_of_the_reduced_labels(tmp_path: Path) -> None:
    """Regions and areas are of what is left at that size; nothing is a sample of other weights."""
    images = write_pictures(tmp_path)
    sizes = ((32, 32), (9, 9), (4, 4))
    views = views_of(images, CROP, 0, balance=SizeBalance(), sizes=(*sizes, (9, 9)))
    unlike = 0
    for position in range(4):
        _, whole, all_weights, *smaller = views[position]
        assert len(smaller) == 4  # each size once
        labels = zip(sizes, (whole, *smaller[::2]), (all_weights, *smaller[1::2]), strict=True)
        for size, target, weights in labels:
            reduced = nearest(torch.from_numpy(whole)[None], size)[0].numpy()
            np.testing.assert_array_equal(target, reduced)
            np.testing.assert_array_equal(weights, size_weights(target))
            sampled = nearest(torch.from_numpy(all_weights)[None], size)[0].numpy()
            unlike += not np.array_equal(weights, sampled)
    assert unlike >= 4


def test_labels_without_a_loss_that_weighs_have_no_weights(tmp_path: Path) -> None:
    views = views_of(write_pictures(tmp_path), CROP, 0, sizes=((32, 32), (8, 8)))
    ((images, *tensors),) = batches([views], [[0, 1]])
    assert images.shape == (2, 3, 32, 32)
    labels = labels_by_size(tensors)
    assert {size: tuple(target.shape) for size, (target, _) in labels.items()} == {
        (32, 32): (2, 32, 32),
        (8, 8): (2, 8, 8),
    }
    assert all(weights is None for _, weights in labels.values())


def test_a_set_is_trained_on_its_own_masks_or_on_others(shapes_set: Path, tmp_path: Path) -> None:
    own = images_of_set(shapes_set)
    assert own.synthetic
    assert own.source["masks"] == "ground truth"
    masks = tmp_path / "masks"
    for row in own.rows:
        with Image.open(row.mask) as mask:
            write_index_png(masks / row.mask.name, np.zeros(mask.size[::-1], np.uint8))
    other = images_of_set(shapes_set, masks)
    assert other.source["masks"] == str(masks)
    assert other.masks_digest != own.masks_digest
    assert other.photos_digest == own.photos_digest
    check_images(other)


def test_masks_that_sbdata_made_for_other_classes_are_refused(
    shapes_set: Path, tmp_path: Path
) -> None:
    """Their numbers lie in the range of the taxonomy, so nothing else can tell."""
    own = write_pictures(tmp_path)
    masks, record = tmp_path / "masks", tmp_path / "masks/.made-by.json"
    record.write_text(json.dumps({"classes": ["Red", "blue"]}))
    assert images_of_folders(tmp_path / "photos", masks, TWO).rows == own.rows
    said = r"masks: masks of 2 classes \(Red, blue, .*says \.made-by\.json, but voc20 has 20 \(aero"
    with pytest.raises(InputError, match=f"{said}.*; give the masks' own --taxonomy"):
        images_of_folders(tmp_path / "photos", masks, VOC20)
    record.unlink()
    imported = tmp_path / "import.json"
    imported.write_text(json.dumps({"format": "sbdata.import.v1", "classes": ["blue", "red"]}))
    with pytest.raises(InputError, match=r"\(blue, red, .*says import\.json, but two has 2"):
        images_of_folders(tmp_path / "photos", masks, TWO)
    with pytest.raises(InputError, match=r"import\.json, but the set has 8 .*map them to the set"):
        images_of_set(shapes_set, masks)


def test_ids_choose(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    some = images_of_folders(tmp_path / "photos", tmp_path / "masks", TWO, ["p2", "p0"])
    assert [row.image_id for row in some.rows] == ["p0", "p2"]


# --- bad input ------------------------------------------------------------------------------------


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    images = write_pictures(tmp_path)
    write_index_png(tmp_path / "masks" / "p1.png", np.zeros((10, 12), np.uint8))
    with pytest.raises(InputError, match=r"p1\.png: 12 x 10 pixels, but p1\.png has 72 x 64"):
        check_images(images)


def test_a_mask_is_not_its_own_photo(tmp_path: Path) -> None:
    """``--images`` and ``--masks`` that name one folder: a network would learn to copy."""
    write_pictures(tmp_path)
    masks = tmp_path / "masks"
    with pytest.raises(InputError, match=r"p0\.png: is the photo and its mask; give two folders"):
        images_of_folders(masks, masks, TWO)


def test_labels_out_of_range(tmp_path: Path) -> None:
    images = write_pictures(tmp_path)
    write_index_png(tmp_path / "masks" / "p1.png", np.full((64, 72), 7, np.uint8))
    with pytest.raises(InputError, match=r"p1\.png: class number 7, but two has 0\.\.2"):
        check_images(images)


def test_an_unreadable_mask_and_photo(tmp_path: Path) -> None:
    images = write_pictures(tmp_path)
    (tmp_path / "photos" / "p0.png").write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"p0\.png: not a readable JPEG or PNG photo"):
        check_images(images)
    (tmp_path / "masks" / "p0.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"p0\.png: not a readable PNG"):
        check_images(images)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    photos, masks, empty = tmp_path / "photos", tmp_path / "masks", tmp_path / "empty"
    empty.mkdir()
    for arguments, message in (
        ((tmp_path / "none", masks, TWO), "none: no such folder"),
        ((empty, masks, TWO), "empty: holds no photo"),
        ((photos, tmp_path / "none", TWO), "none: no such folder"),
        ((photos, empty, TWO), r"p0\.png: no such mask \(4 of 4 are missing\)"),
        ((photos, masks, TWO, ["p9"]), "no photo called p9"),
        ((photos, masks, TWO, []), "no images to train on"),
    ):
        with pytest.raises(InputError, match=message):
            images_of_folders(*arguments)


# --- what people hand in --------------------------------------------------------------------------


def voc_masks(root: Path) -> tuple[TrainingImages, np.ndarray]:
    """Photos with masks of VOC's classes 1 (aeroplane) and 15 (person)."""
    two = write_pictures(root)
    first = np.zeros((0, 0), np.uint8)
    for row in two.rows:
        mask = np.array([0, 1, 15], np.uint8)[read_index_png(row.mask) % 3]
        write_index_png(row.mask, mask)
        first = first if first.size else mask
    return images_of_folders(root / "photos", root / "masks", VOC20), first


def test_grey_of_few_bits_is_never_scaled(tmp_path: Path) -> None:
    images, mask = voc_masks(tmp_path)
    images.rows[1].mask.write_bytes(png_of_bits(mask, 4, 0))
    with pytest.raises(InputError, match=r"p1\.png: a 4-bit grey image; write class numbers as"):
        check_images(images)
    for workers in (0, 1):
        with pytest.raises(InputError, match=r"^\S*p1\.png: a 4-bit grey image"):
            drawn(images, [[0, 1, 2, 3]], workers)


def test_palettes_of_few_bits_are_read(tmp_path: Path) -> None:
    images, mask = voc_masks(tmp_path)
    before = drawn(images, [[0, 1, 2, 3]])
    images.rows[0].mask.write_bytes(png_of_bits(mask, 4, 3, voc_palette()[:48]))
    assert check_images(images) == ()
    for one, other in zip(before, drawn(images, [[0, 1, 2, 3]]), strict=True):
        torch.testing.assert_close(one, other)


def test_colours_under_other_numbers_tell_the_classes(tmp_path: Path) -> None:
    images, mask = voc_masks(tmp_path)
    before = drawn(images, [[0, 1, 2, 3]])
    image = Image.fromarray(np.select([mask == 1, mask == 15], [2, 1], 0).astype(np.uint8))
    image.putpalette(voc_palette()[:3] + voc_palette()[45:48] + voc_palette()[3:6])
    image.save(images.rows[0].mask)
    (note,) = check_images(images)
    assert note.startswith("masks read by colour, because their palettes")
    assert note.endswith(f"p0.png in {tmp_path / 'masks'}")
    for one, other in zip(before, drawn(images, [[0, 1, 2, 3]]), strict=True):
        torch.testing.assert_close(one, other)


def test_colour_masks_and_other_files_are_refused_with_the_way_out(tmp_path: Path) -> None:
    images, mask = voc_masks(tmp_path)
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
    Image.fromarray(colours[mask]).save(images.rows[0].mask)
    with pytest.raises(InputError, match=r"RGB image in VOC's colours; .*sbdata pseudo import"):
        check_images(images)
    Image.fromarray(colours[mask]).save(images.rows[0].mask, "JPEG")
    with pytest.raises(InputError, match=r"not a PNG file but a JPEG file"):
        check_images(images)


def test_masks_that_teach_nothing(tmp_path: Path) -> None:
    images = write_pictures(tmp_path)
    for row in images.rows[1:]:
        write_index_png(row.mask, np.full((64, 72), 255, np.uint8))
    (note,) = check_images(images)
    assert "without a pixel to learn from, only 255 (void): p1.png and 2 more in " in note
    write_index_png(images.rows[0].mask, np.zeros((64, 72), np.uint8))
    assert any("no mask in " in said and "holds a class" in said for said in check_images(images))
    write_index_png(images.rows[0].mask, np.full((64, 72), 255, np.uint8))
    with pytest.raises(
        InputError, match=r"nothing to learn from, because every pixel of the 4 masks"
    ):
        check_images(images)


@pytest.mark.parametrize("orientation", [3, 6])
def test_photos_that_are_shown_turned_are_named(tmp_path: Path, orientation: int) -> None:
    images = write_pictures(tmp_path)
    tags = Image.Exif()
    tags[0x0112] = orientation
    photo = images.rows[2].photo
    with Image.open(photo) as stored:
        stored.convert("RGB").save(photo, exif=tags)
    (note,) = check_images(images)
    assert note.startswith("photos with an EXIF orientation tag: p2.png; ")
    with Image.open(photo) as stored:
        stored.transpose(Image.Transpose.ROTATE_90).save(photo, exif=tags)
    with pytest.raises(InputError, match=r"72 x 64 pixels, but p2\.png has 64 x 72") as caught:
        check_images(images)
    assert ("EXIF orientation 6" in str(caught.value)) == (orientation == 6)


def test_a_mask_that_changed_after_the_check_is_not_learned_from(tmp_path: Path) -> None:
    images = write_pictures(tmp_path)
    check_images(images)
    write_index_png(images.rows[0].mask, np.full((64, 72), 9, np.uint8))
    with pytest.raises(InputError, match=r"p0\.png: class number 9, but two has 0\.\.2"):
        drawn(images, [[0, 1, 2, 3]])


def test_litter_of_desktops_is_no_photo(tmp_path: Path) -> None:
    images = write_pictures(tmp_path)
    for name in ("._p0.png", "._p9.jpg", "Thumbs.db"):
        (tmp_path / "photos" / name).write_bytes(b"litter")
    again = images_of_folders(tmp_path / "photos", tmp_path / "masks", TWO)
    assert again.rows == images.rows
