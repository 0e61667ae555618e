"""Boundary IoU against the definition, pixel by pixel."""

from __future__ import annotations

from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.metrics import Accumulator, MetricOptions, boundary, score_image, truth_from_maps
from sbdata.metrics.bootstrap import bootstrap
from sbdata.sizes import SizeBins
from tests.metrics.random_maps import N_CLASSES, images
from tests.reference.ia_iou_arrays import label_regions

VOID = 255
WITH = MetricOptions(boundary=True)


def distance(one, other):
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))


def edge(pixels, shape, d):
    """The pixels of a set that are at most d from one outside it, in the image or beyond."""
    height, width = shape
    beyond = product(range(-d, height + d), range(-d, width + d))
    outside = [p for p in beyond if p not in pixels]
    return {p for p in pixels if any(distance(p, o) <= d for o in outside)}


def expected(image, d):
    """Return the shared and joint boundary pixels by instance number."""
    class_map, instance_map = image.class_map, image.instance_map
    shape = class_map.shape
    real = (class_map != VOID) & (instance_map != VOID)
    places = list(product(range(shape[0]), range(shape[1])))
    regions, class_of = label_regions(image.prediction, N_CLASSES)
    true = {i: {p for p in places if real[p] and instance_map[p] == i} for i in image.classes}
    assigned = {
        i: {p for p in pixels if image.prediction[p] == image.classes[i]}
        for i, pixels in true.items()
    }
    for region, c in enumerate(class_of):
        met = {
            i: [p for p in sorted(hit) if regions[p] == region]
            for i, hit in sorted(assigned.items())
            if image.classes[i] == c
        }
        met = {i: pixels for i, pixels in met.items() if region and pixels}
        # Only what was hit counts, not what an earlier region assigned.
        met = {i: [p for p in pixels if p in true[i]] for i, pixels in met.items()}
        for p in places:
            if met and regions[p] == region and real[p] and class_map[p] != c:
                nearest = min(met, key=lambda i: (min(distance(p, q) for q in met[i]), i))
                assigned[nearest].add(p)
    found = {}
    for i, pixels in true.items():
        one, other = edge(pixels, shape, d), edge(assigned[i], shape, d)
        found[i] = (len(one & other), len(one | other))
    return found


@settings(max_examples=120, deadline=None)
@given(images(), st.sampled_from([0.02, 0.25]))
def test_each_instance_has_the_boundary_of_the_definition(image, fraction):
    truth = truth_from_maps(image.class_map, image.instance_map)
    with patch.object(boundary, "FRACTION", fraction):
        d = boundary.boundary_width(*image.class_map.shape)
        rows = score_image(image.prediction, truth, N_CLASSES, WITH).instances
    assert d == max(1, round(fraction * float(np.hypot(*image.class_map.shape))))
    found = {
        int(row["instance_id"]): (int(row["boundary_shared"]), int(row["boundary_union"]))
        for row in rows
    }
    assert found == expected(image, d)
    plain = score_image(image.prediction, truth, N_CLASSES).instances
    assert (plain[["tp", "fp"]] == rows[["tp", "fp"]]).all()
    assert not plain["boundary_union"].any()


def test_one_object_and_its_segment_have_the_published_value() -> None:
    """The released code erodes a padded mask d times by a square of 3 x 3."""
    cv2 = pytest.importorskip("cv2", reason="the extra `train` is not installed")
    y, x = np.mgrid[:120, :160]
    true = ((y - 50) ** 2 + (x - 70) ** 2 < 40**2).astype(np.uint8)
    predicted = ((y - 62) ** 2 / 2 + (x - 66) ** 2 < 41**2).astype(np.uint8)
    assert predicted[-1].any()  # it is cut by the image's border
    edges = []
    for mask in (true, predicted):
        padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=4)[1:-1, 1:-1]
        edges.append((mask == 1) & (inner == 0))
    assert boundary.boundary_width(120, 160) == 4
    (row,) = score_image(predicted, truth_from_maps(true, true), 1, WITH).instances
    assert row["boundary_shared"] == (edges[0] & edges[1]).sum()
    assert row["boundary_union"] == (edges[0] | edges[1]).sum()


def test_means_are_by_size_and_class_and_have_intervals() -> None:
    bins = SizeBins((20,), ("tiny", "rest"))
    both, off = Accumulator(2, WITH), Accumulator(2)
    values = {"tiny": [], "rest": []}
    for k in range(12):
        truth_map = np.zeros((20, 20), np.uint8)
        truth_map[2:6, 2:6], truth_map[8:18, 8:18] = 1, 2
        truth, predicted = truth_from_maps(truth_map, truth_map), np.roll(truth_map, k % 3, 1)
        scored = score_image(predicted, truth, 2, WITH)
        both.update(f"{k:02d}", scored)
        off.update(f"{k:02d}", score_image(predicted, truth, 2))
        for row, size in zip(scored.instances, values, strict=True):
            values[size].append(row["boundary_shared"] / row["boundary_union"])
    further = both.compute(bins).further
    assert further["boundary_iou_tiny.class_mean"] == pytest.approx(np.mean(values["tiny"]))
    assert further["boundary_iou_rest.instance_mean"] == pytest.approx(np.mean(values["rest"]))
    whole = np.mean([np.mean(of_size) for of_size in values.values()])
    assert further["boundary_iou.class_mean"] == pytest.approx(whole)
    drawn = bootstrap(both.tables(), bins, resamples=20).intervals()
    assert drawn["boundary_iou_tiny.class_mean"].low < whole
    # Without the option there is no such value, and every other value is the same.
    plain = off.compute(bins)
    assert plain.further == {}
    assert plain.ia == both.compute(bins).ia
    assert "boundary_iou" not in off.tables().instance_columns(bins, ("a", "b"))
    column = both.tables().instance_columns(bins, ("a", "b"))["boundary_iou"]
    assert column.tolist() == pytest.approx([v for p in zip(*values.values(), strict=True)
                                             for v in p])  # fmt: skip
