"""Conditions on a score, for continuous integration: ``--fail-under`` and ``--fail-worse-than``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sbdata.errors import InputError
from sbdata.formatting import change, number
from sbdata.metrics.image import MetricOptions
from sbdata.metrics.registry import headline_names
from sbdata.quoting import quoted
from sbdata.score.result import Comparison, ScoreResult
from sbdata.score.saved import is_saved_score, read_summary
from sbdata.sizes import SizeBins

_DEFAULT_MEAN = "class_mean"


@dataclass(frozen=True)
class Verdict:
    """Result of one condition on a score.

    Attributes:
        condition: Option that sets the condition, such as ``--fail-under``.
        name: Name of the headline value.
        result: ``passed``, ``failed``, or ``not judged`` if there is no interval to judge by.
        said: One sentence with the values.
    """

    condition: str
    name: str
    result: Literal["passed", "failed", "not judged"]
    said: str


def parse_minimum(text: str) -> tuple[str, float]:
    """Return name and number of a condition written as ``NAME=VALUE``.

    Raises:
        InputError: If the text has another form, or VALUE is not a finite number.

    >>> parse_minimum("ia_small=0.4")
    ('ia_small', 0.4)
    """
    name, _, value = text.partition("=")
    try:
        least = float(value)
    except ValueError:
        least = math.nan
    if not name.strip() or not math.isfinite(least):
        msg = f"--fail-under takes NAME=VALUE, such as ia_small=0.4, not {quoted(text)}"
        raise InputError(msg)
    return name.strip(), least


def headline_name(name: str, bins: SizeBins, options: MetricOptions) -> str:
    """Return the full name of a headline value; the mean over classes if none is named.

    Args:
        name: Name, such as ``miou``, ``ia_small`` or ``ia_small.instance_mean``.
        bins: Size bins of the score.
        options: Metric options of the score.

    Raises:
        InputError: If the score has no such value; the message lists those that it has.
    """
    valid = headline_names(bins, [key for key, on in options.as_dict().items() if on is True])
    for found in (name, f"{name}.{_DEFAULT_MEAN}"):
        if found in valid:
            return found
    msg = f"--fail-under: a score has no value {quoted(name)}; it has {', '.join(valid)}"
    raise InputError(msg)


def judged_names(bins: SizeBins) -> tuple[str, ...]:
    """Return the values that ``--fail-worse-than`` judges: smallest objects, all objects, mIoU.

    >>> judged_names(SizeBins())
    ('ia_small.class_mean', 'ia_objects.class_mean', 'miou')
    """
    return (f"ia_{bins.names[0]}.{_DEFAULT_MEAN}", f"ia_objects.{_DEFAULT_MEAN}", "miou")


def check_minima(scored: ScoreResult, minima: Sequence[tuple[str, float]]) -> list[Verdict]:
    """Judge a score by the smallest allowed values; a value that is undefined fails.

    Args:
        scored: Score.
        minima: Full names of headline values, with the smallest allowed value of each.
    """
    values = scored.summary.headline()
    found = []
    for name, least in minima:
        value = values[name]
        if value is None:
            said = f"{name} is undefined, because the truth has nothing to measure it on"
        else:
            said = f"{name} is {_with(value, least)}, {'below' if value < least else 'at least'} "
            said += f"{least:g}"
        failed = value is None or value < least
        found.append(Verdict("--fail-under", name, "failed" if failed else "passed", said))
    return found


def check_not_worse(scored: ScoreResult, other: Comparison) -> list[Verdict]:
    """Judge a score by a former one: it fails if a paired interval lies wholly below zero.

    Args:
        scored: Score.
        other: Comparison with the former predictions.
    """
    found = []
    for name in judged_names(scored.bins):
        difference = other.differences[name]
        if difference is None or difference.interval is None:
            said = (
                f"{name} has no paired interval against {other.name}: too few instances or images"
            )
            found.append(Verdict("--fail-worse-than", name, "not judged", said))
            continue
        interval = difference.interval
        worse = interval.high < 0
        said = (
            f"{name} minus that of {other.name} is {change(name, difference.value)}, 95 % interval "
            f"{change(name, interval.low)} to {change(name, interval.high)}"
            f"{', wholly below zero' if worse else ''}"
        )
        found.append(Verdict("--fail-worse-than", name, "failed" if worse else "passed", said))
    return found


@dataclass(frozen=True)
class FormerPredictions:
    """Predictions to compare with, and what a former score says about them.

    Attributes:
        place: Folder of predictions, or JSON file.
        score: Folder of the former score; None if the predictions themselves were given.
        sha256: Hash of the predictions as the former score read them; empty if not known.
        json_sha256: Hash of the JSON file that they are; empty if they are a folder.
    """

    place: Path
    score: Path | None = None
    sha256: str = ""
    json_sha256: str = ""


def former_predictions(given: Path) -> FormerPredictions:
    """Return the predictions that a folder of a former score names, or those given themselves.

    A former score keeps no masks, so its predictions must still be where they were.

    Args:
        given: Folder ``scores/NAME`` of a former score, folder of predictions, or JSON file.

    Raises:
        InputError: If the former score cannot be read or is of another version, or its predictions
            are gone.
    """
    if not is_saved_score(given):
        return FormerPredictions(given)
    about = read_summary(given)["provenance"]["predictions"][0]
    place = Path(about["path"])
    if not place.exists():
        msg = (
            f"{given}: its predictions are no longer in {place}; give the folder of predictions "
            "instead"
        )
        raise InputError(msg)
    return FormerPredictions(place, given, str(about["sha256"]), _json_sha256(about))


def _json_sha256(about: Mapping[str, Any]) -> str:
    """Return the hash of a JSON file of predictions; that of its ids stands after it."""
    return str(about.get("json_and_ids_sha256", "")).partition(" ")[0]


def check_unchanged(scored: ScoreResult, former: FormerPredictions, k: int) -> None:
    """Refuse predictions that changed since the former score.

    Args:
        scored: Score with its comparisons.
        former: Former predictions.
        k: Place of the comparison with them.

    Raises:
        InputError: If they changed.
    """
    now = scored.provenance["predictions"][1 + k]
    same = (now["sha256"], _json_sha256(now)) == (former.sha256, former.json_sha256)
    if former.sha256 and not same:
        msg = (
            f"{former.place}: the predictions changed since the score in {former.score}; score "
            "them again, or give their folder itself"
        )
        raise InputError(msg)


def _with(value: float, least: float) -> str:
    """Return a value with enough digits to distinguish it from the limit.

    >>> _with(0.41251, 0.5), _with(0.49996, 0.5)
    ('0.413', '0.49996')
    """
    for digits in range(3, 17):
        shown = number(value, digits)
        if (float(shown) < least) == (value < least):
            return shown
    return repr(value)
