"""Real masks: the truth against itself, and damaged copies against independent references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sbdata.masks import write_index_png
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import Truth, truth_from_coco, truth_from_voc
from tests.reference import ia_iou, ia_iou_arrays

pytestmark = pytest.mark.realdata
FEW = ScoreOptions(resamples=20)


@pytest.fixture(scope="module", params=["voc", "coco"])
def truth(request: pytest.FixtureRequest, real_data: Path) -> Truth:
    if request.param == "voc":
        return truth_from_voc(real_data / "voc2012-mini" / "VOCdevkit")
    file = real_data / "coco128" / "annotations" / "instances_train2017.json"
    return truth_from_coco(file, "voc20")


def predict(
    truth: Truth, folder: Path, change: Callable[[np.ndarray, np.ndarray], np.ndarray]
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


def test_the_truth_itself_scores_one_everywhere(truth: Truth, tmp_path: Path) -> None:
    folder = predict(truth, tmp_path / "p", lambda perfect, _: perfect)
    scored = score_folder(folder, truth, FEW, workers=2)
    found = {k: v for k, v in scored.summary.headline().items() if v is not None}
    assert len(found) == 16
    assert set(found.values()) == {1.0}
    assert len(truth.image_ids) >= 110


def test_erasing_small_objects_loses_them_and_nothing_else(truth: Truth, tmp_path: Path) -> None:
    scored = score_folder(predict(truth, tmp_path / "p", erase_small), truth, FEW, workers=2)
    ia = scored.summary.ia
    assert ia["ia_small"].n_instances > 0
    assert ia["ia_small"].class_mean == 0
    assert ia["ia_medium"].class_mean == ia["ia_large"].class_mean == 1
    assert 0.9 < scored.summary.miou < 1


@pytest.mark.slow
@pytest.mark.parametrize("change", [shift, erase_small])
def test_damaged_copies_score_what_the_references_say(
    truth: Truth, tmp_path: Path, change: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    from PIL import Image

    folder = predict(truth, tmp_path / "p", change)
    scored = score_folder(folder, truth, FEW, workers=2)
    tables, at = scored.tables, 0
    confusion = np.zeros_like(tables.confusion)
    smallest = min(truth.image_ids, key=lambda i: truth.sizes[i][0] * truth.sizes[i][1])
    values: list[tuple[int, float]] = []
    for image_id in truth.image_ids:
        maps = truth.load(image_id).truth
        prediction = np.array(Image.open(folder / f"{image_id}.png"))
        classes = dict(zip(maps.instance_ids.tolist(), maps.class_ids.tolist(), strict=True))
        want = ia_iou_arrays.score(prediction, maps.class_map, maps.instance_map, classes, 20)
        confusion += want["confusion"]
        for number in sorted(classes):
            row = tables.instances[at]
            assert tables.image_ids[tables.instance_image[at]] == image_id
            area, tp, fp, met = want["instances"][number]
            assert (row["instance_id"], row["area"], row["tp"]) == (number, area, tp)
            assert row["met_regions"] == met
            assert row["fp"] == pytest.approx(fp, rel=1e-12)
            values.append((classes[number], tp / (area + fp)))
            at += 1
        if image_id == smallest and change is shift:  # the sets of pixels are slow
            slow = ia_iou.score(prediction, maps.class_map, maps.instance_map, classes, 20)
            for number, row in slow["instances"].items():
                assert (row["tp"], row["area"]) == want["instances"][number][1::-1]
                assert float(row["fp"]) == pytest.approx(want["instances"][number][2], rel=1e-12)
    assert at == len(tables.instances)
    assert (confusion == tables.confusion).all()
    class_mean, instance_mean = ia_iou.class_and_instance_mean(values)
    assert scored.summary.ia["ia"].class_mean == pytest.approx(class_mean, rel=1e-12)
    assert scored.summary.ia["ia"].instance_mean == pytest.approx(instance_mean, rel=1e-12)
    assert scored.summary.miou == pytest.approx(float(ia_iou.mean_iou(confusion.tolist())[0]))
