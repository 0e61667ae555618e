"""The metric ``ia_iou.v1``: arrays in, counts and rows out; no files, no torch.

:func:`score_image` compares one predicted class map with the truth. An :class:`Accumulator`
gathers such scores, merges with others and computes a :class:`Summary`. :func:`resample` gives
the figures' intervals and :func:`compare` sets two predictions against each other. The
definition is in ``docs/metric.md``.
"""

from sbdata.metrics.accumulator import Accumulator
from sbdata.metrics.bootstrap import (
    RESAMPLES,
    Difference,
    Interval,
    Resampled,
    compare,
    resample,
)
from sbdata.metrics.image import (
    CLASS_ROW,
    COMPONENT_ROW,
    INSTANCE_ROW,
    METRIC,
    SHARES,
    ImageScore,
    MetricOptions,
    ia_iou,
    score_image,
)
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

__all__ = [
    "CLASS_ROW",
    "COMPONENT_ROW",
    "INSTANCE_ROW",
    "METRIC",
    "RESAMPLES",
    "SHARES",
    "Accumulator",
    "Cell",
    "ClassFigures",
    "CurvePoint",
    "Difference",
    "ImageScore",
    "ImageTruth",
    "InstanceFigure",
    "Interval",
    "MetricOptions",
    "Orphans",
    "Resampled",
    "ScoreTables",
    "Summary",
    "compare",
    "half_octaves",
    "ia_iou",
    "resample",
    "score_image",
    "summarise",
    "truth_from_components",
    "truth_from_maps",
]
