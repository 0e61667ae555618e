"""Cityscapes and ADE20K as truth: against brute force, and against Cityscapes' own definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.mask_files import VOID
from sbdata.score.inputs import ProblemsError
from sbdata.score.label_map_truth import truth_from_label_maps
from sbdata.score.run import ScoreOptions, loader_of, score_folder
from sbdata.sizes import SizeBins
from sbdata.sources.ade20k import ADE20K
from sbdata.sources.cityscapes import CITYSCAPES
from tests.reference import ia_iou
from tests.sources.label_map_examples import EVALUATED, LABELS, ade20k, cityscapes, save, street

BINS = SizeBins((30, 80))
FEW = ScoreOptions(resamples=0)
STREETS = {f"000000_{k:06d}": street(k) for k in range(3)}
CLASS_OF = {label: EVALUATED.index(name) + 1 for label, name in LABELS.items() if name}


def label_of(ids: np.ndarray) -> np.ndarray:
    return np.where(ids >= 1000, ids // 1000, ids)


def classes_of(ids: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda v: CLASS_OF.get(v, VOID))(label_of(ids)).astype(np.uint8)


def guess(ids: np.ndarray, seed: int) -> np.ndarray:
    """The truth, moved, with some pixels of other classes, and without void; 1..19."""
    rng = np.random.default_rng(seed)
    moved = np.roll(classes_of(ids), (1, -2), (0, 1))
    wrong = rng.random(ids.shape) < 0.03
    return np.where(wrong | (moved == VOID), rng.integers(1, 20, ids.shape), moved)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cityscapes(tmp_path_factory.mktemp("cityscapes"), STREETS)


def predicted(folder: Path, change=lambda classes: classes) -> Path:
    for k, (name, ids) in enumerate(STREETS.items()):
        save(folder / f"ulm_{name}_leftImg8bit.png", change(guess(ids, k)).astype(np.uint8))
    return folder


def scored(root: Path, folder: Path, **options):
    truth = truth_from_label_maps(CITYSCAPES, root, "val", bins=BINS)
    return score_folder(folder, truth, ScoreOptions(resamples=0, **options))


def test_rows_are_those_of_brute_force(root: Path, tmp_path: Path) -> None:
    found = scored(root, predicted(tmp_path / "p"))
    rows = {
        (found.tables.image_ids[i], row[0]): row
        for i, row in zip(found.tables.instance_image, found.tables.instances.tolist(), strict=True)
    }
    for k, (name, ids) in enumerate(STREETS.items()):
        single = (ids >= 1000) & (classes_of(ids) != VOID)
        objects = np.where(single, ids, 0)
        kinds = {int(v): int(classes_of(ids)[ids == v][0]) for v in np.unique(objects) if v}
        want = ia_iou.score(guess(ids, k), classes_of(ids), objects, kinds, 19)
        for number, row in want["instances"].items():
            _, class_id, area, tp, fp, met, *_ = rows.pop((f"ulm_{name}_leftImg8bit", number))
            assert (class_id, area, tp, met) == tuple(
                row[key] for key in ("class_id", "area", "tp", "met_regions")
            )
            assert fp == pytest.approx(float(row["fp"]), rel=1e-12)
    assert not rows


def test_miou_is_that_of_cityscapes_own_evaluation(root: Path, tmp_path: Path) -> None:
    """IoU of label ids: pixels of ignored labels count nowhere, those of groups for their class."""
    found = scored(root, predicted(tmp_path / "p"))
    true = np.concatenate([label_of(ids).ravel() for ids in STREETS.values()])
    label = np.array([0, *CLASS_OF])
    seen = np.concatenate([label[guess(ids, k)].ravel() for k, ids in enumerate(STREETS.values())])
    ious = []
    for name in CLASS_OF:
        counted = np.isin(true, list(CLASS_OF))
        both = ((true == name) & (seen == name)).sum()
        union = ((true == name) | ((seen == name) & counted)).sum()
        if (true == name).any():
            ious.append(both / union)
    assert found.summary.miou == pytest.approx(np.mean(ious), rel=1e-12)
    assert any((ids == 24).any() for ids in STREETS.values())  # a group


def test_numbers_of_other_kinds_score_the_same(root: Path, tmp_path: Path) -> None:
    want = scored(root, predicted(tmp_path / "p"))
    label = np.array([0, *CLASS_OF])
    for name, change in (
        ("cityscapes-trainids", lambda c: c - 1),
        ("cityscapes-labelids", lambda c: label[c]),
    ):
        folder = predicted(tmp_path / name, change)
        with pytest.raises(ProblemsError) as caught:
            scored(root, folder)
        assert {p.kind for p in caught.value.problems} == {"values"}
        found = scored(root, folder, palette=name)
        assert (found.tables.instances == want.tables.instances).all()
        assert (found.tables.confusion == want.tables.confusion).all()
        assert found.summary == want.summary
        assert found.provenance["options"]["palette"] == name


def test_a_zero_is_refused_unless_a_palette_says_what_it_is(root: Path, tmp_path: Path) -> None:
    folder = predicted(tmp_path / "p", lambda c: np.where(c == 7, 0, c))
    with pytest.raises(ProblemsError, match=r"0 in \d+ pixels, but the truth has no background"):
        scored(root, folder)
    lines = [f"{name}: {k}" for k, name in enumerate(EVALUATED, 1)]
    (tmp_path / "mine.txt").write_text("\n".join(["background: 0", *lines]))
    confusion = scored(root, folder, palette=str(tmp_path / "mine.txt")).tables.confusion
    assert confusion[:, 0].sum() > 0
    assert confusion[0].sum() == 0


def test_notes_and_report(root: Path, tmp_path: Path) -> None:
    truth = truth_from_label_maps(CITYSCAPES, root, "val", bins=BINS)
    found = score_folder(predicted(tmp_path / "p"), truth, FEW)
    assert found.notes[0].startswith("11 of the 19 classes never have instances (stuff)")
    assert "have a class but belong to no instance" in found.notes[1]
    image_id = truth.image_ids[0]
    photo, classes, objects, prediction = loader_of(found, truth, FEW)(image_id)
    assert photo.shape == (40, 60, 3)
    assert (classes == classes_of(STREETS["000000_000000"])).all()
    assert objects.max() >= 24000
    assert (prediction == guess(STREETS["000000_000000"], 0)).all()


def test_a_mask_that_is_no_instance_file(root: Path, tmp_path: Path) -> None:
    ids = street(0)
    ids[9, 9] = 999
    other = cityscapes(tmp_path / "c", {"000000_000000": ids})
    save(tmp_path / "p/ulm_000000_000000_leftImg8bit.png", guess(street(0), 0).astype(np.uint8))
    with pytest.raises(InputError, match=r"instanceIds\.png: unusable ground truth: 999 in it"):
        scored(other, tmp_path / "p")
    next(other.rglob("*instanceIds.png")).write_bytes(b"none")
    with pytest.raises(InputError, match="unusable ground truth: not a PNG"):
        scored(other, tmp_path / "p")


def test_ade20k_with_more_objects_than_eight_bits_hold(tmp_path: Path) -> None:
    numbers = np.zeros((20, 60), int)
    numbers[:16:2, ::2] = np.arange(240).reshape(8, 30)  # one of them is 0
    categories = np.where(numbers > 0, 1 + numbers % 2, 0)
    categories[18], numbers[19, :15] = 5, np.arange(241, 256)
    categories[19, :15] = 3
    root = ade20k(tmp_path, {"ADE_val_00000001": (categories, numbers)})
    truth = truth_from_label_maps(ADE20K, root, "validation", bins=BINS)
    prediction = np.roll(categories, 1, 1)
    save(tmp_path / "p/ADE_val_00000001.png", prediction.astype(np.uint8))
    found = score_folder(tmp_path / "p", truth, FEW)
    codes = np.where((categories > 0) & (numbers > 0), 256 * categories + numbers, 0)
    kinds = {int(v): int(v) // 256 for v in np.unique(codes) if v}
    assert len(kinds) == 254
    want = ia_iou.score(prediction, categories, codes, kinds, 100)["instances"]
    rows = {row[0]: row for row in found.tables.instances.tolist()}
    assert rows.keys() == want.keys()
    for number, row in want.items():
        assert rows[number][3] == row["tp"]
        assert rows[number][4] == pytest.approx(float(row["fp"]))
    assert found.notes == (
        "60 pixels in 1 image have a class but belong to no instance; mIoU counts them, IA does "
        "not",
    )


def test_a_palette_png_of_ade20k_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "annotations_instance/validation/a.png"
    path.parent.mkdir(parents=True)
    Image.new("P", (4, 4)).save(path)
    truth = truth_from_label_maps(ADE20K, tmp_path, "validation", bins=BINS)
    with pytest.raises(InputError, match="palette image; ADE20K's instance masks are 8-bit RGB"):
        truth.load("a")
