"""Hints: detect from the pixel counts that class numbers were mixed up.

A segmenter whose classes are off by one, or in another order, finds its objects but scores zero.
The confusion matrix reveals this: for several classes, most pixels lie on one other class. All
hints are computed from that matrix; they do not change the score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from sbdata.quoting import quoted
from sbdata.taxonomy import COCO_IDS, COCO_UNUSED

_MOST = 0.5  # smallest share of a predicted class's object pixels that lie on one other class
_OF_OBJECTS = 0.25  # smallest share of a predicted class's pixels that lie on objects
_SEVERAL = 2
_SHOWN = 5
_BACKGROUND = frozenset({"background", "_background_", "__background__", "bg"})


def nothing_but_void(confusion: npt.NDArray[np.int64], pixels: int) -> str:
    """Return a sentence if the truth has no pixel of any class, else an empty text.

    Args:
        confusion: Pixel counts, true class by predicted class, ``(C + 1, C + 1)``; 0 is background,
            and void pixels are not counted.
        pixels: Number of pixels of all images.
    """
    if confusion[1:].any():
        return ""
    void = pixels - int(confusion.sum())
    if not void:
        return "the truth holds no object: all its pixels are background"
    return (
        f"the truth holds no object: all its pixels are background or void ({void:,} of "
        f"{pixels:,}); 255 is void, so masks of 0 and 255 must write their class as 1"
    )


def background_as_class(class_names: Sequence[str]) -> str:
    """Return a sentence if a class is called background, else an empty text.

    Args:
        class_names: Names of the classes 1..C.

    >>> background_as_class(("hen", "egg"))
    ''
    """
    place = next(
        (k for k, name in enumerate(class_names, 1) if name.strip().lower() in _BACKGROUND), None
    )
    if place is None:
        return ""
    return (
        f"class {place} is called {quoted(class_names[place - 1])}, but background is number 0 and "
        "never listed; leave it out of the class names, or all numbers after it are off by one"
    )


def numbers_mixed_up(confusion: npt.NDArray[np.int64], class_names: Sequence[str]) -> str:
    """Return a sentence if predictions and truth number classes differently, else an empty text.

    The sentence is returned if most of the predicted classes that lie on objects lie on one other
    class each, or as many as a known change of numbers would move.

    Args:
        confusion: Pixel counts, true class by predicted class, ``(C + 1, C + 1)``; 0 is background.
        class_names: Names of the classes 1..C.

    >>> shifted = np.zeros((4, 4), np.int64)
    >>> shifted[1, 0], shifted[2, 1], shifted[3, 2] = 50, 60, 70
    >>> print(numbers_mixed_up(shifted, ("hen", "egg", "nest")).partition(":")[0])
    the predicted numbers look off by one
    """
    predicted = [k + 1 for k in np.flatnonzero(_on_objects(confusion)).tolist()]
    onto = _other_classes(confusion)
    if len(onto) < _SEVERAL or len(set(onto.values())) < len(onto):
        return ""
    names = ("background", *class_names)
    pairs = [f"{names[k]} on {names[true]}" for k, true in sorted(onto.items())]
    shown = ", ".join(pairs[:_SHOWN]) + (", ..." if len(pairs) > _SHOWN else "")
    end = (
        f"for {len(onto)} of the {len(predicted)} classes predicted ({shown}); check the mapping "
        "of class numbers"
    )
    for change, what in _CHANGES:
        # Classes that the change does not affect are no evidence against it.
        moved = [k for k in predicted if change(k) not in (k, None)]
        if all(change(k) == true for k, true in onto.items()) and 2 * len(onto) > len(moved):
            return f"{what}, {end}"
    if 2 * len(onto) <= len(predicted):
        return ""
    steps = {true - k for k, true in onto.items()}
    if len(steps) == 1:
        step = steps.pop()
        looks = "off by one" if abs(step) == 1 else "shifted"
        return (
            f"the predicted numbers look {looks}: most pixels predicted as class k lie on true "
            f"class k {'+' if step > 0 else '-'} {abs(step)}, {end}"
        )
    return (
        "the predicted classes look numbered in another order: most pixels of each lie on one "
        f"other true class, {end}"
    )


def _on_objects(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the number of pixels of each predicted class 1..C that lie on objects of any class."""
    found: npt.NDArray[np.int64] = confusion[1:, 1:].sum(axis=0)
    return found


def _other_classes(confusion: npt.NDArray[np.int64]) -> dict[int, int]:
    """Return the one other class that each predicted class mostly lies on, if there is one."""
    objects, everywhere = _on_objects(confusion), confusion[:, 1:].sum(axis=0)
    most = confusion[1:, 1:].argmax(axis=0)
    found = {}
    for k in np.flatnonzero(objects).tolist():
        true = int(most[k])
        pixels = int(confusion[true + 1, k + 1])
        mostly = pixels > _MOST * objects[k] and objects[k] >= _OF_OBJECTS * everywhere[k]
        if true != k and mostly:
            found[k + 1] = true + 1
    return found


def _place_in_80(number: int) -> int | None:
    """Return the number of a category id in COCO's list of 80 classes, None for an unused id."""
    if number in COCO_UNUSED:
        return None
    return number - sum(unused < number for unused in COCO_UNUSED)


def _id_of_80(number: int) -> int | None:
    """Return the category id of one of COCO's 80 classes."""
    return COCO_IDS[number - 1] if number <= len(COCO_IDS) else None


def _channels_swapped(number: int) -> int | None:
    """Return the number of VOC's colour of ``number`` with red and blue swapped, or None.

    >>> _channels_swapped(1), _channels_swapped(5), _channels_swapped(12)
    (4, 5, 33)
    """
    swapped = number & 0b10010010
    for red, blue in ((0, 2), (3, 5)):
        swapped |= (number >> red & 1) << blue | (number >> blue & 1) << red
    return None if number >> 6 & 1 else swapped


_CHANGES: tuple[tuple[Callable[[int], int | None], str], ...] = (
    (
        _channels_swapped,
        "the predictions look like VOC's colours with red and blue swapped, as OpenCV writes them "
        "if it is handed RGB",
    ),
    (
        _place_in_80,
        "the predicted numbers look like COCO's category ids (1..90 with gaps), where the classes "
        "are numbered 1..80",
    ),
    (
        _id_of_80,
        "the predicted numbers look like places in COCO's list of 80, where the classes are "
        "numbered by category id (1..90 with gaps)",
    ),
)
"""Known changes of class numbers between files, each with its description."""
