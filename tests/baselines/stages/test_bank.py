from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sbdata_baselines.settings import BankSettings, PasteSettings
from sbdata_baselines.stages.bank import (
    cut_out,
    load_paster,
    object_bank,
    only_class,
    pasted_at,
    shrunk,
    turned,
)
from sbdata_baselines.stages.masks import write_pseudo_mask

from sbdata.benchmark.stage import StageContext
from sbdata.errors import InputError
from sbdata.taxonomy import Taxonomy
from sbdata.train.devices import DistributedContext
from sbdata.weak_labels.weak_set import WeakImage, WeakSet

NAMES = Taxonomy("three", ("a", "b", "c"))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), top=st.integers(0, 4), left=st.integers(0, 6))
def test_pasting_changes_no_pixel_outside_the_object(seed: int, top: int, left: int) -> None:
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (10, 14, 3), np.uint8)
    thing = rng.integers(0, 256, (6, 8, 4), np.uint8)
    thing[..., 3] = rng.choice([0, 255], (6, 8))
    before = photo.copy()
    result = pasted_at(photo, thing, top, left)
    assert np.array_equal(photo, before)
    for y, x in np.ndindex(10, 14):
        covered = top <= y < top + 6 and left <= x < left + 8 and thing[y - top, x - left, 3]
        wanted = thing[y - top, x - left, :3] if covered else photo[y, x]
        assert np.array_equal(result[y, x], wanted)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0, 0, 0, 0, 2], 2),
        ([0, 0, 0, 255, 2], 2),
        ([0, 0, 0, 0, 0], None),  # nothing
        ([0, 0, 0, 1, 2], None),  # two classes
        ([2, 2, 2, 2, 0], None),  # 80 % is too much
    ],
)
def test_the_bank_takes_one_object_of_a_fair_share(values: list[int], wanted: int | None) -> None:
    assert only_class(np.array([values], np.uint8), (0.1, 0.7)) == wanted


def test_too_small_an_object_is_not_taken() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:3, :3] = 1
    assert only_class(mask, (0.1, 0.7)) is None
    assert only_class(mask, (0.02, 0.7)) == 1


def test_an_object_is_cut_out_tightly() -> None:
    photo = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    inside = np.zeros((5, 6), bool)
    inside[1, 2], inside[3, 4] = True, True
    thing = cut_out(photo, inside)
    assert thing.shape == (3, 3, 4)
    assert np.array_equal(thing[..., :3], photo[1:4, 2:5])
    assert np.array_equal(thing[..., 3] == 255, inside[1:4, 2:5])


def test_a_quarter_turn_and_shrinking_keep_the_object() -> None:
    thing = np.zeros((4, 9, 4), np.uint8)
    thing[:2, :, 3] = 255
    quarter = turned(Image.fromarray(thing), 90)
    assert quarter.size == (4, 9)
    assert np.array_equal(np.asarray(quarter)[..., 3], np.rot90(thing[..., 3]))
    small = shrunk(Image.fromarray(np.full((40, 90, 4), 255, np.uint8)), (100, 20), 0.7)
    assert small.size == (31, 14)  # the height is what is short
    kept = shrunk(Image.fromarray(thing), (100, 100), 0.7)
    assert kept.size == (9, 4)


def bank_of(tmp_path: Path) -> tuple[StageContext, Path]:
    """Photos p0 (a square of class a), p1 (of b), p2 (both) in even colours, and their masks."""
    rows = []
    for number, squares in enumerate([(1,), (2,), (1, 2)]):
        photo = np.full((30, 40, 3), 100 + number, np.uint8)
        mask = np.zeros((30, 40), np.uint8)
        for class_id in squares:
            box = np.s_[5:20, 20 * (class_id - 1) : 20 * class_id - 2]
            photo[box], mask[box] = 200 + class_id, class_id
        Image.fromarray(photo).save(tmp_path / f"p{number}.png")
        write_pseudo_mask(tmp_path / "masks", f"p{number}", mask)
        rows.append(WeakImage(f"p{number}", tmp_path / f"p{number}.png", (30, 40), squares))
    place = DistributedContext(torch_cpu())
    task = StageContext(
        WeakSet(tuple(rows), NAMES), tmp_path / "bank", 0, place, lambda done, total: None
    )
    object_bank(task, BankSettings(), tmp_path / "masks")
    return task, tmp_path / "bank"


def torch_cpu() -> object:
    import torch

    return torch.device("cpu")


def row_of(*classes: int) -> WeakImage:
    return WeakImage("x", Path("x.png"), (30, 40), classes)


def test_a_pasted_object_brings_its_label_and_its_pixels(tmp_path: Path) -> None:
    _, folder = bank_of(tmp_path)
    assert sorted(p.name for p in folder.glob("*.png")) == ["p0.png", "p1.png"]
    paster = load_paster(folder, PasteSettings(rotate=0))
    photo = Image.new("RGB", (40, 30))
    result, row = paster(photo, row_of(1, 3), np.random.default_rng(0))
    assert row == row_of(1, 2, 3)
    pixels = np.asarray(result)
    assert set(np.unique(pixels)) == {0, 202}
    assert (pixels[..., 0] == 202).sum() == 15 * 18
    twice = [paster(photo, row_of(1), np.random.default_rng(4)) for _ in range(2)]
    assert np.array_equal(*(np.asarray(image) for image, _ in twice))


def test_a_photo_with_all_banked_classes_stays(tmp_path: Path) -> None:
    _, folder = bank_of(tmp_path)
    photo = Image.new("RGB", (40, 30), (9, 9, 9))
    paster = load_paster(folder, PasteSettings())
    result, row = paster(photo, row_of(1, 2), np.random.default_rng(0))
    assert row == row_of(1, 2)
    assert np.array_equal(np.asarray(result), np.asarray(photo))


def test_a_range_must_be_one() -> None:
    with pytest.raises(InputError, match=r"bank\.ratio"):
        BankSettings((0.7, 0.1))
