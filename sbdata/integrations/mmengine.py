"""``ia_iou.v2`` as a metric of MMEngine, for the configs of MMSegmentation.

Importing this module registers it; ``docs/guides/in-training.md`` shows the two lines of a config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from sbdata.errors import InputError
from sbdata.file_names import composed
from sbdata.metrics import Accumulator, ImageTruth, MetricOptions, score_image
from sbdata.metrics.image import ImageScore
from sbdata.quoting import quoted
from sbdata.score.truth import truth_from_set

Result = tuple[str, ImageScore]
"""Image id, and score with an empty confusion matrix. All values of a summary come from the rows;
the matrix, 50 KB with 80 classes, would be most of what is kept and sent."""

_NO_CELLS = np.zeros((0, 0), np.int64)


@METRICS.register_module()
class InstanceAwareIoU(BaseMetric):
    """Instance-aware IoU by object size, and mIoU, of a built set's images.

    The truth of an image is looked up in the set by the stem of ``img_path``, or by ``img_id`` if
    there is no path. The prediction is ``pred_sem_seg``: class numbers ``(1, H, W)`` at the image's
    own size, 0 for background, as MMSegmentation returns them. Counting happens on the CPU.

    The values have the names of ``Summary.flat`` after a prefix: ``sbdata/ia_small.class_mean``. An
    undefined value is NaN, so that every epoch logs the same names. The values are the same, to the
    last bit, for any number of processes.

    Args:
        set_root: Folder of a set, or of its manifest alone.
        per_class: Whether to return the values of each class, too.
        allow_subset: Whether images of the set may be missing; the values are then those of the
            images that were predicted.
        check_classes: Whether the dataset's classes must be named like the set's. Without the check
            the order must be that of the set, after background.
        options: Metric options by name, see :class:`sbdata.metrics.MetricOptions`.
        kwargs: Options of ``mmengine.evaluator.BaseMetric``: ``prefix`` ("sbdata" by default),
            ``collect_device`` and ``collect_dir``.

    Raises:
        InputError: If the folder is not a set with masks, or an option is not valid.
    """

    default_prefix = "sbdata"

    def __init__(
        self,
        set_root: str,
        *,
        per_class: bool = False,
        allow_subset: bool = False,
        check_classes: bool = True,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.set_root = Path(set_root)
        self.per_class, self.allow_subset = per_class, allow_subset
        self.check_classes = check_classes
        self.options = MetricOptions(**options or {})
        self._truth = truth_from_set(self.set_root)
        self._names = {composed(name): name for name in self._truth.image_ids}

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Score a batch and keep one result for each image, which ``evaluate`` collects.

        Args:
            data_batch: Not used.
            data_samples: Data samples as dicts, with ``img_path`` or ``img_id`` and
                ``pred_sem_seg``.

        Raises:
            InputError: If an image is not in the set, has no prediction or one that cannot be
                scored, or the classes are not those of the set.
        """
        self._check_classes()
        self.results += [self._score(sample) for sample in data_samples]

    def compute_metrics(self, results: list[Result]) -> dict[str, float]:
        """Return the values of all collected images by name.

        Raises:
            InputError: If an image was predicted twice, or images of the set are missing.
        """
        counted = Accumulator(len(self._truth.taxonomy), self.options)
        none = counted.tables().confusion  # zeros, of the right shape
        for image_id, score in results:
            counted.update(image_id, replace(score, confusion=none))
        missing = [name for name in self._truth.image_ids if name not in counted]
        if missing and not self.allow_subset:
            msg = (
                f"{self.set_root}: {len(missing):,} of {len(self._names):,} images were not "
                f"predicted, such as {missing[0]}; validate on all images of the set, or give "
                "allow_subset=True"
            )
            raise InputError(msg)
        return counted.compute(self._truth.bins).flat(
            per_class=self.per_class,
            class_names=self._truth.taxonomy.classes,
            undefined=float("nan"),
        )

    def _score(self, sample: Mapping[str, Any]) -> Result:
        image_id, truth = self._truth_of(sample)
        if "pred_sem_seg" not in sample:
            msg = f"image {image_id}: no pred_sem_seg; only semantic segmentation is scored"
            raise InputError(msg)
        if sample.get("reduce_zero_label"):
            msg = (
                f"image {image_id}: with reduce_zero_label the network has no background, and each "
                "number means the class after it; train with background as class 0"
            )
            raise InputError(msg)
        prediction = sample["pred_sem_seg"]["data"].detach().cpu().numpy()
        if prediction.ndim == 3 and len(prediction) == 1:
            prediction = prediction[0]
        try:
            score = score_image(prediction, truth, len(self._truth.taxonomy), self.options)
        except InputError as error:
            msg = f"image {image_id}: {error}"
            raise InputError(msg) from error
        return image_id, replace(score, confusion=_NO_CELLS)

    def _truth_of(self, sample: Mapping[str, Any]) -> tuple[str, ImageTruth]:
        path, number = sample.get("img_path"), sample.get("img_id")
        if path is None and number is None:
            msg = "a data sample has neither img_path nor img_id; let PackSegInputs keep img_path"
            raise InputError(msg)
        name = str(number) if path is None else Path(str(path)).stem
        image_id = self._names.get(composed(name))
        if image_id is None:
            msg = (
                f"{self.set_root}: the set has no image called {quoted(name)}; validate on the "
                "set's own photos (it has the folders of a VOC devkit)"
            )
            raise InputError(msg)
        return image_id, self._truth.load(image_id).truth

    def _check_classes(self) -> None:
        """Refuse another order or number of classes, which would silently give wrong values."""
        found = (self.dataset_meta or {}).get("classes")
        if found is None or not self.check_classes:
            return
        if tuple(found[1:]) != self._truth.taxonomy.classes:
            msg = (
                f"{self.set_root}: its classes are background and "
                f"{', '.join(self._truth.taxonomy.classes)}, but the dataset's are "
                f"{quoted(list(found), 1000)}; give the dataset the set's classes in this order, "
                "or check_classes=False if only the spelling differs"
            )
            raise InputError(msg)
