"""FiftyOne plugin with sbdata's panel, operators and evaluation metric.

``sbdata app`` links this folder beside the user's own plugins. FiftyOne loads it by its path, in
the process that serves the app.
"""

from __future__ import annotations

from typing import Any

from sbdata.app.plugin.evaluation import InstanceAwareIoU
from sbdata.app.plugin.operators import ExportView, ScorePredictions
from sbdata.app.plugin.panel import ObjectSizes


def register(plugin: Any) -> None:
    """Register the panel, the operators and the metric with FiftyOne."""
    for each in (ObjectSizes, ScorePredictions, ExportView, InstanceAwareIoU):
        plugin.register(each)
