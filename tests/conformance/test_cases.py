"""The cases of ``cases.json``, run with the package and with the slow reference."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from sbdata.metrics import Accumulator, ImageTruth, MetricOptions, score_image
from sbdata.metrics.image import FP_ATTRIBUTIONS, METRIC, ROUNDINGS
from sbdata.metrics.outcomes import OUTCOMES
from sbdata.sizes import SizeBins
from tests.conformance import corpus

CORPUS = json.loads((corpus.FOLDER / "cases.json").read_text(encoding="utf-8"))
CASES = CORPUS["cases"]
by_name = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def agrees(got, wanted):
    """Compare a figure, or a dict or list of them, with what the case says."""
    if isinstance(wanted, dict):
        return all(agrees(got[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(got) == len(wanted) and all(map(agrees, got, wanted))
    if isinstance(wanted, str) and not isinstance(got, str):
        return got is not None and float(got) == pytest.approx(
            float(Fraction(wanted)), rel=1e-12, abs=1e-12
        )
    return got == wanted


def run(case):
    options = MetricOptions(**case["options"])
    accumulator = Accumulator(case["n_classes"], options)
    for image in case["images"]:
        instance_map = corpus.read_map(image["instance_map"])
        truth = ImageTruth(
            corpus.read_map(image["class_map"]),
            instance_map,
            np.array([row["instance_id"] for row in image["instances"]], np.int32),
            np.array([row["class_id"] for row in image["instances"]], np.uint8),
        )
        prediction = corpus.read_map(image["prediction"])
        score = score_image(prediction, truth, case["n_classes"], options)
        accumulator.update(image["image_id"], score)
    return accumulator


def rows_of(columns):
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*(np.asarray(c).tolist() for c in columns.values()), strict=True)
    ]


def test_the_cases_are_of_this_metric_and_cover_its_options():
    assert CORPUS["metric"] == METRIC
    assert len({case["name"] for case in CASES}) == len(CASES) > 70
    assert all(len(case["why"]) > 10 for case in CASES)
    seen = {(c["options"]["fp_attribution"], c["options"]["rounding"]) for c in CASES}
    assert {attribution for attribution, _ in seen} == set(FP_ATTRIBUTIONS)
    assert {rounding for _, rounding in seen} == set(ROUNDINGS)
    ends = {row["outcome"] for case in CASES for row in case["expected"]["instances"]}
    assert ends == set(OUTCOMES)


@by_name
def test_rows(case):
    bins = SizeBins(tuple(case["bins"]["edges"]), tuple(case["bins"]["names"]))
    names = [f"class {c}" for c in range(1, case["n_classes"] + 1)]
    tables = run(case).tables()
    expected = case["expected"]
    number_of = dict(zip(("", *names), range(len(names) + 1), strict=True))
    got = rows_of(tables.instance_columns(bins, names))
    for row in got:
        row["other_class"] = number_of[row["other_class"]]
    assert agrees(got, expected["instances"])
    got = rows_of(tables.region_columns(bins, names))
    for row in expected["regions"]:
        match = next((r for r in got if agrees(r, row)), None)
        assert match is not None, (row, got)
        got.remove(match)
    assert got == []


@by_name
def test_figures(case):
    bins = SizeBins(tuple(case["bins"]["edges"]), tuple(case["bins"]["names"]))
    summary = run(case).compute(bins).as_dict()
    summary["class_iou"] = {str(row["class_id"]): row["iou"] for row in summary["classes"]}
    summary["class_ia"] = {str(row["class_id"]): row["ia"]["ia"] for row in summary["classes"]}
    by_class = {str(row["class_id"]): row["orphans"] for row in summary["classes"]}
    summary["orphans"] = {"total": summary["orphans"], **by_class}
    summary["absent"] = list(summary["absent"])
    for name, wanted in case["expected"].items():
        if name not in ("instances", "regions"):
            assert agrees(summary[name], wanted), (name, summary[name], wanted)


@by_name
def test_the_reference_gives_the_same(case):
    found = corpus.expected_of(case)
    assert {name: found[name] for name in case["expected"]} == case["expected"]


def test_writing_the_corpus_anew_changes_nothing(tmp_path, monkeypatch):
    before = (corpus.FOLDER / "cases.json").read_bytes()
    (tmp_path / "cases.json").write_bytes(before)
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    corpus.main()
    assert (tmp_path / "cases.json").read_bytes() == before
