"""The flat values of a summary, for loggers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sbdata.errors import InputError
from sbdata.metrics import Accumulator, Summary, score_image, truth_from_maps
from sbdata.sizes import SizeBins

BINS = SizeBins((3, 100), ("tiny", "small", "big"))


@pytest.fixture(scope="module")
def summary() -> Summary:
    """Two of three classes, with an object of 2 pixels that is found and one of 4 that is lost."""
    truth = np.array([[1, 1, 0, 2, 2, 2, 2, 0]])
    counted = Accumulator(3)
    prediction = np.array([[1, 1, 0, 0, 0, 0, 0, 0]])
    counted.update("a", score_image(prediction, truth_from_maps(truth, truth), 3))
    return counted.compute(BINS)


def test_names_are_those_of_the_headline_after_the_prefix(summary: Summary) -> None:
    defined = {name: value for name, value in summary.headline().items() if value is not None}
    assert summary.flat() == defined
    assert summary.flat("val/") == {f"val/{name}": value for name, value in defined.items()}
    assert all(type(value) is float for value in summary.flat().values())


def test_values_are_those_of_the_image(summary: Summary) -> None:
    found = summary.flat(per_class=True, class_names=("cat", "dog", "owl"))
    assert found["pixel_accuracy"] == 0.5
    assert found["miou"] == pytest.approx((2 / 6 + 1 + 0) / 3)
    assert found["ia_tiny.class_mean"] == 1
    assert found["ia_small.class_mean"] == 0
    assert found["ia_objects.class_mean"] == 0.5
    of_classes = {name: value for name, value in found.items() if "/" in name}
    assert of_classes == {
        "iou/cat": 1, "ia/cat": 1, "ia_tiny/cat": 1,
        "iou/dog": 0, "ia/dog": 0, "ia_small/dog": 0,
    }  # fmt: skip


def test_what_is_undefined_is_left_out_or_keeps_its_name(summary: Summary) -> None:
    assert "ia_big.class_mean" not in summary.flat()
    whole = summary.flat(per_class=True, undefined=float("nan"))
    assert math.isnan(whole["ia_big.class_mean"])
    assert math.isnan(whole["iou/3"])  # a class by its number, where no names are given
    assert list(whole) == list(Accumulator(3).compute(BINS).flat(per_class=True, undefined=0.5))
    assert set(whole) > set(summary.headline())
    defined = {name: value for name, value in whole.items() if not math.isnan(value)}
    assert defined == summary.flat(per_class=True)


@pytest.mark.parametrize("names", [("background", "cat", "dog", "owl"), ("cat",), ("a", "a", "b")])
def test_class_names_that_are_not_those_of_the_classes_are_refused(
    summary: Summary, names: tuple[str, ...]
) -> None:
    with pytest.raises(InputError, match="class names for 3 foreground classes; give each class"):
        summary.flat(per_class=True, class_names=names)
