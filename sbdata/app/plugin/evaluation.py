"""Evaluation metric for FiftyOne's ``evaluate_segmentations``: IA by size and mIoU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo

from sbdata.app.info import field_name, info_of, is_ours, set_root
from sbdata.app.samples import IMAGE_ID
from sbdata.errors import InputError
from sbdata.metrics import Accumulator, MetricOptions, Summary, score_image
from sbdata.metrics.image import ImageScore
from sbdata.plurals import count
from sbdata.score.truth import GroundTruth, truth_from_set
from sbdata.sizes import SizeBins


class InstanceAwareIoU(foo.EvaluationMetric):  # type: ignore[misc]
    """Metric of a segmentation evaluation: IA, IA by size, and mIoU of the evaluated images.

    The objects are those of the built set that the dataset was loaded from, whatever ``gt_field``
    names, and the values are those of ``sbdata score`` on the same images. With an ``eval_key``
    each image gets the mean IA of its objects, of all and by size.
    """

    @property
    def config(self) -> foo.EvaluationMetricConfig:
        """Return the metric's name and the evaluations that it belongs to."""
        found = foo.EvaluationMetricConfig(
            name="instance_aware_iou",
            label="IA",
            description="Instance-aware IoU by object size",
            eval_types=["segmentation"],
            aggregate_key="ia.class_mean",
        )
        # FiftyOne stores the direction that it finds here, not that of the argument.
        found.kwargs["lower_is_better"] = False
        return found

    def compute(
        self, samples: fo.SampleCollection, results: Any, options: Mapping[str, Any] | None = None
    ) -> float | None:
        """Score the predictions of an evaluation and add the values to its results.

        Args:
            samples: Evaluated images; those that a user added to the dataset are left out.
            results: Results of FiftyOne's own evaluation, which name the predictions' field.
            options: Metric options by name, see :class:`sbdata.metrics.MetricOptions`.

        Returns:
            IA, the class mean with background; the other values are put into
            ``results.custom_metrics``. An undefined value is left out.

        Raises:
            InputError: If sbdata did not make the dataset, its set has changed or is no longer
                there, or an image has no prediction or one that cannot be scored.
        """
        truth = _truth_of(samples._dataset)
        field = results.config.pred_field
        counted = Accumulator(len(truth.taxonomy), MetricOptions(**options or {}))
        scores = {}
        for sample in samples.select_fields([IMAGE_ID, field]).iter_samples():
            image_id = sample[IMAGE_ID]
            if image_id is not None:
                scores[sample.id] = _score(image_id, sample[field], field, truth, counted.options)
                counted.update(image_id, scores[sample.id])
        summary = counted.compute(truth.bins)
        results.custom_metrics = {**(results.custom_metrics or {}), **_rows(self.uri, summary)}
        if results.key is not None:
            for name, size in _fields(results.key, truth.bins.names).items():
                samples._dataset.add_sample_field(name, fo.FloatField)
                samples.set_values(name, _means(scores, truth.bins, size), key_field="id")
        return summary.ia["ia"].class_mean

    def get_fields(self, samples: fo.SampleCollection, config: Any, eval_key: str) -> list[str]:
        """Return the fields of the images, which FiftyOne renames and deletes with the run."""
        dataset = samples._dataset
        return list(_fields(eval_key, info_of(dataset)["sizes"])) if is_ours(dataset) else []


def _truth_of(dataset: fo.Dataset) -> GroundTruth:
    """Return the truth of the set that a dataset was loaded from."""
    known = info_of(dataset)
    root = set_root(known)
    truth = truth_from_set(root)
    if truth.logical_hash != known["logical_hash"]:
        msg = f"{root}: not the set that the dataset was loaded from; load it anew by 'sbdata app'"
        raise InputError(msg)
    return truth


def _score(
    image_id: str, prediction: Any, field: str, truth: GroundTruth, options: MetricOptions
) -> ImageScore:
    if not isinstance(prediction, fo.Segmentation) or not prediction.has_mask:
        msg = (
            f"image {image_id} has no semantic mask in {field}; evaluate the images that have one, "
            f"such as dataset.exists({field!r})"
        )
        raise InputError(msg)
    true = truth.load(image_id).truth
    try:
        return score_image(prediction.get_mask(), true, len(truth.taxonomy), options)
    except InputError as error:
        msg = f"image {image_id} in {field}: {error}"
        raise InputError(msg) from error


def _rows(uri: str, summary: Summary) -> dict[str, dict[str, Any]]:
    """Return the values beside the one that FiftyOne adds, as it stores them."""
    found = [("miou", "mIoU", summary.miou)]
    for name, figure in summary.ia.items():
        if name != "ia":
            label = f"{name.replace('ia_', 'IA_', 1)} ({count(figure.n_instances, 'object')})"
            found.append((f"{name}.class_mean", label, figure.class_mean))
    return {  # no dots in the names: the page looks a value up by a dotted path
        f"{uri}/{key.partition('.')[0]}": {
            "key": key, "value": value, "label": label, "lower_is_better": False,
        }
        for key, label, value in found
        if value is not None
    }  # fmt: skip


def _fields(eval_key: str, sizes: tuple[str, ...]) -> dict[str, int | None]:
    """Return the fields of an image, each with the index of its size, or None for all objects."""
    by_size = {f"{eval_key}_ia_{field_name(size)}": k for k, size in enumerate(sizes)}
    return {f"{eval_key}_ia": None, **by_size}


def _means(scores: Mapping[str, ImageScore], bins: SizeBins, size: int | None) -> dict[str, float]:
    """Return the mean IA of the objects of a size of each sample that has some."""
    chosen = {}
    for sample, score in scores.items():
        rows = score.instances
        sizes = bins.index(rows["area"], rows["class_id"], score.pixels)
        chosen[sample] = score.ia_iou[(sizes == size) | (size is None)]
    return {sample: float(values.mean()) for sample, values in chosen.items() if values.size}
