"""Real masks: the truth against itself, and damaged copies against the array reference."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from sbdata.metrics import (
    Accumulator,
    MetricOptions,
    score_image,
    truth_from_components,
    truth_from_maps,
)
from tests.reference import ia_iou_arrays

N_CLASSES = 20
REGION = ("class_id", "area", "matched", "met_instances")

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def voc(real_data):
    return real_data / "voc2012-mini" / "VOCdevkit" / "VOC2012"


def maps_of(voc, part):
    names = (voc / "ImageSets" / "Segmentation" / f"{part}.txt").read_text().split()
    for name in names:
        folders = "SegmentationClass", "SegmentationObject"
        yield name, *(np.array(Image.open(voc / folder / f"{name}.png")) for folder in folders)


def as_predicted(class_map):
    return np.where(class_map == 255, 0, class_map)


def test_truth_against_itself_is_one_and_without_small_objects_only_they_are_lost(voc):
    same, erased = Accumulator(N_CLASSES), Accumulator(N_CLASSES)
    for name, class_map, instance_map in maps_of(voc, "val"):
        truth = truth_from_maps(class_map, instance_map)
        perfect = as_predicted(class_map)
        score = score_image(perfect, truth, N_CLASSES)
        same.update(name, score)
        small = score.instances["instance_id"][score.instances["area"] < 32**2]
        fewer = np.where(np.isin(instance_map, small), 0, perfect)
        erased.update(name, score_image(fewer, truth, N_CLASSES))
    assert len(same) >= 110
    full, less = same.compute(), erased.compute()
    found = {name: value for name, value in full.headline().items() if value is not None}
    assert len(found) > 8
    assert set(found.values()) == {1}
    assert less.ia["ia_small"].class_mean == 0
    assert less.ia["ia_small"].n_instances > 0
    assert less.ia["ia_medium"] == full.ia["ia_medium"]
    assert less.ia["ia_large"] == full.ia["ia_large"]
    assert 0.95 < less.miou < 1


# --- damaged copies -------------------------------------------------------------------------------


def shift(perfect, instances, rng):
    return np.roll(perfect, rng.integers(-12, 13, 2), (0, 1))


def dilate(perfect, instances, rng):
    return ndimage.grey_dilation(perfect, size=int(rng.integers(3, 15)))


def noise(perfect, instances, rng):
    there = [0, *np.unique(perfect[perfect > 0]), 15]
    salt = rng.random(perfect.shape) < 0.02
    return np.where(salt, rng.choice(there, perfect.shape), perfect)


def drop_and_merge(perfect, instances, rng):
    """Lose some objects, take some for another class, and join what is left by bars."""
    damaged = perfect.copy()
    for number in np.unique(instances[(instances > 0) & (instances < 255)]):
        chance = rng.random()
        if chance < 0.3:
            damaged[instances == number] = 0
        elif chance < 0.5:
            damaged[instances == number] = rng.integers(1, N_CLASSES + 1)
    for class_id in np.unique(damaged[damaged > 0]):
        ys, xs = np.nonzero(damaged == class_id)
        damaged[int(np.median(ys)), xs.min() : xs.max() + 1] = class_id
        damaged[ys.min() : ys.max() + 1, int(np.median(xs))] = class_id
    return damaged


def rings(perfect, instances, rng):
    """Predict outlines in place of areas, and rings of the classes around other things."""
    outline = perfect * (perfect != ndimage.grey_erosion(perfect, size=9))
    y, x = np.mgrid[: perfect.shape[0], : perfect.shape[1]]
    for class_id in [*np.unique(perfect[perfect > 0]), 15]:
        for _ in range(3):
            centre = rng.random(2) * perfect.shape
            away = np.hypot(y - centre[0], x - centre[1])
            radius = rng.uniform(10, 150)
            ring = (away < radius) & (away > radius - rng.uniform(1, 8))
            outline[ring & (rng.random(perfect.shape) > rng.choice([0, 0.001, 0.1]))] = class_id
    return outline


@pytest.fixture(scope="module")
def crowded(voc):
    """Return 100 photos with several instances each."""
    found = []
    for name, class_map, instance_map in maps_of(voc, "train"):
        truth = truth_from_maps(class_map, instance_map)
        if len(truth.instance_ids) > 1 and len(found) < 100:
            found.append((name, truth))
    assert len(found) == 100
    assert sum(len(truth.instance_ids) for _, truth in found) > 300
    return found


@pytest.mark.parametrize("damage", [shift, dilate, noise, drop_and_merge, rings])
def test_damaged_copies_of_100_photos_equal_the_array_reference(damage, crowded):
    rng = np.random.default_rng(0)
    nested = 0
    for k, (name, truth) in enumerate(crowded):
        perfect = as_predicted(truth.class_map)
        prediction = damage(perfect, truth.instance_map, rng).astype(np.uint8)
        options = MetricOptions("area", "exact") if k % 10 == 9 else MetricOptions()
        got = score_image(prediction, truth, N_CLASSES, options)
        want = ia_iou_arrays.score(
            prediction,
            truth.class_map,
            truth.instance_map,
            dict(zip(truth.instance_ids.tolist(), truth.class_ids.tolist(), strict=True)),
            N_CLASSES,
            fp_attribution=options.fp_attribution,
            rounding=options.rounding,
        )
        assert (got.confusion == want["confusion"]).all(), name
        regions = [got.regions[column].tolist() for column in REGION]
        assert sorted(zip(*regions, strict=True)) == want["regions"], name
        for row in got.instances:
            area, tp, fp, met = want["instances"][int(row["instance_id"])]
            assert (row["area"], row["tp"], row["met_regions"]) == (area, tp, met), name
            if options.rounding == "floor":
                assert row["fp"] == fp, name
            else:
                assert row["fp"] == pytest.approx(fp, rel=1e-12), name
        some = (got.classes["class_id"] == 0) & (got.classes["true_pixels"] > 0)
        true, predicted, both = (
            int(got.classes[f"{kind}_pixels"][some].sum())
            for kind in ("true", "predicted", "matched")
        )
        wanted = both / (true + predicted - both) if true else None
        assert wanted == want["background"], name
        if damage is rings:
            components = truth_from_components(prediction).instance_map
            real = (truth.class_map != 255) & (truth.instance_map != 255)
            nested += np.unique(components[real & (components > 0)]).size > len(got.regions)
    if damage is rings:
        assert nested > 20  # photos in which outlines join what plain components do not
