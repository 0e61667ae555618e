"""Evaluation metric for FiftyOne's ``evaluate_segmentations``: IA by size and mIoU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo

from sbdata.app.info import field_name, info_of, is_ours
from sbdata.app.samples import IMAGE_ID
from sbdata.errors import InputError
from sbdata.formatting import count
from sbdata.metrics import Accumulator, MetricOptions, Summary, score_image
from sbdata.score.truth import GroundTruth, truth_from_set

NAME = "instance_aware_iou"
_ALL = "ia"


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
            name=NAME,
            label="IA",
            description="Instance-aware IoU by object size",
            eval_types=["segmentation"],
            aggregate_key=f"{_ALL}.class_mean",
            lower_is_better=False,
        )
        # FiftyOne stores the direction that it finds here, not the argument's.
        found.kwargs["lower_is_better"] = False
        return found

    def compute(
        self,
        samples: fo.SampleCollection,
        results: Any,
        options: Mapping[str, Any] | None = None,
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
        means: dict[str, dict[str, float]] = defaultdict(dict)
        for sample in samples.select_fields([IMAGE_ID, field]).iter_samples():
            image_id, prediction = sample[IMAGE_ID], sample[field]
            if image_id is None:
                continue
            if not isinstance(prediction, fo.Segmentation) or not prediction.has_mask:
                msg = (
                    f"image {image_id} has no semantic mask in {field}; evaluate the images that "
                    f"have one, such as dataset.exists({field!r})"
                )
                raise InputError(msg)
            try:
                score = score_image(
                    prediction.get_mask(),
                    truth.load(image_id).truth,
                    counted.n_classes,
                    counted.options,
                )
            except InputError as error:
                msg = f"image {image_id} in {field}: {error}"
                raise InputError(msg) from error
            counted.update(image_id, score)
            size = truth.bins.index(score.instances["area"])
            for name, chosen in _sizes(truth.bins.names).items():
                values = score.ia_iou if chosen is None else score.ia_iou[size == chosen]
                if values.size:
                    means[name][sample.id] = float(values.mean())
        summary = counted.compute(truth.bins)
        self._add_values(results, summary)
        if results.key is not None:
            _add_fields(samples, results.key, truth.bins.names, means)
        return summary.ia[_ALL].class_mean

    def get_fields(self, samples: fo.SampleCollection, config: Any, eval_key: str) -> list[str]:
        """Return the fields of the images, which FiftyOne renames and deletes with the run."""
        if not is_ours(samples._dataset):
            return []
        return [f"{eval_key}_{name}" for name in _sizes(info_of(samples._dataset)["sizes"])]

    def _add_values(self, results: Any, summary: Summary) -> None:
        """Add the other values beside the one that FiftyOne adds: one operator has one."""
        found: dict[str, tuple[str, float | None]] = {"miou": ("mIoU", summary.miou)}
        for name, figure in summary.ia.items():
            if name != _ALL:
                label = f"{name.replace('ia_', 'IA_', 1)} ({count(figure.n_instances, 'object')})"
                found[f"{name}.class_mean"] = label, figure.class_mean
        results.custom_metrics = dict(results.custom_metrics or {}) | {
            f"{self.uri}/{key.partition('.')[0]}": {
                "key": key,
                "value": value,
                "label": label,
                "lower_is_better": False,
            }
            for key, (label, value) in found.items()
            if value is not None
        }


def _truth_of(dataset: fo.Dataset) -> GroundTruth:
    """Return the truth of the set that a dataset was loaded from."""
    known = info_of(dataset)
    root = Path(known["root"])
    if not root.is_dir():
        msg = f"{root}: the set is no longer there; run 'sbdata app' with the folder it is in now"
        raise InputError(msg)
    truth = truth_from_set(root)
    if truth.logical_hash != known["logical_hash"]:
        msg = f"{root}: not the set that the dataset was loaded from; load it anew by 'sbdata app'"
        raise InputError(msg)
    return truth


def _sizes(names: Sequence[str]) -> dict[str, int | None]:
    """Return what the fields of an image are called, each with the index of its size or None."""
    return {_ALL: None} | {f"{_ALL}_{field_name(size)}": k for k, size in enumerate(names)}


def _add_fields(
    samples: fo.SampleCollection,
    eval_key: str,
    sizes: Sequence[str],
    means: Mapping[str, Mapping[str, float]],
) -> None:
    """Set the means of the evaluated images; an image without such objects has none."""
    ids = samples.values("id")
    for name, size in _sizes(sizes).items():
        objects = "objects" if size is None else f"{sizes[size]} objects"
        words = f"Mean IA of the image's {objects}, {eval_key}"
        field = f"{eval_key}_{name}"
        samples._dataset.add_sample_field(field, fo.FloatField, description=words)
        samples.set_values(field, [means[name].get(one) for one in ids])
