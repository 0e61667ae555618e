"""Hints: numbers that mean something else on each side show in the confusion matrix alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbdata.mask_files import numbers_of_colours, voc_palette
from sbdata.score.hints import background_as_class, nothing_but_void, numbers_mixed_up
from sbdata.taxonomy import COCO80, VOC20

COLOURS = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)


def confusion_of(
    classes: int, renamed: Callable[[int], int | None], share: float = 0.8
) -> np.ndarray:
    """A matrix of a good segmenter whose class k is written as another number; None loses it."""
    found = np.zeros((classes + 1, classes + 1), np.int64)
    found[0, 0] = 100_000
    for k in range(1, classes + 1):
        written = renamed(k)
        place = written if written is not None and 0 < written <= classes else 0
        found[k, place] += int(1000 * share)
        found[k, 0] += 1000 - int(1000 * share)
        found[0, place] += 50 if place else 0
    return found


@pytest.mark.parametrize(
    ("renamed", "said"),
    [
        (lambda k: k - 1, "off by one: most pixels predicted as class k lie on true class k + 1"),
        (lambda k: k + 1, "off by one: most pixels predicted as class k lie on true class k - 1"),
        (lambda k: k + 3, "shifted: most pixels predicted as class k lie on true class k - 3"),
        (lambda k: 21 - k, "numbered in another order: most pixels of each lie on one other"),
    ],
)
def test_numbers_that_are_mixed_up_are_said(renamed, said) -> None:
    found = numbers_mixed_up(confusion_of(20, renamed), VOC20.classes)
    assert said in found
    assert "check the mapping of class numbers" in found


def test_red_and_blue_swapped() -> None:
    numbers, unknown = numbers_of_colours(COLOURS[:, ::-1])
    swapped = numbers_mixed_up(
        confusion_of(20, lambda k: None if unknown[k] else int(numbers[k])), VOC20.classes
    )
    assert swapped.startswith("the predictions look like VOC's colours with red and blue swapped")


def test_coco_ids_for_places_and_places_for_ids() -> None:
    unused = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
    ids = [k for k in range(1, 91) if k not in unused]
    as_ids = numbers_mixed_up(confusion_of(80, lambda k: ids[k - 1]), COCO80.classes)
    assert as_ids.startswith("the predicted numbers look like COCO's category ids (1..90")
    names = tuple(f"category {k}" for k in range(1, 91))
    as_places = numbers_mixed_up(
        confusion_of(90, lambda k: ids.index(k) + 1 if k in ids else None), names
    )
    assert as_places.startswith("the predicted numbers look like places in COCO's list of 80")


def test_what_is_right_or_merely_weak_is_not_called_mixed_up() -> None:
    names = VOC20.classes
    assert numbers_mixed_up(confusion_of(20, lambda k: k), names) == ""
    assert numbers_mixed_up(confusion_of(20, lambda k: None), names) == ""
    # two classes taken for each other, as cat and dog are, among many that are right
    assert numbers_mixed_up(confusion_of(20, lambda k: {8: 12, 12: 8}.get(k, k)), names) == ""
    # everything is taken for person
    assert numbers_mixed_up(confusion_of(20, lambda k: 15), names) == ""
    # noise that lies mostly on background
    noise = np.full((21, 21), 10, np.int64)
    noise[0] = 10_000
    assert numbers_mixed_up(noise, names) == ""
    assert numbers_mixed_up(np.zeros((21, 21), np.int64), names) == ""


@given(st.integers(0, 2**32 - 1))
def test_a_segmenter_that_is_better_than_chance_is_never_called_mixed_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 300, (21, 21))
    found[np.arange(21), np.arange(21)] += 400
    assert numbers_mixed_up(found, VOC20.classes) == ""


@pytest.mark.parametrize("name", ["background", "Background", "_background_", " BG "])
def test_background_among_the_classes(name: str) -> None:
    assert f"class 1 is called {name!r}" in background_as_class((name, "hen"))
    assert background_as_class(("hen", "backgrounds")) == ""


def test_a_truth_without_objects() -> None:
    found = np.zeros((3, 3), np.int64)
    found[0, 0], found[0, 1] = 70, 10
    assert nothing_but_void(found, 80) == (
        "the truth holds no object: all its pixels are background"
    )
    assert "background or void (20 of 100); 255 is void" in nothing_but_void(found, 100)
    found[2, 0] = 1
    assert nothing_but_void(found, 100) == ""
