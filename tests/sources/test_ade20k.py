"""ADE20K's instance masks as a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.masks import decode_mask
from sbdata.recipe import SourceSpec
from sbdata.sources import open_source
from sbdata.taxonomy import ADE100
from tests.sources.label_map_examples import ade20k

SPEC = SourceSpec("ade20k", ("validation",))


def room() -> tuple[np.ndarray, np.ndarray]:
    """Two beds, a flag, a lamp without a number, and something else with one."""
    categories, numbers = np.zeros((12, 16), int), np.zeros((12, 16), int)
    categories[1:4, 1:5], numbers[1:4, 1:5] = 1, 1
    categories[1:4, 6:9], numbers[1:4, 6:9] = 1, 255
    categories[6:8, 2:6], numbers[6:8, 2:6] = 100, 2
    categories[9:11, 2:6] = 19
    numbers[9:11, 8:12] = 3
    return categories, numbers


def read(root: Path):
    source = open_source(SPEC, "validation", root)
    return source.read(source.chunks(10)[0])


def test_masks_come_as_published(tmp_path: Path) -> None:
    categories, numbers = room()
    (image,), rejections = read(ade20k(tmp_path, {"ADE_val_00000001": (categories, numbers)}))
    assert not rejections
    assert image.file_name == "images/validation/ADE_val_00000001.jpg"
    assert image.void is None
    found = [(o.annotation_id, o.category, o.crowd) for o in image.objects]
    assert found == [
        ("lamp", "lamp", True),
        (str(256 + 1), "bed", False),
        (str(256 + 255), "bed", False),
        (str(256 * 100 + 2), "flag", False),
    ]
    for one, (category, number) in zip(
        image.objects, ((19, 0), (1, 1), (1, 255), (100, 2)), strict=True
    ):
        mask = decode_mask(one.rle, 12, 16)
        assert (mask == ((categories == category) & (numbers == number))).all()


def test_a_number_under_two_categories_is_two_objects(tmp_path: Path) -> None:
    categories, numbers = room()
    categories[2, 1:5] = 2
    (image,), _ = read(ade20k(tmp_path, {"a": (categories, numbers)}))
    assert [o.annotation_id for o in image.objects if o.category == "windowpane"] == ["513"]


def test_what_is_no_such_mask(tmp_path: Path) -> None:
    categories, numbers = room()
    root = ade20k(tmp_path / "ADEChallengeData2016", dict.fromkeys("abc", (categories, numbers)))
    masks = root / "annotations_instance/validation"
    Image.fromarray(categories.astype(np.uint8)).save(masks / "a.png")
    categories[0, 0] = 101
    ade20k(root, {"b": (categories, numbers)})
    images, rejections = read(tmp_path)  # the folder above is enough
    assert [i.image_id for i in images] == ["c"]
    assert [(r.image_id, r.reason) for r in rejections] == [
        ("a", "mask_unreadable"),
        ("b", "mask_values"),
    ]
    assert "8-bit grey image; ADE20K's instance masks are 8-bit RGB" in rejections[0].detail
    assert "category 101 in red" in rejections[1].detail
    with pytest.raises(InputError, match="splits there: validation"):
        open_source(SPEC, "val", root)


def test_the_names_are_the_challenges() -> None:
    assert len(ADE100) == 100
    assert [ADE100.name_of(k) for k in (1, 4, 20, 21, 58, 79, 100)] == [
        "bed", "person", "bathtub", "railing", "television receiver", "trade name", "flag",
    ]  # fmt: skip
