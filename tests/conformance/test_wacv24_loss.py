"""The released loss's own numbers (``wacv24/loss.json``): weights exactly, losses to 1e-6."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from sbdata.losses import CrossEntropy, SizeBalancedCrossEntropy, size_weights  # noqa: E402
from tests.conformance import corpus  # noqa: E402
from tests.reference import size_weights as reference  # noqa: E402

CORPUS = json.loads((corpus.FOLDER / "wacv24" / "loss.json").read_text(encoding="utf-8"))
CASES, CHANNELS = CORPUS["cases"], CORPUS["n_classes"] + 1
NOT_FOLLOWED = {"all-void", "zero-loss"}

each_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def masks_of(case):
    return np.stack([corpus.read_map(image["mask"]) for image in case["images"]])


def weights_of(case):
    """Return the released weights; NaN in void, which has no loss whatever its weight."""
    found = []
    for image in case["images"]:
        values = {key: float(Fraction(text)) for key, text in image["values"].items()}
        values |= {".": 1.0, "v": np.nan}
        found.append([[values[pixel] for pixel in row] for row in image["weights"]])
    return np.array(found, np.float32)


def logits_of(case):
    """Return the logits, by the formula in the README of this folder."""
    n, height, width = masks_of(case).shape
    image, channel, y, x = np.ogrid[:n, :CHANNELS, :height, :width]
    logits = ((2 * image + 3 * channel + 5 * y + 7 * x) % 11 / 4).astype(np.float32)
    for row, column, right in case.get("certain", []):
        logits[:, :, row, column] = 0
        logits[:, right, row, column] = 40
    return torch.from_numpy(logits)


@each_case
def test_weights_are_the_released_ones(case):
    masks, wanted = masks_of(case), weights_of(case)
    void = masks == 255
    assert (np.isnan(wanted) == void).all()
    slow = [reference.size_weights(mask.tolist(), case["tau"]) for mask in masks]
    for found in (size_weights(masks, tau=case["tau"]), np.array(slow, np.float32)):
        np.testing.assert_array_equal(found[~void], wanted[~void])
        assert (found[void] == 0).all()


@each_case
def test_losses_are_the_released_ones(case):
    logits, target = logits_of(case), torch.from_numpy(masks_of(case))
    wanted = case.get("ours", case["released"])
    for name, loss in (
        ("loss", SizeBalancedCrossEntropy(tau=case["tau"])),
        ("plain", CrossEntropy()),
    ):
        assert float(loss(logits, target)) == pytest.approx(wanted[name], rel=0, abs=1e-6)


def test_two_quirks_are_not_followed_and_their_cases_say_so():
    ours = {case["name"]: case for case in CASES if "ours" in case}
    assert set(ours) == NOT_FOLLOWED
    assert all(case["ours"] != case["released"] and case["why"] for case in ours.values())
    pixels = {case["name"]: (masks_of(case) != 255).sum() for case in CASES}
    certain = ours["zero-loss"]
    each = torch.nn.functional.cross_entropy(
        logits_of(certain), torch.from_numpy(masks_of(certain)), reduction="none"
    )
    assert int((each == 0).sum()) == len(certain["certain"]) == 2
    left_out = certain["released"]["plain"] * (pixels["zero-loss"] - 2) / pixels["zero-loss"]
    assert certain["ours"]["plain"] == pytest.approx(left_out, rel=1e-6)
    weights = weights_of(certain)
    left_out = certain["released"]["loss"] * (1 - weights[0][each[0] == 0].sum() / weights.sum())
    assert certain["ours"]["loss"] == pytest.approx(left_out, rel=1e-6)


def test_each_choice_of_version_two_has_a_case():
    """Each option of version 1, and no cap, gives another loss in some case: the corpus tells."""
    cases = {case["name"]: case for case in CASES}
    for name, options in (
        ("two-classes", {"normalizer": "class"}),
        ("hole", {"regions": "components"}),
        ("two-components", {"reduction": "pixels"}),
        ("capped", {"tau": 100.0}),
    ):
        case = cases[name]
        loss = SizeBalancedCrossEntropy(**{"tau": case["tau"], **options})
        value = float(loss(logits_of(case), torch.from_numpy(masks_of(case))))
        assert abs(value - case["released"]["loss"]) > 1e-4, name
