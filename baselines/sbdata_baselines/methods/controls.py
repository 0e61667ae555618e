"""Controls: settings, stages and method metadata.

The stages are implemented in :mod:`sbdata_baselines.controls`.
"""

from __future__ import annotations

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata_baselines.settings import NoSettings


def build(settings: NoSettings) -> Stage:
    """Return the only stage of the control ``labels-only``."""
    return Stage(
        "masks",
        "sbdata_baselines.controls:label_stripes",
        settings,
        gpus=0.0,
        seconds_per_image=0.002,
    )


LABELS_ONLY = Baseline(
    name="labels-only",
    paper="Control: the image's labels, spread over it in stripes. The floor.",
    year=None,
    settings=NoSettings,
    presets={"smoke": {}, "photos": {}, "paper": {}},
    build=build,
    control=True,
)
