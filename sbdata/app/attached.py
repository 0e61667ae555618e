"""Notes of a dataset about its attached runs, and the check that runs are comparable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sbdata.errors import InputError
from sbdata.metrics import MetricOptions
from sbdata.metrics.bootstrap import RESAMPLES
from sbdata.metrics.image import METRIC

_COMPARED = ("fp_attribution", "rounding")  # the options that change the scores of an object


@dataclass(frozen=True)
class AttachedRun:
    """A run attached to a dataset, and how it was scored.

    Attributes:
        name: Suffix of its fields in FiftyOne.
        title: Name of its result.
        options: Metric options.
        resamples: Number of bootstrap draws of its intervals.
        seed: Seed of these draws.
    """

    name: str
    title: str
    options: MetricOptions = MetricOptions()  # noqa: RUF009 - frozen
    resamples: int = RESAMPLES
    seed: int = 0


def noted_metric(options: Mapping[str, Any], resamples: int, seed: int) -> dict[str, Any]:
    """Return the part of a run's note that describes how it was scored.

    Args:
        options: Metric options, as in a result.
        resamples: Number of bootstrap draws in the result. With 0 the result has no intervals, and
            the app draws the default number.
        seed: Seed of the draws.

    >>> noted_metric({"fp_attribution": "overlap", "rounding": "floor"}, 500, 7)["resamples"]
    500
    """
    return {
        "metric": METRIC,
        "options": {name: str(options[name]) for name in _COMPARED},
        "resamples": resamples or RESAMPLES,
        "seed": seed,
    }


def attached_runs(known: Mapping[str, Any]) -> dict[str, AttachedRun]:
    """Return the attached runs that were scored with this version of the metric, by name.

    Args:
        known: Notes returned by :func:`sbdata.app.info.info_of`.
    """
    return {
        name: AttachedRun(
            name=name,
            title=str(noted["title"]),
            options=MetricOptions(**noted["options"]),
            resamples=int(noted["resamples"]),
            seed=int(noted["seed"]),
        )
        for name, noted in known["runs"].items()
        if noted.get("metric") == METRIC
    }


def outdated_runs(known: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the attached runs that another version of the metric scored."""
    return tuple(name for name, noted in known["runs"].items() if noted.get("metric") != METRIC)


def check_comparable(title: str, noted: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    """Check that a run was scored in the same way as the attached runs.

    Args:
        title: Title of the run.
        noted: Note about how it was scored, from :func:`noted_metric`.
        others: Notes of the attached runs, by name.

    Raises:
        InputError: If a run differs; the message names the run and the difference.
    """
    for other in others.values():
        for what, one, two in (
            ("metric", noted["metric"], other.get("metric", "ia_iou.v1")),
            *(
                (name, noted["options"][name], other.get("options", {}).get(name))
                for name in _COMPARED
            ),
        ):
            if one != two:
                msg = (
                    f"{title} is scored with {what} {one}, but the attached {other['title']} with "
                    f"{two}; score one of them again, or drop all attached runs by --fresh"
                )
                raise InputError(msg)
