"""Classify each true instance by outcome, such as found, missed or wrong class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sbdata.metrics.image import ia_iou

OUTCOMES = ("found", "wrong_class", "missed", "mostly_missed", "bled", "partial")
OUTCOMES_EXPLAINED = (
    "Found: IA of at least 0.5. Wrong class: at least half of the pixels predicted as one other "
    "class. Missed: pixel recall < 0.05. Mostly missed: < 0.25. Bled: more false pixels than the "
    "instance has pixels. Partial: all others."
)
"""Text of the outcomes, the first that applies, for the captions of tables."""

FOUND_IA = 0.5
MISSED_RECALL = 0.05
MOSTLY_MISSED_RECALL = 0.25


def in_words(outcome: str) -> str:
    """Return an outcome as tables and figures name it.

    >>> in_words("wrong_class")
    'wrong class'
    """
    return outcome.replace("_", " ")


def outcome_index(instances: npt.NDArray[np.void]) -> npt.NDArray[np.intp]:
    """Return the index in ``OUTCOMES`` of each instance: the first outcome that applies.

    The outcomes are found (IA at least 0.5), wrong class (at least half of the pixels predicted as
    one other foreground class), missed (recall below 0.05), mostly missed (recall below 0.25), bled
    (more false pixels than the instance has pixels) and partial (all others).

    Args:
        instances: Rows of type ``INSTANCE_ROW``.

    >>> from sbdata.metrics import score_image, truth_from_maps
    >>> truth = np.array([[1, 1, 0, 2, 2]])
    >>> score = score_image(np.array([[1, 1, 0, 1, 1]]), truth_from_maps(truth, truth), n_classes=2)
    >>> [OUTCOMES[k] for k in outcome_index(score.instances)]
    ['found', 'wrong_class']
    """
    recall = instances["tp"] / instances["area"]
    holds = np.stack(
        [
            ia_iou(instances) >= FOUND_IA,
            2 * instances["other_pixels"].astype(np.int64) >= instances["area"],
            recall < MISSED_RECALL,
            recall < MOSTLY_MISSED_RECALL,
            instances["fp"] > instances["area"],
            np.ones(instances.size, bool),
        ]
    )
    index: npt.NDArray[np.intp] = holds.argmax(axis=0)
    return index
