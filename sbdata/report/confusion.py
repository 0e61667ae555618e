"""The confusion matrix of a score, as the report shows it: row by row in per cent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sbdata.drawing.scores import heat_step

MOST_OPEN = 25
"""Largest number of columns of a matrix that is shown unfolded."""

_LARGEST = 10


@dataclass(frozen=True)
class ConfusionCell:
    """One cell of the matrix.

    Attributes:
        text: Share of the true class's pixels in whole per cent, ``<1`` if that would be 0; empty
            if there is no pixel.
        step: Index of its colour, of ten; None if there is no pixel.
    """

    text: str
    step: int | None


@dataclass(frozen=True)
class Confused:
    """A true class of which many pixels are predicted as another one.

    Attributes:
        true: Name of the true class.
        predicted: Name of the predicted class.
        share: Share of the true class's pixels.
        pixels: Number of these pixels.
    """

    true: str
    predicted: str
    share: float
    pixels: int


@dataclass(frozen=True)
class ConfusionMatrix:
    """A confusion matrix for a page.

    Attributes:
        columns: Names of the classes that are true or predicted somewhere.
        rows: Name, number of pixels and cells of each class that has a true pixel.
        largest: The largest confusions by their share, the largest first.
        folded: Whether the matrix is too wide to be shown at once.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[ConfusionCell, ...]], ...]
    largest: tuple[Confused, ...]
    folded: bool


def confusion_matrix(
    confusion: npt.NDArray[np.int64], class_names: Sequence[str]
) -> ConfusionMatrix:
    """Return what a page shows of a confusion matrix.

    Args:
        confusion: Pixel counts, int64 ``(C + 1, C + 1)``, true class by predicted class.
        class_names: Names of the classes 1..C.
    """
    names = ("background", *class_names)
    total = confusion.sum(axis=1)
    true = np.flatnonzero(total)
    some = np.flatnonzero(total + confusion.sum(axis=0))
    share = confusion / np.maximum(total, 1)[:, None]
    apart = share.copy()
    np.fill_diagonal(apart, 0)
    order = np.argsort(-apart, axis=None, kind="stable")[:_LARGEST]
    largest = [divmod(int(place), len(names)) for place in order if apart.flat[place] > 0]
    return ConfusionMatrix(
        columns=tuple(names[c] for c in some),
        rows=tuple(
            (
                names[t],
                int(total[t]),
                tuple(_cell(int(confusion[t, p]), float(share[t, p])) for p in some),
            )
            for t in true
        ),
        largest=tuple(
            Confused(names[t], names[p], float(share[t, p]), int(confusion[t, p]))
            for t, p in largest
        ),
        folded=some.size > MOST_OPEN,
    )


def _cell(pixels: int, share: float) -> ConfusionCell:
    if not pixels:
        return ConfusionCell("", None)
    rounded = f"{100 * share:.0f}"
    return ConfusionCell("<1" if rounded == "0" else rounded, heat_step(share))
