"""Real masks: the truth against itself, and damaged copies against independent references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import maximum_filter

from sbdata.masks import write_index_png
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import GroundTruth, truth_from_coco, truth_from_voc
from tests.reference import ia_iou, ia_iou_arrays

pytestmark = pytest.mark.realdata
FEW = ScoreOptions(resamples=20)


@pytest.fixture(scope="module", params=["voc", "coco"])
def truth(request: pytest.FixtureRequest, real_data: Path) -> GroundTruth:
    if request.param == "voc":
        return truth_from_voc(real_data / "voc2012-mini" / "VOCdevkit")
    file = real_data / "coco128" / "annotations" / "instances_train2017.json"
    return truth_from_coco(file, "voc20")


def predict(
    truth: GroundTruth, folder: Path, change: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Path:
    folder.mkdir()
    for image_id in truth.image_ids:
        maps = truth.load(image_id).truth
        perfect = np.where(maps.class_map == 255, 0, maps.class_map).astype(np.uint8)
        write_index_png(folder / f"{image_id}.png", change(perfect, maps.instance_map))
    return folder


def erase_small(perfect: np.ndarray, instances: np.ndarray) -> np.ndarray:
    numbers, areas = np.unique(instances[perfect > 0], return_counts=True)
    return np.where(np.isin(instances, numbers[areas < 32**2]), 0, perfect).astype(np.uint8)


def shift(perfect: np.ndarray, instances: np.ndarray) -> np.ndarray:
    return np.roll(perfect, (7, -9), (0, 1))


def perturb(perfect: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """Shift, grow, drop and confuse objects; add specks, and rings with specks in their holes."""
    rng = np.random.default_rng(int(perfect.sum()) + perfect.size)
    found = np.roll(perfect, rng.integers(-12, 13, 2), (0, 1))
    for number in np.unique(instances[(perfect > 0) & (instances > 0)]).tolist():
        kind, own = rng.random(), instances == number
        if kind < 0.2:
            found[own] = 0
        elif kind < 0.35:
            found[own] = rng.integers(1, 21)
    present = np.unique(perfect[perfect > 0])
    if rng.random() < 0.5 and present.size:
        grown = maximum_filter(found, size=int(rng.integers(3, 15)))
        found = np.where(found == 0, grown, found)
    height, width = found.shape
    for _ in range(12):
        side = int(rng.integers(2, 40))
        y, x = int(rng.integers(0, height - side)), int(rng.integers(0, width - side))
        c = int(rng.choice(present)) if present.size and rng.random() < 0.7 else rng.integers(0, 21)
        if rng.random() < 0.5 and side > 8:  # a ring, and something of its class in its hole
            found[y : y + side, x : x + side] = c
            found[y + 2 : y + side - 2, x + 2 : x + side - 2] = 0
            found[y + side // 2, x + side // 2] = c
        else:
            found[y : y + side, x : x + side] = c
    noise = rng.random(found.shape) < 0.002
    found[noise] = rng.integers(0, 21, int(noise.sum()))
    return found.astype(np.uint8)


def test_the_truth_itself_scores_one_everywhere(truth: GroundTruth, tmp_path: Path) -> None:
    folder = predict(truth, tmp_path / "p", lambda perfect, _: perfect)
    scored = score_folder(folder, truth, FEW, workers=2)
    found = {k: v for k, v in scored.summary.headline().items() if v is not None}
    assert len(found) == 16
    assert set(found.values()) == {1.0}
    assert len(truth.image_ids) >= 110


def test_erasing_small_objects_loses_them_and_nothing_else(
    truth: GroundTruth, tmp_path: Path
) -> None:
    scored = score_folder(predict(truth, tmp_path / "p", erase_small), truth, FEW, workers=2)
    ia = scored.summary.ia
    assert ia["ia_small"].n_instances > 0
    assert ia["ia_small"].class_mean == 0
    assert ia["ia_medium"].class_mean == ia["ia_large"].class_mean == 1
    assert 0.9 < scored.summary.miou < 1


@pytest.mark.slow
@pytest.mark.parametrize("change", [shift, perturb, erase_small])
def test_damaged_copies_score_what_the_references_say(
    truth: GroundTruth, tmp_path: Path, change: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    folder = predict(truth, tmp_path / "p", change)
    scored = score_folder(folder, truth, FEW, workers=2)
    tables, at = scored.tables, 0
    confusion = np.zeros_like(tables.confusion)
    smallest = min(truth.image_ids, key=lambda i: truth.sizes[i][0] * truth.sizes[i][1])
    values: list[tuple[int, float]] = []
    backgrounds: list[float] = []
    for image_id in truth.image_ids:
        maps = truth.load(image_id).truth
        with Image.open(folder / f"{image_id}.png") as image:
            prediction = np.array(image)
        classes = dict(zip(maps.instance_ids.tolist(), maps.class_ids.tolist(), strict=True))
        given = (prediction, maps.class_map, maps.instance_map, classes, 20)
        want = ia_iou_arrays.score(*given)
        confusion += want["confusion"]
        if want["background"] is not None:
            backgrounds.append(want["background"])
        for number in sorted(classes):
            row = tables.instances[at]
            assert tables.image_ids[tables.instance_image[at]] == image_id
            area, tp, fp, met = want["instances"][number]
            found = row[["instance_id", "area", "tp", "fp", "met_regions"]].item()
            assert found == (number, area, tp, fp, met)  # every instance, exactly
            values.append((classes[number], tp / (area + fp)))
            at += 1
        if image_id == smallest and change is shift:  # the sets of pixels are slow
            slow = ia_iou.score(*given)
            for number, row in slow["instances"].items():
                exact = (row["area"], row["tp"], row["fp"], row["met_regions"])
                assert exact == want["instances"][number]
    assert at == len(tables.instances)
    assert (confusion == tables.confusion).all()
    for name, further in (("ia", backgrounds), ("ia_objects", ())):
        class_mean, instance_mean = ia_iou.class_and_instance_mean(values, further)
        figure = scored.summary.ia[name]
        assert figure.class_mean == pytest.approx(float(class_mean), rel=1e-12)
        assert figure.instance_mean == pytest.approx(float(instance_mean), rel=1e-12)
    assert scored.summary.miou == pytest.approx(float(ia_iou.mean_iou(confusion.tolist())[0]))
