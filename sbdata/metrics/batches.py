"""Batches as training loops have them: arrays or tensors with a leading image axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.errors import InputError
from sbdata.metrics.accumulator import Accumulator
from sbdata.metrics.image import ImageScore, MetricOptions, score_image
from sbdata.metrics.truth import truth_from_maps


def score_batch(
    predictions: Any,
    class_maps: Any,
    instance_maps: Any,
    n_classes: int,
    options: MetricOptions = MetricOptions(),  # noqa: B008 - frozen
) -> Iterator[ImageScore]:
    """Score the images of a batch one after the other.

    Args:
        predictions: ``(N, H, W)`` class numbers, or ``(N, C + 1, H, W)`` scores of which the
            largest wins; numpy arrays, or torch tensors on any device.
        class_maps: ``(N, H, W)`` true class numbers, 255 void.
        instance_maps: ``(N, H, W)`` instance numbers, 0 none, 255 void.
        n_classes: the number of foreground classes, C.
        options: of the metric.

    Raises:
        InputError: if the shapes do not agree or a map holds an impossible value.
    """
    predicted = _as_array(predictions)
    if predicted.ndim == 4:
        predicted = predicted.argmax(axis=1)
    classes, instances = _as_array(class_maps), _as_array(instance_maps)
    if predicted.ndim != 3 or not predicted.shape == classes.shape == instances.shape:
        msg = (
            f"a batch of predictions {predicted.shape}, class maps {classes.shape} and instance "
            f"maps {instances.shape}; give all three as (images, height, width)"
        )
        raise InputError(msg)
    for prediction, class_map, instance_map in zip(predicted, classes, instances, strict=True):
        truth = truth_from_maps(class_map, instance_map)
        yield score_image(prediction, truth, n_classes, options)


def update_batch(
    accumulator: Accumulator,
    image_ids: Sequence[str],
    predictions: Any,
    class_maps: Any,
    instance_maps: Any,
) -> None:
    """Score a batch and add it to an accumulator; see :func:`score_batch` for the maps.

    >>> from sbdata.metrics import Accumulator
    >>> counted = Accumulator(n_classes=2)
    >>> truth = np.array([[[1, 1, 0, 2]]])
    >>> update_batch(counted, ["a"], truth, truth, truth)
    >>> counted.compute().ia["ia"].class_mean
    1.0
    """
    scores = list(
        score_batch(
            predictions, class_maps, instance_maps, accumulator.n_classes, accumulator.options
        )
    )
    for image_id, score in zip(image_ids, scores, strict=True):
        accumulator.update(image_id, score)


def _as_array(batch: Any) -> npt.NDArray[Any]:
    """Return a batch as a numpy array; a tensor is taken from its device first."""
    if hasattr(batch, "detach"):
        batch = batch.detach().cpu()
    return np.asarray(batch)
