"""Conditions on a score: smallest values, and former scores."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from sbdata.errors import InputError
from sbdata.metrics import MetricOptions
from sbdata.metrics.bootstrap import Difference, Interval
from sbdata.metrics.image import METRIC
from sbdata.score.conditions import (
    FormerPredictions,
    check_minima,
    check_not_worse,
    check_unchanged,
    former_predictions,
    headline_name,
    parse_minimum,
)
from sbdata.score.result import Comparison
from sbdata.score.write import VERSION
from sbdata.sizes import SizeBins

BINS = SizeBins((9,), ("tiny", "rest"))
OPTIONS = MetricOptions()


def scored(**values: float | None) -> SimpleNamespace:
    headline = {key.replace("__", "."): value for key, value in values.items()}
    return SimpleNamespace(bins=BINS, summary=SimpleNamespace(headline=lambda: headline))


@pytest.mark.parametrize("text", ["", "miou", "=0.5", "miou=", "miou=x", "miou=nan", "miou=inf"])
def test_a_minimum_is_a_name_and_a_number(text: str) -> None:
    with pytest.raises(InputError, match="takes NAME=VALUE"):
        parse_minimum(text)


def test_names_are_those_of_the_sizes() -> None:
    assert headline_name("ia_tiny", BINS, OPTIONS) == "ia_tiny.class_mean"
    assert headline_name("ia_rest.instance_mean", BINS, OPTIONS) == "ia_rest.instance_mean"
    assert headline_name("region_precision_tiny", BINS, OPTIONS) == "region_precision_tiny"
    with_boundary = replace(OPTIONS, boundary=True)
    assert headline_name("boundary_iou", BINS, with_boundary) == "boundary_iou.class_mean"
    for unknown in (
        "ia_small",
        "miou.class_mean",
        "miss_rate_tiny",
        "ia_tiny.median",
        "boundary_iou",
    ):
        with pytest.raises(InputError, match=f"no value '{unknown}'; it has miou, .*ia_rest"):
            headline_name(unknown, BINS, OPTIONS)


def test_a_value_at_the_limit_passes_and_an_undefined_one_fails() -> None:
    found = check_minima(
        scored(miou=0.5, ia__class_mean=0.49996, ia_tiny__class_mean=None),
        [("miou", 0.5), ("ia.class_mean", 0.5), ("ia_tiny.class_mean", 0.0)],
    )
    assert [verdict.result for verdict in found] == ["passed", "failed", "failed"]
    assert [verdict.said for verdict in found] == [
        "miou is 0.500, at least 0.5",
        "ia.class_mean is 0.49996, below 0.5",
        "ia_tiny.class_mean is undefined, because the truth has nothing to measure it on",
    ]


@pytest.mark.parametrize(
    ("low", "high", "result"),
    [(-0.2, -1e-9, "failed"), (-0.2, 0.0, "passed"), (-0.2, 0.1, "passed"), (0.1, 0.2, "passed")],
)
def test_only_an_interval_wholly_below_zero_fails(low: float, high: float, result: str) -> None:
    difference = Difference(-0.1, Interval(low, high), 0.01)
    differences = {
        "ia_tiny.class_mean": difference,
        "ia_objects.class_mean": replace(difference, interval=None),
        "miou": None,
    }
    found = check_not_worse(scored(), Comparison("old", {}, differences, ()))
    assert [verdict.result for verdict in found] == [result, "not judged", "not judged"]


def test_a_former_score_names_its_predictions(tmp_path: Path) -> None:
    masks, score = tmp_path / "masks", tmp_path / "scores"
    masks.mkdir()
    score.mkdir()
    assert former_predictions(masks) == FormerPredictions(masks)
    summary = score / "summary.json"
    about = {"folder": "masks", "path": str(masks), "sha256": "ab"}
    truth = dict.fromkeys(("name", "kind", "path", "sha256"), "set")
    options = {"fp_attribution": "overlap", "rounding": "floor"}
    content = {
        "version": VERSION, "metric": METRIC, "name": "old", "miou": {"value": 0.5},
        "bins": {"edges": [1024, 9216], "names": ["small", "medium", "large"]},
        "ia": {"ia": {}},
        "provenance": {
            "predictions": [about], "truth": truth, "options": options, "resamples": 9, "seed": 0,
        },
    }  # fmt: skip
    summary.write_text(json.dumps(content))
    former = former_predictions(score)
    assert former == FormerPredictions(masks, score, "ab")

    now = SimpleNamespace(provenance={"predictions": [{}, {"sha256": "ab"}]})
    check_unchanged(now, former, 0)
    with pytest.raises(InputError, match=r"the predictions changed since the score in .*scores"):
        check_unchanged(now, replace(former, sha256="cd"), 0)

    # A panoptic file may give the same PNGs other classes.
    about["json_and_ids_sha256"] = "12 34"
    summary.write_text(json.dumps(content))
    former = former_predictions(score)
    for told, same in (("12 34", True), ("12 56", True), ("56 34", False)):  # 34: of the ids
        one = {"sha256": "ab", "json_and_ids_sha256": told}
        now = SimpleNamespace(provenance={"predictions": [{}, one]})
        with nullcontext() if same else pytest.raises(InputError, match="predictions changed"):
            check_unchanged(now, former, 0)

    masks.rmdir()
    with pytest.raises(InputError, match=r"its predictions are no longer in .*masks"):
        former_predictions(score)
    for change, message in (
        ({"provenance": {}}, r"scores: not a readable result of .*predictions.*; score it again"),
        ({"provenance": 1}, "not a readable result"),
        ({"metric": "ia_iou.v1"}, r"was scored with ia_iou\.v1 .*not comparable"),
    ):
        summary.write_text(json.dumps({**content, **change}))
        with pytest.raises(InputError, match=message):
            former_predictions(score)
