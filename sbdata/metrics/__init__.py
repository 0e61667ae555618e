"""The metric ``ia_iou.v2``. It takes arrays and returns counts and rows, without files or torch.

:func:`score_image` compares one predicted class map with the truth. An :class:`Accumulator`
collects such scores, merges with others and computes a :class:`Summary`;
:mod:`sbdata.metrics.bootstrap` computes intervals and paired differences. The definition is in
``docs/definitions/metric.md``.

``InstanceAwareIoU`` is the same metric for torchmetrics; it is imported at its first use.
"""

from typing import TYPE_CHECKING, Any

from sbdata.metrics.accumulator import Accumulator
from sbdata.metrics.image import MetricOptions, score_image
from sbdata.metrics.registry import Metric, register_metric
from sbdata.metrics.summary import Summary
from sbdata.metrics.truth import ImageTruth, truth_from_components, truth_from_maps

if TYPE_CHECKING:
    from sbdata.metrics.torchmetric import InstanceAwareIoU as InstanceAwareIoU

__all__ = [
    "Accumulator",
    "ImageTruth",
    "InstanceAwareIoU",
    "Metric",
    "MetricOptions",
    "Summary",
    "register_metric",
    "score_image",
    "truth_from_components",
    "truth_from_maps",
]


def __getattr__(name: str) -> Any:
    if name == "InstanceAwareIoU":
        from sbdata.metrics.torchmetric import InstanceAwareIoU

        return InstanceAwareIoU
    msg = f"module 'sbdata.metrics' has no attribute {name!r}"
    raise AttributeError(msg)
