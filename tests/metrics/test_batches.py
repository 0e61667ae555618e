"""Batches of arrays: what they give, and that one that is refused changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from sbdata.errors import InputError
from sbdata.metrics import Accumulator, score_image, truth_from_maps
from sbdata.metrics.batches import score_batch, update_batch

N_CLASSES = 2
TARGET = np.array([[[1, 1, 0, 2]], [[0, 2, 2, 255]], [[1, 0, 0, 1]]])
INSTANCES = np.array([[[1, 1, 0, 2]], [[0, 3, 3, 255]], [[1, 0, 0, 2]]])
PREDS = np.array([[[1, 0, 0, 2]], [[0, 2, 1, 1]], [[1, 1, 1, 1]]])
IDS = ["a", "b", "c"]


def state(accumulator):
    tables = accumulator.tables()
    rows = (tables.confusion, tables.instances, tables.regions, tables.classes)
    return tables.image_ids, *(array.tobytes() for array in rows)


def test_a_batch_is_its_images():
    one_by_one, batched, scored = (Accumulator(N_CLASSES) for _ in range(3))
    for image_id, prediction, class_map, instance_map in zip(
        IDS, PREDS, TARGET, INSTANCES, strict=True
    ):
        truth = truth_from_maps(class_map, instance_map)
        one_by_one.update(image_id, score_image(prediction, truth, N_CLASSES))
    update_batch(batched, IDS[:2], PREDS[:2], TARGET[:2], INSTANCES[:2])
    update_batch(batched, IDS[2:], PREDS[2:].tolist(), TARGET[2:].tolist(), INSTANCES[2:].tolist())
    scores = score_batch(PREDS, TARGET, INSTANCES, N_CLASSES)
    for image_id, score in zip(IDS, scores, strict=True):
        scored.update(image_id, score)
    assert state(one_by_one) == state(batched) == state(scored)
    update_batch(batched, [], PREDS[:0], TARGET[:0], INSTANCES[:0])
    assert len(batched) == 3
    assert "b" in batched
    assert "d" not in batched


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_the_largest_score_wins_and_the_lowest_class_of_equals(dtype):
    scores = np.zeros((1, 3, 1, 4), dtype)
    scores[0, :, 0, 1] = (1, 2, 2)
    scores[0, 2, 0, 2] = 5
    if np.dtype(dtype).kind == "f":
        scores[0, 1, 0, 3] = np.inf
    got = next(score_batch(scores, TARGET[:1], INSTANCES[:1], N_CLASSES))
    last = 1 if np.dtype(dtype).kind == "f" else 0
    truth = truth_from_maps(TARGET[0], INSTANCES[0])
    want = score_image(np.array([[0, 1, 2, last]]), truth, N_CLASSES)
    assert got.confusion.tolist() == want.confusion.tolist()


NAN = np.zeros((3, 3, 1, 4))
NAN[1, 2, 0, 3] = np.nan
RANGE = PREDS.copy()
RANGE[2, 0, 1] = 7
TWO_CLASSES = TARGET.copy()
TWO_CLASSES[1, 0, 2] = 1


@pytest.mark.parametrize(
    ("ids", "preds", "target", "match"),
    [
        (["a", "b"], PREDS, TARGET, "2 image ids for a batch of 3 images; give one for each"),
        ([*IDS, "d"], PREDS, TARGET, "4 image ids for a batch of 3"),
        (["a", "b", "a"], PREDS, TARGET, "image a was scored twice"),
        (["b", "c", "before"], PREDS, TARGET, "image before was scored twice"),
        ("abc", PREDS, TARGET, "list of strings, not 'abc'"),
        ([1, 2, 3], PREDS, TARGET, r"list of strings, not \[1, 2, 3\]"),
        (IDS, NAN, TARGET, "image 1 of the batch: a score at x = 3, y = 0 is NaN"),
        (IDS, np.zeros((3, 2, 1, 4)), TARGET, "scores have 2 classes, not 3"),
        (IDS, np.zeros((3, 3, 1, 4), complex), TARGET, "real numbers, not of type complex"),
        (IDS, np.zeros((3, 3, 1, 4), bool), TARGET, "real numbers, not of type bool"),
        (IDS, PREDS[:, :, :2], TARGET, r"\(3, 1, 2\) of the predictions, \(3, 1, 4\) of the class"),
        (IDS, PREDS[0], TARGET, r"give all three as \(images, height, width\)"),
        (IDS, PREDS, TARGET[:2], r"\(2, 1, 4\) of the class maps"),
        (IDS, [[[1, 1]], [[1]], [[1, 1]]], TARGET, "the predictions are not an array"),
        (IDS, PREDS.astype(float), TARGET, "image a: the prediction must be .* of integers"),
        (IDS, RANGE, TARGET, "image c: the prediction holds class 7 at x = 1, y = 0"),
        (IDS, PREDS, TWO_CLASSES, "image b: instance 3 covers pixels of the classes 1, 2"),
        (IDS, PREDS, TARGET.astype(str), "image a: the class map must be"),
    ],
)
def test_a_batch_that_is_refused_changes_nothing(ids, preds, target, match):
    accumulator = Accumulator(N_CLASSES)
    update_batch(accumulator, ["before"], PREDS[:1], TARGET[:1], INSTANCES[:1])
    before = state(accumulator)
    with pytest.raises(InputError, match=match):
        update_batch(accumulator, ids, preds, target, INSTANCES)
    assert state(accumulator) == before
    update_batch(accumulator, IDS, PREDS, TARGET, INSTANCES)  # and can be given again, corrected
    assert len(accumulator) == 4
