"""The metric ``ia_iou.v2``. It takes arrays and returns counts and rows, without files or torch.

:func:`score_image` compares one predicted class map with the truth. An :class:`Accumulator`
collects such scores, merges with others and computes a :class:`Summary`. :func:`bootstrap` computes
the intervals of its values, and :func:`compare` the differences of two prediction sets. The
definition is in ``docs/metric.md``.

``InstanceAwareIoU`` is the same as a metric of torchmetrics; it is imported at its first use.
"""

from typing import TYPE_CHECKING, Any

from sbdata.metrics.accumulator import Accumulator
from sbdata.metrics.bootstrap import (
    FEW,
    RESAMPLES,
    Bootstrap,
    Difference,
    Interval,
    bootstrap,
    compare,
)
from sbdata.metrics.image import (
    CLASS_ROW,
    FP_ATTRIBUTIONS,
    INSTANCE_ROW,
    METRIC,
    REGION_ROW,
    ROUNDINGS,
    ImageScore,
    MetricOptions,
    ia_iou,
    score_image,
)
from sbdata.metrics.outcomes import OUTCOMES, outcome_index
from sbdata.metrics.registry import METRICS, Metric, metric_of, register_metric
from sbdata.metrics.summary import (
    Cell,
    ClassFigures,
    CurvePoint,
    InstanceFigure,
    Orphans,
    Summary,
    half_octaves,
    summarise,
)
from sbdata.metrics.tables import ScoreTables
from sbdata.metrics.truth import ImageTruth, truth_from_components, truth_from_maps

if TYPE_CHECKING:
    from sbdata.metrics.torchmetric import InstanceAwareIoU as InstanceAwareIoU

__all__ = [
    "CLASS_ROW",
    "FEW",
    "FP_ATTRIBUTIONS",
    "INSTANCE_ROW",
    "METRIC",
    "METRICS",
    "OUTCOMES",
    "REGION_ROW",
    "RESAMPLES",
    "ROUNDINGS",
    "Accumulator",
    "Bootstrap",
    "Cell",
    "ClassFigures",
    "CurvePoint",
    "Difference",
    "ImageScore",
    "ImageTruth",
    "InstanceAwareIoU",
    "InstanceFigure",
    "Interval",
    "Metric",
    "MetricOptions",
    "Orphans",
    "ScoreTables",
    "Summary",
    "bootstrap",
    "compare",
    "half_octaves",
    "ia_iou",
    "metric_of",
    "outcome_index",
    "register_metric",
    "score_image",
    "summarise",
    "truth_from_components",
    "truth_from_maps",
]


def __getattr__(name: str) -> Any:
    if name == "InstanceAwareIoU":
        from sbdata.metrics.torchmetric import InstanceAwareIoU

        return InstanceAwareIoU
    msg = f"module 'sbdata.metrics' has no attribute {name!r}"
    raise AttributeError(msg)
