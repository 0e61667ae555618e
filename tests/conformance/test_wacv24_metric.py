"""The released metric's own numbers (``wacv24/metric.json``), to the last digit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sbdata.errors import InputError
from sbdata.metrics import Accumulator, score_image, truth_from_maps
from sbdata.metrics.sums import image_sums
from sbdata.sizes import SizeBins
from tests.conformance import corpus

CORPUS = json.loads((corpus.FOLDER / "wacv24" / "metric.json").read_text(encoding="utf-8"))
CASES, N_CLASSES = CORPUS["cases"], CORPUS["n_classes"]
SIZES = ("all", *SizeBins().names)
NOT_FOLLOWED = {
    "void-class-only",
    "gap",
    "gap-no-background",
    "only-void",
    "instance-on-void",
    "instance-on-background",
}


def score(case):
    accumulator = Accumulator(N_CLASSES)
    for k, image in enumerate(case["images"]):
        class_map, instance_map, prediction = (
            corpus.read_map(image[name]) for name in ("class_map", "instance_map", "prediction")
        )
        truth = truth_from_maps(class_map, instance_map)
        accumulator.update(str(k), score_image(prediction, truth, N_CLASSES))
    return accumulator


def sums_of(tables):
    """Return [sum of the IoUs, count] of each class by size, those that have a count."""
    sums = image_sums(tables, SizeBins()).weighted(np.ones((len(tables.image_ids), 1)))
    found = {}
    for k, size in enumerate(SIZES):
        background = sums.background[:, 0].tolist() if size == "all" else [0, 0]
        rows = [background, *zip(sums.ia[k, :, 0], sums.instances[k, :, 0], strict=True)]
        some = {str(c): [float(total), int(n)] for c, (total, n) in enumerate(rows) if n}
        found |= {size: some} if some else {}
    return found


def wanted_of(case):
    return case.get("ours", case["released"])


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_sums_and_counts_are_the_released_ones(case):
    wanted = wanted_of(case)
    if "refused" in wanted:
        with pytest.raises(InputError, match=wanted["refused"]):
            score(case)
        return
    accumulator = score(case)
    assert sums_of(accumulator.tables()) == wanted
    # A figure is the mean over the classes of sum / count; background is in the overall one only.
    summary = accumulator.compute()
    for size in SIZES:
        means = [total / n for total, n in wanted.get(size, {}).values()]
        figure = summary.ia["ia" if size == "all" else f"ia_{size}"]
        assert figure.n_classes == len(means)
        assert figure.class_mean == (pytest.approx(np.mean(means), rel=1e-15) if means else None)


def test_all_cases_are_there_and_exactly_the_accidents_are_not_followed():
    assert len({case["name"] for case in CASES}) == len(CASES) == 36
    assert {case["name"] for case in CASES if "ours" in case} == NOT_FOLLOWED
    for case in CASES:
        assert ("ours" in case) == ("why" in case)
        if "ours" in case:
            assert case["ours"] != case["released"]
        else:
            assert "raises" not in case["released"]
