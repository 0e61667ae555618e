"""Values that scores of sets, comparisons and pseudo-masks contribute to a result file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sbdata.benchmark.records import Value
from sbdata.metrics.bootstrap import Difference, Interval
from sbdata.metrics.image import METRIC
from sbdata.score.pseudo_masks import PseudoScore
from sbdata.score.result import ScoreResult
from sbdata.settings import as_plain

LOST_THRESHOLD = "under 50 %"
"""Fraction of an instance's pixels below which a result counts it as lost."""


def figures_of(scored: ScoreResult) -> dict[str, Value]:
    """Return the headline values with their intervals, by name."""
    return {
        name: Value(value, _ends(scored.intervals[name]))
        for name, value in scored.summary.headline().items()
    }


def _ends(interval: Interval | None) -> tuple[float, ...] | None:
    return None if interval is None else (interval.low, interval.high)


def differences_of(
    found: Mapping[str, Difference | None],
) -> dict[str, Mapping[str, Any] | None]:
    """Return paired differences as plain values; None if undefined."""
    return {
        name: None
        if d is None
        else {
            "value": d.value,
            "interval": as_plain(_ends(d.interval)),
            "sign_change": d.sign_change,
        }
        for name, d in found.items()
    }


def pseudo_figures_of(score: PseudoScore) -> dict[str, Any]:
    """Return the values of pseudo-masks, with 255 as background, and the losses by stage."""
    scored, losses = score.as_background, score.losses.to_pylist()
    lost: dict[str, dict[str, Any]] = {}
    for row in losses:
        if row["threshold"] == LOST_THRESHOLD:
            cells = lost.setdefault(row["stage"], {"stage": row["stage"]})
            cells[row["size"]] = {"n": row["n"], "kept": row["n"] - row["lost"]}
    summary = scored.summary
    return {
        "metric": METRIC,
        "n_images": summary.n_images,
        "n_instances": {n: f.n_instances for n, f in summary.ia.items()},
        "n_classes": {n: f.n_classes for n, f in summary.ia.items()},
        "figures": as_plain(figures_of(scored)),
        "ignored_excluded": asdict(score.excluded),
        "lost_threshold": LOST_THRESHOLD,
        "lost": list(lost.values()),
        "losses": losses,
    }
