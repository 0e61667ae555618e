"""Real masks: the truth against itself, and a damaged copy against the array path."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbdata.metrics import Accumulator, score_image, truth_from_maps
from tests.reference import ia_iou_arrays

DATA = Path(os.environ.get("SBDATA_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
VOC = DATA / "voc2012-mini" / "VOCdevkit" / "VOC2012"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not VOC.is_dir(), reason=f"no real data: {VOC} is absent"),
]


def val_maps():
    names = (VOC / "ImageSets" / "Segmentation" / "val.txt").read_text().split()
    for name in names:
        folders = "SegmentationClass", "SegmentationObject"
        yield name, *(np.array(Image.open(VOC / folder / f"{name}.png")) for folder in folders)


def has_strays(class_map, instance_map):
    """Tell whether class pixels belong to no instance, as some specks of these masks do."""
    return bool(np.isin(instance_map, (0, 255))[(class_map > 0) & (class_map < 255)].any())


def test_truth_against_itself_is_one_and_without_small_objects_only_they_are_lost():
    same, erased = Accumulator(20), Accumulator(20)
    for name, class_map, instance_map in val_maps():
        if has_strays(class_map, instance_map):
            continue  # specks in a component are false pixels, see docs/metric.md
        truth = truth_from_maps(class_map, instance_map)
        perfect = np.where(class_map == 255, 0, class_map)
        score = score_image(perfect, truth, 20)
        same.update(name, score)
        small = score.instances["instance_id"][score.instances["area"] < 32**2]
        erased.update(
            name, score_image(np.where(np.isin(instance_map, small), 0, perfect), truth, 20)
        )
    assert len(same) > 100
    full, less = same.compute(), erased.compute()
    found = {name: value for name, value in full.headline().items() if value is not None}
    assert len(found) > 8
    assert set(found.values()) == {1}
    assert less.ia["ia_small"].class_mean == 0
    assert less.ia["ia_small"].n_instances > 0
    assert less.ia["ia_medium"] == full.ia["ia_medium"]
    assert less.ia["ia_large"] == full.ia["ia_large"]
    assert 0.95 < less.miou < 1


def test_shifted_truth_equals_the_array_path():
    for k, (_, class_map, instance_map) in enumerate(val_maps()):
        if k % 5:
            continue
        truth = truth_from_maps(class_map, instance_map)
        shifted = np.roll(np.where(class_map == 255, 0, class_map), (7, -9), (0, 1))
        classes = dict(zip(truth.instance_ids.tolist(), truth.class_ids.tolist(), strict=True))
        got = score_image(shifted, truth, 20)
        want = ia_iou_arrays.score(shifted, class_map, instance_map, classes, 20)
        assert (got.confusion == want["confusion"]).all()
        for row in got.instances:
            area, tp, fp, touched = want["instances"][int(row["instance_id"])]
            assert (row["area"], row["tp"], row["touched_components"]) == (area, tp, touched)
            assert row["fp"] == pytest.approx(fp, rel=1e-12)
