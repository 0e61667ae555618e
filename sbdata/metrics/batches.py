"""Score batches from training loops: arrays or tensors with a leading image axis."""

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
    preds: Any,
    target: Any,
    instances: Any,
    n_classes: int,
    options: MetricOptions = MetricOptions(),  # noqa: B008 - frozen
) -> Iterator[ImageScore]:
    """Score the images of a batch one after the other.

    Args:
        preds: Predictions, as ``(N, H, W)`` class numbers or ``(N, C + 1, H, W)`` scores, of which
            the largest wins. NumPy arrays, or torch tensors on any device.
        target: True class numbers ``(N, H, W)``; 255 is void.
        instances: Instance numbers ``(N, H, W)``; 0 is none, 255 void (see :class:`ImageTruth`).
        n_classes: Number of foreground classes, C.
        options: Metric options.

    Raises:
        InputError: If the shapes do not match, a score is NaN, or a map holds an impossible value.
    """
    batch = _as_maps(preds, target, instances, n_classes)
    names = [f"image {k} of the batch" for k in range(len(batch[0]))]
    yield from _scores(names, batch, n_classes, options)


def update_batch(
    accumulator: Accumulator, image_ids: Sequence[str], preds: Any, target: Any, instances: Any
) -> None:
    """Score a batch and add it to an accumulator; a refused batch changes nothing.

    Args:
        accumulator: Accumulator to add the scores to.
        image_ids: Image ids, one per image of the batch.
        preds: Predictions, see :func:`score_batch`.
        target: True class numbers ``(N, H, W)``; 255 is void.
        instances: Instance numbers ``(N, H, W)``; 0 is none, 255 void (see :class:`ImageTruth`).

    Raises:
        InputError: If there is not one id per image, an id occurs twice or was added before, or
            :func:`score_batch` refuses the batch.

    >>> from sbdata.metrics import Accumulator
    >>> accumulator = Accumulator(n_classes=2)
    >>> truth = np.array([[[1, 1, 0, 2]]])
    >>> update_batch(accumulator, ["a"], truth, truth, truth)
    >>> accumulator.compute().ia["ia"].class_mean
    1.0
    """
    batch = _as_maps(preds, target, instances, accumulator.n_classes)
    _check_ids(image_ids, len(batch[0]), accumulator)
    names = [f"image {image_id}" for image_id in image_ids]
    scores = list(_scores(names, batch, accumulator.n_classes, accumulator.options))
    for image_id, score in zip(image_ids, scores, strict=True):
        accumulator.update(image_id, score)


Maps = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


def _scores(
    names: Sequence[str], batch: Maps, n_classes: int, options: MetricOptions
) -> Iterator[ImageScore]:
    for name, prediction, class_map, instance_map in zip(names, *batch, strict=True):
        try:
            truth = truth_from_maps(class_map, instance_map)
            score = score_image(prediction, truth, n_classes, options)
        except InputError as error:
            msg = f"{name}: {error}"
            raise InputError(msg) from error
        yield score


def _check_ids(image_ids: Sequence[str], n_images: int, accumulator: Accumulator) -> None:
    if isinstance(image_ids, str) or not all(isinstance(image_id, str) for image_id in image_ids):
        msg = f"image ids must be a list of strings, not {image_ids!r}"
        raise InputError(msg)
    if len(image_ids) != n_images:
        msg = f"{len(image_ids)} image ids for a batch of {n_images} images; give one for each"
        raise InputError(msg)
    seen: set[str] = set()
    for image_id in image_ids:
        if image_id in seen or image_id in accumulator:
            msg = f"image {image_id} was scored twice; give every image once"
            raise InputError(msg)
        seen.add(image_id)


def _as_maps(preds: Any, target: Any, instances: Any, n_classes: int) -> Maps:
    predicted = _as_array(preds, "the predictions")
    if predicted.ndim == 4:
        predicted = _largest(predicted, n_classes)
    class_maps = _as_array(target, "the class maps")
    instance_maps = _as_array(instances, "the instance maps")
    if predicted.ndim != 3 or not predicted.shape == class_maps.shape == instance_maps.shape:
        msg = (
            f"the shapes {predicted.shape} of the predictions, {class_maps.shape} of the class "
            f"maps and {instance_maps.shape} of the instance maps do not match; give all three as "
            "(images, height, width)"
        )
        raise InputError(msg)
    return predicted, class_maps, instance_maps


def _largest(scores: npt.NDArray[Any], n_classes: int) -> npt.NDArray[np.intp]:
    """Return the class with the largest score of each pixel; the lowest class if several tie."""
    if scores.shape[1] != n_classes + 1:
        msg = (
            f"the scores have {scores.shape[1]} classes, not {n_classes + 1} (background and "
            f"{n_classes} classes); give them as (images, classes, height, width)"
        )
        raise InputError(msg)
    if scores.dtype.kind not in "fiu":
        msg = f"scores must be real numbers, not of type {scores.dtype}"
        raise InputError(msg)
    if scores.dtype.kind == "f" and np.isnan(scores).any():
        image, _, y, x = np.argwhere(np.isnan(scores))[0].tolist()
        msg = f"image {image} of the batch: a score at x = {x}, y = {y} is NaN, so no class wins"
        raise InputError(msg)
    winners: npt.NDArray[np.intp] = scores.argmax(axis=1)
    return winners


def _as_array(batch: Any, what: str) -> npt.NDArray[Any]:
    """Return a batch as a numpy array; a tensor is copied from its device first."""
    if hasattr(batch, "detach"):
        batch = batch.detach().cpu()
        if str(batch.dtype) == "torch.bfloat16":  # numpy lacks this type
            batch = batch.float()
    try:
        return np.asarray(batch)
    except (TypeError, ValueError) as error:
        msg = f"{what} are not an array: {error}"
        raise InputError(msg) from error
